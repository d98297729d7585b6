//! Storage Commitment Push Model (PS3.4 annex J): the data sets of the request and of the report, and how a report is
//! answered.
//!
//! A report comes from outside: it is held only up to [`MAX_REPORT_BYTES`], walked by `prescan` before anything is read
//! of it, and names at most [`MAX_REFERENCES`] objects. What it means for a delivery is for the engine to say; asking is
//! in `asking`.

use dicom_dictionary_std::{tags, uids};
use sulcus_operators::prescan::{EXPLICIT_LE, Element, IMPLICIT_LE, Limits, Prescan, prescan};
use sulcus_operators::volume::Encoded;
use thiserror::Error;

use super::accept::trim_uid;
use super::command::Command;
use super::message::{DataSet, Limit};
use super::status;
use crate::inbox::{CommitmentReport, Reported};

/// Storage Commitment Push Model SOP Class.
pub const STORAGE_COMMITMENT: &str = uids::STORAGE_COMMITMENT_PUSH_MODEL;
/// The well-known SOP instance that requests and reports name (PS3.4 J.3.5).
pub const STORAGE_COMMITMENT_INSTANCE: &str = "1.2.840.10008.1.20.1.1";
/// The longest data set of a report that is held, in bytes.
pub const MAX_REPORT_BYTES: u64 = 1 << 20;
/// The most objects that one report may name, committed and failed together.
pub const MAX_REFERENCES: usize = 1000;

/// Action Type ID: Request Storage Commitment (PS3.4 J.3.2).
pub(crate) const REQUEST: u16 = 1;
/// Event Type IDs (PS3.4 J.3.3): all committed; failures exist.
const EVENT_TYPES: [u16; 2] = [1, 2];

/// An object by its SOP Class UID and SOP Instance UID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference<'a> {
    /// SOP Class UID.
    pub sop_class_uid: &'a str,
    /// SOP Instance UID.
    pub sop_instance_uid: &'a str,
}

/// Why bytes are no report.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ReportError {
    /// Not a data set that can be walked.
    #[error("the report's data set cannot be read: {0}")]
    Unreadable(String),
    /// A UID is missing, or is none.
    #[error("the report's {0} is missing or no UID, see PS3.4 table J.3-2")]
    NoUid(&'static str),
    /// It names too many objects.
    #[error("the report names more than {MAX_REFERENCES} objects, ask for fewer at once")]
    TooMany,
}

/// Of the transfer syntaxes proposed for a context of storage commitment or of performed procedure steps, the one to use.
pub(crate) fn choose_transfer_syntax(proposed: &[String]) -> Option<&'static str> {
    let known = [EXPLICIT_LE, IMPLICIT_LE];
    proposed.iter().find_map(|uid| known.into_iter().find(|known| *known == trim_uid(uid)))
}

/// The data set of an N-ACTION request (PS3.4 table J.3-1), in Implicit or Explicit VR Little Endian.
pub(crate) fn request(transfer_syntax: &str, transaction_uid: &str, objects: &[Reference<'_>]) -> Vec<u8> {
    let item = |object: &Reference<'_>| {
        let mut item = Vec::new();
        put(&mut item, transfer_syntax, 0x1150, b"UI", object.sop_class_uid.as_bytes());
        put(&mut item, transfer_syntax, 0x1155, b"UI", object.sop_instance_uid.as_bytes());
        item
    };
    let mut data_set = Vec::new();
    put(&mut data_set, transfer_syntax, 0x1195, b"UI", transaction_uid.as_bytes());
    put_sequence(&mut data_set, transfer_syntax, 0x1199, &objects.iter().map(item).collect::<Vec<_>>());
    data_set
}

/// Appends a sequence of group 0008 with these items.
pub(crate) fn put_sequence(out: &mut Vec<u8>, transfer_syntax: &str, element: u16, items: &[Vec<u8>]) {
    let mut value = Vec::new();
    for item in items {
        value.extend_from_slice(&[0xfe, 0xff, 0x00, 0xe0]);
        value.extend_from_slice(&length_of(item).to_le_bytes());
        value.extend_from_slice(item);
    }
    put(out, transfer_syntax, element, b"SQ", &value);
}

