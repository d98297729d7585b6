//! Stages `runs` and `lesions`: which runs are wanted, which of those are done, which are to do, and what the done
//! ones found. An attempt is recorded before it begins, so that an input that kills its process is a fault after
//! [`MOST_ATTEMPTS`] attempts, not a loop. One that was cancelled does not count; its number is not given again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sulcus_operators::{
    digest::Digest,
    rows::{Fault, RunOrder, RunOutcome, Seq},
};

use super::{
    choice::Choice,
    group::{Key, Row, Rows},
    inputs::{ReportKey, RunFact},
    keyed::{each, gather},
    rows::{Lesion, MOST_ATTEMPTS, Output, RunToDo},
};
use crate::ledger::merges::During;

/// What a wanted run is.
enum Standing {
    ToDo(RunToDo),
    /// Its last attempt has begun, and nothing tells how it ended.
    Unended(RunToDo),
    /// With a digest of the outcome, where that replaces one that does not count any more.
    Done(ReportKey, Arc<RunOutcome>, Option<Digest>),
    Failed(Vec<ReportKey>, Digest, Fault),
}

/// The outcomes of a run, each with its event, and whether it counts: it was compared with no visit, or its attempt began
/// while no other's study was taken for the patient's.
fn outcomes<'a>(facts: &[&'a RunFact], misled: &[During]) -> Vec<(Seq, &'a Arc<RunOutcome>, bool)> {
    let began = |end: Seq| {
        let starts =
            facts.iter().filter_map(|fact| if let RunFact::Started { seq, .. } = fact { Some(*seq) } else { None });
        starts.filter(|seq| *seq < end).max().unwrap_or(0)
    };
    let outcomes = facts.iter().filter_map(|fact| match fact {
        RunFact::Finished { outcome, seq } => {
            let began = began(*seq);
            let is_misled = misled.iter().any(|[since, until]| (since..until).contains(&&began));
            Some((*seq, outcome, !outcome.knows_visits() || !is_misled))
        }
        _ => None,
    });
    outcomes.collect()
}

fn standings(run_key: &Digest, rows: &[&Row], out: &mut Vec<Standing>) {
    let facts = rows.iter().filter_map(|row| if let Row::RunFact(fact) = row { Some(fact.as_ref()) } else { None });
    let facts: Vec<&RunFact> = facts.collect();
    let wanted =
        || rows.iter().filter_map(|row| if let Row::Run(key, order) = row { Some((key, order)) } else { None });
    let Some(order) = wanted().map(|(_, order)| order).min() else { return };
    let misled = rows.iter().filter_map(|row| if let Row::Misled(during) = row { Some(*during) } else { None });
    let misled: Vec<During> = misled.collect();
    let outcomes = outcomes(&facts, &misled);
    let replaces = outcomes.iter().any(|(_, _, counts)| !counts);
    if let Some((_, outcome, _)) = outcomes.iter().filter(|(_, _, counts)| *counts).max_by_key(|(seq, ..)| *seq) {
        let again = replaces.then(|| Digest::of_row("outcome", outcome.as_ref()));
        out.extend(wanted().map(|(key, _)| Standing::Done(key.clone(), Arc::clone(outcome), again)));
        return;
    }
    // What was tried before an outcome was given up says nothing of the next one.
    let tried_from = misled.iter().map(|[_, until]| *until).filter(|_| replaces).max().unwrap_or(0);
    let (mut attempts, mut cancelled, mut failures) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
    let mut given_up = false;
    for fact in facts {
        match fact {
            RunFact::Started { attempt, seq } if *seq > tried_from => {
                attempts.insert(*attempt);
            }
            RunFact::Failed { attempt, seq, permanent, reason, hint } if *seq > tried_from => {
                attempts.insert(*attempt);
                given_up |= permanent;
                failures.insert((*permanent, *attempt), (reason, hint));
            }
            RunFact::Cancelled { attempt, seq } if *seq > tried_from => {
                cancelled.insert(*attempt);
            }
            _ => {}
        }
    }
    let begun = attempts.last().max(cancelled.last()).copied().unwrap_or(0);
    attempts.retain(|attempt| !cancelled.contains(attempt));
    let last = attempts.last().copied().unwrap_or(0);
    // One for each study that wants it; a lane starts it once, since it knows it by its RunKey.
    let orders: BTreeSet<&RunOrder> = wanted().map(|(_, order)| order.as_ref()).collect();
    let runs = |attempt: u32| {
        orders.iter().map(move |order| RunToDo {
            order: (*order).clone(),
            attempt,
            wanted_by: wanted().filter(|(_, of)| of.as_ref() == *order).map(|(key, _)| key.clone()).collect(),
        })
    };
    if !given_up && attempts.len() < MOST_ATTEMPTS as usize {
        out.extend(runs(begun.saturating_add(1)).map(Standing::ToDo));
        return;
    }
    let ended = failures.keys().any(|(_, attempt)| *attempt == last);
    if !ended {
        out.extend(runs(last).map(Standing::Unended));
    }
    let (reason, hint) = match failures.last_key_value() {
        Some(((permanent, _), (reason, hint))) if *permanent || ended => ((*reason).clone(), (*hint).clone()),
        _ => (
            format!("run was begun {} times, and attempt {last} has not ended", attempts.len()),
            "it may have ended its process: see the log of the inference process; a corrected series or another \
             model makes another run"
                .to_owned(),
        ),
    };
    let key = order.series_uid.clone();
    let wanted_by = wanted().map(|(key, _)| key.clone()).collect();
    out.push(Standing::Failed(wanted_by, *run_key, Fault { stage: "runs".to_owned(), key, reason, hint }));
}

