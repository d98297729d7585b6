//! From the instances of one series to volumes in f32 on the scanner's grid.
//!
//! Slices are grouped into volumes by what tells them apart (`FrameFacts::stack`), ordered along the normal, rescaled
//! by the slope and intercept of each frame, and placed by an LPS affine. What does not make one regular grid is an
//! error with a name, never a guess. Which volume a model should see is for `series` to say.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use dicom_core::Tag;
use ndarray::Array3;
use rayon::prelude::*;

use crate::geometry::{along_normal, grid, line_up};
use crate::header::{Frame, FramesError, frames};
use crate::pixels::{PixelFormat, PixelsError, frame_bytes};
use crate::prescan::{DEFLATED_LE, Limits, Prescan, Refusal, prescan};
use crate::rows::FrameFacts;
use crate::volume::{Encoded, FrameRef, Volume};

/// Most voxels of one volume (1 GiB of f32; a 7T volume at 0.5 mm has 47 million).
pub const LARGEST_VOLUME: usize = 1 << 28;

/// Most bytes that the deflated instances of one series may inflate to together: the largest volume, in f32.
const MOST_INFLATED: u64 = 4 * LARGEST_VOLUME as u64;

/// Why a series gives no volume.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum ConvertError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Frames(#[from] FramesError),
    #[error("{uid}: {error}")]
    Pixels { uid: String, error: PixelsError },
    #[error("there is no image to convert; give the images of one series")]
    Empty,
    #[error("the series has no volume named '{0}'; the series changed since the volume was chosen")]
    NoSuchStack(String),
    #[error("the images are a Siemens mosaic, which is not anatomical; send the anatomical series")]
    Mosaic,
    #[error("the images have several frames of reference; give the images of one series")]
    MixedFrameOfReference,
    #[error("volume '{stack}': an image has no position, orientation or pixel spacing; send the original images")]
    NoGeometry { stack: String },
    #[error(
        "volume '{stack}': ImageOrientationPatient is not two unit vectors at right angles; send the original images"
    )]
    Skewed { stack: String },
    #[error("volume '{stack}': images differ in orientation, size, spacing or step; send one volume a series")]
    Mixed { stack: String },
    #[error("volume '{stack}': {count} positions hold more than one image; check for a repeated reconstruction")]
    Doubled { stack: String, count: u32 },
    #[error("volume '{stack}': {count} slices are missing; send the missing slices")]
    Missing { stack: String, count: u32 },
    #[error("volume '{stack}': the slices do not lie on one regular grid; send a volume with parallel, even slices")]
    Irregular { stack: String },
    #[error("the deflated images exceed {MOST_INFLATED} bytes together; send them in another transfer syntax")]
    InflatesTooFar,
    #[error("volume '{stack}' has more than {LARGEST_VOLUME} voxels, which is refused to protect memory")]
    TooLarge { stack: String },
}

/// One instance, looked at.
struct Source<'a> {
    scan: Prescan<'a>,
    format: PixelFormat,
    frames: Vec<Frame>,
    class_uid: String,
    uid: String,
}

/// One frame of one instance, by index.
#[derive(Clone, Copy)]
struct Slice<'s, 'a> {
    source: &'s Source<'a>,
    index: usize,
}

impl<'s> Slice<'s, '_> {
    fn frame(&self) -> &'s Frame {
        &self.source.frames[self.index]
    }
}

/// All volumes of a series, by stack.
///
/// # Errors
/// The first [`ConvertError`] met: every volume must be whole.
pub fn volumes(instances: &[Encoded<'_>]) -> Result<Vec<Volume>, ConvertError> {
    let sources = sources(instances)?;
    stacks(&sources).into_iter().map(|(stack, slices)| volume_of(stack, slices)).collect()
}

/// One volume of a series, by `FrameFacts::stack`; the others need not be whole.
///
/// # Errors
/// [`ConvertError`], with a hint.
pub fn volume(instances: &[Encoded<'_>], stack: &str) -> Result<Volume, ConvertError> {
    let sources = sources(instances)?;
    let slices = stacks(&sources).remove(stack).ok_or_else(|| ConvertError::NoSuchStack(stack.to_owned()))?;
    volume_of(stack, slices)
}

fn sources<'a>(instances: &[Encoded<'a>]) -> Result<Vec<Source<'a>>, ConvertError> {
    let inflatable = Mutex::new(MOST_INFLATED);
    let sources: Vec<Source<'a>> =
        instances.par_iter().map(|encoded| source(*encoded, &inflatable)).collect::<Result<_, _>>()?;
    let reference = |source: &Source<'_>| source.scan.text(Tag(0x0020, 0x0052));
    match sources.split_first() {
        None => Err(ConvertError::Empty),
        Some((first, rest)) => {
            let uid = reference(first);
            let same = rest.iter().all(|source| reference(source) == uid);
            if same { Ok(sources) } else { Err(ConvertError::MixedFrameOfReference) }
        }
    }
}

