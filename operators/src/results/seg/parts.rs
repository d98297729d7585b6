//! Which objects a segmentation is split into, and which frames each of them has.
//!
//! A segment number is 16 bits wide and the length of pixel data 32 (PS3.5 7.1.2), so many or large segments need
//! several objects. A segment is never cut: each part is a whole segmentation of some of the lesions.

use std::ops::Range;

use ndarray::{ArrayView2, ArrayView3};

use super::{SegError, SegInput, SegKind};
use crate::rows::LesionRow;

/// What one object may hold.
#[derive(Clone, Copy, Debug)]
pub(in crate::results) struct Limits {
    /// Segments, background not counted.
    pub(in crate::results) segments: usize,
    /// Bytes of pixel data.
    pub(in crate::results) pixel_bytes: u128,
}

impl Limits {
    /// Of DICOM: fewer than 65,535 segments, the longest even length that 32 bits tell apart from an undefined one.
    pub(in crate::results) const DICOM: Limits = Limits { segments: 65_534, pixel_bytes: 0xFFFF_FFFE };
}

/// Where a lesion is in the written objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The object, from 1.
    pub part: u32,
    /// SegmentNumber in that object.
    pub segment: u16,
}

/// One frame: a segment on a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// SegmentNumber, from 1; none where one frame shows all segments.
    pub(super) segment: Option<u16>,
    /// Slice of the volume, from 0.
    pub(super) slice: usize,
}

/// One object of the segmentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The lesions that it shows, by their places in the list.
    pub(super) lesions: Range<usize>,
    /// In the order in which they are written: by segment, then slice.
    pub(super) frames: Vec<Frame>,
    /// BitsAllocated.
    pub(super) bits: u16,
    /// Bytes of pixel data, padded to an even number.
    pub(super) pixel_bytes: usize,
}

/// The objects, and which lesion each label is.
pub(super) struct Layout {
    /// At least one.
    pub(super) parts: Vec<Part>,
    /// The place of the lesion of each label in the list.
    pub(super) lesion_of: Vec<Option<usize>>,
}

impl Layout {
    /// Lays a segmentation out. Refuses labels and lesions that do not say the same.
    pub(super) fn new(input: &SegInput<'_>, limits: &Limits) -> Result<Self, SegError> {
        let lesion_of = lesions_by_label(input.lesions)?;
        let touched = touched(input.labels, input.lesions, &lesion_of)?;
        let (slices, rows, columns) = input.labels.dim();
        let size = |frames, bits| size(frames, [rows, columns], bits, limits);
        let all = 0..input.lesions.len();
        let every = |segment| (0..slices).map(|slice| Frame { segment, slice }).collect::<Vec<_>>();
        let parts = match input.kind {
            SegKind::Lesions if !input.lesions.is_empty() => by_lesion(&touched, limits, &size)?,
            SegKind::Lesions | SegKind::AllAsOne => {
                vec![Part { lesions: all, frames: every(Some(1)), bits: 1, pixel_bytes: size(slices, 1)? }]
            }
            SegKind::Probability(_) => {
                vec![Part { lesions: all, frames: every(Some(1)), bits: 8, pixel_bytes: size(slices, 8)? }]
            }
            SegKind::LabelMap => (0..input.lesions.len().max(1))
                .step_by(limits.segments)
                .map(|first| {
                    let lesions = first..input.lesions.len().min(first + limits.segments);
                    let bits = if lesions.len() <= usize::from(u8::MAX) { 8 } else { 16 };
                    Ok(Part { lesions, frames: every(None), bits, pixel_bytes: size(slices, bits)? })
                })
                .collect::<Result<_, SegError>>()?,
        };
        Ok(Self { parts, lesion_of })
    }

    /// Where each lesion is, by its place in the list.
    pub(super) fn places(&self, kind: SegKind<'_>) -> Vec<Place> {
        let shared = matches!(kind, SegKind::AllAsOne | SegKind::Probability(_));
        let parts = (1..).zip(&self.parts);
        parts
            .flat_map(|(part, Part { lesions, .. })| {
                let numbers = (1..=u16::MAX).take(lesions.len());
                numbers.map(move |number| Place { part, segment: if shared { 1 } else { number } })
            })
            .collect()
    }
}

/// One segment a lesion, as many in each part as it holds.
fn by_lesion(
    touched: &[Vec<usize>],
    limits: &Limits,
    size: &impl Fn(usize, u16) -> Result<usize, SegError>,
) -> Result<Vec<Part>, SegError> {
    let new = |first: usize| Part { lesions: first..first, frames: Vec::new(), bits: 1, pixel_bytes: 0 };
    let mut parts = Vec::new();
    let mut part = new(0);
    for (lesion, slices) in touched.iter().enumerate() {
        let full = part.lesions.len() == limits.segments || size(part.frames.len() + slices.len(), 1).is_err();
        if full && !part.lesions.is_empty() {
            parts.push(std::mem::replace(&mut part, new(lesion)));
        }
        part.pixel_bytes = size(part.frames.len() + slices.len(), 1)?;
        part.lesions.end = lesion + 1;
        let segment = u16::try_from(part.lesions.len()).ok();
        part.frames.extend(slices.iter().map(|&slice| Frame { segment, slice }));
    }
    parts.push(part);
    Ok(parts)
}

