//! `sulcus outbox` and `sulcus resend`: where each object stands, and sending one again by hand.

use std::collections::BTreeSet;

use clap::Args;
use sulcus_config::Site;

use super::{
    CommandError, SiteFile,
    table::Table,
    words::{counted, shortened},
};
use crate::{
    ledger::event::Event,
    outbox::{Line, State, lines, newest},
    receiver::client::Client,
    standing::Tail,
};

/// Characters of a pipeline's or destination's name that are shown.
const NAME: usize = 20;

#[derive(Args)]
pub(super) struct Outbox {
    #[command(flatten)]
    site: SiteFile,
    /// StudyInstanceUID; without it, all open studies.
    #[arg(long, value_name = "UID")]
    study: Option<String>,
    /// Name of a destination: what goes there alone.
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
    /// What is in this state alone.
    #[arg(long)]
    state: Option<State>,
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

/// Refuses a name that no destination of the configuration has.
fn known(site: &Site, destination: &str) -> Result<(), CommandError> {
    if site.destination(destination).is_some() {
        return Ok(());
    }
    let names: Vec<&str> = site.destinations.iter().map(sulcus_config::Destination::name).collect();
    let hint = match sulcus_config::nearest(destination, &names) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("the configuration names {}", names.join(", ")),
    };
    Err(CommandError::usage(format!("no destination is called {destination}"), hint))
}

impl Outbox {
    pub(super) fn execute(self) -> Result<(), CommandError> {
        let site = self.site.load()?;
        self.destination.as_deref().map_or(Ok(()), |name| known(&site, name))?;
        let tail = Tail::open(&site.site.data)?;
        let mut lines = told(&tail, self.study.as_ref())?;
        lines.retain(|line| {
            self.state.is_none_or(|state| line.state == state)
                && self.destination.as_ref().is_none_or(|name| line.destination == *name)
        });
        if self.json {
            outln!("{}", serde_json::to_string_pretty(&lines).map_err(CommandError::plain)?);
            return Ok(());
        }
        outln!("{} on the way or delivered", counted(lines.len(), "object"));
        let mut table = Table::new(["pipeline", "rev", "output", "destination", "state", "tries", "answer"]);
        for of_study in lines.chunk_by(|a, b| a.study_uid == b.study_uid) {
            table.heading(of_study.first().map_or("", |line| &line.study_uid));
            for line in of_study {
                table.row([
                    shortened(&line.pipeline, NAME),
                    line.revision.to_string(),
                    line.role.name().to_owned(),
                    shortened(&line.destination, NAME),
                    line.state.word().to_owned(),
                    line.attempts.to_string(),
                    line.answer.clone(),
                ]);
            }
        }
        table.print_narrow();
        Ok(())
    }
}

impl Resend {
    pub(super) fn execute(self) -> Result<(), CommandError> {
        let site = self.site.load()?;
        known(&site, &self.destination)?;
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
            outln!(
                "nothing for {} was given up, so nothing is sent again; --study UID sends a study's newest results again",
                self.destination
            );
            return Ok(());
        }
        let count = counted(objects.len(), "object");
        let destination = &self.destination;
        let ask = |object| Event::ResendAsked { object, destination: destination.clone() };
        let seqs = Client::new(&site.site.data).append(objects.into_iter().map(ask).collect()).map_err(|error| {
            CommandError::work(
                format!("nothing was asked for: {error}"),
                "start `sulcus serve` with the same configuration; it alone writes the ledger",
            )
        })?;
        outln!("{count} to be sent again, by event {}", seqs.last().copied().unwrap_or_default());
        Ok(())
    }
}
