//! Reading and writing rows.

use std::{collections::BTreeMap, str::FromStr};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params, types::Type};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;
use winstead_process::ProcessId;
use winstead_spec::{ByteSize, Host, MachineName, Name};

use super::{
    Entry, Growth, Held, Journal, JournalError, Lack, PoolRecord, Shared, SharedKind, Snapshot, Transition,
};
use crate::{MachineRecord, Phase, template::Template};

const MACHINE: &str = "SELECT machine.record, phase, held, message, cap, times
    FROM machine LEFT JOIN growth ON growth.uid = machine.uid";

impl Journal {
    /// Everything that a plan looks at, in one consistent read.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn snapshot(&self) -> Result<Snapshot, JournalError> {
        self.read(|connection| {
            let transaction = connection.unchecked_transaction()?;
            let machines = rows(&transaction, MACHINE, entry)?;
            let pools = rows(&transaction, "SELECT record FROM pool", |row| json::<PoolRecord>(row, 0))?;
            let mut shared: Vec<(String, Shared)> =
                rows(&transaction, "SELECT name, record FROM shared ORDER BY name", |row| {
                    Ok((row.get(0)?, json(row, 1)?))
                })?;
            shared.sort_by_key(|(_, shared)| shared.kind());
            Ok(Snapshot {
                machines: machines.into_iter().map(|entry| (entry.record.name.clone(), entry)).collect(),
                pools: pools.into_iter().map(|record| (record.pool.name.clone(), record)).collect(),
                shared,
            })
        })
        .await
    }

    /// One machine, if it is there.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn machine(&self, name: &MachineName) -> Result<Option<Entry>, JournalError> {
        let name = name.to_string();
        self.read(move |connection| found(connection, &name)).await
    }

    /// Records a machine before anything of it exists, as `Planned`.
    ///
    /// # Errors
    /// When the journal cannot be written, or knows the name already.
    pub async fn add(&self, record: MachineRecord) -> Result<(), JournalError> {
        self.write(move |transaction| {
            transaction.execute(
                "INSERT INTO machine(name, uid, phase, record) VALUES (?1, ?2, ?3, ?4)",
                params![
                    record.name.to_string(),
                    record.uid.to_string(),
                    Phase::Planned.to_string(),
                    text(&record)
                ],
            )?;
            let line = transition(&record.name, None, Phase::Planned, "recorded");
            remember(transaction, &record.uid, &line)
        })
        .await
    }

    /// Writes what is new about a machine.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub async fn update(&self, record: &MachineRecord) -> Result<(), JournalError> {
        let record = record.clone();
        self.write(move |transaction| {
            let sql = "UPDATE machine SET record = ?2 WHERE uid = ?1";
            transaction.execute(sql, params![record.uid.to_string(), text(&record)]).map(drop)
        })
        .await
    }

    /// Moves a machine to a phase, before that is acted on, and returns where it was. `Gone` ends its row; its history
    /// stays.
    ///
    /// # Errors
    /// [`JournalError::Transition`] when the table does not allow it from where the machine is now. A held machine runs
    /// again only by [`Journal::release`]: whoever waited for it does not know that it is paused.
    ///
    /// # Panics
    /// For `Held`, which has a reason: [`Journal::hold`].
    pub async fn advance(&self, name: &MachineName, to: Phase, message: &str) -> Result<Phase, JournalError> {
        assert_ne!(to, Phase::Held, "what a machine lacks belongs to it");
        self.move_machine(name, to, None, message).await
    }

    /// Moves a machine to `Held`, with what it lacks, before or right after it is paused, and returns where it was.
    ///
    /// # Errors
    /// As [`Journal::advance`].
    pub async fn hold(&self, name: &MachineName, lack: Lack, message: &str) -> Result<Phase, JournalError> {
        self.move_machine(name, Phase::Held, Some(lack), message).await
    }

    /// Moves a machine that is held for want of this back to where it was, and returns whether it did: not when it is
    /// held for something else, or a command moved it meanwhile.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub async fn release(&self, name: &MachineName, lack: Lack, message: &str) -> Result<bool, JournalError> {
        let back = move |entry: &Entry| entry.held.filter(|held| held.lack == lack).map(|held| held.from);
        self.move_if(name, back, message).await
    }

    /// Moves a machine to where `to` says for what it is, if anywhere, and returns whether it did.
    async fn move_if(
        &self,
        name: &MachineName,
        to: impl Fn(&Entry) -> Option<Phase> + Send + 'static,
        message: &str,
    ) -> Result<bool, JournalError> {
        let (key, machine, message) = (name.to_string(), name.clone(), message.to_owned());
        self.write(move |transaction| {
            let Some(found) = found(transaction, &key)? else { return Ok(false) };
            let Some(to) = to(&found) else { return Ok(false) };
            move_to(transaction, &key, to, (&message, None))?;
            let line = transition(&machine, Some(found.phase), to, &message);
            remember(transaction, &found.record.uid, &line)?;
            Ok(true)
        })
        .await
    }

    async fn move_machine(
        &self,
        name: &MachineName,
        to: Phase,
        lack: Option<Lack>,
        message: &str,
    ) -> Result<Phase, JournalError> {
        let (key, machine, message) = (name.to_string(), name.clone(), message.to_owned());
        let from = self
            .write(move |transaction| {
                let Some((uid, from)) = standing(transaction, &key)? else { return Ok(None) };
                if !from.may_become(to) || (from == Phase::Held && to.runs()) {
                    return Ok(Some((from, false)));
                }
                let held = lack.map(|lack| Held { from, lack, since: Timestamp::now() });
                move_to(transaction, &key, to, (&message, held))?;
                remember(transaction, &uid, &transition(&machine, Some(from), to, &message))?;
                Ok(Some((from, true)))
            })
            .await?;
        match from {
            Some((from, true)) => Ok(from),
            Some((from, false)) => Err(JournalError::Transition { machine: name.clone(), from, to }),
            None => Err(JournalError::Unknown(name.to_string())),
        }
    }

    /// Moves a machine to `Failed` for what happened to the QEMU that is `process`, and returns whether it did: not
    /// when a command is changing the machine, or has given it another QEMU meanwhile. One transaction, so that no
    /// command's word can come in between.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub async fn fail(
        &self,
        name: &MachineName,
        process: ProcessId,
        message: &str,
    ) -> Result<bool, JournalError> {
        let its = move |entry: &Entry| entry.phase.runs() && entry.record.process == Some(process);
        self.move_if(name, move |entry| its(entry).then_some(Phase::Failed), message).await
    }

    /// Takes `step` from the reserve for a machine whose overlay is full, before the overlay grows. Returns the new
    /// cap, or `None` when all machines together have used the reserve up.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub async fn grow(&self, entry: &Entry, host: &Host) -> Result<Option<ByteSize>, JournalError> {
        let (record, cap) = (entry.record.clone(), entry.cap() + host.growth.step);
        let (reserve, step) = (host.growth.reserve, host.growth.step);
        self.write(move |transaction| {
            if grown_in_all(transaction)? + step > reserve {
                return Ok(None);
            }
            transaction.execute(
                "INSERT INTO growth(uid, cap, times) VALUES (?1, ?2, 1)
                 ON CONFLICT(uid) DO UPDATE SET cap = excluded.cap, times = times + 1",
                params![record.uid.to_string(), stored(cap)],
            )?;
            Ok(Some(cap))
        })
        .await
    }

    /// Remembers an event within a phase, with its numbers.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub async fn remember(
        &self,
        entry: &Entry,
        message: &str,
        numbers: &[(&str, u64)],
    ) -> Result<(), JournalError> {
        let mut line = transition(&entry.record.name, Some(entry.phase), entry.phase, message);
        line.numbers = numbers.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let uid = entry.record.uid;
        self.write(move |transaction| remember(transaction, &uid, &line)).await
    }

    /// Forgets a machine's growth: its overlay is new again.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub async fn shrink(&self, uid: Uuid) -> Result<(), JournalError> {
        self.write(move |transaction| {
            transaction.execute("DELETE FROM growth WHERE uid = ?1", [uid.to_string()]).map(drop)
        })
        .await
    }

    /// What happened to a machine, oldest first; one of the same name that was taken away before is another machine.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn history(&self, name: &MachineName) -> Result<Vec<Transition>, JournalError> {
        let name = name.to_string();
        self.read(move |connection| {
            let mut query = connection.prepare(
                "SELECT entry FROM history WHERE machine = ?1 AND uid =
                    (SELECT uid FROM history WHERE machine = ?1 ORDER BY seq DESC LIMIT 1) ORDER BY seq",
            )?;
            query.query_map([name], |row| json(row, 0))?.collect()
        })
        .await
    }

    /// Records a pool as applied.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub async fn apply_pool(&self, record: PoolRecord) -> Result<(), JournalError> {
        self.write(move |transaction| {
            let sql = "INSERT OR REPLACE INTO pool(name, record) VALUES (?1, ?2)";
            transaction.execute(sql, params![record.pool.name.to_string(), text(&record)]).map(drop)
        })
        .await
    }

    /// Forgets a pool.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub async fn drop_pool(&self, name: &Name) -> Result<(), JournalError> {
        let name = name.to_string();
        self.write(move |transaction| {
            transaction.execute("DELETE FROM pool WHERE name = ?1", [name]).map(drop)
        })
        .await
    }

    /// Records something shared before it is created.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub async fn add_shared(&self, name: &str, shared: &Shared) -> Result<(), JournalError> {
        let (name, shared) = (name.to_owned(), shared.clone());
        self.write(move |transaction| {
            let sql = "INSERT OR REPLACE INTO shared(kind, name, record) VALUES (?1, ?2, ?3)";
            transaction.execute(sql, params![shared.kind().key(), name, text(&shared)]).map(drop)
        })
        .await
    }

    /// Records a template, and forgets the machine that it was: its row ends here, what is on its disk stays.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub async fn freeze(&self, template: &Template) -> Result<(), JournalError> {
        let (shared, name) = (Shared::Template(Box::new(template.clone())), template.name().clone());
        let uid = template.machine.uid;
        self.write(move |transaction| {
            let sql = "INSERT OR REPLACE INTO shared(kind, name, record) VALUES (?1, ?2, ?3)";
            transaction.execute(sql, params![shared.kind().key(), name.to_string(), text(&shared)])?;
            move_to(transaction, &name.to_string(), Phase::Gone, ("", None))?;
            let line = transition(&name, Some(Phase::Destroying), Phase::Gone, "its memory is saved");
            remember(transaction, &uid, &line)
        })
        .await
    }

    /// Writes what is new about a template.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub async fn update_template(&self, template: &Template) -> Result<(), JournalError> {
        self.add_shared(&template.name().to_string(), &Shared::Template(Box::new(template.clone()))).await
    }

    /// Something shared, as it was recorded.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn shared(&self, kind: SharedKind, name: &str) -> Result<Option<Shared>, JournalError> {
        let name = name.to_owned();
        self.read(move |connection| {
            let sql = "SELECT record FROM shared WHERE kind = ?1 AND name = ?2";
            connection.query_row(sql, params![kind.key(), name], |row| json(row, 0)).optional()
        })
        .await
    }

    /// Forgets something shared, after it was removed.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub async fn drop_shared(&self, kind: SharedKind, name: &str) -> Result<(), JournalError> {
        let name = name.to_owned();
        self.write(move |transaction| {
            let sql = "DELETE FROM shared WHERE kind = ?1 AND name = ?2";
            transaction.execute(sql, params![kind.key(), name]).map(drop)
        })
        .await
    }

    /// The host as the last `up` had it, or the defaults.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn host(&self) -> Result<Host, JournalError> {
        let found = self.setting::<Host>("host").await?;
        Ok(found.unwrap_or_else(Host::local))
    }

    /// Records the host.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub async fn set_host(&self, host: &Host) -> Result<(), JournalError> {
        self.set_setting("host", host).await
    }

    /// This home's own identity: what the things it creates are tagged with. Made at the first call.
    ///
    /// # Errors
    /// When the journal cannot be read or written.
    pub async fn home_id(&self) -> Result<Uuid, JournalError> {
        if let Some(id) = self.setting("home").await? {
            return Ok(id);
        }
        self.write(|transaction| {
            let sql = "INSERT OR IGNORE INTO setting(key, value) VALUES ('home', ?1)";
            transaction.execute(sql, [text(&Uuid::new_v4())])
        })
        .await?;
        self.setting("home").await?.ok_or_else(|| JournalError::Unknown("this home's id".to_owned()))
    }

    async fn setting<T: DeserializeOwned + Send + 'static>(
        &self,
        key: &'static str,
    ) -> Result<Option<T>, JournalError> {
        self.read(move |connection| {
            let sql = "SELECT value FROM setting WHERE key = ?1";
            connection.query_row(sql, [key], |row| json(row, 0)).optional()
        })
        .await
    }

    async fn set_setting<T: Serialize>(&self, key: &'static str, value: &T) -> Result<(), JournalError> {
        let value = text(value);
        self.write(move |transaction| {
            let sql = "INSERT OR REPLACE INTO setting(key, value) VALUES (?1, ?2)";
            transaction.execute(sql, params![key, value]).map(drop)
        })
        .await
    }
}

