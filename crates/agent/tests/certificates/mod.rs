//! Certificates of a test's own, in files.

use std::path::{Path, PathBuf};

use fs_err as fs;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;
use winstead_agent::folder::{Readers, lock_down};
use winstead_agent_client::identity::Identity;

/// An authority, and what it has signed.
pub(crate) struct Authority {
    folder: PathBuf,
    _above: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let above = tempfile::tempdir().expect("a folder");
        // Where files are their owner's alone on Windows, too.
        let folder = lock_down(&above.path().join("keys"), Readers::Nobody).expect("it is made");
        let pem = params.self_signed(&key).expect("it signs itself").pem();
        fs::write(folder.join("authority.pem"), pem).expect("it is written");
        Self { folder, _above: above, issuer: Issuer::new(params, key) }
    }

    /// Its own certificate.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.join("authority.pem")
    }

    /// Somebody with these names, who believes those whom it has signed. Their files are named like their first name.
    pub(crate) fn signs(&self, names: &[&str]) -> Identity {
        self.signs_until(names, 4096)
    }

    /// The same, for a certificate that runs out in this year.
    pub(crate) fn signs_until(&self, names: &[&str], year: i32) -> Identity {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names.clone()).expect("they are names");
        (params.not_before, params.not_after) = (date_time_ymd(1975, 1, 1), date_time_ymd(year, 1, 1));
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &self.issuer).expect("it is signed");
        let file = |ending: &str| self.folder.join(format!("{}.{ending}", names[0]));
        let identity = Identity { certificate: file("pem"), key: file("key"), authority: self.certificate() };
        fs::write(&identity.certificate, signed.pem()).expect("it is written");
        write_secret(&identity.key, &key.serialize_pem());
        identity
    }
}

#[cfg(unix)]
fn write_secret(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, text).expect("it is written");
    fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
}

/// The folder's rights are the file's.
#[cfg(windows)]
fn write_secret(path: &Path, text: &str) {
    fs::write(path, text).expect("it is written");
}

/// The door of an agent with this identity, in its document.
pub(crate) fn door(identity: &Identity, more: &str) -> String {
    let Identity { certificate, key, authority } = identity;
    let path = |path: &Path| format!("'{}'", path.display());
    format!(
        "{{doors: {{tcp: {{address: '127.0.0.1:0', certificate: {}, key: {}, clientAuthority: {}}}}}{more}}}",
        path(certificate),
        path(key),
        path(authority)
    )
}
