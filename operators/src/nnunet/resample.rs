//! Resampling as nnU-Net does it (`default_resampling.py` over `skimage.transform.resize` over `scipy.ndimage.zoom`).
//!
//! Owns shapes, the separate-z rule and the interpolation of images; logits are resampled in `export`, slice by slice.

use ndarray::{Array3, ArrayView2, ArrayView3, ArrayViewMut2, Axis};
use rayon::prelude::*;

/// Interpolation within a plane or volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Linear (1).
    Linear,
    /// Cubic B-spline with prefilter (3).
    Cubic,
}

/// Voxels that scipy pads at each edge before it filters (`_prepad_for_spline_filter`).
const PAD: usize = 12;

/// The pole of the cubic B-spline, sqrt(3) - 2.
const POLE: f64 = -0.267_949_192_431_122_7;

/// nnU-Net's `compute_new_shape`: each axis to the spacing of the plans, halves to the even neighbour, at least 1.
pub fn new_shape(shape: [usize; 3], spacing: [f64; 3], target: [f64; 3]) -> [usize; 3] {
    std::array::from_fn(|axis| {
        let wanted = (spacing[axis] / target[axis] * shape[axis] as f64).round_ties_even();
        (wanted as usize).max(1)
    })
}

/// The axis that is resampled on its own (`determine_do_sep_z_and_axis`): the coarse one, where the current spacing,
/// or else the new one, differs by more than 3. `force` is the plans' `force_separate_z`.
pub fn separate_axis(current: [f64; 3], new: [f64; 3], force: Option<bool>) -> Option<usize> {
    let uneven = |spacing: [f64; 3]| {
        let (low, high) = spacing.iter().fold((f64::INFINITY, 0.0f64), |(l, h), &v| (l.min(v), h.max(v)));
        high / low > 3.0
    };
    let spacing = match force {
        Some(true) => current,
        Some(false) => return None,
        None if uneven(current) => current,
        None if uneven(new) => new,
        None => return None,
    };
    let high = spacing.iter().copied().fold(0.0, f64::max);
    let mut coarse = (0..3).filter(|&axis| spacing[axis] == high);
    let first = coarse.next();
    // Two or three coarse axes: nnU-Net switches the rule off.
    if coarse.next().is_some() { None } else { first }
}

/// Resamples an image to `shape`; `separate` names the axis that takes its nearest slices, where there is one.
///
/// Equal to nnU-Net on finite input up to the rounding of f64 sums: results are clipped to the input's range, an
/// unchanged shape returns the input untouched. Needs about three copies of the larger image in f64.
pub fn resample(image: ArrayView3<'_, f32>, shape: [usize; 3], order: Order, separate: Option<usize>) -> Array3<f32> {
    let from = [image.dim().0, image.dim().1, image.dim().2];
    if from == shape || image.is_empty() {
        return image.to_owned();
    }
    let mut current = image.mapv(f64::from);
    match separate {
        None => {
            let (low, high) = range(image.iter());
            // Shrinking axes first, so that the passes in between stay small.
            let mut axes = [0, 1, 2];
            axes.sort_by(|&a, &b| (shape[a] * from[b]).cmp(&(shape[b] * from[a])));
            for axis in axes {
                current = along(current.view(), axis, shape[axis], order);
            }
            current.mapv_inplace(|v| v.max(low).min(high));
        }
        Some(coarse) => {
            let ranges: Vec<(f64, f64)> = image.axis_iter(Axis(coarse)).map(|plane| range(plane.iter())).collect();
            let plane = current.index_axis(Axis(coarse), 0).raw_dim();
            let in_plane: Vec<usize> = (0..3).filter(|&axis| axis != coarse).collect();
            let changed = in_plane.iter().enumerate().any(|(at, &axis)| plane[at] != shape[axis]);
            if changed {
                for axis in in_plane {
                    current = along(current.view(), axis, shape[axis], order);
                }
                for (mut slice, (low, high)) in current.axis_iter_mut(Axis(coarse)).zip(ranges) {
                    slice.mapv_inplace(|v| v.max(low).min(high));
                }
            }
            current = current.select(Axis(coarse), &nearest(from[coarse], shape[coarse]));
        }
    }
    current.mapv(|v| v as f32)
}

