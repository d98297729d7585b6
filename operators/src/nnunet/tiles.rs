//! The sliding window (nnU-Net `sliding_window_prediction.py`): padding, tile starts, weights, accumulation, mirroring.
//!
//! Owns where tiles lie and how they are blended, in which precision; running the network on one is left to `models`.

use ndarray::{Array3, Array4, ArrayView3, ArrayView4, Axis, Slice, Zip, s};
use thiserror::Error;

/// Why a tile could not be added.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "a tile of shape {tile:?} at {start:?} does not fit into logits of shape {logits:?}; check the network's output"
)]
pub struct TileError {
    /// Classes, z, y, x of the tile.
    pub tile: [usize; 4],
    /// Its first voxel.
    pub start: [usize; 3],
    /// Classes, z, y, x of the accumulator.
    pub logits: [usize; 4],
}

/// The precision of what is summed and kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// f32.
    #[default]
    Single,
    /// fp16, as nnU-Net keeps logits: to compare with it, voxel by voxel.
    Half,
}

impl Precision {
    /// The nearest number of this precision.
    pub fn round(self, value: f32) -> f32 {
        match self {
            Precision::Single => value,
            Precision::Half => half::f16::from_f32(value).to_f32(),
        }
    }
}

/// Pads (channels, z, y, x) with zeros to at least the patch, centred, the odd voxel at the end
/// (`pad_nd_image`). Also gives the voxels added in front.
pub fn pad_to_patch(image: Array4<f32>, patch: [usize; 3]) -> (Array4<f32>, [usize; 3]) {
    let dim = image.raw_dim();
    let shape = [dim[1], dim[2], dim[3]];
    let padded: [usize; 3] = std::array::from_fn(|axis| shape[axis].max(patch[axis]));
    let front: [usize; 3] = std::array::from_fn(|axis| (padded[axis] - shape[axis]) / 2);
    if padded == shape {
        return (image, front);
    }
    let mut out = Array4::zeros((dim[0], padded[0], padded[1], padded[2]));
    let [z, y, x] = std::array::from_fn(|axis| front[axis]..front[axis] + shape[axis]);
    out.slice_mut(s![.., z, y, x]).assign(&image);
    (out, front)
}

/// First voxels of the tiles along one axis (`compute_steps_for_sliding_window`); `step` is the share of the patch
/// between tiles, 0.5 in nnU-Net. The image is at least the patch. A patch of one voxel is that of a planar network
/// across its slices, which sees each of them once.
pub fn starts(image: usize, patch: usize, step: f64) -> Vec<usize> {
    if patch == 1 {
        return (0..image).collect();
    }
    let free = image.saturating_sub(patch) as f64;
    let tiles = (free / (patch as f64 * step)).ceil() as usize + 1;
    let distance = if tiles > 1 { free / (tiles - 1) as f64 } else { 0.0 };
    (0..tiles).map(|i| (distance * i as f64).round_ties_even() as usize).collect()
}

/// First voxels of all tiles, axis 0 outermost.
pub fn tile_starts(image: [usize; 3], patch: [usize; 3], step: f64) -> Vec<[usize; 3]> {
    let [z, y, x]: [Vec<usize>; 3] = std::array::from_fn(|axis| starts(image[axis], patch[axis], step));
    let mut all = Vec::with_capacity(z.len() * y.len() * x.len());
    for &z in &z {
        for &y in &y {
            all.extend(x.iter().map(|&x| [z, y, x]));
        }
    }
    all
}

/// The weights of a tile's voxels (`compute_gaussian`): a Gaussian around `patch / 2` with sigma patch / 8, its
/// maximum 10, rounded to fp16 as nnU-Net stores it, zeros replaced by the smallest other value.
pub fn gaussian(patch: [usize; 3]) -> Array3<f32> {
    let axes: [Vec<f64>; 3] = patch.map(|length| {
        let sigma = length as f64 / 8.0;
        let radius = (4.0 * sigma + 0.5) as i64;
        let bell = |x: i64| (-0.5 / (sigma * sigma) * (x * x) as f64).exp();
        let sum: f64 = (-radius..=radius).map(bell).sum();
        let centre = (length / 2) as i64;
        (0..length as i64).map(|at| if (at - centre).abs() <= radius { bell(at - centre) / sum } else { 0.0 }).collect()
    });
    let weight = |(z, y, x): (usize, usize, usize)| axes[0][z] * axes[1][y] * axes[2][x];
    let scale = weight((patch[0] / 2, patch[1] / 2, patch[2] / 2)) / 10.0;
    let mut weights = Array3::from_shape_fn(patch, |at| Precision::Half.round((weight(at) / scale) as f32));
    let smallest = weights.iter().copied().filter(|&w| w > 0.0).fold(f32::INFINITY, f32::min);
    weights.mapv_inplace(|w| if w == 0.0 { smallest } else { w });
    weights
}

