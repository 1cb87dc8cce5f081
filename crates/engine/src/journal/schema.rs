//! The database's shape, and how an older one becomes today's.

use rusqlite::Connection;

/// One script for each schema version: the first makes version 1, the next turns 1 into 2.
const MIGRATIONS: &[&str] = &[
    r"
    CREATE TABLE setting(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE pool(name TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
    CREATE TABLE machine(
        name TEXT PRIMARY KEY,
        uid TEXT NOT NULL UNIQUE,
        phase TEXT NOT NULL,
        held_from TEXT,
        message TEXT NOT NULL DEFAULT '',
        record TEXT NOT NULL
    ) STRICT;
    CREATE TABLE growth(
        uid TEXT PRIMARY KEY REFERENCES machine(uid) ON DELETE CASCADE,
        cap INTEGER NOT NULL,
        times INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE shared(
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        record TEXT NOT NULL,
        PRIMARY KEY(kind, name)
    ) STRICT;
    CREATE TABLE history(
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        at TEXT NOT NULL,
        machine TEXT NOT NULL,
        uid TEXT NOT NULL,
        entry TEXT NOT NULL
    ) STRICT;
    CREATE INDEX history_machine ON history(machine, seq);
",
    r"
    ALTER TABLE machine ADD COLUMN held TEXT;
    UPDATE machine SET held = json_object('from', held_from, 'lack', 'disk', 'since', strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
        WHERE held_from IS NOT NULL;
    ALTER TABLE machine DROP COLUMN held_from;
",
];

/// The schema version that this release writes.
pub(super) const CURRENT: i64 = MIGRATIONS.len() as i64;

/// The database's schema version; 0 for an empty one.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Brings an older database up to date, each step whole or not at all.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    // Read inside the transaction: another process may have migrated while we waited for it.
    let from = usize::try_from(version(&transaction)?).unwrap_or(0);
    for script in MIGRATIONS.iter().skip(from) {
        transaction.execute_batch(script)?;
    }
    transaction.pragma_update(None, "user_version", CURRENT)?;
    transaction.commit()
}
