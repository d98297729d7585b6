//! What is made of a run's voxels: segmentations, key images, the page, the structured report's measurements,
//! derivatives.

use ndarray::Array3;
use sulcus_operators::{
    digest::Digest,
    results::{
        check::{Expected, check},
        derivatives::{self, DerivativesInput, Maps},
        dicom::Algorithm,
        encapsulated::{self, EncapsulatedInput},
        judged::without_rejected,
        key_images::{self, KeyImagesInput},
        page::{self, Changes, PageInput, Visit},
        parts,
        report::Report,
        seg::{self, Probability, SegInput, SegKind},
        typeface::installed,
    },
    rows::{LesionRow, Role, VisitChange},
    volume::{Encoded, Volume},
};

use super::{Identity, SOFTWARE, key_of, none_left, refused, report, run_of};
use crate::{
    lanes::order::{EncodeOrder, Failure},
    worker::{
        Worker, encoded,
        run::{chosen_volume, load_labels, load_probability},
    },
};

/// The images of a run. Those of the last one are kept, since a revision has several objects.
pub(in crate::worker) struct Scene {
    run_key: Digest,
    /// Events that brought the instances.
    members: Vec<u64>,
    /// TransferSyntaxUID and data set of the first instance.
    source: (String, Vec<u8>),
    pub(super) volume: Volume,
    /// As the run gave them.
    labels: Array3<u16>,
}

impl Scene {
    pub(super) fn source(&self) -> Encoded<'_> {
        Encoded { transfer_syntax: &self.source.0, data_set: &self.source.1 }
    }

    /// The lesions that no reader rejected, and the label map of these alone.
    pub(super) fn kept(&self, order: &EncodeOrder) -> Result<(Vec<LesionRow>, Array3<u16>), Failure> {
        let (_, outcome) = run_of(order)?;
        Ok(without_rejected(&order.row.verdicts, &outcome.lesions, self.labels.clone()))
    }
}

impl Worker {
    /// The images of the order's run; give it back by [`Worker::keep`].
    pub(super) fn scene(&mut self, order: &EncodeOrder) -> Result<Scene, Failure> {
        let (run, outcome) = run_of(order)?;
        let same = |scene: &Scene| scene.run_key == run.run_key && scene.members == run.members;
        if let Some(scene) = self.scene.take().filter(same) {
            return Ok(scene);
        }
        let mut data_sets = self.data_sets(&order.instances)?;
        let volume = chosen_volume(&run.stack, &order.instances, &data_sets)?;
        let labels = load_labels(&self.results, outcome)?;
        let syntax = order.instances.first().ok_or_else(none_left)?.transfer_syntax.clone();
        let source = (syntax, data_sets.swap_remove(0));
        Ok(Scene { run_key: run.run_key, members: run.members.clone(), source, volume, labels })
    }

    pub(super) fn keep(&mut self, scene: Scene) {
        self.scene = Some(scene);
    }

    pub(super) fn segmentation(&mut self, order: &EncodeOrder) -> Result<Vec<u8>, Failure> {
        let (run, outcome) = run_of(order)?;
        let scene = self.scene(order)?;
        let probability = match order.role {
            Role::ProbabilityMap => Some(load_probability(&self.results, outcome)?),
            _ => None,
        };
        let data_sets = self.data_sets(&order.instances)?;
        let (kept, without) = scene.kept(order)?;
        let ([name, version], findings) = (&order.model, order.row.verdicts.as_slice());
        let identity = Identity::of(order);
        let Volume { grid, frames, frame_of_reference_uid, .. } = &scene.volume;
        let written = seg::encode(&SegInput {
            header: identity.header(order, scene.source(), &self.site),
            kind: kind(order.role, probability.as_ref()),
            grid,
            frames,
            frame_of_reference_uid,
            labels: without.view(),
            lesions: &kept,
            findings,
            algorithm: Algorithm { name, version, digest: run.model },
        })
        .map_err(refused)?;
        for note in written.parts.iter().flat_map(|part| &part.notes) {
            tracing::info!(object = key_of(order, order.role).short(), note, "left out of the segmentation");
        }
        let sources = encoded(&order.instances, &data_sets);
        let by_uid = |uid: &str| {
            let at = order.instances.iter().position(|instance| instance.sop_instance_uid == uid)?;
            sources.get(at).copied()
        };
        let (labels, lesions) = (scene.labels.view(), outcome.lesions.as_slice());
        let kind = kind(order.role, probability.as_ref());
        check(&written.parts, &Expected { kind, source: &by_uid, frames, labels, lesions, findings })
            .map_err(|error| Failure::input(error, "the object is not sent; report this with the series' headers"))?;
        self.keep(scene);
        Ok(parts::join(written.parts.into_iter().map(|part| part.bytes).collect()))
    }

