//! The inference lane of one device: hands a run to the device's worker process and records what came of it.

use std::path::PathBuf;

use sulcus_operators::rows::Seq;

use super::{
    child::Worker,
    order::{Cause, Failure, Order, Reply, SourceInstance},
    port::{Port, Stopping},
};
use crate::{
    graph::RunToDo,
    ledger::{event::Event, read::Reader},
};

/// Carries out one run. Returns the sequence number of its last event.
pub fn infer(
    job: &RunToDo,
    package: Option<PathBuf>,
    worker: &mut Worker,
    reader: &Reader,
    port: &mut Port,
) -> Result<Seq, Stopping> {
    let (run_key, attempt) = (job.order.run_key, job.attempt);
    port.append(&[Event::RunStarted { run_key, attempt }])?;
    tracing::info!(run = run_key.short(), attempt, slices = job.order.members.len(), "run started");
    let outcome = port.stop().until_cured(|| {
        let package = package.clone().ok_or_else(|| {
            Failure::input(
                "no pipeline of the configuration names the run's model",
                "restore the pipeline, or remove it everywhere",
            )
        })?;
        let instances = sources(reader, &job.order.members)?;
        worker.ask(&Order::Run { order: job.order.clone(), package, instances }, &mut |done, of| {
            tracing::debug!(run = run_key.short(), done, of, "tiles");
        })
    })?;
    port.append(&[match outcome {
        Ok(Reply::Run(outcome)) => {
            tracing::info!(run = run_key.short(), lesions = outcome.lesions.len(), "run finished");
            Event::RunFinished(outcome)
        }
        Ok(other) => failed(job, Failure::crash(format!("the worker answered a run with {other:?}"), "restart sulcus")),
        Err(failure) => failed(job, failure),
    }])
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

/// Where the instances of a run lie.
pub fn sources(reader: &Reader, members: &[Seq]) -> Result<Vec<SourceInstance>, Failure> {
    let instances = reader.instances(members).map_err(|error| {
        Failure::surroundings(format!("the ledger cannot be read: {error}"), "run `sulcus ledger verify`")
    })?;
    Ok(instances
        .into_iter()
        .map(|(facts, place)| SourceInstance {
            place,
            transfer_syntax: facts.transfer_syntax,
            sop_instance_uid: facts.sop_instance_uid,
        })
        .collect())
}
