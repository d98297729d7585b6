//! Reads a written segmentation back and checks that it says what was found, where it was found.
//!
//! This is a second road to the same voxels: it follows the file's own references to the source instances, samples
//! their raw pixels under each mask, and compares with the measured lesions. It shares the pixel decoder with
//! conversion and nothing with the builder: no grid, no affine, no frame list of the writer.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

mod source;
#[cfg(test)]
mod tests;
mod written;

use ndarray::ArrayView3;
use thiserror::Error;

use self::{source::Source, written::Written};
use crate::{
    rows::{Finding, LesionRow, LesionVerdict},
    volume::{Encoded, FrameRef},
};

/// What the written file must agree with.
#[derive(Clone, Copy)]
pub struct Expected<'a> {
    /// Fetches a source instance by its SOPInstanceUID.
    pub source: &'a dyn Fn(&str) -> Option<Encoded<'a>>,
    /// The source of each slice of the label map, as conversion found it.
    pub frames: &'a [FrameRef],
    /// Lesion labels, axes (slice, row, column).
    pub labels: ArrayView3<'a, u16>,
    /// The lesions, in the order of the segments.
    pub lesions: &'a [LesionRow],
    /// What readers said of them: a lesion that one rejected must not be in the file.
    pub findings: &'a [Finding],
}

/// What was checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// Frames read.
    pub frames: usize,
    /// Voxels that are set.
    pub voxels: u64,
    /// The largest distance of a frame's position from its source's, mm.
    pub position_error_mm: f64,
    /// The largest difference of a lesion's mean intensity, in thousandths of the volume's unit.
    pub mean_error_milli: f64,
}

/// Where the file and what it was made from disagree. Such a file must not leave.
#[derive(Debug, Error, PartialEq)]
pub enum Mismatch {
    /// The file cannot be read, or lacks something.
    #[error("the written segmentation cannot be read back: {0}")]
    File(String),
    /// A source cannot be read.
    #[error("source instance {uid} cannot be read: {reason}; send the series again")]
    Source {
        /// SOPInstanceUID.
        uid: String,
        /// Why.
        reason: String,
    },
    /// Frame and source differ in matrix, spacing, orientation, study or frame of reference.
    #[error("frame {frame} differs from its source instance in {what}; nothing was sent, report this as a fault")]
    Plane {
        /// Frame number from 1.
        frame: usize,
        /// In what.
        what: &'static str,
    },
    /// A frame lies elsewhere than its source.
    #[error(
        "frame {frame} lies {distance_mm:.3} mm from its source instance; nothing was sent, report this as a fault"
    )]
    Position {
        /// Frame number from 1.
        frame: usize,
        /// How far.
        distance_mm: f64,
    },
    /// A mask is not that of the label map.
    #[error("frame {frame} differs from the label map in {voxels} voxels; nothing was sent, report this as a fault")]
    Mask {
        /// Frame number from 1.
        frame: usize,
        /// In how many voxels.
        voxels: usize,
    },
    /// A segment has other voxels than its lesion.
    #[error(
        "lesion {label} has {found} voxels in the file, {expected} measured; nothing was sent, report this as a fault"
    )]
    Voxels {
        /// The lesion.
        label: u32,
        /// In the file.
        found: u64,
        /// Measured.
        expected: u64,
    },
    /// A segment lies over other intensities than its lesion.
    #[error(
        "lesion {label} lies over a mean of {found_milli} (thousandths) in the source, {expected_milli} measured; nothing was sent, report this as a fault"
    )]
    Mean {
        /// The lesion.
        label: u32,
        /// In the source, under the file's mask.
        found_milli: i64,
        /// Measured.
        expected_milli: i64,
    },
}

