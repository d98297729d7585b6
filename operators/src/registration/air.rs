//! Air that is noise: around the head an MP2RAGE image (UNI) is salt and pepper, whose mean is the grey of tissue.
//!
//! Such air looks like tissue to whoever averages it, and hides where the head ends. It is told by neighbours that differ
//! by as much as the whole image does, and marked as not a number.

use std::borrow::Cow;

use rayon::prelude::*;

use crate::volume::Volume;

/// Side of the blocks that are judged, mm.
const BLOCK: f64 = 6.0;
/// Where both images of an MP2RAGE are noise, all values of the UNI are equally likely, and neighbours differ by a third
/// of the range on average; no anatomy changes as much from voxel to voxel all over a block.
const NOISE: f32 = 0.25;

/// The 1st and 99th percentile of some voxels, evenly taken.
pub(super) fn range(voxels: &[f32]) -> [f32; 2] {
    let mut some: Vec<f32> = voxels.iter().copied().step_by((voxels.len() / 20_000).max(1)).collect();
    some.retain(|value| value.is_finite());
    some.sort_by(f32::total_cmp);
    [0.01, 0.99].map(|share| some.get((some.len() as f64 * share) as usize).copied().unwrap_or_default())
}

/// The volume's voxels, columns fastest, with NaN where they are noise.
pub(super) fn without_noise(volume: &Volume) -> Cow<'_, [f32]> {
    let all = || Cow::Owned(volume.voxels.iter().copied().collect());
    let kept = volume.voxels.as_slice().map_or_else(all, Cow::Borrowed);
    let whole = kept.as_ref();
    let [low, high] = range(whole);
    let spacing = volume.grid.spacing();
    let by: [usize; 3] = std::array::from_fn(|axis| (BLOCK / spacing[axis]).round().clamp(2.0, 64.0) as usize);
    let [columns, rows, slices] = volume.grid.size;
    let across = columns.div_ceil(by[0]);
    // By slab of slices, then rows of blocks: which blocks are noise.
    let slabs: Vec<Vec<bool>> = (0..slices.div_ceil(by[2]))
        .into_par_iter()
        .map(|slab| {
            let mut sums = vec![(0f32, 0u32); across * rows.div_ceil(by[1])];
            for z in slab * by[2]..((slab + 1) * by[2]).min(slices) {
                for y in 0..rows {
                    let start = (z * rows + y) * columns;
                    let line = whole.get(start..start + columns).unwrap_or_default();
                    for (block, values) in line.chunks(by[0]).enumerate() {
                        let Some((sum, count)) = sums.get_mut(y / by[1] * across + block) else { continue };
                        for pair in values.windows(2) {
                            let difference = (pair[1] - pair[0]).abs();
                            if difference.is_finite() {
                                *sum += difference;
                                *count += 1;
                            }
                        }
                    }
                }
            }
            sums.iter().map(|(sum, count)| *sum > NOISE * (high - low) * (*count).max(1) as f32).collect()
        })
        .collect();
    if !slabs.iter().flatten().any(|noise| *noise) {
        return kept;
    }
    let mut clean = whole.to_vec();
    clean.par_chunks_mut(columns * rows).enumerate().for_each(|(z, plane)| {
        let Some(slab) = slabs.get(z / by[2]) else { return };
        for (y, line) in plane.chunks_mut(columns).enumerate() {
            for (block, values) in line.chunks_mut(by[0]).enumerate() {
                if slab.get(y / by[1] * across + block).copied().unwrap_or_default() {
                    values.fill(f32::NAN);
                }
            }
        }
    });
    Cow::Owned(clean)
}
