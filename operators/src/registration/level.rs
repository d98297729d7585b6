//! A volume at one resolution: blocks of voxels averaged into one, and what lies between them.

use rayon::prelude::*;

use super::rigid::{Matrix, Vector, inverse, less, turn};
use crate::volume::Volume;

/// A coarser volume on its own axes.
#[derive(Clone, Debug)]
pub(super) struct Level {
    /// Columns, rows, slices.
    pub(super) size: [usize; 3],
    /// Columns fastest.
    pub(super) voxels: Vec<f32>,
    /// From voxel index to LPS, mm.
    pub(super) axes: Matrix,
    pub(super) origin: Vector,
    /// From LPS, mm, to voxel index.
    pub(super) inverse: Matrix,
}

impl Level {
    /// Averages blocks of the volume's voxels `from` whose sides come nearest to `mm`, with `dark` in place of those that
    /// are not finite; what does not fill a block at the far ends is left out. None
    /// where that leaves fewer than two voxels along an axis, or the grid does not span space.
    pub(super) fn new(volume: &Volume, from: &[f32], mm: f64, dark: f32) -> Option<Self> {
        let spacing = volume.grid.spacing();
        let by: [usize; 3] = std::array::from_fn(|axis| ((mm / spacing[axis]).round().clamp(1.0, 64.0)) as usize);
        let size: [usize; 3] = std::array::from_fn(|axis| volume.grid.size[axis] / by[axis]);
        let axes: Matrix =
            std::array::from_fn(|i| std::array::from_fn(|axis| volume.grid.affine[i][axis] * by[axis] as f64));
        let origin = volume.grid.point(by.map(|n| (n as f64 - 1.0) / 2.0));
        let inverse = inverse(&axes)?;
        if size.iter().any(|extent| *extent < 2) || !origin.iter().all(|mm| mm.is_finite()) {
            return None;
        }
        let [columns, rows, _] = volume.grid.size;
        let share = 1.0 / by.iter().product::<usize>() as f32;
        let mut voxels = vec![0f32; size.iter().product()];
        voxels.par_chunks_mut(size[0] * size[1]).enumerate().for_each(|(slice, plane)| {
            for z in slice * by[2]..(slice + 1) * by[2] {
                for (row, into) in plane.chunks_mut(size[0]).enumerate() {
                    for y in row * by[1]..(row + 1) * by[1] {
                        let start = (z * rows + y) * columns;
                        let line = from.get(start..start + columns).unwrap_or_default();
                        for (voxel, block) in into.iter_mut().zip(line.chunks_exact(by[0])) {
                            *voxel +=
                                block.iter().map(|value| if value.is_finite() { *value } else { dark }).sum::<f32>();
                        }
                    }
                }
            }
            plane.iter_mut().for_each(|voxel| *voxel *= share);
        });
        Some(Level { size, voxels, axes, origin, inverse })
    }

    /// LPS point of a voxel index (column, row, slice), mm.
    pub(super) fn point(&self, index: Vector) -> Vector {
        let from_origin = turn(&self.axes, index);
        std::array::from_fn(|i| from_origin[i] + self.origin[i])
    }

    /// Voxel index of an LPS point.
    pub(super) fn index(&self, point: Vector) -> Vector {
        turn(&self.inverse, less(point, self.origin))
    }

    /// The middle of the grid, LPS, mm.
    pub(super) fn middle(&self) -> Vector {
        self.point(self.size.map(|extent| (extent as f64 - 1.0) / 2.0))
    }

    /// Value between the eight voxels around an index, and its slope along columns, rows and slices; none outside.
    pub(super) fn linear(&self, index: [f32; 3]) -> Option<(f32, [f32; 3])> {
        let [columns, rows, _] = self.size;
        let mut low = [0usize; 3];
        let mut part = [0f32; 3];
        for axis in 0..3 {
            let last = (self.size[axis] - 1) as f32;
            if !(0.0..=last).contains(&index[axis]) {
                return None;
            }
            low[axis] = (index[axis] as usize).min(self.size[axis] - 2);
            part[axis] = index[axis] - low[axis] as f32;
        }
        let at = (low[2] * rows + low[1]) * columns + low[0];
        let pair = |at: usize| self.voxels.get(at..at + 2);
        let (Some(&[a, b]), Some(&[c, d]), Some(&[e, f]), Some(&[g, h])) =
            (pair(at), pair(at + columns), pair(at + rows * columns), pair(at + rows * columns + columns))
        else {
            return None;
        };
        let [x, y, z] = part;
        let mix = |low: f32, high: f32, part: f32| low + part * (high - low);
        let (ab, cd, ef, gh) = (mix(a, b, x), mix(c, d, x), mix(e, f, x), mix(g, h, x));
        let (near, far) = (mix(ab, cd, y), mix(ef, gh, y));
        let along_x = mix(mix(b - a, d - c, y), mix(f - e, h - g, y), z);
        Some((mix(near, far, z), [along_x, mix(cd - ab, gh - ef, z), far - near]))
    }

    /// Centre of mass of what is brighter than the mean, LPS, mm.
    pub(super) fn centre(&self) -> Vector {
        let mean = self.voxels.iter().map(|value| f64::from(*value)).sum::<f64>() / self.voxels.len() as f64;
        let [columns, rows, _] = self.size;
        let (mut sum, mut mass) = ([0.0; 3], 0.0);
        for (number, value) in self.voxels.iter().enumerate() {
            if f64::from(*value) > mean {
                let index = [number % columns, number / columns % rows, number / columns / rows];
                (0..3).for_each(|axis| sum[axis] += index[axis] as f64);
                mass += 1.0;
            }
        }
        if mass > 0.0 { self.point(sum.map(|part| part / mass)) } else { self.middle() }
    }
}
