//! What speaks of other objects: the structured report, the rejection note, the FHIR bundle.

use sulcus_operators::{
    part10,
    results::{
        dicom::Reference,
        fhir::{self, Earlier, FhirInput},
        kos::{self, KosInput, Reason},
        report::{Report, Status},
        sr::{self, SrInput},
        uid::{series_uid, sop_class_uid},
    },
    rows::{ReportStatus, Role},
    volume::Encoded,
};

use super::{Identity, key_of, refused, report};
use crate::{
    lanes::order::{EncodeOrder, Failure, StoredObject},
    ledger::event::Because,
    worker::Worker,
};

/// One object of before: SOPClassUID, SOPInstanceUID, SeriesInstanceUID.
type Named = [String; 3];

impl Worker {
    /// What an object that was encoded before says of itself, each of its files. Where its bytes are lost, its identity
    /// still follows from its role and key: an archive is to be told of it all the same.
    fn named(&self, object: &StoredObject) -> Result<Vec<Named>, Failure> {
        let series = series_uid(&object.object);
        let named = |file: Vec<u8>| {
            let file = part10::split(&file).map_err(refused)?;
            Ok([file.sop_class_uid, file.sop_instance_uid, series.clone()])
        };
        match self.stored(&object.bytes) {
            Ok(files) => files.into_iter().map(named).collect(),
            Err(failure) => {
                let class = sop_class_uid(object.role).ok_or(failure)?;
                tracing::warn!(object = object.object.short(), "its bytes are lost: named by its key alone");
                Ok(vec![[class.to_owned(), object.object.uid(), series]])
            }
        }
    }

    pub(super) fn structured_report(&mut self, order: &EncodeOrder) -> Result<Vec<u8>, Failure> {
        let (scene, report) = (self.scene(order)?, report(order)?);
        let (_, labels) = scene.kept(order)?;
        let segmentation = key_of(order, Role::Segmentation);
        let own = order.objects.iter().find(|object| object.object == segmentation);
        let own =
            own.ok_or_else(|| Failure::input("its segmentation is not encoded", "report this with the ledger"))?;
        let [segmentation] = &self.named(own)?[..] else {
            return Err(Failure::input(
                "the segmentation is in several objects, which one structured report cannot speak of",
                "raise the smallest lesion size of the model",
            ));
        };
        let superseded = order.earlier(Role::StructuredReport).last();
        let superseded = superseded.map(|object| self.named(object)).transpose()?.unwrap_or_default();
        let identity = Identity::of(order);
        let object = sr::encode(&SrInput {
            header: identity.header(order, scene.source(), &self.site),
            report: &report,
            grid: &scene.volume.grid,
            frames: &scene.volume.frames,
            frame_of_reference_uid: &scene.volume.frame_of_reference_uid,
            labels: labels.view(),
            segmentation: reference(order, segmentation),
            supersedes: superseded.first().map(|named| reference(order, named)),
        })
        .map_err(refused)?;
        self.keep(scene);
        Ok(object.bytes)
    }

    /// Rejects every DICOM object of earlier revisions, sent or not: one that is still on its way is then rejected as it
    /// comes.
    pub(super) fn rejection_note(&mut self, order: &EncodeOrder) -> Result<Vec<u8>, Failure> {
        let rejected = |object: &&StoredObject| object.role.is_dicom() && object.role != Role::RejectionNote;
        let mut named = Vec::new();
        for object in order.objects.iter().filter(|object| object.revision < order.key.revision).filter(rejected) {
            named.extend(self.named(object)?);
        }
        let (reason, why) = rejected_for(order);
        let (instance, data_set) = self.source(order)?;
        let source = Encoded { transfer_syntax: &instance.transfer_syntax, data_set: &data_set };
        let identity = Identity::of(order);
        let header = identity.header(order, source, &self.site);
        let objects: Vec<Reference<'_>> = named.iter().map(|named| reference(order, named)).collect();
        let note = kos::encode(&KosInput { header, reason, why: &why, objects: &objects }).map_err(refused)?;
        Ok(note.bytes)
    }

    pub(super) fn fhir(&mut self, order: &EncodeOrder) -> Result<Vec<u8>, Failure> {
        let report = report(order)?;
        let mut before: Vec<Report> = Vec::new();
        for object in order.earlier(Role::Report) {
            for file in self.stored(&object.bytes)? {
                before.push(serde_json::from_slice(&file).map_err(refused)?);
            }
        }
        before.retain(|report| report.status == Status::Final);
        let lesions: Vec<Vec<&str>> = before
            .iter()
            .map(|report| report.lesions.iter().map(|lesion| lesion.tracking_uid.as_str()).collect())
            .collect();
        let earlier: Vec<Earlier<'_>> = before
            .iter()
            .zip(&lesions)
            .map(|(report, tracking_uids)| Earlier {
                uid: &report.uid,
                patient: Some(&report.patient),
                tracking_uids,
                has_distance: report.run.as_ref().is_some_and(|run| run.domain.is_some()),
            })
            .collect();
        let source = order.row.run.as_ref().map(|_| self.source(order)).transpose()?;
        let source = source
            .as_ref()
            .map(|(instance, data_set)| Encoded { transfer_syntax: &instance.transfer_syntax, data_set });
        fhir::bundle(&FhirInput { report: &report, source, earlier: &earlier }).map_err(refused)
    }
}

/// Why earlier objects are rejected. What was made from a series of a wrong patient or worklist entry is so rejected
/// whatever took its place; a series that is merely too poor or too old says nothing against what a better one gave.
fn rejected_for(order: &EncodeOrder) -> (Reason, String) {
    let why = match &order.row.status {
        ReportStatus::Final => format!("Superseded by revision {}", order.key.revision),
        ReportStatus::Withdrawn(reason) => reason.clone(),
    };
    let said = |because: Because| match order.row.status {
        ReportStatus::Final => format!("{why}; a series that was used before was withdrawn: {}", because.words()),
        ReportStatus::Withdrawn(_) if why.contains(because.words()) => why.clone(),
        ReportStatus::Withdrawn(_) => {
            format!("{why}; a series that was used before was withdrawn: {}", because.words())
        }
    };
    match (order.because, &order.row.status) {
        _ if order.several_patients => {
            (Reason::PatientSafety, "The study was received under more than one patient".to_owned())
        }
        (Some(because @ Because::WrongPatient), _) => (Reason::PatientSafety, said(because)),
        (Some(because @ Because::WrongWorklistEntry), _) => (Reason::WrongWorklistEntry, said(because)),
        (_, ReportStatus::Final) => (Reason::Superseded, why),
        (Some(Because::Retention), ReportStatus::Withdrawn(_)) => (Reason::Retention, why),
        (Some(Because::Quality) | None, ReportStatus::Withdrawn(_)) => (Reason::Withdrawn, why),
    }
}

fn reference<'a>(order: &'a EncodeOrder, [class, instance, series]: &'a Named) -> Reference<'a> {
    Reference {
        study_instance_uid: &order.key.study_uid,
        series_instance_uid: series,
        sop_class_uid: class,
        sop_instance_uid: instance,
    }
}
