//! The four numbers of an old benchmark script: how much of each.

use serde::Serialize;

use super::{Problem, Problems, check_timeout};
use crate::{cli::FourNumbers, pattern, seed::Measurement};

/// Bytes of one sequential read or write.
pub(crate) const LARGE: usize = 1 << 20;

/// Bytes of a small file, and of a read anywhere.
pub(crate) const SMALL: usize = 4096;

/// Amounts of an old benchmark script's four measurements.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SeedLoad {
    pub workload: &'static str,
    pub file_bytes: u64,
    pub large_block_bytes: usize,
    pub files: u32,
    pub reads: u32,
    /// Bytes of a small file, and of a read anywhere.
    pub small_block_bytes: usize,
    /// Of the honest measurements; the old script had one.
    pub runs: u32,
    pub timeout_seconds: f64,
    pub seed: u64,
}

impl SeedLoad {
    pub(super) fn read(args: &FourNumbers) -> Result<Self, Vec<Problem>> {
        let (mut problems, size) = (Problems::default(), args.working_set);
        let large = LARGE as u64;
        problems.unless(
            size.bytes().is_multiple_of(large) && (1..=u64::from(u32::MAX)).contains(&(size.bytes() / large)),
            format_args!("--working-set {size}: the file is written in whole MiB"),
            "--working-set 1GiB, as the old script had it",
        );
        check_timeout(&mut problems, args.timeout);
        problems.or(Self {
            workload: "seed",
            file_bytes: size.bytes(),
            large_block_bytes: LARGE,
            files: args.files,
            reads: args.reads,
            small_block_bytes: SMALL,
            runs: args.runs,
            timeout_seconds: args.timeout.duration().as_secs_f64(),
            seed: args.seed.unwrap_or_else(pattern::fresh_seed),
        })
    }

    /// Whether the amounts are those of the old script.
    pub(crate) const fn is_as_scripted(&self) -> bool {
        self.file_bytes == 1 << 30 && self.files == 1000 && self.reads == 1000
    }

    /// How many blocks the large file has.
    pub(crate) fn blocks(&self) -> u32 {
        u32::try_from(self.file_bytes / LARGE as u64).unwrap_or(u32::MAX)
    }

    /// What a measurement counts, in its unit.
    pub(crate) fn amount(&self, measurement: Measurement) -> u64 {
        match measurement {
            Measurement::SequentialWrite | Measurement::SequentialRead => self.file_bytes,
            Measurement::SmallFiles => self.files.into(),
            Measurement::RandomRead => self.reads.into(),
        }
    }
}
