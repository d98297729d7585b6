//! A head whose folds are those of a person: traced from a T1-weighted image, then deformed.
//!
//! The drawn head of `anatomy` is smoother and simpler than any real one, and a network that has seen only such heads
//! is lost in a patient's. Here tissues follow from the intensities of a scan, cortex from distances to the surfaces
//! of brain and white matter, and every seed stretches, turns and bends the head in its own way. Signal and lesions
//! are added as they are to the drawn head.

use ndarray::{Array3, Zip};

use super::distance::signed;
use super::head::{Content, Head, Ribbon, TISSUES, Tissue};
use super::random::Draws;
use super::shape::{Point, dot};
use crate::volume::Grid;

/// Intensities of cerebrospinal fluid, grey and white matter in the template: the modes of its histogram, which for
/// Colin27 as Debian's `mricron-data` has it (`ch2bet.nii.gz`, 8 bits) lie at 30, 84 and 111.
const MODES: [f32; 3] = [30.0, 84.0, 111.0];
/// Outside the brain: from which intensity on there is no air, only muscle, only fat.
const SCALP: [f32; 3] = [10.0, 60.0, 150.0];
/// What is dark and this near the brain is fluid, not air, mm.
const FLUID_SPACE: f32 = 4.0;
/// Labels of the AAL atlas (Tzourio-Mazoyer et al., NeuroImage 15:273, 2002) that are cerebral cortex without
/// hippocampus and amygdala.
const CORTEX: [std::ops::RangeInclusive<u8>; 3] = [1..=36, 43..=70, 79..=90];
/// The middle of the cerebrum in the template's space (MNI, LPS), mm.
const MIDDLE: Point = [0.0, 18.0, 14.0];
/// Where white matter is farther from the pial surface than this, the ribbon is not resolved, mm.
const THICKEST: f32 = 4.5;

/// Why an image cannot be traced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// The three images lie on different grids.
    #[error(
        "head, brain and atlas lie on different grids, or not on one of 1 mm; give the three files of one template"
    )]
    Grids,
    /// The brain image has nothing in it, or is nothing but brain.
    #[error("the brain image shows no border of a brain; give the template with all but the brain set to zero")]
    NoBrain,
}

/// A template, measured once for all the heads that are made of it.
#[derive(Clone, Debug)]
pub struct Tracing {
    grid: Grid,
    head: Array3<f32>,
    /// Depths below the surfaces of brain mask, grey and white matter, mm.
    brain: Array3<f32>,
    grey: Array3<f32>,
    white: Array3<f32>,
    cortex: Array3<bool>,
}

impl Tracing {
    /// Measures a head, the same head with all but the brain set to zero, and its AAL atlas; axes (slice, row,
    /// column), 1 mm apart on one grid.
    ///
    /// # Errors
    /// [`TraceError`] where the images do not belong together.
    pub fn new(grid: Grid, head: Array3<f32>, brain: &Array3<f32>, atlas: &Array3<f32>) -> Result<Tracing, TraceError> {
        let [columns, rows, slices] = grid.size;
        if [head.dim(), brain.dim(), atlas.dim()].iter().any(|dim| *dim != (slices, rows, columns)) {
            return Err(TraceError::Grids);
        }
        let column = |axis: usize| -> [f64; 3] { std::array::from_fn(|row| grid.affine[row][axis]) };
        let inner = |a: [f64; 3], b: [f64; 3]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let square = (0..3).all(|a| {
            let wanted = |b: usize| if a == b { 1.0 } else { 0.0 };
            (0..3).all(|b| (inner(column(a), column(b)) - wanted(b)).abs() < 1e-3)
        });
        if !square || grid.size.contains(&1) {
            return Err(TraceError::Grids);
        }
        let inside = brain.mapv(|value| value > 0.0);
        if inside.iter().all(|set| *set) || !inside.iter().any(|set| *set) {
            return Err(TraceError::NoBrain);
        }
        let above = |level: f32| Zip::from(&inside).and(&head).map_collect(|set, value| *set && *value > level);
        let labelled = atlas.mapv(|label| CORTEX.iter().any(|range| range.contains(&(label as u8))));
        Ok(Tracing {
            brain: signed(&inside),
            grey: signed(&above(f32::midpoint(MODES[0], MODES[1]))),
            white: signed(&above(f32::midpoint(MODES[1], MODES[2]))),
            // The atlas is coarse: what lies up to 2 mm beside its cortex may be cortex.
            cortex: signed(&labelled).mapv(|depth| depth > -2.0),
            grid,
            head,
        })
    }

