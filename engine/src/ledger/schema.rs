//! The ledger's tables, its version, and the way from older versions to this one.
//!
//! - `events`: the truth. Everything else can be made from it.
//! - `concerns`: which events speak of a UID or a digest (instance, series, study, run, object).
//! - `held`: the instance that stands under each SOP Instance UID; gone when withdrawn.
//! - `series`: which study a series was received in.
//! - `patients`: which studies a patient's instances were received in, and their days ([`super::patients`]).
//! - `cohort`: what the newest revision of each report adds to the counts over all patients ([`super::cohort`]).
//! - `open_studies`, `sealed`: what a start reads, and what it need not ([`super::studies`]).
//! - `peers`, `relayed`, `elsewhere`, `holders`: what other hosts told ([`super::relayed`]): how far, which event it is
//!   here, the instances that stand on other hosts alone or first, and which hosts a study came to.
//! - `state`: one row, the spool's position behind the last record that has its event.

use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};

use super::{LedgerError, cohort::note_all as note_cohort, patients::note_all as note_patients, studies::note_all};

/// What `user_version` says.
pub const VERSION: i64 = 6;
/// What `application_id` says: "SULC".
const APPLICATION: i64 = 0x53_55_4c_43;

const TABLES: &str = "
CREATE TABLE events (
    seq INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, at INTEGER NOT NULL,
    name TEXT NOT NULL, body TEXT NOT NULL, hash BLOB NOT NULL
) STRICT;
CREATE TABLE concerns (key TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (key, seq)) STRICT, WITHOUT ROWID;
CREATE TABLE held (
    sop_uid TEXT PRIMARY KEY, series_uid TEXT NOT NULL, study_uid TEXT NOT NULL, seq INTEGER NOT NULL,
    digest BLOB NOT NULL, segment INTEGER NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX held_series ON held (series_uid);
CREATE INDEX held_study ON held (study_uid);
CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), segment INTEGER NOT NULL, offset INTEGER NOT NULL) STRICT;
INSERT INTO state VALUES (1, 0, 0);
";

/// What version 2 added.
const STUDIES: &str = "
CREATE TABLE series (series_uid TEXT NOT NULL, study_uid TEXT NOT NULL, PRIMARY KEY (series_uid, study_uid)) STRICT,
    WITHOUT ROWID;
