//! What the agent shows to those who come in by TCP, whom it believes, and what their certificates say.

use std::{
    io,
    sync::{Arc, PoisonError, RwLock},
};

use sha2::Digest as _;
use tokio_rustls::rustls::{
    self, ServerConfig,
    pki_types::CertificateDer,
    server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier},
};
use webpki::EndEntityCert;
use winstead_agent_client::identity::{Credentials, Identity, IdentityError, PROTOCOL, VERSIONS, provider};
use winstead_spec::{AgentTcpDoor, Sha256};

use crate::{access::Certificate, folder::guard_secret};

/// The files are no use. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// Others could read the key, and be the agent by it.
    #[error("trust the key")]
    Unsafe(#[source] io::Error),
    /// They are not what they should be.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The authorities are of no use to verify clients.
    #[error("verify clients by the authorities in {}", path.display())]
    Authority {
        /// Where they are.
        path: std::path::PathBuf,
        /// Why not.
        source: VerifierBuilderError,
    },
}

/// The agent's certificate and its clients' authorities, read from files, and again when that is asked for.
#[derive(Debug)]
pub struct Keys {
    identity: Identity,
    config: RwLock<Arc<ServerConfig>>,
}

impl Keys {
    /// Reads them; waits for the disk.
    ///
    /// # Errors
    /// When a file is not what it should be, or others can read the key.
    pub fn open(told: &AgentTcpDoor) -> Result<Self, KeysError> {
        let identity = Identity {
            certificate: told.certificate.clone(),
            key: told.key.clone(),
            authority: told.client_authority.clone(),
        };
        let config = RwLock::new(read(&identity)?);
        Ok(Self { identity, config })
    }

    /// Reads them again, for those who come in from now on. When one is wrong, nothing changes.
    ///
    /// # Errors
    /// As [`Keys::open`].
    pub fn read_again(&self) -> Result<(), KeysError> {
        let config = read(&self.identity)?;
        // Whoever panicked in here left a whole one.
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// As they are now.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn read(identity: &Identity) -> Result<Arc<ServerConfig>, KeysError> {
    guard_secret(&identity.key).map_err(KeysError::Unsafe)?;
    let Credentials { chain, key, authorities } = identity.read()?;
    let unfit = |source: rustls::Error| IdentityError::Unfit { path: identity.certificate.clone(), source };
    let verifier = WebPkiClientVerifier::builder_with_provider(authorities, provider())
        .build()
        .map_err(|source| KeysError::Authority { path: identity.authority.clone(), source })?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&VERSIONS)
        .map_err(unfit)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(unfit)?;
    // A session that is resumed shows no certificate again, though it may have run out, or its authority be gone.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Arc::new(config))
}

/// What a certificate says that was verified already.
///
/// # Errors
/// When it cannot be read, which does not happen to one that was verified.
pub(crate) fn certificate(der: &CertificateDer<'_>) -> Result<Certificate, webpki::Error> {
    let read = EndEntityCert::try_from(der)?;
    // A URI may hold anything; and a name is compared as a whole, so one with a `*` would be nobody's.
    let plain = |name: &&str| name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'*');
    let uris = read.valid_uri_names().filter(|name| name.contains(':'));
    let names = uris.chain(read.valid_dns_names()).filter(plain).map(str::to_owned).collect();
    let sha256 = Sha256::from(<[u8; 32]>::from(sha2::Sha256::digest(der)));
    Ok(Certificate { names, sha256 })
}
