//! Promises of the walk: hostile bytes are refused in bounded time and memory, real structures are found.
#![allow(clippy::unwrap_used)]

use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::entries::EXPLICIT_VR_LITTLE_ENDIAN;
use proptest::prelude::*;

use super::*;

fn scan(data_set: &[u8]) -> Result<Prescan<'_>, Refusal> {
    prescan(Encoded { transfer_syntax: EXPLICIT_LE, data_set }, &Limits::default())
}

fn element(tag: [u16; 2], vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
    let mut bytes = [tag[0].to_le_bytes(), tag[1].to_le_bytes()].concat();
    bytes.extend_from_slice(vr);
    bytes.extend_from_slice(&(value.len() as u16).to_le_bytes());
    bytes.extend_from_slice(value);
    bytes
}

fn long(tag: [u16; 2], vr: &[u8; 2], length: u32) -> Vec<u8> {
    let mut bytes = [tag[0].to_le_bytes(), tag[1].to_le_bytes()].concat();
    bytes.extend_from_slice(vr);
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes
}

fn delimiter(element: u16, length: u32) -> Vec<u8> {
    [0xFFFEu16.to_le_bytes().to_vec(), element.to_le_bytes().to_vec(), length.to_le_bytes().to_vec()].concat()
}

/// A Philips stack sequence as VR UN of undefined length: implicit VR within (CP-246).
fn unknown_sequence() -> Vec<u8> {
    let inner = [&[0x01, 0x20, 0x2D, 0x10, 2, 0, 0, 0, 170, 0][..]].concat();
    [
        long([0x2001, 0x105F], b"UN", u32::MAX),
        delimiter(0xE000, u32::MAX),
        inner,
        delimiter(0xE00D, 0),
        delimiter(0xE0DD, 0),
    ]
    .concat()
}

fn sample() -> Vec<u8> {
    [
        element([0x0008, 0x0060], b"CS", b"MR"),
        long([0x0008, 0x1140], b"SQ", 18),
        delimiter(0xE000, 10),
        element([0x0008, 0x0100], b"SH", b"AB"),
        element([0x0010, 0x0010], b"PN", b"A^B "),
        unknown_sequence(),
        element([0x2005, 0x0010], b"LO", b"AFTER "),
        long([0x7FE0, 0x0010], b"OB", u32::MAX),
        delimiter(0xE000, 4),
        vec![0, 0, 0, 0],
        delimiter(0xE000, 2),
        vec![7, 8],
        delimiter(0xE0DD, 0),
        element([0xFFFC, 0xFFFC], b"LO", b"PAD "),
    ]
    .concat()
}

#[test]
fn sequences_fragments_and_what_follows_are_found() {
    let bytes = sample();
    let scan = scan(&bytes).unwrap();
    assert_eq!(scan.text(Tag(0x0008, 0x0060)), "MR");
    assert_eq!(scan.text(Tag(0xFFFC, 0xFFFC)), "PAD");
    let sequence = scan.find(Tag(0x0008, 0x1140)).unwrap();
    let item = scan.within(sequence).next().unwrap();
    let code = scan.within(item).next().unwrap();
    assert_eq!((scan.text_of(code).as_str(), scan.within(item).count()), ("AB", 1));
    let unknown = scan.find(Tag(0x2001, 0x105F)).unwrap();
    let item = scan.within(unknown).next().unwrap();
    assert_eq!(scan.numbers_of(scan.within(item).next().unwrap(), dicom_core::VR::SS), [170.0]);
    let Some(PixelBytes::Fragments { offsets, fragments }) = scan.pixels() else { panic!("no fragments") };
    assert_eq!((offsets.as_slice(), &scan.bytes()[fragments[0].clone()]), (&[0][..], &[7u8, 8][..]));
}

#[test]
fn an_unknown_sequence_no_longer_stops_dicom_rs() {
    let bytes = sample();
    let scan = scan(&bytes).unwrap();
    let parsed =
        InMemDicomObject::read_dataset_with_ts(&*scan.without_pixels(), &EXPLICIT_VR_LITTLE_ENDIAN.erased()).unwrap();
    assert_eq!(parsed.element(Tag(0x2005, 0x0010)).unwrap().to_str().unwrap(), "AFTER");
    assert_eq!(parsed.element(Tag(0xFFFC, 0xFFFC)).unwrap().to_str().unwrap(), "PAD");
    assert!(parsed.element(Tag(0x2001, 0x105F)).is_ok() && parsed.element(Tag(0x7FE0, 0x0010)).is_err());
}

