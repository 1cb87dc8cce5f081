//! SHA-256 digests as the user writes them and as the catalogue names images.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A SHA-256 digest: 64 lower-case hexadecimal digits, with or without `sha256:` in front.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256(String);

/// A text that is no SHA-256 digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a sha256 digest of 64 hexadecimal digits")]
pub struct Sha256Error(String);

impl Sha256 {
    /// The 64 digits.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.0
    }

    /// The first twelve digits: enough to tell images apart in a table.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl From<[u8; 32]> for Sha256 {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl FromStr for Sha256 {
    type Err = Sha256Error;
    fn from_str(text: &str) -> Result<Self, Sha256Error> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
        let hex = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if hex { Ok(Self(digits)) } else { Err(Sha256Error(text.to_owned())) }
    }
}

impl TryFrom<String> for Sha256 {
    type Error = Sha256Error;
    fn try_from(text: String) -> Result<Self, Sha256Error> {
        text.parse()
    }
}

impl From<Sha256> for String {
    fn from(digest: Sha256) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
