//! `sulcus status`: what a site has received, what it waits for, what failed, what is delivered. Only reads: it
//! replays the ledger into a graph of its own.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use serde::Serialize;
use sulcus_operators::{
    results::iso_8601,
    rows::{Completeness, Fault, Millis, ReportRow, ReportStatus, Seq, Verdict},
};

use super::{CommandError, SiteFile, table::Table, words::counted};
use crate::{
    devices,
    graph::{DeliveryToDo, InputsAwaited, RunToDo, reports::ABSENT},
    hosts::{Hosts, links::Link},
    lanes::withdrawal::Withdrawal,
    ledger::{LedgerError, event::RevisionKey, read::Reader},
    queue::{Place, Urgencies},
    receiver::client::Client,
    standing::Tail,
    wanted::Rows,
};

#[derive(Args)]
pub(super) struct Status {
    #[command(flatten)]
    site: SiteFile,
    /// Print everything as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Picture<'a> {
    ledger: Seq,
    /// Studies that are finished and at rest: nothing below is of them.
    sealed: u64,
    series: Vec<Series<'a>>,
    reports: Vec<Report<'a>>,
    /// Further series that reports wait for.
    inputs_awaited: Vec<&'a InputsAwaited>,
    /// In the order in which they are taken up.
    runs_to_do: Vec<Waiting<'a>>,
    deliveries_to_do: Vec<&'a DeliveryToDo>,
    faults: Vec<&'a Fault>,
    /// How the other hosts of the cluster are followed; none while the receiver is away.
    hosts: BTreeMap<String, Link>,
}

/// A run, and how it waits.
#[derive(Serialize)]
struct Waiting<'a> {
    #[serde(flatten)]
    place: Place,
    #[serde(flatten)]
    run: &'a RunToDo,
}

#[derive(Serialize)]
struct Report<'a> {
    study_uid: &'a str,
    pipeline: &'a str,
    /// The newest revision that was issued; 0 before the first.
    revision: u32,
    /// How it should stand; none while that is held, since more of the study may come.
    row: Option<&'a ReportRow>,
    /// Why it is withdrawn, as its objects say it.
    withdrawn_because: Option<String>,
}

/// All reports: those that were issued, and those that are about to be.
fn reports<'a>(
    issued: &'a [RevisionKey],
    standing: &'a Rows<ReportRow>,
    reader: &Reader,
) -> Result<Vec<Report<'a>>, LedgerError> {
    let mut reports: BTreeMap<(&str, &str), (u32, Option<&ReportRow>)> = BTreeMap::new();
    for key in issued {
        let (revision, _) = reports.entry((&key.study_uid, &key.pipeline)).or_default();
        *revision = key.revision.max(*revision);
    }
    for row in standing.iter() {
        reports.entry((&row.study_uid, &row.pipeline)).or_default().1 = Some(row);
    }
    let report = |((study_uid, pipeline), (revision, row)): ((&'a str, &'a str), (u32, Option<&'a ReportRow>))| {
        let withdrawn_because = match row.map(|row| &row.status) {
            Some(ReportStatus::Withdrawn(reason)) if reason == ABSENT => {
                let key = RevisionKey { study_uid: study_uid.to_owned(), pipeline: pipeline.to_owned(), revision };
                Some(Withdrawal::of(&reader.entries_about(study_uid, usize::MAX)?, &key, Seq::MAX).words())
            }
            Some(ReportStatus::Withdrawn(reason)) => Some(reason.clone()),
            Some(ReportStatus::Final) | None => None,
        };
        Ok(Report { study_uid, pipeline, revision, row, withdrawn_because })
    };
    reports.into_iter().map(report).collect()
}

impl Report<'_> {
    /// What a person is told of it.
    fn says(&self) -> String {
        let says = match (self.row, &self.withdrawn_because) {
            (None, _) => "held, since more of the study may come; what was issued stands".to_owned(),
            (Some(_), None) => "final".to_owned(),
            (Some(_), Some(reason)) => format!("withdrawn: {reason}"),
        };
        format!("{} by {}, revision {}: {says}", self.study_uid, self.pipeline, self.revision)
    }
}

