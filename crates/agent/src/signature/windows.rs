//! Authenticode.

use std::path::Path;

use crate::{access::Signer, windows};

/// Who signed the program in this file, which nobody else may change meanwhile; nothing where there is no signature that
/// counts, and the log says why. Blocks: the file is hashed. Nothing is asked of the network, so a certificate that was
/// called back counts, unless it is among those that Windows distrusts.
#[must_use]
pub fn signer(file: &Path) -> Option<Signer> {
    let found = windows::signer(file);
    found.inspect_err(|error| tracing::debug!(%error, "no signature counts")).ok()
}
