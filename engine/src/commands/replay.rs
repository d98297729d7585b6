//! `sulcus ledger replay`: what another configuration would change, without writing or sending anything.

use std::path::PathBuf;

use clap::Args;
use sulcus_config::Site;

use super::{CommandError, SiteFile, chain, table::Table, words::counted};
use crate::{
    rehearsal::{Effect, Preview, Rehearsal},
    rules::rules,
    standing::open_reader,
};

/// Entries read at a time.
const CHUNK: usize = 4096;

#[derive(Args)]
pub(super) struct Replay {
    #[command(flatten)]
    site: SiteFile,
    /// The configuration to try: its pipelines, sources and destinations, on the data of `--config`.
    #[arg(long, value_name = "FILE")]
    with: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

impl Replay {
    pub(super) fn execute(self) -> Result<(), CommandError> {
        let site = self.site.load()?;
        let tried =
            Site::load(&self.with).map_err(|error| CommandError::Usage { reason: chain(&error), hint: None })?;
        let tried = rules(&tried)?;
        let reader = open_reader(&site.site.data)?;
        let (mut rehearsal, mut cursor) = (Rehearsal::default(), 0);
        loop {
            let entries = reader.entries_after(cursor, CHUNK).map_err(CommandError::plain)?;
            let Some(last) = entries.last() else { break };
            cursor = last.seq;
            rehearsal.read(&entries);
        }
        let preview = rehearsal.preview(&tried)?;
        if self.json {
            outln!("{}", serde_json::to_string_pretty(&preview).map_err(CommandError::plain)?);
        } else {
            print(&preview);
        }
        Ok(())
    }
}

fn print(preview: &Preview) {
    outln!("after {}, with these rules:", counted(preview.ledger, "event"));
    let mut table = Table::new([
        "pipeline",
        "series",
        "studies",
        "runs to compute",
        "already done",
        "first reports",
        "reissued",
        "withdrawn",
        "deliveries",
    ]);
    for (name, effect) in &preview.pipelines {
        table.row([
            name.clone(),
            effect.series.to_string(),
            effect.studies.to_string(),
            effect.runs_to_compute.to_string(),
            effect.runs_done.to_string(),
            effect.reports_first.to_string(),
            effect.reports_reissued.to_string(),
            effect.reports_withdrawn.to_string(),
            deliveries(effect),
        ]);
    }
    table.print();
    outln!("{} to compute in all; nothing was written or sent", counted(preview.runs_to_compute, "run"));
    for (name, effect) in preview.pipelines.iter().filter(|(_, effect)| effect.series_waiting > 0) {
        outln!(
            "{} series that {name} would govern still wait for more; what follows of them is not counted",
            effect.series_waiting
        );
    }
    preview.pipelines.iter().filter_map(|(name, effect)| awaiting(name, effect)).for_each(|line| outln!("{line}"));
}

/// What is not counted, since further series of a study would be waited for.
fn awaiting(name: &str, effect: &Effect) -> Option<String> {
    let studies = effect.studies_awaiting_inputs;
    let words = format!(
        "{} would wait for further series by {name}; what follows of them is not counted",
        counted(studies, "study")
    );
    (studies > 0).then_some(words)
}

fn deliveries(effect: &Effect) -> String {
    let to = |(destination, count): (&String, &usize)| format!("{count} to {destination}");
    let all: Vec<String> = effect.deliveries.iter().map(to).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}