/// The slices of each lesion.
fn touched(
    labels: ArrayView3<'_, u16>,
    lesions: &[LesionRow],
    lesion_of: &[Option<usize>],
) -> Result<Vec<Vec<usize>>, SegError> {
    let mut touched: Vec<Vec<usize>> = vec![Vec::new(); lesions.len()];
    let mut voxels = vec![0u64; lesions.len()];
    for (slice, plane) in labels.outer_iter().enumerate() {
        labelled(plane, |_, label| {
            let lesion = lesion_of.get(usize::from(label)).copied().flatten();
            let unknown = SegError::UnknownLabel { label, slice };
            let (Some(slices), Some(count)) =
                (lesion.and_then(|l| touched.get_mut(l)), lesion.and_then(|l| voxels.get_mut(l)))
            else {
                return Err(unknown);
            };
            *count += 1;
            if slices.last() != Some(&slice) {
                slices.push(slice);
            }
            Ok(())
        })?;
    }
    match lesions.iter().zip(&voxels).find(|(lesion, found)| lesion.voxels != **found || **found == 0) {
        Some((lesion, &found)) => Err(SegError::Voxels { label: lesion.label, expected: lesion.voxels, found }),
        None => Ok(touched),
    }
}

/// Calls `each` with every voxel of a plane, counted by rows, that has a label. Most of a brain has none, so that is
/// looked at in strides.
pub(super) fn labelled<E>(
    plane: ArrayView2<'_, u16>,
    mut each: impl FnMut(usize, u16) -> Result<(), E>,
) -> Result<(), E> {
    const STRIDE: usize = 64;
    let Some(voxels) = plane.as_slice() else {
        return plane.iter().enumerate().filter(|(_, l)| **l != 0).try_for_each(|(voxel, &label)| each(voxel, label));
    };
    for (first, stride) in (0..).step_by(STRIDE).zip(voxels.chunks(STRIDE)) {
        if stride.iter().fold(0, |any, label| any | label) != 0 {
            let set = (first..).zip(stride).filter(|(_, label)| **label != 0);
            set.into_iter().try_for_each(|(voxel, &label)| each(voxel, label))?;
        }
    }
    Ok(())
}

/// Bytes of pixel data, padded to an even number.
fn size(frames: usize, [rows, columns]: [usize; 2], bits: u16, limits: &Limits) -> Result<usize, SegError> {
    let bits = frames as u128 * rows as u128 * columns as u128 * u128::from(bits);
    let bytes = bits.div_ceil(16) * 2;
    match usize::try_from(bytes) {
        Ok(fitting) if bytes <= limits.pixel_bytes && i32::try_from(frames).is_ok() => Ok(fitting),
        _ => Err(SegError::TooLarge { frames, bytes }),
    }
}

/// The lesion of each label.
fn lesions_by_label(lesions: &[LesionRow]) -> Result<Vec<Option<usize>>, SegError> {
    let mut lesion_of = vec![None; usize::from(u16::MAX) + 1];
    let mut last = 0;
    for (index, lesion) in lesions.iter().enumerate() {
        let place = usize::try_from(lesion.label).ok().and_then(|label| lesion_of.get_mut(label));
        match place {
            Some(place) if lesion.label > last => *place = Some(index),
            _ => return Err(SegError::LabelOrder(lesion.label)),
        }
        last = lesion.label;
    }
    Ok(lesion_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_pixel_data_than_a_length_can_tell_is_refused_before_it_is_allocated() {
        let size = |frames, matrix, bits| size(frames, matrix, bits, &Limits::DICOM);
        assert_eq!(size(600, [320, 320], 1), Ok(600 * 320 * 320 / 8));
        assert_eq!(size(3, [5, 5], 8), Ok(76));
        assert_eq!(size(3, [5, 5], 1), Ok(10));
        assert_eq!(size(1, [65_535, 65_535], 8), Ok(65_535 * 65_535 + 1));
        assert!(matches!(size(1, [65_535, 65_535], 16), Err(SegError::TooLarge { frames: 1, .. })));
        assert!(matches!(size(70_000, [800, 800], 1), Err(SegError::TooLarge { frames: 70_000, .. })));
        assert!(matches!(size(usize::MAX, [65_535, 65_535], 16), Err(SegError::TooLarge { .. })));
    }
}
