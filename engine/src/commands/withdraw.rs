//! `sulcus withdraw`: takes instances back. Nothing is deleted: it is an event, and whatever was made from them is
//! corrected.

use clap::Args;

use super::{CommandError, SiteFile};
use crate::{dispatch::open_reader, ledger::event::Scope, receiver::client::Client};

#[derive(Args)]
pub(super) struct Withdraw {
    #[command(flatten)]
    site: SiteFile,
    #[command(flatten)]
    what: What,
    /// Why, for the ledger.
    #[arg(long)]
    reason: String,
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
        let (Scope::Instance(uid) | Scope::Series(uid) | Scope::Study(uid)) = &scope;
        if open_reader(&site.site.data)?.entries_about(uid, 1).map_err(CommandError::plain)?.is_empty() {
            return Err(CommandError::work(
                format!("the site holds nothing of {uid}, so nothing was withdrawn"),
                "`sulcus status` lists the series that it holds",
            ));
        }
        let seqs = Client::new(&site.site.data).withdraw(scope, &self.reason).map_err(|error| {
            CommandError::work(
                format!("nothing was withdrawn: {error}"),
                "start `sulcus serve` with the same configuration; it alone writes the ledger",
            )
        })?;
        println!("withdrawn by event {}", seqs.last().copied().unwrap_or_default());
        Ok(())
    }
}
