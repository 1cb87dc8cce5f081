//! Names of documents and machines. They become host names, folder names and interface names, so they are strict.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The name of a document: a DNS label (RFC 1123) of at most 40 characters, so that `NAME-1000` still is one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// A machine's name, `POOL-N`. It stays over a reset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MachineName {
    /// The pool it belongs to.
    pub pool: Name,
    /// Its place in the pool, from 0.
    pub index: u32,
}

/// A text that cannot be a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a name: use 1 to 40 lower-case letters, digits and '-', not at the ends")]
pub struct NameError(String);

impl Name {
    /// The longest name.
    pub const MAX: usize = 40;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let good = (1..=Self::MAX).contains(&text.len())
            && text.bytes().all(label)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if good { Ok(Self(text.to_owned())) } else { Err(NameError(text.to_owned())) }
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for MachineName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let bad = || NameError(text.to_owned());
        let (pool, index) = text.rsplit_once('-').ok_or_else(bad)?;
        let plain = index == "0" || !index.starts_with(['0', '+']);
        let index = index.parse().ok().filter(|_| plain).ok_or_else(bad)?;
        Ok(Self { pool: pool.parse().map_err(|_| bad())?, index })
    }
}

impl TryFrom<String> for MachineName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<MachineName> for String {
    fn from(name: MachineName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for MachineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}-{}", self.pool, self.index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_names_end_in_a_plain_number() {
        let name: MachineName = "web-agents-12".parse().unwrap();
        assert_eq!((name.pool.as_str(), name.index), ("web-agents", 12));
        for bad in ["agents", "agents-", "agents-01", "agents-+1", "-1", "Agents-1"] {
            assert!(bad.parse::<MachineName>().is_err(), "{bad}");
        }
    }
}
