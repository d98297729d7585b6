//! Sources that break the standard: written within it and noted, or refused with a reason.

#![allow(clippy::unwrap_used)]
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::entries::EXPLICIT_VR_LITTLE_ENDIAN;

use super::tests::{encode, read};
use super::*;
use crate::{
    results::{dicom::ObjectError, fixture::Sample},
    volume::FrameRef,
};

/// A sample whose first instance has these values, as bytes; without a value, it has not even the attribute.
fn with(changes: &[(Tag, VR, Option<&[u8]>)]) -> Sample {
    let mut sample = Sample::new([5, 3, 4], &[([0, 0, 0], [2, 2, 2])]);
    let syntax = EXPLICIT_VR_LITTLE_ENDIAN.erased();
    let data_set = &mut sample.instances[0].1;
    let mut object = InMemDicomObject::read_dataset_with_ts(data_set.as_slice(), &syntax).unwrap();
    for (tag, vr, value) in changes {
        match value {
            Some(value) => object.put(DataElement::new(*tag, *vr, PrimitiveValue::U8((*value).into()))),
            None => object.take(*tag),
        };
    }
    data_set.clear();
    object.write_dataset_with_ts(data_set, &syntax).unwrap();
    sample
}

/// The value of an attribute in the written object, and the notes on it.
fn written(tag: Tag, keyword: &str, sample: &Sample) -> (Option<Vec<u8>>, usize) {
    let object = encode(&sample.input()).unwrap();
    assert!(object.notes.iter().all(|note| note.is_ascii()), "{:?}", object.notes);
    let notes = object.notes.iter().filter(|note| note.contains(keyword)).count();
    let value = read(&object).element(tag).ok().map(|e| e.to_bytes().unwrap().trim_ascii_end().to_vec());
    (value, notes)
}

#[test]
fn a_source_without_frame_of_reference_is_refused_with_a_reason() {
    let sample = with(&[(tags::FRAME_OF_REFERENCE_UID, VR::UI, None)]);
    let error = encode(&SegInput { frame_of_reference_uid: "", ..sample.input() }).unwrap_err();
    assert_eq!(error, SegError::NoFrameOfReference);
    assert!(error.to_string().contains("FrameOfReferenceUID"));
}

#[test]
fn a_missing_patient_id_is_written_empty() {
    let sample = with(&[(tags::PATIENT_ID, VR::LO, None)]);
    assert_eq!(written(tags::PATIENT_ID, "PatientID", &sample), (Some(Vec::new()), 0));
}

#[test]
fn text_of_an_unknown_character_set_keeps_its_bytes_under_a_set_that_can_be_read() {
    let set = tags::SPECIFIC_CHARACTER_SET;
    for (name, written_set) in [(b"M\xfcller^A".as_slice(), "ISO_IR 100"), ("Müller^A".as_bytes(), "ISO_IR 192")] {
        for unknown in [Some(b"KLINGON ".as_slice()), None] {
            let sample = with(&[(set, VR::CS, unknown), (tags::PATIENT_NAME, VR::PN, Some(name))]);
            let (value, notes) = written(set, "SpecificCharacterSet of the source names none", &sample);
            assert_eq!((value.as_deref(), notes), (Some(written_set.as_bytes()), 1));
            let object = encode(&sample.input()).unwrap();
            assert!(object.bytes.windows(name.len()).any(|bytes| bytes == name));
        }
    }
    for known in [b"ISO_IR 100".as_slice(), b"\\ISO 2022 IR 87", b"GB18030 ", b"ISO_IR 192", b"ISO_IR_100", b""] {
        let sample = with(&[(set, VR::CS, Some(known))]);
        let (_, notes) = written(set, "the unknown character set", &sample);
        assert_eq!(notes, 0, "{}", String::from_utf8_lossy(known));
    }
}

