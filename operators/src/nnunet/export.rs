//! From logits at the network's spacing to labels on the image's grid (nnU-Net `export_prediction.py`).
//!
//! Owns resampling of logits, argmax, softmax and the inverse of crop and transpose. Logits are resampled one slice of
//! the result at a time, so that no class is ever held at full resolution.

use ndarray::{Array3, Array4, ArrayView3, ArrayView4, Axis, s};
use rayon::prelude::*;
use thiserror::Error;

use super::crop::CropBox;
use super::resample::{linear_taps, nearest};
use super::tiles::Precision;

/// How outputs become labels (nnU-Net `LabelManager`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labelling<'a> {
    /// Outputs are classes that exclude each other: the highest logit wins, the first where several are equal.
    Classes,
    /// Outputs are regions that may overlap: each that is more likely than not paints its value, in this order.
    Regions(&'a [u8]),
}

/// What is made of logits.
#[derive(Clone, Copy, Debug)]
pub struct Export<'a> {
    /// How outputs become labels.
    pub labelling: Labelling<'a>,
    /// The output whose probability is given.
    pub shown: usize,
    /// The precision that resampled logits are rounded to.
    pub precision: Precision,
}

/// Labels and the probability of one output, on one grid (z, y, x).
#[derive(Clone, Debug)]
pub struct Labels {
    /// Values of labels; 0 is background, and everything outside the crop.
    pub labels: Array3<u8>,
    /// Probability of the output that was asked for: softmax or, of a region, sigmoid; 0 outside the crop.
    pub probability: Array3<f32>,
}

/// Why logits could not become labels.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ExportError {
    /// Labels are bytes, and background is one of them.
    #[error("the network has {0} outputs, which do not fit the labels of its package; check its manifest")]
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

/// Resamples logits (outputs, z, y, x) linearly to `shape`, slice-wise where `separate` names the coarse axis, and
/// makes labels and a probability of them.
pub fn labels_from_logits(
    logits: ArrayView4<'_, f32>,
    shape: [usize; 3],
    separate: Option<usize>,
    export: Export<'_>,
) -> Result<Labels, ExportError> {
    let taps = Taps::new(logits, shape, separate);
    let outputs = logits.len_of(Axis(0));
    let fits = match export.labelling {
        Labelling::Classes => (2..=256).contains(&outputs),
        Labelling::Regions(painted) => outputs == painted.len(),
    };
    if !fits || export.shown >= outputs {
        return Err(ExportError::Classes(outputs));
    }
    let mut labels = Array3::zeros(shape);
    let mut probability = Array3::zeros(shape);
    let mut slices: Vec<_> = labels.outer_iter_mut().zip(probability.outer_iter_mut()).enumerate().collect();
    slices.par_iter_mut().for_each(|(z, (labels, probability))| {
        let outputs = taps.slice(logits, *z, export.precision);
        for (at, (label, chance)) in labels.iter_mut().zip(probability.iter_mut()).enumerate() {
            (*label, *chance) = export.voxel(&outputs, at);
        }
    });
    Ok(Labels { labels, probability })
}

/// Probabilities (outputs, z, y, x) of all outputs at the new shape, as `labels_from_logits` resamples them.
pub fn probabilities_from_logits(
    logits: ArrayView4<'_, f32>,
    shape: [usize; 3],
    separate: Option<usize>,
    export: Export<'_>,
) -> Array4<f32> {
    let taps = Taps::new(logits, shape, separate);
    let outputs = logits.len_of(Axis(0));
    let mut all = Array4::zeros((outputs, shape[0], shape[1], shape[2]));
    let mut slices: Vec<_> = all.axis_iter_mut(Axis(1)).enumerate().collect();
    slices.par_iter_mut().for_each(|(z, slice)| {
        let found = taps.slice(logits, *z, export.precision);
        for (output, mut plane) in slice.outer_iter_mut().enumerate() {
            let export = Export { shown: output, ..export };
            plane.iter_mut().enumerate().for_each(|(at, chance)| *chance = export.voxel(&found, at).1);
        }
    });
    all
}

impl Export<'_> {
    /// Label and probability of one voxel, from a slice of each output.
    fn voxel(&self, outputs: &[Vec<f32>], at: usize) -> (u8, f32) {
        match self.labelling {
            Labelling::Classes => {
                let (mut best, mut highest) = (0, outputs[0][at]);
                for (index, class) in outputs.iter().enumerate().skip(1) {
                    if class[at] > highest {
                        (best, highest) = (index, class[at]);
                    }
                }
                let sum: f32 = outputs.iter().map(|class| (class[at] - highest).exp()).sum();
                (best as u8, (outputs[self.shown][at] - highest).exp() / sum)
            }
            Labelling::Regions(painted) => {
                let sigmoid = |logit: f32| 1.0 / (1.0 + (-logit).exp());
                let mut likely = outputs.iter().zip(painted).rev().filter(|(region, _)| sigmoid(region[at]) > 0.5);
                (likely.next().map_or(0, |(_, value)| *value), sigmoid(outputs[self.shown][at]))
            }
        }
    }
}

/// Where each sample of the new shape comes from.
struct Taps([Vec<(usize, usize, f64)>; 3]);

