//! Volumes as NIfTI-1 files, with a small BIDS sidecar.
//!
//! Written directly, since the header is 348 fixed bytes: axes stay those of the volume (column, row, slice), and both
//! qform and sform carry the affine in RAS.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
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

/// Writes `.nii`, or gzip where the name ends in `.gz`. Voxels are int16 where every one is such an integer, else
/// float32; no scale is applied on reading.
///
/// # Errors
/// [`NiftiError`] where a side is too long for NIfTI-1 or the file cannot be written.
pub fn write(volume: &Volume, path: &Path) -> Result<(), NiftiError> {
    let whole = volume.voxels.iter().all(|voxel| voxel.fract() == 0.0 && (-32768.0..=32767.0).contains(voxel));
    let header = header(&volume.grid, whole).ok_or(NiftiError::TooLarge(volume.grid.size))?;
    let file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    if path.extension().is_some_and(|extension| extension == "gz") {
        let mut encoder = GzEncoder::new(file, Compression::fast());
        write_to(&mut encoder, &header, volume, whole)?;
        encoder.finish()?.flush()?;
    } else {
        let mut file = file;
        write_to(&mut file, &header, volume, whole)?;
        file.flush()?;
    }
    Ok(())
}

fn write_to(out: &mut impl Write, header: &[u8], volume: &Volume, whole: bool) -> io::Result<()> {
    out.write_all(header)?;
    let mut bytes = Vec::new();
    for slice in volume.voxels.outer_iter() {
        if whole {
            bytes.resize(2 * slice.len(), 0);
            bytes
                .as_chunks_mut()
                .0
                .iter_mut()
                .zip(slice)
                .for_each(|(word, voxel)| *word = (*voxel as i16).to_le_bytes());
        } else {
            bytes.resize(4 * slice.len(), 0);
            bytes.as_chunks_mut().0.iter_mut().zip(slice).for_each(|(word, voxel)| *word = voxel.to_le_bytes());
        }
        out.write_all(&bytes)?;
    }
    Ok(())
}

/// The 348 bytes of nifti1.h and the four that say that no extension follows.
fn header(grid: &Grid, whole: bool) -> Option<[u8; 352]> {
    let mut bytes = [0u8; 352];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    let size: Vec<i16> = grid.size.iter().map(|side| i16::try_from(*side).ok()).collect::<Option<_>>()?;
    let spacing = grid.spacing();
    let ras: [[f64; 4]; 3] = std::array::from_fn(|row| {
        let sign = if row < 2 { -1.0 } else { 1.0 };
        grid.affine[row].map(|part| part * sign)
    });
    let (quaternion, handedness) = quaternion(&ras, spacing);

    put(0, &348i32.to_le_bytes());
    for (index, side) in [3, size[0], size[1], size[2], 1, 1, 1, 1].iter().enumerate() {
        put(40 + 2 * index, &side.to_le_bytes());
    }
    let (datatype, bits) = if whole { (4i16, 16i16) } else { (16, 32) };
    put(70, &datatype.to_le_bytes());
    put(72, &bits.to_le_bytes());
    for (index, length) in [handedness, spacing[0], spacing[1], spacing[2]].iter().enumerate() {
        put(76 + 4 * index, &(*length as f32).to_le_bytes());
    }
    put(108, &352f32.to_le_bytes());
    put(112, &1f32.to_le_bytes());
    // Units: mm and seconds. Both transforms are to scanner coordinates.
    put(123, &[2 | 8]);
    put(252, &1i16.to_le_bytes());
    put(254, &1i16.to_le_bytes());
    for (index, part) in quaternion.iter().chain(ras.iter().map(|row| &row[3])).enumerate() {
        put(256 + 4 * index, &(*part as f32).to_le_bytes());
    }
    for (index, part) in ras.iter().flatten().enumerate() {
        put(280 + 4 * index, &(*part as f32).to_le_bytes());
    }
    put(344, b"n+1\0");
    Some(bytes)
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
