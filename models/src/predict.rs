//! From a volume to lesions: orientation, nnU-Net's preprocessing, tiles, export, components, measurements.
//!
//! Owns the order of steps; each step's arithmetic is in `sulcus_operators::nnunet` and `lesions`.

use std::sync::Arc;

use ndarray::{Array3, Array4, Axis, s};
use sulcus_operators::digest::Digest;
use sulcus_operators::lesions::components::{self, Connectivity, LabelError};
use sulcus_operators::lesions::measure::{self, MeasureError};
use sulcus_operators::nnunet::crop::{CropBox, crop_to_nonzero};
use sulcus_operators::nnunet::export::{
    Export, ExportError, Labelling, Labels, labels_from_logits, probabilities_from_logits,
};
use sulcus_operators::nnunet::normalise::normalise;
use sulcus_operators::nnunet::resample::{new_shape, resample, separate_axis};
use sulcus_operators::nnunet::tiles::{self, Precision, TileError};
use sulcus_operators::rows::{DomainDistance, LesionRow};
use sulcus_operators::volume::Volume;
use thiserror::Error;

use crate::package::Package;
use crate::reorient::Reorientation;
use crate::session::{Session, SessionError};
use crate::sliding::{self, Summed, Tiles};

/// Most voxels that an image may have at the network's spacing (a cube of 645).
pub const MAX_VOXELS: usize = 1 << 28;

/// Why a volume gave no labels.
#[derive(Debug, Error)]
pub enum PredictError {
    /// The package reads other channels.
    #[error("model {model} reads {channels:?} where the image has {given} channels; give one image a channel")]
    Channels {
        /// Name of the package.
        model: String,
        /// Its channels.
        channels: Vec<String>,
        /// Channels of the image.
        given: usize,
    },
    /// A channel's volume has other voxels than the first one's.
    #[error("channel {channel} does not lie on the grid of the first: {difference}; resample it onto that grid")]
    Grid {
        /// Name of the channel.
        channel: String,
        /// What differs, in words.
        difference: String,
    },
    /// The volume contradicts itself.
    #[error("the volume cannot be used: {0}; convert it again")]
    Volume(String),
    /// Too large at the network's spacing.
    #[error(
        "the volume would have {shape:?} voxels (z, y, x) at the spacing of the model, more than {MAX_VOXELS}; its \
         spacing of {spacing:?} mm is probably wrong"
    )]
    TooLarge {
        /// Shape at the network's spacing.
        shape: [usize; 3],
        /// The volume's spacing, mm.
        spacing: [f64; 3],
    },
    /// The network failed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Tiles and image do not fit.
    #[error(transparent)]
    Tile(#[from] TileError),
    /// Logits could not become labels.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The mask falls apart.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// Lesions could not be measured.
    #[error(transparent)]
    Measure(#[from] MeasureError),
}

/// How a network is run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Step between tiles, as a share of the patch; 0.5 in nnU-Net.
    pub step: f64,
    /// Whether the package's mirroring axes are used (test-time augmentation).
    pub mirror: bool,
    /// Precision of sums and kept logits.
    pub precision: Precision,
}

impl Default for Options {
    fn default() -> Self {
        Options { step: 0.5, mirror: true, precision: Precision::Single }
    }
}

/// The lesions of a volume.
#[derive(Clone, Debug)]
pub struct Found {
    /// Lesion numbers from 1 (26-connected components in the order of their first voxel); axes (slice, row, column).
    pub labels: Array3<u16>,
    /// One row a lesion, by label.
    pub lesions: Vec<LesionRow>,
    /// Probability that a voxel is part of a lesion.
    pub probability: Array3<f32>,
    /// How far the volume is from those that the network learned from; none where the package does not hold them.
    pub domain: Option<DomainDistance>,
}

