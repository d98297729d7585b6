//! Volumes as NIfTI-1 files, with a small BIDS sidecar; label and probability maps on their grid, gzipped in memory.
//!
//! Written directly, since the header is 348 fixed bytes: axes stay those of the volume (column, row, slice), and both
//! qform and sform carry the affine in RAS; a sheared grid, which no quaternion can say, has its sform alone. A file is
//! whole or it is not there.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use ndarray::{ArrayView2, ArrayView3, Axis};
use rayon::prelude::*;
use serde_json::{Map, Value};

use crate::volume::{Grid, Volume};

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
pub enum NiftiError {
    /// NIfTI-1 holds sizes in 16 bits.
    #[error("a volume of {0:?} voxels does not fit NIfTI-1; no side may exceed 32767")]
    TooLarge([usize; 3]),
    /// The file system refused.
    #[error("the file cannot be written; check the folder and the free space")]
    Write(#[from] io::Error),
}

/// Writes `.nii`, or gzip where the name ends in `.gz`. Voxels are the stored samples as int16 with `scl_slope` and
/// `scl_inter` where one pair holds for all slices and every sample fits, else float32 without a scale.
///
/// # Errors
/// [`NiftiError`] where a side is too long for NIfTI-1 or the file cannot be written.
pub fn write(volume: &Volume, path: &Path) -> Result<(), NiftiError> {
    let samples = Samples::of(volume);
    let header = header(&volume.grid, samples.coding()).ok_or(NiftiError::TooLarge(volume.grid.size))?;
    whole(path, |file| {
        if path.extension().is_some_and(|extension| extension == "gz") {
            let mut encoder = GzEncoder::new(BufWriter::with_capacity(1 << 20, file), Compression::fast());
            write_to(&mut encoder, &header, volume, samples)?;
            encoder.finish()?.flush()
        } else {
            write_to(&mut &file, &header, volume, samples)
        }
    })?;
    Ok(())
}

/// Writes a sidecar, as readable JSON.
///
/// # Errors
/// [`NiftiError::Write`] where the file cannot be written.
pub fn write_sidecar(sidecar: &Value, path: &Path) -> Result<(), NiftiError> {
    whole(path, |mut file| file.write_all(format!("{sidecar:#}").as_bytes()))?;
    Ok(())
}

/// Fills a file under a hidden name beside its own and renames it once it is whole; removes it where that fails.
fn whole(path: &Path, fill: impl FnOnce(File) -> io::Result<()>) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".part");
    let hidden = path.with_file_name(hidden);
    let written = File::create(&hidden).and_then(fill).and_then(|()| fs::rename(&hidden, path));
    if written.is_err() {
        // What failed is said already; nothing more can be done where this fails too.
        let _ = fs::remove_file(&hidden);
    }
    written
}

/// Labels, axes (slice, row, column), as uint16 in a `.nii.gz`; the same bytes for equal input.
///
/// # Errors
/// [`NiftiError::TooLarge`] where a side is too long for NIfTI-1.
pub fn labels_gz(labels: ArrayView3<'_, u16>, grid: &Grid) -> Result<Vec<u8>, NiftiError> {
    gzipped(labels, grid, Coding { datatype: 512, bytes: 2, slope: 1.0, intercept: 0.0 }, u16::to_le_bytes)
}

/// Probabilities in 255ths, axes (slice, row, column), as uint8 with a slope of 1/255 in a `.nii.gz`; the same bytes for
/// equal input.
///
/// # Errors
/// [`NiftiError::TooLarge`] where a side is too long for NIfTI-1.
pub fn probabilities_gz(probabilities: ArrayView3<'_, u8>, grid: &Grid) -> Result<Vec<u8>, NiftiError> {
    let coding = Coding { datatype: 2, bytes: 1, slope: 1.0 / 255.0, intercept: 0.0 };
    gzipped(probabilities, grid, coding, u8::to_le_bytes)
}

fn gzipped<T: Copy, const N: usize>(
    voxels: ArrayView3<'_, T>,
    grid: &Grid,
    coding: Coding,
    word: fn(T) -> [u8; N],
) -> Result<Vec<u8>, NiftiError> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&header(grid, coding).ok_or(NiftiError::TooLarge(grid.size))?)?;
    for slice in voxels.outer_iter() {
        let bytes: Vec<u8> = slice.iter().flat_map(|voxel| word(*voxel)).collect();
        encoder.write_all(&bytes)?;
    }
    Ok(encoder.finish()?)
}

/// What a header says of voxels: voxel = stored x slope + intercept.
#[derive(Clone, Copy, Debug)]
struct Coding {
    /// Code of nifti1.h.
    datatype: i16,
    /// Bytes of one voxel.
    bytes: usize,
    slope: f64,
    intercept: f64,
}

/// How voxels are written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Samples {
    /// float32, as they are.
    Real,
    /// int16: voxel = sample x slope + intercept.
    Stored { slope: f64, intercept: f64 },
}

