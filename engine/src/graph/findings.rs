//! Stage `findings`: what readers say of the lesions that are reported. A verdict follows its lesion by the tracking
//! UID, through every run and every report of its study. A verdict whose lesion is in no report of its study is a
//! fault; while a report of the study is held or its run is not done, nobody can tell, and there is none.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sulcus_operators::rows::{Fault, Finding};

use super::{
    choice::Choice,
    group::{Key, Row, Rows},
    inputs::{LesionKey, ReportKey},
    keyed::{all, each, gather},
    rows::{Lesion, Output},
    runs,
};

/// One tracking UID of a study: its lesions, one a report at most, and the verdict on it.
fn judge(rows: &[&Row]) -> (Vec<Lesion>, Option<Arc<Finding>>) {
    let finding = rows.iter().find_map(|row| if let Row::Finding(finding) = row { Some(finding) } else { None });
    let lesions = rows.iter().filter_map(|row| match row {
        Row::Lesion(lesion) => Some(Lesion { finding: finding.map(|f| f.as_ref().clone()), ..lesion.as_ref().clone() }),
        _ => None,
    });
    (lesions.collect(), finding.cloned())
}

fn report(lesion: &Lesion) -> ReportKey {
    (lesion.study_uid.clone(), lesion.pipeline.clone())
}

fn lost(study_uid: &str, finding: &Finding) -> Fault {
    Fault {
        stage: "findings".to_owned(),
        key: finding.tracking_uid.clone(),
        reason: format!("a reader judged this lesion, and no current report on study {study_uid} holds it"),
        hint: "look at the study's newest report; `sulcus verdict --open` takes the verdict back".to_owned(),
    }
}

/// True where it is open which lesions the report will hold.
fn is_unsettled(choice: &Choice) -> bool {
    matches!(choice, Choice::Hold)
}

/// The lesions of `runs` with what readers said of them: what each report says of its lesions, and what is told.
pub fn stage<'scope>(
    choices: Rows<'scope>,
    runs: Rows<'scope>,
    verdicts: Rows<'scope>,
) -> (Rows<'scope>, Rows<'scope>) {
    let lesions = each(runs.clone(), |_, row, out| {
        if let Row::Lesion(lesion) = &row {
            out.push((Key::Lesion(lesion.study_uid.clone(), lesion.lesion.tracking_uid.clone()), row));
        }
    });
    let judged = gather([lesions, verdicts], "findings", |_, rows, out| {
        let (lesions, finding) = judge(rows);
        if let Some(finding) = finding {
            let reports: BTreeSet<ReportKey> = lesions.iter().map(report).collect();
            if reports.is_empty() {
                out.push(Row::Finding(Arc::clone(&finding)));
            }
            out.extend(reports.into_iter().map(|report| Row::Said(report, Arc::clone(&finding))));
        }
        out.extend(lesions.into_iter().map(|lesion| Output::Lesion(lesion).into()));
    });
    let findings = each(judged.clone(), |_, row, out| {
        if let Row::Said(report, finding) = row {
            out.push((Key::Report(report), Row::Finding(finding)));
        }
    });
    let held = each(choices, |key, row, out| {
        if let (Key::Report(key), Row::Choice(choice)) = (key, row)
            && is_unsettled(&choice)
        {
            out.push((Key::Study(key.0.clone()), Row::Unsettled(key)));
        }
    });
    let to_do = each(runs, |_, row, out| {
        if let Row::Unsettled((study_uid, _)) = &row {
            out.push((Key::Study(study_uid.clone()), row));
        }
    });
    let lost_ones = each(judged.clone(), |key, row, out| {
        if let (Key::Lesion(study_uid, _), Row::Finding(_)) = (key, &row) {
            out.push((Key::Study(study_uid), row));
        }
    });
    let faults = gather([lost_ones, held, to_do], "lost findings", |key, rows, out| {
        let Key::Study(study_uid) = key else { return };
        if rows.iter().any(|row| matches!(row, Row::Unsettled(_))) {
            return;
        }
        out.extend(rows.iter().filter_map(|row| match row {
            Row::Finding(finding) => Some(Output::Fault(lost(study_uid, finding)).into()),
            _ => None,
        }));
    });
    (findings, all([judged, faults]))
}

/// What the stage gives, from the whole log.
#[derive(Default)]
pub struct Batch {
    /// The lesions, each with what a reader said of it.
    pub lesions: Vec<Lesion>,
    /// What readers said of the lesions of each report.
    pub findings: BTreeMap<ReportKey, BTreeSet<Finding>>,
    /// Verdicts on lesions that no report holds.
    pub faults: Vec<Fault>,
}

/// The same from the whole log; `verdicts` are those that stand.
pub fn batch(
    choices: &BTreeMap<ReportKey, Choice>,
    runs: &runs::Batch,
    verdicts: &BTreeMap<LesionKey, Finding>,
) -> Batch {
    let mut batch = Batch::default();
    let mut held_by: BTreeMap<LesionKey, BTreeSet<ReportKey>> = BTreeMap::new();
    for lesion in &runs.lesions {
        let key = (lesion.study_uid.clone(), lesion.lesion.tracking_uid.clone());
        batch.lesions.push(Lesion { finding: verdicts.get(&key).cloned(), ..lesion.clone() });
        held_by.entry(key).or_default().insert(report(lesion));
    }
    let held = choices.iter().filter(|(_, choice)| is_unsettled(choice)).map(|(key, _)| key);
    let unsettled: BTreeSet<&str> =
        held.chain(runs.to_do.iter().flat_map(|run| &run.wanted_by)).map(|(study_uid, _)| study_uid.as_str()).collect();
    for (key, finding) in verdicts {
        match held_by.get(key) {
            Some(reports) => {
                for report in reports {
                    batch.findings.entry(report.clone()).or_default().insert(finding.clone());
                }
            }
            None if unsettled.contains(key.0.as_str()) => {}
            None => batch.faults.push(lost(&key.0, finding)),
        }
    }
    batch
}
