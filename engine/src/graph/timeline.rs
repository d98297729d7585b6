//! Stage `timeline`: what the patient's visits before a report's say, so that a report tells what changed. A correction
//! of one visit reaches the reports of the later ones. Visits are of one pipeline, and of different days. A study that is
//! one too many to be a visit tells of none, and no other tells of it (`crate::ledger::patients`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use sulcus_operators::{
    digest::Digest,
    rows::{LesionVerdict, PatientKey, VisitRow},
    visits::change,
};

use super::{
    choice::Choice,
    group::{Key, Row, Rows},
    inputs::ReportKey,
    keyed::{each, gather},
    rows::Lesion,
    runs,
};

/// How many visits a report tells of, itself included: the newest.
const MOST_VISITS: usize = 12;

/// One visit: what a finished run found, without what readers rejected.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Visit {
    study_date: String,
    report: ReportKey,
    run_key: Digest,
    /// Runs of other visits that it was compared with.
    compared: BTreeSet<Digest>,
    /// Volume, nanolitres, by Tracking UID.
    lesions: BTreeMap<String, u64>,
}

/// Of whom the visit of a choice is; none where the study has no date or the patient no id.
fn patient(choice: &Choice) -> Option<(&PatientKey, &str)> {
    match choice {
        Choice::Use { patient, study_date, .. } if !patient.id.is_empty() && !study_date.is_empty() => {
            Some((patient, study_date))
        }
        _ => None,
    }
}

/// The visit of a report whose run is done.
fn visit(report: &ReportKey, rows: &[&Row]) -> Option<(PatientKey, Visit)> {
    let choice =
        rows.iter().find_map(|row| if let Row::Choice(choice) = row { Some(choice.as_ref()) } else { None })?;
    let (Choice::Use { order, .. }, (patient, study_date)) = (choice, patient(choice)?) else { return None };
    let run_key = order.run_key;
    if !rows.contains(&&Row::Done(run_key)) {
        return None;
    }
    let compared = rows.iter().find_map(|row| if let Row::Compared(runs) = row { Some(runs.clone()) } else { None });
    let lesions = rows.iter().filter_map(|row| match row {
        Row::Lesion(lesion) if !is_rejected(lesion) => {
            Some((lesion.lesion.tracking_uid.clone(), lesion.lesion.volume_nl))
        }
        _ => None,
    });
    let visit = Visit {
        study_date: study_date.to_owned(),
        report: report.clone(),
        run_key,
        compared: compared.unwrap_or_default(),
        lesions: lesions.collect(),
    };
    Some((patient.clone(), visit))
}

fn is_rejected(lesion: &Lesion) -> bool {
    lesion.finding.as_ref().is_some_and(|finding| finding.verdict == LesionVerdict::Rejected)
}

/// For each visit that has earlier ones, the visits up to it. `visits` are one patient's, of one pipeline, by date.
fn timelines(visits: &[&Visit], out: &mut Vec<(ReportKey, Vec<VisitRow>)>) {
    for last in visits {
        let before = visits.iter().filter(|visit| visit.study_date < last.study_date);
        let mut rows: Vec<&Visit> = before.copied().collect();
        if rows.is_empty() {
            continue;
        }
        rows.push(last);
        let first = rows.len().saturating_sub(MOST_VISITS);
        let told = rows
            .iter()
            .enumerate()
            .skip(first)
            .map(|(at, visit)| row(visit, at.checked_sub(1).and_then(|before| rows.get(before)).copied()));
        out.push((last.report.clone(), told.collect()));
    }
}

fn row(visit: &Visit, before: Option<&Visit>) -> VisitRow {
    fn volumes(visit: &Visit) -> BTreeMap<&str, u64> {
        visit.lesions.iter().map(|(uid, volume)| (uid.as_str(), *volume)).collect()
    }
    let compared =
        |before: &&Visit| visit.compared.contains(&before.run_key) || before.compared.contains(&visit.run_key);
    VisitRow {
        study_uid: visit.report.0.clone(),
        study_date: visit.study_date.clone(),
        lesions: visit.lesions.len() as u32,
        volume_nl: visit.lesions.values().sum(),
        change: before.filter(compared).map(|before| change(&volumes(before), &volumes(visit))),
    }
}

/// What each report is to say of the patient's visits. `lesions` are those of the report with what readers said of them,
/// `alone` the studies that are no visits.
pub fn stage<'scope>(
    choices: Rows<'scope>,
    ended: Rows<'scope>,
    lesions: Rows<'scope>,
    alone: Rows<'scope>,
) -> Rows<'scope> {
    let dated = each(choices, |key, row, out| {
        if matches!(&row, Row::Choice(choice) if patient(choice).is_some()) {
            out.push((key, row));
        }
    });
    let [visits] = gather([dated, ended, lesions], "visits", |key, rows, out| {
        if let Key::Report(report) = key {
            let visit = visit(report, rows);
            out.extend(visit.map(|(patient, visit)| (0, Key::Patient(patient), Row::Visit(Arc::new(visit)))));
        }
    });
    let [timelines] = gather([visits, alone], "timeline", |_, rows, out| {
        let is_alone =
            |visit: &Visit| rows.iter().any(|row| matches!(row, Row::Alone(study_uid) if *study_uid == visit.report.0));
        let visits =
            rows.iter().filter_map(|row| if let Row::Visit(visit) = row { Some(visit.as_ref()) } else { None });
        let mut by_pipeline: BTreeMap<&str, Vec<&Visit>> = BTreeMap::new();
        for visit in visits.filter(|visit| !is_alone(visit)) {
            by_pipeline.entry(&visit.report.1).or_default().push(visit);
        }
        let mut told = Vec::new();
        by_pipeline.values().for_each(|visits| timelines(visits, &mut told));
        let visits = told.into_iter().map(|(report, rows)| (0, Key::Report(report), Row::Visits(Arc::new(rows))));
        out.extend(visits);
    });
    timelines
}

/// The same from the whole log.
pub fn batch(
    choices: &BTreeMap<ReportKey, Choice>,
    runs: &runs::Batch,
    lesions: &[Lesion],
    alone: &BTreeSet<(PatientKey, String)>,
) -> BTreeMap<ReportKey, Vec<VisitRow>> {
    let mut by_patient: BTreeMap<(PatientKey, String), BTreeSet<Visit>> = BTreeMap::new();
    for (report, choice) in choices {
        let mut rows = vec![Row::Choice(Arc::new(choice.clone()))];
        rows.extend(runs.done.get(report).map(|run_key| Row::Done(*run_key)));
        rows.extend(runs.compared.get(report).map(|runs| Row::Compared(runs.clone())));
        let own = lesions.iter().filter(|lesion| (&lesion.study_uid, &lesion.pipeline) == (&report.0, &report.1));
        rows.extend(own.map(|lesion| Row::Lesion(Arc::new(lesion.clone()))));
        if let Some((patient, visit)) = visit(report, &rows.iter().collect::<Vec<_>>())
            && !alone.contains(&(patient.clone(), report.0.clone()))
        {
            by_patient.entry((patient, report.1.clone())).or_default().insert(visit);
        }
    }
    let mut told = Vec::new();
    for visits in by_patient.values() {
        timelines(&visits.iter().collect::<Vec<_>>(), &mut told);
    }
    told.into_iter().collect()
}
