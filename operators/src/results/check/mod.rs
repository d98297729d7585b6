//! Reads written segmentations back and checks that they say what was found, where it was found.
//!
//! This is a second road to the same voxels: it follows the files' own references to the source instances, samples
//! their raw pixels under each mask, and compares with the measured lesions. It shares the pixel decoder with
//! conversion and nothing with the builder: no grid, no affine, no frame list of the writer.

#[cfg(test)]
mod kind_tests;
mod lesions;
mod mismatch;
mod source;
#[cfg(test)]
mod tests;
mod written;

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use ndarray::{ArrayView2, ArrayView3, Axis};

pub use self::mismatch::Mismatch;
use self::{lesions::Lesions, source::Source, written::Written};
use super::seg::{Probability, SegKind, step};
use crate::{
    rows::{Finding, LesionRow},
    volume::{Encoded, FrameRef},
};

/// What the written files must agree with.
#[derive(Clone, Copy)]
pub struct Expected<'a> {
    /// What was to be written; the probability map where it was that.
    pub kind: SegKind<'a>,
    /// Fetches a source instance by its SOPInstanceUID.
    pub source: &'a dyn Fn(&str) -> Option<Encoded<'a>>,
    /// The source of each slice of the label map, as conversion found it.
    pub frames: &'a [FrameRef],
    /// Lesion labels, axes (slice, row, column).
    pub labels: ArrayView3<'a, u16>,
    /// The lesions, in the order of the segments.
    pub lesions: &'a [LesionRow],
    /// What readers said of them: a lesion that one rejected must not be in the files.
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

/// Checks the Part-10 files of a written segmentation, all parts in their order, against their sources and the measured
/// lesions. Of a probability map, what lies under each lesion of the label map is compared with the lesion's row.
///
/// # Errors
/// [`Mismatch`], the first that is found.
pub fn check(parts: &[impl AsRef<[u8]>], expected: &Expected<'_>) -> Result<Checked, Mismatch> {
    let mut lesions = Lesions::new(expected);
    let mut checked = Checked { frames: 0, voxels: 0, position_error_mm: 0.0, mean_error_milli: 0.0 };
    let mut instances = BTreeSet::new();
    let mut series = None;
    for file in parts {
        let seg = Written::read(file.as_ref(), expected.kind)?;
        if !instances.insert(seg.sop_instance_uid.clone()) {
            return Err(Mismatch::File("two parts are one instance".into()));
        }
        if *series.get_or_insert_with(|| seg.series_uid.clone()) != seg.series_uid {
            return Err(Mismatch::File("its parts are of two series".into()));
        }
        lesions.begin(&seg)?;
        part(&seg, expected, &mut lesions, &mut checked)?;
    }
    checked.mean_error_milli = lesions.compare()?;
    lesions.compare_voxels(expected.labels)?;
    Ok(checked)
}

/// Checks one file.
fn part(
    seg: &Written<'_>,
    expected: &Expected<'_>,
    lesions: &mut Lesions<'_>,
    checked: &mut Checked,
) -> Result<(), Mismatch> {
    let slice_of: BTreeMap<(&str, u32), usize> = (0..)
        .zip(expected.frames)
        .map(|(slice, f)| ((f.sop_instance_uid.as_str(), f.frame.unwrap_or(1)), slice))
        .collect();
    // STEP 1: each frame lies where its source does.
    let mut sources: BTreeMap<&str, Source<'_>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (number, frame) in (1..).zip(&seg.frames) {
        let uid = frame.source_uid.as_str();
        let source = match sources.entry(uid) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Source::read(uid, expected.source)?),
        };
        let apart = seg.compare_plane(number, frame, source)?;
        checked.position_error_mm = checked.position_error_mm.max(apart);
        if !seen.insert((frame.segment, uid, frame.source_frame)) {
            return Err(Mismatch::File(format!("frame {number} repeats a segment on one source frame")));
        }
    }
    // One segment of all frames has as many as the volume has slices; none is there twice.
    let every_slice = !matches!(expected.kind, SegKind::Lesions) || lesions.is_empty();
    if every_slice && seg.frames.len() != expected.labels.dim().0 {
        let (found, slices) = (seg.frames.len(), expected.labels.dim().0);
        return Err(Mismatch::File(format!("it has {found} frames for {slices} slices")));
    }
    // STEP 2: each frame says what the maps say; by source, so that a source's pixels are decoded once.
    let mut order: Vec<_> = (1..).zip(&seg.frames).collect();
    order.sort_by_key(|(number, frame)| (frame.source_uid.as_str(), frame.source_frame, *number));
    let mut decoded: Option<(&str, u32, Vec<f64>)> = None;
    for (number, frame) in order {
        let (uid, source_frame) = (frame.source_uid.as_str(), frame.source_frame);
        let plane = slice_of.get(&(uid, source_frame)).filter(|slice| **slice < expected.labels.dim().0);
        let Some(&slice) = plane else {
            return Err(Mismatch::Plane { frame: number, what: "that its source is no slice of the volume" });
        };
        let labels = expected.labels.index_axis(Axis(0), slice);
        let stored = seg.stored(number)?;
        if labels.len() != stored.len() {
            return Err(Mismatch::Plane { frame: number, what: "matrix" });
        }
        let voxels = match expected.kind {
            SegKind::Probability(Probability::Unit(map)) => differing(map.index_axis(Axis(0), slice), &stored, step),
            SegKind::Probability(Probability::Steps(map)) => differing(map.index_axis(Axis(0), slice), &stored, Some),
            _ => labels.iter().zip(&stored).filter(|(l, s)| lesions.value(**l, frame.segment) != **s).count(),
        };
        if voxels > 0 {
            return Err(Mismatch::Mask { frame: number, voxels });
        }
        checked.voxels += stored.iter().filter(|stored| **stored != 0).count() as u64;
        let of_a_lesion = |at: &(&u16, &u16)| lesions.owner(*at.0, *at.1, frame.segment).is_some();
        if labels.iter().zip(&stored).any(|at| of_a_lesion(&at)) {
            let held = decoded.take().filter(|(of, number, _)| (*of, *number) == (uid, source_frame));
            let intensities = match (held, sources.get(uid)) {
                (Some((.., intensities)), _) => intensities,
                (None, Some(source)) => source.intensities(uid, source_frame)?,
                (None, None) => return Err(Mismatch::File("a source got lost".into())),
            };
            for ((&label, &stored), intensity) in labels.iter().zip(&stored).zip(&intensities) {
                lesions.add(label, stored, frame.segment, *intensity);
            }
            decoded = Some((uid, source_frame, intensities));
        }
    }
    checked.frames += seg.frames.len();
    Ok(())
}

/// In how many voxels a plane of a probability map is not what is stored.
fn differing<T: Copy>(map: ArrayView2<'_, T>, stored: &[u16], step: impl Fn(T) -> Option<u8>) -> usize {
    let differ = |(p, stored): &(&T, &u16)| step(**p).map(u16::from) != Some(**stored);
    map.iter().zip(stored).filter(differ).count() + map.len().abs_diff(stored.len())
}