    /// Where a point of the template's space (LPS, mm) lies: the voxel below it and the part of the way to the next,
    /// along columns, rows, slices; none at or beyond the border.
    fn cell(&self, p: Point) -> Option<([usize; 3], Point)> {
        let mut low = [0; 3];
        let mut part = [0.0; 3];
        for axis in 0..3 {
            let column: Point = std::array::from_fn(|row| self.grid.affine[row][axis] as f32);
            let offset: Point = std::array::from_fn(|row| p[row] - self.grid.affine[row][3] as f32);
            let at = dot(offset, column) / dot(column, column);
            if at < 0.0 || at >= (self.grid.size[axis] - 1) as f32 {
                return None;
            }
            low[axis] = at as usize;
            part[axis] = at - low[axis] as f32;
        }
        Some((low, part))
    }
}

/// Linear between the eight voxels around a point.
fn linear(map: &Array3<f32>, ([x, y, z], [a, b, c]): ([usize; 3], Point)) -> f32 {
    let between = |low: f32, high: f32, part: f32| low + part * (high - low);
    let row = |z: usize, y: usize| between(map[[z, y, x]], map[[z, y, x + 1]], a);
    let plane = |z: usize| between(row(z, y), row(z, y + 1), b);
    between(plane(z), plane(z + 1), c)
}

/// How far along a scale of tissues an intensity lies: the share of the higher of two neighbours.
fn rise(value: f32, low: f32, high: f32) -> f32 {
    ((value - low) / (high - low)).clamp(0.0, 1.0)
}

/// Bends of the deformation.
const BENDS: usize = 10;

/// One deformed head.
pub(super) struct Traced<'a> {
    tracing: &'a Tracing,
    /// Rows of the matrix from head to template space.
    matrix: [Point; 3],
    /// Template mm to one head mm, on average.
    scale: f32,
    /// Each bend: wave vector, cycles per mm; phase, cycles; shift, mm.
    bends: [(Point, f32, Point); BENDS],
}

impl<'a> Traced<'a> {
    /// The head of a seed: scaled by 1 to 1.2 along each axis, sheared by up to 0.08, mirrored or not, and bent by
    /// 2 to 3 mm (root mean square) over 40 to 100 mm.
    pub(super) fn new(tracing: &'a Tracing, seed: u64) -> Self {
        let mut draws = Draws::new(seed, "deformation");
        let mut matrix = [[0.0; 3]; 3];
        let mut scale = 1.0;
        for (row, values) in matrix.iter_mut().enumerate() {
            for (column, value) in values.iter_mut().enumerate() {
                *value = if row == column { draws.between(1.0, 1.2) } else { draws.between(-0.08, 0.08) };
            }
            scale *= values[row];
        }
        if draws.count(0, 1) == 1 {
            matrix[0] = matrix[0].map(|x| -x);
        }
        let bends = std::array::from_fn(|_| {
            let cycles_per_mm = 1.0 / draws.between(40.0, 100.0);
            let wave = draws.direction().map(|x| x * cycles_per_mm);
            let size = draws.between(0.4, 1.8);
            (wave, draws.between(0.0, 1.0), draws.direction().map(|x| x * size))
        });
        Traced { tracing, matrix, scale: scale.cbrt(), bends }
    }

    fn cell(&self, p: Point) -> Option<([usize; 3], Point)> {
        let mut q: Point = std::array::from_fn(|row| dot(self.matrix[row], p) + MIDDLE[row]);
        for (wave, phase, shift) in &self.bends {
            let sine = ((dot(*wave, p) + phase) * std::f32::consts::TAU).sin();
            (0..3).for_each(|axis| q[axis] += shift[axis] * sine);
        }
        self.tracing.cell(q)
    }
}

