//! The inference lane of one device: hands a run to the device's worker process and records what came of it.

use std::collections::{BTreeMap, BTreeSet};

use sulcus_operators::{
    digest::Digest,
    rows::{InstanceFacts, PatientKey, RunOutcome, Seq},
};

use super::{
    Cancel,
    child::Worker,
    departures::departed,
    models::Models,
    order::{Cause, EarlierRun, Failure, Lies, Order, Reply, SourceInstance},
    port::{Port, Stopping},
    visits::visits,
};
use crate::{
    devices::{Room, need},
    graph::RunToDo,
    hosts::fetch::Fetcher,
    ledger::{
        LedgerError,
        event::{Arrival, Entry, Event, ReportedRun, SpoolPlace},
        merges::During,
        read::Reader,
    },
};

/// How many earlier runs a run's lesions are compared with.
const MOST_EARLIER: usize = 8;

/// What the lane of a device works with.
pub struct Inference {
    /// The device's name.
    pub device: String,
    /// Its memory.
    pub room: Room,
    /// Which package a model is.
    pub models: Models,
    /// The device's process.
    pub worker: Worker,
    /// The ledger.
    pub reader: Reader,
    /// The way to it.
    pub port: Port,
    /// The way to the bytes of other hosts' visits.
    pub fetcher: Fetcher,
}

impl Inference {
    /// Carries out one run, unless it is cancelled before its end. Returns the sequence number of its last event.
    ///
    /// # Errors
    /// Where the engine stops.
    pub fn infer(&mut self, job: &RunToDo, cancel: &Cancel) -> Result<Seq, Stopping> {
        let Inference { device, room, models, worker, reader, port, fetcher } = self;
        let (run_key, attempt) = (job.order.run_key, job.attempt);
        port.append(&[Event::RunStarted { run_key, attempt }])?;
        let series = 1 + job.order.inputs.len();
        tracing::info!(run = run_key.short(), attempt, device, series, slices = job.order.members.len(), "run started");
        let outcome = port.stop().until_cured(|| {
            if cancel.is_set() {
                return Err(Failure::cancelled());
            }
            let package = models.to_run(&job.order.model)?;
            // Its package may not have told what it needs when the device was chosen.
            if !room.takes(need(models, &job.order.model)) {
                return Err(Failure::cancelled());
            }
            let instances = sources(reader, &job.order.members)?;
            let inputs =
                job.order.inputs.iter().map(|input| sources(reader, &input.members)).collect::<Result<_, _>>()?;
            let counts = Counts::of(reader, job)?;
            let (earlier, visits) = (earlier(reader, job, &counts)?, visits(reader, job, &counts, fetcher)?);
            for run in &earlier {
                // One whose label map cannot be had is told of in a note.
                let _ = fetcher.bring(&run.outcome.mask);
            }
            let order = Order::Run { order: job.order.clone(), package, instances, inputs, earlier, visits };
            worker.ask(&order, &mut |done, of| {
                tracing::debug!(run = run_key.short(), done, of, "tiles");
                !cancel.is_set()
            })
        })?;
        fetcher.clear();
        port.append(&[match outcome {
            Ok(Reply::Run(outcome)) => {
                tracing::info!(run = run_key.short(), lesions = outcome.lesions.len(), "run finished");
                Event::RunFinished(outcome)
            }
            Err(Failure { cause: Cause::Cancelled, .. }) => {
                tracing::info!(run = run_key.short(), attempt, "run cancelled");
                Event::RunCancelled { run_key, attempt }
            }
            Ok(other) => {
                failed(job, Failure::crash(format!("the worker answered a run with {other:?}"), "restart sulcus"))
            }
            Err(failure) => failed(job, failure),
        }])
    }
}

fn failed(job: &RunToDo, failure: Failure) -> Event {
    tracing::warn!(run = job.order.run_key.short(), attempt = job.attempt, reason = failure.reason, "run failed");
    Event::RunFailed {
        run_key: job.order.run_key,
        attempt: job.attempt,
        permanent: failure.cause == Cause::Input,
        reason: failure.reason,
        hint: failure.hint,
    }
}