impl Taps {
    fn new(logits: ArrayView4<'_, f32>, shape: [usize; 3], separate: Option<usize>) -> Self {
        let dim = logits.raw_dim();
        Taps(std::array::from_fn(|axis| {
            if separate == Some(axis) {
                nearest(dim[axis + 1], shape[axis]).into_iter().map(|at| (at, at, 0.0)).collect()
            } else {
                linear_taps(dim[axis + 1], shape[axis])
            }
        }))
    }

    /// One slice of each output.
    fn slice(&self, logits: ArrayView4<'_, f32>, z: usize, precision: Precision) -> Vec<Vec<f32>> {
        let [slices, rows, columns] = &self.0;
        let planes = logits.outer_iter().map(|output| slice_of(output, slices[z], rows, columns));
        match precision {
            Precision::Single => planes.collect(),
            half => planes.map(|plane| plane.into_iter().map(|logit| half.round(logit)).collect()).collect(),
        }
    }
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
        let mut out = Labels { labels: Array3::zeros(full), probability: Array3::zeros(full) };
        out.labels.slice_mut(s![z.clone(), y.clone(), x.clone()]).assign(&self.labels);
        out.probability.slice_mut(s![z, y, x]).assign(&self.probability);
        Ok(out)
    }

    /// Moves the axes: axis `i` of the result is axis `axes[i]` of this (`transpose_backward`). `axes` is a
    /// permutation of 0, 1, 2.
    pub fn transpose(self, axes: [usize; 3]) -> Labels {
        Labels {
            labels: self.labels.permuted_axes(axes).as_standard_layout().into_owned(),
            probability: self.probability.permuted_axes(axes).as_standard_layout().into_owned(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::resample::{Order, resample};
    use super::*;
    use ndarray::Array4;

    /// Classes, with the probability of the first.
    const CLASSES: Export<'_> = Export { labelling: Labelling::Classes, shown: 0, precision: Precision::Single };

    fn logits() -> Array4<f32> {
        Array4::from_shape_fn((3, 4, 5, 6), |(c, z, y, x)| (((c * 5 + z * 7 + y * 3 + x * 11) % 13) as f32 - 6.0) / 2.0)
    }

    #[test]
    fn labels_equal_the_argmax_of_resampled_logits() {
        for separate in [None, Some(0), Some(2)] {
            let found = labels_from_logits(logits().view(), [7, 4, 9], separate, CLASSES).unwrap();
            let classes: Vec<Array3<f32>> =
                logits().outer_iter().map(|class| resample(class, [7, 4, 9], Order::Linear, separate)).collect();
            for (at, &label) in found.labels.indexed_iter() {
                let best = classes.iter().map(|class| class[at]).fold(f32::NEG_INFINITY, f32::max);
                assert!(best - classes[usize::from(label)][at] < 1e-5);
                let sum: f32 = classes.iter().map(|class| class[at].exp()).sum();
                assert!((found.probability[at] - classes[0][at].exp() / sum).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn the_first_of_equal_classes_wins() {
        let found = labels_from_logits(Array4::zeros((4, 1, 1, 1)).view(), [1, 1, 1], None, CLASSES).unwrap();
        assert_eq!((found.labels[[0, 0, 0]], found.probability[[0, 0, 0]]), (0, 0.25));
    }

    #[test]
    fn regions_paint_in_their_order_where_they_are_likely() {
        let logits = Array4::from_shape_vec((2, 1, 1, 4), vec![-1., 1., 1., -1., -1., -1., 1., 0.]).unwrap();
        let export = Export { labelling: Labelling::Regions(&[2, 1]), shown: 1, precision: Precision::Single };
        let found = labels_from_logits(logits.view(), [1, 1, 4], None, export).unwrap();
        assert_eq!(found.labels.as_slice().unwrap(), [0, 2, 1, 0]);
        assert_eq!(found.probability[[0, 0, 3]], 0.5);
        let all = probabilities_from_logits(logits.view(), [1, 1, 4], None, export);
        assert_eq!(all.index_axis(Axis(0), 1), found.probability);
        let export = Export { labelling: Labelling::Regions(&[2]), ..export };
        assert_eq!(labels_from_logits(logits.view(), [1, 1, 4], None, export).unwrap_err(), ExportError::Classes(2));
    }

    #[test]
    fn a_crop_returns_to_its_place() {
        let crop = Labels { labels: Array3::from_elem((1, 2, 3), 1), probability: Array3::from_elem((1, 2, 3), 0.5) };
        let bounds = CropBox { first: [1, 0, 2], size: [1, 2, 3] };
        let full = crop.clone().uncrop(bounds, [3, 4, 5]).unwrap();
        assert_eq!(full.labels.iter().filter(|label| **label == 1).count(), 6);
        assert_eq!((full.labels[[1, 0, 2]], full.labels[[1, 1, 4]], full.labels[[0, 0, 2]]), (1, 1, 0));
        assert_eq!(full.transpose([2, 0, 1]).labels.dim(), (5, 3, 4));
        assert!(matches!(crop.uncrop(bounds, [3, 4, 4]), Err(ExportError::Bounds { .. })));
    }

    #[test]
    fn a_network_without_foreground_is_refused() {
        let error = labels_from_logits(Array4::zeros((1, 1, 1, 1)).view(), [1, 1, 1], None, CLASSES).unwrap_err();
        assert_eq!(error, ExportError::Classes(1));
    }
}