impl Head for Traced<'_> {
    fn extent(&self) -> Point {
        [70.0, 88.0, 76.0]
    }

    fn ribbon(&self, p: Point) -> Option<Ribbon> {
        let cell = self.cell(p)?;
        let ([x, y, z], _) = cell;
        if !self.tracing.cortex[[z, y, x]] {
            return None;
        }
        let depth = linear(&self.tracing.grey, cell) / self.scale;
        let thickness = depth - linear(&self.tracing.white, cell) / self.scale;
        (thickness < THICKEST).then_some(Ribbon { depth, thickness })
    }

    fn content(&self, p: Point, _voxel: f32) -> Content {
        let mut shares = [0.0; TISSUES];
        let Some(cell) = self.cell(p) else {
            shares[Tissue::Air as usize] = 1.0;
            return Content { shares, brain: false };
        };
        let value = linear(&self.tracing.head, cell);
        let depth = linear(&self.tracing.brain, cell);
        let mut fill = |tissue: Tissue, share: f32| {
            shares.iter_mut().for_each(|other| *other *= 1.0 - share);
            shares[tissue as usize] += share;
        };
        if depth > 0.0 {
            fill(Tissue::Csf, 1.0);
            fill(Tissue::Grey, rise(value, MODES[0], MODES[1]));
            fill(Tissue::White, rise(value, MODES[1], MODES[2]));
        } else {
            let fluid = depth > -FLUID_SPACE;
            fill(if fluid { Tissue::Csf } else { Tissue::Air }, 1.0);
            fill(Tissue::Muscle, rise(value, if fluid { MODES[0] } else { SCALP[0] }, SCALP[1]));
            fill(Tissue::Fat, rise(value, SCALP[1], SCALP[2]));
        }
        Content { shares, brain: depth > -1.0 }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{Field, Phantom, PhantomSpec, Sequence};
    use super::*;

    /// Shells about MIDDLE at 1 mm: white matter to 50 mm, cortex to 53, fluid to 56, scalp to 62.
    fn ball() -> Tracing {
        let size = 150;
        let radius =
            |(z, y, x): (usize, usize, usize)| [x, y, z].iter().map(|i| (*i as f32 - 75.0).powi(2)).sum::<f32>().sqrt();
        let head = Array3::from_shape_fn((size, size, size), |index| match radius(index) {
            r if r < 50.0 => 111.0,
            r if r < 53.0 => 84.0,
            r if r < 56.0 => 30.0,
            r if r < 62.0 => 140.0,
            _ => 0.0,
        });
        let brain = Array3::from_shape_fn((size, size, size), |index| if radius(index) < 54.0 { 1.0 } else { 0.0 });
        let atlas = Array3::from_elem((size, size, size), 3.0);
        let affine = [
            [1.0, 0.0, 0.0, f64::from(MIDDLE[0]) - 75.0],
            [0.0, 1.0, 0.0, f64::from(MIDDLE[1]) - 75.0],
            [0.0, 0.0, 1.0, f64::from(MIDDLE[2]) - 75.0],
            [0.0, 0.0, 0.0, 1.0],
        ];
        Tracing::new(Grid { size: [size; 3], affine }, head, &brain, &atlas).unwrap()
    }

    #[test]
    fn lesions_lie_in_the_traced_cortex_and_are_darker_than_it() {
        let tracing = ball();
        let spec = PhantomSpec { lesions: 5..=5, ..PhantomSpec::demo(Field::T3, Sequence::Mprage, 3) };
        let with = Phantom::trace(&spec, &tracing).unwrap();
        let without = Phantom::trace(&PhantomSpec { lesions: 0..=0, ..spec.clone() }, &tracing).unwrap();
        assert_eq!(with.lesions.len(), 5);
        for lesion in &with.lesions {
            let within = with.labels.indexed_iter().filter(|(_, label)| **label == lesion.label);
            let (mut dark, mut count) = (0.0, 0.0);
            for (index, _) in within {
                assert!(with.brain[index]);
                dark += without.images[0].voxels[index] - with.images[0].voxels[index];
                count += 1.0;
            }
            assert!(dark / count > 20.0, "{lesion:?}: darker by {}", dark / count);
        }
        let other = Phantom::trace(&PhantomSpec { seed: 4, ..spec }, &tracing).unwrap();
        assert_ne!(with.brain, other.brain, "another seed bends the head another way");
    }

    #[test]
    fn the_shares_of_a_voxel_add_up_to_one() {
        let tracing = ball();
        let traced = Traced::new(&tracing, 9);
        let mut draws = Draws::new(1, "points");
        for _ in 0..20_000 {
            let p = [draws.between(-70.0, 70.0), draws.between(-70.0, 70.0), draws.between(-70.0, 70.0)];
            let sum: f32 = traced.content(p, 1.0).shares.iter().sum();
            assert!((sum - 1.0).abs() < 1e-4, "{p:?}: {sum}");
        }
    }

    #[test]
    fn images_that_do_not_belong_together_are_refused() {
        let mut grid = Grid { size: [4, 4, 4], affine: [[0.0; 4]; 4] };
        let flat =
            Tracing::new(grid.clone(), Array3::zeros((4, 4, 4)), &Array3::zeros((4, 4, 4)), &Array3::zeros((4, 4, 4)));
        assert_eq!(flat.unwrap_err(), TraceError::Grids);
        (0..4).for_each(|axis| grid.affine[axis][axis] = 1.0);
        let (cube, other) = (Array3::<f32>::zeros((4, 4, 4)), Array3::<f32>::zeros((4, 4, 5)));
        let error = |brain: &Array3<f32>| Tracing::new(grid.clone(), cube.clone(), brain, &cube).unwrap_err();
        assert_eq!(error(&other), TraceError::Grids);
        assert_eq!(error(&cube), TraceError::NoBrain);
        assert_eq!(error(&cube.mapv(|_| 1.0)), TraceError::NoBrain);
    }
}
