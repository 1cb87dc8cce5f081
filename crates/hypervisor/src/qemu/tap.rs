//! Opening a machine's tap for it: QEMU gets the open descriptor as its standard input, and needs no right to
//! `/dev/net/tun`, which on some hosts only root may open.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    ioctl::{Setter, ioctl, opcode},
    net::{AddressFamily, SocketType, netdevice, socket},
};
use winstead_process::ProcessId;

/// `TUNSETIFF` of `linux/if_tun.h`; its number is encoded with an `int`, its argument is a `struct ifreq`.
const TUNSETIFF: rustix::ioctl::Opcode = opcode::write::<std::ffi::c_int>(b'T', 202);
/// `IFF_TAP`, `IFF_NO_PI` and `IFF_VNET_HDR` of `linux/if_tun.h`: frames, without a header of the driver's, with virtio's.
const FLAGS: u16 = 0x0002 | 0x1000 | 0x4000;
const NAME: usize = 16;

/// The part of `struct ifreq` that `TUNSETIFF` reads, padded to the whole 40 bytes.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; NAME],
    flags: u16,
    rest: [u8; 22],
}

/// Opens an existing tap.
///
/// # Errors
/// When it is not there, somebody else has it open, or we may not.
pub(crate) fn open(name: &str) -> io::Result<OwnedFd> {
    // Asked first, because TUNSETIFF would make one, which nobody would ever remove. Not by /sys: that may show another
    // network namespace than ours.
    let any = socket(AddressFamily::UNIX, SocketType::DGRAM, None)?;
    if netdevice::name_to_index(&any, name).is_err() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no interface {name}")));
    }
    let device = File::options().read(true).write(true).open("/dev/net/tun")?;
    attach(&device, name)?;
    Ok(device.into())
}

/// Whether a machine's QEMU still holds its tap; `None` when we may not look. A tap that somebody deleted stays open, but
/// leads nowhere, also when another one has its name by now.
#[must_use]
pub fn holds_tap(process: ProcessId, name: &str) -> Option<bool> {
    let text = fs_err::read_to_string(format!("/proc/{}/fdinfo/0", process.pid)).ok()?;
    attached_to(&text).map(|found| found == name)
}

/// The interface that an open `/dev/net/tun` is attached to, by the driver's own line in its fdinfo.
fn attached_to(fdinfo: &str) -> Option<&str> {
    fdinfo.lines().find_map(|line| line.strip_prefix("iff:")).map(str::trim)
}

fn attach(device: &impl AsFd, name: &str) -> io::Result<()> {
    let mut request = InterfaceRequest { name: [0; NAME], flags: FLAGS, rest: [0; 22] };
    // The last byte stays 0.
    request.name[..NAME - 1].iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    #[expect(
        unsafe_code,
        reason = "no safe call attaches to a tap, and a crate for it brings a routing library"
    )]
    // SAFETY: TUNSETIFF reads one `struct ifreq`, 40 bytes on all 64-bit Linux, which `InterfaceRequest` is in whole;
    // it lives until the call returns, and the kernel keeps no pointer to it.
    unsafe {
        Ok(ioctl(device, Setter::<{ TUNSETIFF }, InterfaceRequest>::new(request))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_the_kernels_ifreq() {
        assert_eq!(size_of::<InterfaceRequest>(), 40);
        assert_eq!(TUNSETIFF, 0x4004_54ca);
    }

    #[test]
    fn the_driver_says_which_interface_a_descriptor_is_attached_to() {
        assert_eq!(attached_to("pos:\t0\nflags:\t0104002\niff:\twt0123456789ab\n"), Some("wt0123456789ab"));
        assert_eq!(attached_to("pos:\t0\niff:\t\n"), Some(""), "it was deleted");
        assert_eq!(attached_to("pos:\t0\n"), None, "no tap at all");
    }

    #[test]
    fn a_tap_that_is_not_there_is_not_made() {
        assert_eq!(open("no-such-tap").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
