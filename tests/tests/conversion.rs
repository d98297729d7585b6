//! Conversion against dcm2niix on real series: the same voxels after reorientation, the same affine to 1e-4 mm.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nifti::{IntoNdArray, NiftiObject, ReaderOptions};
use sulcus_operators::volume::{Encoded, Volume};
use sulcus_operators::{convert, part10};
use sulcus_tests::places::scanner_files;
use sulcus_tests::{PeerError, or_skip, python};

type Affine = [[f64; 4]; 3];

/// All volumes of the series whose files lie in a folder.
fn ours(files: &[PathBuf]) -> Vec<Volume> {
    let bytes: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    let parts: Vec<_> = bytes.iter().map(|bytes| part10::split(bytes).unwrap()).collect();
    let encoded: Vec<Encoded<'_>> =
        parts.iter().map(|part| Encoded { transfer_syntax: &part.transfer_syntax, data_set: part.data_set }).collect();
    convert::volumes(&encoded).unwrap()
}

/// What dcm2niix makes of the same folder: the values of its only volume, and the affine in RAS.
fn theirs(input: &Path) -> Result<(ndarray::ArrayD<f32>, Affine), PeerError> {
    let output = tempfile::tempdir()?;
    // `-p n`: stored x slope + intercept, the scale that we keep.
    let ran = Command::new(python::packaged("dcm2niix")?)
        .args(["-z", "n", "-p", "n", "-f", "volume", "-o"])
        .args([output.path(), input])
        .stdout(Stdio::null())
        .status()?;
    assert!(ran.success(), "dcm2niix ended with {ran}");
    let file = ReaderOptions::new().read_file(output.path().join("volume.nii")).unwrap();
    let header = file.header();
    let affine = [header.srow_x, header.srow_y, header.srow_z].map(|row| row.map(f64::from));
    Ok((file.into_volume().into_ndarray::<f32>().unwrap(), affine))
}

/// The affine in RAS, from LPS.
fn ras(volume: &Volume) -> Affine {
    std::array::from_fn(|row| volume.grid.affine[row].map(|part| if row < 2 { -part } else { part }))
}

/// Which of our axes each of theirs follows, and whether it runs backwards.
fn axes(ours: &Affine, theirs: &Affine) -> [(usize, bool); 3] {
    let dot = |a: usize, b: usize| (0..3).map(|row| ours[row][a] * theirs[row][b]).sum::<f64>();
    std::array::from_fn(|their| {
        let our = (0..3).max_by(|a, b| dot(*a, their).abs().total_cmp(&dot(*b, their).abs())).unwrap();
        (our, dot(our, their) < 0.0)
    })
}

fn compare(folder: &str) -> Result<(), PeerError> {
    let files = scanner_files(folder)?;
    let volume = ours(&files).remove(0);
    let (values, affine) = theirs(files[0].parent().unwrap())?;
    let own = ras(&volume);
    let axes = axes(&own, &affine);

    // STEP 1: our affine, with axes permuted and flipped as theirs are, is theirs.
    let size = volume.grid.size;
    for row in 0..3 {
        let mut origin = own[row][3];
        for (their, (our, backwards)) in axes.iter().enumerate() {
            let sign = if *backwards { -1.0 } else { 1.0 };
            let off = (own[row][*our] * sign - affine[row][their]).abs();
            assert!(off < 1e-4, "{folder}: axis {their}, row {row} is off by {off}");
            origin += if *backwards { own[row][*our] * (size[*our] - 1) as f64 } else { 0.0 };
        }
        assert!((origin - affine[row][3]).abs() < 1e-4, "{folder}: origin {origin} is not {}", affine[row][3]);
    }

    // STEP 2: every voxel has the same value, floats to the last place.
    assert_eq!(values.len(), volume.voxels.len());
    for (index, value) in values.indexed_iter() {
        let mut voxel = [0; 3];
        for (their, (our, backwards)) in axes.iter().enumerate() {
            voxel[*our] = if *backwards { size[*our] - 1 - index[their] } else { index[their] };
        }
        let own = volume.voxels[[voxel[2], voxel[1], voxel[0]]];
        assert!((own - value).abs() <= f32::EPSILON * own.abs(), "{folder}: voxel {voxel:?} is {own}, not {value}");
    }
    Ok(())
}

#[test]
fn the_philips_mprage_equals_dcm2niix() {
    or_skip(compare("philips-mprage-classic/In/cl"));
}

#[test]
fn both_xa30_series_equal_dcm2niix() {
    or_skip(compare("siemens-xa30-enhanced/In/5_anat-T1w_acq-tfl"));
    or_skip(compare("siemens-xa30-enhanced/In/6_anat-T1w_acq-tfl"));
}
