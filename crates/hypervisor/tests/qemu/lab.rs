//! A home with one machine in it, and QEMU as it is on this computer.

use std::{
    fs::Permissions,
    net::TcpListener,
    os::{fd::OwnedFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use winstead_hypervisor::qemu::{
    self, Accelerator, AdoptError, Backend, DiskConfig, FirmwareConfig, Handed, MachineConfig, NicConfig,
    Qemu, Ram, RunAs, RunState, SeedConfig, StartError,
};
use winstead_process::{Command, ProcessId};
use winstead_spec::{ByteSize, DiskFormat, Flush, GuestOs};

/// A home with one machine in it. Its parent is closed to others: QEMU must get along without rights above the home.
pub(crate) struct Lab {
    _closed: tempfile::TempDir,
    pub(crate) run: PathBuf,
    pub(crate) config: MachineConfig,
    qemu: Qemu,
    pub(crate) stop: CancellationToken,
}

impl Lab {
    pub(crate) async fn new() -> Option<Self> {
        let stop = CancellationToken::new();
        let qemu = match qemu::find(&stop).await {
            Ok(qemu) => qemu,
            Err(error) => return skip(&error.to_string()),
        };
        if !Path::new("/usr/share/OVMF/OVMF_CODE_4M.fd").exists() {
            return skip("the package ovmf is not installed");
        }
        let closed = tempfile::tempdir().unwrap();
        let home = closed.path().join("home");
        let machine = home.join("machines/web-0");
        for folder in [machine.join("run"), machine.join("disk"), home.join("bases")] {
            fs_err::create_dir_all(folder).unwrap();
        }
        fs_err::set_permissions(&home, Permissions::from_mode(0o711)).unwrap();
        create(&home.join("bases/base.qcow2"), &["64M"], &stop).await;
        overlay(&machine.join("disk"), &stop).await;
        fs_err::write(machine.join("seed.tar"), "seed").unwrap();
        fs_err::set_permissions(machine.join("seed.tar"), Permissions::from_mode(0o600)).unwrap();
        Some(Self { run: machine.join("run"), _closed: closed, config: config(), qemu, stop })
    }

    pub(crate) async fn start(&self) -> Result<qemu::Running, StartError> {
        qemu::start(&self.config, &self.qemu, &self.run, Handed::default(), &self.stop).await
    }

    /// The same with its RAM in a file.
    pub(crate) async fn start_with(&self, ram: OwnedFd) -> Result<qemu::Running, StartError> {
        qemu::start(
            &self.config,
            &self.qemu,
            &self.run,
            Handed { ram: Some(ram), ..Handed::default() },
            &self.stop,
        )
        .await
    }

    pub(crate) async fn adopt(&self, process: ProcessId) -> Result<RunState, AdoptError> {
        qemu::adopt(process, &self.config.uuid, &self.run, &self.stop).await
    }

    /// The machine's QEMU, as it is found after a crash.
    pub(crate) fn found(&self) -> Option<ProcessId> {
        qemu::find_process(&self.config.uuid, &self.run)
    }

    pub(crate) async fn stop(&self, running: qemu::Running) -> std::io::Result<()> {
        let (process, grace) = (Some(running.process), Duration::from_secs(5));
        qemu::stop(process, running.tpm, &self.config.uuid, &self.run, grace).await
    }

    pub(crate) async fn end(&self, running: qemu::Running) {
        self.stop(running).await.unwrap();
        assert!(!running.process.is_alive());
        assert!(running.tpm.is_none_or(|tpm| !tpm.is_alive()), "the TPM outlived its machine");
        assert_eq!(self.found(), None);
    }

    pub(crate) fn own_user(&mut self) -> RunAs {
        let user = RunAs { uid: 2_013_265_999, gid: 2_013_265_999, groups: vec![] };
        self.config.run_as = Some(user.clone());
        let overlay = self.run.join("../disk/overlay.qcow2");
        std::os::unix::fs::lchown(overlay, Some(user.uid), Some(user.gid)).unwrap();
        user
    }
}

fn config() -> MachineConfig {
    MachineConfig {
        name: "web-0".to_owned(),
        uuid: Uuid::new_v4(),
        os: GuestOs::Linux,
        cpus: 1,
        memory: ByteSize::from_mib(128),
        ram: Ram::Own,
        firmware: FirmwareConfig::Uefi,
        tpm: false,
        disk: DiskConfig {
            overlay: "../disk/overlay.qcow2".into(),
            layer: None,
            base: "../../../bases/base.qcow2".into(),
            base_format: DiskFormat::Qcow2,
            flush: Flush::Ignored,
            direct: false,
            io_uring: false,
        },
        nic: NicConfig {
            mac: "52:54:00:12:34:56".to_owned(),
            backend: Backend::User { ssh_port: free_port(), host_name: "web-0".to_owned() },
        },
        seed: SeedConfig::FwCfg("../seed.tar".into()),
        agent: false,
        vsock: None,
        accelerator: Accelerator::Tcg,
        run_as: None,
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn create(path: &Path, arguments: &[&str], stop: &CancellationToken) {
    let (last, options) = arguments.split_last().unwrap();
    let command =
        Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).args(options).arg(path).arg(last);
    command.run(stop).await.unwrap();
}

/// Says why a test does nothing, and gives it nothing to do.
pub(crate) fn skip<T>(reason: &str) -> Option<T> {
    winstead_testing::skip(reason);
    None
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// An overlay in a disk folder, as the store makes it.
pub(crate) async fn overlay(disk: &Path, stop: &CancellationToken) {
    let options = "extended_l2=on,cluster_size=128k";
    let base = ["-F", "qcow2", "-u", "-b", "../../../bases/base.qcow2", "-o", options, "64M"];
    create(&disk.join("overlay.qcow2"), &base, stop).await;
}
