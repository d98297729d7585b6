//! One association of the Storage SCP, from its first message to its end: C-ECHO, C-STORE and
//! the reports of storage commitment that archives call back with are served, requests for it, and performed procedure
//! steps; all else is refused.

use std::collections::BTreeSet;

use dicom_ul::pdu::{AbortRQServiceProviderReason, AbortRQSource, Pdu};

use super::accept::is_storage;
use super::association::{Accepted, Context};
use super::command::{
    C_CANCEL_RQ, C_ECHO_RQ, C_STORE_RQ, Command, N_ACTION_RQ, N_CREATE_RQ, N_EVENT_REPORT_RQ, N_SET_RQ, RESPONSE,
};
use super::commitment::{self, MAX_REPORT_BYTES, STORAGE_COMMITMENT};
use super::committing::{self, MAX_REQUEST_BYTES};
use super::message::{DataSet, Limit, Messages, Received};
use super::status;
use super::steps::{self, MAX_STEP_BYTES, PERFORMED_STEP};
use super::wire::WireError;
use crate::inbox::{CommitmentRequest, Inbox, Incoming, StepMessage, Stored};

/// How an association ended.
#[derive(Debug)]
pub(crate) enum End {
    /// By A-RELEASE.
    Released,
    /// By the peer's A-ABORT.
    Aborted,
    /// By a fault of the connection or of the peer, or because the receiver stops.
    Failed(WireError),
}

/// The service of one association, and what it has seen.
pub(crate) struct Service<'a> {
    accepted: Accepted,
    inbox: &'a dyn Inbox,
    messages: Messages,
    /// Series that the inbox kept objects of.
    pub(crate) series: BTreeSet<String>,
    /// Objects kept.
    pub(crate) kept: u64,
    /// Objects not kept.
    pub(crate) refused: u64,
    /// Bytes of the data sets received whole.
    pub(crate) bytes: u64,
    /// Reports of ours that are not answered yet.
    reported: u32,
}

