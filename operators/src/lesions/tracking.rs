//! Lesions that keep their identity from one run to the next: a lesion that overlaps one of an earlier run is that
//! one, and takes its tracking UID.
//!
//! Voxels are compared in patient space, so that grids may differ in extent, spacing and direction. Whether two runs
//! lie in the same patient space is for the caller to know; runs of two visits do not, and are compared by
//! [`super::visits`].

use std::collections::{BTreeMap, BTreeSet};

use ndarray::ArrayView3;

use crate::{rows::LesionRow, volume::Grid};

/// Rows of the matrix that takes a voxel index (column, row, slice, 1) to LPS nanometres.
pub type AffineNm = [[i64; 4]; 3];

/// A grid's affine in nanometres. None where the grid lies beyond what they can tell.
pub fn affine_nm(grid: &Grid) -> Option<AffineNm> {
    let mut affine = [[0; 4]; 3];
    for (into, from) in affine.iter_mut().zip(&grid.affine) {
        for (nm, mm) in into.iter_mut().zip(from) {
            let value = (mm * 1e6).round();
            // Beyond 2^53 a float holds no single nanometres, and a head is smaller than 9,000 km.
            if !value.is_finite() || value.abs() > 9e15 {
                return None;
            }
            *nm = value as i64;
        }
    }
    Some(affine)
}

/// What a run found, and where.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Label map, axes (slice, row, column); 0 is background.
    pub labels: ArrayView3<'a, u16>,
    /// Its grid. None in outcomes of before this was recorded: such are compared voxel by voxel.
    pub affine_nm: Option<AffineNm>,
    /// The lesions, by label.
    pub lesions: &'a [LesionRow],
}

/// Tracking UIDs that lesions of a run take over from earlier runs, by label.
pub type Followed = BTreeMap<u32, String>;

/// Adds to `followed` which lesions of `new` are lesions of `earlier`, and so take their tracking UIDs: one to one, by
/// most overlapping voxels of `new`, of equals the smaller label of `new`, then of `earlier`. Called with the newest
/// earlier run first: what is followed already keeps its tracking UID, and no UID is taken twice.
///
/// Without both affines only label maps of equal size are compared.
pub fn follow(new: &Found<'_>, earlier: &Found<'_>, followed: &mut Followed) {
    let same = |affine: AffineNm| affine.map(|row| row.map(|nm| nm as f64));
    let map: Box<dyn Fn([usize; 3]) -> Option<[usize; 3]>> = match (new.affine_nm, earlier.affine_nm) {
        (Some(from), Some(to)) => match IndexMap::between(&same(from), &same(to)) {
            Some(map) => Box::new(move |index| map.nearest(index)),
            None => return,
        },
        _ if new.labels.dim() == earlier.labels.dim() => Box::new(Some),
        _ => return,
    };
    take_over(new, earlier, &by_overlap(new, earlier, map), followed);
}

/// Gives lesions of `new` the tracking UIDs of `earlier`, by pairs of their labels, those that count most first.
pub(super) fn take_over(new: &Found<'_>, earlier: &Found<'_>, pairs: &[(u32, u32)], followed: &mut Followed) {
    let uids: BTreeMap<u32, &str> =
        earlier.lesions.iter().map(|lesion| (lesion.label, lesion.tracking_uid.as_str())).collect();
    let of_new: BTreeSet<u32> = new.lesions.iter().map(|lesion| lesion.label).collect();
    let mut taken: BTreeSet<String> = followed.values().cloned().collect();
    for (label, was) in pairs {
        let Some(uid) = uids.get(was) else { continue };
        if of_new.contains(label) && !followed.contains_key(label) && taken.insert((*uid).to_owned()) {
            followed.insert(*label, (*uid).to_owned());
        }
    }
}

/// Pairs of labels whose voxels meet, most voxels first.
pub(super) fn by_overlap(
    new: &Found<'_>,
    earlier: &Found<'_>,
    map: impl Fn([usize; 3]) -> Option<[usize; 3]>,
) -> Vec<(u32, u32)> {
    let mut pairs: Vec<_> = overlaps(new, earlier, map).into_iter().collect();
    pairs.sort_by(|(pair, a), (other, b)| b.cmp(a).then(pair.cmp(other)));
    pairs.into_iter().map(|(pair, _)| pair).collect()
}

/// Voxels of `new` whose centres lie in a labelled voxel of `earlier`, by the two labels.
fn overlaps(
    new: &Found<'_>,
    earlier: &Found<'_>,
    map: impl Fn([usize; 3]) -> Option<[usize; 3]>,
) -> BTreeMap<(u32, u32), u64> {
    let mut overlaps = BTreeMap::new();
    for ((slice, row, column), &label) in new.labels.indexed_iter().filter(|(_, label)| **label != 0) {
        let Some([column, row, slice]) = map([column, row, slice]) else { continue };
        match earlier.labels.get([slice, row, column]) {
            None | Some(0) => {}
            Some(&was) => *overlaps.entry((u32::from(label), u32::from(was))).or_default() += 1,
        }
    }
    overlaps
}

/// Takes voxel indices of one grid to those of another.
pub(super) struct IndexMap([[f64; 4]; 3]);

impl IndexMap {
    /// Between the affines of two grids. None where the other grid's axes do not span space.
    pub(super) fn between(from: &[[f64; 4]; 3], to: &[[f64; 4]; 3]) -> Option<Self> {
        let inverse = inverse(to)?;
        // The offsets are subtracted before they are scaled, so that their size costs no digits.
        let mut map = [[0.0; 4]; 3];
        for (into, weights) in map.iter_mut().zip(&inverse) {
            for (column, value) in into.iter_mut().enumerate() {
                let part = |row: usize| from[row][column] - if column == 3 { to[row][3] } else { 0.0 };
                *value = (0..3).map(|row| weights[row] * part(row)).sum();
            }
        }
        Some(IndexMap(map))
    }

    /// Where a voxel's centre lies, in voxels of the other grid.
    pub(super) fn place(&self, index: [usize; 3]) -> [f64; 3] {
        let [x, y, z] = index.map(|extent| extent as f64);
        self.0.map(|row| row[0] * x + row[1] * y + row[2] * z + row[3])
    }

    /// The voxel that a voxel's centre lies in; none outside, on the side of small indices.
    pub(super) fn nearest(&self, index: [usize; 3]) -> Option<[usize; 3]> {
        let mut nearest = [0; 3];
        for (into, place) in nearest.iter_mut().zip(self.place(index)) {
            let at = place.round();
            if !(0.0..=f64::from(u32::MAX)).contains(&at) {
                return None;
            }
            *into = at as usize;
        }
        Some(nearest)
    }
}

/// The inverse of an affine's three axes, by cofactors.
fn inverse(a: &[[f64; 4]; 3]) -> Option<[[f64; 3]; 3]> {
    let cofactor = |row: usize, column: usize| {
        let (r, s) = ((row + 1) % 3, (row + 2) % 3);
        let (c, d) = ((column + 1) % 3, (column + 2) % 3);
        a[r][c] * a[s][d] - a[r][d] * a[s][c]
    };
    let determinant: f64 = (0..3).map(|column| a[0][column] * cofactor(0, column)).sum();
    let inverse = std::array::from_fn(|row| std::array::from_fn(|column| cofactor(column, row) / determinant));
    let finite = |row: &[f64; 3]| row.iter().all(|value| value.is_finite());
    (determinant != 0.0 && inverse.iter().all(finite)).then_some(inverse)
}

#[cfg(test)]
#[path = "tracking_tests.rs"]
mod tests;
