//! What every DICOM object that leaves has in common: patient and study of its source, a series and equipment of its
//! own, and the file around it.
//!
//! What an object says beyond that is its builder's (`results::seg`, ...). What cannot be a valid object is an error,
//! never a file.

pub(crate) mod codes;
pub(crate) mod content;
pub(crate) mod elements;
pub(crate) mod patient;
pub(crate) mod text;

use dicom_core::{PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::entries::EXPLICIT_VR_LITTLE_ENDIAN;
use thiserror::Error;

use self::{elements::text as text_element, patient::Inherited};
use super::{RESEARCH_USE, uid::is_valid_uid};
use crate::{digest::Digest, part10, rows::Millis, volume::Encoded};

/// The model that made the label map.
#[derive(Clone, Copy, Debug)]
pub struct Algorithm<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Digest of the model package.
    pub digest: Digest,
}

/// The installation that writes the object (Enhanced General Equipment, PS3.3 C.7.5.2).
#[derive(Clone, Copy, Debug)]
pub struct Equipment<'a> {
    /// DeviceSerialNumber: names the installation.
    pub serial_number: &'a str,
    /// SoftwareVersions.
    pub software_version: &'a str,
}

/// Whose object it is, and which.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// One instance of the source series, as stored; patient and study are copied from it.
    pub source: Encoded<'a>,
    /// SOPInstanceUID of the object.
    pub sop_instance_uid: &'a str,
    /// SeriesInstanceUID of the object.
    pub series_instance_uid: &'a str,
    /// SeriesNumber of the object.
    pub series_number: u32,
    /// Revision of the report that the object belongs to; also its InstanceNumber.
    pub revision: u32,
    /// When the revision was issued.
    pub created: Millis,
    /// The installation.
    pub equipment: Equipment<'a>,
}

/// One object that another speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference<'a> {
    /// StudyInstanceUID.
    pub study_instance_uid: &'a str,
    /// SeriesInstanceUID.
    pub series_instance_uid: &'a str,
    /// SOPClassUID.
    pub sop_class_uid: &'a str,
    /// SOPInstanceUID.
    pub sop_instance_uid: &'a str,
}

/// A written object.
#[derive(Clone, Debug)]
pub struct Object {
    /// The Part-10 file.
    pub bytes: Vec<u8>,
    /// What of the source could not be copied as it was; names attributes, never their values.
    pub notes: Vec<String>,
}

