//! An object of a revision: made, checked, and kept in the results store before anybody hears of it.
//!
//! Owns which builder makes which role, and what they share: identities, header, report, images. What is made of voxels
//! is in `images`, what speaks of other objects in `documents`.

mod documents;
mod images;

use std::io::ErrorKind;

use sulcus_operators::{
    digest::Digest,
    results::{
        dicom::{Equipment, Header},
        parts,
        report::{Report, ReportInput},
        uid::{ObjectFacts, object_key, series_uid},
    },
    rows::{Role, RunOrder, RunOutcome},
    volume::Encoded,
};

pub(super) use self::images::Scene;
use super::Worker;
use crate::{
    lanes::order::{EncodeOrder, Failure, Reply, SourceInstance},
    results_store::ResultsError,
};

/// SeriesNumber of our first series: beyond what a scanner counts to. Each role has a number of its own.
const SERIES_NUMBER: u32 = 9000;
/// Version of this software, as objects say it.
const SOFTWARE: &str = env!("CARGO_PKG_VERSION");
/// What to do about an object that its builder refuses.
const HINT: &str = "correct what is named at the sender, withdraw the series and send it again; \
                    where its header is right, report this with the header";
/// What to do about bytes of ours that are gone.
pub(in crate::worker) const LOST: &str = "put the results store (`results` in the data folder) back from a backup, then \
    give the report a next revision: `sulcus verdict` on one of its lesions makes one, and the how-to says what else does";

impl Worker {
    pub(super) fn encode(&mut self, order: &EncodeOrder) -> Result<Reply, Failure> {
        let object = key_of(order, order.role);
        let bytes = match order.role {
            Role::Segmentation | Role::WholeSegmentation | Role::LabelmapSegmentation | Role::ProbabilityMap => {
                self.segmentation(order)?
            }
            Role::StructuredReport => self.structured_report(order)?,
            Role::EncapsulatedReport => self.encapsulated_report(order)?,
            Role::KeyImages => self.key_images(order)?,
            Role::Report => report(order)?.to_json().map_err(refused)?,
            Role::Page => self.page(order)?,
            Role::Fhir => self.fhir(order)?,
            Role::Derivatives => self.derivatives(order)?,
            Role::RejectionNote => self.rejection_note(order)?,
        };
        let digest = self.results.put(&bytes).map_err(|error| {
            Failure::surroundings(format!("the object cannot be stored: {error}"), "check the disk of the data folder")
        })?;
        Ok(Reply::Encoded { object, uid: object.uid(), bytes: digest, length: bytes.len() as u64 })
    }

    /// The first of an order's instances: of the run, or of a withdrawn report any of the study.
    fn source(&mut self, order: &EncodeOrder) -> Result<(SourceInstance, Vec<u8>), Failure> {
        let first = order.instances.first().ok_or_else(none_left)?;
        let data_set = self.data_sets(std::slice::from_ref(first))?.pop().ok_or_else(none_left)?;
        Ok((first.clone(), data_set))
    }

    /// The files of an object that was encoded before.
    fn stored(&self, bytes: &Digest) -> Result<Vec<Vec<u8>>, Failure> {
        let blob = self.results.get(bytes).map_err(|error| unreadable("an object of before", &error))?;
        let parts = parts::split(&blob)
            .ok_or_else(|| Failure::input("an object of before cannot be read: it ends within a part", LOST))?;
        Ok(parts.into_iter().map(<[u8]>::to_vec).collect())
    }
}

/// The identities of an object.
struct Identity {
    sop_instance_uid: String,
    series_instance_uid: String,
    series_number: u32,
}

impl Identity {
    fn of(order: &EncodeOrder) -> Self {
        let object = key_of(order, order.role);
        let place = Role::ALL.iter().position(|role| *role == order.role).unwrap_or_default() as u32;
        Identity {
            sop_instance_uid: object.uid(),
            series_instance_uid: series_uid(&object),
            series_number: SERIES_NUMBER + place,
        }
    }

    fn header<'a>(&'a self, order: &EncodeOrder, source: Encoded<'a>, site: &'a str) -> Header<'a> {
        Header {
            source,
            sop_instance_uid: &self.sop_instance_uid,
            series_instance_uid: &self.series_instance_uid,
            series_number: self.series_number,
            revision: order.key.revision,
            created: order.at,
            equipment: Equipment { serial_number: site, software_version: SOFTWARE },
        }
    }
}

/// What the revision says. Its identity is that of `report.json`, whatever is made of it.
fn report(order: &EncodeOrder) -> Result<Report, Failure> {
    let [name, version] = &order.model;
    let segmentation = order.row.run.as_ref().map(|_| key_of(order, Role::Segmentation).uid());
    let supersedes = order.earlier(Role::Report).last().map(|before| before.object.uid());
    Report::new(&ReportInput {
        row: &order.row,
        outcome: order.outcome.as_ref(),
        patient: &order.patient,
        uid: &key_of(order, Role::Report).uid(),
        revision: order.key.revision,
        supersedes: supersedes.as_deref(),
        created: order.at,
        model: (name, version),
        segmentation: segmentation.as_deref(),
    })
    .map_err(|error| Failure::input(error, "report this with the ledger"))
}

fn key_of(order: &EncodeOrder, role: Role) -> Digest {
    object_key(&ObjectFacts {
        content: order.row.content,
        study_uid: &order.key.study_uid,
        series_uid: order.row.run.as_ref().map_or("", |run| &run.series_uid),
        pipeline: &order.key.pipeline,
        role,
        revision: order.key.revision,
    })
}

fn run_of(order: &EncodeOrder) -> Result<(&RunOrder, &RunOutcome), Failure> {
    order
        .row
        .run
        .as_ref()
        .zip(order.outcome.as_ref())
        .ok_or_else(|| Failure::input("the object needs a run that has finished", "report this with the ledger"))
}

fn none_left() -> Failure {
    Failure::input("no instance is left to take patient and study from", "withdraw the series and send it again")
}

/// Bytes of ours that cannot be read. What is not there, or is not what it was, stays so; any other failure of a disk
/// says nothing of them.
pub(in crate::worker) fn unreadable(what: &str, error: &ResultsError) -> Failure {
    let reason = format!("{what} cannot be read: {error}");
    match error {
        ResultsError::Io { source, .. } if source.kind() != ErrorKind::NotFound => {
            Failure::surroundings(reason, "check the disk of the data folder")
        }
        _ => Failure::input(reason, LOST),
    }
}

/// What a builder refuses.
fn refused(error: impl std::error::Error) -> Failure {
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        reason = format!("{reason}: {error}");
        cause = error.source();
    }
    Failure::input(reason, HINT)
}
