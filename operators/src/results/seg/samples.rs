//! The pixel data of one part.
//!
//! The bits of a BINARY segmentation run on from frame to frame without padding (PS3.5 8.1.1, PS3.3 A.51): a frame
//! whose size is no multiple of eight begins inside a byte.

use std::convert::Infallible;

use ndarray::ArrayView3;

use super::{
    Probability, SegError, SegInput, SegKind,
    kind::step,
    parts::{Layout, Part, labelled},
};

/// The pixel data of `part`, little endian, padded to an even number of bytes.
pub(super) fn samples(input: &SegInput<'_>, layout: &Layout, part: &Part) -> Result<Vec<u8>, SegError> {
    let mut bytes = Vec::with_capacity(part.pixel_bytes);
    match input.kind {
        SegKind::Probability(Probability::Steps(map)) => match map.as_slice() {
            Some(steps) => bytes.extend_from_slice(steps),
            None => bytes.extend(map.iter()),
        },
        SegKind::Probability(Probability::Unit(map)) => {
            for (slice, plane) in map.outer_iter().enumerate() {
                let before = bytes.len();
                bytes.extend(plane.iter().map_while(|&probability| step(probability)));
                if bytes.len() - before != plane.len() {
                    return Err(SegError::NoProbability { slice });
                }
            }
        }
        SegKind::Lesions | SegKind::AllAsOne | SegKind::LabelMap => {}
    }
    bytes.resize(part.pixel_bytes, 0);
    let set = |each: &mut dyn FnMut(usize, usize, usize)| for_each_voxel(input.labels, layout, part, each);
    match input.kind {
        SegKind::Lesions => by_lesion(input, part, &mut bytes, set),
        SegKind::AllAsOne => {
            let size = input.labels.dim().1 * input.labels.dim().2;
            set(&mut |slice, voxel, _| set_bit(&mut bytes, slice * size + voxel));
        }
        SegKind::LabelMap => {
            let size = input.labels.dim().1 * input.labels.dim().2;
            let width = usize::from(part.bits / 8);
            set(&mut |slice, voxel, lesion| {
                let number = (lesion - part.lesions.start + 1).to_le_bytes();
                let at = (slice * size + voxel) * width;
                for (byte, value) in bytes.iter_mut().skip(at).zip(number).take(width) {
                    *byte = value;
                }
            });
        }
        SegKind::Probability(_) => {}
    }
    Ok(bytes)
}

/// One segment a lesion. Slices come in order, so a segment's current frame only ever moves on by one.
fn by_lesion(input: &SegInput<'_>, part: &Part, bytes: &mut [u8], set: impl Fn(&mut dyn FnMut(usize, usize, usize))) {
    let size = input.labels.dim().1 * input.labels.dim().2;
    // Of each lesion of the part: its current frame, or else the one before its first.
    let mut current: Vec<usize> = vec![usize::MAX; part.lesions.len()];
    for (number, frame) in part.frames.iter().enumerate().rev() {
        let lesion = frame.segment.and_then(|segment| current.get_mut(usize::from(segment) - 1));
        if let Some(first) = lesion {
            *first = number;
        }
    }
    set(&mut |slice, voxel, lesion| {
        let Some(frame) = current.get_mut(lesion - part.lesions.start) else { return };
        if part.frames.get(*frame).is_some_and(|at| at.slice != slice) {
            *frame += 1;
        }
        set_bit(bytes, *frame * size + voxel);
    });
}

/// Calls `each` with slice, voxel (by rows) and lesion (place in the list) of every voxel of the part's lesions.
fn for_each_voxel(
    labels: ArrayView3<'_, u16>,
    layout: &Layout,
    part: &Part,
    each: &mut dyn FnMut(usize, usize, usize),
) {
    for (slice, plane) in labels.outer_iter().enumerate() {
        let Ok(()) = labelled::<Infallible>(plane, |voxel, label| {
            let lesion = layout.lesion_of.get(usize::from(label)).copied().flatten();
            if let Some(lesion) = lesion.filter(|lesion| part.lesions.contains(lesion)) {
                each(slice, voxel, lesion);
            }
            Ok(())
        });
    }
}

/// Least significant bit first.
fn set_bit(bytes: &mut [u8], bit: usize) {
    if let Some(byte) = bytes.get_mut(bit / 8) {
        *byte |= 1 << (bit % 8);
    }
}
