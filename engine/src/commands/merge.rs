//! `sulcus merge`: two ids are one person's, or are not after all. It is an event; visits and runs follow it.

use clap::Args;
use sulcus_operators::rows::PatientKey;

use super::{
    CommandError, SiteFile,
    direct::{MOST_NAME, MOST_REASON, account, text},
    hosts::said_to_first,
};
use crate::{
    ledger::{event::Event, read::Reader},
    receiver::client::Client,
    standing::open_reader,
};

/// Longest PatientID and issuer, in characters (PS3.5 section 6.2, LO).
const MOST_ID: usize = 64;

#[derive(Args)]
pub(super) struct Merge {
    #[command(flatten)]
    site: SiteFile,
    /// The PatientID that is given up.
    #[arg(long, value_name = "ID")]
    patient: String,
    /// Its IssuerOfPatientID, where several issuers use the id; `source:NAME` where headers name none.
    #[arg(long, value_name = "ISSUER")]
    issuer: Option<String>,
    /// The PatientID by which the person is known.
    #[arg(long, value_name = "ID", required_unless_present = "undo", conflicts_with = "undo")]
    into: Option<String>,
    /// Its IssuerOfPatientID; without it, the only one that uses the id, else that of --patient.
    #[arg(long, value_name = "ISSUER", requires = "into")]
    into_issuer: Option<String>,
    /// Take back that --patient is somebody else.
    #[arg(long)]
    undo: bool,
    /// Why, for the ledger.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who says so; without it, the name of the account.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

impl Merge {
    pub(super) fn execute(self) -> Result<(), CommandError> {
        let site = self.site.load()?;
        said_to_first(&site)?;
        let data = site.site.data;
        let reason = text("--reason", &self.reason, MOST_REASON)?;
        let by = text("--by", &self.by.clone().unwrap_or_else(account), MOST_NAME)?;
        let reader = open_reader(&data)?;
        let from = match known(&reader, "--patient", "--issuer", &self.patient, self.issuer.as_deref())? {
            Some(from) => from,
            None => {
                return Err(CommandError::work(
                    "the site holds nothing of the patient that --patient names, so nothing was merged",
                    "check the id; once something of him is received, say it again",
                ));
            }
        };
        let into = match &self.into {
            None => None,
            Some(id) => {
                let issuer = self.into_issuer.as_deref();
                let into = known(&reader, "--into", "--into-issuer", id, issuer)?;
                // Nothing of him need have come yet.
                Some(into.unwrap_or(PatientKey {
                    issuer: issuer.unwrap_or(&from.issuer).to_owned(),
                    id: text("--into", id, MOST_ID)?,
                }))
            }
        };
        self.check(&reader, &from, into.as_ref())?;
        let event = Event::PatientsMerged { from, into, reason, by };
        let seqs = Client::new(&data).append(vec![event]).map_err(|error| {
            CommandError::work(
                format!("nothing was recorded: {error}"),
                "start `sulcus serve` with the same configuration; it alone writes the ledger",
            )
        })?;
        let seq = seqs.last().copied().unwrap_or_default();
        match self.undo {
            false => outln!("merged by event {seq}: his studies are run again among the visits of both"),
            true => outln!("parted by event {seq}: each has his own visits again"),
        }
        Ok(())
    }

    /// Refuses what would say nothing, or lead round in a circle.
    fn check(&self, reader: &Reader, from: &PatientKey, into: Option<&PatientKey>) -> Result<(), CommandError> {
        let merges = reader.merges().map_err(CommandError::plain)?;
        match into {
            None if merges.said_of(from).is_none() => Err(CommandError::work(
                "the patient is merged into nobody, so there is nothing to take back",
                "name the id that was given up: that of --patient when they were merged",
            )),
            Some(into) if merges.said_of(from) == Some(into) => {
                Err(CommandError::work("they are merged already", "`sulcus ledger show` has the event"))
            }
            Some(into) if merges.closes_circle(from, into) => Err(CommandError::work(
                "the merge would close a circle: --into is, through other merges, the same as --patient",
                "take the other merge back first, with `sulcus merge --patient ID --undo`",
            )),
            _ => Ok(()),
        }
    }
}

/// The one key under which the site knows an id; none where it knows none.
fn known(
    reader: &Reader,
    option: &str,
    of_issuer: &str,
    id: &str,
    issuer: Option<&str>,
) -> Result<Option<PatientKey>, CommandError> {
    let id = text(option, id, MOST_ID)?;
    let mut issuers = reader.issuers_of(&id).map_err(CommandError::plain)?;
    if let Some(issuer) = issuer {
        issuers.retain(|known| known == issuer);
    }
    match &issuers[..] {
        [] => Ok(None),
        [issuer] => Ok(Some(PatientKey { issuer: issuer.clone(), id })),
        several => Err(CommandError::usage(
            format!("several issuers use the id that {option} names"),
            format!("name one with {of_issuer}: {}", several.join(", ")),
        )),
    }
}