/// The sets of axes to mirror, identity first, in nnU-Net's order.
pub fn mirrorings(axes: &[usize]) -> Vec<Vec<usize>> {
    let mut sets: Vec<Vec<usize>> = (0..1usize << axes.len().min(3))
        .map(|bits| axes.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1).map(|(_, &axis)| axis).collect())
        .collect();
    sets.sort_by_key(|set: &Vec<usize>| (set.len(), set.clone()));
    sets
}

/// A view of (channels, z, y, x) with the given spatial axes (0 is z) reversed.
pub fn mirrored<'a>(mut view: ArrayView4<'a, f32>, axes: &[usize]) -> ArrayView4<'a, f32> {
    for &axis in axes.iter().filter(|axis| **axis < 3) {
        view.invert_axis(Axis(axis + 1));
    }
    view
}

/// Sums of weighted logits, and of weights, over a padded image.
#[derive(Debug)]
pub struct Accumulator {
    logits: Array4<f32>,
    weights: Array3<f32>,
    precision: Precision,
}

impl Accumulator {
    /// Zero logits for `classes` over an image of this shape (z, y, x), whose sums are kept in `precision`.
    pub fn new(classes: usize, shape: [usize; 3], precision: Precision) -> Self {
        let logits = Array4::zeros((classes, shape[0], shape[1], shape[2]));
        Accumulator { logits, weights: Array3::zeros(shape), precision }
    }

    /// Adds a tile's logits (classes, z, y, x) at `start` under `gaussian` weights of the tile's shape.
    pub fn add(
        &mut self,
        tile: ArrayView4<'_, f32>,
        start: [usize; 3],
        gaussian: ArrayView3<'_, f32>,
    ) -> Result<(), TileError> {
        let (have, want) = (tile.raw_dim(), self.logits.raw_dim());
        let fits = (0..3).all(|axis| start[axis] + have[axis + 1] <= want[axis + 1])
            && have[0] == want[0]
            && (0..3).all(|axis| gaussian.raw_dim()[axis] == have[axis + 1]);
        if !fits {
            let list = |dim: ndarray::Ix4| [dim[0], dim[1], dim[2], dim[3]];
            return Err(TileError { tile: list(have), start, logits: list(want) });
        }
        let [z, y, x] = std::array::from_fn(|axis| Slice::from(start[axis]..start[axis] + have[axis + 1]));
        for (mut sums, class) in self.logits.axis_iter_mut(Axis(0)).zip(tile.axis_iter(Axis(0))) {
            let mut window = sums.slice_mut(s![z, y, x]);
            let windows = Zip::from(&mut window).and(&class).and(&gaussian);
            match self.precision {
                Precision::Single => windows.for_each(|sum, &logit, &weight| *sum += logit * weight),
                half => windows.for_each(|sum, &logit, &weight| *sum = half.round(*sum + logit * weight)),
            }
        }
        let mut window = self.weights.slice_mut(s![z, y, x]);
        window.zip_mut_with(&gaussian, |sum, weight| *sum = self.precision.round(*sum + weight));
        Ok(())
    }