/// Appends a number (US) of group 0008.
pub(crate) fn put_number(out: &mut Vec<u8>, transfer_syntax: &str, element: u16, number: u16) {
    put(out, transfer_syntax, element, b"US", &number.to_le_bytes());
}

fn length_of(value: &[u8]) -> u32 {
    u32::try_from(value.len()).unwrap_or(u32::MAX)
}

/// Appends one element of group 0008, padded to even length.
pub(crate) fn put(out: &mut Vec<u8>, transfer_syntax: &str, element: u16, vr: &[u8; 2], value: &[u8]) {
    let explicit = transfer_syntax != IMPLICIT_LE;
    let padding = value.len() % 2;
    let length = length_of(value).saturating_add(padding as u32);
    out.extend_from_slice(&[0x08, 0x00]);
    out.extend_from_slice(&element.to_le_bytes());
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
    out.extend_from_slice(&[0][..padding]);
}

/// Reads the data set of a report (PS3.4 table J.3-2).
///
/// # Errors
/// Where it cannot be walked, lacks a UID or names too many objects.
pub fn read_report(transfer_syntax: &str, data_set: &[u8]) -> Result<CommitmentReport, ReportError> {
    // Two UIDs, a reason and room for what an archive adds, for each object.
    let limits = Limits { depth: 8, elements: 16 * MAX_REFERENCES, inflated_bytes: 0 };
    let found = prescan(Encoded { transfer_syntax, data_set }, &limits).map_err(|refusal| match refusal {
        sulcus_operators::prescan::Refusal::TooMany { .. } => ReportError::TooMany,
        other => ReportError::Unreadable(other.to_string()),
    })?;
    let uid = |element: Option<&Element>, name| {
        let text = element.map(|element| found.text_of(element)).unwrap_or_default();
        if is_uid(&text) { Ok(text) } else { Err(ReportError::NoUid(name)) }
    };
    let mut report = CommitmentReport {
        transaction_uid: uid(found.find(tags::TRANSACTION_UID), "Transaction UID")?,
        ..CommitmentReport::default()
    };
    for (sequence, failed) in [(tags::REFERENCED_SOP_SEQUENCE, false), (tags::FAILED_SOP_SEQUENCE, true)] {
        for item in found.find(sequence).into_iter().flat_map(|sequence| found.within(sequence)) {
            let within = |tag| found.within(item).find(|element| element.tag == tag);
            let instance = uid(within(tags::REFERENCED_SOP_INSTANCE_UID), "Referenced SOP Instance UID")?;
            if report.committed.len() + report.failed.len() >= MAX_REFERENCES {
                return Err(ReportError::TooMany);
            }
            if failed {
                report.failed.push((instance, reason(&found, within(tags::FAILURE_REASON))));
            } else {
                report.committed.push(instance);
            }
        }
    }
    Ok(report)
}

/// Failure Reason (0008,1197); 0x0110, processing failure, where an archive gives none.
fn reason(found: &Prescan<'_>, element: Option<&Element>) -> u16 {
    let bytes = element.and_then(|element| found.value(element).first_chunk::<2>().copied());
    bytes.map_or(status::PROCESSING_FAILURE, u16::from_le_bytes)
}

