//! From a volume to lesions: orientation, nnU-Net's preprocessing, tiles, export, components, measurements.
//!
//! Owns the order of steps; each step's arithmetic is in `sulcus_operators::nnunet` and `lesions`.

use ndarray::{Array3, Array4, ArrayView4, Axis, s};
use sulcus_operators::digest::Digest;
use sulcus_operators::lesions::components::{self, Connectivity, LabelError};
use sulcus_operators::lesions::measure::{self, MeasureError};
use sulcus_operators::nnunet::crop::{Cropped, crop_to_nonzero};
use sulcus_operators::nnunet::export::{ExportError, labels_from_logits};
use sulcus_operators::nnunet::normalise::normalise;
use sulcus_operators::nnunet::resample::{new_shape, resample, separate_axis};
use sulcus_operators::nnunet::tiles::{self, Accumulator, TileError};
use sulcus_operators::rows::LesionRow;
use sulcus_operators::volume::Volume;
use thiserror::Error;

use crate::plans::Plans;
use crate::reorient::Reorientation;
use crate::session::{Session, SessionError};

/// Share of the patch between tiles, as in nnU-Net.
const STEP: f64 = 0.5;

/// Most voxels that an image may have at the network's spacing (a cube of 645).
pub const MAX_VOXELS: usize = 1 << 28;

