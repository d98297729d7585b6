//! Patient, study and frame-of-reference attributes that a segmentation has in common with its source.

use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;

use super::{
    SegError,
    codes::{Element, text},
    text::{Repertoire, legal, offset_minutes},
};
use crate::{
    prescan::{Limits, prescan},
    results::uid::is_valid_uid,
    volume::Encoded,
};

/// Whether an attribute is written where the source has no legal value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// Type 2: written empty.
    Empty,
    /// Type 3: left out.
    Absent,
}
use Presence::{Absent, Empty};

/// What is copied, with its VR, from PS3.3 C.7.1.1, C.7.2.1, C.7.2.2, C.7.4.1 and C.7.6.1.
const COPIED: [(Tag, VR, &str, Presence); 21] = [
    (tags::STUDY_DATE, VR::DA, "StudyDate", Empty),
    (tags::STUDY_TIME, VR::TM, "StudyTime", Empty),
    (tags::ACCESSION_NUMBER, VR::SH, "AccessionNumber", Empty),
    (tags::REFERRING_PHYSICIAN_NAME, VR::PN, "ReferringPhysicianName", Empty),
    (tags::STUDY_DESCRIPTION, VR::LO, "StudyDescription", Absent),
    (tags::PATIENT_NAME, VR::PN, "PatientName", Empty),
    (tags::PATIENT_ID, VR::LO, "PatientID", Empty),
    (tags::ISSUER_OF_PATIENT_ID, VR::LO, "IssuerOfPatientID", Absent),
    (tags::PATIENT_BIRTH_DATE, VR::DA, "PatientBirthDate", Empty),
    (tags::PATIENT_BIRTH_TIME, VR::TM, "PatientBirthTime", Absent),
    (tags::PATIENT_SEX, VR::CS, "PatientSex", Empty),
    (tags::PATIENT_AGE, VR::AS, "PatientAge", Absent),
    (tags::PATIENT_SIZE, VR::DS, "PatientSize", Absent),
    (tags::PATIENT_WEIGHT, VR::DS, "PatientWeight", Absent),
    (tags::PATIENT_IDENTITY_REMOVED, VR::CS, "PatientIdentityRemoved", Absent),
    (tags::DEIDENTIFICATION_METHOD, VR::LO, "DeidentificationMethod", Absent),
    (tags::STUDY_ID, VR::SH, "StudyID", Empty),
    (tags::POSITION_REFERENCE_INDICATOR, VR::LO, "PositionReferenceIndicator", Empty),
    (tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "LossyImageCompression", Absent),
    (tags::LOSSY_IMAGE_COMPRESSION_RATIO, VR::DS, "LossyImageCompressionRatio", Absent),
    (tags::LOSSY_IMAGE_COMPRESSION_METHOD, VR::CS, "LossyImageCompressionMethod", Absent),
];

/// What the source gives to the segmentation.
pub(super) struct Inherited {
    /// The copied elements.
    pub(super) elements: Vec<Element>,
    /// SpecificCharacterSet of the source; empty where it has none.
    pub(super) charset: String,
    /// SeriesInstanceUID of the source.
    pub(super) series_uid: String,
    /// Minutes east of UTC that the source's times are in; 0 where it does not say.
    pub(super) offset_minutes: i64,
}

