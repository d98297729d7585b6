//! Storage commitment in the ledger: the transaction of each attempt, what was reported of it, and which reports are
//! worth an event.
//!
//! A transaction is known by the `DeliveryStarted` of its attempt, which is found under its UID. So nobody fills the
//! ledger with reports that were never asked for.

use sulcus_connectors::inbox::{CommitmentReport, Reported};
use sulcus_operators::digest::Digest;

use super::{LedgerError, event::Event, read::Reader};

/// Reports that one transaction may have: an archive that could not commit yet may report again.
pub const MOST_REPORTS: usize = 8;

/// The Transaction UID under which an attempt asks for commitment: each attempt has its own, always the same.
pub fn transaction_uid(object: &Digest, destination: &str, attempt: u32) -> String {
    let attempt = attempt.to_le_bytes();
    Digest::of_parts("storage commitment", [&object.0[..], destination.as_bytes(), &attempt]).uid()
}

/// An archive's word on one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It keeps it.
    Committed,
    /// It does not, with Failure Reason (0008,1197).
    Failed(u16),
}

/// What a report is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// An event.
    New(Box<Event>),
    /// Nothing new: how to answer it.
    Known(Reported),
}

impl Reader {
    /// What was last reported of an object in a transaction, since its attempt began. What is sent again by hand begins
    /// with the first attempt, and so with a transaction that may have been reported of before.
    pub fn word(&self, transaction_uid: &str, sop_instance_uid: &str) -> Result<Option<Word>, LedgerError> {
        let word = |entry: super::event::Entry| match entry.event {
            Event::CommitmentReported { committed, failed, .. } => {
                let failed = failed.iter().find(|(uid, _)| uid == sop_instance_uid);
                let committed = committed.iter().any(|uid| uid == sop_instance_uid);
                failed.map(|(_, reason)| Word::Failed(*reason)).or(committed.then_some(Word::Committed))
            }
            _ => None,
        };
        // The attempts themselves lie under this key as well.
        let entries = self.entries_about(transaction_uid, usize::MAX)?;
        let begun = |entry: &super::event::Entry| matches!(entry.event, Event::DeliveryStarted { .. });
        let since = entries.iter().rposition(begun).unwrap_or(0);
        Ok(entries.into_iter().skip(since).filter_map(word).next_back())
    }

    /// Whether a report belongs to a transaction that was begun, and says something new of it.
    pub fn judge(&self, report: CommitmentReport) -> Result<Judged, LedgerError> {
        let CommitmentReport { transaction_uid, committed, failed } = report;
        let mut entries = self.entries_about(&transaction_uid, usize::MAX)?;
        let began = |entry: &super::event::Entry| matches!(entry.event, Event::DeliveryStarted { .. });
        let since = entries.iter().rposition(began);
        let begun = since.is_some();
        // What was reported before the object was sent again is not said anew by an equal report.
        entries.drain(..since.unwrap_or(0));
        let event = Event::CommitmentReported { transaction_uid, committed, failed };
        let reports = entries.iter().filter(|entry| matches!(entry.event, Event::CommitmentReported { .. }));
        Ok(match () {
            () if !begun => Judged::Known(Reported::Unknown),
            () if reports.clone().next_back().is_some_and(|last| last.event == event) => {
                Judged::Known(Reported::Recorded)
            }
            () if reports.count() >= MOST_REPORTS => Judged::Known(Reported::TooMany),
            () => Judged::New(Box::new(event)),
        })
    }
}
