//! Storage Commitment SCP (PS3.4 annex J): a sender lists what it sent and asks us to keep it. The list is handed to the inbox,
//! whose word goes back as an N-EVENT-REPORT over the same association.

use dicom_dictionary_std::tags;
use sulcus_operators::prescan::{Limits, Refusal, prescan};
use sulcus_operators::volume::Encoded;

use super::command::{Command, N_EVENT_REPORT_RQ};
use super::commitment::{REQUEST, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE};
use super::data_sets::{held, put, put_sequence, uid};
use super::message::DataSet;
use super::status;
use crate::inbox::{Asked, CommitmentRequest, Kept};

/// The longest data set of a request that is held, in bytes.
pub const MAX_REQUEST_BYTES: u64 = 8 << 20;
/// The most objects that one request may name.
pub const MAX_LISTED: usize = 32_768;

/// Event Type IDs (PS3.4 J.3.3).
const ALL_COMMITTED: u16 = 1;
const FAILURES_EXIST: u16 = 2;

/// Why bytes are no request.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RequestError {
    /// Not a data set that can be walked.
    #[error("the request's data set cannot be read: {0}")]
    Unreadable(String),
    /// A UID is missing, or is none.
    #[error("the request's {0} is missing or no UID, see PS3.4 table J.3-1")]
    NoUid(&'static str),
    /// It names nothing.
    #[error("the request names no object, see PS3.4 table J.3-1")]
    Empty,
    /// It names too many objects.
    #[error("the request names more than {MAX_LISTED} objects, ask in parts")]
    TooMany,
}

/// Reads the data set of a request (PS3.4 table J.3-1). An object that is named twice is named once.
///
/// # Errors
/// Where it cannot be walked, lacks a UID, names nothing or too much.
pub fn read_request(transfer_syntax: &str, data_set: &[u8]) -> Result<CommitmentRequest, RequestError> {
    // Two UIDs, the item, and room for what a sender adds, for each object.
    let limits = Limits { depth: 8, elements: 8 * MAX_LISTED, inflated_bytes: 0 };
    let found = prescan(Encoded { transfer_syntax, data_set }, &limits).map_err(|refusal| match refusal {
        Refusal::TooMany { .. } => RequestError::TooMany,
        other => RequestError::Unreadable(other.to_string()),
    })?;
    let uid = |element, name| uid(&found, element).ok_or(RequestError::NoUid(name));
    let transaction_uid = uid(found.find(tags::TRANSACTION_UID), "Transaction UID")?;
    let mut listed = Vec::new();
    let items = found.find(tags::REFERENCED_SOP_SEQUENCE).into_iter().flat_map(|sequence| found.within(sequence));
    for item in items {
        if listed.len() == MAX_LISTED {
            return Err(RequestError::TooMany);
        }
        let within = |tag| found.within(item).find(|element| element.tag == tag);
        let class = uid(within(tags::REFERENCED_SOP_CLASS_UID), "Referenced SOP Class UID")?;
        listed.push((class, uid(within(tags::REFERENCED_SOP_INSTANCE_UID), "Referenced SOP Instance UID")?));
    }
    if listed.is_empty() {
        return Err(RequestError::Empty);
    }
    let mut known = std::collections::BTreeSet::new();
    listed.retain(|(_, instance)| known.insert(instance.clone()));
    Ok(CommitmentRequest { transaction_uid, listed })
}

/// A report of ours: its command and its data set.
pub(crate) type Report = (Command, Vec<u8>);

/// Answers an N-ACTION: reads it and hands it to `take`. Returns the status, the Error Comment, and, where it was taken, what
/// is to be reported.
pub(crate) fn answer(
    command: &Command,
    transfer_syntax: &str,
    data_set: &DataSet,
    take: &mut dyn FnMut(&CommitmentRequest) -> Asked,
) -> (u16, Option<&'static str>, Option<Report>) {
    let refused = |status, comment| (status, comment, None);
    if command.requested_sop_class_uid.as_deref() != Some(STORAGE_COMMITMENT) {
        return refused(status::NO_SUCH_SOP_CLASS, None);
    }
    if command.requested_sop_instance_uid.as_deref() != Some(STORAGE_COMMITMENT_INSTANCE) {
        return refused(status::NO_SUCH_SOP_INSTANCE, None);
    }
    if command.action_type != Some(REQUEST) {
        return refused(status::NO_SUCH_ACTION_TYPE, None);
    }
    let bytes = match held(data_set, "the request is longer than this receiver takes", "a request without a data set") {
        Ok(bytes) => bytes,
        Err((status, comment)) => return refused(status, comment),
    };
    let request = match read_request(transfer_syntax, bytes) {
        Ok(request) => request,
        Err(RequestError::TooMany) => {
            return refused(status::RESOURCE_LIMITATION, Some("the request names too many objects, ask in parts"));
        }
        Err(RequestError::Empty) => return refused(status::INVALID_ARGUMENT, Some("the request names no object")),
        Err(error) => {
            tracing::warn!(%error, "a request for storage commitment was refused");
            return refused(status::MISTYPED_ARGUMENT, Some("the request cannot be read"));
        }
    };
    match take(&request) {
        Asked::Recorded(kept) => (status::SUCCESS, None, Some(report(transfer_syntax, &request, &kept))),
        Asked::Failed => refused(status::PROCESSING_FAILURE, Some("the request could not be recorded")),
    }
}

/// The report of what is kept and what is not (PS3.4 table J.3-2).
fn report(transfer_syntax: &str, request: &CommitmentRequest, kept: &[Kept]) -> Report {
    let (mut committed, mut failed) = (Vec::new(), Vec::new());
    for ((class, instance), kept) in request.listed.iter().zip(kept) {
        let mut item = Vec::new();
        put(&mut item, transfer_syntax, tags::REFERENCED_SOP_CLASS_UID, b"UI", class.as_bytes());
        put(&mut item, transfer_syntax, tags::REFERENCED_SOP_INSTANCE_UID, b"UI", instance.as_bytes());
        match kept {
            Kept::Safe => committed.push(item),
            Kept::Not(reason) => {
                put(&mut item, transfer_syntax, tags::FAILURE_REASON, b"US", &reason.to_le_bytes());
                failed.push(item);
            }
        }
    }
    let event = if failed.is_empty() { ALL_COMMITTED } else { FAILURES_EXIST };
    let mut data_set = Vec::new();
    put(&mut data_set, transfer_syntax, tags::TRANSACTION_UID, b"UI", request.transaction_uid.as_bytes());
    for (element, items) in [(tags::FAILED_SOP_SEQUENCE, failed), (tags::REFERENCED_SOP_SEQUENCE, committed)] {
        if !items.is_empty() {
            put_sequence(&mut data_set, transfer_syntax, element, &items);
        }
    }
    let command = Command {
        sop_class_uid: Some(STORAGE_COMMITMENT.to_owned()),
        sop_instance_uid: Some(STORAGE_COMMITMENT_INSTANCE.to_owned()),
        field: N_EVENT_REPORT_RQ,
        message_id: Some(1),
        event_type: Some(event),
        has_data_set: true,
        ..Command::default()
    };
    (command, data_set)
}

#[cfg(test)]
#[path = "committing_tests.rs"]
mod tests;
