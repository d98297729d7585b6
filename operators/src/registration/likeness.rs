//! How alike two aligned scans are, wherever they show structure.
//!
//! Any two heads explain each other's variance well: skin and air do. Whether they are the same head is seen in small
//! places, and whatever the sequence and the coils did: in cubes of a few millimetres, how much of the one's variance
//! a straight line from the other's intensities explains (the squared local correlation).

use rayon::prelude::*;

use super::{level::Level, rigid::Rigid};

/// Side of a cube, voxels of the level.
const SIDE: usize = 6;

/// What was seen in the cubes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Likeness {
    /// Mean squared local correlation, weighted by what structure both show; 0 to 1.
    pub(super) similarity: f64,
    /// Share of the fixed scan's structure that lies in the moving scan, 0 to 1.
    pub(super) overlap: f64,
}

/// Compares `fixed` with `moving` behind a motion.
pub(super) fn likeness(fixed: &Level, moving: &Level, motion: &Rigid) -> Likeness {
    let cubes = fixed.size.map(|extent| extent / SIDE);
    let of_layer = |layer: usize| {
        let (mut explained, mut weights, mut seen, mut all) = (0.0, 0.0, 0.0, 0.0);
        for cube in 0..cubes[0] * cubes[1] {
            let first = [cube % cubes[0] * SIDE, cube / cubes[0] * SIDE, layer * SIDE];
            let Some((structure, other)) = compare(fixed, moving, motion, first) else { continue };
            all += structure;
            let Some((other, squared)) = other else { continue };
            seen += structure;
            let weight = structure * other;
            explained += weight * squared;
            weights += weight;
        }
        [explained, weights, seen, all]
    };
    let layers: Vec<[f64; 4]> = (0..cubes[2]).into_par_iter().map(of_layer).collect();
    let [explained, weights, seen, all] =
        layers.iter().fold([0.0; 4], |sums, layer| std::array::from_fn(|i| sums[i] + layer[i]));
    let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
    Likeness { similarity: share(explained, weights), overlap: share(seen, all) }
}

/// The cubes in which two scans are alike.
pub(super) struct Alike {
    cubes: [usize; 3],
    set: Vec<bool>,
}

impl Alike {
    /// Cubes of `fixed` in which `moving` behind a motion explains at least this share of the variance.
    pub(super) fn new(fixed: &Level, moving: &Level, motion: &Rigid, share: f64) -> Self {
        let cubes = fixed.size.map(|extent| extent / SIDE);
        let alike = |number: usize| {
            let cube = [number % cubes[0], number / cubes[0] % cubes[1], number / cubes[0] / cubes[1]];
            let found = compare(fixed, moving, motion, cube.map(|at| at * SIDE)).and_then(|(_, other)| other);
            found.is_some_and(|(_, squared)| squared >= share)
        };
        let set = (0..cubes.iter().product()).into_par_iter().map(alike).collect();
        Alike { cubes, set }
    }

    /// True where a voxel lies in one of them.
    pub(super) fn holds(&self, voxel: [usize; 3]) -> bool {
        let [x, y, z] = voxel.map(|at| at / SIDE);
        let inside = x < self.cubes[0] && y < self.cubes[1];
        inside && self.set.get((z * self.cubes[1] + y) * self.cubes[0] + x).copied().unwrap_or_default()
    }
}

/// Deviation of the fixed image in a cube, and where the cube lies in the moving image, that one's deviation and the
/// squared correlation of both. None where the fixed image is flat, or tells nothing.
fn compare(fixed: &Level, moving: &Level, motion: &Rigid, first: [usize; 3]) -> Option<(f64, Option<(f64, f64)>)> {
    let [columns, rows, _] = fixed.size;
    let mut own = Moments::default();
    let mut both = Moments::default();
    for number in 0..SIDE * SIDE * SIDE {
        let index = [number % SIDE, number / SIDE % SIDE, number / SIDE / SIDE];
        let [x, y, z]: [usize; 3] = std::array::from_fn(|axis| first[axis] + index[axis]);
        let value = f64::from(*fixed.voxels.get((z * rows + y) * columns + x)?);
        own.add(value, 0.0);
        let there = moving.index(motion.apply(fixed.point([x, y, z].map(|i| i as f64))));
        if let Some((other, _)) = moving.linear(there.map(|i| i as f32)).filter(|(other, _)| other.is_finite()) {
            both.add(value, f64::from(other));
        }
    }
    let structure = own.first();
    if structure.is_nan() || structure <= 0.0 {
        return None;
    }
    let whole = (SIDE * SIDE * SIDE) as f64;
    if both.count < 0.9 * whole {
        return Some((structure.sqrt(), None));
    }
    let (a, b) = (both.first(), both.second());
    let squared = if a > 0.0 && b > 0.0 { both.shared().powi(2) / (a * b) } else { 0.0 };
    Some((structure.sqrt(), Some((b.max(0.0).sqrt(), squared))))
}

/// Sums of pairs.
#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    count: f64,
    sums: [f64; 2],
    squares: [f64; 3],
}

impl Moments {
    fn add(&mut self, a: f64, b: f64) {
        self.count += 1.0;
        self.sums = [self.sums[0] + a, self.sums[1] + b];
        self.squares = [self.squares[0] + a * a, self.squares[1] + a * b, self.squares[2] + b * b];
    }

    fn first(&self) -> f64 {
        self.squares[0] / self.count - (self.sums[0] / self.count).powi(2)
    }

    fn second(&self) -> f64 {
        self.squares[2] / self.count - (self.sums[1] / self.count).powi(2)
    }

    fn shared(&self) -> f64 {
        self.squares[1] / self.count - self.sums[0] * self.sums[1] / self.count.powi(2)
    }
}
