//! Stage `departed`: which runs must be made again because a study that was not of their patient may have been compared
//! with them. Of such a study they may have taken over identities of lesions, directly or through another visit, so
//! every run of the patient that was compared with any visit, and began before it was said, does not count any more.

use std::collections::{BTreeMap, BTreeSet};

use sulcus_operators::{
    digest::Digest,
    rows::{PatientKey, Seq},
};

use super::{
    choice::Choice,
    group::{Key, Row, Rows, each, gather},
    inputs::ReportKey,
};

/// The patient and the run of a choice; none where nothing is run or the patient has no id.
fn run(choice: &Choice) -> Option<(&PatientKey, Digest)> {
    match choice {
        Choice::Use { patient, order, .. } if !patient.id.is_empty() => Some((patient, order.run_key)),
        _ => None,
    }
}

/// For each run of one patient, when another study left him last.
fn left(rows: &[&Row]) -> BTreeMap<Digest, Seq> {
    let is_alone = |study: &String| rows.iter().any(|row| matches!(row, Row::Alone(alone) if alone == study));
    let departed = || {
        rows.iter().filter_map(|row| match row {
            Row::Departed(study, seq) if !is_alone(study) => Some((study, *seq)),
            _ => None,
        })
    };
    let mut left: BTreeMap<Digest, Seq> = BTreeMap::new();
    for row in rows {
        if let Row::Ran((study, _), run_key) = row
            && let Some(seq) = departed().filter(|(other, _)| *other != study).map(|(_, seq)| seq).max()
        {
            let last = left.entry(*run_key).or_default();
            *last = seq.max(*last);
        }
    }
    left
}

/// For the runs that are wanted, when another study last left their patient. `alone` are the studies that are no visits.
pub fn stage<'scope>(choices: Rows<'scope>, departed: Rows<'scope>, alone: Rows<'scope>) -> Rows<'scope> {
    let wanted = each(choices, |key, row, out| {
        if let (Key::Report(report), Row::Choice(choice)) = (key, row)
            && let Some((patient, run_key)) = run(&choice)
        {
            out.push((Key::Patient(patient.clone()), Row::Ran(report, run_key)));
        }
    });
    let left = gather(wanted.concatenate([departed, alone]), "departed", |_, rows, out| {
        out.extend(left(rows).into_iter().map(|(run_key, seq)| Row::RunCountsFrom(run_key, seq)));
    });
    each(left, |_, row, out| {
        if let Row::RunCountsFrom(run_key, seq) = row {
            out.push((Key::Run(run_key), Row::CountsFrom(seq)));
        }
    })
}

/// The same from the whole log.
pub fn batch(
    choices: &BTreeMap<ReportKey, Choice>,
    departed: &[(PatientKey, String, Seq)],
    alone: &BTreeSet<(PatientKey, String)>,
) -> BTreeMap<Digest, Seq> {
    let mut rows: BTreeMap<&PatientKey, BTreeSet<Row>> = BTreeMap::new();
    for (report, choice) in choices {
        if let Some((patient, run_key)) = run(choice) {
            rows.entry(patient).or_default().insert(Row::Ran(report.clone(), run_key));
        }
    }
    for (patient, study, seq) in departed {
        rows.entry(patient).or_default().insert(Row::Departed(study.clone(), *seq));
    }
    for (patient, study) in alone {
        rows.entry(patient).or_default().insert(Row::Alone(study.clone()));
    }
    let mut all: BTreeMap<Digest, Seq> = BTreeMap::new();
    for (run_key, seq) in rows.values().flat_map(|rows| left(&rows.iter().collect::<Vec<_>>())) {
        let last = all.entry(run_key).or_default();
        *last = seq.max(*last);
    }
    all
}