fn found(connection: &Connection, name: &str) -> rusqlite::Result<Option<Entry>> {
    connection.query_row(&format!("{MACHINE} WHERE name = ?1"), [name], entry).optional()
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let growth = match (row.get::<_, Option<i64>>(4)?, row.get::<_, Option<i64>>(5)?) {
        (Some(cap), Some(times)) => Some(Growth { cap: loaded(cap), times: loaded(times).bytes() }),
        _ => None,
    };
    let held = row.get_ref(2)?.as_str_or_null()?.map(|_| json(row, 2)).transpose()?;
    let phase = parsed(1, &row.get::<_, String>(1)?)?;
    Ok(Entry { record: json(row, 0)?, phase, held, message: row.get(3)?, growth })
}

fn standing(transaction: &Transaction<'_>, name: &str) -> rusqlite::Result<Option<(Uuid, Phase)>> {
    let sql = "SELECT uid, phase FROM machine WHERE name = ?1";
    let found = transaction.query_row(sql, [name], |row| {
        Ok((parsed(0, &row.get::<_, String>(0)?)?, parsed(1, &row.get::<_, String>(1)?)?))
    });
    found.optional()
}

fn move_to(
    transaction: &Transaction<'_>,
    name: &str,
    to: Phase,
    (message, held): (&str, Option<Held>),
) -> rusqlite::Result<()> {
    if to == Phase::Gone {
        return transaction.execute("DELETE FROM machine WHERE name = ?1", [name]).map(drop);
    }
    let sql = "UPDATE machine SET phase = ?2, message = ?3, held = ?4 WHERE name = ?1";
    let held = held.as_ref().map(text);
    transaction.execute(sql, params![name, to.to_string(), message, held]).map(drop)
}

