//! Linux's io_uring: a queue that the kernel shares with us.

use std::{fs::File, io, os::fd::AsRawFd, time::Duration};

use io_uring::{IoUring, opcode, squeue, types};

use crate::{
    buffer::Buffer,
    lane::{Ended, Queue},
    samples::Operation,
};

/// In an entry's data: the flush behind a write, not the write.
const IS_FLUSH: u64 = 1 << 32;

/// A file with its ring.
pub(crate) struct Ring {
    // Before the buffers: dropped first.
    ring: IoUring,
    slots: Vec<Slot>,
    file: File,
    block: u64,
}

/// A place in the queue.
struct Slot {
    buffer: Buffer,
    /// How many completions are still to come.
    left: u8,
    outcome: io::Result<u64>,
}

/// Whether this system has an io_uring that can wait with a deadline (Linux 5.11), and lets us use it.
///
/// # Errors
/// Why not.
pub(crate) fn check() -> io::Result<()> {
    let ring = IoUring::new(1)?;
    if ring.params().is_feature_ext_arg() {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::Unsupported, "it needs Linux 5.11"))
    }
}

impl Ring {
    /// A ring with `depth` places for blocks of `block` bytes.
    ///
    /// # Errors
    /// When there is no ring, or no memory for its buffers.
    pub(crate) fn new(file: File, depth: u16, block: u64) -> io::Result<Self> {
        let length = usize::try_from(block).map_err(io::Error::other)?;
        let slot = || Slot { buffer: Buffer::new(length), left: 0, outcome: Ok(0) };
        Ok(Self {
            // A write and its flush are two entries.
            ring: IoUring::new(u32::from(depth) * 2)?,
            slots: (0..depth).map(|_| slot()).collect(),
            file,
            block,
        })
    }

    /// Takes what the kernel has finished.
    fn reap(&mut self, ended: &mut Vec<Ended>) {
        for completion in self.ring.completion() {
            let data = completion.user_data();
            let Ok(place) = usize::try_from(data & (IS_FLUSH - 1)) else { continue };
            let slot = &mut self.slots[place];
            slot.left -= 1;
            slot.add(completion.result(), data & IS_FLUSH == 0, self.block);
            if slot.left == 0 {
                ended.push(Ended { place, outcome: std::mem::replace(&mut slot.outcome, Ok(0)) });
            }
        }
    }
}

impl Queue for Ring {
    fn depth(&self) -> usize {
        self.slots.len()
    }

    fn data(&mut self, place: usize) -> &mut [u8] {
        // Nobody but the kernel may touch memory that it has.
        assert_eq!(self.slots[place].left, 0, "an operation is under way there");
        self.slots[place].buffer.bytes()
    }

    fn begin(&mut self, place: usize, operation: Operation, offset: u64) -> io::Result<()> {
        let slot = &mut self.slots[place];
        assert_eq!(slot.left, 0, "an operation is under way there");
        let entries = entries(&self.file, slot, operation, (place, offset))?;
        slot.left = if entries.1.is_some() { 2 } else { 1 };
        for entry in [Some(entries.0), entries.1].into_iter().flatten() {
            #[expect(
                unsafe_code,
                reason = "io_uring's own call: the kernel uses memory that Rust does not see"
            )]
            // SAFETY: the entry names our open file and the slot's buffer. Neither is touched, moved or dropped
            // before its completions are reaped: `data` and `begin` refuse a place that has some to come, and
            // `Drop` keeps the buffers for ever when there are any.
            unsafe { self.ring.submission().push(&entry) }.map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn wait(&mut self, most: Duration, ended: &mut Vec<Ended>) -> io::Result<()> {
        let time = types::Timespec::from(most);
        let arguments = types::SubmitArgs::new().timespec(&time);
        let outcome = self.ring.submitter().submit_with_args(1, &arguments);
        self.reap(ended);
        match outcome {
            Err(error) if matches!(error.raw_os_error(), Some(code) if WOKEN.contains(&code)) => Ok(()),
            outcome => outcome.map(|_| ()),
        }
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.slots.iter().any(|slot| slot.left > 0) {
            // The kernel may still write into them.
            std::mem::forget(std::mem::take(&mut self.slots));
        }
    }
}

