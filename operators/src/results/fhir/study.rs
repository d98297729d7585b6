//! The ImagingStudy, as far as the source's header tells.

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use dicom_encoding::text::{SpecificCharacterSet, TextCodec};
use serde_json::{Value, json};

use super::{
    FhirError, checked,
    entries::{Entry, Identifier, Request},
    name,
};
use crate::{
    prescan::{Limits, prescan},
    results::{
        dicom::text::{Repertoire, legal, offset_minutes},
        report::Report,
    },
    volume::Encoded,
};

/// The study's entry, and when the study was, as a FHIR dateTime.
pub(super) struct Study {
    pub(super) entry: Entry,
    pub(super) started: Option<String>,
}

/// Describes the study of `source`; what cannot be carried is left out and said in a note.
pub(super) fn study(report: &Report, source: Encoded<'_>, subject: &Value) -> Result<Study, FhirError> {
    let scan = prescan(source, &Limits::default()).map_err(|refusal| FhirError::Source(refusal.to_string()))?;
    let raw = |tag: Tag| scan.find(tag).map(|element| scan.value(element)).unwrap_or_default();
    let uid = |tag| String::from_utf8_lossy(raw(tag)).trim_matches([' ', '\0']).to_owned();
    if uid(tags::STUDY_INSTANCE_UID) != report.study_instance_uid {
        return Err(FhirError::OtherSource("study"));
    }
    let series = uid(tags::SERIES_INSTANCE_UID);
    if report.run.as_ref().is_some_and(|run| run.series_instance_uid != series) {
        return Err(FhirError::OtherSource("series"));
    }
    let mut notes = Vec::new();
    let mut plain = |tag, vr, keyword: &str| {
        let value = legal(vr, raw(tag), Repertoire::SingleByte);
        if value.note.is_some() && value.bytes.is_empty() {
            notes.push(format!("{keyword} of the source is illegal and was left out"));
        }
        String::from_utf8_lossy(&value.bytes).into_owned()
    };
    let date = plain(tags::STUDY_DATE, VR::DA, "StudyDate");
    let time = plain(tags::STUDY_TIME, VR::TM, "StudyTime");
    let modality = plain(tags::MODALITY, VR::CS, "Modality");
    let started = date_time(&date, &time, offset_minutes(raw(tags::TIMEZONE_OFFSET_FROM_UTC)));

    let mut resource = json!({ "status": "available", "subject": subject });
    if let Some(started) = &started {
        resource["started"] = json!(started);
    }
    if !modality.is_empty() {
        let coded = json!({ "system": "http://dicom.nema.org/resources/ontology/DCM", "code": modality });
        resource["modality"] = json!([coded]);
        resource["series"] =
            json!([{ "uid": checked("SeriesInstanceUID of the source", &series)?, "modality": coded }]);
    }
    match accession_number(raw(tags::ACCESSION_NUMBER), raw(tags::SPECIFIC_CHARACTER_SET)) {
        Some(number) if !number.is_empty() => {
            let system = "http://terminology.hl7.org/CodeSystem/v2-0203";
            let kind = json!({ "coding": [{ "system": system, "code": "ACSN", "display": "Accession ID" }] });
            resource["identifier"] = json!([{ "type": kind, "value": name("AccessionNumber", &number)? }]);
        }
        Some(_) => {}
        None => notes.push("AccessionNumber of the source cannot be read in its character set and was left out".into()),
    }
    if !notes.is_empty() {
        resource["note"] = notes.iter().map(|text| json!({ "text": text })).collect();
    }
    let identifier = Identifier::dicom(&report.study_instance_uid);
    Ok(Study { entry: Entry::new("ImagingStudy", Request::Create, identifier, &[], resource), started })
}

/// The whole number, since part of it would be another's; none where it cannot be read.
fn accession_number(raw: &[u8], charset: &[u8]) -> Option<String> {
    let end = raw.iter().rposition(|b| !matches!(b, b' ' | 0)).map_or(0, |at| at + 1);
    let value = raw.get(..end).unwrap_or_default();
    let charset = String::from_utf8_lossy(charset).trim_matches([' ', '\0']).to_owned();
    let text = if value.is_ascii() {
        String::from_utf8_lossy(value).into_owned()
    } else if charset.is_empty() || Repertoire::of(charset.as_bytes()) == Repertoire::Other {
        return None;
    } else {
        SpecificCharacterSet::from_code(&charset)?.decode(value).ok()?
    };
    (!text.contains(|c: char| c.is_control() || c == '\\')).then(|| text.trim().to_owned())
}

/// A dateTime of DA and TM: with the time only where its zone is known, as R4 2.24.0.1 wants.
fn date_time(date: &str, time: &str, offset: Option<i64>) -> Option<String> {
    let number = |from: usize, to: usize| date.get(from..to)?.parse::<u32>().ok();
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if year == 0 || day > last {
        return None;
    }
    let date = format!("{year:04}-{month:02}-{day:02}");
    let part = |from: usize, to: usize| time.get(from..to);
    let clock = part(0, 2).zip(part(2, 4)).zip(part(4, 6));
    let Some((((hour, minute), second), offset)) = clock.zip(offset) else { return Some(date) };
    let (sign, ahead) = (if offset < 0 { '-' } else { '+' }, offset.abs());
    Some(format!("{date}T{hour}:{minute}:{second}{sign}{:02}:{:02}", ahead / 60, ahead % 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_given_only_with_its_zone_and_a_date_only_if_a_calendar_has_it() {
        assert_eq!(date_time("20240229", "101500.25", Some(-210)).as_deref(), Some("2024-02-29T10:15:00-03:30"));
        assert_eq!(date_time("20240229", "101500", None).as_deref(), Some("2024-02-29"));
        assert_eq!(date_time("20240229", "1015", Some(60)).as_deref(), Some("2024-02-29"));
        for wrong in ["20230229", "00000101", "20240431", "", "2024"] {
            assert_eq!(date_time(wrong, "101500", Some(0)), None, "{wrong}");
        }
    }

    #[test]
    fn an_accession_number_is_whole_or_absent() {
        let long = "A".repeat(40);
        assert_eq!(accession_number(long.as_bytes(), b""), Some(long));
        assert_eq!(accession_number(b"\xc4 1 ", b"ISO_IR 100"), Some("\u{c4} 1".into()));
        assert_eq!(accession_number(b"", b""), Some(String::new()));
        for (raw, charset) in [(b"\xc4".as_slice(), "".as_bytes()), (b"A\\B", b""), (b"\x1b$B3", b"\\ISO 2022 IR 87")] {
            assert_eq!(accession_number(raw, charset), None);
        }
    }
}