/// Checks a written Part-10 segmentation against its sources and the measured lesions.
pub fn check(seg_part10: &[u8], expected: &Expected<'_>) -> Result<Checked, Mismatch> {
    let seg = Written::read(seg_part10)?;
    let rejected: BTreeSet<&str> = expected
        .findings
        .iter()
        .filter(|finding| finding.verdict == LesionVerdict::Rejected)
        .map(|finding| finding.tracking_uid.as_str())
        .collect();
    let (out, lesions): (Vec<&LesionRow>, Vec<&LesionRow>) =
        expected.lesions.iter().partition(|lesion| rejected.contains(lesion.tracking_uid.as_str()));
    let segments = lesions.len().max(1);
    if seg.tracking.len() != segments {
        return Err(Mismatch::File(format!("it has {} segments for {segments}", seg.tracking.len())));
    }
    let uids = lesions.iter().map(|lesion| Some(lesion.tracking_uid.as_str()));
    if !seg.tracking.iter().map(Option::as_deref).eq(uids.chain(lesions.is_empty().then_some(None))) {
        return Err(Mismatch::File("its segments are not the lesions".into()));
    }
    let slice_of: BTreeMap<(&str, u32), usize> = (0..)
        .zip(expected.frames)
        .map(|(slice, f)| ((f.sop_instance_uid.as_str(), f.frame.unwrap_or(1)), slice))
        .collect();
    let mut sums = vec![(0u64, 0f64); segments];
    let mut sources: BTreeMap<&str, Source<'_>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut position_error_mm = 0f64;
    for (number, frame) in (1..).zip(&seg.frames) {
        let uid = frame.source_uid.as_str();
        let source = match sources.entry(uid) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Source::read(uid, expected.source)?),
        };
        position_error_mm = position_error_mm.max(seg.compare_plane(number, frame, source)?);
        let label = match lesions.get(frame.segment) {
            Some(lesion) => lesion.label,
            None if lesions.is_empty() && frame.segment == 0 => 0,
            None => return Err(Mismatch::File(format!("frame {number} names a segment that is not there"))),
        };
        if !seen.insert((frame.segment, uid, frame.source_frame)) {
            return Err(Mismatch::File(format!("frame {number} repeats a segment on one source frame")));
        }
        let mask = seg.mask(number)?;
        let slice = slice_of.get(&(uid, frame.source_frame));
        let Some(plane) = slice.and_then(|&slice| {
            (slice < expected.labels.dim().0).then(|| expected.labels.index_axis(ndarray::Axis(0), slice))
        }) else {
            return Err(Mismatch::Plane { frame: number, what: "that its source is no slice of the volume" });
        };
        if plane.len() != mask.len() {
            return Err(Mismatch::Plane { frame: number, what: "matrix" });
        }
        let voxels = plane.iter().zip(&mask).filter(|(l, m)| (label != 0 && u32::from(**l) == label) != **m).count();
        if voxels > 0 {
            return Err(Mismatch::Mask { frame: number, voxels });
        }
        if mask.contains(&true) {
            let intensities = source.intensities(uid, frame.source_frame)?;
            if let Some((count, sum)) = sums.get_mut(frame.segment) {
                for (_, intensity) in mask.iter().zip(intensities).filter(|(on, _)| **on) {
                    *count += 1;
                    *sum += intensity;
                }
            }
        }
    }
    let mean_error_milli = compare_lesions(&lesions, &sums)?;
    let voxels = sums.iter().map(|(count, _)| count).sum();
    let out: BTreeSet<u32> = out.into_iter().map(|lesion| lesion.label).collect();
    let labelled = expected.labels.iter().filter(|label| **label != 0 && !out.contains(&u32::from(**label)));
    let labelled = labelled.count() as u64;
    if voxels != labelled {
        return Err(Mismatch::File(format!("it has {voxels} voxels of the {labelled} in the label map")));
    }
    Ok(Checked { frames: seg.frames.len(), voxels, position_error_mm, mean_error_milli })
}

/// The largest difference of a mean, in thousandths.
fn compare_lesions(lesions: &[&LesionRow], sums: &[(u64, f64)]) -> Result<f64, Mismatch> {
    let mut largest = 0f64;
    for (lesion, &(found, sum)) in lesions.iter().zip(sums) {
        if found != lesion.voxels || found == 0 {
            return Err(Mismatch::Voxels { label: lesion.label, found, expected: lesion.voxels });
        }
        let mean = 1000.0 * sum / found as f64;
        let expected = lesion.mean_intensity_milli as f64;
        // One thousandth of the mean, or one step of the row's own rounding.
        let error = (mean - expected).abs();
        if error.is_nan() || error > (expected.abs() / 1000.0).max(1.0) {
            let (found_milli, expected_milli) = (mean.round() as i64, lesion.mean_intensity_milli);
            return Err(Mismatch::Mean { label: lesion.label, found_milli, expected_milli });
        }
        largest = largest.max(error);
    }
    Ok(largest)
}
