//! What the events say of runs, revisions, objects and deliveries, as rows.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sulcus_operators::{
    digest::Digest,
    rows::{Millis, Role, RunOutcome},
};

/// What happened to a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RunFact {
    /// An attempt began.
    Started(u32),
    /// An attempt failed.
    Failed {
        /// Which.
        attempt: u32,
        /// True where another would fail alike.
        permanent: bool,
        /// What failed.
        reason: String,
        /// What to do about it.
        hint: String,
    },
    /// It gave its result.
    Finished(Arc<RunOutcome>),
}

/// A revision that has its number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Issued {
    /// Its number.
    pub revision: u32,
    /// `ReportRow::content` that it states.
    pub content: Digest,
    /// Its recorded time.
    pub at: Millis,
}

/// What happened to an object of a revision.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ObjectFact {
    /// It is in the results store.
    Encoded {
        /// Revision of the report.
        revision: u32,
        /// What it is.
        role: Role,
        /// ObjectKey.
        object: Digest,
        /// SOPInstanceUID.
        uid: String,
        /// Its bytes.
        bytes: Digest,
    },
    /// It could not be encoded.
    Failed {
        /// Revision of the report.
        revision: u32,
        /// What it is.
        role: Role,
        /// Which attempt.
        attempt: u32,
        /// True where another would fail alike.
        permanent: bool,
        /// What failed.
        reason: String,
        /// What to do about it.
        hint: String,
    },
}

/// How far a delivery that has not settled got.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tried {
    /// Number of the last attempt.
    pub attempt: u32,
    /// Not to be tried before; 0 where nothing failed yet.
    pub not_before: Millis,
    /// Why the last attempt that failed did; empty where none did.
    pub reason: String,
}
