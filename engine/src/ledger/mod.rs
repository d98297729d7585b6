//! The ledger: append-only events in one SQLite database, with a monotone sequence and a hash chain.
//!
//! The receiver process is its only writer ([`store`]); everyone else reads ([`read`]). A committed batch is one
//! epoch, numbered by its first event. Bytes lie in the [`crate::spool`]; [`reconcile`] brings both to agree at
//! start-up, [`verify`] proves that they do.

pub mod cohort;
pub mod commitments;
mod entry;
pub mod event;
pub mod history;
mod listings;
pub mod merges;
mod names;
mod parts;
pub mod patients;
pub mod read;
pub mod reconcile;
pub mod relayed;
mod rules;
mod schema;
pub mod steps;
pub mod store;
pub mod studies;
mod summary;
pub mod verify;

use std::path::PathBuf;

use sulcus_operators::rows::Seq;

use crate::spool::read::ReadError;

/// Why the ledger could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file is something else.
    #[error("{path} is not a ledger of Sulcus: move it away, and the ledger is rebuilt from the spool")]
    NotALedger {
        /// The file.
        path: PathBuf,
    },
    /// The ledger was written by another version.
    #[error("the ledger has version {found}, this program {known}: {}", advice(*found, *known))]
    Version {
        /// What the file says.
        found: i64,
        /// What this program writes.
        known: i64,
    },
    /// There is none.
    #[error("there is no ledger at {path}: start `sulcus serve` once, or give the folder that holds it")]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The database failed.
    #[error("the ledger's database failed: check the disk, then run `sulcus ledger verify`")]
    Database(#[from] rusqlite::Error),
    /// An event does not read.
    #[error("event {seq} of the ledger does not read: run `sulcus ledger verify`")]
    Event {
        /// Its sequence number.
        seq: Seq,
        /// Cause.
        #[source]
        source: serde_json::Error,
    },
    /// An event cannot be written.
    #[error("an event cannot be written as JSON")]
    Encode(#[source] serde_json::Error),
    /// The spool failed.
    #[error(transparent)]
    Spool(#[from] ReadError),
}

/// What to do about a ledger of another version.
fn advice(found: i64, known: i64) -> &'static str {
    if found < known { "start `sulcus serve` once, which brings it up to date" } else { "start the newer program" }
}

impl LedgerError {
    /// True where the disk or the database has no room left: the same may succeed later.
    pub fn is_full(&self) -> bool {
        matches!(self, LedgerError::Database(rusqlite::Error::SqliteFailure(code, _))
            if code.code == rusqlite::ErrorCode::DiskFull)
    }
}

/// Name of the database within the folder of a receiver.
pub const FILE: &str = "ledger.sqlite";

#[cfg(test)]
mod migration_tests;
#[cfg(test)]
mod tests;