/// The input sample nearest to each output sample, as `map_coordinates` with order 0 finds it.
pub fn nearest(from: usize, to: usize) -> Vec<usize> {
    let scale = from as f64 / to as f64;
    (0..to)
        .map(|k| {
            let at = (scale * (k as f64 + 0.5) - 0.5).clamp(0.0, from.saturating_sub(1) as f64);
            (at + 0.5).floor() as usize
        })
        .map(|at| at.min(from.saturating_sub(1)))
        .collect()
}

/// The two input samples and the second one's weight for each output sample, for order 1.
pub fn linear_taps(from: usize, to: usize) -> Vec<(usize, usize, f64)> {
    let scale = from as f64 / to as f64;
    let last = from.saturating_sub(1);
    (0..to)
        .map(|k| {
            let at = ((k as f64 + 0.5) * scale - 0.5).clamp(0.0, last as f64);
            let low = at.floor();
            (low as usize, (low as usize + 1).min(last), at - low)
        })
        .collect()
}

/// Four input samples (of the padded line) and their weights for each output sample, for order 3.
fn cubic_taps(from: usize, to: usize) -> Vec<([usize; 4], [f64; 4])> {
    let scale = from as f64 / to as f64;
    let last = from + 2 * PAD - 1;
    (0..to)
        .map(|k| {
            let at = (k as f64 + 0.5) * scale - 0.5 + PAD as f64;
            let low = at.floor();
            let x = at - low;
            let q = 1.0 - x;
            let w0 = q * q * q / 6.0;
            let w1 = (x * x * (x - 2.0) * 3.0 + 4.0) / 6.0;
            let w2 = (q * q * (q - 2.0) * 3.0 + 4.0) / 6.0;
            let start = low as usize - 1;
            (std::array::from_fn(|tap| (start + tap).min(last)), [w0, w1, w2, 1.0 - w0 - w1 - w2])
        })
        .collect()
}

/// Resamples one axis to `to` samples. The volume is worked on in planes that hold the axis, in parallel.
fn along(image: ArrayView3<'_, f64>, axis: usize, to: usize, order: Order) -> Array3<f64> {
    let from = image.len_of(Axis(axis));
    let mut dim = image.raw_dim();
    dim[axis] = to;
    let mut out = Array3::zeros(dim);
    // Planes are cut across z, or across y for the z axis itself, so that a plane's other axis is contiguous in memory.
    let across = Axis(if axis == 0 { 1 } else { 0 });
    let mut planes: Vec<_> = image.axis_iter(across).zip(out.axis_iter_mut(across)).collect();
    match order {
        Order::Cubic => {
            let taps = cubic_taps(from, to);
            planes.par_iter_mut().for_each_init(Vec::new, |padded, (plane, out)| {
                cubic_plane(orient(plane.view(), axis), orient_mut(out.view_mut(), axis), &taps, padded);
            });
        }
        Order::Linear => {
            let taps = linear_taps(from, to);
            planes.par_iter_mut().for_each(|(plane, out)| {
                let (plane, mut out) = (orient(plane.view(), axis), orient_mut(out.view_mut(), axis));
                for (&(low, high, weight), mut line) in taps.iter().zip(out.rows_mut()) {
                    ndarray::Zip::from(&mut line)
                        .and(plane.row(low))
                        .and(plane.row(high))
                        .for_each(|out, &low, &high| *out = low * (1.0 - weight) + high * weight);
                }
            });
        }
    }
    out
}

