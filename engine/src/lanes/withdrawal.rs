//! Why a report is withdrawn, as the events of its study tell: the graph sees that the pipeline takes no series of the study
//! any more, the ledger whether somebody withdrew the series or the rule changed, and what kind of reason was given.
//! What somebody wrote in his own words stays in the ledger, since it may name a patient.

use std::collections::{BTreeMap, BTreeSet};

use sulcus_operators::rows::{PatientKey, Seq};

use super::departures::departed;
use crate::{
    graph::reports::ABSENT,
    ledger::{
        LedgerError,
        event::{Because, Entry, Event, RevisionKey, Scope},
        read::Reader,
    },
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
        let (mut held, mut gone): (BTreeMap<&str, &str>, BTreeMap<&str, &str>) = Default::default();
        let mut reported: BTreeSet<&str> = BTreeSet::new();
        // What was said of a series since its last instance came: a run may be under way meanwhile.
        let mut said: BTreeMap<&str, Option<Because>> = BTreeMap::new();
        let mut last: Option<(&str, Option<Because>)> = None;
        let mut weightiest = None;
        for entry in entries.iter().take_while(|entry| entry.seq < issued) {
            match &entry.event {
                Event::InstanceReceived { facts, .. } => {
                    held.insert(&facts.sop_instance_uid, &facts.series_uid);
                    gone.remove(facts.sop_instance_uid.as_str());
                    said.remove(facts.series_uid.as_str());
                }
                Event::RevisionIssued { key: of, run: Some(run), .. }
                    if (&of.study_uid, &of.pipeline) == (&key.study_uid, &key.pipeline) =>
                {
                    let because = said.get(run.series_uid.as_str()).copied().flatten();
                    reported.insert(&run.series_uid);
                    weightiest = weightiest.max(because);
                    for input in &run.inputs {
                        reported.insert(input);
                        weightiest = weightiest.max(said.get(input.as_str()).copied().flatten());
                    }
                    last = Some((&run.series_uid, because));
                }
                Event::InstanceWithdrawn { scope, because, .. } => {
                    let takes = |sop: &str, series: &str| match scope {
                        Scope::Instance(uid) => sop == uid,
                        Scope::Series(uid) => series == uid,
                        Scope::Study(uid) => *uid == key.study_uid,
                    };
                    let taken: Vec<(&str, &str)> = held.extract_if(.., |sop, series| takes(sop, series)).collect();
                    // The kind of reason may be said after the instances are gone.
                    let amended = gone.iter().filter(|(sop, series)| because.is_some() && takes(sop, series));
                    let of: BTreeSet<&str> =
                        taken.iter().map(|(_, series)| *series).chain(amended.map(|(_, series)| *series)).collect();
                    gone.extend(taken);
                    for series in of {
                        let kind = said.entry(series).or_default();
                        *kind = (*kind).max(*because);
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

/// True where an earlier revision of a report may tell of another patient: a study that left its patient before the
/// revision `issued` had been reported when it was issued, so that its lesions were told of or lent their identities.
pub fn told_of_another(
    reader: &Reader,
    entries: &[Entry],
    key: &RevisionKey,
    issued: Seq,
    patient: &PatientKey,
) -> Result<bool, LedgerError> {
    let results = |entries: &[Entry], study_uid: &str| -> Vec<Seq> {
        let is_result = |event: &Event| {
            matches!(event, Event::RevisionIssued { key: of, run: Some(_), .. }
                if of.study_uid == study_uid && of.pipeline == key.pipeline)
        };
        entries.iter().filter(|entry| is_result(&entry.event)).map(|entry| entry.seq).collect()
    };
    let own = results(entries, &key.study_uid);
    for (study_uid, [since, left]) in departed(reader, patient)? {
        if study_uid == key.study_uid || left > issued {
            continue;
        }
        // Whose ids were parted may have had several reported; that one of them was is taken for granted.
        let first = match study_uid.is_empty() {
            true => Some(since),
            false => results(&reader.entries_about(&study_uid, usize::MAX)?, &study_uid).into_iter().min(),
        };
        if first.is_some_and(|first| own.iter().any(|own| first < *own && *own < left)) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
#[path = "withdrawal_tests.rs"]
mod tests;