impl<'a> Service<'a> {
    pub(crate) fn new(accepted: Accepted, inbox: &'a dyn Inbox, messages: Messages) -> Service<'a> {
        Service { accepted, inbox, messages, series: BTreeSet::new(), kept: 0, refused: 0, bytes: 0, reported: 0 }
    }

    /// Serves messages until the peer releases, aborts or fails. The connection stays open for [`Service::finish`].
    pub(crate) fn run(&mut self) -> End {
        loop {
            match self.serve_one() {
                Ok(None) => {}
                Ok(Some(end)) => return end,
                Err(error) => return End::Failed(error),
            }
        }
    }

    /// Answers the end of the association and closes the connection. `end` is none after a panic.
    pub(crate) fn finish(&mut self, end: Option<&End>) {
        let reason = match end {
            Some(End::Released) => {
                let _ = self.messages.wire.send_pdu(&Pdu::ReleaseRP);
                return self.messages.wire.close();
            }
            Some(End::Aborted | End::Failed(WireError::Lost(_))) => return self.messages.wire.close(),
            Some(End::Failed(WireError::Protocol { reason, .. })) => reason.clone(),
            Some(End::Failed(_)) | None => AbortRQServiceProviderReason::ReasonNotSpecified,
        };
        self.messages.wire.abort(AbortRQSource::ServiceProvider(reason));
    }

    fn serve_one(&mut self) -> Result<Option<End>, WireError> {
        let (contexts, asks) = (&self.accepted.contexts, self.accepted.asks);
        let find = |id| contexts.iter().find(|context| context.id == id);
        let wanted = |id, command: &Command| {
            let Some(context) = find(id) else { return 0 };
            match command.field {
                C_STORE_RQ if takes(context, command) => u64::MAX,
                N_EVENT_REPORT_RQ if commits(context) && !asks => MAX_REPORT_BYTES,
                N_ACTION_RQ if commits(context) && asks => MAX_REQUEST_BYTES,
                N_CREATE_RQ | N_SET_RQ if steps(context) => MAX_STEP_BYTES,
                _ => 0,
            }
        };
        let (id, command, data_set) = match self.messages.receive(&wanted)? {
            Received::Message { context, command, data_set } => (context, command, data_set),
            Received::Release => return Ok(Some(End::Released)),
            Received::Aborted => return Ok(Some(End::Aborted)),
            Received::Released => return Err(WireError::unexpected("a release was confirmed that nobody asked for")),
        };
        let Some(context) = find(id).cloned() else {
            return Err(WireError::invalid("a message in a presentation context that was not accepted"));
        };
        let (status, comment) = match command.field {
            C_STORE_RQ => self.store(&context, &command, data_set),
            C_ECHO_RQ => (status::SUCCESS, None),
            N_EVENT_REPORT_RQ if commits(&context) && !asks => {
                let mut take = |report| self.inbox.commitment_reported(report);
                commitment::answer(&command, &context.transfer_syntax, &data_set, &mut take)
            }
            N_ACTION_RQ if commits(&context) && asks => return self.commit(&context, &command, &data_set),
            N_CREATE_RQ | N_SET_RQ if steps(&context) => {
                let source = &self.accepted.source;
                let mut take = |message: &StepMessage| self.inbox.step_reported(source, message);
                steps::answer(&command, &context.transfer_syntax, &data_set, &mut take)
            }
            // How it takes our report changes nothing: what was asked is recorded.
            field if field == N_EVENT_REPORT_RQ | RESPONSE && self.reported > 0 => {
                self.reported -= 1;
                return Ok(None);
            }
            // There is never anything running to cancel, and a cancel has no response.
            C_CANCEL_RQ => return Ok(None),
            field if field & RESPONSE != 0 => {
                return Err(WireError::unexpected("a response to a request that was never made"));
            }
            _ => (status::UNRECOGNIZED_OPERATION, None),
        };
        self.messages.send(id, &command.response(status, comment), None)?;
        Ok(None)
    }

    /// Answers a request for storage commitment, and reports what is kept at once: a sender that waits for it finds it on
    /// this association.
    fn commit(&mut self, context: &Context, command: &Command, data_set: &DataSet) -> Result<Option<End>, WireError> {
        let source = &self.accepted.source;
        let mut take = |request: &CommitmentRequest| self.inbox.commitment_asked(source, request);
        let (status, comment, report) = committing::answer(command, &context.transfer_syntax, data_set, &mut take);
        self.messages.send(context.id, &command.response(status, comment), None)?;
        if let Some((command, data_set)) = report {
            self.messages.send(context.id, &command, Some(&data_set))?;
            self.reported += 1;
        }
        Ok(None)
    }

    /// Hands an object to the inbox, in the transfer syntax of the context that it came in.
    fn store(&mut self, context: &Context, command: &Command, data_set: DataSet) -> (u16, Option<&'static str>) {
        // The lease on the memory budget ends when the inbox has answered.
        let (data_set, _lease) = match data_set {
            DataSet::Held(bytes, lease) => (bytes, lease),
            refused => {
                self.refused += 1;
                return match refused {
                    DataSet::Forgotten(Some(Limit::Object)) => {
                        (status::OUT_OF_RESOURCES, Some("the object is longer than this receiver takes"))
                    }
                    DataSet::Forgotten(Some(Limit::InFlight)) => {
                        (status::OUT_OF_RESOURCES, Some("too much is being received at once, send again later"))
                    }
                    DataSet::Forgotten(None) => (status::SOP_CLASS_NOT_SUPPORTED, None),
                    _ => (status::CANNOT_UNDERSTAND, Some("a C-STORE request without a data set")),
                };
            }
        };
        self.bytes += data_set.len() as u64;
        let stored = self.inbox.store(Incoming {
            source: self.accepted.source.clone(),
            transfer_syntax: context.transfer_syntax.clone(),
            sop_class_uid: command.sop_class_uid.clone().unwrap_or_else(|| context.abstract_syntax.clone()),
            sop_instance_uid: command.sop_instance_uid.clone().unwrap_or_default(),
            data_set,
        });
        let (status, comment) = status::of(&stored);
        if status::is_kept(status) {
            self.kept += 1;
        } else {
            self.refused += 1;
            let (Stored::OutOfResources { reason } | Stored::Failed { reason }) = &stored else {
                return (status, comment);
            };
            let source = &self.accepted.source;
            tracing::warn!(source, status = format_args!("{status:#06x}"), reason, "object not kept");
        }
        if let Stored::Kept { series_uid } | Stored::Repeated { series_uid } = stored {
            self.series.insert(series_uid);
        }
        (status, comment)
    }
}

/// Whether a context is of storage commitment.
fn commits(context: &Context) -> bool {
    context.abstract_syntax == STORAGE_COMMITMENT
}

/// Whether a context is of performed procedure steps.
fn steps(context: &Context) -> bool {
    context.abstract_syntax == PERFORMED_STEP
}

/// Whether a C-STORE request in this context is for a storage class that is accepted.
fn takes(context: &Context, command: &Command) -> bool {
    is_storage(&context.abstract_syntax) && command.sop_class_uid.as_deref().is_none_or(is_storage)
}
