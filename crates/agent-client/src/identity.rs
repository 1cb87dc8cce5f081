//! Who one is to the other side of TLS: a certificate with its key, and whose certificates one believes. Both sides of a
//! connection have one.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_rustls::rustls::{
    self, ClientConfig, RootCertStore, SupportedProtocolVersion,
    client::Resumption,
    crypto::{CryptoProvider, ring},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
    version::TLS13,
};

/// What both sides say that they speak inside of TLS (RFC 9113, 3.2).
pub const PROTOCOL: &[u8] = b"h2";

/// The only version: nobody speaks with an agent who does not have it.
pub const VERSIONS: [&SupportedProtocolVersion; 1] = [&TLS13];

/// Files that say who one is, as PEM. They are read anew for each use, so that renewed ones count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// One's certificate, and behind it those between it and its authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authorities that the other side's certificate must come from.
    pub authority: PathBuf,
}

/// What stands in the files of an [`Identity`].
#[derive(Debug)]
pub struct Credentials {
    /// One's certificate, and those behind it.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
    /// The authorities.
    pub authorities: Arc<RootCertStore>,
}

/// The files are no use. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// One cannot be read, or does not hold what it should.
    #[error("read {what} in {}", path.display())]
    Pem {
        /// What should be in it.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        source: pem::Error,
    },
    /// One holds nothing of the kind.
    #[error("find {what} in {}", path.display())]
    Nothing {
        /// What should be in it.
        what: &'static str,
        /// Which.
        path: PathBuf,
    },
    /// What they hold does not fit together, or is not what we can use.
    #[error("use the certificate of {} and its key", path.display())]
    Unfit {
        /// The certificate.
        path: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
    /// An authority cannot be one.
    #[error("use the authorities of {}", path.display())]
    Authority {
        /// Where they are.
        path: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
}

/// The cryptography that we use.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

impl Identity {
    /// Reads the files; waits for the disk.
    ///
    /// # Errors
    /// When one cannot be read, or does not hold what it should.
    pub fn read(&self) -> Result<Credentials, IdentityError> {
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|source| match source {
            pem::Error::NoItemsFound => IdentityError::Nothing { what: "a key", path: self.key.clone() },
            source => IdentityError::Pem { what: "the key", path: self.key.clone(), source },
        })?;
        let mut authorities = RootCertStore::empty();
        for authority in certificates(&self.authority)? {
            authorities
                .add(authority)
                .map_err(|source| IdentityError::Authority { path: self.authority.clone(), source })?;
        }
        Ok(Credentials { chain: certificates(&self.certificate)?, key, authorities: Arc::new(authorities) })
    }

    /// How a client uses TLS with it; waits for the disk. Each connection is verified as a whole.
    ///
    /// # Errors
    /// As [`Identity::read`], and when certificate and key do not fit together.
    pub(crate) fn client(&self) -> Result<ClientConfig, IdentityError> {
        let Credentials { chain, key, authorities } = self.read()?;
        let unfit = |source| IdentityError::Unfit { path: self.certificate.clone(), source };
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&VERSIONS)
            .map_err(unfit)?
            .with_root_certificates(authorities)
            .with_client_auth_cert(chain, key)
            .map_err(unfit)?;
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(config)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let what = "a certificate";
    let unreadable = |source| IdentityError::Pem { what, path: path.to_owned(), source };
    let found = CertificateDer::pem_file_iter(path).map_err(unreadable)?.collect::<Result<Vec<_>, _>>();
    let found = found.map_err(unreadable)?;
    if found.is_empty() {
        return Err(IdentityError::Nothing { what, path: path.to_owned() });
    }
    Ok(found)
}
