//! Which frames a segmentation has, and their bits.
//!
//! The bits of a BINARY segmentation run on from frame to frame without padding (PS3.5 8.1.1, PS3.3 A.51): a frame
//! whose size is no multiple of eight begins inside a byte.

use ndarray::ArrayView3;

use super::SegError;
use crate::rows::LesionRow;

/// The longest pixel data that a defined length can tell.
const MAX_PIXEL_BYTES: u128 = u32::MAX as u128 - 1;

/// One frame: a segment on a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// SegmentNumber, from 1.
    pub(super) segment: u16,
    /// Slice of the volume, from 0.
    pub(super) slice: usize,
}

/// All frames in the order in which they are written, and their bits.
pub(super) struct Frames {
    /// By segment, then slice.
    pub(super) frames: Vec<Frame>,
    /// Least significant bit first, padded to an even number of bytes.
    pub(super) bits: Vec<u8>,
}

impl Frames {
    /// Lays out a label map (slice, row, column) with one segment a lesion and no empty frames. Without lesions
    /// there is one segment with every frame zero.
    pub(super) fn new(labels: ArrayView3<'_, u16>, lesions: &[LesionRow]) -> Result<Self, SegError> {
        let (slices, rows, columns) = labels.dim();
        let segment_of = segments_by_label(lesions)?;
        // STEP 1: which slices each segment touches, and that label map and lesions say the same.
        let mut touched: Vec<Vec<usize>> = vec![Vec::new(); lesions.len()];
        let mut voxels = vec![0u64; lesions.len()];
        for (slice, plane) in labels.outer_iter().enumerate() {
            for &label in plane.iter().filter(|&&label| label != 0) {
                let unknown = SegError::UnknownLabel { label, slice };
                let Some(segment) = segment_of.get(usize::from(label)).copied().flatten() else { return Err(unknown) };
                voxels[segment] += 1;
                if touched[segment].last() != Some(&slice) {
                    touched[segment].push(slice);
                }
            }
        }
        if let Some((lesion, &found)) =
            lesions.iter().zip(&voxels).find(|(l, found)| l.voxels != **found || **found == 0)
        {
            return Err(SegError::Voxels { label: lesion.label, expected: lesion.voxels, found });
        }
        // STEP 2: number the frames.
        let mut frames = Vec::with_capacity(touched.iter().map(Vec::len).sum());
        let mut next: Vec<usize> = Vec::with_capacity(lesions.len());
        for (segment, slices) in (1..=u16::MAX).zip(&touched) {
            next.push(frames.len());
            frames.extend(slices.iter().map(|&slice| Frame { segment, slice }));
        }
        if lesions.is_empty() {
            frames.extend((0..slices).map(|slice| Frame { segment: 1, slice }));
        }
        // STEP 3: set the bits. Slices come in order, so a segment's current frame only ever moves on by one.
        let mut bits = vec![0u8; size(frames.len(), rows, columns)?];
        let mut current: Vec<Option<usize>> = vec![None; lesions.len()];
        for plane in labels.outer_iter() {
            for (voxel, &label) in plane.iter().enumerate().filter(|(_, label)| **label != 0) {
                let Some(segment) = segment_of[usize::from(label)] else { continue };
                let frame = *current[segment].get_or_insert_with(|| {
                    let frame = next[segment];
                    next[segment] += 1;
                    frame
                });
                let bit = frame * rows * columns + voxel;
                bits[bit / 8] |= 1 << (bit % 8);
            }
            current.fill(None);
        }
        Ok(Self { frames, bits })
    }
}

/// Bytes of pixel data, padded to an even number.
pub(super) fn size(frames: usize, rows: usize, columns: usize) -> Result<usize, SegError> {
    let bits = frames as u128 * rows as u128 * columns as u128;
    let bytes = bits.div_ceil(16) * 2;
    match usize::try_from(bytes) {
        Ok(fitting) if bytes <= MAX_PIXEL_BYTES && i32::try_from(frames).is_ok() => Ok(fitting),
        _ => Err(SegError::TooLarge { frames, bytes }),
    }
}

/// The index of the lesion of each label.
fn segments_by_label(lesions: &[LesionRow]) -> Result<Vec<Option<usize>>, SegError> {
    if lesions.len() > usize::from(u16::MAX) {
        return Err(SegError::TooManySegments(lesions.len()));
    }
    let mut segment_of = vec![None; usize::from(u16::MAX) + 1];
    let mut last = 0;
    for (index, lesion) in lesions.iter().enumerate() {
        let place = usize::try_from(lesion.label).ok().and_then(|label| segment_of.get_mut(label));
        match place {
            Some(place) if lesion.label > last => *place = Some(index),
            _ => return Err(SegError::LabelOrder(lesion.label)),
        }
        last = lesion.label;
    }
    Ok(segment_of)
}
