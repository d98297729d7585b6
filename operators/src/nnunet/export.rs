//! From logits at the network's spacing to labels on the image's grid (nnU-Net `export_prediction.py`).
//!
//! Owns resampling of logits, argmax, softmax and the inverse of crop and transpose. Logits are resampled one slice of
//! the result at a time, so that no class is ever held at full resolution.

use ndarray::{Array3, ArrayView3, ArrayView4, Axis, s};
use rayon::prelude::*;
use thiserror::Error;

use super::crop::CropBox;
use super::resample::{linear_taps, nearest};

/// Labels and the probability of any of them, on one grid (z, y, x).
#[derive(Clone, Debug)]
pub struct Labels {
    /// The class with the highest logit, the first where several are equal; 0 is background.
    pub labels: Array3<u8>,
    /// One minus the softmax probability of the background; 0 outside the crop.
    pub foreground: Array3<f32>,
}

/// Why logits could not become labels.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ExportError {
    /// Labels are bytes, and background is one of them.
    #[error("the network has {0} output classes where 2 to 256 can be labelled; check the package's labels")]
    Classes(usize),
    /// The crop does not lie in the image.
    #[error("the crop {bounds:?} does not lie in an image of {full:?} voxels (z, y, x)")]
    Bounds {
        /// The crop.
        bounds: CropBox,
        /// The image.
        full: [usize; 3],
    },
}

/// Resamples logits (classes, z, y, x) linearly to `shape`, slice-wise where `separate` names the coarse axis, and
/// takes argmax and softmax.
pub fn labels_from_logits(
    logits: ArrayView4<'_, f32>,
    shape: [usize; 3],
    separate: Option<usize>,
) -> Result<Labels, ExportError> {
    let dim = logits.raw_dim();
    if !(2..=256).contains(&dim[0]) {
        return Err(ExportError::Classes(dim[0]));
    }
    let taps: [Vec<(usize, usize, f64)>; 3] = std::array::from_fn(|axis| {
        if separate == Some(axis) {
            nearest(dim[axis + 1], shape[axis]).into_iter().map(|at| (at, at, 0.0)).collect()
        } else {
            linear_taps(dim[axis + 1], shape[axis])
        }
    });
    let mut labels = Array3::zeros(shape);
    let mut foreground = Array3::zeros(shape);
    let mut slices: Vec<_> = labels.outer_iter_mut().zip(foreground.outer_iter_mut()).zip(&taps[0]).collect();
    slices.par_iter_mut().for_each(|((labels, foreground), tap)| {
        let classes: Vec<Vec<f32>> =
            logits.outer_iter().map(|class| slice_of(class, **tap, &taps[1], &taps[2])).collect();
        for (at, (label, chance)) in labels.iter_mut().zip(foreground.iter_mut()).enumerate() {
            let (mut best, mut highest) = (0, classes[0][at]);
            for (index, class) in classes.iter().enumerate().skip(1) {
                if class[at] > highest {
                    (best, highest) = (index, class[at]);
                }
            }
            let sum: f32 = classes.iter().map(|class| (class[at] - highest).exp()).sum();
            *label = best as u8;
            *chance = 1.0 - (classes[0][at] - highest).exp() / sum;
        }
    });
    Ok(Labels { labels, foreground })
}

/// One slice of one class at the new shape, row by row; f64 inside, as nnU-Net resamples.
fn slice_of(
    class: ArrayView3<'_, f32>,
    (low, high, weight): (usize, usize, f64),
    rows: &[(usize, usize, f64)],
    columns: &[(usize, usize, f64)],
) -> Vec<f32> {
    let (below, above) = (class.index_axis(Axis(0), low), class.index_axis(Axis(0), high));
    let blend = |a: f64, b: f64, w: f64| if w == 0.0 { a } else { a * (1.0 - w) + b * w };
    let plane = ndarray::Zip::from(&below).and(&above).map_collect(|&a, &b| blend(a.into(), b.into(), weight));
    let mut out = Vec::with_capacity(rows.len() * columns.len());
    let mut line = vec![0.0; plane.ncols()];
    for &(low, high, weight) in rows {
        for ((value, &a), &b) in line.iter_mut().zip(plane.row(low)).zip(plane.row(high)) {
            *value = blend(a, b, weight);
        }
        out.extend(columns.iter().map(|&(low, high, weight)| blend(line[low], line[high], weight) as f32));
    }
    out
}