fn lesions((study_uid, pipeline): &ReportKey, outcome: &RunOutcome) -> Vec<Lesion> {
    let lesion = |row: &sulcus_operators::rows::LesionRow| Lesion {
        study_uid: study_uid.clone(),
        pipeline: pipeline.clone(),
        run_key: outcome.run_key,
        lesion: row.clone(),
        finding: None,
    };
    let mut lesions: Vec<Lesion> = outcome.lesions.iter().map(lesion).collect();
    lesions.sort();
    lesions.dedup();
    lesions
}

/// The runs of other visits that a run was compared with.
fn compared(outcome: &RunOutcome) -> BTreeSet<Digest> {
    outcome.alignments.iter().map(|alignment| alignment.run_key).collect()
}

/// What the stage gives.
pub struct Runs<'scope> {
    /// The runs that are done or given up, by report.
    pub ended: Rows<'scope>,
    /// What the done ones found, by lesion.
    pub lesions: Rows<'scope>,
    /// Reports whose runs are to do, by study.
    pub unsettled: Rows<'scope>,
    /// What is to do, and faults.
    pub told: Rows<'scope>,
}

/// The runs that `choices` want against `facts`, what happened to them, and `misled`, which of their outcomes do not count.
pub fn stage<'scope>(choices: Rows<'scope>, facts: Rows<'scope>, misled: Rows<'scope>) -> Runs<'scope> {
    const ENDED: usize = 0;
    const LESIONS: usize = 1;
    const UNSETTLED: usize = 2;
    const TOLD: usize = 3;
    let wanted = each(choices, |key, row, out| {
        if let (Key::Report(key), Row::Choice(choice)) = (key, row)
            && let Choice::Use { order, .. } = choice.as_ref()
        {
            out.push((Key::Run(order.run_key), Row::Run(key, Arc::clone(order))));
        }
    });
    let [ended, lesions, unsettled, told] = gather([wanted, facts, misled], "runs", |key, rows, out| {
        let Key::Run(run_key) = key else { return };
        let mut standing = Vec::new();
        standings(run_key, rows, &mut standing);
        for standing in standing {
            match standing {
                Standing::ToDo(run) => {
                    let wanted_by = run.wanted_by.iter().cloned();
                    out.extend(wanted_by.map(|of| (UNSETTLED, Key::Study(of.0.clone()), Row::Unsettled(of))));
                    out.push((TOLD, key.clone(), Output::Run(run).into()));
                }
                Standing::Unended(run) => out.push((TOLD, key.clone(), Output::Unended(run).into())),
                Standing::Failed(wanted_by, run_key, fault) => {
                    let given_up = || Row::GivenUp(run_key, fault.reason.clone());
                    out.extend(wanted_by.into_iter().map(|of| (ENDED, Key::Report(of), given_up())));
                    out.push((TOLD, key.clone(), Output::Fault(fault).into()));
                }
                Standing::Done(of, outcome, again) => {
                    out.extend(lesions(&of, &outcome).into_iter().map(|lesion| {
                        let key = Key::Lesion(lesion.study_uid.clone(), lesion.lesion.tracking_uid.clone());
                        (LESIONS, key, Row::Lesion(Arc::new(lesion)))
                    }));
                    let compared = Some(compared(&outcome)).filter(|runs| !runs.is_empty()).map(Row::Compared);
                    let ended = [Some(Row::Done(outcome.run_key)), again.map(Row::Again), compared];
                    out.extend(ended.into_iter().flatten().map(|row| (ENDED, Key::Report(of.clone()), row)));
                }
            }
        }
    });
    Runs { ended, lesions, unsettled, told }
}