#[test]
fn an_identity_that_cannot_be_written_as_it_is_is_refused_and_never_cut() {
    for (tag, stored, keyword) in [
        (tags::PATIENT_ID, [b'x'; 65].as_slice(), "PatientID"),
        (tags::PATIENT_ID, b"A\\B ", "PatientID"),
        (tags::PATIENT_ID, b"A\x07B", "PatientID"),
        (tags::ISSUER_OF_PATIENT_ID, &[b'x'; 65], "IssuerOfPatientID"),
    ] {
        let error = encode(&with(&[(tag, VR::LO, Some(stored))]).input()).unwrap_err();
        assert!(matches!(error, SegError::Object(ObjectError::Identity(named)) if named == keyword), "{error}");
    }
    let set = tags::SPECIFIC_CHARACTER_SET;
    for (charset, id) in [
        (b"\\ISO 2022 IR 87".as_slice(), [b'x'; 100].as_slice()),
        (b"GB18030 ", b"ID\\OTHER"),
        (b"ISO 2022 IR 100", b"ID\x079"),
        (b"ISO_IR 192", b"K\xc4XZ12"),
        (b"KLINGON ", b"K\xc4XZ12"),
        (b"", b"K\xc4XZ12"),
    ] {
        let sample = with(&[(set, VR::CS, Some(charset)), (tags::PATIENT_ID, VR::LO, Some(id))]);
        let error = encode(&sample.input()).unwrap_err();
        let refused = matches!(error, SegError::Object(ObjectError::Identity("PatientID")));
        assert!(refused, "{}: {error}", String::from_utf8_lossy(charset));
    }
    for (charset, id) in [(b"ISO_IR 100".as_slice(), b"K\xc4XZ12".as_slice()), (b"ISO_IR 192", "KÄXZ12".as_bytes())] {
        let sample = with(&[(set, VR::CS, Some(charset)), (tags::PATIENT_ID, VR::LO, Some(id))]);
        let object = encode(&sample.input()).unwrap();
        assert!(object.bytes.windows(id.len()).any(|bytes| bytes == id), "its bytes are kept");
    }
    let most = [b'x'; 64];
    let sample = with(&[(tags::PATIENT_ID, VR::LO, Some(&most))]);
    assert_eq!(written(tags::PATIENT_ID, "PatientID", &sample), (Some(most.to_vec()), 0));
}

#[test]
fn uids_of_more_than_64_characters_are_refused_wherever_they_come_from() {
    let long = "1.".repeat(32) + "1";
    let refused = |input: SegInput<'_>| match encode(&input) {
        Err(SegError::Object(ObjectError::Uid { what, uid })) => {
            assert_eq!(uid, long);
            what
        }
        other => panic!("{other:?}"),
    };
    let sample = with(&[]);
    let header = sample.header();
    assert_eq!(refused(SegInput { frame_of_reference_uid: &long, ..sample.input() }), "FrameOfReferenceUID");
    let own = Header { sop_instance_uid: &long, ..header };
    assert_eq!(refused(SegInput { header: own, ..sample.input() }), "SOPInstanceUID");
    let own = Header { series_instance_uid: &long, ..header };
    assert_eq!(refused(SegInput { header: own, ..sample.input() }), "SeriesInstanceUID");
    let mut frames = sample.frames.clone();
    frames[2] = FrameRef { sop_instance_uid: long.clone(), ..frames[2].clone() };
    assert_eq!(refused(SegInput { frames: &frames, ..sample.input() }), "SOPInstanceUID of a source");
    let lesions = [LesionRow { tracking_uid: long.clone(), ..sample.lesions[0].clone() }];
    assert_eq!(refused(SegInput { lesions: &lesions, ..sample.input() }), "tracking UID");
    for (tag, what) in [
        (tags::STUDY_INSTANCE_UID, "StudyInstanceUID of the source"),
        (tags::SERIES_INSTANCE_UID, "SeriesInstanceUID of the source"),
    ] {
        assert_eq!(refused(with(&[(tag, VR::UI, Some(long.as_bytes()))]).input()), what);
    }
}

#[test]
fn values_too_long_or_illegal_are_corrected_or_left_out_and_noted() {
    let long = [b'x'; 70];
    for (tag, vr, keyword, stored, expected) in [
        (tags::STUDY_DESCRIPTION, VR::LO, "StudyDescription", long.as_slice(), Some(&long[..64])),
        (tags::ACCESSION_NUMBER, VR::SH, "AccessionNumber", &long[..18], Some(b"")),
        (tags::STUDY_DATE, VR::DA, "StudyDate", b"2024.02.29", Some(b"20240229")),
        (tags::STUDY_DATE, VR::DA, "StudyDate", b"29/02/24", Some(b"")),
        (tags::PATIENT_SEX, VR::CS, "PatientSex", b"male", Some(b"")),
        (tags::PATIENT_AGE, VR::AS, "PatientAge", b"41", None),
    ] {
        let sample = with(&[(tag, vr, Some(stored))]);
        let (value, notes) = written(tag, keyword, &sample);
        assert_eq!((value.as_deref(), notes), (expected, 1), "{keyword}");
    }
}
