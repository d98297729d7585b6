//! Promises of headers, on real files and on small objects written by dicom-rs.
#![allow(clippy::unwrap_used)]

use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_object::InMemDicomObject;

use super::*;
use crate::scanner_files::scanner_files;
use crate::series::{InstanceRow, summarise, usable_stack};

fn encode(object: &InMemDicomObject) -> Vec<u8> {
    let mut bytes = Vec::new();
    object.write_dataset_with_ts(&mut bytes, &EXPLICIT_VR_LITTLE_ENDIAN.erased()).unwrap();
    bytes
}

fn text(tag: Tag, vr: VR, value: &str) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, vr, PrimitiveValue::from(value))
}

fn slice() -> InMemDicomObject {
    let mut object = InMemDicomObject::new_empty();
    for (tag, vr, value) in [
        (Tag(0x0008, 0x0008), VR::CS, "ORIGINAL\\PRIMARY\\M\\ND"),
        (Tag(0x0008, 0x0016), VR::UI, "1.2.840.10008.5.1.4.1.1.4"),
        (Tag(0x0008, 0x0018), VR::UI, "1.2.3.4"),
        (Tag(0x0008, 0x0060), VR::CS, "MR"),
        (Tag(0x0010, 0x0010), VR::PN, "Name^A"),
        (Tag(0x0010, 0x0020), VR::LO, "ID"),
        (Tag(0x0018, 0x0081), VR::DS, "2.9"),
        (Tag(0x0020, 0x000D), VR::UI, "1.2.3"),
        (Tag(0x0020, 0x000E), VR::UI, "1.2.3.5"),
        (Tag(0x0020, 0x0013), VR::IS, "7"),
        (Tag(0x0020, 0x0032), VR::DS, "1.5\\-2\\3"),
        (Tag(0x0020, 0x0037), VR::DS, "1\\0\\0\\0\\1\\0"),
        (Tag(0x0020, 0x1002), VR::IS, "12"),
        (Tag(0x0028, 0x0030), VR::DS, "0.5\\0.7"),
    ] {
        object.put(text(tag, vr, value));
    }
    for (tag, value) in [(Tag(0x0028, 0x0010), 2u16), (Tag(0x0028, 0x0011), 3)] {
        object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
    }
    object
}

fn facts_of(object: &InMemDicomObject) -> Result<crate::rows::InstanceFacts, FactsError> {
    facts(encoded(&encode(object)), "scanner")
}

#[test]
fn a_slice_gives_its_facts() {
    let facts = facts_of(&slice()).unwrap();
    assert_eq!((facts.sop_instance_uid.as_str(), facts.series_uid.as_str()), ("1.2.3.4", "1.2.3.5"));
    assert_eq!((facts.patient.issuer.as_str(), facts.patient.id.as_str()), ("source:scanner", "ID"));
    assert_eq!((facts.instance_number, facts.matrix, facts.expected_instances), (Some(7), [3, 2], Some(12)));
    let frame = &facts.frames[0];
    assert_eq!(frame.stack, "ORIGINAL\\PRIMARY\\M\\ND | TE 2.9");
    assert_eq!((frame.position_um, frame.spacing_um), (Some([1500, -2000, 3000]), Some([500, 700])));
    assert_eq!(facts.keywords["EchoTime"], "2.9");
    assert_eq!(facts.keywords["Rows"], "2");
}

#[test]
fn a_corrected_name_changes_demographics_and_nothing_that_is_computed() {
    let before = facts_of(&slice()).unwrap();
    let mut corrected = slice();
    corrected.put(text(Tag(0x0010, 0x0010), VR::PN, "Name^B"));
    let after = facts_of(&corrected).unwrap();
    assert_eq!(before.content_digest, after.content_digest);
    assert_ne!(before.demographics_digest, after.demographics_digest);
    assert_ne!(before.data_set_digest, after.data_set_digest);
    let mut moved = slice();
    moved.put(text(Tag(0x0020, 0x0032), VR::DS, "1.5\\-2\\3.1"));
    assert_ne!(before.content_digest, facts_of(&moved).unwrap().content_digest);
}

#[test]
fn an_issuer_keeps_equal_ids_of_two_sites_apart() {
    let mut object = slice();
    object.put(text(Tag(0x0010, 0x0021), VR::LO, "HOSPITAL"));
    assert_eq!(facts_of(&object).unwrap().patient.issuer, "HOSPITAL");
}

#[test]
fn an_instance_without_legal_uids_is_refused() {
    for tag in [Tag(0x0008, 0x0016), Tag(0x0008, 0x0018), Tag(0x0020, 0x000D), Tag(0x0020, 0x000E)] {
        let mut object = slice();
        object.remove_element(tag);
        assert!(matches!(facts_of(&object), Err(FactsError::MissingUid(_))));
        for bad in ["../../etc", "1.2.3 4", &"1.".repeat(40)] {
            object.put(text(tag, VR::UI, bad));
            assert!(matches!(facts_of(&object), Err(FactsError::BadUid(_))), "{bad}");
        }
    }
}