fn grown_in_all(transaction: &Transaction<'_>) -> rusqlite::Result<ByteSize> {
    let sql = format!("{MACHINE} WHERE growth.uid IS NOT NULL");
    Ok(rows(transaction, &sql, entry)?.iter().map(Entry::grown).sum())
}

fn transition(machine: &MachineName, from: Option<Phase>, to: Phase, message: &str) -> Transition {
    let (machine, message) = (machine.clone(), message.to_owned());
    Transition { at: Timestamp::now(), machine, from, to, message, numbers: BTreeMap::new() }
}

fn remember(transaction: &Transaction<'_>, uid: &Uuid, line: &Transition) -> rusqlite::Result<()> {
    let sql = "INSERT INTO history(at, machine, uid, entry) VALUES (?1, ?2, ?3, ?4)";
    let values = params![line.at.to_string(), line.machine.to_string(), uid.to_string(), text(line)];
    transaction.prepare_cached(sql)?.execute(values).map(drop)
}

fn rows<T>(
    transaction: &Transaction<'_>,
    sql: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    transaction.prepare_cached(sql)?.query_map([], read)?.collect()
}

/// Our own types always become JSON: maps have text keys, and nothing in them fails.
fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    serde_json::from_str(text).map_err(|error| unreadable(column, error))
}

fn parsed<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    column: usize,
    text: &str,
) -> rusqlite::Result<T> {
    text.parse().map_err(|error| unreadable(column, error))
}

fn unreadable(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

/// SQLite's integers are signed; no size comes near 2⁶³.
fn stored(size: ByteSize) -> i64 {
    i64::try_from(size.bytes()).unwrap_or(i64::MAX)
}

fn loaded(number: i64) -> ByteSize {
    ByteSize::from_bytes(u64::try_from(number).unwrap_or(0))
}
