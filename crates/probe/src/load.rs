//! Loads on blocks: where they go, at what pace, and the loop that a worker runs.
//!
//! **Closed loop**: the next operation begins when the last has ended. Says how much a disk can do; of
//! latency it says too little, because while the disk hangs nothing is asked of it ("coordinated omission",
//! Tene 2013). **Open loop**: operations are due at times that do not depend on the disk, and latency counts
//! from then on, so that a stall is charged to all who would have waited.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    crew::{Lost, Post},
    pattern::Generator,
    samples::Operation,
};

/// What takes the operations: a file, or a test's own.
pub(crate) trait Device: Send {
    /// Makes the data of the next write; not part of its latency.
    fn prepare(&mut self);
    /// Reads the block at `offset`; how many bytes.
    fn read(&mut self, offset: u64) -> io::Result<u64>;
    /// Writes what was prepared to `offset`; how many bytes.
    fn write(&mut self, offset: u64) -> io::Result<u64>;
    /// Waits until all that was written is on the disk.
    fn flush(&mut self) -> io::Result<()>;
}

/// When operations begin.
pub(crate) enum Pace {
    /// As soon as the last has ended, until this moment.
    Closed { end: Duration },
    /// When they are due, shared by all workers.
    Open(Mutex<Arrivals>),
}

/// When operations of an open loop are due.
pub(crate) struct Arrivals {
    next: Duration,
    end: Duration,
    /// Mean time between two.
    gap: Duration,
    /// For a Poisson process; without one they are due at a fixed rate.
    generator: Option<Generator>,
}

impl Arrivals {
    /// `rate` a second, from `begin` until before `end`.
    pub(crate) fn new(begin: Duration, end: Duration, rate: f64, poisson: Option<Generator>) -> Self {
        Self { next: begin, end, gap: Duration::from_secs_f64(1.0 / rate), generator: poisson }
    }

    fn take(&mut self) -> Option<Duration> {
        let due = self.next;
        // Times between the events of a Poisson process are exponential.
        let gap = self.generator.as_mut().map_or(self.gap, |random| self.gap.mul_f64(-random.uniform().ln()));
        (due < self.end).then(|| {
            self.next = due + gap;
            due
        })
    }
}

/// When an operation is to begin.
#[derive(Clone, Copy)]
pub(crate) enum Turn {
    /// At once.
    Now,
    /// Then; it may be over already.
    Due(Duration),
}

impl Pace {
    /// When the next operation is to begin; nothing when it is over.
    pub(crate) fn turn(&self, now: Duration) -> Option<Turn> {
        match self {
            Self::Closed { end } => (now < *end).then_some(Turn::Now),
            Self::Open(arrivals) => {
                arrivals.lock().unwrap_or_else(PoisonError::into_inner).take().map(Turn::Due)
            }
        }
    }
}

/// Which block is next.
pub(crate) enum Positions {
    /// One after another, shared by all workers of a file; from the start again after the last.
    Sequential(Arc<AtomicU64>),
    /// Any, all equally likely. A block may come twice before another comes once.
    Random(Generator),
    /// Each once, in an order that all workers of a file share.
    Once {
        /// How many are taken.
        taken: Arc<AtomicU64>,
        /// Which; nothing for one after another.
        order: Option<Arc<Vec<u32>>>,
    },
}

/// All of `blocks` blocks in random order (Fisher and Yates).
pub(crate) fn shuffled(blocks: u32, generator: &mut Generator) -> Vec<u32> {
    let mut order: Vec<u32> = (0..blocks).collect();
    for last in (1..order.len()).rev() {
        let other = usize::try_from(generator.below(last as u64 + 1)).unwrap_or(last);
        order.swap(last, other);
    }
    order
}

impl Positions {
    /// The next of `blocks` blocks; nothing when each was to come once and has.
    pub(crate) fn next(&mut self, blocks: u64) -> Option<u64> {
        match self {
            Self::Sequential(next) => Some(next.fetch_add(1, Ordering::Relaxed) % blocks.max(1)),
            Self::Random(generator) => Some(generator.below(blocks)),
            Self::Once { taken, order } => {
                let turn = taken.fetch_add(1, Ordering::Relaxed);
                let at =
                    |order: &Arc<Vec<u32>>| order.get(usize::try_from(turn).ok()?).copied().map(u64::from);
                let block = order.as_ref().map_or(Some(turn), at);
                block.filter(|_| turn < blocks)
            }
        }
    }
}

/// What is done on one file, whichever engine does it.
pub(crate) struct Task {
    /// Where operations go.
    pub positions: Positions,
    /// When they begin.
    pub pace: Arc<Pace>,
    /// What is done: read, write, or write durably.
    pub operation: Operation,
    /// Bytes of one operation.
    pub block: u64,
    /// How many blocks the file has.
    pub blocks: u64,
    /// Whether everything is flushed at the end, as an operation of its own.
    pub flush_at_end: bool,
}

/// One worker on one file.
pub(crate) struct Worker {
    /// What takes the operations.
    pub device: Box<dyn Device>,
    /// What is done.
    pub task: Task,
}

impl Worker {
    /// Works until the pace has ended, each block has come that was to come once, or somebody asks to stop.
    ///
    /// # Errors
    /// When the disk is lost.
    pub(crate) fn work(mut self, post: &Post) -> Result<(), Lost> {
        let rules = &post.rules;
        while !rules.stop.asked()
            && let Some(turn) = self.task.pace.turn(rules.clock.now())
            && let Some(block) = self.task.positions.next(self.task.blocks)
        {
            let offset = block * self.task.block;
            self.prepare(post);
            match turn {
                Turn::Now => self.perform(post, offset, None)?,
                Turn::Due(due) => self.when_due(post, offset, due)?,
            }
        }
        if self.task.flush_at_end && !rules.stop.asked() {
            post.perform(Operation::Flush, None, || self.device.flush().map(|()| 0))?;
        }
        Ok(())
    }

    fn prepare(&mut self, post: &Post) {
        if self.task.operation == Operation::Read {
            return;
        }
        post.make_data(|| self.device.prepare());
    }

    fn when_due(&mut self, post: &Post, offset: u64, due: Duration) -> Result<(), Lost> {
        let rules = &post.rules;
        if rules.clock.now() < due {
            rules.clock.wait_until(due, &rules.stop);
            if rules.stop.asked() {
                return Ok(());
            }
            let late = rules.clock.now().saturating_sub(due);
            post.note(|samples| samples.lateness.record(late));
        }
        let waited = rules.clock.now().saturating_sub(due);
        if waited > rules.timeout {
            // Whoever wanted this has given up. Doing it all the same would keep a disk that is too slow for
            // the rate busy for ever.
            post.give_up(self.task.operation, due);
            return Ok(());
        }
        self.perform(post, offset, Some(due))
    }

    fn perform(&mut self, post: &Post, offset: u64, due: Option<Duration>) -> Result<(), Lost> {
        let device = &mut self.device;
        post.perform(self.task.operation, due, || match self.task.operation {
            Operation::Read => device.read(offset),
            Operation::DurableWrite => {
                let bytes = device.write(offset)?;
                device.flush().map(|()| bytes)
            }
            _ => device.write(offset),
        })
    }
}

#[cfg(test)]
mod tests;
