//! What there is to see in a volume: where the largest lesions are, its grey levels, and where the head ends.

use ndarray::{ArrayView3, Axis};
use rayon::prelude::*;

use super::{SHOWN, Spot, by_size};
use crate::{results::report::Lesion, volume::Volume};

/// As many voxels are looked at for grey levels and the outline of the head.
const SAMPLED: usize = 200_000;
/// Room around the head, mm.
const MARGIN_MM: f64 = 4.0;

/// Where the largest lesions are; those without a voxel are passed over.
pub(super) fn spots(labels: ArrayView3<'_, u16>, lesions: &[Lesion]) -> Vec<Spot> {
    let wanted: Vec<u32> = by_size(lesions).into_iter().take(SHOWN).map(|lesion| lesion.label).collect();
    let (slices, rows, columns) = labels.dim();
    // Voxels of each wanted lesion by column, row and slice.
    type Counts = Vec<[Vec<u32>; 3]>;
    let none = || -> Counts { wanted.iter().map(|_| [vec![0; columns], vec![0; rows], vec![0; slices]]).collect() };
    let counts = (0..slices)
        .into_par_iter()
        .fold(none, |mut counts, slice| {
            let plane = labels.index_axis(Axis(0), slice);
            for (row, line) in plane.rows().into_iter().enumerate() {
                // Most rows hold nothing, which is seen many voxels at a time.
                if line.as_slice().is_some_and(|line| line.iter().fold(0, |any, label| any | label) == 0) {
                    continue;
                }
                for (column, label) in line.iter().enumerate().filter(|(_, label)| **label != 0) {
                    let Some(place) = wanted.iter().position(|wanted| *wanted == u32::from(*label)) else { continue };
                    if let Some(axes) = counts.get_mut(place) {
                        for (axis, at) in axes.iter_mut().zip([column, row, slice]) {
                            axis[at] += 1;
                        }
                    }
                }
            }
            counts
        })
        .reduce(none, |mut left, right| {
            for (a, b) in left.iter_mut().flatten().zip(right.iter().flatten()) {
                a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
            }
            left
        });
    let spot = |(label, axes): (&u32, &[Vec<u32>; 3])| {
        let mut spot = Spot { label: *label, centre: [0; 3], bounds: [[0; 2]; 3] };
        for (axis, counts) in axes.iter().enumerate() {
            let first = counts.iter().position(|count| *count > 0)?;
            let end = counts.iter().rposition(|count| *count > 0)? + 1;
            let total: u64 = counts.iter().map(|count| u64::from(*count)).sum();
            let weighted: u64 = (0u64..).zip(counts).map(|(at, count)| at * u64::from(*count)).sum();
            let mean = ((weighted + total / 2) / total) as usize;
            // A curved lesion may have nothing at its centre.
            let held = (first..end).filter(|at| counts[*at] > 0).min_by_key(|at| at.abs_diff(mean))?;
            (spot.centre[axis], spot.bounds[axis]) = (held, [first, end]);
        }
        Some(spot)
    };
    wanted.iter().zip(&counts).filter_map(spot).collect()
}

/// Black and white: the 1st and 99.5th percentile of what is neither zero nor no number in a part of the volume.
pub(super) fn window(volume: &Volume, part: [[usize; 2]; 3]) -> [f32; 2] {
    let stride = stride(part.map(|[first, end]| end.saturating_sub(first)));
    let [columns, rows, slices] = part.map(|[first, end]| (first..end).step_by(stride));
    let mut values = Vec::new();
    for slice in slices {
        for row in rows.clone() {
            let line = columns.clone().filter_map(|column| volume.voxels.get([slice, row, column]).copied());
            values.extend(line.filter(|value| value.is_finite() && *value != 0.0));
        }
    }
    let mut at = |share: f64| match values.len() {
        0 => 0.0,
        count => *values.select_nth_unstable_by((count as f64 * share) as usize, f32::total_cmp).1,
    };
    let (black, white) = (at(0.01), at(0.995));
    [black, if white > black { white } else { black + 1.0 }]
}

/// Every so many voxels along each axis are looked at.
fn stride(size: [usize; 3]) -> usize {
    (size.iter().product::<usize>() as f64 / SAMPLED as f64).cbrt().ceil().max(1.0) as usize
}

/// What holds more than air, with a margin; the whole axis where that is nothing.
pub(super) fn head(volume: &Volume, [black, white]: [f32; 2]) -> [[usize; 2]; 3] {
    let size = volume.grid.size;
    let [columns, rows, slices] = size;
    let stride = stride(size);
    let threshold = black + 0.15 * (white - black);
    let mut counts = size.map(|extent| vec![0usize; extent]);
    for slice in (0..slices).step_by(stride) {
        for row in (0..rows).step_by(stride) {
            for column in (0..columns).step_by(stride) {
                if volume.voxels.get([slice, row, column]).is_some_and(|value| *value > threshold) {
                    counts.iter_mut().zip([column, row, slice]).for_each(|(axis, at)| axis[at] += 1);
                }
            }
        }
    }
    let spacing = volume.grid.spacing();
    std::array::from_fn(|axis| {
        let most = counts[axis].iter().max().copied().unwrap_or(0);
        let held = |count: &usize| *count * 50 > most;
        let margin = (MARGIN_MM / spacing[axis]).ceil() as usize + stride;
        match (counts[axis].iter().position(held), counts[axis].iter().rposition(held)) {
            (Some(first), Some(last)) => {
                [first.saturating_sub(margin), last.saturating_add(margin + 1).min(size[axis])]
            }
            _ => [0, size[axis]],
        }
    })
}