impl AsRef<[u8]> for Object {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Why no object was written.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ObjectError {
    /// A UID that PS3.5 9.1 forbids.
    #[error("{what} {uid:?} is not a valid UID (at most 64 characters, digits and dots)")]
    Uid {
        /// Which.
        what: &'static str,
        /// Its value.
        uid: String,
    },
    /// An identity that cannot be written as it is: cut, it could be another patient's.
    #[error("{0} of the source is too long, or not text of its SpecificCharacterSet; correct it at the sender")]
    Identity(&'static str),
    /// The source's bytes cannot be read.
    #[error("the source instance cannot be read: {0}")]
    Source(String),
    /// The encoder failed.
    #[error("the object cannot be encoded: {0}")]
    Encoding(String),
}

/// What kind of object it is.
pub(crate) struct Kind {
    /// SOPClassUID.
    pub(crate) sop_class_uid: &'static str,
    /// Modality.
    pub(crate) modality: &'static str,
    /// SeriesDescription, before what the object may be used for.
    pub(crate) series_description: &'static str,
}

/// Begins an object: patient, study, series, equipment and SOP common (PS3.3 C.7.1 to C.7.5, C.12.1).
///
/// # Errors
/// [`ObjectError::Uid`] and [`ObjectError::Source`].
pub(crate) fn begin(
    header: &Header<'_>,
    kind: &Kind,
    notes: &mut Vec<String>,
) -> Result<(InMemDicomObject, Inherited), ObjectError> {
    check_uid("SOPInstanceUID", header.sop_instance_uid)?;
    check_uid("SeriesInstanceUID", header.series_instance_uid)?;
    let mut inherited = patient::inherit(header.source, notes)?;
    let mut object = InMemDicomObject::from_element_iter(std::mem::take(&mut inherited.elements));
    let (date, time) = text::date_time(header.created, inherited.offset_minutes);
    // An archive lists the series of all revisions. Beside the revision, 64 characters have room for half the warning.
    let description = match header.revision {
        ..=1 => format!("{}; {}", kind.series_description, RESEARCH_USE.to_lowercase()),
        later => text::ascii(&format!("{}; revision {later}; research use only", kind.series_description), 64),
    };
    for (tag, vr, value) in [
        (tags::INSTANCE_CREATION_DATE, VR::DA, date.clone()),
        (tags::INSTANCE_CREATION_TIME, VR::TM, time.clone()),
        (tags::SOP_CLASS_UID, VR::UI, kind.sop_class_uid.to_owned()),
        (tags::SOP_INSTANCE_UID, VR::UI, header.sop_instance_uid.to_owned()),
        (tags::SERIES_DATE, VR::DA, date.clone()),
        (tags::CONTENT_DATE, VR::DA, date),
        (tags::SERIES_TIME, VR::TM, time.clone()),
        (tags::CONTENT_TIME, VR::TM, time),
        (tags::MODALITY, VR::CS, kind.modality.to_owned()),
        (tags::MANUFACTURER, VR::LO, "Sulcus".to_owned()),
        (tags::SERIES_DESCRIPTION, VR::LO, description),
        (tags::MANUFACTURER_MODEL_NAME, VR::LO, "Sulcus".to_owned()),
        (tags::DEVICE_SERIAL_NUMBER, VR::LO, text::ascii(header.equipment.serial_number, 64)),
        (tags::SOFTWARE_VERSIONS, VR::LO, text::ascii(header.equipment.software_version, 64)),
        (tags::SERIES_INSTANCE_UID, VR::UI, header.series_instance_uid.to_owned()),
        (tags::SERIES_NUMBER, VR::IS, header.series_number.min(i32::MAX as u32).to_string()),
        (tags::INSTANCE_NUMBER, VR::IS, header.revision.min(i32::MAX as u32).to_string()),
    ] {
        object.put(text_element(tag, vr, value));
    }
    Ok((object, inherited))
}

/// The file (Explicit VR Little Endian). `pixel_data`, bits or samples of BitsAllocated (16 bits little endian) and of
/// even length, come last in it and are appended to the data set as they are.
///
/// # Errors
/// [`ObjectError::Encoding`].
pub(crate) fn part_10(object: &InMemDicomObject, pixel_data: Option<&[u8]>) -> Result<Vec<u8>, ObjectError> {
    let encoding = |error: &dyn std::fmt::Display| ObjectError::Encoding(error.to_string());
    let uid = |tag| {
        let element = object.element(tag).map_err(|error| encoding(&error))?;
        element.to_str().map(|uid| uid.into_owned()).map_err(|error| encoding(&error))
    };
    let (class, instance) = (uid(tags::SOP_CLASS_UID)?, uid(tags::SOP_INSTANCE_UID)?);
    let mut bytes = part10::begin(uids::EXPLICIT_VR_LITTLE_ENDIAN, &class, &instance);
    object.write_dataset_with_ts(&mut bytes, &EXPLICIT_VR_LITTLE_ENDIAN.erased()).map_err(|error| encoding(&error))?;
    if let Some(pixels) = pixel_data {
        let length = u32::try_from(pixels.len()).map_err(|error| encoding(&error))?;
        bytes.reserve_exact(pixels.len() + 12);
        let wide = object.get(tags::BITS_ALLOCATED).is_some_and(|bits| bits.to_int::<u16>().is_ok_and(|bits| bits > 8));
        bytes.extend_from_slice(if wide { b"\xE0\x7F\x10\x00OW\0\0" } else { b"\xE0\x7F\x10\x00OB\0\0" });
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(pixels);
    }
    Ok(bytes)
}

/// Refuses a UID that PS3.5 9.1 forbids.
pub(crate) fn check_uid(what: &'static str, uid: &str) -> Result<(), ObjectError> {
    if is_valid_uid(uid) { Ok(()) } else { Err(ObjectError::Uid { what, uid: uid.to_owned() }) }
}

/// Refuses a reference with such a UID.
pub(crate) fn check_reference(reference: &Reference<'_>) -> Result<(), ObjectError> {
    check_uid("StudyInstanceUID of a referenced object", reference.study_instance_uid)?;
    check_uid("SeriesInstanceUID of a referenced object", reference.series_instance_uid)?;
    check_uid("SOPClassUID of a referenced object", reference.sop_class_uid)?;
    check_uid("SOPInstanceUID of a referenced object", reference.sop_instance_uid)
}

/// A coded or plain text of several values.
pub(crate) fn strings(values: &[&str]) -> PrimitiveValue {
    PrimitiveValue::Strs(values.iter().map(|value| (*value).to_owned()).collect())
}
