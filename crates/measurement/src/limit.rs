//! A disk that was played: what every output calls it, and what makes its runs unlike others.

use std::{collections::BTreeMap, fmt};

use serde_json::Value;

use crate::contention::DiskLimit;

const IOPS: &str = "diskLimit.iops";
const BYTES: &str = "diskLimit.bytesPerSecond";
const MIB: u64 = 1 << 20;

impl DiskLimit {
    /// What was asked for, as a run's settings.
    pub(crate) fn settings(self) -> BTreeMap<String, Value> {
        let limits = [(IOPS, self.iops), (BYTES, self.bytes_per_second)];
        limits.into_iter().filter_map(|(key, limit)| Some((key.to_owned(), limit?.into()))).collect()
    }

    /// The limit that a run's settings name; `None` where it had none.
    pub(crate) fn of(settings: &BTreeMap<String, Value>) -> Option<Self> {
        let [iops, bytes_per_second] = [IOPS, BYTES].map(|key| settings.get(key).and_then(Value::as_u64));
        (iops.is_some() || bytes_per_second.is_some()).then_some(Self { iops, bytes_per_second })
    }
}

impl fmt::Display for DiskLimit {
    /// `SIMULATED: the disk was held to 500 operations and 50 MiB a second`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operations = self.iops.map(|iops| format!("{iops} operations"));
        // As it was asked for: `mib=40` is not 41.9 MB to whoever typed it.
        let bytes = self.bytes_per_second.map(|bytes| match bytes % MIB {
            0 => format!("{} MiB", bytes / MIB),
            _ => format!("{:.1} MB", bytes as f64 / 1e6),
        });
        let rates: Vec<String> = operations.into_iter().chain(bytes).collect();
        write!(f, "SIMULATED: the disk was held to {} a second", rates.join(" and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_said_as_it_was_asked_for() {
        let limit = |iops, bytes_per_second| DiskLimit { iops, bytes_per_second };
        for (limit, said) in [
            (limit(Some(500), None), "500 operations a second"),
            (limit(None, Some(40 << 20)), "40 MiB a second"),
            (limit(Some(500), Some(5_000_001)), "500 operations and 5.0 MB a second"),
        ] {
            assert_eq!(limit.to_string(), format!("SIMULATED: the disk was held to {said}"));
            assert_eq!(DiskLimit::of(&limit.settings()), Some(limit));
        }
        assert_eq!(DiskLimit::of(&BTreeMap::new()), None);
    }
}