impl Slot {
    /// Adds a completion. The first error stays: a flush behind a failed write is cancelled.
    fn add(&mut self, result: i32, moves_data: bool, block: u64) {
        let outcome = match u64::try_from(result) {
            Ok(bytes) if moves_data && bytes != block => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => Ok(bytes),
            Err(_) => Err(io::Error::from_raw_os_error(-result)),
        };
        self.outcome = match (std::mem::replace(&mut self.outcome, Ok(0)), outcome) {
            (Ok(before), Ok(bytes)) => Ok(before + bytes),
            (Err(error), _) | (Ok(_), Err(error)) => Err(error),
        };
    }
}

/// The wait's own end, and a signal.
const WOKEN: [i32; 2] = [rustix::io::Errno::TIME.raw_os_error(), rustix::io::Errno::INTR.raw_os_error()];

/// The operation on a slot's buffer, and the flush behind it.
fn entries(
    file: &File,
    slot: &mut Slot,
    operation: Operation,
    (place, offset): (usize, u64),
) -> io::Result<(squeue::Entry, Option<squeue::Entry>)> {
    let file = types::Fd(file.as_raw_fd());
    let buffer = slot.buffer.bytes();
    let length = u32::try_from(buffer.len()).map_err(io::Error::other)?;
    let data = place as u64;
    let write = || opcode::Write::new(file, buffer.as_ptr(), length).offset(offset).build().user_data(data);
    Ok(match operation {
        Operation::Read => {
            let read = opcode::Read::new(file, buffer.as_mut_ptr(), length).offset(offset);
            (read.build().user_data(data), None)
        }
        Operation::DurableWrite => {
            let flush = opcode::Fsync::new(file).flags(types::FsyncFlags::DATASYNC).build();
            (write().flags(squeue::Flags::IO_LINK), Some(flush.user_data(data | IS_FLUSH)))
        }
        _ => (write(), None),
    })
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        sync::{Arc, atomic::AtomicU64},
    };

    use super::*;
    use crate::{
        cli::Caching,
        clock::{Monotonic, Stop},
        crew::{Lost, Post, Rules},
        lane,
        load::{Pace, Positions, Task},
        pattern::Generator,
        platform,
        samples::Samples,
        timeline::Recorder,
    };

    const MINUTE: Duration = Duration::from_secs(60);

    /// What a lane on `file` records; nothing where there is no io_uring.
    fn run(file: File, operation: Operation, positions: Positions) -> Option<(Samples, Result<(), Lost>)> {
        check().ok()?;
        let pace = Arc::new(Pace::Closed { end: MINUTE });
        let generator = Generator::new(1, 0);
        let task = Task { positions, pace, operation, block: 4096, blocks: 8, flush_at_end: false };
        let rules = Rules { clock: Arc::new(Monotonic::start()), stop: Stop::default(), timeout: MINUTE };
        let post = Post::new(rules, Recorder::default());
        let ring = Ring::new(file, 3, 4096).expect("a ring");
        let ended = lane::job(ring, task, generator)(&post);
        Some((post.take_samples(), ended))
    }

    #[test]
    fn what_is_written_stands_in_the_file_and_is_one_sample_with_its_flush() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let file = platform::open(&path, Caching::Cached).expect("a file");
        let once = Positions::Once { taken: Arc::default(), order: None };
        let Some((samples, ended)) = run(file, Operation::DurableWrite, once) else { return };
        ended.expect("the disk is there");
        let latencies = &samples.latencies[&Operation::DurableWrite];
        assert_eq!((latencies.count(), latencies.failures()), (8, 0));
        assert_eq!(samples.bytes[&Operation::DurableWrite], 8 * 4096);
        let written = fs_err::read(&path).expect("the file");
        let different: BTreeSet<&[u8]> = written.chunks(4096).collect();
        assert_eq!((written.len(), different.len()), (8 * 4096, 8));
        assert!(written.chunks(8).all(|word| word != [0; 8]));
    }

    #[test]
    fn a_read_that_brings_too_little_is_a_failure_and_many_are_a_lost_disk() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = platform::open(&folder.path().join("file"), Caching::Cached).expect("a file");
        let sequential = Positions::Sequential(Arc::new(AtomicU64::new(0)));
        let Some((samples, ended)) = run(file, Operation::Read, sequential) else { return };
        ended.expect_err("nothing can be read");
        let latencies = &samples.latencies[&Operation::Read];
        assert!(latencies.failures() >= 16 && latencies.failures() == latencies.count());
    }
}
