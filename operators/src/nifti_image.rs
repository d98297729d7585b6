//! NIfTI-1 images as nnU-Net reads them, and label maps on their grid.
//!
//! Axes are those of the file, slowest first (z, y, x); nothing is turned. Bounded: sizes are checked before voxels are
//! read. Volumes made from DICOM are written by `nifti_file`.

use std::path::{Path, PathBuf};

use flate2::Compression;
use ndarray::{Array3, ArrayView3, Ix3};
use nifti::writer::WriterOptions;
use nifti::{IntoNdArray, NiftiHeader, NiftiObject, ReaderOptions};
use thiserror::Error;

use crate::convert::LARGEST_VOLUME;
use crate::volume::Grid;

/// Bytes of a NIfTI-1 header with the four that say whether extensions follow.
const HEADER: usize = 352;

/// An image and where it lies.
#[derive(Clone, Debug)]
pub struct Image {
    /// Voxels (z, y, x), with the file's slope and intercept applied.
    pub voxels: Array3<f32>,
    /// Its grid; columns, rows and slices are x, y and z.
    pub grid: Grid,
    /// Spacing of x, y and z as the header gives it (`pixdim`), mm.
    pub spacing: [f64; 3],
    header: NiftiHeader,
}

/// Why an image was not read or a label map not written.
#[derive(Debug, Error)]
#[error("{}: {reason}", path.display())]
pub struct ImageError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, then what to do.
    pub reason: String,
}

/// Reads a `.nii` or `.nii.gz` file with three axes.
///
/// # Errors
/// [`ImageError`] where the file cannot be read, is too large, or has other than three axes.
pub fn read(path: &Path) -> Result<Image, ImageError> {
    let failed = |reason: String| ImageError { path: path.to_owned(), reason };
    let broken = |error: nifti::NiftiError| failed(format!("{error}; give a NIfTI-1 file (.nii or .nii.gz)"));
    let header = NiftiHeader::from_file(path).map_err(broken)?;
    let dim = header.dim().map_err(broken)?;
    let Some(([x, y, z], [])) = dim.split_first_chunk().map(|(sides, more)| (sides, longer_than_one(more))) else {
        return Err(failed(format!("it has the shape {dim:?}; give an image with three axes")));
    };
    let size = [*x, *y, *z].map(usize::from);
    let voxels: usize = size.iter().product();
    if voxels == 0 || voxels > LARGEST_VOLUME {
        return Err(failed(format!("it has the shape {dim:?}; give 1 to {LARGEST_VOLUME} voxels")));
    }
    let spacing = [1, 2, 3].map(|axis| f64::from(header.pixdim[axis]).abs());
    let affine = affine(&header);
    let sound = |numbers: &[f64]| numbers.iter().all(|number| number.is_finite());
    if !affine.iter().all(|row| sound(row)) || !sound(&spacing) || spacing.contains(&0.0) {
        return Err(failed("its spacing or affine is zero or no number; write it again".to_owned()));
    }
    let bits = header.data_type().map_err(broken)?.size_of() * 8;
    if usize::from(header.bitpix.unsigned_abs()) != bits {
        let found = header.bitpix;
        return Err(failed(format!("its voxels have {found} bits where their type has {bits}; write it again")));
    }
    let object = ReaderOptions::new().read_file(path).map_err(broken)?;
    let (begin, end) = (header.vox_offset as usize, HEADER + object.extensions().bytes_on_disk());
    if begin != end && begin != 0 {
        let reason = format!("its voxels begin at byte {begin} where its header ends at {end}; write it again");
        return Err(failed(reason));
    }
    let array = object.into_volume().into_ndarray::<f32>().map_err(broken)?;
    let array = array.into_shape_with_order((size, ndarray::Order::F));
    let array = array.map_err(|error| failed(error.to_string()))?.into_dimensionality::<Ix3>();
    let voxels = array.map_err(|error| failed(error.to_string()))?.reversed_axes().as_standard_layout().into_owned();
    Ok(Image { voxels, grid: Grid { size, affine }, spacing, header })
}

/// The axes from the first that is longer than one.
fn longer_than_one(axes: &[u16]) -> &[u16] {
    let first = axes.iter().position(|length| *length != 1).unwrap_or(axes.len());
    &axes[first..]
}

/// Rows of the matrix from voxel indices to LPS, mm: sform, else qform, else the spacing alone (nifti1.h).
fn affine(header: &NiftiHeader) -> [[f64; 4]; 4] {
    let d = [1, 2, 3].map(|axis| f64::from(header.pixdim[axis]));
    let ras: [[f64; 4]; 3] = if header.sform_code > 0 {
        [header.srow_x, header.srow_y, header.srow_z].map(|row| row.map(f64::from))
    } else if header.qform_code > 0 {
        let [b, c, d_] = [header.quatern_b, header.quatern_c, header.quatern_d].map(f64::from);
        let a = (1.0 - (b * b + c * c + d_ * d_)).max(0.0).sqrt();
        let flip = if header.pixdim[0] < 0.0 { -1.0 } else { 1.0 };
        let rotation = [
            [a * a + b * b - c * c - d_ * d_, 2.0 * (b * c - a * d_), 2.0 * (b * d_ + a * c)],
            [2.0 * (b * c + a * d_), a * a + c * c - b * b - d_ * d_, 2.0 * (c * d_ - a * b)],
            [2.0 * (b * d_ - a * c), 2.0 * (c * d_ + a * b), a * a + d_ * d_ - b * b - c * c],
        ];
        let offset = [header.quatern_x, header.quatern_y, header.quatern_z].map(f64::from);
        std::array::from_fn(|row| {
            let [x, y, z] = rotation[row];
            [x * d[0], y * d[1], z * d[2] * flip, offset[row]]
        })
    } else {
        [[d[0], 0.0, 0.0, 0.0], [0.0, d[1], 0.0, 0.0], [0.0, 0.0, d[2], 0.0]]
    };
    let [x, y, z] = ras;
    [x.map(|part| -part), y.map(|part| -part), z, [0.0, 0.0, 0.0, 1.0]]
}

