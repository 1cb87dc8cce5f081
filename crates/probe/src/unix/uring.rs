//! Linux's io_uring: one thread with many operations under way.
//!
//! Latency counts from when an operation is handed over to when this thread sees that it has ended: making the
//! data of another block, which is done in between, is in it. With 4 KiB that is below a microsecond.

use std::{io, os::fd::AsRawFd, time::Duration};

use io_uring::{IoUring, opcode, squeue, types};

use crate::{
    blocks::Lane,
    buffer::Buffer,
    crew::{Job, Lost, Post},
    load::Turn,
    samples::Operation,
};

/// How long a wait goes on at most after somebody asked to stop.
const SLICE: Duration = Duration::from_millis(50);

/// In an entry's data: the flush behind a write, not the write.
const IS_FLUSH: u64 = 1 << 32;

/// A lane with its ring.
struct Ring {
    // Before the buffers: dropped first.
    ring: IoUring,
    slots: Vec<Slot>,
    lane: Lane,
    free: Vec<usize>,
    /// An operation of an open loop that is not due yet.
    waiting: Option<Duration>,
    /// When a place became free after all had been taken.
    freed_at: Duration,
    exhausted: bool,
    lost: Option<Lost>,
}

/// A place in the queue.
struct Slot {
    buffer: Buffer,
    since: Duration,
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

/// The job of a thread with a ring of its own.
///
/// # Errors
/// When there is no ring, or no memory for its buffers.
pub(crate) fn ring_job(lane: Lane) -> io::Result<Job> {
    let depth = usize::from(lane.depth);
    let length = usize::try_from(lane.task.block).map_err(io::Error::other)?;
    let slot = || Slot { buffer: Buffer::new(length), since: Duration::ZERO, left: 0, outcome: Ok(0) };
    let mut ring = Ring {
        // A write and its flush are two entries.
        ring: IoUring::new(u32::from(lane.depth) * 2)?,
        slots: (0..depth).map(|_| slot()).collect(),
        lane,
        free: (0..depth).collect(),
        waiting: None,
        freed_at: Duration::ZERO,
        exhausted: false,
        lost: None,
    };
    for slot in &mut ring.slots {
        ring.lane.generator.fill(slot.buffer.bytes());
    }
    Ok(Box::new(move |post| ring.work(post)))
}

impl Ring {
    fn work(mut self, post: &Post) -> Result<(), Lost> {
        loop {
            let broken = self.begin_all(post).and_then(|()| self.wait(post));
            self.reap(post);
            if let Err(error) = broken {
                self.lost.get_or_insert(Lost(error.to_string()));
            }
            // Also what failed is waited for: the kernel still has the buffers.
            if self.is_idle() && self.is_over(post) {
                break;
            }
        }
        if let Some(lost) = self.lost.take() {
            return Err(lost);
        }
        if self.lane.task.flush_at_end && !post.rules.stop.asked() {
            post.perform(Operation::Flush, None, || self.lane.file.sync_data().map(|()| 0))?;
        }
        Ok(())
    }

