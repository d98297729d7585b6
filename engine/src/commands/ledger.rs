//! `sulcus ledger`: the events of a site, read and verified.

use clap::Subcommand;
use sulcus_operators::{results::iso_8601, rows::LesionVerdict};

use super::{CommandError, SiteFile, replay::Replay, words::counted};
use crate::{
    ledger::event::{Entry, Event, PipelineRule},
    receiver::spool_path,
    standing::open_reader,
};

/// Entries read at a time.
const CHUNK: usize = 1024;

#[derive(Subcommand)]
pub(super) enum Ledger {
    /// Print the events, oldest first.
    Show(Show),
    /// Check the chain of events, and that the spool holds the bytes of each.
    Verify(Verify),
    /// Say what another configuration would change: series governed anew, runs, reports, deliveries. Nothing is
    /// written or sent.
    Replay(Replay),
}

#[derive(clap::Args)]
pub(super) struct Show {
    #[command(flatten)]
    site: SiteFile,
    /// Begin after this sequence number.
    #[arg(long, default_value_t = 0)]
    after: u64,
    /// One JSON object a line, with everything the event holds.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub(super) struct Verify {
    #[command(flatten)]
    site: SiteFile,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

impl Ledger {
    pub(super) fn execute(self) -> Result<(), CommandError> {
        match self {
            Ledger::Show(show) => show.execute(),
            Ledger::Verify(verify) => verify.execute(),
            Ledger::Replay(replay) => replay.execute(),
        }
    }
}

impl Show {
    fn execute(self) -> Result<(), CommandError> {
        let reader = open_reader(&self.site.load()?.site.data)?;
        let mut cursor = self.after;
        loop {
            let entries = reader.entries_after(cursor, CHUNK).map_err(CommandError::plain)?;
            let Some(last) = entries.last() else { return Ok(()) };
            cursor = last.seq;
            for entry in &entries {
                if self.json {
                    outln!("{}", serde_json::to_string(entry).map_err(CommandError::plain)?);
                } else {
                    let at = iso_8601(entry.at);
                    outln!("{:>8}  {at}  {:<20} {}", entry.seq, entry.event.name(), about(entry));
                }
            }
        }
    }
}

impl Verify {
    fn execute(self) -> Result<(), CommandError> {
        let data = self.site.load()?.site.data;
        let report = open_reader(&data)?.verify(&spool_path(&data)).map_err(CommandError::plain)?;
        if self.json {
            let faults = serde_json::to_value(&report.faults).map_err(CommandError::plain)?;
            outln!(
                "{}",
                serde_json::json!({"events": report.events, "records": report.records, "tip": report.tip, "faults": faults})
            );
        } else {
            let (events, records) = (counted(report.events, "event"), counted(report.records, "record"));
            outln!("{events}, {records}, tip {}", report.tip);
            for fault in &report.faults {
                outln!("  {}: {}", fault.key, fault.reason);
            }
        }
        match report.faults.first() {
            None => Ok(()),
            Some(fault) => {
                Err(CommandError::work(format!("{} found", counted(report.faults.len(), "fault")), &fault.hint))
            }
        }
    }
}

/// What an event is about, in one line, without anything that names a patient.
fn about(entry: &Entry) -> String {
    match &entry.event {
        Event::InstanceReceived { facts, source, arrival, .. } => {
            format!("{} from {source}: {arrival:?}", facts.sop_instance_uid)
        }
        Event::InstanceQuarantined { sop_instance_uid, reason, .. } => format!("{sop_instance_uid}: {reason}"),
        Event::InstanceWithdrawn { scope, reason, .. } => format!("{scope:?}: {reason}"),
        Event::AssociationReleased { source, series_uids, orderly } => {
            let how = if *orderly { "released" } else { "broken off" };
            format!("{source}, {} series, {how}", series_uids.len())
        }
        Event::TimerFired(timer) => format!("{:?} of {}", timer.kind, timer.series_uid),
        Event::RulesChanged(rules) => {
            let applies = |rule: &PipelineRule| format!("{} ({})", rule.name, String::from(rule.applies_to));
            let pipelines: Vec<String> = rules.pipelines.iter().map(applies).collect();
            let named = if pipelines.is_empty() { "no pipeline".to_owned() } else { pipelines.join(", ") };
            format!("{named}; {}", counted(rules.destinations.len(), "destination"))
        }
        Event::RunStarted { run_key, attempt } | Event::RunCancelled { run_key, attempt } => {
            format!("{} attempt {attempt}", run_key.short())
        }
        Event::RunFinished(outcome) => {
            format!("{} {}", outcome.run_key.short(), counted(outcome.lesions.len(), "lesion"))
        }
        Event::RunFailed { run_key, attempt, reason, .. } => format!("{} attempt {attempt}: {reason}", run_key.short()),
        Event::RevisionIssued { key, .. } => format!("{} of {}: {}", key.pipeline, key.study_uid, key.revision),
        Event::ObjectEncoded { key, role, length, .. } => {
            format!("{} of revision {}, {}", role.name(), key.revision, counted(*length, "byte"))
        }
        Event::EncodeFailed { key, role, reason, .. } => {
            format!("{} of revision {}: {reason}", role.name(), key.revision)
        }
        Event::DeliveryStarted { object, destination, attempt } => {
            format!("{} to {destination}, attempt {attempt}", object.short())
        }
        Event::DeliveryFailed { object, destination, reason, .. } => {
            format!("{} to {destination}: {reason}", object.short())
        }
        Event::DeliverySettled { object, destination, receipt } => {
            format!("{} to {destination}: {receipt}", object.short())
        }
        Event::ResendAsked { object, destination } => format!("{} to {destination}", object.short()),
        Event::CommitmentReported { transaction_uid, committed, failed } => {
            format!("{transaction_uid}: {} committed, {} not", committed.len(), failed.len())
        }
        Event::StudySealed { study_uid, as_of, .. } => format!("{study_uid} as of event {as_of}"),
        Event::StudyReopened { study_uid } => study_uid.clone(),
        Event::SealsReviewed { rules } => format!("for the rules of event {rules}"),
        Event::SeriesDirected { series_uid, directive, reason, .. } => {
            format!("{directive:?} of {series_uid}: {reason}")
        }
        Event::InstancesListed { source, study_uid, instances, absent } => {
            let (held, absent) = (counted(instances.len(), "instance"), absent.len());
            format!("{source} lists {held} of {study_uid}, and {absent} that are not here")
        }
        Event::StepReported { source, study_uid, state, series, .. } => {
            let made: usize = series.values().map(std::collections::BTreeSet::len).sum();
            let (made, series) = (counted(made, "instance"), series.len());
            format!("{source} says {state:?} of a step of {study_uid}, which made {made} in {series} series")
        }
        Event::SeriesCounted { source, series_uid, instances, .. } => {
            format!("the archive of {source} holds {} of {series_uid}", counted(*instances as usize, "instance"))
        }
        Event::PatientsMerged { into: Some(_), reason, .. } => format!("two ids are one person's: {reason}"),
        Event::PatientsMerged { into: None, reason, .. } => format!("an id is of an own person again: {reason}"),
        Event::VerdictGiven { study_uid, tracking_uid, verdict, .. } => {
            let said = match verdict {
                LesionVerdict::Accepted => "accepted",
                LesionVerdict::Rejected => "rejected",
                LesionVerdict::Relabelled(_) => "relabelled",
                LesionVerdict::Open => "open again",
            };
            format!("lesion {tracking_uid} of {study_uid}: {said}")
        }
    }
}