/// Looks at an instance, within the limits and within what the series may yet inflate to.
fn scan<'a>(encoded: Encoded<'a>, inflatable: &Mutex<u64>) -> Result<Prescan<'a>, ConvertError> {
    let limits = Limits::default();
    if encoded.transfer_syntax != DEFLATED_LE {
        return Ok(prescan(encoded, &limits)?);
    }
    // One at a time, so that each knows what is left.
    let mut left = inflatable.lock().unwrap_or_else(PoisonError::into_inner);
    let of_series = *left < limits.inflated_bytes;
    let scan = prescan(encoded, &Limits { inflated_bytes: limits.inflated_bytes.min(*left), ..limits });
    let scan = scan.map_err(|refusal| match refusal {
        Refusal::InflatesTooFar { .. } if of_series => ConvertError::InflatesTooFar,
        refusal => refusal.into(),
    })?;
    *left = left.saturating_sub(scan.bytes().len() as u64);
    Ok(scan)
}

fn source<'a>(encoded: Encoded<'a>, inflatable: &Mutex<u64>) -> Result<Source<'a>, ConvertError> {
    let scan = scan(encoded, inflatable)?;
    let uid = scan.text(Tag(0x0008, 0x0018));
    let frames = frames(&scan)?;
    if frames.is_empty() {
        return Err(ConvertError::Empty);
    }
    if frames.iter().any(|frame| frame.stack.split(['\\', '|']).any(|value| value.trim() == "MOSAIC")) {
        return Err(ConvertError::Mosaic);
    }
    let format = PixelFormat::of(&scan).map_err(|error| ConvertError::Pixels { uid: uid.clone(), error })?;
    let class_uid = scan.text(Tag(0x0008, 0x0016));
    Ok(Source { scan, format, frames, class_uid, uid })
}

fn stacks<'s, 'a>(sources: &'s [Source<'a>]) -> BTreeMap<&'s str, Vec<Slice<'s, 'a>>> {
    let mut stacks: BTreeMap<&str, Vec<Slice<'_, '_>>> = BTreeMap::new();
    for source in sources {
        for (index, frame) in source.frames.iter().enumerate() {
            stacks.entry(&frame.stack).or_default().push(Slice { source, index });
        }
    }
    stacks
}

fn volume_of(stack: &str, slices: Vec<Slice<'_, '_>>) -> Result<Volume, ConvertError> {
    let stack = stack.to_owned();
    let slices = in_order(&stack, slices)?;
    let frames: Vec<&Frame> = slices.iter().map(Slice::frame).collect();
    let Some(first) = slices.first().map(|slice| slice.source) else { return Err(ConvertError::Empty) };
    let (columns, rows) = (first.format.columns, first.format.rows);
    let Some(grid) = grid(&frames, columns, rows) else { return Err(ConvertError::Irregular { stack }) };
    let voxels = columns.saturating_mul(rows).saturating_mul(slices.len());
    if voxels > LARGEST_VOLUME {
        return Err(ConvertError::TooLarge { stack });
    }
    let mut intensities = vec![0f32; voxels];
    intensities.par_chunks_exact_mut(columns * rows).zip(&slices).try_for_each(|(plane, slice)| {
        fill(plane, slice).map_err(|error| ConvertError::Pixels { uid: slice.source.uid.clone(), error })
    })?;
    let voxels = Array3::from_shape_vec((slices.len(), rows, columns), intensities)
        .map_err(|_| ConvertError::TooLarge { stack: stack.clone() })?;
    Ok(Volume {
        grid,
        voxels,
        frame_of_reference_uid: first.scan.text(Tag(0x0020, 0x0052)),
        rescale: rescale(&frames).filter(|[_, intercept]| of_16_bits(&slices, *intercept)),
        intensity_scale: intensity_scale(&frames),
        notes: notes(&slices),
        frames: slices.iter().map(frame_ref).collect(),
        stack,
    })
}

