//! The encode lane: has the objects of a revision made and checked by a worker process, and records them.

use sulcus_operators::rows::Seq;

use super::{
    child::Worker,
    infer::{about, outcome, sources},
    models::Models,
    order::{Cause, EncodeOrder, Failure, Order, Reply},
    port::{Port, Stopping},
};
use crate::{
    graph::ObjectToEncode,
    ledger::{
        event::{Event, RevisionKey},
        read::Reader,
    },
};

/// Makes one object. Returns the sequence number of its last event.
pub fn encode(
    job: &ObjectToEncode,
    models: &Models,
    worker: &mut Worker,
    reader: &Reader,
    port: &mut Port,
) -> Result<Seq, Stopping> {
    let outcome = port.stop().until_cured(|| {
        let order = order(job, models, reader)?;
        worker.ask(&Order::Encode(order), &mut |_, _| {})
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

fn order(job: &ObjectToEncode, models: &Models, reader: &Reader) -> Result<EncodeOrder, Failure> {
    let model = job.row.run.as_ref().map(|run| models.name(&run.model)).transpose()?.unwrap_or_default();
    let (outcome, instances) = match &job.row.run {
        None => (None, Vec::new()),
        Some(run) => (outcome(reader, &run.run_key)?, sources(reader, &run.members)?),
    };
    let of_study = about(reader, &job.key.study_uid)?;
    let patient = of_study.iter().find_map(|entry| match &entry.event {
        Event::InstanceReceived { facts, .. } => Some(facts.patient.clone()),
        _ => None,
    });
    let superseded = job.supersedes.map(|revision| RevisionKey { revision, ..job.key.clone() });
    let supersedes = of_study.iter().find_map(|entry| match &entry.event {
        Event::ObjectEncoded { key, role, uid, .. } if Some(key) == superseded.as_ref() && *role == job.role => {
            Some(uid.clone())
        }
        _ => None,
    });
    Ok(EncodeOrder {
        key: job.key.clone(),
        role: job.role,
        row: job.row.clone(),
        outcome,
        at: job.at,
        supersedes,
        patient: patient
            .ok_or_else(|| Failure::input("the ledger holds no instance of the study", "run `sulcus ledger verify`"))?,
        model,
        instances,
    })
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
