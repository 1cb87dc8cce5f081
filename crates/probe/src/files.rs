//! Trees of small files, as a build makes and deletes them, and an archive of one, as it unpacks them: the same work
//! each time, one kind of operation after another.

#![expect(
    clippy::disallowed_methods,
    reason = "errors are counted by what they say; with its path in it each would be one of its own"
)]

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    archive::{self, Packed},
    buffer::Buffer,
    crew::{self, Job, Lost, Measured, Post, Rules, Start},
    error::ProbeError,
    parameters::FileLoad,
    pattern::Generator,
    place::Site,
    samples::Operation,
};

/// One thread's tree.
struct Tree {
    load: FileLoad,
    root: PathBuf,
    archive: Packed,
    generator: Generator,
    buffer: Buffer,
    /// Time that went into making data so far.
    generating: Duration,
}

/// One kind of operation on all of a tree.
type Step = fn(&mut Tree, &Post) -> Result<(), Lost>;

/// Steps that follow one another, and the operation that they are as a whole, where that is of interest.
struct Whole {
    operation: Option<Operation>,
    steps: &'static [Step],
}

/// What is done in each pass, in this order. Each step ends early, without an error, when somebody asks to stop.
const PASS: [Whole; 4] = [
    Whole {
        operation: Some(Operation::Tree),
        steps: &[
            Tree::make_folders,
            Tree::write,
            Tree::stat,
            Tree::read,
            Tree::rename,
            Tree::delete,
            Tree::delete_folders,
        ],
    },
    Whole { operation: None, steps: &[Tree::make_folders] },
    Whole { operation: Some(Operation::Unpack), steps: &[Tree::unpack] },
    Whole { operation: None, steps: &[Tree::delete_unpacked, Tree::delete_folders] },
];

/// Streams of random numbers for archives: what is measured has those below.
const ARCHIVES: u64 = 1 << 32;

/// Makes the archives; then makes and deletes the trees.
///
/// # Errors
/// When the archives or the trees' roots cannot be made, or no thread can be started. A disk that is lost on the way is in the
/// answer.
pub(crate) fn measure(load: &FileLoad, site: &Site<'_>) -> Result<Measured, ProbeError> {
    let rules = Rules::new(site.stop, load.timeout_seconds);
    let mut jobs: Vec<Job> = Vec::new();
    for thread in 0..load.threads {
        let mut tree = Tree::new(load, site, thread).map_err(ProbeError::prepare)?;
        jobs.push(Box::new(move |post| tree.work(post)));
    }
    site.barrier.pass(site.stop)?;
    let start = Start::together(&rules, jobs.len(), Duration::ZERO);
    crew::run(&rules, start, jobs)
}

impl Tree {
    fn new(load: &FileLoad, site: &Site<'_>, thread: u16) -> std::io::Result<Self> {
        let root = site.scratch.join(format!("tree-{thread}"));
        fs::create_dir(&root)?;
        let largest = usize::try_from(load.largest_bytes).map_err(std::io::Error::other)?;
        let mut buffer = Buffer::new(largest);
        let archive = pack(load, site, thread, &mut buffer)?;
        Ok(Self {
            load: load.clone(),
            root,
            archive,
            generator: Generator::new(load.seed, thread.into()),
            buffer,
            generating: Duration::ZERO,
        })
    }

    fn work(&mut self, post: &Post) -> Result<(), Lost> {
        for _ in post.running(self.load.passes) {
            for whole in &PASS {
                self.do_whole(post, whole)?;
            }
        }
        Ok(())
    }

    fn do_whole(&mut self, post: &Post, whole: &Whole) -> Result<(), Lost> {
        let (begun, generating) = (post.rules.clock.now(), self.generating);
        for step in whole.steps {
            step(self, post)?;
        }
        let took = post.rules.clock.now().saturating_sub(begun);
        let took = took.saturating_sub(self.generating - generating);
        // What was left half way is no sample of anything.
        if let Some(operation) = whole.operation.filter(|_| !post.rules.stop.asked()) {
            // The time-out is that of a single operation.
            post.note(|samples| {
                samples.record(operation, took, Duration::MAX, &Ok(0));
            });
        }
        Ok(())
    }

    fn make_folders(&mut self, post: &Post) -> Result<(), Lost> {
        for folder in post.running(self.folders()) {
            let path = self.folder(folder);
            post.perform(Operation::MakeFolder, None, || fs::create_dir(&path).map(|()| 0))?;
        }
        Ok(())
    }

    fn write(&mut self, post: &Post) -> Result<(), Lost> {
        for file in post.running(self.load.files) {
            let (path, length) = (self.file(file, "new"), self.make_data(post));
            let mut opened = None;
            post.perform(Operation::CreateFile, None, || {
                opened = Some(OpenOptions::new().write(true).create_new(true).open(&path)?);
                Ok(0)
            })?;
            // A file that could not be made is a failed sample already.
            if let Some(file) = opened {
                self.fill(post, file, length)?;
            }
        }
        Ok(())
    }

