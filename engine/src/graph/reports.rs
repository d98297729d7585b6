//! Stage `reports`: one report a study and pipeline, as it should stand, and the revision that is to be issued where
//! the newest says something else. What was issued is never taken back silently: where its series is gone, or what it
//! said is outdated and cannot be made anew, the next revision says so. While a choice is held, or its run is not done,
//! what was issued stays.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::Serialize;
use sulcus_operators::{
    digest::Digest,
    rows::{Finding, ReportRow, ReportStatus, Role, RunOrder, Seq, VisitRow},
};

use super::{
    choice::Choice,
    group::{Key, Row, Rows, in_force},
    inputs::{Issued, ObjectFact, ReportKey},
    keyed::gather_by,
    objects::given_up,
    rows::{Output, RevisionToIssue},
    runs,
    taken_back::{amended, is_disowned},
};
use crate::ledger::event::{RevisionKey, Rules};

/// Why a report is withdrawn of whose study the pipeline takes no series; which of the two, the ledger tells
/// (`lanes/withdrawal.rs`).
pub const ABSENT: &str = "its series was withdrawn, or the rule does not take it any more";

/// Why a report is withdrawn while its series waits for what follows from a withdrawal.
pub const DISOWNED: &str =
    "instances that it was made from are of another patient; what is left of the series will be reported again";

/// A report as it should stand.
struct Wanted {
    row: Arc<ReportRow>,
    /// The revision that it makes; none where the newest says the same.
    issue: Option<u32>,
    /// True where no series of the study matches any more: that counts only while the rules name the pipeline.
    absent: bool,
}

/// What a run was before there were further inputs, by the same names and in the same order: without them, contents stay
/// what they were.
#[derive(Serialize)]
struct OneSeries<'a> {
    run_key: &'a Digest,
    study_uid: &'a str,
    series_uid: &'a str,
    stack: &'a str,
    model: &'a Digest,
    members: [Seq; 0],
}

/// `ReportRow::content`: equal content is the same revision. What no reader has judged, no earlier visit is known of, and
/// reads one series, keeps the content that it had before there were verdicts, visits and further inputs.
pub fn content(row: &ReportRow) -> Digest {
    let run = row.run.as_ref().map(|run| OneSeries {
        run_key: &run.run_key,
        study_uid: &run.study_uid,
        series_uid: &run.series_uid,
        stack: &run.stack,
        model: &run.model,
        members: [],
    });
    let found = Digest::of_row(
        "report",
        &(&row.study_uid, &row.pipeline, &row.status, run, &row.demographics_digest, &row.not_used, &row.doubts),
    );
    let judged = if row.verdicts.is_empty() { found } else { Digest::of_row("judged report", &(found, &row.verdicts)) };
    let told =
        if row.visits.is_empty() { judged } else { Digest::of_row("report among visits", &(judged, &row.visits)) };
    let inputs = row.run.iter().flat_map(|run| &run.inputs);
    let inputs: Vec<_> = inputs.map(|input| (&input.name, &input.series_uid, &input.stack)).collect();
    if inputs.is_empty() && row.without.is_empty() {
        return told;
    }
    Digest::of_row("report of several series", &(told, inputs, &row.without))
}

