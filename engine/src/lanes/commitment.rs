//! Delivery to an archive that is asked for its word: an object counts as delivered once the archive says that it keeps
//! it (Storage Commitment Push Model, PS3.4 annex J). The protocol is drawn in `deliver`.
//!
//! The word comes over our association, or over one that the archive opens to the receiver. Either way it is an event
//! before it is answered, and the lane finds it in the ledger. It counts for the object whichever attempt asked: an
//! archive that takes longer than the site waits is not asked for ever.

use std::time::{Duration, Instant};

use sulcus_config::DicomDestination;
use sulcus_connectors::{
    dimse::{commitment::Reference, scu::Storer},
    inbox::{CommitmentReport, Reported},
};
use sulcus_operators::{part10::Part10, rows::DeliveryRow};

use super::{
    deliver::{associate, objects, store},
    port::{Port, Stopping},
};
use crate::ledger::{
    LedgerError,
    commitments::{Judged, Word, transaction_uid},
    read::Reader,
};

/// How long our association stays open for a report; an archive that calls back may wait for its end.
const OPEN: Duration = Duration::from_secs(5);
/// How often the ledger is looked at for a report that came another way.
const LOOK: Duration = Duration::from_millis(100);
/// Attempts, the present one included, whose transactions are looked at.
const ATTEMPTS: u32 = 8;

/// One delivery that waits for its archive's word.
pub(super) struct Commitment<'a> {
    pub row: &'a DeliveryRow,
    pub attempt: u32,
    pub node: &'a DicomDestination,
    pub reader: &'a Reader,
    pub port: &'a mut Port,
}

impl Commitment<'_> {
    /// Stores the object and waits for the archive's word: what it answered, or why the attempt failed.
    pub fn hand_over(mut self, bytes: &[u8]) -> Result<Result<String, String>, Stopping> {
        let uids: Vec<String> = match objects(bytes) {
            Ok(objects) => objects.into_iter().map(|object| object.sop_instance_uid).collect(),
            Err(reason) => return Ok(Err(reason)),
        };
        // An earlier attempt's word may have come since.
        match self.word(&uids) {
            Ok(Some(Word::Committed)) => return Ok(Ok("committed, as an earlier attempt asked".to_owned())),
            Ok(_) => {}
            Err(error) => return Ok(Err(unreadable(&error))),
        }
        let asked = objects(bytes).and_then(|objects| self.ask(&objects));
        let (receipt, mut storer) = match asked {
            Ok((receipt, storer)) => (receipt, Some(storer)),
            Err(reason) => return Ok(Err(reason)),
        };
        let (begun, limit) = (Instant::now(), self.node.commitment_seconds.duration());
        let said = loop {
            match self.word(&uids) {
                Ok(Some(Word::Committed)) => break Ok(format!("{receipt}, committed")),
                Ok(Some(Word::Failed(reason))) => break Err(refusal(reason)),
                Ok(None) => {}
                Err(error) => break Err(unreadable(&error)),
            }
            if begun.elapsed() >= limit {
                let seconds = limit.as_secs_f64();
                break Err(format!("the archive stored the object and did not commit itself to it in {seconds} s"));
            }
            match storer.take() {
                Some(mut open) if begun.elapsed() < OPEN => {
                    // An association that breaks now costs nothing: the archive may still call back.
                    if open.hear(LOOK, &mut |report| self.take(report)).is_ok() {
                        storer = Some(open);
                    }
                    self.port.stop().nap(Duration::ZERO)?;
                }
                Some(open) => drop(open.release()),
                None => self.port.stop().nap(LOOK)?,
            }
        };
        // The word counts, not how the association ends.
        storer.into_iter().for_each(|open| drop(open.release()));
        Ok(said)
    }

    /// Stores the object, all of its parts, and asks for commitment.
    fn ask(&mut self, objects: &[Part10<'_>]) -> Result<(String, Storer), String> {
        let mut storer = associate(self.node, objects)?;
        let receipt = store(&mut storer, objects)?;
        if !storer.offers_commitment() {
            let _ = storer.release();
            return Err("the archive stored the object and offers no storage commitment: enable it there, or set \
                        storage_commitment = false"
                .to_owned());
        }
        let transaction = transaction_uid(&self.row.object, &self.row.destination, self.attempt);
        let asked: Vec<Reference<'_>> = objects
            .iter()
            .map(|object| Reference {
                sop_class_uid: &object.sop_class_uid,
                sop_instance_uid: &object.sop_instance_uid,
            })
            .collect();
        match storer.ask_commitment(&transaction, &asked, &mut |report| self.take(report)) {
            Ok(0x0000) => Ok((receipt, storer)),
            Ok(status) => {
                let _ = storer.release();
                Err(format!("the archive stored the object and refused to be asked for commitment (0x{status:04X})"))
            }
            // An archive that does not know us may abort instead of refusing; Orthanc does.
            Err(error) => Err(format!(
                "the archive stored the object and broke off when asked for commitment: {error}; check that it knows \
                 our AE title"
            )),
        }
    }

    /// What the archive said of the object, all of its parts. What it refused to an earlier attempt it may grant to this
    /// one.
    fn word(&self, uids: &[String]) -> Result<Option<Word>, LedgerError> {
        let mut said = None;
        for attempt in self.attempt.saturating_sub(ATTEMPTS - 1).max(1)..=self.attempt {
            let transaction = transaction_uid(&self.row.object, &self.row.destination, attempt);
            let mut words = Vec::with_capacity(uids.len());
            for uid in uids {
                words.push(self.reader.word(&transaction, uid)?);
            }
            if words.iter().all(|word| *word == Some(Word::Committed)) {
                return Ok(Some(Word::Committed));
            }
            if attempt == self.attempt {
                said = words.into_iter().flatten().find(|word| *word != Word::Committed);
            }
        }
        Ok(said)
    }

    /// Records a report that came over our own association.
    fn take(&mut self, report: CommitmentReport) -> Reported {
        match self.reader.judge(report) {
            Ok(Judged::New(event)) => match self.port.append(&[*event]) {
                Ok(_) => Reported::Recorded,
                Err(Stopping) => Reported::Failed,
            },
            Ok(Judged::Known(reported)) => reported,
            Err(_) => Reported::Failed,
        }
    }
}

fn unreadable(error: &LedgerError) -> String {
    format!("what the archive reported cannot be read in the ledger: {error}")
}

/// Failure Reason (0008,1197) in words (PS3.3 C.14.1.1).
fn refusal(reason: u16) -> String {
    let meaning = match reason {
        0x0110 => "processing failure",
        0x0112 => "it has no such object",
        0x0119 => "the object is of another SOP class there",
        0x0122 => "it does not support the SOP class",
        0x0131 => "the transaction UID is in use there",
        0x0213 => "its resources are exhausted",
        _ => "for a reason of its own",
    };
    format!("the archive does not commit itself to the object: {meaning} (0x{reason:04X})")
}