/// Checks that the slices make one volume, by the same rules as `series`, and sorts them along the normal.
fn in_order<'s, 'a>(stack: &str, mut slices: Vec<Slice<'s, 'a>>) -> Result<Vec<Slice<'s, 'a>>, ConvertError> {
    let stack = || stack.to_owned();
    let rows: Vec<(FrameFacts, [u32; 2])> = slices
        .iter()
        .map(|slice| {
            let format = &slice.source.format;
            (slice.frame().facts(), [format.columns as u32, format.rows as u32])
        })
        .collect();
    let lined_up = line_up(&rows.iter().map(|(facts, matrix)| (facts, *matrix)).collect::<Vec<_>>());
    if slices.iter().any(|slice| along_normal(slice.frame()).is_none() || slice.frame().spacing.is_none()) {
        return Err(ConvertError::NoGeometry { stack: stack() });
    }
    if !lined_up.square {
        return Err(ConvertError::Skewed { stack: stack() });
    }
    if !lined_up.uniform {
        return Err(ConvertError::Mixed { stack: stack() });
    }
    if lined_up.doubled > 0 {
        return Err(ConvertError::Doubled { stack: stack(), count: lined_up.doubled });
    }
    if lined_up.missing > 0 {
        return Err(ConvertError::Missing { stack: stack(), count: lined_up.missing });
    }
    let place = |slice: &Slice<'_, '_>| along_normal(slice.frame()).unwrap_or_default();
    slices.sort_by(|a, b| place(a).total_cmp(&place(b)));
    Ok(slices)
}

/// Decodes and rescales one slice.
fn fill(plane: &mut [f32], slice: &Slice<'_, '_>) -> Result<(), PixelsError> {
    let Source { scan, format, .. } = slice.source;
    let Frame { slope, intercept, .. } = *slice.frame();
    // MONOCHROME1 is turned round, so that bright means much in every volume.
    let turn = if !format.monochrome1 {
        None
    } else if format.signed {
        Some(-1)
    } else {
        Some(((1u64 << format.bits_stored) - 1) as i32)
    };
    let bytes = frame_bytes(scan, format, slice.index as u32 + 1)?;
    let rescale = |sample: i32| (f64::from(sample) * slope + intercept) as f32;
    match (turn, format.padding.filter(|padding| *padding != 0)) {
        (None, None) => bytes.read(format, plane, rescale),
        (turn, padding) => bytes.read(format, plane, |sample| match turn {
            _ if padding == Some(sample) => 0.0,
            Some(top) => rescale(top.wrapping_sub(sample)),
            None => rescale(sample),
        }),
    }
    Ok(())
}

fn frame_ref(slice: &Slice<'_, '_>) -> FrameRef {
    FrameRef {
        sop_class_uid: slice.source.class_uid.clone(),
        sop_instance_uid: slice.source.uid.clone(),
        frame: (slice.source.scan.find(Tag(0x0028, 0x0008)).is_some()).then_some(slice.index as u32 + 1),
    }
}

fn rescale(frames: &[&Frame]) -> Option<[f64; 2]> {
    let (first, rest) = frames.split_first()?;
    let alike = rest.iter().all(|frame| (frame.slope, frame.intercept) == (first.slope, first.intercept));
    alike.then_some([first.slope, first.intercept])
}

/// Whether every voxel is made of a sample of 16 bits; one at PixelPaddingValue is 0, which the sample 0 has to give.
fn of_16_bits(slices: &[Slice<'_, '_>], intercept: f64) -> bool {
    slices.iter().map(|slice| &slice.source.format).all(|format| {
        format.bits_stored <= 16 && (intercept == 0.0 || format.padding.is_none_or(|padding| padding == 0))
    })
}

/// Which scale the voxels are in: always stored x slope + intercept; Philips has a second one, which is named.
fn intensity_scale(frames: &[&Frame]) -> String {
    let Some(first) = frames.first() else { return String::new() };
    let scale = match rescale(frames) {
        Some([1.0, 0.0]) => "stored values".to_owned(),
        Some([slope, intercept]) => format!("stored x {slope} + {intercept} (RescaleSlope, RescaleIntercept)"),
        None => "stored x slope + intercept of each slice (RescaleSlope, RescaleIntercept)".to_owned(),
    };
    match first.scale_slope {
        Some(scale_slope) => {
            let factor = first.slope * scale_slope;
            format!("{scale}: Philips display values; divide by {factor} (RS x SS) for floating point values")
        }
        None => scale,
    }
}

fn notes(slices: &[Slice<'_, '_>]) -> Vec<String> {
    let any = |test: fn(&Slice<'_, '_>) -> bool| slices.iter().any(test);
    let mut notes = Vec::new();
    if any(|slice| slice.frame().intercept != 0.0) {
        notes
            .push("a nonzero RescaleIntercept moves the background off zero, which defeats cropping to nonzero".into());
    }
    if any(|slice| slice.source.format.monochrome1) {
        notes.push("MONOCHROME1: intensities were turned round".into());
    }
    if any(|slice| slice.source.format.padding.is_some_and(|padding| padding != 0)) {
        notes.push("voxels at PixelPaddingValue were set to 0".into());
    }
    if slices.len() == 1 {
        notes.push("a single slice: its thickness was taken from the header".into());
    }
    notes
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
