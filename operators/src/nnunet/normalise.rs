//! Intensity normalisation by channel (nnU-Net `default_normalization_schemes.py`).

use ndarray::{ArrayView3, ArrayViewMut3, Zip};

/// How one channel is normalised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scheme {
    /// Mean 0, standard deviation 1, over the nonzero region or the whole crop.
    ZScore {
        /// True: statistics over the nonzero region, and voxels outside it are left as they are.
        use_mask: bool,
    },
    /// Clip to the training set's percentiles, then its mean and standard deviation.
    Ct {
        /// The training set's 0.5 percentile.
        percentile_00_5: f32,
        /// The training set's 99.5 percentile.
        percentile_99_5: f32,
        /// The training set's mean.
        mean: f32,
        /// The training set's standard deviation.
        std: f32,
    },
    /// Minimum to 0, maximum to 1.
    RescaleTo01,
    /// 0..255 to 0..1.
    RgbTo01,
    /// Left as it is.
    NoNorm,
}

/// Normalises one channel in place; `inside` is the nonzero region of the crop, of the same shape.
///
/// Statistics run in f64, where nnU-Net sums f32 pairwise: results agree to about 1e-6.
pub fn normalise(mut channel: ArrayViewMut3<'_, f32>, scheme: Scheme, inside: ArrayView3<'_, bool>) {
    match scheme {
        Scheme::ZScore { use_mask: false } => {
            let (mean, std) = mean_and_std(|each| channel.iter().for_each(|&v| each(v)));
            channel.mapv_inplace(|v| (v - mean) / std);
        }
        Scheme::ZScore { use_mask: true } => {
            let (mean, std) = mean_and_std(|each| {
                Zip::from(&channel).and(&inside).for_each(|&v, &inside| {
                    if inside {
                        each(v);
                    }
                });
            });
            Zip::from(&mut channel).and(&inside).for_each(|v, &inside| {
                if inside {
                    *v = (*v - mean) / std;
                }
            });
        }
        Scheme::Ct { percentile_00_5, percentile_99_5, mean, std } => {
            let std = std.max(SMALLEST_STD);
            // `max` then `min`, not `clamp`: a package with its percentiles swapped must not panic.
            channel.mapv_inplace(|v| (v.max(percentile_00_5).min(percentile_99_5) - mean) / std);
        }
        Scheme::RescaleTo01 => {
            let low = channel.iter().copied().fold(f32::INFINITY, f32::min);
            let high = channel.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let range = (high - low).max(SMALLEST_STD);
            channel.mapv_inplace(|v| (v - low) / range);
        }
        Scheme::RgbTo01 => channel.mapv_inplace(|v| v / 255.0),
        Scheme::NoNorm => {}
    }
}

const SMALLEST_STD: f32 = 1e-8;

fn mean_and_std(visit: impl Fn(&mut dyn FnMut(f32))) -> (f32, f32) {
    let (mut count, mut sum) = (0u64, 0.0f64);
    visit(&mut |v| {
        count += 1;
        sum += f64::from(v);
    });
    let mean = sum / count.max(1) as f64;
    let mut squares = 0.0;
    visit(&mut |v| squares += (f64::from(v) - mean).powi(2));
    let std = (squares / count.max(1) as f64).sqrt();
    (mean as f32, (std as f32).max(SMALLEST_STD))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;

    fn ramp() -> (Array3<f32>, Array3<bool>) {
        let voxels = Array3::from_shape_fn((2, 2, 2), |(z, y, x)| (4 * z + 2 * y + x) as f32);
        let inside = voxels.mapv(|v| v >= 4.0);
        (voxels, inside)
    }

    #[test]
    fn z_score_over_the_mask_leaves_the_outside() {
        let (mut voxels, inside) = ramp();
        normalise(voxels.view_mut(), Scheme::ZScore { use_mask: true }, inside.view());
        // 4, 5, 6, 7: mean 5.5, population standard deviation 1.118034.
        let wanted = [0.0, 1.0, 2.0, 3.0, -1.341_640_8, -0.447_213_6, 0.447_213_6, 1.341_640_8];
        for (value, wanted) in voxels.iter().zip(wanted) {
            assert!((value - wanted).abs() < 1e-6, "{value} is not {wanted}");
        }
    }

    #[test]
    fn z_score_without_mask_covers_the_crop() {
        let (mut voxels, inside) = ramp();
        normalise(voxels.view_mut(), Scheme::ZScore { use_mask: false }, inside.view());
        assert!((voxels.sum() / 8.0).abs() < 1e-6);
        assert!((voxels.mapv(|v| v * v).sum() / 8.0 - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_flat_image_becomes_zero_not_infinite() {
        let mut voxels = Array3::from_elem((2, 2, 2), 7.0f32);
        let inside = Array3::from_elem((2, 2, 2), true);
        normalise(voxels.view_mut(), Scheme::ZScore { use_mask: true }, inside.view());
        assert!(voxels.iter().all(|&v| v == 0.0));
    }

    #[test]
    fn ct_clips_before_it_scales() {
        let (mut voxels, inside) = ramp();
        let scheme = Scheme::Ct { percentile_00_5: 1.0, percentile_99_5: 5.0, mean: 3.0, std: 2.0 };
        normalise(voxels.view_mut(), scheme, inside.view());
        assert_eq!(voxels.iter().copied().collect::<Vec<_>>(), [-1.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn rescaling_ends_at_zero_and_one() {
        let (mut voxels, inside) = ramp();
        normalise(voxels.view_mut(), Scheme::RescaleTo01, inside.view());
        assert_eq!((voxels[[0, 0, 0]], voxels[[1, 1, 1]]), (0.0, 1.0));
        normalise(voxels.view_mut(), Scheme::RgbTo01, inside.view());
        assert!((voxels[[1, 1, 1]] - 1.0 / 255.0).abs() < 1e-9);
    }
}
