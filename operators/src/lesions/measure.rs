//! Measurements of labelled components on the scanner's grid, as rows of integers.
//!
//! Owns what one lesion's row says; how components are found is in `components`.

use ndarray::{ArrayView3, Dim};
use thiserror::Error;

use crate::digest::Digest;
use crate::rows::LesionRow;
use crate::volume::Volume;

/// Why components could not be measured.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum MeasureError {
    /// Label map, probability and volume are not on one grid.
    #[error(
        "{what} has the shape {found:?} where the volume has {wanted:?} (slices, rows, columns); give all on one grid"
    )]
    Shape {
        /// What does not fit.
        what: &'static str,
        /// Its shape.
        found: [usize; 3],
        /// The volume's shape.
        wanted: [usize; 3],
    },
}

#[derive(Clone)]
struct Sums {
    voxels: u64,
    index: [u64; 3],
    first: [usize; 3],
    last: [usize; 3],
    intensity: f64,
    probability: f64,
    peak: f32,
}

/// One row for each label of `labels` (axes slice, row, column; 0 is background) that has voxels, by label.
///
/// The centroid is the mean of the voxel centres; volume is voxels times the volume of one; the tracking UID is made
/// of the run and the label, so a repeated run gives equal rows.
pub fn lesions(
    labels: ArrayView3<'_, u16>,
    volume: &Volume,
    probability: ArrayView3<'_, f32>,
    run_key: &Digest,
) -> Result<Vec<LesionRow>, MeasureError> {
    let wanted = volume.voxels.raw_dim();
    same_shape("the label map", labels.raw_dim(), wanted)?;
    same_shape("the probability", probability.raw_dim(), wanted)?;
    let mut sums: Vec<Option<Sums>> = Vec::new();
    for (line, ((marks, intensities), chances)) in
        labels.rows().into_iter().zip(volume.voxels.rows()).zip(probability.rows()).enumerate()
    {
        let (slice, row) = (line / wanted[1].max(1), line % wanted[1].max(1));
        for (column, &mark) in marks.iter().enumerate().filter(|(_, mark)| **mark != 0) {
            let label = usize::from(mark);
            if sums.len() < label {
                sums.resize(label, None);
            }
            let at = [column, row, slice];
            let sum = sums[label - 1].get_or_insert(Sums {
                voxels: 0,
                index: [0; 3],
                first: at,
                last: at,
                intensity: 0.0,
                probability: 0.0,
                peak: 0.0,
            });
            sum.voxels += 1;
            for (axis, &index) in at.iter().enumerate() {
                sum.index[axis] += index as u64;
                sum.first[axis] = sum.first[axis].min(index);
                sum.last[axis] = sum.last[axis].max(index);
            }
            sum.intensity += f64::from(intensities[column]);
            sum.probability += f64::from(chances[column]);
            sum.peak = sum.peak.max(chances[column]);
        }
    }
    let voxel_nl = voxel_volume_mm3(volume) * 1000.0;
    Ok(sums
        .into_iter()
        .enumerate()
        .filter_map(|(index, sum)| sum.map(|sum| row(index as u32 + 1, &sum, volume, voxel_nl, run_key)))
        .collect())
}

fn row(label: u32, sum: &Sums, volume: &Volume, voxel_nl: f64, run_key: &Digest) -> LesionRow {
    let voxels = sum.voxels as f64;
    let centre = volume.grid.point(sum.index.map(|total| total as f64 / voxels));
    let permille = |p: f64| (p * 1000.0).round().clamp(0.0, 1000.0) as u32;
    LesionRow {
        label,
        tracking_uid: Digest::of_parts("lesion", [run_key.0.as_slice(), label.to_le_bytes().as_slice()]).uid(),
        voxels: sum.voxels,
        volume_nl: (voxels * voxel_nl).round() as u64,
        centroid_um: centre.map(|mm| (mm * 1000.0).round() as i64),
        box_first: sum.first.map(|v| v as u32),
        box_size: std::array::from_fn(|axis| (sum.last[axis] - sum.first[axis] + 1) as u32),
        mean_intensity_milli: (sum.intensity / voxels * 1000.0).round() as i64,
        probability_permille: permille(sum.probability / voxels),
        peak_probability_permille: permille(f64::from(sum.peak)),
    }
}

