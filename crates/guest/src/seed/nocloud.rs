//! NoCloud: the seed that cloud-init (Linux) and cloudbase-init (Windows) read from a CD labelled `CIDATA`.
//!
//! All three files are YAML to their readers; they are written as JSON, which is YAML too and has one way to quote.
//! The Windows files follow cloudbase-init's documentation and have not been run on a real Windows yet.

use std::{io, os::unix::fs::PermissionsExt, path::Path};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use winstead_process::Command;
use winstead_spec::GuestOs;

use crate::seed::{Address, GuestNetwork, Identity, SeedError, SeedFile, public, secret};

/// The label by which both programs find the CD.
pub const VOLUME_ID: &str = "CIDATA";
/// The CD's name in the temporary folder that it is made in.
const ISO: &str = "seed.iso";

/// The files on the CD.
///
/// # Errors
/// [`SeedError::Invalid`] for a value that would break its file.
pub fn nocloud_files(identity: &Identity) -> Result<Vec<SeedFile>, SeedError> {
    identity.check()?;
    let network = match identity.os {
        GuestOs::Linux => network_version_2(&identity.network),
        GuestOs::Windows => network_version_1(&identity.network),
    };
    let user_data = match identity.os {
        GuestOs::Linux => linux_user_data(identity),
        // Host name and keys are in the metadata; nothing is left to say.
        GuestOs::Windows => json!({}),
    };
    Ok(vec![
        public("meta-data", 0o600, pretty(&meta_data(identity))),
        secret("user-data", 0o600, format!("#cloud-config\n{}", pretty(&user_data))),
        public("network-config", 0o600, pretty(&network)),
    ])
}

/// Writes the CD with `xorriso` to `path`, mode 0600: it holds the host key. An older CD is replaced at once.
///
/// # Errors
/// As [`nocloud_files`]; [`SeedError::Write`]; [`SeedError::Xorriso`] when the program is missing, fails, hangs or
/// `stop` is cancelled. (The few small files are written on the caller's thread.) Then nothing is left but, after a kill, a folder `.seed-…` beside `path`.
pub async fn nocloud_iso(
    identity: &Identity,
    path: &Path,
    stop: &CancellationToken,
) -> Result<(), SeedError> {
    let failed = |source| SeedError::Write { path: path.to_owned(), source };
    let files = nocloud_files(identity)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = staging(parent, &files).map_err(failed)?;
    let made = xorriso(&folder.path().join(ISO), &folder.path().join("files")).run(stop).await;
    let done = match made {
        Ok(_) => publish(&folder.path().join(ISO), path).map_err(failed),
        Err(error) => Err(SeedError::Xorriso { path: path.to_owned(), source: Box::new(error) }),
    };
    let closed = folder.close().map_err(failed);
    done.and(closed)
}

fn xorriso(iso: &Path, files: &Path) -> Command {
    // -outdev and the like are xorriso's own language; the mkisofs emulation is the one that everyone knows.
    Command::new("xorriso")
        .args(["-as", "mkisofs", "-quiet", "-volid", VOLUME_ID, "-joliet", "-rock", "-output"])
        .arg(iso)
        .arg(files)
}

/// A folder (0700) beside the target, because the CD is renamed into place, and because other folders may be on a disk
/// or open to others.
fn staging(parent: &Path, files: &[SeedFile]) -> io::Result<TempDir> {
    let private = std::fs::Permissions::from_mode(0o700);
    let folder = tempfile::Builder::new().prefix(".seed-").permissions(private).tempdir_in(parent)?;
    let inner = folder.path().join("files");
    fs_err::create_dir(&inner)?;
    for file in files {
        let mut options = fs_err::OpenOptions::new();
        options.write(true).create_new(true);
        fs_err::os::unix::fs::OpenOptionsExt::mode(&mut options, file.mode);
        io::Write::write_all(&mut options.open(inner.join(&file.path))?, file.contents.bytes())?;
    }
    Ok(folder)
}