pub(crate) fn is_uid(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// Answers an N-EVENT-REPORT: reads it and hands it to `take`. Returns the status and the Error Comment.
pub(crate) fn answer(
    command: &Command,
    transfer_syntax: &str,
    data_set: &DataSet,
    take: &mut dyn FnMut(CommitmentReport) -> Reported,
) -> (u16, Option<&'static str>) {
    if command.sop_class_uid.as_deref() != Some(STORAGE_COMMITMENT) {
        return (status::NO_SUCH_SOP_CLASS, None);
    }
    if command.sop_instance_uid.as_deref() != Some(STORAGE_COMMITMENT_INSTANCE) {
        return (status::NO_SUCH_SOP_INSTANCE, None);
    }
    if !command.event_type.is_some_and(|event| EVENT_TYPES.contains(&event)) {
        return (status::NO_SUCH_EVENT_TYPE, None);
    }
    let bytes = match data_set {
        DataSet::Held(bytes, _) => bytes,
        DataSet::Forgotten(Some(Limit::Object | Limit::InFlight)) => {
            return (status::RESOURCE_LIMITATION, Some("the report is longer than this receiver takes"));
        }
        DataSet::Forgotten(None) | DataSet::Absent => {
            return (status::MISTYPED_ARGUMENT, Some("a report without a data set"));
        }
    };
    let report = match read_report(transfer_syntax, bytes) {
        Ok(report) => report,
        Err(ReportError::TooMany) => {
            return (status::RESOURCE_LIMITATION, Some("the report names more objects than were asked for"));
        }
        Err(error) => {
            tracing::warn!(%error, "the report of a storage commitment was refused");
            return (status::MISTYPED_ARGUMENT, Some("the report cannot be read"));
        }
    };
    match take(report) {
        Reported::Recorded => (status::SUCCESS, None),
        Reported::Unknown => (status::INVALID_ARGUMENT, Some("no such transaction was begun here")),
        Reported::TooMany => (status::RESOURCE_LIMITATION, Some("this transaction was reported too often")),
        Reported::Failed => (status::PROCESSING_FAILURE, Some("the report could not be recorded")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SEG: &str = "1.2.840.10008.5.1.4.1.1.66.4";

    fn objects(uids: &[String]) -> Vec<Reference<'_>> {
        uids.iter().map(|uid| Reference { sop_class_uid: SEG, sop_instance_uid: uid }).collect()
    }

    #[test]
    fn a_request_names_its_transaction_and_objects_in_either_encoding() {
        let uids = ["1.2.3".to_owned(), "1.2.34".to_owned()];
        for syntax in [EXPLICIT_LE, IMPLICIT_LE] {
            let bytes = request(syntax, "2.25.7", &objects(&uids));
            // What a request references is what a report of success references.
            let read = read_report(syntax, &bytes).unwrap();
            assert_eq!((read.transaction_uid.as_str(), &read.committed[..]), ("2.25.7", &uids[..]));
            assert_eq!(read.failed, []);
        }
    }

    #[test]
    fn a_report_of_more_objects_than_any_request_names_is_refused() {
        let many = |count: usize| (0..count).map(|number| format!("1.2.{number}")).collect::<Vec<_>>();
        let read = |uids: &[String]| read_report(EXPLICIT_LE, &request(EXPLICIT_LE, "1.2", &objects(uids)));
        assert_eq!(read(&many(MAX_REFERENCES)).unwrap().committed.len(), MAX_REFERENCES);
        assert_eq!(read(&many(MAX_REFERENCES + 1)), Err(ReportError::TooMany));
        assert_eq!(read(&many(100_000)), Err(ReportError::TooMany));
    }

    #[test]
    fn a_report_without_its_uids_is_refused() {
        assert_eq!(
            read_report(EXPLICIT_LE, &request(EXPLICIT_LE, "", &[])),
            Err(ReportError::NoUid("Transaction UID"))
        );
        let odd = ["name^of".to_owned()];
        let error = read_report(EXPLICIT_LE, &request(EXPLICIT_LE, "1.2", &objects(&odd))).unwrap_err();
        assert_eq!(error, ReportError::NoUid("Referenced SOP Instance UID"));
        assert!(!error.to_string().contains("name"), "what a peer writes stays out of errors");
        assert!(matches!(
            read_report(EXPLICIT_LE, &[8, 0, 0x95, 0x11, b'U', b'I', 200, 0]),
            Err(ReportError::Unreadable(_))
        ));
    }

    proptest! {
        #[test]
        fn a_report_cut_or_changed_anywhere_never_panics(
            cut in 0usize..300, changes in prop::collection::vec((0usize..300, any::<u8>()), 0..6), explicit: bool,
        ) {
            let uids = ["1.2.3".to_owned(), "1.2.34".to_owned(), "1.2.345".to_owned()];
            let syntax = if explicit { EXPLICIT_LE } else { IMPLICIT_LE };
            let mut bytes = request(syntax, "2.25.7", &objects(&uids));
            for (at, byte) in changes {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            bytes.truncate(cut);
            let _ = read_report(syntax, &bytes);
        }
    }
}
