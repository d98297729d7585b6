//! The whole graph from the log alone: what the incremental graph must equal after every epoch.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sulcus_operators::{
    digest::Digest,
    rows::{Finding, LesionVerdict, Seq},
};

use super::{
    choice,
    completeness::{self, Directed},
    deliveries, departed, findings,
    group::Row,
    inputs::{DeliveryKey, Issued, LesionKey, ObjectFact, ReportKey, RunFact, Tried, finding, report_key},
    instances::{self, Arrived},
    listings::Listings,
    matches, objects,
    persons::{self, Persons},
    reports,
    rows::Output,
    runs, series,
    taken_back::{self, Gone},
    timeline,
    versions::{Ruling, Rulings},
};
use crate::ledger::{
    event::{Arrival, Directive, Entry, Event, Rules, Scope, TimerKind},
    patients::Visitors,
};

/// What the log says, event by event, without any judgement.
#[derive(Default)]
struct Log {
    arrived: Vec<Arc<Arrived>>,
    withdrawn: Vec<(Scope, Seq)>,
    released: BTreeMap<String, Seq>,
    fired: BTreeSet<(String, TimerKind, Seq)>,
    directed: BTreeMap<String, Directed>,
    rules: Option<Rules>,
    versions: Rulings,
    runs: BTreeMap<Digest, BTreeSet<RunFact>>,
    issued: BTreeMap<ReportKey, BTreeSet<Issued>>,
    objects: BTreeMap<ReportKey, BTreeSet<ObjectFact>>,
    tried: BTreeMap<DeliveryKey, Tried>,
    settled: BTreeSet<DeliveryKey>,
    verdicts: BTreeMap<LesionKey, Finding>,
    visitors: Visitors,
    persons: Persons,
    gone: Gone,
    listings: Listings,
    taken_back: Vec<(String, Row)>,
}

impl Log {
    fn read(entries: &[Entry]) -> Self {
        let mut log = Log::default();
        for entry in entries {
            log.arrived.extend(Arrived::of(entry, |series_uid| series_uid.into()).map(Arc::new));
            log.read_one(entry);
        }
        for arrived in &mut log.arrived {
            Arc::make_mut(arrived).know(log.persons.merges());
        }
        log
    }

    fn read_one(&mut self, entry: &Entry) {
        match entry.event.clone() {
            Event::InstanceReceived { facts, arrival, .. } => {
                if arrival == Arrival::New {
                    self.persons.came(entry.seq, &facts);
                }
                if let Some(patient) = self.visitors.note(&facts) {
                    self.persons.alone(&facts.study_uid, &patient);
                }
            }
            Event::InstanceQuarantined { .. } => {}
            Event::InstanceWithdrawn { scope, because, .. } => {
                let covered = instances::covered(&self.arrived, &self.withdrawn, &scope);
                let studies = self.gone.note(&scope, None, covered.iter().copied());
                if let Some(because) = because {
                    self.taken_back.extend(taken_back::rows(entry.seq, because, &studies, covered.into_iter()));
                    for study_uid in studies.keys().filter(|_| because.disowns()) {
                        self.persons.left(entry.seq, study_uid);
                    }
                }
                self.withdrawn.push((scope, entry.seq));
            }
            Event::AssociationReleased { series_uids, orderly: true, .. } => {
                self.released.extend(series_uids.into_iter().map(|uid| (uid, entry.seq)));
            }
            Event::AssociationReleased { .. } => {}
            Event::TimerFired(timer) => {
                self.fired.insert((timer.series_uid, timer.kind, timer.as_of));
            }
            Event::RulesChanged(rules) => {
                self.versions.read(entry.seq, &rules);
                self.rules = Some(rules);
            }
            Event::RunStarted { .. } | Event::RunFailed { .. } | Event::RunCancelled { .. } | Event::RunFinished(_) => {
                if let Some((run_key, fact)) = RunFact::of(entry) {
                    self.runs.entry(run_key).or_default().insert(fact);
                }
            }
            Event::RevisionIssued { .. } => {
                if let Some((report, issued)) = Issued::of(entry) {
                    self.issued.entry(report).or_default().insert(issued);
                }
            }
            Event::ObjectEncoded { object, key, role, uid, bytes, .. } => {
                let fact = ObjectFact::Encoded { revision: key.revision, role, object, uid, bytes };
                self.objects.entry(report_key(&key)).or_default().insert(fact);
            }
            Event::EncodeFailed { key, role, attempt, permanent, reason, hint } => {
                let fact = ObjectFact::Failed { revision: key.revision, role, attempt, permanent, reason, hint };
                self.objects.entry(report_key(&key)).or_default().insert(fact);
            }
            Event::DeliveryStarted { object, destination, attempt } => {
                self.tried.entry((object, destination)).or_default().attempt = attempt;
            }
            Event::DeliveryFailed { object, destination, attempt, reason, retry_at } => {
                self.tried.insert((object, destination), Tried { attempt, not_before: retry_at, reason });
            }
            Event::DeliverySettled { object, destination, .. } => {
                self.settled.insert((object, destination));
            }
            Event::ResendAsked { object, destination } => {
                let key = (object, destination);
                self.tried.remove(&key);
                self.settled.remove(&key);
            }
            // It is the lane's to read; what follows is that a delivery settles.
            Event::CommitmentReported { .. } => {}
            // A seal says nothing new: from scratch everything is read.
            Event::StudySealed { .. } | Event::StudyReopened { .. } | Event::SealsReviewed { .. } => {}
            Event::SeriesDirected { series_uid, directive: Directive::Release, .. } => {
                self.directed.remove(&series_uid);
            }
            Event::SeriesDirected { series_uid, directive, reason, by, .. } => {
                self.directed.insert(series_uid, Directed { directive, reason, by });
            }
            Event::InstancesListed { study_uid, instances, absent, .. } => {
                self.listings.list(&study_uid, instances.iter().chain(&absent), std::iter::empty());
            }
            Event::StepReported { study_uid, step_uid, state, series, .. } => {
                self.listings.step(&study_uid, &step_uid, state, &series, std::iter::empty());
            }
            Event::SeriesCounted { study_uid, series_uid, instances, .. } => {
                self.listings.archived(&study_uid, &series_uid, instances);
            }
            Event::PatientsMerged { from, into, .. } => self.persons.merge(entry.seq, &from, into.as_ref()),
            Event::VerdictGiven { study_uid, tracking_uid, .. } => {
                self.verdicts.extend(finding(&entry.event).map(|finding| ((study_uid, tracking_uid), finding)));
            }
        }
    }
}

