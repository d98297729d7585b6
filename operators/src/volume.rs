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
