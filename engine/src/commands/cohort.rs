//! `sulcus cohort`: lesions and volumes over all patients, by trial, site, scanner, field strength, sequence or visit; and
//! the same as a stream of changes that can be taken up again where it was left.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{ErrorKind, Write},
    time::Duration,
};

use clap::Args;
use serde::Serialize;
use sulcus_operators::rows::Seq;

use super::{CommandError, SiteFile, table::Table};
use crate::{
    cohort::KEYWORDS,
    ledger::cohort::{CohortRow, Counted},
    standing::open_reader,
};

/// How often the ledger is looked at for more.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Args)]
pub(super) struct Cohort {
    #[command(flatten)]
    site: SiteFile,
    /// What to count by: `visit` and DICOM keywords, with commas between.
    #[arg(long, value_name = "KEYWORD", value_delimiter = ',')]
    by: Vec<String>,
    /// Print the counts as JSON.
    #[arg(long)]
    json: bool,
    /// Print reports instead, one JSON object a line, each as it is now, in the order of their last change.
    #[arg(long, conflicts_with_all = ["by", "json"])]
    changes: bool,
    /// Only what changed after this cursor: that of the last line that you have taken in.
    #[arg(long, value_name = "CURSOR", requires = "changes", default_value_t = 0)]
    after: Seq,
    /// Go on as more changes, until stopped.
    #[arg(long, requires = "changes")]
    follow: bool,
}

/// Counts over the reports that agree in what they are counted by.
#[derive(Default, Serialize)]
struct Count {
    pipeline: String,
    by: BTreeMap<String, String>,
    subjects: usize,
    reports: u64,
    lesions: u64,
    volume_mm3: f64,
}

/// One line of the stream: what a report adds now.
#[derive(Serialize)]
struct Change<'a> {
    cursor: Seq,
    site: &'a str,
    study_uid: &'a str,
    pipeline: &'a str,
    revision: u32,
    /// None where the report is withdrawn.
    adds: Option<Adds<'a>>,
}

#[derive(Serialize)]
struct Adds<'a> {
    subject: &'a str,
    visit: Option<u32>,
    lesions: u32,
    volume_mm3: f64,
    keywords: &'a BTreeMap<String, String>,
}

impl Cohort {
    pub(super) fn execute(self) -> Result<(), CommandError> {
        if let Some(unknown) = self.by.iter().find(|by| *by != "visit" && !KEYWORDS.contains(&by.as_str())) {
            let hint = format!("count by visit, {}", KEYWORDS.join(", "));
            return Err(CommandError::usage(format!("reports are not counted by {unknown}"), hint));
        }
        if self.changes { self.stream() } else { self.count() }
    }

    fn count(&self) -> Result<(), CommandError> {
        let reader = open_reader(&self.site.load()?.site.data)?;
        let mut counts: BTreeMap<(String, Vec<String>), (Count, BTreeSet<String>)> = BTreeMap::new();
        let mut cursor = 0;
        loop {
            let page = reader.cohort_after(cursor).map_err(CommandError::plain)?;
            let Some(last) = page.last() else { break };
            cursor = last.seq;
            for row in page {
                let Some(counted) = row.counted else { continue };
                let by: Vec<String> = self.by.iter().map(|by| value(&counted, by)).collect();
                let (count, subjects) = counts.entry((row.key.pipeline, by)).or_default();
                count.reports += 1;
                count.lesions += u64::from(counted.lesions);
                count.volume_mm3 += mm3(counted.volume_nl);
                subjects.insert(counted.subject);
            }
        }
        let counts: Vec<Count> = counts
            .into_iter()
            .map(|((pipeline, values), (count, subjects))| {
                let by = self.by.iter().cloned().zip(values).collect();
                Count { pipeline, by, subjects: subjects.len(), ..count }
            })
            .collect();
        if self.json {
            outln!("{}", serde_json::to_string_pretty(&counts).map_err(CommandError::plain)?);
        } else {
            self.print(&counts);
        }
        Ok(())
    }

    fn print(&self, counts: &[Count]) {
        outln!("{} reports stand", counts.iter().map(|count| count.reports).sum::<u64>());
        let own = ["subjects", "reports", "lesions", "volume mm3"].map(str::to_owned);
        let header: Vec<String> =
            ["pipeline".to_owned()].into_iter().chain(self.by.iter().cloned()).chain(own).collect();
        let mut table = Table::of(header);
        for count in counts {
            let by = self.by.iter().map(|by| count.by.get(by).cloned().unwrap_or_default());
            let own = [count.subjects as u64, count.reports, count.lesions].map(|number| number.to_string());
            let volume = format!("{:.1}", count.volume_mm3);
            table.cells([count.pipeline.clone()].into_iter().chain(by).chain(own).chain([volume]).collect());
        }
        table.print();
    }

    fn stream(&self) -> Result<(), CommandError> {
        let site = self.site.load()?;
        let reader = open_reader(&site.site.data)?;
        let last = reader.last_seq().map_err(CommandError::plain)?;
        if self.after > last {
            let hint = "it is of another ledger, or of one that was restored since: begin without --after";
            return Err(CommandError::usage(format!("cursor {} lies beyond the last event, {last}", self.after), hint));
        }
        let (mut cursor, mut out) = (self.after, std::io::stdout().lock());
        loop {
            let page = reader.cohort_after(cursor).map_err(CommandError::plain)?;
            match write(&mut out, &site.site.name, &page) {
                Ok(()) => {}
                // Whoever read has enough.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => return Err(CommandError::plain(error)),
            }
            match page.last() {
                Some(last) => cursor = last.seq,
                None if self.follow => std::thread::sleep(PAUSE),
                None => return Ok(()),
            }
        }
    }
}

/// Writes a page. Of several reports that one event changed, the last alone has the event as its cursor, so that whoever
/// stops before it is told of all of them again.
fn write(out: &mut impl Write, site: &str, page: &[CohortRow]) -> std::io::Result<()> {
    let next = page.iter().skip(1).map(|row| Some(row.seq)).chain([None]);
    for (row, next) in page.iter().zip(next) {
        let cursor = if next == Some(row.seq) { row.seq - 1 } else { row.seq };
        writeln!(out, "{}", serde_json::to_string(&change(site, row, cursor)).map_err(std::io::Error::other)?)?;
    }
    out.flush()
}

fn change<'a>(site: &'a str, row: &'a CohortRow, cursor: Seq) -> Change<'a> {
    let adds = |counted: &'a Counted| Adds {
        subject: &counted.subject,
        visit: counted.visit,
        lesions: counted.lesions,
        volume_mm3: mm3(counted.volume_nl),
        keywords: &counted.keywords,
    };
    Change {
        cursor,
        site,
        study_uid: &row.key.study_uid,
        pipeline: &row.key.pipeline,
        revision: row.key.revision,
        adds: row.counted.as_ref().map(adds),
    }
}

/// By what a report is counted; empty where its header did not say.
fn value(counted: &Counted, by: &str) -> String {
    match by {
        "visit" => counted.visit.map(|visit| visit.to_string()).unwrap_or_default(),
        keyword => counted.keywords.get(keyword).cloned().unwrap_or_default(),
    }
}

fn mm3(nanolitres: u64) -> f64 {
    nanolitres as f64 / 1000.0
}
