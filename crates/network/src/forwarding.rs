//! The host's IPv4 forwarding: switched on only if it is off, and back when the last bridge that needs it goes.

use std::{io, path::Path};

use fs_err as fs;

const SWITCH: &str = "/proc/sys/net/ipv4/ip_forward";
/// In the network's folder while we are the ones who switched it on.
const RECORD: &str = "ip_forward.was_off";

/// Switches forwarding on, recording first that it was off.
pub(crate) fn enable(folder: &Path) -> io::Result<()> {
    if fs::read_to_string(SWITCH)?.trim() != "0" {
        return Ok(());
    }
    tracing::info!("IPv4 forwarding was off on this host; it is on until the last bridge is removed");
    fs::write(folder.join(RECORD), "")?;
    fs::write(SWITCH, "1")
}

/// Switches forwarding off again if we switched it on; `heir` is the folder of another bridge that needs it.
pub(crate) fn restore(folder: &Path, heir: Option<&Path>) -> io::Result<()> {
    let record = folder.join(RECORD);
    if !record.exists() {
        return Ok(());
    }
    match heir {
        Some(heir) => fs::write(heir.join(RECORD), "")?,
        None => fs::write(SWITCH, "0")?,
    }
    fs::remove_file(record)
}