#[derive(Serialize)]
struct Series<'a> {
    series_uid: &'a str,
    study_uid: &'a str,
    description: &'a str,
    instances: u32,
    completeness: Option<&'a Completeness>,
}

impl Status {
    pub(super) fn execute(self) -> Result<(), CommandError> {
        let site = self.site.load()?;
        let tail = Tail::open(&site.site.data)?;
        let issued = tail.reader().revisions(tail.work().studies().keys()).map_err(CommandError::plain)?;
        let (standing, cursor) = (tail.standing(), tail.cursor());
        let acts = Hosts::of(&site);
        let acts = acts.acts(tail.work(), standing);
        let homeless = acts.faults();
        let hosts =
            site.cluster.iter().flat_map(|_| Client::new(&site.site.data).status()).flat_map(|status| status.hosts);
        let urgencies = Urgencies::of(&site);
        let queue = urgencies.queue(tail.work(), standing);
        let refused = devices::faults(&site, &standing.models, acts.runs());
        let picture = Picture {
            ledger: cursor,
            sealed: tail.reader().sealed_count().map_err(CommandError::plain)?,
            series: standing
                .series
                .iter()
                .map(|series| Series {
                    series_uid: &series.series_uid,
                    study_uid: &series.study_uid,
                    description: series.keywords.get("SeriesDescription").map_or("", String::as_str),
                    instances: series.instances,
                    completeness: standing.completeness.iter().find(|row| row.series_uid == series.series_uid),
                })
                .collect(),
            reports: reports(&issued, &standing.reports, tail.reader()).map_err(CommandError::plain)?,
            inputs_awaited: standing.awaited.iter().collect(),
            runs_to_do: queue.runs(acts.runs()).into_iter().map(|(place, run)| Waiting { place, run }).collect(),
            deliveries_to_do: queue.deliveries(acts.deliveries(), Millis::MAX, Millis::MAX).0,
            faults: standing.faults.iter().chain(&homeless).chain(&refused).collect(),
            hosts: hosts.collect(),
        };
        if self.json {
            outln!("{}", serde_json::to_string_pretty(&picture).map_err(CommandError::plain)?);
        } else {
            picture.print();
        }
        Ok(())
    }
}

impl Picture<'_> {
    fn print(&self) {
        outln!(
            "{}; {} series of open studies; sealed studies: {}",
            counted(self.ledger, "event"),
            self.series.len(),
            self.sealed
        );
        let mut table = Table::new(["series", "description", "instances", "verdict", "reasons"]);
        for series in &self.series {
            let (verdict, reasons) = match series.completeness {
                Some(row) => (word(row.verdict), row.reasons.join("; ")),
                None => ("not judged", "no pipeline can use it".to_owned()),
            };
            table.row([
                series.series_uid.to_owned(),
                series.description.to_owned(),
                series.instances.to_string(),
                verdict.to_owned(),
                reasons,
            ]);
        }
        table.print();
        outln!("reports: {}", self.reports.len());
        self.reports.iter().for_each(|report| outln!("  {}", report.says()));
        for InputsAwaited { study_uid, pipeline, series_uid, reason } in &self.inputs_awaited {
            outln!("  {study_uid} by {pipeline} waits beside series {series_uid}: {reason}");
        }
        let (runs, deliveries) = (self.runs_to_do.len(), self.deliveries_to_do.len());
        outln!("{} to do, {} to do", counted(runs, "run"), counted(deliveries, "delivery"));
        queued(&self.runs_to_do).iter().for_each(|line| outln!("  {line}"));
        waiting(&self.deliveries_to_do).iter().for_each(|line| outln!("  {line}"));
        self.hosts.iter().for_each(|(host, link)| outln!("{}", followed(host, link)));
        outln!("faults: {}", self.faults.len());
        told(&self.faults).iter().for_each(|line| outln!("  {line}"));
    }
}

