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

/// What the stage gives.
pub struct Findings<'scope> {
    /// What readers said of lesions, by report.
    pub findings: Rows<'scope>,
    /// The lesions with what readers said of them, by report.
    pub lesions: Rows<'scope>,
    /// The same lesions, and faults.
    pub told: Rows<'scope>,
}

/// The `lesions` of the runs that are done, with what readers said of them. `unsettled` are reports whose runs are to do.
pub fn stage<'scope>(
    choices: Rows<'scope>,
    lesions: Rows<'scope>,
    unsettled: Rows<'scope>,
    verdicts: Rows<'scope>,
) -> Findings<'scope> {
    const FINDINGS: usize = 0;
    const LESIONS: usize = 1;
    const LOST: usize = 2;
    const TOLD: usize = 3;
    let [findings, lesions, lost_ones, told] = gather([lesions, verdicts], "findings", |key, rows, out| {
        let Key::Lesion(study_uid, _) = key else { return };
        let (lesions, finding) = judge(rows);
        if let Some(finding) = finding {
            let finding = || Row::Finding(Arc::clone(&finding));
            let reports: BTreeSet<ReportKey> = lesions.iter().map(report).collect();
            if reports.is_empty() {
                out.push((LOST, Key::Study(study_uid.clone()), finding()));
            }
            out.extend(reports.into_iter().map(|report| (FINDINGS, Key::Report(report), finding())));
        }
        for lesion in lesions {
            out.push((LESIONS, Key::Report(report(&lesion)), Row::Lesion(Arc::new(lesion.clone()))));
            out.push((TOLD, key.clone(), Output::Lesion(lesion).into()));
        }
    });
    let held = each(choices, |key, row, out| {
        if let (Key::Report(key), Row::Choice(choice)) = (key, row)
            && is_unsettled(&choice)
        {
            out.push((Key::Study(key.0.clone()), Row::Unsettled(key)));
        }
    });
    let [faults] = gather([lost_ones, held, unsettled], "lost findings", |key, rows, out| {
        let Key::Study(study_uid) = key else { return };
        if rows.iter().any(|row| matches!(row, Row::Unsettled(_))) {
            return;
        }
        out.extend(rows.iter().filter_map(|row| match row {
            Row::Finding(finding) => Some((0, key.clone(), Output::Fault(lost(study_uid, finding)).into())),
            _ => None,
        }));
    });
    Findings { findings, lesions, told: all([told, faults]) }
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
