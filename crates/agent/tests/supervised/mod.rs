//! Processes that are looked after without a daemon, and what is the same of them on every system.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use winstead_agent::supervision::{
    Attachment, End, Event, Offsets, Order, Process, Settings, StartError, SupervisionError, Supervisor,
    spool::Bounds,
};

/// How long anything may take on a busy computer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Less than a program says.
pub(crate) const SMALL: Bounds = Bounds { memory: 4096, file: 64 * 1024 };

pub(crate) fn settings(folder: &Path) -> Settings {
    Settings::new(folder.join("processes"), env!("CARGO_BIN_EXE_winstead-agent").into())
}

pub(crate) async fn supervisor() -> (TempDir, Supervisor) {
    let folder = tempfile::tempdir().expect("a folder");
    let supervisor = Supervisor::open(settings(folder.path())).await.expect("it opens");
    (folder, supervisor)
}

pub(crate) fn attach(process: &Arc<Process>) -> Attachment {
    process.attach(Offsets::default()).expect("it can be attached to")
}

/// All that comes until the end.
pub(crate) async fn all(attachment: &mut Attachment) -> (Vec<u8>, Vec<u8>, End) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        match tokio::time::timeout(PATIENCE, attachment.next()).await.expect("in time") {
            Ok(Event::Stdout { offset, data }) => {
                assert_eq!(offset, out.len() as u64, "no gap");
                out.extend_from_slice(&data);
            }
            Ok(Event::Stderr { offset, data }) => {
                assert_eq!(offset, err.len() as u64, "no gap");
                err.extend_from_slice(&data);
            }
            Ok(Event::Ended(end)) => return (out, err, end),
            Err(error) => panic!("{error}"),
        }
    }
}

pub(crate) async fn until(mut there: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !there() {
        assert!(Instant::now() < deadline, "it does not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Writes all bytes there are, again and again, to a process that says what it hears, behind `begins`.
pub(crate) async fn input_comes_back(process: &Arc<Process>, begins: &[u8]) -> End {
    let mut attachment = attach(process);
    attachment.trust();
    let data: Vec<u8> = (0..=255).cycle().take(3_000_000).collect();
    let writer = {
        let (process, data) = (Arc::clone(process), data.clone());
        tokio::spawn(async move {
            process.write(data.into()).await.expect("it reads");
            process.end_input().await.expect("its keeper hears");
        })
    };
    let (out, _, end) = all(&mut attachment).await;
    assert!(out.strip_prefix(begins) == Some(&data), "{} of {} bytes came back", out.len(), data.len());
    writer.await.expect("all was written");
    end
}

/// `silent` is a process that ends without a word.
pub(crate) async fn too_much_cannot_be_claimed(silent: Order) {
    let (_folder, supervisor) = supervisor().await;
    let process = supervisor.start(silent).await.expect("it starts");
    let refused = process.attach(Offsets { stdout: 9, stderr: 0 }).expect_err("it said nothing");
    assert!(matches!(refused, SupervisionError::Offset { asked: 9, there: 0 }));
    process.ended().await;
    supervisor.close().await;
}

/// `waiting` is a process that does not end, and `short` one that does.
pub(crate) async fn one_may_be_there_and_one_is_remembered(waiting: Order, short: Order) {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Settings { most: 1, retained: 1, ..settings(folder.path()) };
    let supervisor = Supervisor::open(settings).await.expect("it opens");
    let first = supervisor.start(waiting).await.expect("it starts");
    assert!(matches!(supervisor.start(short.clone()).await, Err(StartError::TooMany(1))));
    supervisor.stop(first.id(), Duration::ZERO).await.expect("it ends");
    let mut second = None;
    for _ in 0..2 {
        let process = supervisor.start(short.clone()).await.expect("there is room again");
        process.ended().await;
        second = Some(process);
    }
    until(|| supervisor.list().len() == 1).await;
    let left: Vec<String> = supervisor.list().into_iter().map(|status| status.record.id).collect();
    assert_eq!(left, [second.expect("the last").id()]);
    supervisor.close().await;
}
