//! `sulcus verdict`: what a reader says of a lesion. It is an event; the reports that hold the lesion are corrected,
//! and it follows the lesion through reruns.

use std::collections::BTreeMap;

use clap::Args;
use sulcus_operators::rows::{LesionRow, LesionVerdict, Role, RunOutcome};

use super::{CommandError, SiteFile, hosts::said_here};
use crate::{
    ledger::{
        event::{Entry, Event},
        read::Reader,
    },
    receiver::client::Client,
    standing::open_reader,
};

/// Longest name of a reader, and longest new label (DICOM LO), in characters.
const MOST_NAME: usize = 64;
/// Longest comment, in characters.
const MOST_COMMENT: usize = 1024;

#[derive(Args)]
pub(super) struct Verdict {
    #[command(flatten)]
    site: SiteFile,
    /// StudyInstanceUID.
    #[arg(long, value_name = "UID")]
    study: String,
    /// Tracking UID of the lesion, as report.json and the segmentation tell it.
    #[arg(long, value_name = "TRACKING_UID")]
    lesion: String,
    #[command(flatten)]
    said: Said,
    /// Who says so.
    #[arg(long, value_name = "NAME")]
    reader: String,
    /// What the reader adds.
    #[arg(long, value_name = "TEXT", default_value = "")]
    comment: String,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Said {
    /// It is a lesion.
    #[arg(long)]
    accept: bool,
    /// It is none: it leaves the segmentation, and the report lists it apart.
    #[arg(long)]
    reject: bool,
    /// It goes by another name, which becomes its segment's label.
    #[arg(long, value_name = "TEXT")]
    relabel: Option<String>,
    /// Take back what was said before.
    #[arg(long)]
    open: bool,
}

impl Verdict {
    pub(super) fn execute(self) -> Result<(), CommandError> {
        let verdict = match self.said {
            Said { accept: true, .. } => LesionVerdict::Accepted,
            Said { reject: true, .. } => LesionVerdict::Rejected,
            Said { relabel: Some(text), .. } => LesionVerdict::Relabelled(name("--relabel", &text)?),
            _ => LesionVerdict::Open,
        };
        let reader = name("--reader", &self.reader)?;
        let comment = self.comment.trim().to_owned();
        if comment.chars().count() > MOST_COMMENT {
            return Err(CommandError::usage(
                format!("--comment has more than {MOST_COMMENT} characters"),
                "say it in fewer words",
            ));
        }
        let site = self.site.load()?;
        let ledger = open_reader(&site.site.data)?;
        said_here(&ledger, &self.study)?;
        let known = Known::of(&ledger, &self.study)?;
        match verdict {
            LesionVerdict::Open => known.must_be_judged(&self.lesion)?,
            _ => known.must_hold(&self.lesion)?,
        }
        let (study_uid, tracking_uid) = (self.study, self.lesion);
        let event = Event::VerdictGiven { study_uid, tracking_uid, verdict, reader, comment };
        let seqs = Client::new(&site.site.data).append(vec![event]).map_err(|error| {
            CommandError::work(
                format!("no verdict was recorded: {error}"),
                "start `sulcus serve` with the same configuration; it alone writes the ledger",
            )
        })?;
        outln!("recorded by event {}", seqs.last().copied().unwrap_or_default());
        Ok(())
    }
}

/// A text that may stand in a DICOM LO.
fn name(option: &str, text: &str) -> Result<String, CommandError> {
    let text = text.trim();
    let wrong = if text.is_empty() {
        "is empty".to_owned()
    } else if text.chars().count() > MOST_NAME {
        format!("has more than {MOST_NAME} characters")
    } else if text.chars().any(|c| c.is_control() || c == '\\') {
        "holds a control character or a backslash".to_owned()
    } else {
        return Ok(text.to_owned());
    };
    Err(CommandError::usage(
        format!("{option} {wrong}"),
        format!("give 1 to {MOST_NAME} characters, without backslashes or control characters"),
    ))
}

/// What the ledger knows of a study's lesions.
struct Known<'r> {
    reader: &'r Reader,
    study_uid: String,
    /// Tracking UIDs of the lesions of the newest reports.
    held: Vec<String>,
    /// Newest reports of before their run was recorded with them.
    unnamed: usize,
    /// The newest verdict by tracking UID.
    verdicts: BTreeMap<String, LesionVerdict>,
}

