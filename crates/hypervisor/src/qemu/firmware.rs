//! UEFI firmware as Debian and Ubuntu install it (package `ovmf`).

use std::path::Path;

use super::FirmwareConfig;

/// A build of OVMF and the variables that it starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Firmware {
    /// The code, shared by all machines.
    pub(crate) code: &'static str,
    /// The template of each machine's own variables.
    pub(crate) variables: &'static str,
}

/// Without secure boot.
const PLAIN: Firmware =
    Firmware { code: "/usr/share/OVMF/OVMF_CODE_4M.fd", variables: "/usr/share/OVMF/OVMF_VARS_4M.fd" };
/// With secure boot, and Microsoft's keys enrolled. Debian 12's template holds the certificates of 2011 only, which
/// ended in June 2026: media that are signed by those of 2023 alone need a newer `ovmf`.
const SECURE: Firmware = Firmware {
    code: "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd",
    variables: "/usr/share/OVMF/OVMF_VARS_4M.ms.fd",
};

/// The firmware of a machine; `None` when QEMU loads its kernel.
pub(crate) const fn of(config: &FirmwareConfig) -> Option<Firmware> {
    match config {
        FirmwareConfig::Direct { .. } => None,
        FirmwareConfig::Uefi => Some(PLAIN),
        FirmwareConfig::SecureBoot => Some(SECURE),
    }
}

impl Firmware {
    /// The first of its files that is not on this computer.
    pub(crate) fn missing(self) -> Option<&'static str> {
        [self.code, self.variables].into_iter().find(|file| !Path::new(file).exists())
    }
}