/// Copies what the segmentation has in common with its source; what had to be changed is added to `notes`.
pub(super) fn inherit(source: Encoded<'_>, notes: &mut Vec<String>) -> Result<Inherited, SegError> {
    // Raw bytes, never decoded: text is carried as it is, whatever its character sets.
    let scan = prescan(source, &Limits::default()).map_err(|refusal| SegError::Source(refusal.to_string()))?;
    let raw = |tag| scan.find(tag).map(|element| scan.value(element));
    let uid = |tag, what| {
        let uid = String::from_utf8_lossy(raw(tag).unwrap_or_default()).trim_matches([' ', '\0']).to_owned();
        if is_valid_uid(&uid) { Ok(uid) } else { Err(SegError::Uid { what, uid }) }
    };
    let study_uid = uid(tags::STUDY_INSTANCE_UID, "StudyInstanceUID of the source")?;
    let series_uid = uid(tags::SERIES_INSTANCE_UID, "SeriesInstanceUID of the source")?;
    let mut elements = vec![text(tags::STUDY_INSTANCE_UID, VR::UI, study_uid)];

    let charset = character_set(raw(tags::SPECIFIC_CHARACTER_SET).unwrap_or_default(), notes);
    let repertoire = Repertoire::of(charset.as_bytes());
    let declared = !charset.is_empty();
    if declared {
        elements.push(text(tags::SPECIFIC_CHARACTER_SET, VR::CS, charset.clone()));
    }
    let zone = raw(tags::TIMEZONE_OFFSET_FROM_UTC).unwrap_or_default();
    let offset = offset_minutes(zone);
    if offset.is_some() {
        elements.push(text(tags::TIMEZONE_OFFSET_FROM_UTC, VR::SH, String::from_utf8_lossy(zone).trim().to_owned()));
    }
    for (tag, vr, keyword, presence) in COPIED {
        let Some(value) = raw(tag) else {
            if presence == Empty {
                elements.push(DataElement::empty(tag, vr));
            }
            continue;
        };
        let mut value = legal(vr, value, repertoire);
        if tag == tags::PATIENT_SEX && !matches!(value.bytes.as_slice(), b"" | b"M" | b"F" | b"O") {
            value.bytes.clear();
            value.note = Some("the illegal value was left out");
        }
        if let Some(note) = value.note {
            notes.push(format!("{keyword} of the source: {note}"));
        }
        if !declared && !value.bytes.is_ascii() {
            notes.push(format!("{keyword} of the source is not ASCII and no character set is named; copied as it is"));
        }
        if !value.bytes.is_empty() || presence == Empty {
            elements.push(element(tag, vr, value.bytes));
        }
    }
    pair_deidentification(&mut elements, notes);
    if !elements.iter().any(|e| e.header().tag == tags::LOSSY_IMAGE_COMPRESSION) {
        elements.push(text(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "00"));
    }
    Ok(Inherited { elements, charset, series_uid, offset_minutes: offset.unwrap_or(0) })
}

/// The source's SpecificCharacterSet with the commonest misspelling corrected.
fn character_set(raw: &[u8], notes: &mut Vec<String>) -> String {
    let stored = String::from_utf8_lossy(raw).trim_end_matches([' ', '\0']).to_owned();
    let corrected = stored.replace("ISO_IR_", "ISO_IR ");
    if corrected != stored {
        notes.push("SpecificCharacterSet of the source: a misspelt term was corrected".into());
    }
    corrected
}

/// PatientIdentityRemoved of YES needs a method (PS3.3 C.7.1.1).
fn pair_deidentification(elements: &mut Vec<Element>, notes: &mut Vec<String>) {
    let has = |tag| elements.iter().any(|e: &Element| e.header().tag == tag);
    let removed = elements
        .iter()
        .any(|e| e.header().tag == tags::PATIENT_IDENTITY_REMOVED && e.value().to_str().is_ok_and(|v| v == "YES"));
    if removed && !has(tags::DEIDENTIFICATION_METHOD) {
        elements.push(text(tags::DEIDENTIFICATION_METHOD, VR::LO, "Not stated by the source"));
        notes.push("DeidentificationMethod: the source names none though its identity is removed".into());
    }
}

/// Text beyond ASCII goes in as bytes, so that nothing transcodes it.
pub(super) fn element(tag: Tag, vr: VR, bytes: Vec<u8>) -> Element {
    match String::from_utf8(bytes) {
        Ok(ascii) if ascii.is_ascii() => text(tag, vr, ascii),
        Ok(other) => padded(tag, vr, other.into_bytes()),
        Err(error) => padded(tag, vr, error.into_bytes()),
    }
}

fn padded(tag: Tag, vr: VR, mut bytes: Vec<u8>) -> Element {
    if bytes.len() % 2 == 1 {
        bytes.push(b' ');
    }
    DataElement::new(tag, vr, PrimitiveValue::U8(bytes.into()))
}
