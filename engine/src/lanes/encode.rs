//! The encode lane: has the objects of a revision made and checked by a worker process, and records them.

use std::collections::BTreeMap;

use sulcus_operators::rows::{Millis, PatientKey, ReportStatus, RunOutcome, Seq};

use super::{
    child::Worker,
    infer::{about, outcome, sources, unreadable},
    models::Models,
    order::{Cause, EncodeOrder, Failure, Order, Reply, StoredObject},
    port::{Port, Stopping},
    withdrawal::{Withdrawal, told_of_another},
};
use crate::{
    graph::{ObjectToEncode, reports::ABSENT},
    hosts::fetch::Fetcher,
    ledger::{
        event::{Because, Entry, Event, RevisionKey},
        read::Reader,
    },
};

/// Makes one object. Returns the sequence number of its last event.
pub fn encode(
    job: &ObjectToEncode,
    models: &Models,
    worker: &mut Worker,
    reader: &Reader,
    fetcher: &Fetcher,
    port: &mut Port,
) -> Result<Seq, Stopping> {
    let outcome = port.stop().until_cured(|| {
        let order = order(job, models, reader)?;
        order.outcome.iter().try_for_each(|outcome| maps(outcome, fetcher))?;
        worker.ask(&Order::Encode(order), &mut |_, _| true)
    })?;
    port.append(&[match outcome {
        Ok(Reply::Encoded { object, uid, bytes, length }) => {
            Event::ObjectEncoded { object, key: job.key.clone(), role: job.role, uid, bytes, length }
        }
        Ok(other) => {
            failed(job, Failure::crash(format!("the worker answered an encoding with {other:?}"), "restart sulcus"))
        }
        Err(failure) => failed(job, failure),
    }])
}

/// Brings the maps of a run that was done on another host: the same scan, sent there before.
fn maps(outcome: &RunOutcome, fetcher: &Fetcher) -> Result<(), Failure> {
    [Some(outcome.mask), outcome.probability].iter().flatten().try_for_each(|map| {
        let missing = |why| format!("the maps of run {} are on another host; {why}", outcome.run_key.short());
        fetcher.bring(map).map_err(|why| Failure::crash(missing(why), "bring the host back, or send the scan again"))
    })
}

fn order(job: &ObjectToEncode, models: &Models, reader: &Reader) -> Result<EncodeOrder, Failure> {
    let model = job.row.run.as_ref().map(|run| models.name(&run.model)).transpose()?.unwrap_or_default();
    let of_study = about(reader, &job.key.study_uid)?;
    // What was received of the study last, before the revision was issued, says best whose it is where no run does.
    let issued =
        of_study.iter().find(|entry| matches!(&entry.event, Event::RevisionIssued { key, .. } if *key == job.key));
    let issued = issued.map_or(Seq::MAX, |entry| entry.seq);
    let received = of_study.iter().rev().filter_map(|entry| match &entry.event {
        Event::InstanceReceived { facts, .. } if facts.study_uid == job.key.study_uid && entry.seq < issued => {
            Some((entry, facts))
        }
        _ => None,
    });
    let (outcome, members) = match &job.row.run {
        None => {
            let here = received.clone().find(|(entry, _)| entry.host.is_none());
            (None, here.map(|(entry, _)| entry.seq).into_iter().collect())
        }
        Some(run) => (outcome(reader, &run.run_key)?, run.members.clone()),
    };
    let mut of_members = received.clone().filter(|(entry, _)| members.contains(&entry.seq));
    let patient = of_members.next_back().map(|(_, facts)| facts.patient.clone());
    let issued_at: BTreeMap<&RevisionKey, Millis> = of_study.iter().filter_map(issue).collect();
    let objects = of_study.iter().filter_map(|entry| match &entry.event {
        Event::ObjectEncoded { object, key, role, bytes, .. }
            if key.study_uid == job.key.study_uid && key.pipeline == job.key.pipeline =>
        {
            let at = issued_at.get(key).copied().unwrap_or(entry.at);
            Some(StoredObject { revision: key.revision, at, role: *role, object: *object, bytes: *bytes })
        }
        _ => None,
    });
    let withdrawal = Withdrawal::of(&of_study, &job.key, issued);
    let patient = patient
        .ok_or_else(|| Failure::input("the ledger holds no instance of the study", "run `sulcus ledger verify`"))?;
    let merges = reader.merges().map_err(unreadable)?;
    let several_patients = PatientKey::count(received.map(|(_, facts)| merges.of(&facts.patient))) > 1;
    let patient = merges.of(&patient).clone();
    let of_another = told_of_another(reader, &of_study, &job.key, issued, &patient).map_err(unreadable)?;
    let mut row = job.row.clone();
    if row.status == ReportStatus::Withdrawn(ABSENT.to_owned()) {
        row.status = ReportStatus::Withdrawn(withdrawal.words());
    }
    Ok(EncodeOrder {
        key: job.key.clone(),
        role: job.role,
        row,
        outcome,
        at: job.at,
        objects: objects.collect(),
        several_patients,
        because: withdrawal.because.max(of_another.then_some(Because::WrongPatient)),
        patient,
        model,
        instances: sources(reader, &members)?,
    })
}

/// The revision that an event issues, and the time that its objects carry.
fn issue(entry: &Entry) -> Option<(&RevisionKey, Millis)> {
    match &entry.event {
        Event::RevisionIssued { key, at, .. } => Some((key, *at)),
        _ => None,
    }
}

fn failed(job: &ObjectToEncode, failure: Failure) -> Event {
    tracing::warn!(role = ?job.role, revision = job.key.revision, reason = failure.reason, "encoding failed");
    Event::EncodeFailed {
        key: job.key.clone(),
        role: job.role,
        attempt: job.attempt,
        permanent: failure.cause == Cause::Input,
        reason: failure.reason,
        hint: failure.hint,
    }
}