#[test]
fn a_declared_number_of_frames_allocates_nothing() {
    let mut object = slice();
    object.put(text(Tag(0x0028, 0x0008), VR::IS, "4000000000"));
    let facts = facts_of(&object).unwrap();
    assert_eq!((facts.frames.len(), facts.frames[0].position_um), (1, None));
}

#[test]
fn a_private_count_is_found_by_its_creator() {
    let mut object = slice();
    object.remove_element(Tag(0x0020, 0x1002));
    object.put(text(Tag(0x0021, 0x0011), VR::LO, "GEMS_RELA_01"));
    object.put(DataElement::new(Tag(0x0021, 0x114F), VR::SS, PrimitiveValue::from(180i16)));
    let facts = facts_of(&object).unwrap();
    assert_eq!(facts.expected_instances, Some(180));
    assert!(facts.counted_by.contains("GE"));
}

#[test]
fn the_philips_series_is_counted_even_and_usable() {
    let Some(files) = scanner_files("philips-mprage-classic/In") else { return };
    let rows: Vec<InstanceRow> = (1..)
        .zip(&files)
        .map(|(seq, file)| InstanceRow::from((seq, "philips", &facts(file.encoded(), "philips").unwrap())))
        .collect();
    let state = summarise(&rows).unwrap();
    assert_eq!(state.expected.as_ref().unwrap().0, 170);
    assert_eq!((usable_stack(&state).unwrap().step_um, state.numbered), (1000, true));
    assert_eq!(state.keywords["ManufacturerModelName"], "Ingenia Elition X");
}

#[test]
fn the_xa30_pair_is_one_acquisition_told_apart_by_its_image_type_text() {
    let Some(files) = scanner_files("siemens-xa30-enhanced/In") else { return };
    let facts: Vec<_> = files.iter().map(|file| facts(file.encoded(), "xa30").unwrap()).collect();
    assert_eq!(facts.len(), 2);
    assert!(facts.iter().all(|facts| facts.enhanced && facts.frames.len() == 96 && !facts.mosaic));
    assert_eq!(facts[0].acquisition, facts[1].acquisition);
    assert_eq!(facts[0].frame_of_reference_uid, facts[1].frame_of_reference_uid);
    let mut texts: Vec<&str> = facts.iter().map(|facts| facts.keywords["ImageTypeText"].as_str()).collect();
    texts.sort_unstable();
    assert_eq!(texts, ["ORIGINAL\\PRIMARY\\M\\DIS2D", "ORIGINAL\\PRIMARY\\M\\NORM\\DIS2D"]);
    assert_eq!(facts[0].keywords["InversionTime"], "900");
    let state = summarise(&[InstanceRow::from((1, "xa30", &facts[0]))]).unwrap();
    assert!(state.enhanced_whole);
    assert_eq!(usable_stack(&state).unwrap().step_um, 2000);
}

#[test]
fn every_encoding_gives_the_same_header_and_is_seen_as_a_mosaic() {
    let Some(files) = scanner_files("transfer-syntaxes/In") else { return };
    for file in &files {
        let facts = facts(file.encoded(), "trio").unwrap();
        assert!(facts.mosaic && facts.matrix == [384, 384], "{}", file.path.display());
        let object = read(file.encoded()).unwrap();
        assert!(object.element(Tag(0x7FE0, 0x0010)).is_err());
        assert_eq!(object.element(Tag(0x0028, 0x0101)).unwrap().to_int::<u16>().unwrap(), 12);
    }
}

fn encoded(data_set: &[u8]) -> Encoded<'_> {
    Encoded { transfer_syntax: crate::prescan::EXPLICIT_LE, data_set }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(100))]

    #[test]
    fn mutated_and_truncated_headers_never_panic(
        changes in proptest::collection::vec((0usize..30_000, proptest::prelude::any::<u8>()), 1..20),
        cut in 0usize..30_000,
    ) {
        // The Enhanced header where it is at hand (functional groups, private sequences), else a small slice.
        static SAMPLE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let sample = SAMPLE.get_or_init(|| {
            let real = scanner_files("siemens-xa30-enhanced/In").and_then(|files| {
                Some(files.first()?.encoded().data_set.to_vec())
            });
            real.unwrap_or_else(|| encode(&slice()))
        });
        let mut bytes = sample.clone();
        for (at, value) in changes {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        let _ = (facts(encoded(&bytes), "scanner"), crate::convert::volumes(&[encoded(&bytes)]));
        bytes.truncate(cut);
        let _ = (facts(encoded(&bytes), "scanner"), read(encoded(&bytes)));
    }
}