    pub(super) fn key_images(&mut self, order: &EncodeOrder) -> Result<Vec<u8>, Failure> {
        let (scene, report) = (self.scene(order)?, report(order)?);
        let (_, labels) = scene.kept(order)?;
        let identity = Identity::of(order);
        let object = key_images::encode(&KeyImagesInput {
            header: identity.header(order, scene.source(), &self.site),
            report: &report,
            volume: &scene.volume,
            labels: labels.view(),
        })
        .map_err(refused)?;
        self.keep(scene);
        Ok(object.bytes)
    }

    pub(super) fn page(&mut self, order: &EncodeOrder) -> Result<Vec<u8>, Failure> {
        let report = report(order)?;
        let earlier = earlier(order);
        let supersedes = order.earlier(Role::Report).last().map(|before| (before.revision, before.at));
        let fonts = self.fonts.get_or_insert_with(|| installed().into_iter().collect()).clone();
        if order.row.run.is_none() {
            let (instance, data_set) = self.source(order)?;
            let source = Encoded { transfer_syntax: &instance.transfer_syntax, data_set: &data_set };
            let input = PageInput {
                report: &report,
                supersedes,
                source,
                images: None,
                earlier: &earlier,
                software_version: SOFTWARE,
                fonts: &fonts,
            };
            return page::render(&input).map_err(refused);
        }
        let scene = self.scene(order)?;
        let (_, labels) = scene.kept(order)?;
        let page = page::render(&PageInput {
            report: &report,
            supersedes,
            source: scene.source(),
            images: Some((&scene.volume, labels.view())),
            earlier: &earlier,
            software_version: SOFTWARE,
            fonts: &fonts,
        })
        .map_err(refused)?;
        self.keep(scene);
        Ok(page)
    }

    pub(super) fn encapsulated_report(&mut self, order: &EncodeOrder) -> Result<Vec<u8>, Failure> {
        let pdf = self.page(order)?;
        let (instance, data_set) = self.source(order)?;
        let source = Encoded { transfer_syntax: &instance.transfer_syntax, data_set: &data_set };
        let scene = order.row.run.as_ref().map(|_| self.scene(order)).transpose()?;
        let frames = scene.as_ref().map_or(&[][..], |scene| &scene.volume.frames);
        let identity = Identity::of(order);
        let header = identity.header(order, source, &self.site);
        let object = encapsulated::encode(&EncapsulatedInput { header, pdf: &pdf, frames }).map_err(refused)?;
        self.scene = scene;
        Ok(object.bytes)
    }

    pub(super) fn derivatives(&mut self, order: &EncodeOrder) -> Result<Vec<u8>, Failure> {
        let report = report(order)?;
        let files = match &order.outcome {
            None => files(&report, None)?,
            Some(outcome) => {
                let scene = self.scene(order)?;
                let (_, labels) = scene.kept(order)?;
                // Outcomes of before probabilities were kept have none.
                let probabilities =
                    outcome.probability.is_some().then(|| load_probability(&self.results, outcome)).transpose()?;
                let probabilities = probabilities.as_ref().map(|map| map.view());
                let maps = Maps { grid: &scene.volume.grid, labels: labels.view(), probabilities };
                let files = files(&report, Some(maps))?;
                self.keep(scene);
                files
            }
        };
        derivatives::archive(&files).map_err(refused)
    }
}

/// The kind of segmentation that a role is.
fn kind(role: Role, probability: Option<&Array3<u8>>) -> SegKind<'_> {
    match (role, probability) {
        (_, Some(map)) => SegKind::Probability(Probability::Steps(map.view())),
        (Role::WholeSegmentation, _) => SegKind::AllAsOne,
        (Role::LabelmapSegmentation, _) => SegKind::LabelMap,
        _ => SegKind::Lesions,
    }
}

/// The files of the derivatives.
fn files<'a>(report: &'a Report, maps: Option<Maps<'a>>) -> Result<Vec<derivatives::File>, Failure> {
    derivatives::files(&DerivativesInput { report, maps, software_version: SOFTWARE }).map_err(refused)
}

/// The patient's earlier visits as the page tells of them.
fn earlier(order: &EncodeOrder) -> Vec<Visit> {
    let Some((this, before)) = order.row.visits.split_last() else { return Vec::new() };
    let last = before.len().saturating_sub(1);
    let visit = |(at, row): (usize, &sulcus_operators::rows::VisitRow)| Visit {
        study_date: row.study_date.clone(),
        lesions: row.lesions,
        volume_mm3: row.volume_nl as f64 / 1000.0,
        changes: this.change.filter(|_| at == last).map(changes).unwrap_or_default(),
    };
    before.iter().enumerate().map(visit).collect()
}

fn changes(change: VisitChange) -> Changes {
    let VisitChange { new, persisting, enlarging, shrinking, resolved } = change;
    Changes {
        new: Some(new),
        persisting: Some(persisting),
        enlarging: Some(enlarging),
        shrinking: Some(shrinking),
        resolved: Some(resolved),
    }
}
