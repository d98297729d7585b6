//! `sulcus withdraw`: takes instances back. Nothing is deleted: it is an event, and whatever was made from them is
//! corrected.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;

use super::{
    CommandError, SiteFile,
    direct::{MOST_REASON, text},
    hosts::said_here,
    words::counted,
};
use crate::{
    ledger::event::{Because, Entry, Event, Scope},
    receiver::client::Client,
    standing::open_reader,
};

#[derive(Args)]
pub(super) struct Withdraw {
    #[command(flatten)]
    site: SiteFile,
    #[command(flatten)]
    what: What,
    /// Why, for the ledger.
    #[arg(long)]
    reason: String,
    /// What kind of reason it is: the report says it, and the rejection note has its title by it.
    #[arg(long, value_name = "KIND")]
    because: Option<Because>,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct What {
    /// SOPInstanceUID of one instance.
    #[arg(long, value_name = "UID")]
    instance: Option<String>,
    /// SeriesInstanceUID of a whole series.
    #[arg(long, value_name = "UID")]
    series: Option<String>,
    /// StudyInstanceUID of a whole study.
    #[arg(long, value_name = "UID")]
    study: Option<String>,
}

impl Withdraw {
    pub(super) fn execute(self) -> Result<(), CommandError> {
        let site = self.site.load()?;
        let What { instance, series, study } = self.what;
        let scope = instance
            .map(Scope::Instance)
            .or(series.map(Scope::Series))
            .or(study.map(Scope::Study))
            .ok_or_else(|| CommandError::usage("nothing is named", "give --instance, --series or --study"))?;
        let reason = text("--reason", &self.reason, MOST_REASON)?;
        let reader = open_reader(&site.site.data)?;
        let entries = reader.entries_after(0, usize::MAX >> 1).map_err(CommandError::plain)?;
        let held = Held::of(&entries);
        let instances = held.count(&scope, self.because.is_some())?;
        held.studies(&scope).into_iter().try_for_each(|study_uid| said_here(&reader, study_uid))?;
        let seqs = Client::new(&site.site.data).withdraw(scope, &reason, self.because).map_err(|error| {
            CommandError::work(
                format!("nothing was withdrawn: {error}"),
                "start `sulcus serve` with the same configuration; it alone writes the ledger",
            )
        })?;
        let event = seqs.last().copied().unwrap_or_default();
        match instances {
            0 => outln!("withdrawn already: what kind of reason it was is told by event {event}"),
            instances => outln!("{} withdrawn by event {event}", counted(instances, "instance")),
        }
        Ok(())
    }
}

/// What stands or lies in quarantine: SeriesInstanceUID and StudyInstanceUID by SOPInstanceUID; empty where unknown.
/// And what was withdrawn.
struct Held<'e>(BTreeMap<&'e str, [&'e str; 2]>, BTreeMap<&'e str, [&'e str; 2]>);

impl<'e> Held<'e> {
    fn of(entries: &'e [Entry]) -> Self {
        let (mut held, mut gone) = (BTreeMap::new(), BTreeMap::new());
        for entry in entries {
            match &entry.event {
                Event::InstanceReceived { facts, .. } => {
                    held.insert(facts.sop_instance_uid.as_str(), [facts.series_uid.as_str(), facts.study_uid.as_str()]);
                }
                Event::InstanceQuarantined { sop_instance_uid, .. } => {
                    held.entry(sop_instance_uid.as_str()).or_insert(["", ""]);
                }
                Event::InstanceWithdrawn { scope, .. } => {
                    gone.extend(held.extract_if(.., |sop, uids| takes(scope, sop, uids)));
                }
                _ => {}
            }
        }
        Held(held, gone)
    }

    /// The studies that the scope takes something of, or took.
    fn studies(&self, scope: &Scope) -> BTreeSet<&'e str> {
        let all = self.0.iter().chain(&self.1).filter(|(sop, uids)| takes(scope, sop, uids));
        all.map(|(_, [_, study_uid])| *study_uid).filter(|study_uid| !study_uid.is_empty()).collect()
    }

    /// How many instances the scope takes; an error that says why where it takes none, unless what is gone is to be given
    /// a kind of reason.
    fn count(&self, scope: &Scope, has_kind: bool) -> Result<usize, CommandError> {
        let count = self.0.iter().filter(|(sop, uids)| takes(scope, sop, uids)).count();
        let is_amended = has_kind && self.1.iter().any(|(sop, uids)| takes(scope, sop, uids));
        if count > 0 || is_amended {
            return Ok(count);
        }
        let (Scope::Instance(uid) | Scope::Series(uid) | Scope::Study(uid)) = scope;
        let others = [
            ("--instance", Scope::Instance(uid.clone())),
            ("--series", Scope::Series(uid.clone())),
            ("--study", Scope::Study(uid.clone())),
        ];
        let fitting = others.iter().find(|(_, other)| self.0.iter().any(|(sop, uids)| takes(other, sop, uids)));
        let hint = match fitting {
            Some((option, _)) => format!("the UID is of another level: use {option} {uid}"),
            None => "`sulcus status` lists the series that it holds".to_owned(),
        };
        Err(CommandError::work(
            format!("the site holds nothing of {uid} at this level, so nothing was withdrawn"),
            hint,
        ))
    }
}

fn takes(scope: &Scope, sop_instance_uid: &str, [series, study]: &[&str; 2]) -> bool {
    match scope {
        Scope::Instance(uid) => sop_instance_uid == uid,
        Scope::Series(uid) => series == uid,
        Scope::Study(uid) => study == uid,
    }
}