fn wanted(key: &ReportKey, rows: &[&Row]) -> Option<Wanted> {
    let choice = rows.iter().find_map(|row| if let Row::Choice(choice) = row { Some(choice.as_ref()) } else { None });
    let issued = || rows.iter().filter_map(|row| if let Row::Issued(issued) = row { Some(issued) } else { None });
    let newest = issued().max_by_key(|issued| issued.revision);
    // Why the segmentation of a revision with this content was given up.
    let unmade = |content: Digest| {
        let facts =
            || rows.iter().filter_map(|row| if let Row::Object(fact) = row { Some(fact.as_ref()) } else { None });
        issued()
            .filter(|issued| issued.content == content)
            .find_map(|issued| facts().find_map(|fact| given_up(fact, issued.revision, Role::Segmentation)))
    };
    // What follows from the same rows with other words or identities of lesions is another revision.
    let again = rows.iter().find_map(|row| if let Row::Again(gave) = row { Some(*gave) } else { None });
    let amend = |content: Digest| match (again, amended(issued(), rows)) {
        (None, 0) => content,
        of => Digest::of_row("amended report", &(content, of)),
    };
    let row = |status, run: Option<RunOrder>, demographics_digest, not_used: &[(String, String)]| {
        let ((study_uid, pipeline), not_used) = (key.clone(), not_used.to_vec());
        let doubts = Vec::new();
        ReportRow {
            study_uid,
            pipeline,
            status,
            run,
            demographics_digest,
            not_used,
            doubts,
            verdicts: Vec::new(),
            visits: Vec::new(),
            without: Vec::new(),
            content: Digest::default(),
        }
    };
    let withdrawn = |reason: String, not_used| row(ReportStatus::Withdrawn(reason), None, Digest::default(), not_used);
    let is_disowned = is_disowned(issued(), rows);
    let mut row = match choice {
        Some(Choice::Hold) if !is_disowned => return None,
        Some(Choice::Hold) => withdrawn(DISOWNED.to_owned(), &[]),
        Some(Choice::Use { order, demographics_digest, not_used, doubts, without, .. })
            if rows.contains(&&Row::Done(order.run_key)) =>
        {
            let mut made = row(ReportStatus::Final, Some(order.as_ref().clone()), *demographics_digest, not_used);
            made.doubts.clone_from(doubts);
            made.without.clone_from(without);
            made.verdicts.extend(rows.iter().filter_map(|row| match row {
                Row::Finding(finding) => Some(finding.as_ref().clone()),
                _ => None,
            }));
            let visits = rows.iter().find_map(|row| if let Row::Visits(visits) = row { Some(visits) } else { None });
            made.visits.extend(visits.into_iter().flat_map(|visits| visits.iter().cloned()));
            match unmade(amend(content(&made))) {
                None => made,
                Some(reason) => withdrawn(format!("its segmentation could not be made: {reason}"), not_used),
            }
        }
        Some(Choice::Use { order, not_used, .. }) => {
            newest?;
            let reason = rows.iter().find_map(|row| match row {
                Row::GivenUp(run_key, reason) if *run_key == order.run_key => Some(reason),
                _ => None,
            });
            match reason {
                Some(reason) => {
                    withdrawn(format!("what it was made from changed, and the new run failed: {reason}"), not_used)
                }
                None if is_disowned => withdrawn(DISOWNED.to_owned(), &[]),
                None => return None,
            }
        }
        Some(Choice::Gone { reason, not_used }) => {
            newest?;
            withdrawn(reason.clone(), not_used)
        }
        None => {
            newest?;
            withdrawn(ABSENT.to_owned(), &[])
        }
    };
    row.content = amend(content(&row));
    // What is withdrawn already, for whatever reason, stays so while it waits.
    let waits = row.status == ReportStatus::Withdrawn(DISOWNED.to_owned());
    if waits && newest.is_some_and(|newest| newest.series.is_empty() && newest.content != row.content) {
        return None;
    }
    let issue = match newest {
        Some(newest) if newest.content == row.content => None,
        newest => Some(newest.map_or(0, |newest| newest.revision).saturating_add(1)),
    };
    Some(Wanted { row: Arc::new(row), issue, absent: choice.is_none() })
}

impl Wanted {
    fn to_issue(&self) -> Option<RevisionToIssue> {
        let ReportRow { study_uid, pipeline, .. } = self.row.as_ref();
        let key = RevisionKey { study_uid: study_uid.clone(), pipeline: pipeline.clone(), revision: self.issue? };
        Some(RevisionToIssue { key, row: self.row.as_ref().clone() })
    }
}

