//! The thread that owns the database connection.

use std::{path::Path, sync::Arc, time::Duration};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::{JournalError, schema};
use crate::faults::Faults;

/// How long a writer waits for another process's transaction. Ours take well under a millisecond.
const BUSY: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The journal of one home. Clones share one connection.
#[derive(Clone, Debug)]
pub struct Journal {
    jobs: mpsc::UnboundedSender<Job>,
    path: Arc<Path>,
    faults: Faults,
}

impl Journal {
    /// Opens the journal at `path`, making or migrating it.
    ///
    /// # Errors
    /// When it cannot be opened, is no database, or was written by a newer release.
    pub async fn open(path: &Path, faults: Faults) -> Result<Self, JournalError> {
        let (jobs, mut queue) = mpsc::unbounded_channel::<Job>();
        let path: Arc<Path> = path.into();
        let (opened, answer) = oneshot::channel();
        let at = Arc::clone(&path);
        let thread = move || match connect(&at) {
            Ok(mut connection) => {
                if opened.send(Ok(())).is_ok() {
                    while let Some(job) = queue.blocking_recv() {
                        job(&mut connection);
                    }
                }
            }
            Err(error) => drop(opened.send(Err(error))),
        };
        // Ends by itself when the last `Journal` is dropped and its jobs are done; the process may end before.
        std::thread::Builder::new().name("journal".into()).spawn(thread).map_err(|_| JournalError::Closed)?;
        answer.await.map_err(|_| JournalError::Closed)??;
        Ok(Self { jobs, path, faults })
    }

    /// A number that changes whenever another process has committed.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn data_version(&self) -> Result<i64, JournalError> {
        self.read(|connection| connection.pragma_query_value(None, "data_version", |row| row.get(0))).await
    }

    /// Runs `job` on the connection, in the journal's thread.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, JournalError> {
        self.call(|connection| job(connection)).await
    }

    /// Runs `job` in a transaction that is committed when it succeeds.
    ///
    /// Cancel safety: a dropped call is still carried out whole.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, JournalError> {
        let faults = self.faults.clone();
        self.call(move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = job(&transaction)?;
            faults.pass();
            transaction.commit()?;
            faults.pass();
            Ok(value)
        })
        .await
    }

    async fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, JournalError> {
        let (done, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| drop(done.send(job(connection))));
        self.jobs.send(job).map_err(|_| JournalError::Closed)?;
        let result = answer.await.map_err(|_| JournalError::Closed)?;
        result.map_err(|source| JournalError::Sqlite { path: self.path.to_path_buf(), source })
    }
}

fn connect(path: &Path) -> Result<Connection, JournalError> {
    let failed = |source| JournalError::Sqlite { path: path.to_owned(), source };
    let mut connection = Connection::open(path).map_err(failed)?;
    prepare(&mut connection).map_err(failed)?;
    let found = schema::version(&connection).map_err(failed)?;
    if found > schema::CURRENT {
        return Err(JournalError::Newer { path: path.to_owned(), found, known: schema::CURRENT });
    }
    if found < schema::CURRENT {
        schema::migrate(&mut connection).map_err(failed)?;
    }
    Ok(connection)
}

fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A power loss may cost the last commits, and with them machines in RAM that the power loss took as well;
    // folders that no row knows are found by their place in the home.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)
}
