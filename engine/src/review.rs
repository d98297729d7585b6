//! The review of sealed studies after the rules changed: those that the rules concern are opened again, a bounded number
//! at a time, and then the review is recorded as done. A review that a stop broke off begins anew.

use sulcus_operators::rows::Seq;

use crate::{
    graph::matches::Taking,
    ledger::{LedgerError, event::Event, read::Reader},
    seals::concerned,
    standing::Standing,
};

/// Sealed studies that are looked at in one pass.
const PASS: usize = 256;
/// No more studies are opened while so many are open.
const MOST_OPEN: usize = 4096;

/// How far a review has come.
#[derive(Default)]
pub struct Review {
    rules_at: Seq,
    seal: Seq,
    taking: Taking,
}

impl Review {
    /// The next events of a review that is due; none where none is, or where enough is open for now. `open` is the
    /// number of open studies.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub fn next(&mut self, standing: &Standing, open: usize, reader: &Reader) -> Result<Vec<Event>, LedgerError> {
        let Some(rules) = &standing.rules else { return Ok(Vec::new()) };
        if standing.reviewed >= standing.rules_at || open >= MOST_OPEN {
            return Ok(Vec::new());
        }
        if self.rules_at != standing.rules_at {
            *self = Review { rules_at: standing.rules_at, ..Review::default() };
        }
        let sealed = reader.sealed_after(self.seal, PASS)?;
        let mut events = Vec::new();
        for (seal, summary) in &sealed {
            self.seal = *seal;
            if concerned(summary, rules, &standing.rulings, &mut self.taking) {
                events.push(Event::StudyReopened { study_uid: summary.study_uid.clone() });
            }
        }
        if sealed.len() < PASS {
            events.push(Event::SealsReviewed { rules: self.rules_at });
        }
        Ok(events)
    }
}