/// True where a report counts: a pipeline that the rules no longer name takes nothing back, what it reported stays.
fn counts(wanted: &Wanted, rules: Option<&Rules>) -> bool {
    let named = |rules: &Rules| rules.pipelines.iter().any(|rule| rule.name == wanted.row.pipeline);
    !wanted.absent || rules.is_some_and(named)
}

/// Reports as they should stand, and the revisions to issue. `said` is what readers, the patient's other visits and
/// whoever withdrew instances say.
pub fn stage<'scope>(
    choices: Rows<'scope>,
    ended: Rows<'scope>,
    [findings, visits, taken_back]: [Rows<'scope>; 3],
    issued: Rows<'scope>,
    objects: Rows<'scope>,
    rules: Rows<'scope>,
) -> (Rows<'scope>, Rows<'scope>) {
    const REPORTS: usize = 0;
    const TOLD: usize = 1;
    let from = [choices, ended, findings, visits, taken_back, issued, objects];
    let [reports, told] = gather_by(rules, from, "reports", |by, key, rows, out| {
        let Key::Report(report) = key else { return };
        let Some(wanted) = wanted(report, rows).filter(|wanted| counts(wanted, in_force(by))) else { return };
        out.extend(wanted.to_issue().map(|revision| (TOLD, key.clone(), Output::Revision(revision).into())));
        out.push((TOLD, key.clone(), Output::Report(wanted.row.as_ref().clone()).into()));
        out.push((REPORTS, key.clone(), Row::Report(wanted.row)));
    });
    (reports, told)
}

/// What is said of reports, beyond what their runs give.
#[derive(Clone, Copy)]
pub struct Said<'a> {
    /// By readers.
    pub findings: &'a BTreeMap<ReportKey, BTreeSet<Finding>>,
    /// By the patient's visits.
    pub visits: &'a BTreeMap<ReportKey, Vec<VisitRow>>,
    /// By whoever withdrew instances.
    pub taken_back: &'a BTreeMap<ReportKey, BTreeSet<Row>>,
}

/// The same from the whole log.
pub fn batch(
    choices: &BTreeMap<ReportKey, Choice>,
    runs: &runs::Batch,
    said: Said<'_>,
    issued: &BTreeMap<ReportKey, BTreeSet<Issued>>,
    objects: &BTreeMap<ReportKey, BTreeSet<ObjectFact>>,
    rules: Option<&Rules>,
) -> (BTreeMap<ReportKey, Arc<ReportRow>>, Vec<RevisionToIssue>) {
    let keys: BTreeSet<&ReportKey> = choices.keys().chain(issued.keys()).collect();
    let (mut reports, mut to_issue) = (BTreeMap::new(), Vec::new());
    for key in keys {
        let mut rows: Vec<Row> = Vec::new();
        rows.extend(choices.get(key).cloned().map(|choice| Row::Choice(Arc::new(choice))));
        rows.extend(runs.done.get(key).map(|run_key| Row::Done(*run_key)));
        let given_up = |(run_key, reason): &(Digest, String)| Row::GivenUp(*run_key, reason.clone());
        rows.extend(runs.given_up.get(key).map(given_up));
        rows.extend(runs.again.get(key).map(|gave| Row::Again(*gave)));
        rows.extend(said.taken_back.get(key).into_iter().flatten().cloned());
        let findings = said.findings.get(key).into_iter().flatten().cloned();
        rows.extend(findings.map(|finding| Row::Finding(Arc::new(finding))));
        rows.extend(said.visits.get(key).map(|visits| Row::Visits(Arc::new(visits.clone()))));
        rows.extend(objects.get(key).into_iter().flatten().cloned().map(|fact| Row::Object(Arc::new(fact))));
        rows.extend(issued.get(key).into_iter().flatten().cloned().map(Row::Issued));
        if let Some(report) = wanted(key, &rows.iter().collect::<Vec<_>>())
            && counts(&report, rules)
        {
            to_issue.extend(report.to_issue());
            reports.insert(key.clone(), report.row);
        }
    }
    (reports, to_issue)
}