fn publish(made: &Path, path: &Path) -> io::Result<()> {
    fs_err::set_permissions(made, std::fs::Permissions::from_mode(0o600))?;
    fs_err::rename(made, path)
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Both programs read these three; `public-keys` is cloudbase-init's way to the administrator's keys.
fn meta_data(identity: &Identity) -> Value {
    json!({
        "instance-id": identity.instance_id(),
        "local-hostname": identity.host_name,
        "public-keys": identity.authorized_keys,
    })
}

fn linux_user_data(identity: &Identity) -> Value {
    json!({
        "hostname": identity.host_name,
        "preserve_hostname": false,
        "manage_etc_hosts": "localhost",
        // Root logs in by key; nobody else is made, which saves time and leaves no second door.
        "users": [],
        "disable_root": false,
        "ssh_pwauth": false,
        "ssh_authorized_keys": identity.authorized_keys,
        // Host keys that are in the image are known to everyone who has it: they go, ours comes.
        "ssh_deletekeys": true,
        "ssh_keys": {
            "ed25519_private": identity.host_key.private_openssh.expose(),
            "ed25519_public": identity.host_key.public_openssh,
        },
    })
}

/// Netplan's form, cloud-init's newer one. The default route is written as a network: older releases do not know the
/// word `default`.
fn network_version_2(network: &GuestNetwork) -> Value {
    let mut card = json!({"match": {"macaddress": network.mac.to_ascii_lowercase()}});
    match network.address {
        Address::Dhcp => {
            card["dhcp4"] = json!(true);
            card["dhcp-identifier"] = json!("mac");
        }
        Address::Static { address, prefix, gateway } => {
            card["addresses"] = json!([format!("{address}/{prefix}")]);
            card["routes"] = json!([{"to": "0.0.0.0/0", "via": gateway}]);
        }
    }
    if let Some(nameserver) = network.nameserver {
        card["nameservers"] = json!({"addresses": [nameserver]});
    }
    json!({"version": 2, "ethernets": {"nic0": card}})
}

/// The older form, which every cloudbase-init with NoCloud reads.
fn network_version_1(network: &GuestNetwork) -> Value {
    let mut subnet = match network.address {
        Address::Dhcp => json!({"type": "dhcp"}),
        Address::Static { address, prefix, gateway } => {
            json!({"type": "static", "address": format!("{address}/{prefix}"), "gateway": gateway})
        }
    };
    if let Some(nameserver) = network.nameserver {
        subnet["dns_nameservers"] = json!([nameserver]);
    }
    let mac = network.mac.to_ascii_lowercase();
    json!({"version": 1, "config": [{"type": "physical", "name": "nic0", "mac_address": mac, "subnets": [subnet]}]})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::identity::tests::{dhcp, identity};

    fn rendered(identity: &Identity) -> String {
        let key = &identity.host_key;
        let quoted = json!(key.private_openssh.expose()).to_string();
        let text: String = nocloud_files(identity)
            .unwrap()
            .iter()
            .map(|file| format!("--- {}\n{}", file.path, String::from_utf8_lossy(file.contents.bytes())))
            .collect();
        text.replace(&quoted, "PRIVATE").replace(&key.public_openssh, "PUBLIC")
    }

    #[test]
    fn a_linux_cloud_image_gets_these_files() {
        insta::assert_snapshot!(rendered(&identity()), @r#"
        --- meta-data
        {
          "instance-id": "0a0102030405060708090a0b0c0d0eff-2",
          "local-hostname": "agents-0",
          "public-keys": [
            "ssh-ed25519 AAAAclient winstead"
          ]
        }
        --- user-data
        #cloud-config
        {
          "hostname": "agents-0",
          "preserve_hostname": false,
          "manage_etc_hosts": "localhost",
          "users": [],
          "disable_root": false,
          "ssh_pwauth": false,
          "ssh_authorized_keys": [
            "ssh-ed25519 AAAAclient winstead"
          ],
          "ssh_deletekeys": true,
          "ssh_keys": {
            "ed25519_private": PRIVATE,
            "ed25519_public": "PUBLIC"
          }
        }
        --- network-config
        {
          "version": 2,
          "ethernets": {
            "nic0": {
              "match": {
                "macaddress": "52:54:00:0a:0b:0c"
              },
              "addresses": [
                "10.0.2.15/24"
              ],
              "routes": [
                {
                  "to": "0.0.0.0/0",
                  "via": "10.0.2.2"
                }
              ],
              "nameservers": {
                "addresses": [
                  "10.0.2.3"
                ]
              }
            }
          }
        }
        "#);
    }

    #[test]
    fn a_linux_cloud_image_on_an_existing_bridge_uses_dhcp_by_hardware_address() {
        let text = rendered(&dhcp());
        insta::assert_snapshot!(&text[text.find("--- network-config").unwrap()..], @r#"
        --- network-config
        {
          "version": 2,
          "ethernets": {
            "nic0": {
              "match": {
                "macaddress": "52:54:00:0a:0b:0c"
              },
              "dhcp4": true,
              "dhcp-identifier": "mac"
            }
          }
        }
        "#);
    }

    #[test]
    fn a_windows_image_gets_these_files() {
        let windows = Identity { os: GuestOs::Windows, ..identity() };
        insta::assert_snapshot!(rendered(&windows), @r#"
        --- meta-data
        {
          "instance-id": "0a0102030405060708090a0b0c0d0eff-2",
          "local-hostname": "agents-0",
          "public-keys": [
            "ssh-ed25519 AAAAclient winstead"
          ]
        }
        --- user-data
        #cloud-config
        {}
        --- network-config
        {
          "version": 1,
          "config": [
            {
              "type": "physical",
              "name": "nic0",
              "mac_address": "52:54:00:0a:0b:0c",
              "subnets": [
                {
                  "type": "static",
                  "address": "10.0.2.15/24",
                  "gateway": "10.0.2.2",
                  "dns_nameservers": [
                    "10.0.2.3"
                  ]
                }
              ]
            }
          ]
        }
        "#);
    }

    #[test]
    fn a_new_generation_is_a_new_first_boot() {
        let first = identity();
        let second = Identity { generation: first.generation + 1, ..first.clone() };
        assert_ne!(first.instance_id(), second.instance_id());
    }

    #[tokio::test]
    async fn the_cd_is_private_labelled_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seed.iso");
        let stop = CancellationToken::new();
        for _ in 0..2 {
            match nocloud_iso(&identity(), &path, &stop).await {
                Err(SeedError::Xorriso { source, .. }) if source.is_not_found() => {
                    return winstead_testing::skip("xorriso is not installed");
                }
                made => made.unwrap(),
            }
        }
        assert_eq!(fs_err::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let entries: Vec<_> =
            fs_err::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(entries, ["seed.iso"]);
        let listed =
            Command::new("xorriso").arg("-indev").arg(&path).args(["-find", "/"]).run(&stop).await.unwrap();
        let said = listed.text() + &String::from_utf8_lossy(&listed.stderr);
        for wanted in ["'/meta-data'", "'/user-data'", "'/network-config'", "Volume id    : 'CIDATA'"] {
            assert!(said.contains(wanted), "{wanted} is missing in {said}");
        }
    }

    #[tokio::test]
    async fn an_interrupted_cd_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let stop = CancellationToken::new();
        stop.cancel();
        let error = nocloud_iso(&identity(), &folder.path().join("seed.iso"), &stop).await.unwrap_err();
        assert!(matches!(error, SeedError::Xorriso { .. }));
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 0);
    }
}
