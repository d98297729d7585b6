//! Stage `departed`: which runs must be made again because a study that was not of their patient may have been compared
//! with them. Of such a study they may have taken over identities of lesions, directly or through another visit, so
//! every run of the patient that was compared with any visit, and began while that study was taken for his, does not count
//! any more.

use std::collections::{BTreeMap, BTreeSet};

use sulcus_operators::{digest::Digest, rows::PatientKey};

use super::{
    choice::Choice,
    group::{Key, Row, Rows},
    inputs::ReportKey,
    keyed::{each, gather},
};
use crate::ledger::merges::During;

/// The patient and the run of a choice; none where nothing is run or the patient has no id.
fn run(choice: &Choice) -> Option<(&PatientKey, Digest)> {
    match choice {
        Choice::Use { patient, order, .. } if !patient.id.is_empty() => Some((patient, order.run_key)),
        _ => None,
    }
}

/// For each run of one patient, during what other studies were taken for his.
fn misled(rows: &[&Row]) -> BTreeSet<(Digest, During)> {
    let is_alone = |study: &String| rows.iter().any(|row| matches!(row, Row::Alone(alone) if alone == study));
    let departed = || {
        rows.iter().filter_map(|row| match row {
            Row::Departed(study, during) if !is_alone(study) => Some((study, *during)),
            _ => None,
        })
    };
    let ran =
        rows.iter().filter_map(|row| if let Row::Ran(report, run_key) = row { Some((report, run_key)) } else { None });
    ran.flat_map(|((study, _), run_key)| {
        departed().filter(move |(other, _)| *other != study).map(|(_, during)| (*run_key, during))
    })
    .collect()
}

/// For the runs that are wanted, during what another study was taken for their patient's. `alone` are the studies that are
/// no visits.
pub fn stage<'scope>(choices: Rows<'scope>, departed: Rows<'scope>, alone: Rows<'scope>) -> Rows<'scope> {
    let wanted = each(choices, |key, row, out| {
        if let (Key::Report(report), Row::Choice(choice)) = (key, row)
            && let Some((patient, run_key)) = run(&choice)
        {
            out.push((Key::Patient(patient.clone()), Row::Ran(report, run_key)));
        }
    });
    let [misled] = gather([wanted, departed, alone], "departed", |_, rows, out| {
        let misled = misled(rows).into_iter();
        out.extend(misled.map(|(run_key, during)| (0, Key::Run(run_key), Row::Misled(during))));
    });
    misled
}

/// The same from the whole log.
pub fn batch(
    choices: &BTreeMap<ReportKey, Choice>,
    departed: &[(PatientKey, String, During)],
    alone: &BTreeSet<(PatientKey, String)>,
) -> BTreeSet<(Digest, During)> {
    let mut rows: BTreeMap<&PatientKey, BTreeSet<Row>> = BTreeMap::new();
    for (report, choice) in choices {
        if let Some((patient, run_key)) = run(choice) {
            rows.entry(patient).or_default().insert(Row::Ran(report.clone(), run_key));
        }
    }
    for (patient, study, during) in departed {
        rows.entry(patient).or_default().insert(Row::Departed(study.clone(), *during));
    }
    for (patient, study) in alone {
        rows.entry(patient).or_default().insert(Row::Alone(study.clone()));
    }
    rows.values().flat_map(|rows| misled(&rows.iter().collect::<Vec<_>>())).collect()
}