impl Samples {
    fn coding(self) -> Coding {
        match self {
            Samples::Real => Coding { datatype: 16, bytes: 4, slope: 1.0, intercept: 0.0 },
            Samples::Stored { slope, intercept } => Coding { datatype: 4, bytes: 2, slope, intercept },
        }
    }

    /// Stored samples if all of them fit.
    fn of(volume: &Volume) -> Samples {
        let usable = |[slope, intercept]: &[f64; 2]| (*slope as f32).is_normal() && intercept.abs() <= FARTHEST * slope;
        let Some([slope, intercept]) = volume.rescale.filter(usable) else { return Samples::Real };
        let least = f64::from(i16::MIN) * slope + intercept;
        let most = f64::from(i16::MAX) * slope + intercept;
        let fits = least as f32..=most as f32;
        let slices: Vec<_> = volume.voxels.outer_iter().collect();
        let all_fit = slices.par_iter().all(|slice| slice.iter().fold(true, |fit, voxel| fit & fits.contains(voxel)));
        if all_fit { Samples::Stored { slope, intercept } } else { Samples::Real }
    }
}

/// Beyond so many slopes from zero, an f32 may be nearer to another sample.
const FARTHEST: f64 = 1_048_576.0;

/// Added to a smaller number, it leaves the number's nearest integer in the lowest bits (1.5 x 2^52). Unlike `round`,
/// this is done for many numbers at once.
const ROUND: f64 = 6_755_399_441_055_744.0;

/// Slices that are prepared side by side and written at once.
const SLICES_AT_ONCE: usize = 16;

fn write_to(out: &mut impl Write, header: &[u8], volume: &Volume, samples: Samples) -> io::Result<()> {
    out.write_all(header)?;
    let mut bytes = Vec::new();
    let length = samples.coding().bytes * volume.grid.size[0] * volume.grid.size[1];
    for slices in volume.voxels.axis_chunks_iter(Axis(0), SLICES_AT_ONCE) {
        bytes.resize(length * slices.len_of(Axis(0)), 0);
        let slices: Vec<_> = slices.outer_iter().collect();
        bytes.par_chunks_exact_mut(length).zip(slices).for_each(|(bytes, slice)| match samples {
            Samples::Real => each(bytes, &slice, |voxel| voxel.to_le_bytes()),
            Samples::Stored { slope, intercept } => {
                let factor = slope.recip();
                let sample = |voxel: f32| ((f64::from(voxel) - intercept) * factor + ROUND).to_bits() as i16;
                each(bytes, &slice, |voxel| sample(voxel).to_le_bytes());
            }
        });
        out.write_all(&bytes)?;
    }
    Ok(())
}

fn each<const N: usize>(bytes: &mut [u8], slice: &ArrayView2<'_, f32>, word: impl Fn(f32) -> [u8; N]) {
    let places = bytes.as_chunks_mut().0.iter_mut();
    match slice.as_slice() {
        Some(voxels) => places.zip(voxels).for_each(|(place, voxel)| *place = word(*voxel)),
        None => places.zip(slice).for_each(|(place, voxel)| *place = word(*voxel)),
    }
}

/// The 348 bytes of nifti1.h and the four that say that no extension follows.
fn header(grid: &Grid, coding: Coding) -> Option<[u8; 352]> {
    let mut bytes = [0u8; 352];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    let size: Vec<i16> = grid.size.iter().map(|side| i16::try_from(*side).ok()).collect::<Option<_>>()?;
    let spacing = grid.spacing();
    let ras: [[f64; 4]; 3] = std::array::from_fn(|row| {
        let sign = if row < 2 { -1.0 } else { 1.0 };
        grid.affine[row].map(|part| part * sign)
    });
    let (quaternion, handedness) = quaternion(&ras, spacing);
    let square = is_square(&ras, spacing);

    put(0, &348i32.to_le_bytes());
    for (index, side) in [3, size[0], size[1], size[2], 1, 1, 1, 1].iter().enumerate() {
        put(40 + 2 * index, &side.to_le_bytes());
    }
    put(70, &coding.datatype.to_le_bytes());
    put(72, &(8 * coding.bytes as i16).to_le_bytes());
    for (index, length) in [handedness, spacing[0], spacing[1], spacing[2]].iter().enumerate() {
        put(76 + 4 * index, &(*length as f32).to_le_bytes());
    }
    put(108, &352f32.to_le_bytes());
    put(112, &(coding.slope as f32).to_le_bytes());
    put(116, &(coding.intercept as f32).to_le_bytes());
    // Units: mm and seconds. Both transforms are to scanner coordinates; qform_code 0 says that there is no qform.
    put(123, &[2 | 8]);
    put(252, &i16::from(square).to_le_bytes());
    put(254, &1i16.to_le_bytes());
    if square {
        for (index, part) in quaternion.iter().chain(ras.iter().map(|row| &row[3])).enumerate() {
            put(256 + 4 * index, &(*part as f32).to_le_bytes());
        }
    }
    for (index, part) in ras.iter().flatten().enumerate() {
        put(280 + 4 * index, &(*part as f32).to_le_bytes());
    }
    put(344, b"n+1\0");
    Some(bytes)
}

