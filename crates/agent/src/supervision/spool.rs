//! What is kept of one output stream, as a pure state machine: it decides, `pump.rs` acts.
//!
//! Bytes are counted from the stream's beginning. What was said and not yet acknowledged is kept whole, in one of two
//! places:
//!
//! ```text
//!            a client takes it                     nobody does, or not for a while
//!  Memory ───────────────────────▶ Memory         ┌──────────▶ File
//!    ▲      full: wait                │  spill    │             │ full: wait
//!    │                                └───────────┘             │
//!    └────────────── reset, when all of the file was acknowledged ◀┘
//! ```
//! Never in both: a client that finds a file gets that first, and meanwhile the program is held at the client's pace. So a
//! file's length says how far the stream is, and nothing but what a client was just given can be lost with the agent.

use std::{collections::VecDeque, ops::Range};

use bytes::{Bytes, BytesMut};

/// What is worth a message of its own.
const LARGE: usize = 32 * 1024;
/// No stream is so long: marks that say so were damaged, and counting on from there would leave the numbers.
const FURTHEST: u64 = 1 << 62;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// In memory, while a client takes it.
    pub memory: usize,
    /// In the file.
    pub file: u64,
}

/// Whether anybody takes what is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// Somebody does.
    Taking,
    /// Nobody is there, or they have taken nothing for a while.
    Away,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read at most so much into memory: [`Spool::remembered`].
    Read(usize),
    /// Write these to the file's beginning: [`Spool::spilled`].
    Spill(Vec<Bytes>),
    /// Move at most so much from the program to this place of the file: [`Spool::filed`].
    Move {
        /// The place in the file.
        at: u64,
        /// How much.
        most: u64,
    },
    /// Empty the file: [`Spool::emptied`].
    Empty,
    /// Leave the program waiting until something changes.
    Wait,
}

/// What can be given to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// From memory.
    Memory {
        /// Where it begins in the stream: later than asked for when something in between is gone.
        offset: u64,
        /// What was said.
        data: Bytes,
    },
    /// From the file.
    File {
        /// Where it begins in the stream.
        offset: u64,
        /// The place in the file.
        at: u64,
        /// How much there is.
        length: u64,
    },
    /// Nothing yet.
    Nothing,
}

/// What outlives the agent beside the file itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// How far the stream was read, while it is kept in memory.
    pub position: u64,
    /// Where the file begins in the stream; nothing while it is kept in memory.
    pub base: Option<u64>,
}

/// One stream.
#[derive(Clone, Debug)]
pub struct Spool {
    bounds: Bounds,
    kept: Range<u64>,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    /// Pieces of all that is kept.
    Memory(VecDeque<Bytes>),
    /// All from here on is in the file, whose first byte this is.
    File(u64),
}

impl Spool {
    /// An empty one.
    #[must_use]
    pub const fn new(bounds: Bounds) -> Self {
        Self { bounds, kept: 0..0, place: Place::Memory(VecDeque::new()) }
    }

    /// One that an agent before this one kept, with what its file holds.
    #[must_use]
    pub fn restored(bounds: Bounds, marks: Marks, file: u64) -> Self {
        let (kept, place) = match marks.base {
            Some(base) => {
                let base = base.min(FURTHEST);
                (base..base.saturating_add(file.min(FURTHEST)), Place::File(base))
            }
            None => {
                let position = marks.position.min(FURTHEST);
                (position..position, Place::Memory(VecDeque::new()))
            }
        };
        Self { bounds, kept, place }
    }

    /// What to write down before the next [`Step`] is done, which reads `coming` bytes into memory.
    #[must_use]
    pub fn marks(&self, coming: u64) -> Marks {
        match self.place {
            Place::Memory(_) => Marks { position: self.kept.end + coming, base: None },
            Place::File(base) => Marks { position: self.kept.end, base: Some(base) },
        }
    }

