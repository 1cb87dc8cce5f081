//! One thread with many operations under way on a file, whichever way the system has for that.
//!
//! Latency counts from when an operation is handed over to when this thread sees that it has ended: making the
//! data of another block, which is done in between, is in it.

use std::{io, time::Duration};

use crate::{
    crew::{Job, Lost, Post},
    load::{Task, Turn},
    pattern::Generator,
    samples::Operation,
};

/// How long a wait goes on at most after somebody asked to stop.
const SLICE: Duration = Duration::from_millis(50);

/// The system's way to have operations under way on one file, each at a place of its own, with a block's memory.
pub(crate) trait Queue: Send {
    /// How many places there are.
    fn depth(&self) -> usize;
    /// The memory of a place at which nothing is under way: what is written there next.
    fn data(&mut self, place: usize) -> &mut [u8];
    /// Hands over an operation at a place at which nothing is under way.
    ///
    /// # Errors
    /// When the queue itself is broken. What the disk says comes with the end of the operation.
    fn begin(&mut self, place: usize, operation: Operation, offset: u64) -> io::Result<()>;
    /// Waits for the end of an operation, at most `most`, and adds all that have ended, with the bytes they moved.
    ///
    /// # Errors
    /// When the queue itself is broken.
    fn wait(&mut self, most: Duration, ended: &mut Vec<Ended>) -> io::Result<()>;
    /// Flushes the file; nothing is under way then.
    ///
    /// # Errors
    /// As the system has them.
    fn flush(&self) -> io::Result<()>;
}

/// The end of the operation at a place.
pub(crate) struct Ended {
    pub place: usize,
    pub outcome: io::Result<u64>,
}

/// The job of a thread with a queue of its own.
pub(crate) fn job(queue: impl Queue + 'static, task: Task, generator: Generator) -> Job {
    let mut lane = Lane {
        since: vec![Duration::ZERO; queue.depth()],
        free: (0..queue.depth()).collect(),
        queue,
        task,
        generator,
        ended: Vec::new(),
        waiting: None,
        freed_at: Duration::ZERO,
        exhausted: false,
        lost: None,
    };
    for place in 0..lane.since.len() {
        lane.generator.fill(lane.queue.data(place));
    }
    Box::new(move |post| lane.work(post))
}

struct Lane<Q> {
    queue: Q,
    task: Task,
    generator: Generator,
    /// From when each place's operation counts.
    since: Vec<Duration>,
    free: Vec<usize>,
    ended: Vec<Ended>,
    /// An operation of an open loop that is not due yet.
    waiting: Option<Duration>,
    /// When a place became free after all had been taken.
    freed_at: Duration,
    exhausted: bool,
    lost: Option<Lost>,
}

impl<Q: Queue> Lane<Q> {
    fn work(mut self, post: &Post) -> Result<(), Lost> {
        loop {
            let broken = self.begin_all(post).and_then(|()| self.wait(post));
            self.reap(post);
            if let Err(error) = broken {
                self.lost.get_or_insert(Lost(error.to_string()));
            }
            // Also what failed is waited for: the kernel still has the memory.
            if self.is_idle() && self.is_over(post) {
                break;
            }
        }
        if let Some(lost) = self.lost.take() {
            return Err(lost);
        }
        if self.task.flush_at_end && !post.rules.stop.asked() {
            post.perform(Operation::Flush, None, || self.queue.flush().map(|()| 0))?;
        }
        Ok(())
    }

    fn is_idle(&self) -> bool {
        self.free.len() == self.since.len()
    }

    fn is_over(&self, post: &Post) -> bool {
        self.exhausted || self.lost.is_some() || post.rules.stop.asked()
    }

    /// Hands over all that is due and has a place.
    fn begin_all(&mut self, post: &Post) -> io::Result<()> {
        while !self.is_over(post) && !self.free.is_empty() {
            let now = post.rules.clock.now();
            let turn = self.waiting.take().map(Turn::Due).or_else(|| self.task.pace.turn(now));
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
            post.give_up(self.task.operation, due);
            return Ok(());
        }
        self.begin(post, Some(due))
    }

    fn begin(&mut self, post: &Post, due: Option<Duration>) -> io::Result<()> {
        let Some(block) = self.task.positions.next(self.task.blocks) else {
            self.exhausted = true;
            return Ok(());
        };
        let Some(place) = self.free.pop() else { return Ok(()) };
        self.since[place] = post.begin(place, self.task.operation, due);
        self.queue.begin(place, self.task.operation, block * self.task.block)
    }

    /// Hands over what was begun and waits for an end, or until the next operation is due.
    fn wait(&mut self, post: &Post) -> io::Result<()> {
        let until_due = self.waiting.map(|due| due.saturating_sub(post.rules.clock.now()));
        let nothing_to_wait_for = self.is_idle() && self.waiting.is_none();
        let most = if nothing_to_wait_for { Duration::ZERO } else { until_due.unwrap_or(SLICE).min(SLICE) };
        self.queue.wait(most, &mut self.ended)
    }

    /// Records what has ended; then makes the data of what comes next.
    fn reap(&mut self, post: &Post) {
        if self.ended.is_empty() {
            return;
        }
        let now = post.rules.clock.now();
        if self.free.is_empty() {
            self.freed_at = now;
        }
        for Ended { place, outcome } in std::mem::take(&mut self.ended) {
            let took = now.saturating_sub(self.since[place]);
            if let Err(lost) = post.end(place, self.task.operation, took, outcome) {
                self.lost.get_or_insert(lost);
            }
            self.prepare(post, place);
            self.free.push(place);
        }
    }

    fn prepare(&mut self, post: &Post, place: usize) {
        if self.task.operation != Operation::Read {
            post.make_data(|| self.generator.fill(self.queue.data(place)));
        }
    }
}