/// What the reports that want the run said before: the newest runs, without this one. What was said while the series was
/// another patient's has no part in this one's lesions: their identities may be those of his visits.
fn earlier(reader: &Reader, job: &RunToDo, counts: &Counts) -> Result<Vec<EarlierRun>, Failure> {
    let studies: BTreeSet<&str> = job.wanted_by.iter().map(|(study_uid, _)| study_uid.as_str()).collect();
    let merges = reader.merges().map_err(unreadable)?;
    let own = first(reader, job)?.map(|facts| merges.of(&facts.patient).clone());
    // The newest revision of each run and series.
    let mut reported: BTreeMap<ReportedRun, Seq> = BTreeMap::new();
    for study_uid in studies {
        let mut patients: BTreeMap<String, PatientKey> = BTreeMap::new();
        for entry in about(reader, study_uid)? {
            match entry.event {
                Event::InstanceReceived { facts, arrival: Arrival::New, .. } => {
                    patients.insert(facts.series_uid.clone(), merges.of(&facts.patient).clone());
                }
                Event::RevisionIssued { key, run: Some(run), .. }
                    if run.run_key != job.order.run_key
                        && patients.get(&run.series_uid) == own.as_ref()
                        && job.wanted_by.contains(&(key.study_uid.clone(), key.pipeline.clone())) =>
                {
                    reported.insert(run, entry.seq);
                }
                _ => {}
            }
        }
    }
    let mut newest: Vec<(ReportedRun, Seq)> = reported.into_iter().collect();
    newest.sort_by_key(|(_, seq)| std::cmp::Reverse(*seq));
    let mut earlier: Vec<EarlierRun> = Vec::new();
    for (run, _) in newest {
        if earlier.len() == MOST_EARLIER {
            break;
        }
        let same_series = run.series_uid == job.order.series_uid;
        if let Some(known) = earlier.iter_mut().find(|known| known.outcome.run_key == run.run_key) {
            known.same_series |= same_series;
        } else if let Some(outcome) = counts.outcome(reader, &run.run_key)? {
            earlier.push(EarlierRun { outcome, same_series });
        }
    }
    Ok(earlier)
}

/// What the header of a run's first instance says.
pub(super) fn first(reader: &Reader, job: &RunToDo) -> Result<Option<InstanceFacts>, Failure> {
    let first: Vec<Seq> = job.order.members.iter().copied().take(1).collect();
    Ok(reader.instances(&first).map_err(unreadable)?.into_iter().next().map(|(facts, _)| facts))
}

/// What a run gave last; none where it never ended well.
pub fn outcome(reader: &Reader, run_key: &Digest) -> Result<Option<RunOutcome>, Failure> {
    Ok(ended(reader, run_key)?.map(|(_, outcome)| outcome))
}

/// What a run gave last, and the event of that attempt's start.
fn ended(reader: &Reader, run_key: &Digest) -> Result<Option<(Seq, RunOutcome)>, Failure> {
    let (mut began, mut ended) = (0, None);
    for entry in about(reader, &run_key.to_string())? {
        match entry.event {
            Event::RunStarted { .. } => began = entry.seq,
            Event::RunFinished(outcome) => ended = Some((began, outcome)),
            _ => {}
        }
    }
    Ok(ended)
}

/// Which outcomes of the patient's runs count: none that were compared with visits and began while another's study was taken
/// for his (`graph::departed`).
pub(super) struct Counts(Vec<During>);

impl Counts {
    pub fn of(reader: &Reader, job: &RunToDo) -> Result<Self, Failure> {
        let departures = match first(reader, job)? {
            Some(facts) => departed(reader, &facts.patient).map_err(unreadable)?,
            None => Vec::new(),
        };
        let of_others = departures.into_iter().filter(|(study_uid, _)| *study_uid != job.order.study_uid);
        Ok(Counts(of_others.map(|(_, during)| during).collect()))
    }

    /// What a run gave, where its lesions have no identities of a study that was not the patient's.
    pub fn outcome(&self, reader: &Reader, run_key: &Digest) -> Result<Option<RunOutcome>, Failure> {
        let is_misled = |began: Seq| self.0.iter().any(|[since, until]| (since..until).contains(&&began));
        let counts = |(began, outcome): &(Seq, RunOutcome)| !outcome.knows_visits() || !is_misled(*began);
        Ok(ended(reader, run_key)?.filter(counts).map(|(_, outcome)| outcome))
    }
}

/// What the ledger says of a UID or a digest.
pub fn about(reader: &Reader, key: &str) -> Result<Vec<Entry>, Failure> {
    reader.entries_about(key, usize::MAX).map_err(unreadable)
}

pub(super) fn unreadable(error: LedgerError) -> Failure {
    Failure::surroundings(format!("the ledger cannot be read: {error}"), "run `sulcus ledger verify`")
}

/// Where the instances of a run lie: all of them, since a part of a scan is another scan.
pub fn sources(reader: &Reader, members: &[Seq]) -> Result<Vec<SourceInstance>, Failure> {
    let instances = reader.instances(members).map_err(unreadable)?;
    if instances.len() != members.len() {
        let (here, all) = (instances.len(), members.len());
        return Err(Failure::input(
            format!("of its {all} instances {here} lie on this host"),
            "send the whole series to one host",
        ));
    }
    Ok(instances.into_iter().map(source).collect())
}

/// An instance whose bytes lie there, as a worker is told of it.
pub(super) fn source_at(facts: InstanceFacts, lies: Lies) -> SourceInstance {
    SourceInstance { lies, transfer_syntax: facts.transfer_syntax, sop_instance_uid: facts.sop_instance_uid }
}

/// An instance as a worker is told of it.
pub(super) fn source((facts, place): (InstanceFacts, SpoolPlace)) -> SourceInstance {
    source_at(facts, Lies::Spool(place))
}