    /// How much was said so far.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.kept.end
    }

    /// From where on it is kept.
    #[must_use]
    pub const fn start(&self) -> u64 {
        self.kept.start
    }

    /// What to do next.
    #[must_use]
    pub fn next(&self, client: Client) -> Step {
        let held = self.kept.end - self.kept.start;
        match (&self.place, client) {
            (Place::Memory(_), Client::Taking) => match self.room() {
                0 => Step::Wait,
                room => Step::Read(room),
            },
            (Place::Memory(pieces), Client::Away) => Step::Spill(pieces.iter().cloned().collect()),
            (Place::File(base), _) if held == 0 && self.kept.end > *base => Step::Empty,
            (Place::File(_), Client::Taking) if held > 0 => Step::Wait,
            (Place::File(_), Client::Taking) => Step::Empty,
            (Place::File(base), Client::Away) => {
                let at = self.kept.end - base;
                match self.bounds.file.saturating_sub(at) {
                    0 => Step::Wait,
                    most => Step::Move { at, most },
                }
            }
        }
    }

    fn room(&self) -> usize {
        let held = usize::try_from(self.kept.end - self.kept.start).unwrap_or(usize::MAX);
        self.bounds.memory.saturating_sub(held)
    }

    /// These were read into memory.
    pub fn remembered(&mut self, data: Bytes) {
        if let Place::Memory(pieces) = &mut self.place {
            self.kept.end += data.len() as u64;
            pieces.push_back(data);
        }
    }

    /// All that is kept is in the file now, which begins with `base`; some of it may have been acknowledged meanwhile.
    pub fn spilled(&mut self, base: u64) {
        self.place = Place::File(base);
    }

    /// So much was moved to the file's end.
    pub const fn filed(&mut self, bytes: u64) {
        self.kept.end += bytes;
    }

    /// The file is empty, and memory is used again.
    pub fn emptied(&mut self) {
        self.place = Place::Memory(VecDeque::new());
    }

    /// A client has everything before `offset`: it is forgotten. Returns whether that is news.
    pub fn acknowledged(&mut self, offset: u64) -> bool {
        let offset = offset.min(self.kept.end);
        if offset <= self.kept.start {
            return false;
        }
        if let Place::Memory(pieces) = &mut self.place {
            let mut forget = usize::try_from(offset - self.kept.start).unwrap_or(usize::MAX);
            while let Some(mut first) = pieces.pop_front() {
                if first.len() > forget {
                    let rest = first.split_off(forget);
                    pieces.push_front(rest);
                    break;
                }
                forget -= first.len();
            }
        }
        self.kept.start = offset;
        true
    }

    /// What a client who has everything before `offset` gets next.
    #[must_use]
    pub fn piece(&self, offset: u64) -> Piece {
        let offset = offset.max(self.kept.start);
        if offset >= self.kept.end {
            return Piece::Nothing;
        }
        match &self.place {
            Place::File(base) => Piece::File { offset, at: offset - base, length: self.kept.end - offset },
            Place::Memory(pieces) => {
                let mut skip = usize::try_from(offset - self.kept.start).unwrap_or(usize::MAX);
                let mut rest = pieces.iter();
                let first = rest.find_map(|piece| {
                    let found = (skip < piece.len()).then(|| piece.slice(skip..));
                    skip = skip.saturating_sub(piece.len());
                    found
                });
                let Some(first) = first else { return Piece::Nothing };
                Piece::Memory { offset, data: gathered(first, rest) }
            }
        }
    }
}

