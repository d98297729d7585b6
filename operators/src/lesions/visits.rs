//! Lesions that keep their identity from one visit of a patient to the next, whatever way the head lay.
//!
//! The visits are aligned, but not to a tenth of a voxel, and a small cortical lesion may be one voxel thick. What
//! overlaps is compared first, as within one study ([`super::tracking`]); lesions that met nothing then take the
//! identity of one that met nothing either and lies within [`NEAR_MM`], the nearest first. Lesions farther apart are
//! different ones: sulci are a few millimetres wide.
//!
//! One to one: of a lesion that split, the part that overlaps most keeps the identity and the others are new; where
//! lesions merged, the merged one keeps that of the one it overlaps most.

use std::collections::{BTreeMap, BTreeSet};

use super::tracking::{AffineNm, Followed, Found, IndexMap, by_overlap, take_over};
use crate::registration::Rigid;

/// How far the voxels of one lesion may lie apart at two visits that do not overlap, centre to centre, mm.
pub const NEAR_MM: f64 = 2.0;

/// As [`super::tracking::follow`], for an earlier run in another patient space: `motion` takes points of the new
/// run's to the earlier run's. Runs without an affine are not compared.
pub fn follow_moved(new: &Found<'_>, earlier: &Found<'_>, motion: &Rigid, followed: &mut Followed) {
    let (Some(from), Some(to)) = (new.affine_nm, earlier.affine_nm) else { return };
    let to = to.map(|row| row.map(|nm| nm as f64));
    let Some(map) = IndexMap::between(&moved(&from, motion), &to) else { return };
    take_over(new, earlier, &by_overlap(new, earlier, |index| map.nearest(index)), followed);
    take_over(new, earlier, &by_distance(new, earlier, &map, &to, followed), followed);
}

/// The affine of a grid that is moved.
fn moved(affine: &AffineNm, motion: &Rigid) -> [[f64; 4]; 3] {
    std::array::from_fn(|row| {
        std::array::from_fn(|column| {
            let turned: f64 = (0..3).map(|k| motion.rotation[row][k] * affine[k][column] as f64).sum();
            turned + if column == 3 { motion.shift_mm[row] * 1e6 } else { 0.0 }
        })
    })
}

/// Pairs of labels that nobody has followed and that lie near each other, the nearest first.
fn by_distance(
    new: &Found<'_>,
    earlier: &Found<'_>,
    map: &IndexMap,
    to: &[[f64; 4]; 3],
    followed: &Followed,
) -> Vec<(u32, u32)> {
    let taken: BTreeSet<&String> = followed.values().collect();
    let left = earlier.lesions.iter().filter(|lesion| !taken.contains(&lesion.tracking_uid));
    let left: BTreeSet<u32> = left.map(|lesion| lesion.label).collect();
    let column = |axis: usize| to.map(|row| row[axis] / 1e6);
    let reach: [f64; 3] = [0, 1, 2].map(|axis| NEAR_MM / column(axis).iter().map(|mm| mm * mm).sum::<f64>().sqrt());
    // On sheared axes two voxels may be nearer than their indices say; scanners' axes stand at right angles.
    if left.is_empty() || reach.iter().any(|voxels| !voxels.is_finite()) {
        return Vec::new();
    }
    let boxes = boxes(earlier, &left);
    let mut nearest: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    for ((slice, row, column_of), &label) in new.labels.indexed_iter().filter(|(_, label)| **label != 0) {
        if followed.contains_key(&u32::from(label)) {
            continue;
        }
        let place = map.place([column_of, row, slice]);
        let near = |(first, last): &([usize; 3], [usize; 3])| {
            (0..3).all(|i| place[i] >= first[i] as f64 - reach[i] && place[i] <= last[i] as f64 + reach[i])
        };
        if !boxes.values().any(near) {
            continue;
        }
        let window: [_; 3] = std::array::from_fn(|i| {
            let low = (place[i] - reach[i]).ceil().max(0.0) as usize;
            low..=(place[i] + reach[i]).floor().max(0.0) as usize
        });
        let [columns, rows, slices] = window;
        for z in slices {
            for y in rows.clone() {
                for x in columns.clone() {
                    let was = earlier.labels.get([z, y, x]).map_or(0, |was| u32::from(*was));
                    if !left.contains(&was) {
                        continue;
                    }
                    let away = [x as f64 - place[0], y as f64 - place[1], z as f64 - place[2]];
                    let square: f64 =
                        (0..3).map(|i| (0..3).map(|j| to[i][j] / 1e6 * away[j]).sum::<f64>().powi(2)).sum();
                    if square <= NEAR_MM * NEAR_MM {
                        let square = (square * 1e6) as u64;
                        let entry = nearest.entry((u32::from(label), was)).or_insert(square);
                        *entry = square.min(*entry);
                    }
                }
            }
        }
    }
    let mut pairs: Vec<_> = nearest.into_iter().collect();
    pairs.sort_by_key(|(pair, square)| (*square, *pair));
    pairs.into_iter().map(|(pair, _)| pair).collect()
}

/// First and last voxel (column, row, slice) of each of these labels.
fn boxes(found: &Found<'_>, labels: &BTreeSet<u32>) -> BTreeMap<u32, ([usize; 3], [usize; 3])> {
    let mut boxes = BTreeMap::new();
    for ((z, y, x), &label) in found.labels.indexed_iter().filter(|(_, label)| **label != 0) {
        if labels.contains(&u32::from(label)) {
            let at = [x, y, z];
            let (first, last) = boxes.entry(u32::from(label)).or_insert((at, at));
            for i in 0..3 {
                first[i] = first[i].min(at[i]);
                last[i] = last[i].max(at[i]);
            }
        }
    }
    boxes
}

#[cfg(test)]
#[path = "visits_tests.rs"]
mod tests;