/// A plane with the resampled axis first: it is the second one only for x.
fn orient(plane: ArrayView2<'_, f64>, axis: usize) -> ArrayView2<'_, f64> {
    if axis == 2 { plane.reversed_axes() } else { plane }
}

fn orient_mut(plane: ArrayViewMut2<'_, f64>, axis: usize) -> ArrayViewMut2<'_, f64> {
    if axis == 2 { plane.reversed_axes() } else { plane }
}

/// Pads, filters and samples all lines of a plane at once; lines run along its first axis.
fn cubic_plane(
    plane: ArrayView2<'_, f64>,
    mut out: ArrayViewMut2<'_, f64>,
    taps: &[([usize; 4], [f64; 4])],
    padded: &mut Vec<f64>,
) {
    let (from, width) = plane.dim();
    let length = from + 2 * PAD;
    padded.clear();
    padded.reserve(length * width);
    for at in 0..length {
        padded.extend(plane.row(at.saturating_sub(PAD).min(from - 1)));
    }
    prefilter(padded, length, width);
    for ((sources, weights), mut line) in taps.iter().zip(out.rows_mut()) {
        let [a, b, c, d] = sources.map(|at| &padded[at * width..(at + 1) * width]);
        for (column, value) in line.iter_mut().enumerate() {
            *value = a[column] * weights[0] + b[column] * weights[1] + c[column] * weights[2] + d[column] * weights[3];
        }
    }
}

/// scipy's `spline_filter1d` of order 3 with reflecting ends, for `width` interleaved lines of `length` samples.
fn prefilter(c: &mut [f64], length: usize, width: usize) {
    let gain = (1.0 - POLE) * (1.0 - 1.0 / POLE);
    for value in c.iter_mut() {
        *value *= gain;
    }
    let power = POLE.powi(length as i32);
    let first: Vec<f64> = c[..width].to_vec();
    for column in 0..width {
        c[column] += power * c[(length - 1) * width + column];
    }
    let mut factor = POLE;
    for i in 1..length {
        // The causal start sums a geometric series: its terms vanish long before the end of a real line.
        if factor == 0.0 {
            break;
        }
        for column in 0..width {
            let mirror = c[(length - 1 - i) * width + column];
            c[column] += factor * (c[i * width + column] + power * mirror);
        }
        factor *= POLE;
    }
    for column in 0..width {
        c[column] *= POLE / (1.0 - power * power);
        c[column] += first[column];
    }
    for i in 1..length {
        let (before, here) = c.split_at_mut(i * width);
        for (value, last) in here[..width].iter_mut().zip(&before[(i - 1) * width..]) {
            *value += POLE * last;
        }
    }
    for value in &mut c[(length - 1) * width..] {
        *value *= POLE / (POLE - 1.0);
    }
    for i in (0..length - 1).rev() {
        let (here, after) = c.split_at_mut((i + 1) * width);
        for (value, next) in here[i * width..].iter_mut().zip(&after[..width]) {
            *value = POLE * (next - *value);
        }
    }
}

fn range<'a>(values: impl Iterator<Item = &'a f32>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &v| (low.min(v.into()), high.max(v.into())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn image() -> Array3<f32> {
        Array3::from_shape_fn((3, 4, 5), |(z, y, x)| ((z * 7 + y * 13 + x * 5) % 11) as f32)
    }

    fn every_sixth(image: &Array3<f32>) -> Vec<f32> {
        image.iter().copied().step_by(6).collect()
    }

    fn assert_close(found: &[f32], wanted: &[f32]) {
        assert_eq!(found.len(), wanted.len());
        for (found, wanted) in found.iter().zip(wanted) {
            assert!((found - wanted).abs() < 2e-6, "{found} is not {wanted}");
        }
    }

    // Goldens: a = ((z*7+y*13+x*5)%11) as float64; skimage 0.25 / scipy 1.15,
    // resize(a, (4,3,7), order=3, mode='edge', anti_aliasing=False).ravel()[::6]
    #[test]
    fn cubic_equals_skimage() {
        let found = resample(image().view(), [4, 3, 7], Order::Cubic, None);
        assert_close(
            &every_sixth(&found),
            &[
                0.0,
                8.170_607,
                4.995_093_3,
                9.691_513,
                7.467_973_7,
                6.506_31,
                4.474_485,
                7.110_647,
                3.572_724_8,
                4.437_715,
                3.769_154_3,
                2.014_244_6,
                5.319_767_5,
                4.167_59,
            ],
        );
    }

    // The same with order=1.
    #[test]
    fn linear_equals_skimage() {
        let found = resample(image().view(), [4, 3, 7], Order::Linear, None);
        assert_close(
            &every_sixth(&found),
            &[
                0.333_333_34,
                7.5,
                4.428_571,
                8.238_095,
                7.145_833_5,
                5.75,
                4.059_523_6,
                5.833_333_5,
                3.833_333_3,
                4.821_429,
                4.244_047_6,
                2.333_333_3,
                5.357_143,
                5.238_095,
            ],
        );
    }

    // Slices: resize(p, (6,3), order=3, ...); between them map_coordinates(order=0, mode='nearest') to 5, as nnU-Net.
    #[test]
    fn separate_z_equals_nnunet() {
        let found = resample(image().view(), [5, 6, 3], Order::Cubic, Some(0));
        assert_close(
            &every_sixth(&found),
            &[
                0.845_248,
                4.668_144,
                5.129_153,
                0.845_248,
                4.668_144,
                5.129_153,
                4.371_913,
                5.961_900_7,
                1.940_377_7,
                4.875_485_4,
                6.854_687,
                5.362_034_3,
                4.875_485_4,
                6.854_687,
                5.362_034_3,
            ],
        );
    }

    #[test]
    fn the_axes_are_treated_alike() {
        let turned = image().permuted_axes([2, 0, 1]).as_standard_layout().to_owned();
        for (order, separate) in [(Order::Cubic, None), (Order::Linear, None), (Order::Cubic, Some(0))] {
            let straight = resample(image().view(), [5, 6, 3], order, separate);
            let moved = resample(turned.view(), [3, 5, 6], order, separate.map(|axis| axis + 1));
            let back = moved.permuted_axes([1, 2, 0]);
            straight.iter().zip(back.iter()).for_each(|(a, b)| assert!((a - b).abs() < 1e-6));
        }
    }

    #[test]
    fn shapes_round_half_to_even() {
        assert_eq!(new_shape([5, 15, 3], [0.5, 0.5, 0.1], [1.0, 1.0, 1.0]), [2, 8, 1]);
    }

    #[test]
    fn only_one_coarse_axis_is_separate() {
        assert_eq!(separate_axis([5.0, 1.0, 1.0], [1.0; 3], None), Some(0));
        assert_eq!(separate_axis([3.0, 1.0, 1.0], [1.0; 3], None), None);
        assert_eq!(separate_axis([1.0; 3], [1.0, 1.0, 4.0], None), Some(2));
        assert_eq!(separate_axis([5.0, 5.0, 1.0], [1.0; 3], None), None);
        assert_eq!(separate_axis([5.0, 1.0, 1.0], [1.0; 3], Some(false)), None);
        assert_eq!(separate_axis([1.0, 2.0, 1.0], [1.0; 3], Some(true)), Some(1));
    }

    proptest! {
        #[test]
        fn a_constant_stays_and_the_range_is_kept(
            shape in proptest::array::uniform3(1usize..7),
            to in proptest::array::uniform3(1usize..9),
            separate in proptest::option::of(0usize..3),
            seed in 0u32..1000,
        ) {
            let flat = Array3::from_elem(shape, 3.25f32);
            let noise = Array3::from_shape_fn(shape, |(z, y, x)| {
                ((seed as usize + z * 31 + y * 17 + x * 7) * 7919 % 101) as f32
            });
            for order in [Order::Cubic, Order::Linear] {
                let found = resample(flat.view(), to, order, separate);
                prop_assert_eq!(found.dim(), (to[0], to[1], to[2]));
                prop_assert!(found.iter().all(|&v| (v - 3.25).abs() < 1e-5));
                let low = noise.iter().copied().fold(f32::INFINITY, f32::min);
                let high = noise.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let found = resample(noise.view(), to, order, separate);
                prop_assert!(found.iter().all(|&v| v >= low && v <= high));
            }
        }
    }
}