    /// The weighted mean of the tiles; 0 where no tile lay.
    pub fn finish(mut self) -> Array4<f32> {
        for mut class in self.logits.axis_iter_mut(Axis(0)) {
            Zip::from(&mut class).and(&self.weights).for_each(|sum, &weight| {
                if weight > 0.0 {
                    *sum = self.precision.round(*sum / weight);
                }
            });
        }
        self.logits
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // scipy 1.15: t = zeros((6,9,16)), t[3,4,8] = 1; g = gaussian_filter(t, [6/8,9/8,2], 0, mode='constant');
    // g = (g/(g.max()/10)).astype(float32).astype(float16), zeros to the smallest; g[::2,::3,::3][1:2]
    #[test]
    fn weights_equal_nnunet() {
        let found = gaussian([6, 9, 16]);
        let wanted = [
            2.503_395e-6,
            0.000_324_726_1,
            0.004_482_269_3,
            0.006_523_132_3,
            0.001_000_404_4,
            1.615_286e-5,
            0.000_928_878_8,
            0.121_704_1,
            1.679_687_5,
            2.443_359_4,
            0.374_755_86,
            0.006_057_739_3,
            0.000_283_956_53,
            0.037_200_93,
            0.513_671_9,
            0.747_070_3,
            0.114_562_99,
            0.001_852_035_5,
        ];
        let slice = found.slice(s![2, ..;3, ..;3]);
        for (found, wanted) in slice.iter().zip(wanted) {
            assert!((found - wanted).abs() <= wanted * 1e-6, "{found} is not {wanted}");
        }
        let long = gaussian([64, 8, 8]);
        let smallest = long.iter().copied().fold(f32::INFINITY, f32::min);
        assert_eq!((long[[0, 0, 0]], smallest, long[[32, 4, 4]]), (5.960_464_5e-8, 5.960_464_5e-8, 10.0));
        let sum: f64 = long.iter().map(|&w| f64::from(w)).sum();
        assert!((sum - 1_259.560_55).abs() < 1e-4, "{sum}");
    }

    // compute_steps_for_sliding_window((170,), (96,), 0.5), ((193,), (128,), 0.5) and ((96,), (96,), 0.5)
    #[test]
    fn starts_equal_nnunet() {
        assert_eq!(starts(170, 96, 0.5), [0, 37, 74]);
        assert_eq!(starts(193, 128, 0.5), [0, 32, 65]);
        assert_eq!(starts(96, 96, 0.5), [0]);
        assert_eq!(starts(3, 1, 0.5), [0, 1, 2]);
        assert_eq!(tile_starts([4, 6, 4], [4, 4, 4], 0.5), [[0, 0, 0], [0, 2, 0]]);
    }

    #[test]
    fn mirrorings_come_in_the_order_of_nnunet() {
        let all: Vec<Vec<usize>> =
            vec![vec![], vec![0], vec![1], vec![2], vec![0, 1], vec![0, 2], vec![1, 2], vec![0, 1, 2]];
        assert_eq!(mirrorings(&[0, 1, 2]), all);
        assert_eq!(mirrorings(&[]), [Vec::<usize>::new()]);
    }

    #[test]
    fn mirroring_twice_is_no_mirroring() {
        let image = Array4::from_shape_fn((1, 2, 3, 4), |(_, z, y, x)| (z * 12 + y * 4 + x) as f32);
        let once = mirrored(image.view(), &[0, 2]);
        assert_eq!(once[[0, 0, 1, 0]], image[[0, 1, 1, 3]]);
        assert_eq!(mirrored(once, &[0, 2]), image);
    }

    #[test]
    fn the_odd_voxel_is_padded_at_the_end() {
        let (padded, front) = pad_to_patch(Array4::from_elem((1, 2, 3, 9), 1.0), [5, 4, 4]);
        assert_eq!((padded.dim(), front), ((1, 5, 4, 9), [1, 0, 0]));
        assert_eq!(padded.slice(s![0, .., 0, 0]).to_vec(), [0.0, 1.0, 1.0, 0.0, 0.0]);
        assert_eq!(padded.slice(s![0, 1, .., 0]).to_vec(), [1.0, 1.0, 1.0, 0.0]);
    }

    proptest! {
        #[test]
        fn tiles_cover_the_image(image in 1usize..400, patch in 1usize..130, share in 1usize..5) {
            let image = image.max(patch);
            let starts = starts(image, patch, share as f64 / 4.0);
            prop_assert_eq!(starts[0], 0);
            prop_assert_eq!(starts[starts.len() - 1] + patch, image);
            prop_assert!(starts.windows(2).all(|pair| pair[1] <= pair[0] + patch));
        }
    }

    #[test]
    fn blending_tiles_of_one_function_gives_it_back() {
        let truth = Array4::from_shape_fn((2, 7, 9, 8), |(c, z, y, x)| (c * 100 + z * 9 + y * 3 + x) as f32);
        let weights = gaussian([4, 4, 4]);
        let mut sums = Accumulator::new(2, [7, 9, 8], Precision::Single);
        for start in tile_starts([7, 9, 8], [4, 4, 4], 0.5) {
            let [z, y, x] = start.map(|first| first..first + 4);
            sums.add(truth.slice(s![.., z, y, x]), start, weights.view()).unwrap();
        }
        sums.finish().iter().zip(truth.iter()).for_each(|(a, b)| assert!((a - b).abs() < 1e-4));
    }

    #[test]
    fn a_tile_over_the_edge_is_refused() {
        let mut sums = Accumulator::new(1, [4, 4, 4], Precision::Single);
        let tile = Array4::zeros((1, 4, 4, 4));
        assert!(sums.add(tile.view(), [0, 0, 1], gaussian([4, 4, 4]).view()).is_err());
    }
}