/// Writes labels (z, y, x) as uint8 on the grid of `like`, under a hidden name first, so that a file is whole or not
/// there.
///
/// # Errors
/// [`ImageError`] where the file cannot be written.
pub fn write_labels(labels: ArrayView3<'_, u8>, like: &Image, path: &Path) -> Result<(), ImageError> {
    let failed = |reason: String| ImageError { path: path.to_owned(), reason };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = path.with_file_name(format!(".{name}"));
    let written = WriterOptions::new(&partial)
        .reference_header(&like.header)
        .compression_level(Compression::fast())
        .compress(name.ends_with(".gz"))
        .write_nifti(&labels.reversed_axes())
        .map_err(|error| failed(format!("{error}; check the folder and the free space")));
    let done = written.and_then(|()| {
        std::fs::rename(&partial, path).map_err(|error| failed(format!("{error}; check the folder and the free space")))
    });
    if done.is_err() {
        // What stays is hidden and taken for nobody's result.
        let _gone = std::fs::remove_file(&partial);
    }
    done
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::nifti_file;
    use crate::volume::Volume;
    use proptest::prelude::*;

    fn volume() -> Volume {
        let turned = [[0.0, -0.5, 0.0, 10.0], [0.6, 0.0, 0.0, 20.0], [0.0, 0.0, 0.7, 30.0], [0.0, 0.0, 0.0, 1.0]];
        Volume {
            grid: Grid { size: [4, 3, 2], affine: turned },
            voxels: Array3::from_shape_fn((2, 3, 4), |(z, y, x)| (z * 12 + y * 4 + x) as f32 * 0.5),
            frames: Vec::new(),
            stack: String::new(),
            frame_of_reference_uid: String::new(),
            rescale: Some([0.5, 0.0]),
            intensity_scale: String::new(),
            notes: Vec::new(),
        }
    }

    #[test]
    fn what_was_written_comes_back_and_labels_lie_on_its_grid() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["image.nii", "image.nii.gz"] {
            let path = folder.path().join(name);
            nifti_file::write(&volume(), &path).unwrap();
            let image = read(&path).unwrap();
            assert_eq!(image.voxels, volume().voxels);
            let near = |a: &[[f64; 4]; 4], b: &[[f64; 4]; 4]| {
                a.iter().flatten().zip(b.iter().flatten()).all(|(a, b)| (a - b).abs() < 1e-5)
            };
            assert!(near(&image.grid.affine, &volume().grid.affine), "{:?}", image.grid.affine);
            assert!((image.spacing[0] - 0.6).abs() < 1e-6);
            let without_sform = NiftiHeader { sform_code: 0, ..image.header.clone() };
            assert!(near(&affine(&without_sform), &volume().grid.affine), "the qform says the same");
            let labels = volume().voxels.mapv(|voxel| u8::from(voxel > 5.0));
            let path = folder.path().join(format!("labels-{name}"));
            write_labels(labels.view(), &image, &path).unwrap();
            let back = read(&path).unwrap();
            assert_eq!(back.voxels, labels.mapv(f32::from));
            assert_eq!(back.grid, image.grid);
            assert_eq!(
                std::fs::read_dir(folder.path())
                    .unwrap()
                    .flatten()
                    .filter(|entry| entry.file_name().to_string_lossy().starts_with('.'))
                    .count(),
                0
            );
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.nii");
        nifti_file::write(&volume(), &path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let with = |at: usize, bytes: &[u8]| {
            let mut changed = whole.clone();
            changed[at..at + bytes.len()].copy_from_slice(bytes);
            std::fs::write(&path, changed).unwrap();
            read(&path).unwrap_err().to_string()
        };
        let four_axes: Vec<u8> = [4i16, 4, 3, 2, 5].iter().flat_map(|length| length.to_le_bytes()).collect();
        assert!(with(40, &four_axes).contains("three axes"));
        assert!(with(42, &[0xff, 0x7f, 0xff, 0x7f, 0xff, 0x7f]).contains("voxels"));
        assert!(with(80, &0f32.to_le_bytes()).contains("spacing"));
        assert!(with(280, &f32::NAN.to_le_bytes()).contains("affine"));
        assert!(with(72, &[0, 0]).contains("0 bits"));
        assert!(with(108, &416f32.to_le_bytes()).contains("byte 416"));
        std::fs::write(&path, &whole[..360]).unwrap();
        assert!(read(&path).is_err());
        assert!(read(Path::new("/nowhere.nii")).unwrap_err().to_string().contains("/nowhere.nii"));
    }

    proptest! {
        #[test]
        fn a_changed_header_never_panics(at in 0usize..352, byte in any::<u8>()) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("image.nii");
            nifti_file::write(&volume(), &path).unwrap();
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[at] = byte;
            std::fs::write(&path, bytes).unwrap();
            let _ = read(&path);
        }
    }
}
