//! Trees of small files, as a build makes and deletes them: the same work each time, one kind of operation after
//! another.

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
    buffer::Buffer,
    crew::{self, Job, Lost, Measured, Post, Rules},
    error::ProbeError,
    parameters::FileLoad,
    pattern::Generator,
    place::Site,
    platform,
    result::ProbeResult,
    samples::Operation,
};

/// One thread's tree.
struct Tree {
    load: FileLoad,
    root: PathBuf,
    generator: Generator,
    buffer: Buffer,
    /// Time that went into making data so far.
    generating: Duration,
}

/// One kind of operation on all of a tree.
type Step = fn(&mut Tree, &Post) -> Result<(), Lost>;

/// What is done to a tree, in this order. Each ends early, without an error, when somebody asks to stop.
const STEPS: [Step; 7] = [
    Tree::make_folders,
    Tree::write,
    Tree::stat,
    Tree::read,
    Tree::rename,
    Tree::delete,
    Tree::delete_folders,
];

/// Makes and deletes the trees in `scratch`.
///
/// # Errors
/// When the trees' roots cannot be made, or no thread can be started. A disk that is lost on the way is in the
/// answer.
pub(crate) fn measure(
    load: &FileLoad,
    site: &Site<'_>,
    result: &mut ProbeResult,
) -> Result<Measured, ProbeError> {
    let rules = Rules::new(site.stop, load.timeout_seconds);
    let mut jobs: Vec<Job> = Vec::new();
    for thread in 0..load.threads {
        let mut tree = Tree::new(load, site.scratch, thread).map_err(ProbeError::prepare)?;
        jobs.push(Box::new(move |post| tree.work(post)));
    }
    site.barrier.pass(site.stop)?;
    let before = platform::storage_traffic();
    let begin = crew::common_start(&rules, jobs.len());
    let measured = crew::run(&rules, begin, jobs)?;
    result.traffic_was(before, platform::storage_traffic());
    Ok(measured)
}

impl Tree {
    fn new(load: &FileLoad, scratch: &Path, thread: u16) -> std::io::Result<Self> {
        let root = scratch.join(format!("tree-{thread}"));
        fs::create_dir(&root)?;
        let largest = usize::try_from(load.largest_bytes).map_err(std::io::Error::other)?;
        let generator = Generator::new(load.seed, thread.into());
        Ok(Self {
            load: load.clone(),
            root,
            generator,
            buffer: Buffer::new(largest),
            generating: Duration::ZERO,
        })
    }

    fn work(&mut self, post: &Post) -> Result<(), Lost> {
        for _ in running(post, self.load.passes) {
            let (begun, generating) = (post.rules.clock.now(), self.generating);
            for step in STEPS {
                step(self, post)?;
            }
            let took = post.rules.clock.now().saturating_sub(begun);
            let took = took.saturating_sub(self.generating - generating);
            // A tree that was left half way is no sample of anything.
            if !post.rules.stop.asked() {
                // The time-out is that of a single operation.
                post.note(|samples| samples.record(Operation::Tree, took, Duration::MAX, &Ok(0)));
            }
        }
        Ok(())
    }

    fn make_folders(&mut self, post: &Post) -> Result<(), Lost> {
        for folder in running(post, self.folders()) {
            let path = self.folder(folder);
            post.perform(Operation::MakeFolder, None, || fs::create_dir(&path).map(|()| 0))?;
        }
        Ok(())
    }

    fn write(&mut self, post: &Post) -> Result<(), Lost> {
        for file in running(post, self.load.files) {
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
        for file in running(post, self.load.files) {
            let (from, to) = (self.file(file, "new"), self.file(file, "done"));
            post.perform(Operation::Rename, None, || fs::rename(&from, &to).map(|()| 0))?;
        }
        Ok(())
    }

    fn delete(&mut self, post: &Post) -> Result<(), Lost> {
        for file in running(post, self.load.files) {
            let path = self.file(file, "done");
            post.perform(Operation::DeleteFile, None, || fs::remove_file(&path).map(|()| 0))?;
        }
        Ok(())
    }

    fn delete_folders(&mut self, post: &Post) -> Result<(), Lost> {
        for folder in running(post, self.folders()) {
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
        for file in running(post, self.load.files) {
            let path = self.file(file, "new");
            post.perform(operation, None, || act(&path, self.buffer.bytes()))?;
        }
        Ok(())
    }

    /// Makes the next file's data; how many bytes it has.
    fn make_data(&mut self, post: &Post) -> usize {
        let mut length = 0;
        let took = post.make_data(|| {
            length = self.length();
            self.generator.fill(&mut self.buffer.bytes()[..length]);
        });
        self.generating += took;
        length
    }

    /// Even over the orders of magnitude: files of a build are many small and few large ones.
    fn length(&mut self) -> usize {
        let (smallest, largest) = (self.load.smallest_bytes, self.load.largest_bytes);
        let spread = largest.max(1) as f64 / smallest.max(1) as f64;
        let drawn = smallest.max(1) as f64 * spread.powf(self.generator.uniform());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and held to the bounds, which are far below 2^53, on the next line"
        )]
        let drawn = drawn.round() as u64;
        usize::try_from(drawn.clamp(smallest, largest)).unwrap_or(0)
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

/// Numbers from 0 to before `count`, until somebody asks to stop.
fn running(post: &Post, count: u32) -> impl Iterator<Item = u32> + use<'_> {
    (0..count).take_while(|_| !post.rules.stop.asked())
}