/// Why a volume gave no labels.
#[derive(Debug, Error)]
pub enum PredictError {
    /// The package reads several channels.
    #[error("model {model} reads {channels} channels where one volume is given; choose a model with one input")]
    Channels {
        /// Name of the package.
        model: String,
        /// Its channels.
        channels: usize,
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

/// What a network said of a volume, on the volume's own grid; axes (slice, row, column).
#[derive(Clone, Debug)]
pub struct Prediction {
    /// The package's labels; 0 is background.
    pub labels: Array3<u8>,
    /// Probability that a voxel is not background.
    pub probability: Array3<f32>,
}

/// The lesions of a volume.
#[derive(Clone, Debug)]
pub struct Found {
    /// Lesion numbers from 1 (26-connected components in the order of their first voxel); axes (slice, row, column).
    pub labels: Array3<u16>,
    /// One row a lesion, by label.
    pub lesions: Vec<LesionRow>,
    /// Probability that a voxel is not background.
    pub probability: Array3<f32>,
}

/// Predicts a volume and finds the lesions in it. `run_key` becomes part of their tracking UIDs; `progress` is told
/// how many tiles are done, of how many.
pub fn find_lesions(
    session: &mut Session,
    volume: &Volume,
    run_key: &Digest,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Found, PredictError> {
    let lesion = session.package().manifest().lesion_label;
    let Prediction { labels, probability } = predict(session, volume, progress)?;
    let mask = labels.mapv(|label| label == lesion);
    let (labels, _) = components::label(mask.view(), Connectivity::TwentySix)?;
    let lesions = measure::lesions(labels.view(), volume, probability.view(), run_key)?;
    Ok(Found { labels, lesions, probability })
}

/// Runs a network over a volume as nnU-Net does (`nnUNetPredictor`), with sums in f32 and one tile at a time.
pub fn predict(
    session: &mut Session,
    volume: &Volume,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Prediction, PredictError> {
    let package = session.package().clone();
    let (manifest, plans) = (package.manifest(), package.plans());
    if manifest.channels.len() != 1 {
        return Err(PredictError::Channels { model: manifest.name.clone(), channels: manifest.channels.len() });
    }
    let way = check(volume).and_then(|()| {
        let no_space = || "its affine does not span space".to_owned();
        Reorientation::between(&volume.grid, package.orientation()).ok_or_else(no_space)
    });
    let way = way.map_err(PredictError::Volume)?;
    let [x, y, z] = volume.grid.spacing();
    let turned = way.by_axis([z, y, x]);
    let spacing = plans.transpose_forward.map(|axis| turned[axis]);
    let image = way.forward(volume.voxels.view()).permuted_axes(plans.transpose_forward);

    let mut cropped = crop_to_nonzero(image.view().insert_axis(Axis(0)));
    drop(image);
    let prepared = prepare(&mut cropped, plans, spacing)?;
    let (bounds, full) = (cropped.bounds, cropped.full);
    drop(cropped);
    let logits = logits(session, prepared, &manifest.mirror_axes, manifest.labels.len(), progress)?;

    let separate = separate_axis(plans.spacing, spacing, plans.force_separate_z_logits);
    let labels = labels_from_logits(logits.view(), bounds.size, separate)?;
    drop(logits);
    let labels = labels.uncrop(bounds, full)?.transpose(plans.transpose_backward);
    Ok(Prediction { labels: way.backward(labels.labels.view()), probability: way.backward(labels.foreground.view()) })
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

/// Normalises and resamples the crop. The channel keeps its axis in front.
fn prepare(cropped: &mut Cropped, plans: &Plans, spacing: [f64; 3]) -> Result<Array4<f32>, PredictError> {
    let shape = new_shape(cropped.bounds.size, spacing, plans.spacing);
    let padded = [0, 1, 2].map(|axis| shape[axis].max(plans.patch_size[axis]));
    let voxels = padded.iter().try_fold(1usize, |product, &length| product.checked_mul(length));
    if voxels.is_none_or(|voxels| voxels > MAX_VOXELS) {
        return Err(PredictError::TooLarge { shape, spacing });
    }
    let separate = separate_axis(spacing, plans.spacing, plans.force_separate_z);
    let mut out = Array4::zeros((cropped.voxels.len_of(Axis(0)), shape[0], shape[1], shape[2]));
    for (channel, scheme) in plans.normalisation.iter().enumerate() {
        let mut voxels = cropped.voxels.index_axis_mut(Axis(0), channel);
        normalise(voxels.view_mut(), *scheme, cropped.inside.view());
        out.index_axis_mut(Axis(0), channel).assign(&resample(voxels.view(), shape, plans.order, separate));
    }
    Ok(out)
}

/// Logits (classes, z, y, x) of a prepared image: tiles under Gaussian weights, each the mean over its mirrorings.
fn logits(
    session: &mut Session,
    prepared: Array4<f32>,
    mirror_axes: &[usize],
    classes: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Array4<f32>, PredictError> {
    let patch = session.package().plans().patch_size;
    let dim = prepared.raw_dim();
    let (image, front) = tiles::pad_to_patch(prepared, patch);
    let padded = [image.dim().1, image.dim().2, image.dim().3];
    let starts = tiles::tile_starts(padded, patch, STEP);
    let mirrorings = tiles::mirrorings(mirror_axes);
    let weights = tiles::gaussian(patch);
    let mut sums = Accumulator::new(classes, padded);
    // Outside the head all tiles are alike, and one computation serves them.
    let mut empty: Option<Array4<f32>> = None;
    progress(0, starts.len());
    for (done, &start) in starts.iter().enumerate() {
        let [z, y, x] = [0, 1, 2].map(|axis| start[axis]..start[axis] + patch[axis]);
        let tile = image.slice(s![.., z, y, x]);
        if tile.iter().any(|&value| value != 0.0) {
            sums.add(mirrored_mean(session, tile, &mirrorings)?.view(), start, weights.view())?;
        } else {
            let logits = match empty.take() {
                Some(logits) => logits,
                None => mirrored_mean(session, tile, &mirrorings)?,
            };
            sums.add(logits.view(), start, weights.view())?;
            empty = Some(logits);
        }
        progress(done + 1, starts.len());
    }
    let [z, y, x] = [0, 1, 2].map(|axis| front[axis]..front[axis] + dim[axis + 1]);
    Ok(sums.finish().slice_move(s![.., z, y, x]))
}

fn mirrored_mean(
    session: &mut Session,
    tile: ArrayView4<'_, f32>,
    mirrorings: &[Vec<usize>],
) -> Result<Array4<f32>, SessionError> {
    let mut sum: Option<Array4<f32>> = None;
    for axes in mirrorings {
        let logits = session.run(tiles::mirrored(tile, axes))?;
        let back = tiles::mirrored(logits.view(), axes);
        sum = Some(match sum {
            None => back.to_owned(),
            Some(sum) => sum + back,
        });
    }
    let count = mirrorings.len() as f32;
    Ok(match sum {
        Some(sum) if count > 1.0 => sum / count,
        Some(sum) => sum,
        None => Array4::zeros(tile.raw_dim()),
    })
}
