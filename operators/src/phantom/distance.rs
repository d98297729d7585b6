//! Distance to the surface of a mask, exact on its grid.

use ndarray::{Array3, ArrayViewMut1, Axis, Zip};

/// Stands for no surface at all; squared distances of real grids stay far below.
const FAR: f32 = 1.0e12;

/// Distance in voxels from the border of `mask`, half a voxel beyond its outermost voxels' centres: positive inside,
/// negative outside. By lower envelopes of parabolas along each axis (Felzenszwalb and Huttenlocher, Theory of
/// Computing 8:415, 2012).
pub(super) fn signed(mask: &Array3<bool>) -> Array3<f32> {
    let outside = to_nearest(mask, false);
    let inside = to_nearest(mask, true);
    Zip::from(&outside).and(&inside).map_collect(|out, into| match out.sqrt() - into.sqrt() {
        depth if depth > 0.0 => depth - 0.5,
        depth => depth + 0.5,
    })
}

/// Squared distance of each voxel to the nearest one whose mask is `value`.
fn to_nearest(mask: &Array3<bool>, value: bool) -> Array3<f32> {
    let mut squared = mask.mapv(|set| if set == value { 0.0 } else { FAR });
    for axis in 0..3 {
        Zip::from(squared.lanes_mut(Axis(axis))).for_each(envelope);
    }
    squared
}

/// Along one line: the least of `heights[j] + (i - j)^2`.
fn envelope(mut line: ArrayViewMut1<'_, f32>) {
    let heights: Vec<f32> = line.to_vec();
    // Parabolas of the envelope, and where each begins to be the lowest.
    let mut lowest: Vec<(usize, f32)> = Vec::with_capacity(heights.len());
    for (at, height) in heights.iter().enumerate() {
        let begins = loop {
            let Some((other, begins)) = lowest.last() else { break f32::NEG_INFINITY };
            let (p, q) = (at as f32, *other as f32);
            let meet = ((height + p * p) - (heights[*other] + q * q)) / (2.0 * (p - q));
            if meet > *begins {
                break meet;
            }
            lowest.pop();
        };
        lowest.push((at, begins));
    }
    let mut current = 0;
    for (at, value) in line.iter_mut().enumerate() {
        while lowest.get(current + 1).is_some_and(|(_, begins)| *begins < at as f32) {
            current += 1;
        }
        let (other, _) = lowest[current];
        *value = heights[other] + (at as f32 - other as f32).powi(2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_nearest_voxel_of_the_other_kind_decides(bits in prop::collection::vec(any::<bool>(), 5 * 6 * 7)) {
            let mask = Array3::from_shape_fn((5, 6, 7), |(z, y, x)| bits[(z * 6 + y) * 7 + x]);
            prop_assume!(bits.contains(&true) && bits.contains(&false));
            let depth = signed(&mask);
            for ((z, y, x), inside) in mask.indexed_iter() {
                let apart = |a: usize, b: usize| (a as f32 - b as f32).powi(2);
                let other = mask.indexed_iter().filter(|(_, value)| *value != inside);
                let nearest = other
                    .map(|((c, b, a), _)| apart(z, c) + apart(y, b) + apart(x, a))
                    .fold(f32::INFINITY, f32::min)
                    .sqrt();
                let expected = if *inside { nearest - 0.5 } else { 0.5 - nearest };
                prop_assert!((depth[[z, y, x]] - expected).abs() < 1e-3);
            }
        }
    }
}
