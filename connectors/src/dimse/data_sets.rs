//! The small data sets of services other than C-STORE: which transfer syntax they have, how their elements are written, and
//! what all of them ask of what was received.

use dicom_core::Tag;
use sulcus_operators::prescan::{EXPLICIT_LE, Element, IMPLICIT_LE, Prescan};

use super::accept::trim_uid;
use super::message::{DataSet, Limit};
use super::status;

/// Of the transfer syntaxes proposed for a context of such a service, the one to use.
pub(crate) fn choose_transfer_syntax(proposed: &[String]) -> Option<&'static str> {
    let known = [EXPLICIT_LE, IMPLICIT_LE];
    proposed.iter().find_map(|uid| known.into_iter().find(|known| *known == trim_uid(uid)))
}

/// Appends a sequence with these items.
pub(crate) fn put_sequence(out: &mut Vec<u8>, transfer_syntax: &str, tag: Tag, items: &[Vec<u8>]) {
    let mut value = Vec::new();
    for item in items {
        value.extend_from_slice(&[0xfe, 0xff, 0x00, 0xe0]);
        value.extend_from_slice(&length_of(item).to_le_bytes());
        value.extend_from_slice(item);
    }
    put(out, transfer_syntax, tag, b"SQ", &value);
}

fn length_of(value: &[u8]) -> u32 {
    u32::try_from(value.len()).unwrap_or(u32::MAX)
}

/// Appends one element (UI, US, IS, CS or SQ), padded to even length (PS3.5 section 6.2).
pub(crate) fn put(out: &mut Vec<u8>, transfer_syntax: &str, tag: Tag, vr: &[u8; 2], value: &[u8]) {
    let explicit = transfer_syntax != IMPLICIT_LE;
    let padding = value.len() % 2;
    let length = length_of(value).saturating_add(padding as u32);
    out.extend_from_slice(&tag.0.to_le_bytes());
    out.extend_from_slice(&tag.1.to_le_bytes());
    match (explicit, vr) {
        (true, b"SQ") => {
            out.extend_from_slice(b"SQ\0\0");
            out.extend_from_slice(&length.to_le_bytes());
        }
        (true, vr) => {
            out.extend_from_slice(vr);
            out.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes());
        }
        (false, _) => out.extend_from_slice(&length.to_le_bytes()),
    }
    out.extend_from_slice(value);
    let pad = if matches!(vr, b"CS" | b"IS") { b' ' } else { 0 };
    out.extend_from_slice(&[pad][..padding]);
}

/// A UID of a received data set; none where it is missing or no UID.
pub(crate) fn uid(found: &Prescan<'_>, element: Option<&Element>) -> Option<String> {
    element.map(|element| found.text_of(element)).filter(|text| is_uid(text))
}

pub(crate) fn is_uid(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// The bytes of a received data set.
///
/// # Errors
/// The status and the Error Comment to refuse with, where it was too long to be held, or there is none.
pub(crate) fn held<'a>(
    data_set: &'a DataSet,
    too_long: &'static str,
    absent: &'static str,
) -> Result<&'a [u8], (u16, Option<&'static str>)> {
    match data_set {
        DataSet::Held(bytes, _) => Ok(bytes),
        DataSet::Forgotten(Some(Limit::Object | Limit::InFlight)) => Err((status::RESOURCE_LIMITATION, Some(too_long))),
        DataSet::Forgotten(None) | DataSet::Absent => Err((status::MISTYPED_ARGUMENT, Some(absent))),
    }
}