/// What the stage gives, from the whole log.
#[derive(Default)]
pub struct Batch {
    /// Runs to do.
    pub to_do: Vec<RunToDo>,
    /// Runs whose last attempt has not ended.
    pub unended: Vec<RunToDo>,
    /// For each study and pipeline, the wanted run that is done.
    pub done: BTreeMap<ReportKey, Digest>,
    /// For each study and pipeline, the runs of other visits that the done one was compared with; none: it is left out.
    pub compared: BTreeMap<ReportKey, BTreeSet<Digest>>,
    /// For each study and pipeline, a digest of the outcome where it replaces one which does not count any more.
    pub again: BTreeMap<ReportKey, Digest>,
    /// For each study and pipeline, the wanted run that is given up, and why.
    pub given_up: BTreeMap<ReportKey, (Digest, String)>,
    /// Lesions of the runs that are wanted and done.
    pub lesions: Vec<Lesion>,
    /// Runs that are given up.
    pub faults: Vec<Fault>,
}

/// The same from the whole log.
pub fn batch(
    choices: &BTreeMap<ReportKey, Choice>,
    facts: &BTreeMap<Digest, BTreeSet<RunFact>>,
    misled: &BTreeSet<(Digest, During)>,
) -> Batch {
    let mut rows: BTreeMap<Digest, BTreeSet<Row>> = BTreeMap::new();
    for (key, choice) in choices {
        if let Choice::Use { order, .. } = choice {
            rows.entry(order.run_key).or_default().insert(Row::Run(key.clone(), Arc::clone(order)));
        }
    }
    let (mut batch, mut standing) = (Batch::default(), Vec::new());
    for (run_key, rows) in &mut rows {
        rows.extend(facts.get(run_key).into_iter().flatten().cloned().map(|fact| Row::RunFact(Arc::new(fact))));
        rows.extend(misled.iter().filter(|(of, _)| of == run_key).map(|(_, during)| Row::Misled(*during)));
        standings(run_key, &rows.iter().collect::<Vec<_>>(), &mut standing);
    }
    for standing in standing {
        match standing {
            Standing::ToDo(run) => batch.to_do.push(run),
            Standing::Unended(run) => batch.unended.push(run),
            Standing::Failed(wanted_by, run_key, fault) => {
                batch.given_up.extend(wanted_by.into_iter().map(|key| (key, (run_key, fault.reason.clone()))));
                batch.faults.push(fault);
            }
            Standing::Done(key, outcome, again) => {
                batch.again.extend(again.map(|gave| (key.clone(), gave)));
                batch.lesions.extend(lesions(&key, &outcome));
                let compared = compared(&outcome);
                if !compared.is_empty() {
                    batch.compared.insert(key.clone(), compared);
                }
                batch.done.insert(key, outcome.run_key);
            }
        }
    }
    batch
}
