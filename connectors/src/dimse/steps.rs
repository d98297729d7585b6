//! Modality Performed Procedure Step SCP (PS3.4 annex F.7): a scanner says that it begins a step, and at its end which
//! instances of which series it made. What it says is handed to the inbox.

use std::collections::{BTreeMap, BTreeSet};

use dicom_core::Tag;
use dicom_dictionary_std::{tags, uids};
use sulcus_operators::prescan::{Element, Limits, Prescan, Refusal, prescan};
use sulcus_operators::volume::Encoded;

use super::command::{Command, N_CREATE_RQ};
use super::data_sets::{self, held, is_uid};
use super::message::DataSet;
use super::status;
use crate::inbox::{StepMessage, StepState, Stepped};

/// Modality Performed Procedure Step SOP Class.
pub const PERFORMED_STEP: &str = uids::MODALITY_PERFORMED_PROCEDURE_STEP;
/// The longest data set of a step that is held, in bytes.
pub const MAX_STEP_BYTES: u64 = 8 << 20;
/// The most instances that one message may name, over all series.
pub const MAX_MADE: usize = 32_768;
/// The most series that one message may name.
pub const MAX_SERIES: usize = 1024;
/// The most studies that one step may be of.
pub const MAX_STUDIES: usize = 16;

/// Why bytes are no step.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StepError {
    /// Not a data set that can be walked.
    #[error("the step's data set cannot be read: {0}")]
    Unreadable(String),
    /// A UID is missing, or is none.
    #[error("the step's {0} is missing or no UID, see PS3.4 table F.7.2-1")]
    NoUid(&'static str),
    /// It begins with another state than IN PROGRESS, or none is known by that name.
    #[error("the step's Performed Procedure Step Status is none that it may have, see PS3.4 F.7.2")]
    State,
    /// It names too much.
    #[error(
        "the step names more than {MAX_MADE} instances, {MAX_SERIES} series or {MAX_STUDIES} studies, report it in parts"
    )]
    TooMany,
}

/// Reads the data set of an N-CREATE or N-SET (PS3.4 table F.7.2-1): of the many attributes the state, the studies, and
/// the series with their instances. A series that is named twice has the instances of both.
///
/// # Errors
/// Where it cannot be walked, lacks a UID, names an unknown state or too much.
pub fn read_step(
    transfer_syntax: &str,
    data_set: &[u8],
    step_uid: &str,
    begins: bool,
) -> Result<StepMessage, StepError> {
    // Two UIDs, the item, and room for what a scanner adds, for each instance.
    let limits = Limits { depth: 8, elements: 8 * MAX_MADE, inflated_bytes: 0 };
    let found = prescan(Encoded { transfer_syntax, data_set }, &limits).map_err(|refusal| match refusal {
        Refusal::TooMany { .. } => StepError::TooMany,
        other => StepError::Unreadable(other.to_string()),
    })?;
    let state = match found.text(tags::PERFORMED_PROCEDURE_STEP_STATUS).as_str() {
        "IN PROGRESS" => Some(StepState::InProgress),
        "COMPLETED" if !begins => Some(StepState::Completed),
        "DISCONTINUED" if !begins => Some(StepState::Discontinued),
        "" if !begins => None,
        _ => return Err(StepError::State),
    };
    let mut studies = BTreeSet::new();
    for item in items(&found, None, tags::SCHEDULED_STEP_ATTRIBUTES_SEQUENCE) {
        studies.insert(uid(&found, item, tags::STUDY_INSTANCE_UID, "Study Instance UID")?);
        if studies.len() > MAX_STUDIES {
            return Err(StepError::TooMany);
        }
    }
    if begins && studies.is_empty() {
        return Err(StepError::NoUid("Study Instance UID"));
    }
    let lists = found.find(tags::PERFORMED_SERIES_SEQUENCE).is_some();
    Ok(StepMessage {
        step_uid: step_uid.to_owned(),
        begins,
        state,
        study_uids: studies.into_iter().collect(),
        series: if lists { Some(series(&found)?) } else { None },
    })
}

