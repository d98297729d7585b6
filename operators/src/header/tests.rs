//! Promises of headers, on real files and on small objects written by dicom-rs.
#![allow(clippy::unwrap_used)]

use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_object::InMemDicomObject;

use super::*;
use crate::prescan::DEFLATED_LE;
use crate::rows::InstanceFacts;
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
fn two_persons_without_an_id_are_two() {
    let person = |name: &str, birth_date: &str, source: &str| {
        let mut object = slice();
        object.remove_element(Tag(0x0010, 0x0020));
        object.put(text(Tag(0x0010, 0x0010), VR::PN, name));
        object.put(text(Tag(0x0010, 0x0030), VR::DA, birth_date));
        facts(encoded(&encode(&object)), source).unwrap().patient
    };
    let someone = person("Name^A", "19700101", "scanner");
    assert!(someone.issuer.starts_with("demographics:") && someone.id.is_empty());
    assert_eq!(someone, person("Name^A", "19700101", "scanner"));
    let others = [
        person("Name^B", "19700101", "scanner"),
        person("Name^A", "19990101", "scanner"),
        person("Name^A", "19700101", "b"),
    ];
    assert!(others.iter().all(|other| *other != someone));
}

#[test]
fn a_rescale_that_is_no_number_is_refused_wherever_it_stands() {
    let enhanced = |shared: &str, of_frame: Option<&str>| {
        let rescale = |slope: &str| {
            let values = InMemDicomObject::from_element_iter([
                text(Tag(0x0028, 0x1052), VR::DS, "0"),
                text(Tag(0x0028, 0x1053), VR::DS, slope),
            ]);
            let sequence = DataElement::new(Tag(0x0028, 0x9145), VR::SQ, DataSetSequence::from(vec![values]));
            InMemDicomObject::from_element_iter([sequence])
        };
        let frame = of_frame.map_or_else(InMemDicomObject::new_empty, rescale);
        let mut object = slice();
        object.put(DataElement::new(Tag(0x5200, 0x9229), VR::SQ, DataSetSequence::from(vec![rescale(shared)])));
        object.put(DataElement::new(Tag(0x5200, 0x9230), VR::SQ, DataSetSequence::from(vec![frame])));
        facts_of(&object)
    };
    assert!(enhanced("2.5", None).is_ok() && enhanced("2.5", Some("3")).is_ok());
    for bad in ["2,5", "NaN", "0", "inf"] {
        assert!(matches!(enhanced(bad, None), Err(FactsError::Frames(FramesError::Rescale { .. }))), "{bad}");
        assert!(matches!(enhanced("1", Some(bad)), Err(FactsError::Frames(FramesError::Rescale { .. }))), "{bad}");
        let mut object = slice();
        object.put(text(Tag(0x0028, 0x1053), VR::DS, bad));
        let said = facts_of(&object).unwrap_err().to_string();
        assert!(said.contains(&format!("RescaleSlope is \"{bad}\"")), "{said}");
    }
}

#[test]
fn pixels_far_longer_than_the_image_are_refused() {
    let with = |bytes: usize| {
        let mut object = slice();
        object.put(DataElement::new(Tag(0x7FE0, 0x0010), VR::OW, PrimitiveValue::from(vec![0u8; bytes])));
        facts_of(&object)
    };
    assert!(with(12).is_ok() && with(100_000).is_ok(), "a small image may have padding");
    assert_eq!(with(2 << 20).unwrap_err(), FactsError::PixelsTooLong { present: 2 << 20, needed: 12 });
}

#[test]
fn deflated_objects_of_many_senders_need_the_memory_of_one() {
    let deflated = |bytes: usize| {
        let object = encode(&slice());
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, &object).unwrap();
        let header = [0xE0, 0x7F, 0x10, 0, b'O', b'W', 0, 0].into_iter().chain((bytes as u32).to_le_bytes());
        std::io::Write::write_all(&mut encoder, &header.collect::<Vec<u8>>()).unwrap();
        std::io::copy(&mut std::io::Read::take(std::io::repeat(0), bytes as u64), &mut encoder).unwrap();
        encoder.finish().unwrap()
    };
    let read = |data_set: &[u8]| facts(Encoded { transfer_syntax: DEFLATED_LE, data_set }, "scanner");
    assert!(read(&deflated(12)).is_ok());
    assert!(matches!(read(&deflated(600 << 20)), Err(FactsError::Refused(Refusal::InflatesTooFar { .. }))));
    let bomb = deflated(400 << 20);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert!(matches!(read(&bomb), Err(FactsError::PixelsTooLong { .. }))));
        }
    });
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let Some(peak) = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")) else {
        println!("skipped: this system does not tell how much memory was held");
        return;
    };
    assert!(peak.parse::<u64>().unwrap() < 1_400_000, "{peak} KiB were held");
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

fn row(seq: u64, facts: InstanceFacts) -> InstanceRow {
    InstanceRow { seq, received: 0, source: "scanner".into(), known_as: None, facts: facts.into() }
}

#[test]
fn the_philips_series_is_counted_even_and_usable() {
    let Some(files) = scanner_files("philips-mprage-classic/In") else { return };
    let rows: Vec<InstanceRow> =
        (1..).zip(&files).map(|(seq, file)| row(seq, facts(file.encoded(), "philips").unwrap())).collect();
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
    let state = summarise(&[row(1, facts[0].clone())]).unwrap();
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