/// Predicts an image and finds the lesions in it. `volumes` are its channels, in the model's order and on one grid;
/// lesions are measured on the first. `run_key` becomes part of their tracking UIDs; `progress` is told how many tiles are
/// done, of how many.
pub fn find_lesions(
    session: &mut Session,
    volumes: &[&Volume],
    run_key: &Digest,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Found, PredictError> {
    let lesion = session.package().manifest().lesion_label;
    let (Labels { labels, probability }, features) = predict_turned(session, volumes, progress)?;
    let embedding = session.package().embedding();
    let domain = embedding.zip(features).and_then(|(embedding, features)| embedding.distance(&features));
    let mask = labels.mapv(|label| label == lesion);
    let (labels, _) = components::label(mask.view(), Connectivity::TwentySix)?;
    let volume = volumes.first().ok_or_else(no_volume)?;
    let lesions = measure::lesions(labels.view(), volume, probability.view(), run_key)?;
    Ok(Found { labels, lesions, probability, domain })
}

/// Labels of a volume, and the probability of a lesion, on the volume's own grid; axes (slice, row, column). The volume
/// is turned to the package's orientation first.
pub fn predict(
    session: &mut Session,
    volume: &Volume,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Labels, PredictError> {
    Ok(predict_turned(session, &[volume], progress)?.0)
}

fn no_volume() -> PredictError {
    PredictError::Volume("it has no channel".to_owned())
}

/// The same of several channels on one grid, with the image's features.
fn predict_turned(
    session: &mut Session,
    volumes: &[&Volume],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(Labels, Option<Vec<f64>>), PredictError> {
    let first = volumes.first().ok_or_else(no_volume)?;
    for (at, volume) in volumes.iter().enumerate() {
        check(volume).map_err(PredictError::Volume)?;
        if let Some(difference) = first.grid.difference(&volume.grid) {
            let channel = session.package().manifest().channels.get(at);
            let channel = channel.cloned().unwrap_or_else(|| at.to_string());
            return Err(PredictError::Grid { channel, difference });
        }
    }
    let no_space = || PredictError::Volume("its affine does not span space".to_owned());
    let way = Reorientation::between(&first.grid, session.package().orientation()).ok_or_else(no_space)?;
    let [x, y, z] = first.grid.spacing();
    let mut image = way.forward(first.voxels.view()).insert_axis(Axis(0));
    for volume in volumes.iter().skip(1) {
        let channel = way.forward(volume.voxels.view()).insert_axis(Axis(0));
        image.append(Axis(0), channel.view()).map_err(|error| PredictError::Volume(error.to_string()))?;
    }
    let predicted = predict_image(session, image, way.by_axis([z, y, x]), &Options::default(), progress)?;
    let Labels { labels, probability } = predicted.labels()?;
    let labels = Labels { labels: way.backward(labels.view()), probability: way.backward(probability.view()) };
    Ok((labels, predicted.features))
}

/// Logits of an image, and the way back to its grid.
#[derive(Debug)]
pub struct Predicted {
    package: Arc<Package>,
    /// Outputs, z, y, x, at the network's spacing and in its order of axes.
    logits: Array4<f32>,
    separate: Option<usize>,
    precision: Precision,
    /// Where the crop lies in the image; axes in the network's order.
    pub bounds: CropBox,
    /// Shape of the image, axes in the network's order.
    pub full: [usize; 3],
    /// Mean of the first fold's bottleneck features over the tiles that hold more than zeros; none where the network
    /// tells of none.
    pub features: Option<Vec<f64>>,
}

/// Runs a package's networks over an image (channels, z, y, x) of the given spacing (z, y, x; mm) as nnU-Net does
/// (`nnUNetPredictor`).
pub fn predict_image(
    session: &mut Session,
    image: Array4<f32>,
    spacing: [f64; 3],
    options: &Options,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Predicted, PredictError> {
    let package = session.package().clone();
    let (manifest, plans) = (package.manifest(), package.plans());
    let Prepared { image, spacing, bounds, full } = prepare(&package, image, spacing)?;
    let mirror_axes = if options.mirror { plans.mirror_axes(&manifest.mirror_axes) } else { Vec::new() };
    let tiles = Tiles {
        patch: plans.patch_size,
        step: options.step,
        mirrorings: tiles::mirrorings(&mirror_axes),
        outputs: manifest.outputs(),
        precision: options.precision,
    };
    let Summed { logits, features } = sliding::run(session, image, &tiles, progress)?;
    let separate = separate_axis(plans.target(spacing), spacing, plans.force_separate_z_logits);
    Ok(Predicted { package, logits, separate, precision: options.precision, bounds, full, features })
}

impl Predicted {
    fn export(&self) -> Export<'_> {
        let manifest = self.package.manifest();
        let painted = &manifest.regions_class_order;
        let labelling = if painted.is_empty() { Labelling::Classes } else { Labelling::Regions(painted) };
        let precision = if self.package.plans().single_logits { Precision::Single } else { self.precision };
        Export { labelling, shown: manifest.lesion_output(), precision }
    }

    /// Labels, and the probability of a lesion, on the image's grid (z, y, x).
    pub fn labels(&self) -> Result<Labels, PredictError> {
        let labels = labels_from_logits(self.logits.view(), self.bounds.size, self.separate, self.export())?;
        Ok(labels.uncrop(self.bounds, self.full)?.transpose(self.package.plans().transpose_backward))
    }

    /// Probabilities of all outputs (outputs, z, y, x) on the image's grid, as nnU-Net saves them: outside the crop,
    /// background is certain (`revert_cropping_on_probabilities`).
    pub fn probabilities(&self) -> Array4<f32> {
        let crop = probabilities_from_logits(self.logits.view(), self.bounds.size, self.separate, self.export());
        let [z, y, x] = [0, 1, 2].map(|axis| self.bounds.first[axis]..self.bounds.first[axis] + self.bounds.size[axis]);
        let mut all = Array4::zeros((crop.len_of(Axis(0)), self.full[0], self.full[1], self.full[2]));
        if self.package.manifest().regions_class_order.is_empty() {
            all.index_axis_mut(Axis(0), 0).fill(1.0);
        }
        all.slice_mut(s![.., z, y, x]).assign(&crop);
        let [z, y, x] = self.package.plans().transpose_backward.map(|axis| axis + 1);
        all.permuted_axes([0, z, y, x]).as_standard_layout().into_owned()
    }
}

fn check(volume: &Volume) -> Result<(), String> {
    let [columns, rows, slices] = volume.grid.size;
    if volume.voxels.dim() != (slices, rows, columns) || volume.voxels.is_empty() {
        return Err(format!("its grid is {:?} and its voxels are {:?}", volume.grid.size, volume.voxels.dim()));
    }
    match volume.voxels.iter().filter(|value| !value.is_finite()).count() {
        0 => Ok(()),
        count => Err(format!("{count} voxels are infinite or not a number")),
    }
}

/// An image as the network sees it: cropped, normalised, resampled (channels, z, y, x); axes in the network's order.
#[derive(Debug)]
pub struct Prepared {
    /// The voxels.
    pub image: Array4<f32>,
    /// Spacing before resampling, mm.
    pub spacing: [f64; 3],
    /// Where the crop lies in the image.
    pub bounds: CropBox,
    /// Shape of the image.
    pub full: [usize; 3],
}

/// Crops, normalises and resamples an image (channels, z, y, x) of the given spacing (z, y, x; mm), as
/// `DefaultPreprocessor.run_case_npy`.
pub fn prepare(package: &Package, image: Array4<f32>, spacing: [f64; 3]) -> Result<Prepared, PredictError> {
    let (manifest, plans) = (package.manifest(), package.plans());
    if image.len_of(Axis(0)) != manifest.channels.len() {
        return Err(PredictError::Channels {
            model: manifest.name.clone(),
            channels: manifest.channels.clone(),
            given: image.len_of(Axis(0)),
        });
    }
    if image.is_empty() || !spacing.iter().all(|mm| mm.is_finite() && *mm > 0.0) {
        return Err(PredictError::Volume(format!("its shape is {:?} and its spacing {spacing:?} mm", image.dim())));
    }
    let strange = image.iter().filter(|value| !value.is_finite()).count();
    if strange > 0 {
        return Err(PredictError::Volume(format!("{strange} voxels are infinite or not a number")));
    }
    let forward = plans.transpose_forward;
    let spacing = forward.map(|axis| spacing[axis]);
    let image = image.permuted_axes([0, forward[0] + 1, forward[1] + 1, forward[2] + 1]);
    let mut cropped = crop_to_nonzero(image.view());
    drop(image);
    let target = plans.target(spacing);
    let shape = new_shape(cropped.bounds.size, spacing, target);
    let padded = [0, 1, 2].map(|axis| shape[axis].max(plans.patch_size[axis]));
    let voxels = padded.iter().try_fold(1usize, |product, &length| product.checked_mul(length));
    if voxels.is_none_or(|voxels| voxels > MAX_VOXELS) {
        return Err(PredictError::TooLarge { shape, spacing });
    }
    let separate = separate_axis(spacing, target, plans.force_separate_z);
    let mut out = Array4::zeros((cropped.voxels.len_of(Axis(0)), shape[0], shape[1], shape[2]));
    for (channel, scheme) in plans.normalisation.iter().enumerate() {
        let mut voxels = cropped.voxels.index_axis_mut(Axis(0), channel);
        normalise(voxels.view_mut(), *scheme, cropped.inside.view());
        out.index_axis_mut(Axis(0), channel).assign(&resample(voxels.view(), shape, plans.order, separate));
    }
    Ok(Prepared { image: out, spacing, bounds: cropped.bounds, full: cropped.full })
}
