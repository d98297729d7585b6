//! What the events say of runs, revisions, objects and deliveries, as rows.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};
use sulcus_operators::{
    digest::Digest,
    rows::{Millis, Role, RunOutcome, Seq},
};

use super::inputs::{ReportKey, report_key};
use crate::ledger::event::{Entry, Event};

/// What happened to a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RunFact {
    /// An attempt began.
    Started {
        /// Which.
        attempt: u32,
        /// The event that recorded it.
        seq: Seq,
    },
    /// An attempt failed.
    Failed {
        /// Which.
        attempt: u32,
        /// The event that recorded it.
        seq: Seq,
        /// True where another would fail alike.
        permanent: bool,
        /// What failed.
        reason: String,
        /// What to do about it.
        hint: String,
    },
    /// An attempt was stopped before its end, since nobody wanted the run any more.
    Cancelled {
        /// Which.
        attempt: u32,
        /// The event that recorded it.
        seq: Seq,
    },
    /// It gave its result.
    Finished {
        /// The result.
        outcome: Arc<RunOutcome>,
        /// The event that recorded it.
        seq: Seq,
    },
}

impl RunFact {
    /// What an event says of a run, and of which; none where it speaks of none.
    pub fn of(entry: &Entry) -> Option<(Digest, Self)> {
        let seq = entry.seq;
        match &entry.event {
            Event::RunStarted { run_key, attempt } => Some((*run_key, RunFact::Started { attempt: *attempt, seq })),
            Event::RunFailed { run_key, attempt, permanent, reason, hint } => {
                let (attempt, permanent, reason, hint) = (*attempt, *permanent, reason.clone(), hint.clone());
                Some((*run_key, RunFact::Failed { attempt, seq, permanent, reason, hint }))
            }
            Event::RunCancelled { run_key, attempt } => Some((*run_key, RunFact::Cancelled { attempt: *attempt, seq })),
            Event::RunFinished(outcome) => {
                Some((outcome.run_key, RunFact::Finished { outcome: Arc::new(outcome.clone()), seq }))
            }
            _ => None,
        }
    }
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
    /// The event that recorded it.
    pub seq: Seq,
    /// SeriesInstanceUIDs of the series that it was made from; none where it is withdrawn.
    pub series: BTreeSet<String>,
}

impl Issued {
    /// What an event issues, and of which report; none where it issues nothing.
    pub fn of(entry: &Entry) -> Option<(ReportKey, Self)> {
        let Event::RevisionIssued { key, content, at, run, .. } = &entry.event else { return None };
        let series = run.iter().flat_map(|run| run.inputs.iter().chain([&run.series_uid]).cloned()).collect();
        let issued = Issued { revision: key.revision, content: *content, at: *at, seq: entry.seq, series };
        Some((report_key(key), issued))
    }
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
