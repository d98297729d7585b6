//! Promises of pixels.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::prescan::{EXPLICIT_LE, IMPLICIT_LE};
use crate::scanner_files::scanner_files;

/// A little image in implicit VR: `rows` x 2 samples of 16 bits.
fn image(rows: u16, bits_stored: u16, high_bit: u16, signed: u16, words: &[u16]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (element, value) in
        [(0x02, 1), (0x10, rows), (0x11, 2), (0x100, 16), (0x101, bits_stored), (0x102, high_bit), (0x103, signed)]
    {
        bytes.extend_from_slice(&[0x28, 0]);
        bytes.extend_from_slice(&u16::to_le_bytes(element));
        bytes.extend_from_slice(&2u32.to_le_bytes());
        bytes.extend_from_slice(&u16::to_le_bytes(value));
    }
    bytes.extend_from_slice(&[0xE0, 0x7F, 0x10, 0]);
    bytes.extend_from_slice(&(words.len() as u32 * 2).to_le_bytes());
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    bytes
}

fn samples(data_set: &[u8]) -> Result<Vec<i32>, PixelsError> {
    stored(Encoded { transfer_syntax: IMPLICIT_LE, data_set }, 1).map(|stored| stored.samples)
}

#[test]
fn the_nine_encodings_decode_to_identical_stored_pixels() {
    let Some(files) = scanner_files("transfer-syntaxes/In") else { return };
    let first = stored(files[0].encoded(), 1).unwrap();
    assert_eq!((files.len(), first.columns, first.rows), (9, 384, 384));
    assert!(first.samples.iter().max() > Some(&100));
    for file in &files[1..] {
        assert_eq!(stored(file.encoded(), 1).unwrap(), first, "{}", file.path.display());
    }
}

#[test]
fn garbage_in_unused_bits_is_cut_off_and_signs_are_extended() {
    assert_eq!(samples(&image(1, 12, 11, 0, &[0xF123, 0x0FFF])).unwrap(), [0x123, 0xFFF]);
    assert_eq!(samples(&image(1, 12, 11, 1, &[0x0FFF, 0xF7FF])).unwrap(), [-1, 0x7FF]);
    assert_eq!(samples(&image(1, 12, 15, 0, &[0x123F, 0xFFF0])).unwrap(), [0x123, 0xFFF]);
    assert_eq!(samples(&image(1, 16, 15, 1, &[0x8000, 0x7FFF])).unwrap(), [-32768, 32767]);
}

#[test]
fn missing_pixels_and_impossible_formats_are_named() {
    assert_eq!(samples(&image(2, 12, 11, 0, &[1, 2])), Err(PixelsError::Truncated { frame: 1 }));
    assert!(matches!(samples(&image(0, 12, 11, 0, &[1, 2])), Err(PixelsError::Format(_))));
    assert!(matches!(samples(&image(1, 17, 11, 0, &[1, 2])), Err(PixelsError::Format(_))));
    assert!(matches!(samples(&image(1, 12, 5, 0, &[1, 2])), Err(PixelsError::Format(_))));
    assert!(matches!(samples(&image(1, 0, 11, 0, &[1, 2])), Err(PixelsError::Format(_))));
    let bytes = image(1, 12, 11, 0, &[1, 2]);
    let beyond = stored(Encoded { transfer_syntax: IMPLICIT_LE, data_set: &bytes }, 2);
    assert_eq!(beyond, Err(PixelsError::NoFrame { frame: 2, frames: 1 }));
}

#[test]
fn damaged_streams_cost_a_frame_and_no_more() {
    let Some(files) = scanner_files("transfer-syntaxes/In") else { return };
    for file in &files {
        let encoded = file.encoded();
        let at = encoded.data_set.len() * 3 / 4;
        for value in [0u8, 0x55, 0xFF] {
            let mut bytes = encoded.data_set.to_vec();
            bytes[at..at + 64].fill(value);
            let damaged = stored(Encoded { data_set: &bytes, ..encoded }, 1);
            assert!(damaged.is_err() || damaged.unwrap().samples.len() == 384 * 384, "{}", file.path.display());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn mutated_images_never_panic(changes in prop::collection::vec((0usize..90, any::<u8>()), 1..8), native: bool) {
        let mut bytes = image(2, 12, 11, 0, &[1, 2, 3, 4]);
        for (at, value) in changes {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        let transfer_syntax = if native { IMPLICIT_LE } else { EXPLICIT_LE };
        let _ = stored(Encoded { transfer_syntax, data_set: &bytes }, 1);
    }
}