/// Cosine of the angle between two axes up to which they count as being at right angles.
const SHEAR_TOLERANCE: f64 = 1e-4;

/// Whether the axes of an affine are at right angles, which alone a quaternion can say.
fn is_square(affine: &[[f64; 4]; 3], spacing: [f64; 3]) -> bool {
    [(0, 1), (0, 2), (1, 2)].into_iter().all(|(a, b)| {
        let dot: f64 = affine.iter().map(|row| row[a] * row[b]).sum();
        dot.abs() <= SHEAR_TOLERANCE * spacing[a] * spacing[b]
    })
}

/// Quaternion (b, c, d) and qfac of the rotation in an affine (nifti1.h, method 2).
fn quaternion(affine: &[[f64; 4]; 3], spacing: [f64; 3]) -> ([f64; 3], f64) {
    let mut r: [[f64; 3]; 3] = std::array::from_fn(|row| std::array::from_fn(|axis| affine[row][axis] / spacing[axis]));
    let determinant = r[0][0] * (r[1][1] * r[2][2] - r[1][2] * r[2][1])
        - r[0][1] * (r[1][0] * r[2][2] - r[1][2] * r[2][0])
        + r[0][2] * (r[1][0] * r[2][1] - r[1][1] * r[2][0]);
    let handedness = if determinant < 0.0 { -1.0 } else { 1.0 };
    r.iter_mut().for_each(|row| row[2] *= handedness);
    // The largest of the four squares is the safe one to divide by (Shepperd 1978).
    let trace = r[0][0] + r[1][1] + r[2][2];
    let squares = [trace, r[0][0], r[1][1], r[2][2]];
    let largest = (0..4).max_by(|a, b| squares[*a].total_cmp(&squares[*b])).unwrap_or(0);
    let [w, x, y, z] = match largest {
        0 => [1.0 + trace, r[2][1] - r[1][2], r[0][2] - r[2][0], r[1][0] - r[0][1]],
        1 => [r[2][1] - r[1][2], 1.0 + 2.0 * r[0][0] - trace, r[0][1] + r[1][0], r[0][2] + r[2][0]],
        2 => [r[0][2] - r[2][0], r[0][1] + r[1][0], 1.0 + 2.0 * r[1][1] - trace, r[1][2] + r[2][1]],
        _ => [r[1][0] - r[0][1], r[0][2] + r[2][0], r[1][2] + r[2][1], 1.0 + 2.0 * r[2][2] - trace],
    };
    let length = (w * w + x * x + y * y + z * z).sqrt() * if w < 0.0 { -1.0 } else { 1.0 };
    ([x / length, y / length, z / length], handedness)
}

/// A BIDS sidecar: names as BIDS has them, times in seconds, numbers as numbers.
pub fn sidecar(keywords: &BTreeMap<String, String>, volume: &Volume) -> Value {
    const TEXTS: [&str; 16] = [
        "Modality",
        "Manufacturer",
        "DeviceSerialNumber",
        "StationName",
        "InstitutionName",
        "InstitutionalDepartmentName",
        "PatientPosition",
        "SoftwareVersions",
        "MRAcquisitionType",
        "SeriesDescription",
        "ProtocolName",
        "ScanningSequence",
        "SequenceVariant",
        "ScanOptions",
        "SequenceName",
        "ReceiveCoilName",
    ];
    const NUMBERS: [(&str, f64); 8] = [
        ("MagneticFieldStrength", 1.0),
        ("ImagingFrequency", 1.0),
        ("SliceThickness", 1.0),
        ("SpacingBetweenSlices", 1.0),
        ("FlipAngle", 1.0),
        ("EchoTime", 1e-3),
        ("RepetitionTime", 1e-3),
        ("InversionTime", 1e-3),
    ];
    let mut sidecar = Map::new();
    let texts = TEXTS
        .iter()
        .map(|name| (*name, *name))
        .chain([("ManufacturersModelName", "ManufacturerModelName"), ("BodyPart", "BodyPartExamined")]);
    for (name, keyword) in texts {
        if let Some(text) = keywords.get(keyword) {
            sidecar.insert(name.to_owned(), text.as_str().into());
        }
    }
    for (name, factor) in NUMBERS {
        if let Some(number) = keywords.get(name).and_then(|text| text.split('\\').next()?.parse::<f64>().ok()) {
            // Twelve digits are enough for what a header holds, and hide the factor's rounding.
            let seconds = (number * factor * 1e9).round() / 1e9;
            sidecar.insert(name.to_owned(), seconds.into());
        }
    }
    for name in ["ImageType", "ImageTypeText"] {
        if let Some(text) = keywords.get(name) {
            sidecar.insert(name.to_owned(), text.split('\\').collect::<Vec<_>>().into());
        }
    }
    sidecar.insert("IntensityScale".to_owned(), volume.intensity_scale.as_str().into());
    sidecar.insert("ConversionSoftware".to_owned(), "sulcus".into());
    sidecar.insert("ConversionSoftwareVersion".to_owned(), env!("CARGO_PKG_VERSION").into());
    Value::Object(sidecar)
}
