//! The seed, unpacked by the program that does it in the guest's initial RAM disk.
//!
//! Needs `busybox` with `tar`.

use std::os::unix::fs::{PermissionsExt, symlink};

use tokio_util::sync::CancellationToken;
use winstead_guest::{
    keys,
    seed::{self, GuestNetwork, Identity},
};
use winstead_process::Command;
use winstead_spec::GuestOs;
use winstead_testing::skip;

#[tokio::test]
async fn busybox_unpacks_the_seed_over_what_a_root_has_already() {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path);
    let identity = Identity {
        host_name: "agents-0".into(),
        machine_id: [7; 16],
        generation: 0,
        host_key: keys::generate("agents-0").unwrap(),
        authorized_keys: vec!["ssh-ed25519 AAAA winstead".into()],
        network: GuestNetwork::user("52:54:00:00:00:01".into()),
        os: GuestOs::Linux,
    };
    fs_err::create_dir_all(at("etc/ssh")).unwrap();
    fs_err::write(at("etc/hostname"), "golden\n").unwrap();
    // A dangling link, as systemd-resolved leaves it: it must go, not be followed.
    symlink("../run/systemd/resolve/stub-resolv.conf", at("etc/resolv.conf")).unwrap();

    let unpack = Command::new("busybox").args(["tar", "-x", "-C"]).arg(root.path());
    match unpack.input(seed::tar(&identity).unwrap()).run(&CancellationToken::new()).await {
        Err(error) if error.is_not_found() => return skip("busybox is not installed"),
        unpacked => drop(unpacked.unwrap()),
    }
    assert_eq!(fs_err::read_to_string(at("etc/hostname")).unwrap(), "agents-0\n");
    assert_eq!(fs_err::read_to_string(at("etc/resolv.conf")).unwrap(), "nameserver 10.0.2.3\n");
    let key = fs_err::read_to_string(at("etc/ssh/ssh_host_ed25519_key")).unwrap();
    assert_eq!(key, identity.host_key.private_openssh.expose());
    let modes =
        [("etc/ssh/ssh_host_ed25519_key", 0o600), ("root/.ssh", 0o700), ("root/.ssh/authorized_keys", 0o600)];
    for (path, mode) in modes {
        let found = fs_err::metadata(at(path)).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, mode, "{path}");
    }
}
