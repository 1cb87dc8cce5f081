//! Trees of small files: how many, and how large.

use serde::Serialize;
use winstead_spec::ByteSize;

use super::{LARGEST_BLOCK, Problem, Problems, check_timeout};
use crate::{
    buffer::ALIGNMENT,
    cli::FileTree,
    pattern::{self, Generator},
};

/// Trees of small files.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FileLoad {
    pub workload: &'static str,
    pub files: u32,
    pub per_folder: u32,
    pub smallest_bytes: u64,
    pub largest_bytes: u64,
    pub threads: u16,
    pub passes: u32,
    pub fsync: bool,
    pub timeout_seconds: f64,
    pub seed: u64,
}

impl FileLoad {
    pub(super) fn read(args: &FileTree) -> Result<Self, Vec<Problem>> {
        let mut problems = Problems::default();
        problems.unless(
            args.smallest <= args.largest && args.largest.bytes() <= LARGEST_BLOCK,
            format_args!(
                "--smallest {} and --largest {}: must ascend and end at {}",
                args.smallest,
                args.largest,
                ByteSize::from_bytes(LARGEST_BLOCK)
            ),
            "256B and 64KiB are what source trees and object files are like",
        );
        check_timeout(&mut problems, args.timeout);
        problems.or(Self {
            workload: "files",
            files: args.files,
            per_folder: args.per_folder,
            smallest_bytes: args.smallest.bytes(),
            largest_bytes: args.largest.bytes(),
            threads: args.threads,
            passes: args.passes,
            fsync: args.fsync,
            timeout_seconds: args.timeout.duration().as_secs_f64(),
            seed: args.seed.unwrap_or_else(pattern::fresh_seed),
        })
    }

    /// A tree and its archive lie beside each other; there is never more than one tree.
    pub(super) fn needed_bytes(&self) -> u64 {
        const BLOCK: u64 = 512;
        let file = self.largest_bytes.next_multiple_of(ALIGNMENT as u64);
        let packed = BLOCK + self.largest_bytes.next_multiple_of(BLOCK);
        (file + packed).saturating_mul(self.total_files())
    }

    /// Every file may have a folder of its own.
    pub(super) fn needed_files(&self) -> u64 {
        2 * self.total_files() + u64::from(self.threads) + 2
    }

    fn total_files(&self) -> u64 {
        u64::from(self.files) * u64::from(self.threads)
    }

    /// A file's length: even over the orders of magnitude, as files of a build are many small and few large ones.
    pub(crate) fn length(&self, generator: &mut Generator) -> usize {
        let (smallest, largest) = (self.smallest_bytes, self.largest_bytes);
        let spread = largest.max(1) as f64 / smallest.max(1) as f64;
        let drawn = smallest.max(1) as f64 * spread.powf(generator.uniform());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and held to the bounds, which are far below 2^53, on the next line"
        )]
        let drawn = drawn.round() as u64;
        usize::try_from(drawn.clamp(smallest, largest)).unwrap_or(0)
    }
}
