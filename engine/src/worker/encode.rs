//! An object of a revision: encoded, read again and checked, and kept in the results store before anybody hears of it.

use sulcus_operators::{
    digest::Digest,
    results::{
        check::{Expected, check},
        dicom::{Algorithm, Equipment, Header},
        judged::without_rejected,
        report::{Report, ReportInput},
        seg::{self, SegInput, SegKind},
        uid::{ObjectFacts, object_key, series_uid},
    },
    rows::{Role, RunOrder, RunOutcome},
};

use super::{
    Worker, encoded,
    run::{chosen_volume, load_labels},
};
use crate::lanes::order::{EncodeOrder, Failure, Reply};

/// SeriesNumber of our segmentations: beyond what a scanner counts to.
const SERIES_NUMBER: u32 = 9000;

impl Worker {
    pub(super) fn encode(&mut self, order: &EncodeOrder) -> Result<Reply, Failure> {
        let object = key_of(order, order.role);
        let bytes = match order.role {
            Role::Segmentation => self.segmentation(order, object)?,
            Role::Report => report(order, object)?,
            other => return Err(Failure::input(format!("no {} can be made", other.name()), "update sulcus")),
        };
        let digest = self.results.put(&bytes).map_err(|error| {
            Failure::surroundings(format!("the object cannot be stored: {error}"), "check the disk of the data folder")
        })?;
        Ok(Reply::Encoded { object, uid: object.uid(), bytes: digest, length: bytes.len() as u64 })
    }

    fn segmentation(&mut self, order: &EncodeOrder, object: Digest) -> Result<Vec<u8>, Failure> {
        let (run, outcome) = run_of(order)?;
        let data_sets = self.data_sets(&order.instances)?;
        let volume = chosen_volume(&run.stack, &order.instances, &data_sets)?;
        let labels = load_labels(&self.results, outcome)?;
        let findings = &order.row.verdicts;
        let (kept, without) = without_rejected(findings, &outcome.lesions, labels.clone());
        let sources = encoded(&order.instances, &data_sets);
        let source = sources
            .first()
            .copied()
            .ok_or_else(|| Failure::input("the run has no instances left", "withdraw the series and send it again"))?;
        let [name, version] = &order.model;
        let written = seg::encode(&SegInput {
            header: Header {
                source,
                sop_instance_uid: &object.uid(),
                series_instance_uid: &series_uid(&object),
                series_number: SERIES_NUMBER,
                revision: order.key.revision,
                created: order.at,
                equipment: Equipment { serial_number: &self.site, software_version: env!("CARGO_PKG_VERSION") },
            },
            kind: SegKind::Lesions,
            grid: &volume.grid,
            frames: &volume.frames,
            frame_of_reference_uid: &volume.frame_of_reference_uid,
            labels: without.view(),
            lesions: &kept,
            findings,
            algorithm: Algorithm { name, version, digest: run.model },
        })
        .map_err(|error| Failure::input(error, "the source header does not allow a valid segmentation"))?;
        let [part] = written.parts.as_slice() else {
            let parts = written.parts.len();
            let hint = "raise the smallest lesion size of the model";
            return Err(Failure::input(format!("the lesions need {parts} segmentations where one is sent"), hint));
        };
        for note in &part.notes {
            tracing::info!(object = object.short(), note, "left out of the segmentation");
        }
        let by_uid = |uid: &str| {
            order
                .instances
                .iter()
                .position(|instance| instance.sop_instance_uid == uid)
                .and_then(|at| sources.get(at).copied())
        };
        drop(without);
        let (labels, lesions) = (labels.view(), outcome.lesions.as_slice());
        let (kind, frames) = (SegKind::Lesions, volume.frames.as_slice());
        let expected = Expected { kind, source: &by_uid, frames, labels, lesions, findings };
        check(&written.parts, &expected)
            .map_err(|error| Failure::input(error, "the object is not sent; report this with the series' headers"))?;
        Ok(part.bytes.clone())
    }
}

fn report(order: &EncodeOrder, object: Digest) -> Result<Vec<u8>, Failure> {
    let [name, version] = &order.model;
    let segmentation = order.row.run.as_ref().map(|_| key_of(order, Role::Segmentation).uid());
    let report = Report::new(&ReportInput {
        row: &order.row,
        outcome: order.outcome.as_ref(),
        patient: &order.patient,
        uid: &object.uid(),
        revision: order.key.revision,
        supersedes: order.supersedes.as_deref(),
        created: order.at,
        model: (name, version),
        segmentation: segmentation.as_deref(),
    })
    .map_err(|error| Failure::input(error, "report this with the ledger"))?;
    report.to_json().map_err(|error| Failure::input(error, "report this with the ledger"))
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
        .ok_or_else(|| Failure::input("a segmentation needs a run that has finished", "report this with the ledger"))
}