impl Labels {
    /// Puts the crop back into an image of zeros (`insert_crop_into_image`).
    pub fn uncrop(self, bounds: CropBox, full: [usize; 3]) -> Result<Labels, ExportError> {
        let dim = self.labels.raw_dim();
        let fits = (0..3).all(|axis| {
            dim[axis] == bounds.size[axis]
                && bounds.first[axis].checked_add(bounds.size[axis]).is_some_and(|end| end <= full[axis])
        });
        if !fits {
            return Err(ExportError::Bounds { bounds, full });
        }
        if bounds.size == full {
            return Ok(self);
        }
        let [z, y, x] = std::array::from_fn(|axis| bounds.first[axis]..bounds.first[axis] + bounds.size[axis]);
        let mut out = Labels { labels: Array3::zeros(full), foreground: Array3::zeros(full) };
        out.labels.slice_mut(s![z.clone(), y.clone(), x.clone()]).assign(&self.labels);
        out.foreground.slice_mut(s![z, y, x]).assign(&self.foreground);
        Ok(out)
    }

    /// Moves the axes: axis `i` of the result is axis `axes[i]` of this (`transpose_backward`). `axes` is a
    /// permutation of 0, 1, 2.
    pub fn transpose(self, axes: [usize; 3]) -> Labels {
        Labels {
            labels: self.labels.permuted_axes(axes).as_standard_layout().into_owned(),
            foreground: self.foreground.permuted_axes(axes).as_standard_layout().into_owned(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::resample::{Order, resample};
    use super::*;
    use ndarray::Array4;

    fn logits() -> Array4<f32> {
        Array4::from_shape_fn((3, 4, 5, 6), |(c, z, y, x)| (((c * 5 + z * 7 + y * 3 + x * 11) % 13) as f32 - 6.0) / 2.0)
    }

    #[test]
    fn labels_equal_the_argmax_of_resampled_logits() {
        for separate in [None, Some(0), Some(2)] {
            let found = labels_from_logits(logits().view(), [7, 4, 9], separate).unwrap();
            let classes: Vec<Array3<f32>> =
                logits().outer_iter().map(|class| resample(class, [7, 4, 9], Order::Linear, separate)).collect();
            for (at, &label) in found.labels.indexed_iter() {
                let best = classes.iter().map(|class| class[at]).fold(f32::NEG_INFINITY, f32::max);
                assert!(best - classes[usize::from(label)][at] < 1e-5);
                let sum: f32 = classes.iter().map(|class| class[at].exp()).sum();
                assert!((found.foreground[at] - (1.0 - classes[0][at].exp() / sum)).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn the_first_of_equal_classes_wins() {
        let found = labels_from_logits(Array4::zeros((4, 1, 1, 1)).view(), [1, 1, 1], None).unwrap();
        assert_eq!((found.labels[[0, 0, 0]], found.foreground[[0, 0, 0]]), (0, 0.75));
    }

    #[test]
    fn a_crop_returns_to_its_place() {
        let crop = Labels { labels: Array3::from_elem((1, 2, 3), 1), foreground: Array3::from_elem((1, 2, 3), 0.5) };
        let bounds = CropBox { first: [1, 0, 2], size: [1, 2, 3] };
        let full = crop.clone().uncrop(bounds, [3, 4, 5]).unwrap();
        assert_eq!(full.labels.iter().filter(|label| **label == 1).count(), 6);
        assert_eq!((full.labels[[1, 0, 2]], full.labels[[1, 1, 4]], full.labels[[0, 0, 2]]), (1, 1, 0));
        assert_eq!(full.transpose([2, 0, 1]).labels.dim(), (5, 3, 4));
        assert!(matches!(crop.uncrop(bounds, [3, 4, 4]), Err(ExportError::Bounds { .. })));
    }

    #[test]
    fn a_network_without_foreground_is_refused() {
        let error = labels_from_logits(Array4::zeros((1, 1, 1, 1)).view(), [1, 1, 1], None).unwrap_err();
        assert_eq!(error, ExportError::Classes(1));
    }
}