fn same_shape(what: &'static str, found: Dim<[usize; 3]>, wanted: Dim<[usize; 3]>) -> Result<(), MeasureError> {
    if found == wanted {
        return Ok(());
    }
    let list = |dim: Dim<[usize; 3]>| [dim[0], dim[1], dim[2]];
    Err(MeasureError::Shape { what, found: list(found), wanted: list(wanted) })
}

/// The determinant of the affine's axes: the volume of one voxel, also where the axes are not orthogonal.
fn voxel_volume_mm3(volume: &Volume) -> f64 {
    let a = &volume.grid.affine;
    let det = a[0][0] * (a[1][1] * a[2][2] - a[1][2] * a[2][1]) - a[0][1] * (a[1][0] * a[2][2] - a[1][2] * a[2][0])
        + a[0][2] * (a[1][0] * a[2][1] - a[1][1] * a[2][0]);
    det.abs()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::volume::Grid;
    use ndarray::Array3;

    fn volume() -> Volume {
        let affine = [[0.0, 0.0, 2.0, 10.0], [0.5, 0.0, 0.0, 20.0], [0.0, -1.0, 0.0, 30.0], [0.0, 0.0, 0.0, 1.0]];
        Volume {
            grid: Grid { size: [4, 3, 2], affine },
            voxels: Array3::from_shape_fn((2, 3, 4), |(z, y, x)| (100 * z + 10 * y + x) as f32),
            frames: Vec::new(),
            stack: String::new(),
            frame_of_reference_uid: String::new(),
            rescale: None,
            intensity_scale: String::new(),
            notes: Vec::new(),
        }
    }

    #[test]
    fn a_lesion_is_measured_in_patient_space() {
        let volume = volume();
        let mut labels = Array3::zeros((2, 3, 4));
        labels[[0, 1, 2]] = 2u16;
        labels[[1, 1, 3]] = 2;
        let probability = Array3::from_elem((2, 3, 4), 0.25f32);
        let rows = lesions(labels.view(), &volume, probability.view(), &Digest::of(b"run")).unwrap();
        assert_eq!(rows.len(), 1);
        let row = &rows[0];
        assert_eq!((row.label, row.voxels, row.volume_nl), (2, 2, 2000));
        // Mean index (2.5, 1, 0.5): x = 10 + 2 * 0.5, y = 20 + 0.5 * 2.5, z = 30 - 1.
        assert_eq!(row.centroid_um, [11_000, 21_250, 29_000]);
        assert_eq!((row.box_first, row.box_size), ([2, 1, 0], [2, 1, 2]));
        assert_eq!(row.mean_intensity_milli, (12_000 + 113_000) / 2);
        assert_eq!((row.probability_permille, row.peak_probability_permille), (250, 250));
        assert!(row.tracking_uid.starts_with("2.25."));
    }

    #[test]
    fn two_runs_or_two_labels_never_share_a_tracking_uid() {
        let volume = volume();
        let mut labels = Array3::zeros((2, 3, 4));
        labels[[0, 0, 0]] = 1u16;
        labels[[1, 2, 3]] = 2;
        let probability = Array3::zeros((2, 3, 4));
        let uids = |run: &[u8]| -> Vec<String> {
            let rows = lesions(labels.view(), &volume, probability.view(), &Digest::of(run)).unwrap();
            rows.into_iter().map(|row| row.tracking_uid).collect()
        };
        let mut all = [uids(b"one"), uids(b"two")].concat();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 4);
        assert_eq!(uids(b"one"), uids(b"one"));
    }

    #[test]
    fn a_label_map_of_another_shape_is_refused() {
        let labels = Array3::zeros((2, 3, 5));
        let probability = Array3::zeros((2, 3, 4));
        let error = lesions(labels.view(), &volume(), probability.view(), &Digest::default()).unwrap_err();
        assert!(matches!(error, MeasureError::Shape { what: "the label map", .. }));
    }
}
