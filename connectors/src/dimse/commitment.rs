//! Storage Commitment Push Model (PS3.4 annex J): the data sets of the request and of the report, and how a report is
//! answered.
//!
//! A report comes from outside: it is held only up to [`MAX_REPORT_BYTES`], walked by `prescan` before anything is read
//! of it, and names at most [`MAX_REFERENCES`] objects. What it means for a delivery is for the engine to say; asking is
//! in `asking`.

use dicom_dictionary_std::{tags, uids};
use sulcus_operators::prescan::{Element, Limits, Prescan, prescan};
use sulcus_operators::volume::Encoded;
use thiserror::Error;

use super::command::Command;
use super::data_sets::{held, put, put_sequence, uid};
use super::message::DataSet;
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

/// The data set of an N-ACTION request (PS3.4 table J.3-1), in Implicit or Explicit VR Little Endian.
pub(crate) fn request(transfer_syntax: &str, transaction_uid: &str, objects: &[Reference<'_>]) -> Vec<u8> {
    let item = |object: &Reference<'_>| {
        let mut item = Vec::new();
        put(&mut item, transfer_syntax, tags::REFERENCED_SOP_CLASS_UID, b"UI", object.sop_class_uid.as_bytes());
        put(&mut item, transfer_syntax, tags::REFERENCED_SOP_INSTANCE_UID, b"UI", object.sop_instance_uid.as_bytes());
        item
    };
    let mut data_set = Vec::new();
    put(&mut data_set, transfer_syntax, tags::TRANSACTION_UID, b"UI", transaction_uid.as_bytes());
    put_sequence(
        &mut data_set,
        transfer_syntax,
        tags::REFERENCED_SOP_SEQUENCE,
        &objects.iter().map(item).collect::<Vec<_>>(),
    );
    data_set
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
    let uid = |element, name| uid(&found, element).ok_or(ReportError::NoUid(name));
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
    let bytes = match held(data_set, "the report is longer than this receiver takes", "a report without a data set") {
        Ok(bytes) => bytes,
        Err(refused) => return refused,
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

    use sulcus_operators::prescan::{EXPLICIT_LE, IMPLICIT_LE};

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
