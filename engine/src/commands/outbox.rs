//! `sulcus outbox` and `sulcus resend`: where each object stands, and sending one again by hand.

use std::collections::BTreeSet;

use clap::Args;

use super::{CommandError, SiteFile, table::Table};
use crate::{
    ledger::event::Event,
    outbox::{Line, State, lines, newest},
    receiver::client::Client,
    standing::Tail,
};

#[derive(Args)]
pub(super) struct Outbox {
    #[command(flatten)]
    site: SiteFile,
    /// StudyInstanceUID; without it, all open studies.
    #[arg(long, value_name = "UID")]
    study: Option<String>,
    /// Print everything as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct Resend {
    #[command(flatten)]
    site: SiteFile,
    /// Name of the destination.
    #[arg(long, value_name = "NAME")]
    destination: String,
    /// StudyInstanceUID: all of its newest revisions, what was delivered too. Without it, what was given up.
    #[arg(long, value_name = "UID")]
    study: Option<String>,
}

/// The lines of one study, or of all open ones.
fn told(tail: &Tail, study: Option<&String>) -> Result<Vec<Line>, CommandError> {
    let open: Vec<&String> = match study {
        Some(study) => vec![study],
        None => tail.work().studies().keys().collect(),
    };
    let mut all = Vec::new();
    for study_uid in open {
        let entries = tail.reader().entries_about(study_uid, usize::MAX).map_err(CommandError::plain)?;
        if entries.is_empty() && study.is_some() {
            return Err(CommandError::work(
                format!("the site knows no study {study_uid}"),
                "`sulcus status` names the studies that it works on; give a StudyInstanceUID",
            ));
        }
        let of_study = |line: &Line| line.study_uid == *study_uid;
        all.extend(lines(&entries, &tail.standing().deliveries).into_iter().filter(of_study));
    }
    Ok(all)
}

impl Outbox {
    pub(super) fn execute(self) -> Result<(), CommandError> {
        let tail = Tail::open(&self.site.load()?.site.data)?;
        let lines = told(&tail, self.study.as_ref())?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&lines).map_err(CommandError::plain)?);
            return Ok(());
        }
        println!("{} objects on their way or delivered", lines.len());
        let mut table =
            Table::new(["study", "pipeline", "rev", "output", "destination", "state", "attempts", "answer"]);
        for line in &lines {
            table.row([
                line.study_uid.clone(),
                line.pipeline.clone(),
                line.revision.to_string(),
                line.role.name().to_owned(),
                line.destination.clone(),
                line.state.word().to_owned(),
                line.attempts.to_string(),
                line.answer.clone(),
            ]);
        }
        table.print();
        Ok(())
    }
}

impl Resend {
    pub(super) fn execute(self) -> Result<(), CommandError> {
        let site = self.site.load()?;
        if site.destination(&self.destination).is_none() {
            let names: Vec<&str> = site.destinations.iter().map(sulcus_config::Destination::name).collect();
            let hint = match sulcus_config::nearest(&self.destination, &names) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("the configuration names {}", names.join(", ")),
            };
            return Err(CommandError::usage(format!("no destination is called {}", self.destination), hint));
        }
        let tail = Tail::open(&site.site.data)?;
        let lines = told(&tail, self.study.as_ref())?;
        let newest = newest(lines.iter());
        let again = |line: &&Line| {
            let current = newest.get(&(line.study_uid.clone(), line.pipeline.clone())) == Some(&line.revision);
            let asked = line.state == State::GivenUp || (self.study.is_some() && line.state == State::Delivered);
            current && asked && line.destination == self.destination
        };
        let objects: BTreeSet<_> = lines.iter().filter(again).map(|line| line.object).collect();
        if objects.is_empty() {
            return Err(CommandError::work(
                format!("nothing for {} is to be sent again", self.destination),
                "`sulcus outbox` tells where each object stands; --study UID sends a study's newest results again",
            ));
        }
        let count = objects.len();
        let destination = &self.destination;
        let ask = |object| Event::ResendAsked { object, destination: destination.clone() };
        let seqs = Client::new(&site.site.data).append(objects.into_iter().map(ask).collect()).map_err(|error| {
            CommandError::work(
                format!("nothing was asked for: {error}"),
                "start `sulcus serve` with the same configuration; it alone writes the ledger",
            )
        })?;
        println!("{count} objects are sent again, by event {}", seqs.last().copied().unwrap_or_default());
        Ok(())
    }
}