/// All rows of all outputs after these events.
pub fn outputs(entries: &[Entry]) -> BTreeSet<Output> {
    let mut log = Log::read(entries);
    let rules = log.rules.as_ref();
    let (standing, mut faults) = instances::batch(&log.arrived, &log.withdrawn);
    let said = persons::batch(&log.persons);
    faults.extend(said.faults);
    for arrived in &standing {
        log.listings.count(arrived, true);
    }
    let (series, more) = series::batch(&standing);
    faults.extend(more);
    let (judged, timers, more) =
        completeness::batch(&series, &log.released, &log.fired, &log.directed, &log.listings.all(), rules);
    faults.extend(more);
    let states = judged.values().map(|judged| judged.state.as_ref());
    let rulings: Vec<Arc<Ruling>> = log.versions.in_force().cloned().collect();
    let (applied, more) = matches::batch(states, &rulings);
    faults.extend(more);
    let (choices, told) = choice::batch(&judged, &applied);
    let misled = departed::batch(&choices, &said.departed, &said.alone);
    let runs = runs::batch(&choices, &log.runs, &misled);
    log.verdicts.retain(|_, finding| finding.verdict != LesionVerdict::Open);
    let findings = findings::batch(&choices, &runs, &log.verdicts);
    faults.extend(findings.faults);
    let visits = timeline::batch(&choices, &runs, &findings.lesions, &said.alone);
    let taken_back = taken_back::batch(&log.issued, &log.taken_back);
    let said = reports::Said { findings: &findings.findings, visits: &visits, taken_back: &taken_back };
    let (reports, to_issue) = reports::batch(&choices, &runs, said, &log.issued, &log.objects, rules);
    faults.extend(runs.faults);
    let (to_encode, objects, more) = objects::batch(&reports, &log.issued, &log.objects, rules);
    faults.extend(more);
    let deliveries = deliveries::batch(&objects, rules, &log.tried, &log.settled);

    let mut all: BTreeSet<Output> = faults.into_iter().map(Output::Fault).chain(told).collect();
    all.extend(runs.to_do.into_iter().map(Output::Run));
    all.extend(runs.unended.into_iter().map(Output::Unended));
    all.extend(to_issue.into_iter().map(Output::Revision));
    all.extend(to_encode.into_iter().map(Output::Object));
    all.extend(deliveries);
    all.extend(timers.into_iter().map(Output::Timer));
    all.extend(series.into_values().map(Output::Series));
    all.extend(judged.into_values().map(|judged| Output::Completeness(judged.completeness)));
    all.extend(reports.values().map(|report| Output::Report(report.as_ref().clone())));
    all.extend(findings.lesions.into_iter().map(Output::Lesion));
    all
}
