//! Patient, study and, for images, frame-of-reference attributes that an object has in common with its source.

use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::tags;

use super::{
    ObjectError,
    elements::{Element, element, text},
    text::{Repertoire, is_plain, legal, offset_minutes},
};
use crate::{
    prescan::{Limits, prescan},
    results::{uid::is_valid_uid, wording::decode},
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

/// What is copied, with its VR, from PS3.3 C.7.1.1, C.7.2.1 and C.7.2.2.
const COPIED: [(Tag, VR, &str, Presence); 17] = [
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
];

/// What is copied into an image on the source's own grid, from PS3.3 C.7.4.1 and C.7.6.1.
const COPIED_TO_IMAGES: [(Tag, VR, &str, Presence); 4] = [
    (tags::POSITION_REFERENCE_INDICATOR, VR::LO, "PositionReferenceIndicator", Empty),
    (tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "LossyImageCompression", Absent),
    (tags::LOSSY_IMAGE_COMPRESSION_RATIO, VR::DS, "LossyImageCompressionRatio", Absent),
    (tags::LOSSY_IMAGE_COMPRESSION_METHOD, VR::CS, "LossyImageCompressionMethod", Absent),
];

/// What the source gives to the object.
pub(crate) struct Inherited {
    /// The copied elements.
    pub(crate) elements: Vec<Element>,
    /// SpecificCharacterSet of the source; empty where it has none.
    pub(crate) charset: String,
    /// StudyInstanceUID of the source.
    pub(crate) study_uid: String,
    /// SeriesInstanceUID of the source.
    pub(crate) series_uid: String,
    /// Minutes east of UTC that the source's times are in; 0 where it does not say.
    pub(crate) offset_minutes: i64,
}

/// Copies what any object has in common with its source; what had to be changed is added to `notes`.
pub(crate) fn inherit(source: Encoded<'_>, notes: &mut Vec<String>) -> Result<Inherited, ObjectError> {
    // Raw bytes, never decoded: text is carried as it is, whatever its character sets.
    let scan = prescan(source, &Limits::default()).map_err(|refusal| ObjectError::Source(refusal.to_string()))?;
    let raw = |tag| scan.find(tag).map(|element| scan.value(element));
    let uid = |tag, what| {
        let uid = String::from_utf8_lossy(raw(tag).unwrap_or_default()).trim_matches([' ', '\0']).to_owned();
        if is_valid_uid(&uid) { Ok(uid) } else { Err(ObjectError::Uid { what, uid }) }
    };
    let study_uid = uid(tags::STUDY_INSTANCE_UID, "StudyInstanceUID of the source")?;
    let series_uid = uid(tags::SERIES_INSTANCE_UID, "SeriesInstanceUID of the source")?;
    let mut elements = vec![text(tags::STUDY_INSTANCE_UID, VR::UI, study_uid.clone())];

    let texts = COPIED.iter().filter_map(|(tag, ..)| raw(*tag));
    let charset = character_set(raw(tags::SPECIFIC_CHARACTER_SET).unwrap_or_default(), texts, notes);
    if !charset.is_empty() {
        elements.push(text(tags::SPECIFIC_CHARACTER_SET, VR::CS, charset.clone()));
    }
    let zone = raw(tags::TIMEZONE_OFFSET_FROM_UTC).unwrap_or_default();
    let offset = offset_minutes(zone);
    if offset.is_some() {
        elements.push(text(tags::TIMEZONE_OFFSET_FROM_UTC, VR::SH, String::from_utf8_lossy(zone).trim().to_owned()));
    }
    copy(&COPIED, raw, &charset, &mut elements, notes)?;
    let declared = named(raw(tags::SPECIFIC_CHARACTER_SET).unwrap_or_default());
    for (tag, keyword) in [(tags::PATIENT_ID, "PatientID"), (tags::ISSUER_OF_PATIENT_ID, "IssuerOfPatientID")] {
        if !raw(tag).is_none_or(|value| is_readable(value, declared.as_deref())) {
            return Err(ObjectError::Identity(keyword));
        }
    }
    pair_deidentification(&mut elements, notes);
    Ok(Inherited { elements, charset, study_uid, series_uid, offset_minutes: offset.unwrap_or(0) })
}

/// Copies what an image on the source's own grid has in common with it as well.
pub(crate) fn inherit_image(
    source: Encoded<'_>,
    charset: &str,
    notes: &mut Vec<String>,
) -> Result<Vec<Element>, ObjectError> {
    let scan = prescan(source, &Limits::default()).map_err(|refusal| ObjectError::Source(refusal.to_string()))?;
    let mut elements = Vec::new();
    let raw = |tag| scan.find(tag).map(|element| scan.value(element));
    copy(&COPIED_TO_IMAGES, raw, charset, &mut elements, notes)?;
    if !elements.iter().any(|e| e.header().tag == tags::LOSSY_IMAGE_COMPRESSION) {
        elements.push(text(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "00"));
    }
    Ok(elements)
}

fn copy<'a>(
    copied: &[(Tag, VR, &'static str, Presence)],
    raw: impl Fn(Tag) -> Option<&'a [u8]>,
    charset: &str,
    elements: &mut Vec<Element>,
    notes: &mut Vec<String>,
) -> Result<(), ObjectError> {
    let repertoire = Repertoire::of(charset.as_bytes());
    for &(tag, vr, keyword, presence) in copied {
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
        if value.note.is_some() && matches!(tag, tags::PATIENT_ID | tags::ISSUER_OF_PATIENT_ID) {
            return Err(ObjectError::Identity(keyword));
        }
        if value.note.is_some() && tag == tags::ACCESSION_NUMBER {
            // Cut, it could be another order's.
            value.bytes.clear();
            value.note = Some("the illegal value was left out");
        }
        if let Some(note) = value.note {
            notes.push(format!("{keyword} of the source: {note}"));
        }
        if !value.bytes.is_empty() || presence == Empty {
            elements.push(element(tag, vr, value.bytes));
        }
    }
    Ok(())
}

/// The terms of PS3.3 C.12.1.1.2 behind `ISO_IR ` and `ISO 2022 IR `.
const SINGLE_BYTE: [&str; 13] =
    ["6", "100", "101", "109", "110", "126", "127", "138", "144", "148", "166", "203", "13"];
/// Those that are behind `ISO 2022 IR ` alone.
const EXTENSIONS: [&str; 4] = ["58", "87", "149", "159"];

/// Whether all who read an identity read the same: it is ASCII, or text of 64 characters at most in a set that the source
/// names.
fn is_readable(value: &[u8], charset: Option<&str>) -> bool {
    let Some(charset) = charset.filter(|_| !is_plain(value)) else { return is_plain(value) };
    let codes: Vec<String> = charset.split('\\').map(|code| code.trim_matches(' ').to_owned()).collect();
    let text = decode(value, &codes);
    let fits = |text: &str| text.chars().count() <= 64 && !text.chars().any(|c| c.is_control() || c == '\\');
    text.is_some_and(|text| fits(text.trim_end_matches([' ', '\0'])))
}

/// The source's SpecificCharacterSet, where it names one that the standard knows.
fn named(raw: &[u8]) -> Option<String> {
    let stored = String::from_utf8_lossy(raw).trim_end_matches([' ', '\0']).replace("ISO_IR_", "ISO_IR ");
    let known = stored.split('\\').all(|term| is_character_set(term.trim_matches(' ')));
    (known && !stored.is_empty()).then_some(stored)
}

/// The source's SpecificCharacterSet with the commonest misspelling corrected. Where it names none, or one that the standard
/// does not know, and its `texts` are not ASCII, their bytes are kept and said to be UTF-8 where they can be, else Latin-1.
fn character_set<'a>(raw: &[u8], texts: impl Iterator<Item = &'a [u8]>, notes: &mut Vec<String>) -> String {
    let stored = String::from_utf8_lossy(raw).trim_end_matches([' ', '\0']).to_owned();
    let corrected = stored.replace("ISO_IR_", "ISO_IR ");
    if corrected != stored {
        notes.push("SpecificCharacterSet of the source: a misspelt term was corrected".into());
    }
    if !corrected.split('\\').all(|term| is_character_set(term.trim_matches(' '))) {
        notes.push("SpecificCharacterSet of the source: the unknown character set was left out".into());
    } else if !corrected.is_empty() {
        return corrected;
    }
    let beyond: Vec<&[u8]> = texts.filter(|text| !text.is_ascii()).collect();
    if beyond.is_empty() {
        return String::new();
    }
    let utf8 = beyond.iter().all(|text| std::str::from_utf8(text).is_ok());
    let (term, name) = if utf8 { ("ISO_IR 192", "UTF-8") } else { ("ISO_IR 100", "Latin-1") };
    notes.push(format!("SpecificCharacterSet of the source names none for its text, which is taken as {name}"));
    term.to_owned()
}

/// True for a defined term of PS3.3 C.12.1.1.2, and for none.
fn is_character_set(term: &str) -> bool {
    match (term.strip_prefix("ISO_IR "), term.strip_prefix("ISO 2022 IR ")) {
        (Some(number), _) => number == "192" || SINGLE_BYTE.contains(&number),
        (_, Some(number)) => SINGLE_BYTE.contains(&number) || EXTENSIONS.contains(&number),
        _ => matches!(term, "" | "GB18030" | "GBK"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_set_that_the_standard_does_not_name_is_left_out_with_a_note() {
        for (stored, written, noted) in [
            ("ISO_IR 100", "ISO_IR 100", false),
            ("ISO_IR 192 ", "ISO_IR 192", false),
            ("\\ISO 2022 IR 87\\ISO 2022 IR 159", "\\ISO 2022 IR 87\\ISO 2022 IR 159", false),
            ("GB18030", "GB18030", false),
            ("", "", false),
            ("ISO_IR_100", "ISO_IR 100", true),
            ("ISO_IR 87", "", true),
            ("UTF-8", "", true),
            ("ISO 2022 IR 6\\ISO 2022 IR 999", "", true),
        ] {
            let mut notes = Vec::new();
            let texts: [&[u8]; 1] = [b"Doe^Jane"];
            assert_eq!(character_set(stored.as_bytes(), texts.into_iter(), &mut notes), written, "{stored}");
            assert_eq!(!notes.is_empty(), noted, "{stored}: {notes:?}");
        }
    }

    #[test]
    fn text_beyond_ascii_whose_set_is_not_named_is_said_to_be_utf8_where_it_can_be_and_else_latin1() {
        let utf8 = "Åström^Ida".as_bytes();
        let latin1: &[u8] = b"\xc5str\xf6m^Ida";
        for (stored, texts, written) in [
            ("", vec![utf8], "ISO_IR 192"),
            ("UTF-8", vec![utf8, b"ascii"], "ISO_IR 192"),
            ("", vec![latin1], "ISO_IR 100"),
            ("ISO_IR 87", vec![utf8, latin1], "ISO_IR 100"),
            ("ISO_IR 101", vec![utf8, latin1], "ISO_IR 101"),
        ] {
            let mut notes = Vec::new();
            assert_eq!(character_set(stored.as_bytes(), texts.into_iter(), &mut notes), written, "{stored}");
            assert_eq!(
                notes.iter().any(|note| note.contains("is taken as")),
                stored != "ISO_IR 101",
                "{stored}: {notes:?}"
            );
        }
    }
}