#[test]
fn a_declared_length_beyond_the_bytes_is_refused() {
    let bytes = [long([0x0008, 0x0060], b"UT", 0xFFFF_FFF0), vec![1; 100]].concat();
    assert!(matches!(scan(&bytes), Err(Refusal::TooLong { declared: 0xFFFF_FFF0, present: 100, .. })));
    let outlives_its_item =
        [long([0x0008, 0x1140], b"SQ", 18), delimiter(0xE000, 10), element([0x0008, 0x0100], b"SH", b"ABCDEF")]
            .concat();
    assert!(matches!(scan(&outlives_its_item), Err(Refusal::TooLong { .. })));
}

#[test]
fn a_hundred_thousand_nested_sequences_are_refused() {
    let level = [long([0x0008, 0x1140], b"SQ", u32::MAX), delimiter(0xE000, u32::MAX)].concat();
    assert!(matches!(scan(&level.repeat(100_000)), Err(Refusal::TooDeep { limit: 32, .. })));
    let implicit = [&[8, 0, 0x40, 0x11, 255, 255, 255, 255][..], &delimiter(0xE000, u32::MAX)].concat();
    let deep = implicit.repeat(100_000);
    let scanned = prescan(Encoded { transfer_syntax: IMPLICIT_LE, data_set: &deep }, &Limits::default());
    assert!(matches!(scanned, Err(Refusal::TooDeep { .. })));
}

#[test]
fn too_many_elements_and_too_much_inflation_are_refused() {
    let limits = Limits { elements: 1000, inflated_bytes: 10_000, ..Limits::default() };
    let many = element([0x0008, 0x0060], b"CS", b"").repeat(2000);
    let refused = prescan(Encoded { transfer_syntax: EXPLICIT_LE, data_set: &many }, &limits);
    assert!(matches!(refused, Err(Refusal::TooMany { limit: 1000 })));
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, &many).unwrap();
    let bomb = encoder.finish().unwrap();
    let refused = prescan(Encoded { transfer_syntax: DEFLATED_LE, data_set: &bomb }, &limits);
    assert!(matches!(refused, Err(Refusal::InflatesTooFar { .. })));
    let enough = Limits { inflated_bytes: 16_000, ..Limits::default() };
    let read = prescan(Encoded { transfer_syntax: DEFLATED_LE, data_set: &bomb }, &enough).unwrap();
    assert_eq!(read.elements().len(), 2000);
}

#[test]
fn every_truncation_is_refused_or_ends_between_elements() {
    let bytes = sample();
    let whole = scan(&bytes).unwrap();
    let ends: Vec<usize> = whole
        .elements()
        .iter()
        .filter(|e| whole.find(e.tag).is_some_and(|t| t.start == e.start))
        .map(|e| e.start)
        .collect();
    for cut in 0..bytes.len() {
        assert_eq!(scan(&bytes[..cut]).is_ok(), cut > 0 && ends.contains(&cut), "cut at {cut}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// What passes the walk, dicom-rs reads without panic or runaway memory.
    #[test]
    fn mutated_bytes_never_panic(changes in prop::collection::vec((0usize..260, any::<u8>()), 1..6), syntax in 0usize..4) {
        let mut bytes = sample();
        for (at, value) in changes {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        let transfer_syntax = [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED_LE][syntax];
        if let Ok(scan) = prescan(Encoded { transfer_syntax, data_set: &bytes }, &Limits::default()) {
            for element in scan.elements() {
                let _ = (scan.text_of(element), scan.numbers_of(element, dicom_core::VR::UN), scan.within(element).count());
            }
            if syntax == 0 {
                let _ = InMemDicomObject::read_dataset_with_ts(
                    &*scan.without_pixels(),
                    &EXPLICIT_VR_LITTLE_ENDIAN.erased(),
                );
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>, syntax in 0usize..4) {
        let transfer_syntax = [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED_LE][syntax];
        let _ = prescan(Encoded { transfer_syntax, data_set: &bytes }, &Limits::default());
    }
}
