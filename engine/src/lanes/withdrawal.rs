//! Why a report is withdrawn, as the events of its study tell: the graph sees that the pipeline takes no series of the study
//! any more, the ledger whether somebody withdrew the series or the rule changed, and what kind of reason was given.
//! What somebody wrote in his own words stays in the ledger, since it may name a patient.

use std::collections::{BTreeMap, BTreeSet};

use sulcus_operators::rows::Seq;

use crate::{
    graph::reports::ABSENT,
    ledger::event::{Because, Entry, Event, RevisionKey, Scope},
};

/// What became of the series that earlier revisions of a report were made from.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Withdrawal {
    /// The weightiest kind of reason for which any of them was withdrawn.
    pub because: Option<Because>,
    /// Whether the last of them was withdrawn whole, and the kind of reason for that; none where it is not known.
    last: Option<(bool, Option<Because>)>,
}

impl Withdrawal {
    /// As it was known when the revision `key` was issued by the event `issued`; `entries` are the study's, in order.
    pub fn of(entries: &[Entry], key: &RevisionKey, issued: Seq) -> Self {
        let mut held: BTreeMap<&str, &str> = BTreeMap::new();
        let mut reported: BTreeSet<&str> = BTreeSet::new();
        let mut last: Option<(&str, Option<Because>)> = None;
        let mut weightiest = None;
        for entry in entries.iter().take_while(|entry| entry.seq < issued) {
            match &entry.event {
                Event::InstanceReceived { facts, .. } => {
                    held.insert(&facts.sop_instance_uid, &facts.series_uid);
                }
                Event::RevisionIssued { key: of, run: Some(run), .. }
                    if (&of.study_uid, &of.pipeline) == (&key.study_uid, &key.pipeline) =>
                {
                    reported.insert(&run.series_uid);
                    reported.extend(run.inputs.iter().map(String::as_str));
                    last = Some((&run.series_uid, None));
                }
                Event::InstanceWithdrawn { scope, because, .. } => {
                    let takes = |sop: &str, series: &str| match scope {
                        Scope::Instance(uid) => sop == uid,
                        Scope::Series(uid) => series == uid,
                        Scope::Study(uid) => *uid == key.study_uid,
                    };
                    for (_, series) in held.extract_if(.., |sop, series| takes(sop, series)) {
                        if reported.contains(series) {
                            weightiest = weightiest.max(*because);
                        }
                        if let Some((of, why)) = &mut last
                            && *of == series
                        {
                            *why = *because;
                        }
                    }
                }
                _ => {}
            }
        }
        let last = last.map(|(series, why)| (held.values().all(|standing| *standing != series), why));
        Withdrawal { because: weightiest, last }
    }

    /// Why a report is withdrawn of whose study the pipeline takes no series.
    pub fn words(&self) -> String {
        match self.last {
            None => ABSENT.to_owned(),
            Some((false, _)) => "the rule does not take its series any more".to_owned(),
            Some((true, None)) => "its series was withdrawn".to_owned(),
            Some((true, Some(because))) => format!("its series was withdrawn: {}", because.words()),
        }
    }
}

#[cfg(test)]
#[path = "withdrawal_tests.rs"]
mod tests;
