//! Volumes on the scanner's grid, and the grid itself.

use ndarray::Array3;

/// One instance as it is stored: a data set without group 0002 and the transfer syntax that it is written in.
#[derive(Clone, Copy, Debug)]
pub struct Encoded<'a> {
    /// TransferSyntaxUID.
    pub transfer_syntax: &'a str,
    /// The data set's bytes, as received.
    pub data_set: &'a [u8],
}

/// A regular grid in patient space.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// Columns, rows, slices.
    pub size: [usize; 3],
    /// Rows of the 4 x 4 matrix that takes a voxel index (column, row, slice, 1) to LPS millimetres.
    pub affine: [[f64; 4]; 4],
}

impl Grid {
    /// The LPS point, mm, of a (fractional) voxel index (column, row, slice).
    pub fn point(&self, index: [f64; 3]) -> [f64; 3] {
        std::array::from_fn(|row| {
            let a = &self.affine[row];
            a[0] * index[0] + a[1] * index[1] + a[2] * index[2] + a[3]
        })
    }

    /// Distance between neighbouring columns, rows and slices, mm.
    pub fn spacing(&self) -> [f64; 3] {
        std::array::from_fn(|axis| (0..3).map(|row| self.affine[row][axis].powi(2)).sum::<f64>().sqrt())
    }
}

/// Corners of two grids that lie this near, mm, are one place: headers are written with as few as four decimals, and a
/// hundredth of a millimetre is nothing to a voxel.
const SAME_PLACE: f64 = 0.01;

impl Grid {
    /// How another grid differs from this one, in words; none where both have the same voxels.
    pub fn difference(&self, other: &Grid) -> Option<String> {
        let times = |[columns, rows, slices]: [usize; 3]| format!("{columns} x {rows} x {slices} voxels");
        if self.size != other.size {
            return Some(format!("{} where {} are expected", times(other.size), times(self.size)));
        }
        let [columns, rows, slices] = self.size.map(|extent| extent.saturating_sub(1) as f64);
        let corners = [[0.0, 0.0, 0.0], [columns, 0.0, 0.0], [0.0, rows, 0.0], [0.0, 0.0, slices]];
        let apart = corners.map(|corner| {
            let (here, there) = (self.point(corner), other.point(corner));
            (0..3).map(|axis| (here[axis] - there[axis]).powi(2)).sum::<f64>().sqrt()
        });
        let farthest = apart.into_iter().fold(0.0, f64::max);
        // A distance that is not a number is none.
        let same = apart.iter().all(|mm| *mm <= SAME_PLACE);
        (!same).then(|| format!("its voxels lie up to {farthest:.2} mm elsewhere"))
    }
}

/// Where one slice of a volume came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameRef {
    /// SOPClassUID of the source instance.
    pub sop_class_uid: String,
    /// SOPInstanceUID of the source instance.
    pub sop_instance_uid: String,
    /// Frame number from 1, for multi-frame instances; none for a single-frame one.
    pub frame: Option<u32>,
}

/// One volume of one series.
#[derive(Clone, Debug)]
pub struct Volume {
    /// Its grid.
    pub grid: Grid,
    /// Intensities; axes (slice, row, column), so that columns run fastest, as on `grid` reversed.
    pub voxels: Array3<f32>,
    /// The source of each slice, by slice index.
    pub frames: Vec<FrameRef>,
    /// `FrameFacts::stack` of its frames.
    pub stack: String,
    /// FrameOfReferenceUID; empty where missing.
    pub frame_of_reference_uid: String,
    /// Slope and intercept, where all slices have the same and every intensity is a stored sample (an integer of 16
    /// bits) x slope + intercept.
    pub rescale: Option<[f64; 2]>,
    /// Which scale the intensities are in, in words.
    pub intensity_scale: String,
    /// What a reader should know.
    pub notes: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::Grid;

    #[test]
    fn two_grids_are_one_where_every_voxel_lies_in_one_place() {
        let grid = Grid {
            size: [256, 240, 1],
            affine: [[1.0, 0.0, 0.0, -120.0], [0.0, 1.0, 0.0, -110.0], [0.0, 0.0, 1.0, 7.0], [0.0, 0.0, 0.0, 1.0]],
        };
        let with = |row: usize, column: usize, value: f64| {
            let mut other = grid.clone();
            other.affine[row][column] += value;
            grid.difference(&other)
        };
        assert_eq!(grid.difference(&grid), None);
        assert_eq!(with(1, 3, 0.005), None);
        assert_eq!(with(1, 3, 2.0).as_deref(), Some("its voxels lie up to 2.00 mm elsewhere"));
        assert!(with(0, 0, 0.001).is_some(), "a small turn tells at the far side");
        assert_eq!(with(0, 2, 0.5), None, "a single slice goes nowhere");
        assert!(with(2, 3, f64::NAN).is_some());
        let smaller = Grid { size: [256, 239, 1], ..grid.clone() };
        let said = grid.difference(&smaller);
        assert_eq!(said.as_deref(), Some("256 x 239 x 1 voxels where 256 x 240 x 1 voxels are expected"));
    }
}
