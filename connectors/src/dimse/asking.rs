//! Storage Commitment SCU: asks an archive for its word on what it was sent, and hears it where it comes over the same
//! association. An archive may also call back: that is heard by `service`.

use std::time::Duration;

use super::command::{Command, N_ACTION_RQ, N_EVENT_REPORT_RQ, RESPONSE};
use super::commitment::{self, MAX_REPORT_BYTES, REQUEST, Reference, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE};
use super::message::{DataSet, Received};
use super::scu::{ScuError, Storer};
use super::wire::WireError;
use crate::inbox::{CommitmentReport, Reported};

/// Takes a report and returns once it is durable: only then is the archive answered.
pub type TakeReport<'a> = &'a mut dyn FnMut(CommitmentReport) -> Reported;

/// Reports that an archive may send before it answers a request.
const MOST_BEFORE_ANSWER: usize = 16;

impl Storer {
    /// Whether the peer offers storage commitment on this association.
    pub fn offers_commitment(&self) -> bool {
        self.contexts.iter().any(|context| context.abstract_syntax == STORAGE_COMMITMENT)
    }

    /// N-ACTION: asks for the peer's commitment to objects that it was sent. Returns the status of the response: 0x0000
    /// where the request was taken. Reports that come before it are taken as well.
    pub fn ask_commitment(
        &mut self,
        transaction_uid: &str,
        objects: &[Reference<'_>],
        take: TakeReport<'_>,
    ) -> Result<u16, ScuError> {
        let asked = self.contexts.iter().find(|context| context.abstract_syntax == STORAGE_COMMITMENT).cloned();
        let context = asked.ok_or_else(|| ScuError::ContextRefused {
            sop_class_uid: STORAGE_COMMITMENT.to_owned(),
            transfer_syntax: sulcus_operators::prescan::EXPLICIT_LE.to_owned(),
        })?;
        let message_id = self.next_message_id();
        let command = Command {
            requested_sop_class_uid: Some(STORAGE_COMMITMENT.to_owned()),
            requested_sop_instance_uid: Some(STORAGE_COMMITMENT_INSTANCE.to_owned()),
            field: N_ACTION_RQ,
            message_id: Some(message_id),
            action_type: Some(REQUEST),
            has_data_set: true,
            ..Command::default()
        };
        let data_set = commitment::request(&context.transfer_syntax, transaction_uid, objects);
        if let Err(error) = self.messages.send(context.id, &command, Some(&data_set)) {
            return Err(self.give_up(error));
        }
        for _ in 0..MOST_BEFORE_ANSWER {
            let (id, command, data_set) = self.next_message()?;
            if command.field == N_ACTION_RQ | RESPONSE && command.responded_to == Some(message_id) {
                let without = WireError::invalid("a response carries no status");
                return command.status.ok_or_else(|| self.give_up(without));
            }
            self.answer_report(id, &command, &data_set, take)?;
        }
        Err(self.give_up(WireError::unexpected("reports without end in place of an answer")))
    }

    /// Takes the reports that the peer sends within `wait`; returns after the first. False where none came.
    pub fn hear(&mut self, wait: Duration, take: TakeReport<'_>) -> Result<bool, ScuError> {
        match self.messages.wait(wait) {
            Ok(false) => return Ok(false),
            Ok(true) => {}
            Err(error) => return Err(self.give_up(error)),
        }
        let (id, command, data_set) = self.next_message()?;
        self.answer_report(id, &command, &data_set, take)?;
        Ok(true)
    }

    fn next_message(&mut self) -> Result<(u8, Command, DataSet), ScuError> {
        let wanted = |_, command: &Command| if command.field == N_EVENT_REPORT_RQ { MAX_REPORT_BYTES } else { 0 };
        match self.messages.receive(&wanted) {
            Ok(Received::Message { context, command, data_set }) => Ok((context, command, data_set)),
            Ok(Received::Aborted) => Err(ScuError::Aborted),
            Ok(_) => Err(self.give_up(WireError::unexpected("the peer ended an association that it did not open"))),
            Err(error) => Err(self.give_up(error)),
        }
    }

    fn answer_report(
        &mut self,
        id: u8,
        command: &Command,
        data_set: &DataSet,
        take: TakeReport<'_>,
    ) -> Result<(), ScuError> {
        let of_commitment = self.contexts.iter().find(|context| context.abstract_syntax == STORAGE_COMMITMENT);
        let context = of_commitment.filter(|context| context.id == id && command.field == N_EVENT_REPORT_RQ);
        let Some(context) = context else {
            return Err(self.give_up(WireError::unexpected("the peer asks for what we do not offer")));
        };
        let (status, comment) = commitment::answer(command, &context.transfer_syntax, data_set, take);
        self.messages.send(id, &command.response(status, comment), None).map_err(|error| self.give_up(error))
    }
}
