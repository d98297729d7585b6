//! Query SCU (C-FIND, Study Root, PS3.4 C.4.1): how many instances of a series an archive holds.
//!
//! Number of Series Related Instances is an optional key: an archive that gives none is asked for the instances
//! themselves, and they are counted.

use std::time::Duration;

use dicom_core::Tag;
use dicom_dictionary_std::{tags, uids};
use sulcus_operators::prescan::{EXPLICIT_LE, IMPLICIT_LE, Limits, prescan};
use sulcus_operators::volume::Encoded;
use thiserror::Error;

use super::command::{C_FIND_RQ, Command, RESPONSE};
use super::data_sets::put;
use super::message::{DataSet, MAX_PDU, Received};
use super::scu::{ScuError, StoreOptions, Storer};
use super::wire::WireError;

const STUDY_ROOT_FIND: &str = uids::STUDY_ROOT_QUERY_RETRIEVE_INFORMATION_MODEL_FIND;
/// The longest identifier of an answer that is held, in bytes.
const MAX_IDENTIFIER_BYTES: u64 = 64 << 10;
/// The most answers to one question.
const MOST_ANSWERS: u32 = 65_536;
/// Statuses of answers that are followed by others (PS3.4 table C.4-1).
const PENDING: [u16; 2] = [0xFF00, 0xFF01];

/// Why an archive could not be asked, or what it answered cannot be used.
#[derive(Debug, Error)]
pub enum FindError {
    /// The association failed.
    #[error(transparent)]
    Scu(#[from] ScuError),
    /// The archive refused the question.
    #[error("the archive answered the query with status {status:#06x}, see its log")]
    Refused {
        /// Status (0000,0900).
        status: u16,
    },
    /// It gives more answers than any series has instances.
    #[error("the archive gives more than {MOST_ANSWERS} answers for one series")]
    TooMany,
}

/// An archive that answers queries.
#[derive(Clone, Debug)]
pub struct Archive {
    /// `HOST:PORT`.
    pub address: String,
    /// Our AE title.
    pub calling_ae_title: String,
    /// The archive's AE title.
    pub called_ae_title: String,
    /// For the connection, and for each answer.
    pub timeout: Duration,
}

impl Archive {
    /// How many instances of a series the archive holds; zero where it knows no such series.
    ///
    /// # Errors
    /// Where it cannot be reached, refuses the question or answers without end.
    pub fn count(&self, study_uid: &str, series_uid: &str) -> Result<u32, FindError> {
        let syntaxes = vec![EXPLICIT_LE.to_owned(), IMPLICIT_LE.to_owned()];
        let mut storer = Storer::connect(&StoreOptions {
            address: self.address.clone(),
            calling_ae_title: self.calling_ae_title.clone(),
            called_ae_title: self.called_ae_title.clone(),
            contexts: vec![(STUDY_ROOT_FIND.to_owned(), syntaxes)],
            connect_timeout: self.timeout,
            io_timeout: self.timeout,
            max_pdu: MAX_PDU,
        })?;
        let of_series =
            Question { level: "SERIES", study_uid, series_uid, wanted: tags::NUMBER_OF_SERIES_RELATED_INSTANCES };
        let told = storer.ask(&of_series, series_uid)?;
        let count = match told.number {
            _ if told.answers == 0 => 0,
            Some(number) => number,
            None => {
                let of_images = Question { level: "IMAGE", wanted: tags::SOP_INSTANCE_UID, ..of_series };
                storer.ask(&of_images, series_uid)?.answers
            }
        };
        // What was answered stands, however the archive ends the association.
        let _ = storer.release();
        Ok(count)
    }
}

/// What is asked for of one series.
struct Question<'a> {
    level: &'a str,
    study_uid: &'a str,
    series_uid: &'a str,
    wanted: Tag,
}

