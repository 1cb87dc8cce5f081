//! A machine's vsock: `/dev/vhost-vsock`, opened for its QEMU, with a number (CID) that no other machine of this computer has.
//!
//! The kernel keeps the numbers of all, whoever started them. So the number is taken here, before QEMU is started: one that is
//! taken already costs another try instead of another QEMU, and QEMU needs no right to the device.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use fs_err::File;
use rustix::{
    io::Errno,
    ioctl::{Setter, ioctl, opcode},
};
use uuid::Uuid;

const DEVICE: &str = "/dev/vhost-vsock";
/// `VHOST_VSOCK_SET_GUEST_CID` of `linux/vhost.h`.
const SET_GUEST_CID: rustix::ioctl::Opcode = opcode::write::<u64>(0xAF, 0x60);
/// Numbers are 32 bits at random: even ten thousand machines have a free one at the first try.
const TRIES: usize = 10;

/// A machine's end of vsock, to be handed over to its QEMU. The number is its own as long as somebody holds the device.
#[derive(Debug)]
pub struct Vsock {
    /// Under which the machine is called.
    pub cid: u32,
    /// The open device.
    pub device: OwnedFd,
}

/// Opens the device and takes a number.
///
/// # Errors
/// When this computer has no such device, we may not open it, or the kernel refuses.
pub fn open_vsock() -> io::Result<Vsock> {
    let device = OwnedFd::from(File::options().read(true).write(true).open(DEVICE)?);
    let numbers = std::iter::repeat_with(|| Uuid::new_v4().as_fields().0);
    let cid = take_one(numbers, |cid| set_cid(&device, cid))?;
    Ok(Vsock { cid, device })
}

/// The first number that is a guest's and that nobody has.
fn take_one(
    numbers: impl Iterator<Item = u32>,
    mut take: impl FnMut(u32) -> rustix::io::Result<()>,
) -> rustix::io::Result<u32> {
    for cid in numbers.filter(|cid| is_a_guests(*cid)).take(TRIES) {
        match take(cid) {
            Err(Errno::ADDRINUSE) => {}
            taken => return taken.map(|()| cid),
        }
    }
    Err(Errno::ADDRINUSE)
}

/// The lowest numbers are the hypervisor, a computer itself and its host; the highest is nobody.
const fn is_a_guests(cid: u32) -> bool {
    cid > 2 && cid < u32::MAX
}

fn set_cid(device: &impl AsFd, cid: u32) -> rustix::io::Result<()> {
    #[expect(unsafe_code, reason = "no safe call names a guest")]
    // SAFETY: VHOST_VSOCK_SET_GUEST_CID reads one 64-bit number, which lives until the call returns.
    unsafe {
        ioctl(device, Setter::<{ SET_GUEST_CID }, u64>::new(u64::from(cid)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_the_kernels() {
        assert_eq!(SET_GUEST_CID, 0x4008_af60);
    }

    #[test]
    fn reserved_numbers_are_no_guests() {
        assert!([3, 4, u32::MAX - 1].into_iter().all(is_a_guests));
        assert!(![0, 1, 2, u32::MAX].into_iter().any(is_a_guests));
    }

    #[test]
    fn a_number_that_another_machine_has_is_not_taken() {
        let others = |cid| if cid < 7 { Err(Errno::ADDRINUSE) } else { Ok(()) };
        assert_eq!(take_one([2, 5, 6, 7, 8].into_iter(), others), Ok(7));
        assert_eq!(take_one(std::iter::repeat(5), others), Err(Errno::ADDRINUSE), "it ends");
        assert_eq!(take_one([5, 7].into_iter(), |_| Err(Errno::PERM)), Err(Errno::PERM));
    }
}