/// The runs that go first, in a line each.
fn queued(runs: &[Waiting<'_>]) -> Vec<String> {
    const SHOWN: usize = 10;
    let line = |waiting: &Waiting<'_>| {
        let wanted = waiting.run.wanted_by.iter().map(|(study_uid, pipeline)| format!("{study_uid} by {pipeline}"));
        let (urgency, since) = (waiting.place.urgency.name(), iso_8601(waiting.place.since));
        format!("{urgency}, since {since}: {}", wanted.collect::<Vec<_>>().join(", "))
    };
    let mut lines: Vec<String> = runs.iter().take(SHOWN).map(line).collect();
    if let Some(more) = runs.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        lines.push(format!("and {more} more"));
    }
    lines
}

/// How another host is followed.
fn followed(host: &str, link: &Link) -> String {
    match &link.trouble {
        None => format!("host {host}: followed, up to its event {}", link.upto),
        Some(trouble) => format!("host {host}: not followed beyond its event {}: {trouble}", link.upto),
    }
}

/// What waits for each destination, in a line each.
fn waiting(deliveries: &[&DeliveryToDo]) -> Vec<String> {
    let mut of: BTreeMap<&str, (usize, BTreeSet<&str>, u32)> = BTreeMap::new();
    for delivery in deliveries {
        let (count, studies, attempt) = of.entry(&delivery.row.destination).or_default();
        *count += 1;
        studies.insert(&delivery.row.study_uid);
        *attempt = delivery.attempt.max(*attempt);
    }
    let line = |(destination, (count, studies, attempt)): (&str, (usize, BTreeSet<&str>, u32))| {
        let (objects, studies) = (counted(count, "object"), counted(studies.len(), "study"));
        format!("to {destination}: {objects} of {studies}, attempt {attempt}")
    };
    of.into_iter().map(line).collect()
}

/// Faults as a person reads them. Of objects that fail alike on their way to a destination, which may be many, one line
/// tells.
fn told(faults: &[&Fault]) -> Vec<String> {
    let mut alike: BTreeMap<(&str, &str, &str, &str), Vec<&str>> = BTreeMap::new();
    for fault in faults {
        let destination = fault.key.split_once(" to ").filter(|_| fault.stage == "deliveries");
        let about = destination.map_or(fault.key.as_str(), |(_, destination)| destination);
        alike.entry((&fault.stage, about, &fault.reason, &fault.hint)).or_default().push(&fault.key);
    }
    let line = |((stage, about, reason, hint), keys): ((&str, &str, &str, &str), Vec<&str>)| match keys.as_slice() {
        [] | [_] => format!("{stage}: {}: {reason}\n    {hint}", keys.concat()),
        many => {
            let objects = counted(many.len(), "object");
            format!(
                "{stage}: {objects} to {about}: {reason}\n    {hint}; `sulcus outbox --destination {about}` names them"
            )
        }
    };
    alike.into_iter().map(line).collect()
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Complete => "complete",
        Verdict::Waiting => "waiting",
        Verdict::Stalled => "stalled",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(stage: &str, key: &str, reason: &str) -> Fault {
        Fault { stage: stage.into(), key: key.into(), reason: reason.into(), hint: "cure it".into() }
    }

    #[test]
    fn a_destination_that_is_down_is_told_of_in_one_line() {
        let faults = [
            fault("deliveries", "2.25.1 to pacs", "cannot connect"),
            fault("deliveries", "2.25.2 to pacs", "cannot connect"),
            fault("deliveries", "2.25.3 to ehr", "cannot connect"),
            fault("series", "1.2", "cannot connect"),
        ];
        let told = told(&faults.iter().collect::<Vec<_>>());
        assert_eq!(
            told,
            [
                "deliveries: 2.25.3 to ehr: cannot connect\n    cure it",
                "deliveries: 2 objects to pacs: cannot connect\n    cure it; `sulcus outbox --destination pacs` names them",
                "series: 1.2: cannot connect\n    cure it",
            ]
        );
    }
}