impl Question<'_> {
    /// The identifier (PS3.4 C.4.1.1.3): the keys in ascending order, the last one empty.
    fn identifier(&self, transfer_syntax: &str) -> Vec<u8> {
        let mut keys: [(Tag, &[u8; 2], &str); 4] = [
            (tags::QUERY_RETRIEVE_LEVEL, b"CS", self.level),
            (tags::STUDY_INSTANCE_UID, b"UI", self.study_uid),
            (tags::SERIES_INSTANCE_UID, b"UI", self.series_uid),
            (self.wanted, if self.wanted == tags::SOP_INSTANCE_UID { b"UI" } else { b"IS" }, ""),
        ];
        keys.sort_by_key(|(tag, ..)| *tag);
        let mut bytes = Vec::new();
        for (tag, vr, value) in keys {
            put(&mut bytes, transfer_syntax, tag, vr, value.as_bytes());
        }
        bytes
    }
}

/// What an archive answered.
#[derive(Default)]
struct Told {
    /// How many answers speak of the series, or of instances of it.
    answers: u32,
    /// Number of Series Related Instances (0020,1209).
    number: Option<u32>,
}

impl Storer {
    /// Asks and hears all answers.
    fn ask(&mut self, question: &Question<'_>, series_uid: &str) -> Result<Told, FindError> {
        let context = self.contexts.iter().find(|context| context.abstract_syntax == STUDY_ROOT_FIND).cloned();
        let context = context.ok_or_else(|| ScuError::ContextRefused {
            sop_class_uid: STUDY_ROOT_FIND.to_owned(),
            transfer_syntax: EXPLICIT_LE.to_owned(),
        })?;
        let message_id = self.next_message_id();
        let command = Command {
            sop_class_uid: Some(STUDY_ROOT_FIND.to_owned()),
            field: C_FIND_RQ,
            message_id: Some(message_id),
            priority: Some(0),
            has_data_set: true,
            ..Command::default()
        };
        let identifier = question.identifier(&context.transfer_syntax);
        self.messages.send(context.id, &command, Some(&identifier)).map_err(|error| self.give_up(error))?;
        let wanted =
            |_, command: &Command| if command.field == C_FIND_RQ | RESPONSE { MAX_IDENTIFIER_BYTES } else { 0 };
        let mut told = Told::default();
        for _ in 0..=MOST_ANSWERS {
            let (command, data_set) = match self.messages.receive(&wanted) {
                Ok(Received::Message { command, data_set, .. })
                    if command.field == C_FIND_RQ | RESPONSE && command.responded_to == Some(message_id) =>
                {
                    (command, data_set)
                }
                Ok(Received::Aborted) => return Err(ScuError::Aborted.into()),
                Ok(_) => {
                    return Err(self.give_up(WireError::unexpected("the answer is not one to our query")).into());
                }
                Err(error) => return Err(self.give_up(error).into()),
            };
            match command.status {
                Some(0) => return Ok(told),
                Some(status) if PENDING.contains(&status) => told.note(&context.transfer_syntax, &data_set, series_uid),
                Some(status) => return Err(FindError::Refused { status }),
                None => return Err(self.give_up(WireError::invalid("a response carries no status")).into()),
            }
        }
        self.give_up(WireError::unexpected("answers without end"));
        Err(FindError::TooMany)
    }
}

impl Told {
    /// Counts an answer. One that cannot be read, or speaks of another series, counts for nothing.
    fn note(&mut self, transfer_syntax: &str, data_set: &DataSet, series_uid: &str) {
        let DataSet::Held(bytes, _) = data_set else { return };
        let limits = Limits { depth: 8, elements: 4096, inflated_bytes: 0 };
        let Ok(found) = prescan(Encoded { transfer_syntax, data_set: bytes }, &limits) else { return };
        if found.text(tags::SERIES_INSTANCE_UID) != series_uid {
            return;
        }
        self.answers += 1;
        self.number = found.count(tags::NUMBER_OF_SERIES_RELATED_INSTANCES).or(self.number);
    }
}
