//! `sulcus status`: what a site has received, what it waits for, what failed, what is delivered. Only reads: it
//! replays the ledger into a graph of its own.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;
use sulcus_operators::rows::{Completeness, Fault, ReportRow, ReportStatus, Seq, Verdict};

use super::{CommandError, SiteFile, table::Table};
use crate::{
    graph::{DeliveryToDo, RunToDo},
    ledger::event::RevisionKey,
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
    runs_to_do: Vec<&'a RunToDo>,
    deliveries_to_do: Vec<&'a DeliveryToDo>,
    faults: Vec<&'a Fault>,
}

#[derive(Serialize)]
struct Report<'a> {
    study_uid: &'a str,
    pipeline: &'a str,
    /// The newest revision that was issued; 0 before the first.
    revision: u32,
    /// How it should stand; none while that is held, since more of the study may come.
    row: Option<&'a ReportRow>,
}

/// All reports: those that were issued, and those that are about to be.
fn reports<'a>(issued: &'a [RevisionKey], standing: &'a Rows<ReportRow>) -> Vec<Report<'a>> {
    let mut reports: BTreeMap<(&str, &str), (u32, Option<&ReportRow>)> = BTreeMap::new();
    for key in issued {
        let (revision, _) = reports.entry((&key.study_uid, &key.pipeline)).or_default();
        *revision = key.revision.max(*revision);
    }
    for row in standing.iter() {
        reports.entry((&row.study_uid, &row.pipeline)).or_default().1 = Some(row);
    }
    let report = |((study_uid, pipeline), (revision, row))| Report { study_uid, pipeline, revision, row };
    reports.into_iter().map(report).collect()
}

impl Report<'_> {
    /// What a person is told of it.
    fn says(&self) -> String {
        let says = match self.row.map(|row| &row.status) {
            None => "held, since more of the study may come; what was issued stands".to_owned(),
            Some(ReportStatus::Final) => "final".to_owned(),
            Some(ReportStatus::Withdrawn(reason)) => format!("withdrawn: {reason}"),
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
            reports: reports(&issued, &standing.reports),
            runs_to_do: standing.runs.iter().collect(),
            deliveries_to_do: standing.deliveries.iter().collect(),
            faults: standing.faults.iter().collect(),
        };
        if self.json {
            println!("{}", serde_json::to_string_pretty(&picture).map_err(CommandError::plain)?);
        } else {
            picture.print();
        }
        Ok(())
    }
}

impl Picture<'_> {
    fn print(&self) {
        println!(
            "{} events; {} series of open studies; sealed studies: {}",
            self.ledger,
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
        println!("reports: {}", self.reports.len());
        self.reports.iter().for_each(|report| println!("  {}", report.says()));
        println!("{} runs to do, {} deliveries to do", self.runs_to_do.len(), self.deliveries_to_do.len());
        for delivery in &self.deliveries_to_do {
            println!(
                "  revision {} of {} to {}, attempt {}",
                delivery.row.revision, delivery.row.study_uid, delivery.row.destination, delivery.attempt
            );
        }
        println!("faults: {}", self.faults.len());
        for fault in &self.faults {
            println!("  {}: {}: {}\n    {}", fault.stage, fault.key, fault.reason, fault.hint);
        }
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Complete => "complete",
        Verdict::Waiting => "waiting",
        Verdict::Stalled => "stalled",
    }
}