impl<'r> Known<'r> {
    fn of(reader: &'r Reader, study_uid: &str) -> Result<Self, CommandError> {
        let entries = reader.entries_about(study_uid, usize::MAX).map_err(CommandError::plain)?;
        let of_study = |entry: &Entry| matches!(&entry.event, Event::InstanceReceived { facts, .. } if facts.study_uid == study_uid);
        if !entries.iter().any(of_study) {
            return Err(CommandError::work(
                format!("the site knows no study {study_uid}, so no verdict was recorded"),
                "`sulcus status` names the study of each report; give its StudyInstanceUID",
            ));
        }
        let mut newest = BTreeMap::new();
        let mut verdicts = BTreeMap::new();
        for entry in &entries {
            match &entry.event {
                Event::RevisionIssued { key, run, .. } => {
                    newest.insert(key.pipeline.as_str(), (key, run));
                }
                Event::VerdictGiven { tracking_uid, verdict, .. } => {
                    verdicts.insert(tracking_uid.clone(), verdict.clone());
                }
                _ => {}
            }
        }
        let (mut held, mut unnamed) = (Vec::new(), 0);
        for (revision, run) in newest.into_values() {
            let Some(run) = run else {
                let has_segmentation = |entry: &Entry| matches!(&entry.event, Event::ObjectEncoded { key, role: Role::Segmentation, .. } if key == revision);
                unnamed += usize::from(entries.iter().any(has_segmentation));
                continue;
            };
            let of_run = reader.entries_about(&run.run_key.to_string(), usize::MAX).map_err(CommandError::plain)?;
            held.extend(of_run.into_iter().rev().find_map(finished).into_iter().flat_map(uids));
        }
        Ok(Known { reader, study_uid: study_uid.to_owned(), held, unnamed, verdicts })
    }

    /// An error where no newest report of the study holds the lesion.
    fn must_hold(&self, tracking_uid: &str) -> Result<(), CommandError> {
        if self.held.iter().any(|uid| uid == tracking_uid) || (self.unnamed > 0 && self.was_found(tracking_uid)?) {
            return Ok(());
        }
        let of_lesions = "`lesions` and `lesions_rejected` of the newest report.json give each lesion's `tracking_uid`";
        let hint = match self.nearest(tracking_uid) {
            Some(nearest) => format!("did you mean {nearest}? {of_lesions}"),
            None => format!("{of_lesions}; `sulcus status` names the newest revision"),
        };
        Err(CommandError::work(
            format!(
                "no newest report on study {} holds lesion {tracking_uid}, so no verdict was recorded",
                self.study_uid
            ),
            hint,
        ))
    }

    /// An error where there is nothing to take back. The lesion need not be there any more.
    fn must_be_judged(&self, tracking_uid: &str) -> Result<(), CommandError> {
        match self.verdicts.get(tracking_uid) {
            None | Some(LesionVerdict::Open) => {
                self.must_hold(tracking_uid)?;
                Err(CommandError::work(
                    format!("no verdict stands on lesion {tracking_uid}, so none was taken back"),
                    "`sulcus ledger show` lists the verdicts that were given",
                ))
            }
            Some(_) => Ok(()),
        }
    }

    /// True where any run found the lesion.
    fn was_found(&self, tracking_uid: &str) -> Result<bool, CommandError> {
        let entries = self.reader.entries_after(0, usize::MAX >> 1).map_err(CommandError::plain)?;
        Ok(entries.into_iter().filter_map(finished).any(|outcome| uids(outcome).any(|uid| uid == tracking_uid)))
    }

    /// The lesion whose UID begins most like this one, where that is no chance.
    fn nearest(&self, tracking_uid: &str) -> Option<&str> {
        let alike = |uid: &&String| uid.bytes().zip(tracking_uid.bytes()).take_while(|(a, b)| a == b).count();
        let nearest = self.held.iter().max_by_key(alike)?;
        // All begin with 2.25.
        (alike(&nearest) >= 10).then_some(nearest)
    }
}

fn finished(entry: Entry) -> Option<RunOutcome> {
    if let Event::RunFinished(outcome) = entry.event { Some(outcome) } else { None }
}

fn uids(outcome: RunOutcome) -> impl Iterator<Item = String> {
    outcome.lesions.into_iter().map(|lesion: LesionRow| lesion.tracking_uid)
}