fn series(found: &Prescan<'_>) -> Result<BTreeMap<String, BTreeSet<String>>, StepError> {
    let mut made = 0;
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for item in items(found, None, tags::PERFORMED_SERIES_SEQUENCE) {
        let instances = all.entry(uid(found, item, tags::SERIES_INSTANCE_UID, "Series Instance UID")?).or_default();
        let images = items(found, Some(item), tags::REFERENCED_IMAGE_SEQUENCE);
        let others = items(found, Some(item), tags::REFERENCED_NON_IMAGE_COMPOSITE_SOP_INSTANCE_SEQUENCE);
        for reference in images.chain(others) {
            made += 1;
            let instance = uid(found, reference, tags::REFERENCED_SOP_INSTANCE_UID, "Referenced SOP Instance UID")?;
            instances.insert(instance);
        }
        if made > MAX_MADE || all.len() > MAX_SERIES {
            return Err(StepError::TooMany);
        }
    }
    Ok(all)
}

/// The items of a sequence of the data set, or of an item.
fn items<'a>(
    found: &'a Prescan<'_>,
    of: Option<&Element>,
    sequence: Tag,
) -> impl Iterator<Item = &'a Element> + use<'a> {
    let sequence = match of {
        None => found.find(sequence),
        Some(item) => found.within(item).find(|element| element.tag == sequence),
    };
    sequence.into_iter().flat_map(|sequence| found.within(sequence))
}

fn uid(found: &Prescan<'_>, item: &Element, tag: Tag, name: &'static str) -> Result<String, StepError> {
    let element = found.within(item).find(|element| element.tag == tag);
    data_sets::uid(found, element).ok_or(StepError::NoUid(name))
}

/// Answers an N-CREATE or N-SET: reads it and hands it to `take`. Returns the status and the Error Comment.
pub(crate) fn answer(
    command: &Command,
    transfer_syntax: &str,
    data_set: &DataSet,
    take: &mut dyn FnMut(&StepMessage) -> Stepped,
) -> (u16, Option<&'static str>) {
    let begins = command.field == N_CREATE_RQ;
    let (class, instance) = match begins {
        true => (&command.sop_class_uid, &command.sop_instance_uid),
        false => (&command.requested_sop_class_uid, &command.requested_sop_instance_uid),
    };
    if class.as_deref() != Some(PERFORMED_STEP) {
        return (status::NO_SUCH_SOP_CLASS, None);
    }
    let Some(step_uid) = instance.as_deref().filter(|uid| is_uid(uid)) else {
        return (status::INVALID_ARGUMENT, Some("a step is named by its scanner, and this one is not"));
    };
    let bytes = match held(data_set, "the step is longer than this receiver takes", "a step without a data set") {
        Ok(bytes) => bytes,
        Err(refused) => return refused,
    };
    let message = match read_step(transfer_syntax, bytes, step_uid, begins) {
        Ok(message) => message,
        Err(StepError::TooMany) => {
            return (status::RESOURCE_LIMITATION, Some("the step names more than this receiver takes"));
        }
        Err(StepError::State) => {
            return (status::INVALID_ATTRIBUTE, Some("Performed Procedure Step Status is none that it may have"));
        }
        Err(error) => {
            tracing::warn!(%error, "a performed procedure step was refused");
            return (status::MISTYPED_ARGUMENT, Some("the step cannot be read"));
        }
    };
    match take(&message) {
        Stepped::Recorded => (status::SUCCESS, None),
        Stepped::Begun => (status::DUPLICATE_SOP_INSTANCE, Some("this step was begun before")),
        Stepped::Unknown => (status::NO_SUCH_SOP_INSTANCE, Some("this step was never begun here")),
        Stepped::Ended => {
            let comment = "Performed Procedure Step Object may no longer be updated";
            (status::PROCESSING_FAILURE, Some(comment))
        }
        Stepped::TooMany => (status::RESOURCE_LIMITATION, Some("this step was reported too often")),
        Stepped::Failed => (status::PROCESSING_FAILURE, Some("the step could not be recorded")),
    }
}

#[cfg(test)]
#[path = "steps_tests.rs"]
mod tests;
