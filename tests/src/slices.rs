//! Synthetic classic MR slices: valid objects of any size and number, the same for the same seed.

use std::path::{Path, PathBuf};

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};

use crate::peer::PeerError;

/// What a synthetic series is made of.
#[derive(Debug, Clone, Copy)]
pub struct Slices {
    /// How many slices, one file each.
    pub count: u32,
    /// Rows of a slice.
    pub rows: u16,
    /// Columns of a slice.
    pub columns: u16,
    /// Where the noise starts, and what tells one series' UIDs from another's.
    pub seed: u32,
}

/// Writes one series as Part-10 files, Explicit VR Little Endian, 12 bits in 16, 1 mm apart; the files in order.
///
/// # Errors
/// Where an object cannot be made or written.
pub fn write_series(folder: &Path, slices: Slices) -> Result<Vec<PathBuf>, PeerError> {
    std::fs::create_dir_all(folder)?;
    (1..=slices.count)
        .map(|number| {
            let path = folder.join(format!("{:06}-{number:05}.dcm", slices.seed));
            let failed = |error: &dyn std::error::Error| PeerError::failed(format!("{}: {error}", path.display()));
            let meta = FileMetaTableBuilder::new().transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN);
            let object = slice(slices, number).with_meta(meta).map_err(|error| failed(&error))?;
            object.write_to_file(&path).map_err(|error| failed(&error))?;
            Ok(path)
        })
        .collect()
}

fn slice(slices: Slices, number: u32) -> InMemDicomObject {
    let Slices { rows, columns, seed, .. } = slices;
    let mut object = InMemDicomObject::new_empty();
    let uid = |tail: String| format!("2.25.{}{tail}", 100_000 + u64::from(seed));
    let mut text = |tag, vr, value: &str| {
        object.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
    };
    text(tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\OTHER");
    text(tags::SOP_CLASS_UID, VR::UI, uids::MR_IMAGE_STORAGE);
    text(tags::SOP_INSTANCE_UID, VR::UI, &uid(format!("{number:05}")));
    text(tags::STUDY_INSTANCE_UID, VR::UI, &uid("1".to_owned()));
    text(tags::SERIES_INSTANCE_UID, VR::UI, &uid("2".to_owned()));
    text(tags::FRAME_OF_REFERENCE_UID, VR::UI, &uid("3".to_owned()));
    for (tag, vr) in [
        (tags::STUDY_DATE, VR::DA),
        (tags::STUDY_TIME, VR::TM),
        (tags::ACCESSION_NUMBER, VR::SH),
        (tags::REFERRING_PHYSICIAN_NAME, VR::PN),
        (tags::PATIENT_BIRTH_DATE, VR::DA),
        (tags::PATIENT_SEX, VR::CS),
        (tags::STUDY_ID, VR::SH),
        (tags::POSITION_REFERENCE_INDICATOR, VR::LO),
        (tags::ECHO_TIME, VR::DS),
        (tags::REPETITION_TIME, VR::DS),
        (tags::ECHO_TRAIN_LENGTH, VR::IS),
    ] {
        text(tag, vr, "");
    }
    text(tags::MODALITY, VR::CS, "MR");
    text(tags::MANUFACTURER, VR::LO, "Sulcus");
    text(tags::PATIENT_NAME, VR::PN, "Synthetic^Slices");
    text(tags::PATIENT_ID, VR::LO, "SYNTHETIC");
    text(tags::BODY_PART_EXAMINED, VR::CS, "HEAD");
    text(tags::PATIENT_POSITION, VR::CS, "HFS");
    text(tags::SCANNING_SEQUENCE, VR::CS, "GR");
    text(tags::SEQUENCE_VARIANT, VR::CS, "NONE");
    text(tags::SCAN_OPTIONS, VR::CS, "");
    text(tags::MR_ACQUISITION_TYPE, VR::CS, "3D");
    text(tags::SERIES_NUMBER, VR::IS, "1");
    text(tags::INSTANCE_NUMBER, VR::IS, &number.to_string());
    text(tags::SLICE_THICKNESS, VR::DS, "1");
    text(tags::PIXEL_SPACING, VR::DS, "1\\1");
    text(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\0\\1\\0");
    text(tags::IMAGE_POSITION_PATIENT, VR::DS, &format!("-128\\-128\\{number}"));
    text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2");
    for (tag, value) in [
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::ROWS, rows),
        (tags::COLUMNS, columns),
        (tags::BITS_ALLOCATED, 16),
        (tags::BITS_STORED, 12),
        (tags::HIGH_BIT, 11),
        (tags::PIXEL_REPRESENTATION, 0),
    ] {
        object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
    }
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(noise(slices, number).collect())));
    object
}

/// The stored values of one slice, row by row: a linear congruential generator's upper bits.
fn noise(slices: Slices, number: u32) -> impl Iterator<Item = u16> {
    let mut state = (u64::from(slices.seed) << 32 | u64::from(number)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let length = usize::from(slices.rows) * usize::from(slices.columns);
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 52) as u16
    })
    .take(length)
}
