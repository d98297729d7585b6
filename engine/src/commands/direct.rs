//! `sulcus close`, `hold` and `release`: an operator's word on a series. It is an event; completeness follows it.

use clap::Args;
use sulcus_operators::{
    rows::{SeriesState, Verdict},
    series::usable_stack,
};

use super::{CommandError, SiteFile, hosts::said_here};
use crate::{
    ledger::{
        event::{Directive, Event},
        history::OpenAt,
        read::Reader,
    },
    open_work::OpenWork,
    receiver::client::Client,
    standing::{Standing, open_reader},
};

/// Longest reason, in characters.
pub(super) const MOST_REASON: usize = 1024;
/// Longest name, in characters.
pub(super) const MOST_NAME: usize = 64;
/// Series of a study that a hint lists.
const MOST_LISTED: usize = 8;

#[derive(Args)]
pub(super) struct Directing {
    #[command(flatten)]
    site: SiteFile,
    /// SeriesInstanceUID.
    #[arg(long, value_name = "UID")]
    series: String,
    /// Why, for the ledger and for whoever reads the result.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who says so; without it, the name of the account.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

impl Directing {
    pub(super) fn close(self) -> Result<(), CommandError> {
        let asked = self.asked()?;
        if asked.verdict == Verdict::Complete {
            return Err(CommandError::work(
                format!("series {} is complete already: {}", self.series, asked.reasons),
                "nothing is waited for; `sulcus hold` lets it wait",
            ));
        }
        let seq = self.record(&asked, Directive::Close { as_of: asked.state.last_member() })?;
        outln!("closed with {} instances by event {seq}", asked.state.instances);
        if let Err((reason, hint)) = usable_stack(&asked.state) {
            outln!("it still cannot be used: {reason}; {hint}");
        }
        Ok(())
    }

    pub(super) fn hold(self) -> Result<(), CommandError> {
        let asked = self.asked()?;
        let seq = self.record(&asked, Directive::Hold)?;
        outln!("held by event {seq}, until `sulcus release` or `sulcus close`");
        Ok(())
    }

    pub(super) fn release(self) -> Result<(), CommandError> {
        let asked = self.asked()?;
        if asked.newest != Some(Directive::Hold) {
            return Err(CommandError::work(
                format!("series {} is not held", self.series),
                "`sulcus status` names the series that are, each with the reason",
            ));
        }
        let seq = self.record(&asked, Directive::Release)?;
        outln!("released by event {seq}: the evidence counts again");
        Ok(())
    }

    fn record(&self, asked: &Asked, directive: Directive) -> Result<u64, CommandError> {
        let by = self.by.clone().unwrap_or_else(account);
        let event = Event::SeriesDirected {
            study_uid: asked.state.study_uid.clone(),
            series_uid: asked.state.series_uid.clone(),
            directive,
            reason: text("--reason", &self.reason, MOST_REASON)?,
            by: text("--by", &by, MOST_NAME)?,
        };
        let data = self.site.load()?.site.data;
        let seqs = Client::new(&data).append(vec![event]).map_err(|error| {
            CommandError::work(
                format!("nothing was recorded: {error}"),
                "start `sulcus serve` with the same configuration; it alone writes the ledger",
            )
        })?;
        Ok(seqs.last().copied().unwrap_or_default())
    }

    /// The series, once everything that was written can be meant.
    fn asked(&self) -> Result<Asked, CommandError> {
        text("--reason", &self.reason, MOST_REASON)?;
        let reader = open_reader(&self.site.load()?.site.data)?;
        let study_uid = study_of(&reader, &self.series)?;
        said_here(&reader, &study_uid)?;
        let (mut work, mut standing) = (OpenWork::default(), Standing::default());
        // Also where the study is sealed.
        let at = OpenAt { studies: vec![study_uid], ..reader.open_work().map_err(CommandError::plain)? };
        work.start(at, &reader, &mut |changes| standing.update(changes)).map_err(CommandError::plain)?;
        let state = standing.series.iter().find(|state| state.series_uid == self.series).ok_or_else(|| {
            CommandError::work(
                format!("the site holds nothing of series {} any more", self.series),
                "it was withdrawn; send it again",
            )
        })?;
        let judged = standing.completeness.iter().find(|row| row.series_uid == self.series).ok_or_else(|| {
            CommandError::work(
                format!("series {} is no MR image, and no pipeline can use it", self.series),
                "`sulcus status` lists the series that are judged",
            )
        })?;
        let said = reader.entries_about(&self.series, usize::MAX).map_err(CommandError::plain)?;
        let newest = said.iter().rev().find_map(|entry| match &entry.event {
            Event::SeriesDirected { series_uid, directive, .. } if *series_uid == self.series => Some(*directive),
            _ => None,
        });
        let state = SeriesState::clone(state);
        Ok(Asked { state, verdict: judged.verdict, reasons: judged.reasons.join("; "), newest })
    }
}

/// The series that is meant.
struct Asked {
    state: SeriesState,
    verdict: Verdict,
    reasons: String,
    /// What was said of it last.
    newest: Option<Directive>,
}

/// The study of a series.
fn study_of(reader: &Reader, series_uid: &str) -> Result<String, CommandError> {
    let about = reader.entries_about(series_uid, usize::MAX).map_err(CommandError::plain)?;
    let received = || {
        about.iter().filter_map(|entry| match &entry.event {
            Event::InstanceReceived { facts, .. } => Some(facts),
            _ => None,
        })
    };
    if let Some(facts) = received().find(|facts| facts.series_uid == series_uid) {
        return Ok(facts.study_uid.clone());
    }
    let mut series: Vec<&str> = received().map(|facts| facts.series_uid.as_str()).collect();
    series.sort_unstable();
    series.dedup();
    series.truncate(MOST_LISTED);
    let hint = if series.is_empty() {
        "`sulcus status` lists the series that it holds".to_owned()
    } else {
        format!("the UID is of another level: its series are {}", series.join(", "))
    };
    Err(CommandError::work(format!("the site holds no series {series_uid}"), hint))
}

/// Name of the account that runs the command; empty where it has none.
pub(super) fn account() -> String {
    std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_default()
}

/// A text that says something, of a sane length.
pub(super) fn text(option: &str, text: &str, most: usize) -> Result<String, CommandError> {
    let text = text.trim();
    let wrong = if text.is_empty() {
        "is empty".to_owned()
    } else if text.chars().count() > most {
        format!("has more than {most} characters")
    } else if text.chars().any(char::is_control) {
        "holds a control character".to_owned()
    } else {
        return Ok(text.to_owned());
    };
    Err(CommandError::usage(format!("{option} {wrong}"), format!("give 1 to {most} characters on one line")))
}