    fn fill(&mut self, post: &Post, mut file: File, length: usize) -> Result<(), Lost> {
        let data = &self.buffer.bytes()[..length];
        if !self.load.fsync {
            return post.perform(Operation::WriteFile, None, move || {
                file.write_all(data)?;
                drop(file);
                Ok(length as u64)
            });
        }
        post.perform(Operation::WriteFile, None, || file.write_all(data).map(|()| length as u64))?;
        post.perform(Operation::FlushFile, None, || file.sync_all().map(|()| 0))
    }

    fn stat(&mut self, post: &Post) -> Result<(), Lost> {
        self.each_file(post, Operation::Stat, |path, _| fs::metadata(path).map(|_| 0))
    }

    fn read(&mut self, post: &Post) -> Result<(), Lost> {
        self.each_file(post, Operation::ReadFile, |path, buffer| {
            let (mut file, mut total) = (File::open(path)?, 0);
            loop {
                match file.read(buffer)? {
                    0 => return Ok(total),
                    count => total += count as u64,
                }
            }
        })
    }

    fn rename(&mut self, post: &Post) -> Result<(), Lost> {
        for file in post.running(self.load.files) {
            let (from, to) = (self.file(file, "new"), self.file(file, "done"));
            post.perform(Operation::Rename, None, || fs::rename(&from, &to).map(|()| 0))?;
        }
        Ok(())
    }

    fn unpack(&mut self, post: &Post) -> Result<(), Lost> {
        let lost = |error: std::io::Error| Lost(error.to_string());
        let mut archive = self.archive.open().map_err(lost)?;
        let mut entries = archive.entries().map_err(lost)?;
        for number in post.running(self.load.files) {
            let (path, mut unpacked) = (self.file(number, "unpacked"), None);
            post.perform(Operation::UnpackFile, None, || {
                let (file, length) = archive::unpack_next(&mut entries, &path, self.buffer.bytes())?;
                // One that is not flushed is closed here.
                unpacked = self.load.fsync.then_some(file);
                Ok(length)
            })?;
            if let Some(file) = unpacked {
                post.perform(Operation::FlushFile, None, || file.sync_all().map(|()| 0))?;
            }
        }
        Ok(())
    }

    fn delete(&mut self, post: &Post) -> Result<(), Lost> {
        self.delete_files(post, "done")
    }

    fn delete_unpacked(&mut self, post: &Post) -> Result<(), Lost> {
        self.delete_files(post, "unpacked")
    }

    fn delete_files(&self, post: &Post, state: &str) -> Result<(), Lost> {
        for file in post.running(self.load.files) {
            let path = self.file(file, state);
            post.perform(Operation::DeleteFile, None, || fs::remove_file(&path).map(|()| 0))?;
        }
        Ok(())
    }

    fn delete_folders(&mut self, post: &Post) -> Result<(), Lost> {
        for folder in post.running(self.folders()) {
            let path = self.folder(folder);
            post.perform(Operation::DeleteFolder, None, || fs::remove_dir(&path).map(|()| 0))?;
        }
        Ok(())
    }

    fn each_file(
        &mut self,
        post: &Post,
        operation: Operation,
        act: impl Fn(&Path, &mut [u8]) -> std::io::Result<u64>,
    ) -> Result<(), Lost> {
        for file in post.running(self.load.files) {
            let path = self.file(file, "new");
            post.perform(operation, None, || act(&path, self.buffer.bytes()))?;
        }
        Ok(())
    }

    /// Makes the next file's data; how many bytes it has.
    fn make_data(&mut self, post: &Post) -> usize {
        let mut length = 0;
        let took = post.make_data(|| {
            length = self.load.length(&mut self.generator);
            self.generator.fill(&mut self.buffer.bytes()[..length]);
        });
        self.generating += took;
        length
    }

    const fn folders(&self) -> u32 {
        self.load.files.div_ceil(self.load.per_folder)
    }

    fn folder(&self, folder: u32) -> PathBuf {
        self.root.join(format!("folder-{folder}"))
    }

    fn file(&self, file: u32, state: &str) -> PathBuf {
        self.folder(file / self.load.per_folder).join(format!("file-{file}.{state}"))
    }
}

/// An archive of a tree's files, with data of its own.
fn pack(load: &FileLoad, site: &Site<'_>, thread: u16, buffer: &mut Buffer) -> std::io::Result<Packed> {
    let mut generator = Generator::new(load.seed, ARCHIVES + u64::from(thread));
    let mut files = (0..load.files).take_while(|_| !site.stop.asked());
    Packed::make(site.scratch.join(format!("tree-{thread}.tar")), buffer.bytes(), |buffer| {
        let (file, length) = (files.next()?, load.length(&mut generator));
        generator.fill(&mut buffer[..length]);
        let folder = PathBuf::from(format!("folder-{}", file / load.per_folder));
        Some((folder.join(format!("file-{file}")), length))
    })
}