/// Lines that were said one by one go to a client together; a large piece is never copied.
fn gathered<'a>(first: Bytes, rest: impl Iterator<Item = &'a Bytes>) -> Bytes {
    let mut rest = rest.peekable();
    if first.len() >= LARGE || rest.peek().is_none() {
        return first;
    }
    let mut all = BytesMut::from(first);
    for piece in rest.take_while(|piece| piece.len() < LARGE) {
        all.extend_from_slice(piece);
        if all.len() >= LARGE {
            break;
        }
    }
    all.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds { memory: 64, file: 256 };

    /// A program that counts, a file, a client that keeps what it got, and an agent that may be killed at any time.
    struct World {
        spool: Spool,
        file: Vec<u8>,
        marks: Marks,
        said: u64,
        client: Client,
        got: u64,
        lost: u64,
        killed: bool,
    }

    fn said(at: u64) -> u8 {
        u8::try_from(at * 7 % 251).expect("below 251")
    }

    impl World {
        fn new() -> Self {
            let spool = Spool::new(BOUNDS);
            Self {
                marks: spool.marks(0),
                spool,
                file: Vec::new(),
                said: 0,
                client: Client::Away,
                got: 0,
                lost: 0,
                killed: false,
            }
        }

        fn take(&mut self, most: usize) -> Vec<u8> {
            let bytes = (self.said..self.said + most as u64).map(said).collect();
            self.said += most as u64;
            bytes
        }

        /// One step of the pump, of a program that would say `ready` bytes.
        fn pump(&mut self, ready: usize) {
            match self.spool.next(self.client) {
                Step::Read(room) => {
                    let count = ready.min(room);
                    self.marks = self.spool.marks(count as u64);
                    let data = self.take(count);
                    self.spool.remembered(Bytes::from(data));
                }
                Step::Spill(pieces) => {
                    let base = self.spool.start();
                    self.file = pieces.concat();
                    self.spool.spilled(base);
                    self.marks = self.spool.marks(0);
                }
                Step::Move { at, most } => {
                    let count = ready.min(usize::try_from(most).expect("small"));
                    assert_eq!(at, self.file.len() as u64, "the file grows at its end");
                    let data = self.take(count);
                    self.file.extend(data);
                    self.spool.filed(count as u64);
                }
                Step::Empty => {
                    assert_eq!(self.spool.start(), self.spool.end(), "nothing is thrown away");
                    self.spool.emptied();
                    self.marks = self.spool.marks(0);
                    self.file.clear();
                }
                Step::Wait => {}
            }
        }

        fn give(&mut self, most: usize) {
            let (offset, data) = match self.spool.piece(self.got) {
                Piece::Memory { offset, data } => (offset, data.to_vec()),
                Piece::File { offset, at, length } => {
                    let at = usize::try_from(at).expect("small");
                    (offset, self.file[at..at + usize::try_from(length).expect("small")].to_vec())
                }
                Piece::Nothing => return,
            };
            assert!(offset == self.got || self.killed, "a gap without a reason");
            self.lost += offset - self.got;
            self.got = offset;
            for byte in data.into_iter().take(most) {
                assert_eq!(byte, said(self.got), "at {}", self.got);
                self.got += 1;
            }
        }

        fn restart(&mut self) {
            self.spool = Spool::restored(BOUNDS, self.marks, self.file.len() as u64);
            self.client = Client::Away;
            self.killed = true;
            assert_eq!(self.spool.end(), self.said, "what comes next is counted right");
        }
    }

    #[derive(Clone, Debug)]
    enum Deed {
        Say(usize),
        Give(usize),
        Acknowledge,
        Leave,
        Come,
        Kill,
    }

    fn deeds(killing: bool) -> impl Strategy<Value = Vec<Deed>> {
        let deed = prop_oneof![
            6 => (0usize..100).prop_map(Deed::Say),
            4 => (0usize..100).prop_map(Deed::Give),
            3 => Just(Deed::Acknowledge),
            1 => Just(Deed::Leave),
            1 => Just(Deed::Come),
            1 => Just(if killing { Deed::Kill } else { Deed::Acknowledge }),
        ];
        proptest::collection::vec(deed, 0..200)
    }

    fn run(deeds: &[Deed]) -> World {
        let mut world = World::new();
        for deed in deeds {
            match deed {
                Deed::Say(ready) => world.pump(*ready),
                Deed::Give(most) => world.give(*most),
                Deed::Acknowledge => drop(world.spool.acknowledged(world.got)),
                Deed::Leave => world.client = Client::Away,
                Deed::Come => world.client = Client::Taking,
                Deed::Kill => world.restart(),
            }
            assert!(world.file.len() as u64 <= BOUNDS.file, "the file is bounded");
            let held = world.spool.end() - world.spool.start();
            assert!(held <= BOUNDS.file + BOUNDS.memory as u64, "what is kept is bounded");
        }
        world
    }

    /// A client that comes to stay: everything must get through.
    fn finish(world: &mut World) {
        world.client = Client::Taking;
        for _ in 0..1000 {
            world.pump(50);
            world.give(usize::MAX);
            world.spool.acknowledged(world.got);
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_comes_twice(deeds in deeds(false)) {
            let mut world = run(&deeds);
            let before = world.said;
            finish(&mut world);
            prop_assert!(world.said > before, "the program goes on");
            prop_assert_eq!((world.got, world.lost), (world.said, 0));
        }

        #[test]
        fn a_killed_agent_loses_only_what_a_client_was_about_to_get_and_says_so(deeds in deeds(true)) {
            let mut world = run(&deeds);
            finish(&mut world);
            prop_assert_eq!(world.got, world.said, "every byte came, or is counted as lost");
        }
    }

    #[test]
    fn what_nobody_takes_is_in_the_file_at_once_and_a_killed_agent_loses_nothing() {
        let mut world = World::new();
        for _ in 0..20 {
            world.pump(30);
        }
        assert_eq!(world.said, BOUNDS.file, "then the program waits");
        world.restart();
        finish(&mut world);
        assert_eq!(world.lost, 0);
    }

    #[test]
    fn an_acknowledgement_of_what_was_never_said_forgets_no_more_than_there_is() {
        let mut spool = Spool::new(BOUNDS);
        spool.remembered(Bytes::from_static(b"abc"));
        assert!(spool.acknowledged(1) && !spool.acknowledged(1));
        assert_eq!(spool.piece(0), Piece::Memory { offset: 1, data: Bytes::from_static(b"bc") });
        assert!(spool.acknowledged(u64::MAX));
        assert_eq!((spool.start(), spool.end(), spool.piece(0)), (3, 3, Piece::Nothing));
    }
}