    fn is_idle(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    fn is_over(&self, post: &Post) -> bool {
        self.exhausted || self.lost.is_some() || post.rules.stop.asked()
    }

    /// Hands over all that is due and has a place.
    fn begin_all(&mut self, post: &Post) -> io::Result<()> {
        while !self.is_over(post) && !self.free.is_empty() {
            let now = post.rules.clock.now();
            let turn = self.waiting.take().map(Turn::Due).or_else(|| self.lane.task.pace.turn(now));
            match turn {
                None => self.exhausted = true,
                Some(Turn::Due(due)) if due > now => {
                    self.waiting = Some(due);
                    break;
                }
                Some(Turn::Due(due)) => self.begin_due(post, due)?,
                Some(Turn::Now) => self.begin(post, None)?,
            }
        }
        Ok(())
    }

    fn begin_due(&mut self, post: &Post, due: Duration) -> io::Result<()> {
        let late = post.rules.clock.now().saturating_sub(due);
        // What was due before that has waited for a place, and not for us.
        if due >= self.freed_at {
            post.note(|samples| samples.lateness.record(late));
        }
        if late > post.rules.timeout {
            post.give_up(self.lane.task.operation, due);
            return Ok(());
        }
        self.begin(post, Some(due))
    }

    fn begin(&mut self, post: &Post, due: Option<Duration>) -> io::Result<()> {
        let Some(block) = self.lane.task.positions.next(self.lane.task.blocks) else {
            self.exhausted = true;
            return Ok(());
        };
        let Some(place) = self.free.pop() else { return Ok(()) };
        post.begin(place, self.lane.task.operation, due);
        let slot = &mut self.slots[place];
        slot.since = due.unwrap_or_else(|| post.rules.clock.now());
        slot.outcome = Ok(0);
        let entries = entries(&self.lane, slot, place, block * self.lane.task.block)?;
        slot.left = if entries.1.is_some() { 2 } else { 1 };
        for entry in [Some(entries.0), entries.1].into_iter().flatten() {
            #[expect(
                unsafe_code,
                reason = "io_uring's own call: the kernel uses memory that Rust does not see"
            )]
            // SAFETY: the entry names our open file and the slot's buffer. Neither is touched, moved or dropped
            // before its completions are reaped: a slot is used again only when it is free, `work` ends only when
            // all are, and `Drop` keeps the buffers for ever otherwise.
            unsafe { self.ring.submission().push(&entry) }.map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Hands over what was pushed and waits for a completion, or until the next operation is due.
    fn wait(&mut self, post: &Post) -> io::Result<()> {
        let until_due = self.waiting.map(|due| due.saturating_sub(post.rules.clock.now()));
        let nothing_to_wait_for = self.is_idle() && self.waiting.is_none();
        let time = if nothing_to_wait_for { Duration::ZERO } else { until_due.unwrap_or(SLICE).min(SLICE) };
        let time = types::Timespec::from(time);
        let arguments = types::SubmitArgs::new().timespec(&time);
        match self.ring.submitter().submit_with_args(1, &arguments) {
            Err(error) if matches!(error.raw_os_error(), Some(code) if WOKEN.contains(&code)) => Ok(()),
            outcome => outcome.map(|_| ()),
        }
    }

    /// Records what has ended; then makes the data of what comes next.
    fn reap(&mut self, post: &Post) {
        let mut ended = Vec::new();
        for completion in self.ring.completion() {
            let data = completion.user_data();
            let Ok(place) = usize::try_from(data & (IS_FLUSH - 1)) else { continue };
            let slot = &mut self.slots[place];
            slot.left -= 1;
            slot.add(completion.result(), data & IS_FLUSH == 0, self.lane.task.block);
            if slot.left == 0 {
                ended.push((place, post.rules.clock.now().saturating_sub(slot.since)));
            }
        }
        if self.free.is_empty() && !ended.is_empty() {
            self.freed_at = post.rules.clock.now();
        }
        for (place, took) in ended {
            let outcome = std::mem::replace(&mut self.slots[place].outcome, Ok(0));
            if let Err(lost) = post.end(place, self.lane.task.operation, took, outcome) {
                self.lost.get_or_insert(lost);
            }
            self.prepare(post, place);
            self.free.push(place);
        }
    }

    fn prepare(&mut self, post: &Post, place: usize) {
        if self.lane.task.operation == Operation::Read {
            return;
        }
        post.make_data(|| self.lane.generator.fill(self.slots[place].buffer.bytes()));
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if !self.is_idle() {
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
    lane: &Lane,
    slot: &mut Slot,
    place: usize,
    offset: u64,
) -> io::Result<(squeue::Entry, Option<squeue::Entry>)> {
    let file = types::Fd(lane.file.as_raw_fd());
    let buffer = slot.buffer.bytes();
    let length = u32::try_from(buffer.len()).map_err(io::Error::other)?;
    let data = place as u64;
    let write = || opcode::Write::new(file, buffer.as_ptr(), length).offset(offset).build().user_data(data);
    Ok(match lane.task.operation {
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
        fs::File,
        sync::{Arc, atomic::AtomicU64},
    };

    use super::*;
    use crate::{
        cli::Caching,
        clock::{Monotonic, Stop},
        crew::Rules,
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
        let lane = Lane { file, generator, depth: 3, task };
        let rules = Rules { clock: Arc::new(Monotonic::start()), stop: Stop::default(), timeout: MINUTE };
        let post = Post::new(rules, Recorder::default());
        let ended = ring_job(lane).expect("a ring")(&post);
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