CREATE TABLE open_studies (study_uid TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE sealed (study_uid TEXT PRIMARY KEY, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX sealed_seq ON sealed (seq);
";

/// What version 3 added.
const PATIENTS: &str = "
CREATE TABLE patients (
    issuer TEXT NOT NULL, id TEXT NOT NULL, study_uid TEXT NOT NULL, study_date TEXT NOT NULL,
    PRIMARY KEY (issuer, id, study_uid)
) STRICT, WITHOUT ROWID;
";

/// What version 4 added.
const COHORT: &str = "
CREATE TABLE cohort (
    study_uid TEXT NOT NULL, pipeline TEXT NOT NULL, revision INTEGER NOT NULL, seq INTEGER NOT NULL, counted TEXT,
    PRIMARY KEY (study_uid, pipeline)
) STRICT, WITHOUT ROWID;
CREATE INDEX cohort_seq ON cohort (seq);
";

/// What version 5 added.
const DEPARTURES: &str = "CREATE INDEX patients_study ON patients (study_uid);";

/// What version 6 added.
const RELAYED: &str = "
CREATE TABLE peers (host TEXT PRIMARY KEY, identity BLOB NOT NULL, upto INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE relayed (
    host TEXT NOT NULL, host_seq INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (host, host_seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX relayed_seq ON relayed (seq);
CREATE TABLE elsewhere (
    sop_uid TEXT PRIMARY KEY, series_uid TEXT NOT NULL, study_uid TEXT NOT NULL, seq INTEGER NOT NULL,
    digest BLOB NOT NULL, host TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX elsewhere_series ON elsewhere (series_uid);
CREATE INDEX elsewhere_study ON elsewhere (study_uid);
CREATE TABLE holders (study_uid TEXT NOT NULL, host TEXT NOT NULL, PRIMARY KEY (study_uid, host)) STRICT, WITHOUT ROWID;
";

/// Before version 5 nothing followed for a patient's other studies where one of them turned out not to be his. So all
/// studies are opened whose patient has one that was received under several ids, or of which something was withdrawn for a
/// reason of a kind.
const OPEN_DISPUTED: &str = "
CREATE TEMP TABLE disputed AS
    SELECT study_uid FROM patients GROUP BY study_uid HAVING count(*) > 1
    UNION SELECT key FROM concerns WHERE seq IN (SELECT seq FROM events WHERE name = 'InstanceWithdrawn'
        AND json_extract(body, '$.InstanceWithdrawn.because') IS NOT NULL);
CREATE TEMP TABLE reopened AS SELECT DISTINCT other.study_uid FROM patients one
    JOIN patients other ON other.issuer = one.issuer AND other.id = one.id
    WHERE one.study_uid IN (SELECT study_uid FROM disputed);
INSERT OR IGNORE INTO open_studies SELECT study_uid FROM reopened;
DELETE FROM sealed WHERE study_uid IN (SELECT study_uid FROM reopened);
DROP TABLE disputed;
DROP TABLE reopened;
";

/// Opens for writing; makes the tables in a new file, migrates an older one.
pub fn open_or_create(path: &Path) -> Result<Connection, LedgerError> {
    let mut connection = Connection::open(path)?;
    keep_plans(&connection)?;
    prepare(&mut connection).map_err(|error| not_a_database(error, path))?;
    Ok(connection)
}

/// Opens for reading only.
pub fn open_read_only(path: &Path) -> Result<Connection, LedgerError> {
    if !path.exists() {
        return Err(LedgerError::Missing { path: path.to_owned() });
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    keep_plans(&connection)?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    match version(&connection).map_err(|error| not_a_database(error, path))? {
        Some(VERSION) => Ok(connection),
        Some(found) => Err(LedgerError::Version { found, known: VERSION }),
        None => Err(LedgerError::NotALedger { path: path.to_owned() }),
    }
}

/// Without this, SQLite compiles a statement anew whenever a value is bound to it, since the value might ask for another plan.
fn keep_plans(connection: &Connection) -> Result<(), LedgerError> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

fn prepare(connection: &mut Connection) -> Result<(), LedgerError> {
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    let empty = connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get::<_, bool>(0))?;
    let found = version(connection)?;
    if !empty && found.is_none() {
        return Err(LedgerError::NotALedger { path: connection.path().unwrap_or_default().into() });
    }
    let mode = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0))?;
    tracing::debug!(mode, "ledger opened");
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA cache_size = -16384;")?;
    connection.set_prepared_statement_cache_capacity(32);
    if empty {
        let transaction = connection.transaction()?;
        transaction.execute_batch(TABLES)?;
        transaction.execute_batch(STUDIES)?;
        transaction.execute_batch(PATIENTS)?;
        transaction.execute_batch(COHORT)?;
        transaction.execute_batch(DEPARTURES)?;
        transaction.execute_batch(RELAYED)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.commit()?;
        return Ok(());
    }
    migrate(connection, found.unwrap_or_default())
}

/// Brings a ledger of version `found` to [`VERSION`], in one transaction with its `user_version`.
fn migrate(connection: &mut Connection, found: i64) -> Result<(), LedgerError> {
    match found {
        VERSION => return Ok(()),
        1..VERSION => {}
        found => return Err(LedgerError::Version { found, known: VERSION }),
    }
    let transaction = connection.transaction()?;
    if found < 2 {
        transaction.execute_batch(STUDIES)?;
    }
    if found < 3 {
        transaction.execute_batch(PATIENTS)?;
    }
    if found < 4 {
        transaction.execute_batch(COHORT)?;
    }
    if found < 5 {
        transaction.execute_batch(DEPARTURES)?;
    }
    transaction.execute_batch(RELAYED)?;
    if found < 2 {
        note_all(&transaction)?;
    } else if found < 4 {
        // Version 3 noted any number of studies of a patient.
        note_patients(&transaction)?;
        note_cohort(&transaction)?;
    }
    if found < 5 {
        transaction.execute_batch(OPEN_DISPUTED)?;
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(())
}

/// The schema version; `None` where the database belongs to another application.
fn version(connection: &Connection) -> Result<Option<i64>, LedgerError> {
    let application = connection.query_row("PRAGMA application_id", [], |row| row.get::<_, i64>(0))?;
    let version = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    Ok((application == APPLICATION).then_some(version))
}

fn not_a_database(error: LedgerError, path: &Path) -> LedgerError {
    match error {
        LedgerError::Database(rusqlite::Error::SqliteFailure(code, _)) if code.code == ErrorCode::NotADatabase => {
            LedgerError::NotALedger { path: path.to_owned() }
        }
        other => other,
    }
}
