//! Storage and Verification SCU: sends objects, asks for an echo.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use dicom_dictionary_std::uids::IMPLICIT_VR_LITTLE_ENDIAN;
use dicom_ul::pdu::{AbortRQServiceProviderReason, AbortRQSource, Pdu};
use thiserror::Error;

use super::accept::VERIFICATION;
pub use super::asking::TakeReport;
use super::association::{self, Context, MAX_CONTEXTS};
use super::command::{C_ECHO_RQ, C_STORE_RQ, Command, RESPONSE};
use super::commitment::MAX_REPORT_BYTES;
use super::message::{Budget, Limits, MAX_PDU, Messages, PDU_CEILING, PDU_FLOOR, Received};
use super::status;
use super::wire::{Patience, Wire, WireError};

/// Why sending failed.
#[derive(Debug, Error)]
pub enum ScuError {
    /// The address could not be resolved or connected to.
    #[error("cannot connect to {address}, check the address and that the peer is running")]
    Connect {
        /// `host:port`.
        address: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// An AE title that cannot be sent.
    #[error("'{0}' is no AE title, use 1 to 16 ASCII characters without backslash")]
    AeTitle(String),
    /// More presentation contexts than one association has.
    #[error(
        "{0} presentation contexts do not fit into one association, send at most 128 pairs of SOP class and transfer syntax at once"
    )]
    TooManyContexts(usize),
    /// A-ASSOCIATE-RJ.
    #[error("the peer rejected the association: {reason}{}", if *.transient { ", try again later" } else { ", check the AE titles on both sides" })]
    Rejected {
        /// The peer's reason.
        reason: String,
        /// Whether trying again may help.
        transient: bool,
    },
    /// A-ABORT.
    #[error("the peer aborted the association, see its log")]
    Aborted,
    /// No accepted presentation context fits the object.
    #[error(
        "the peer does not take SOP class {sop_class_uid} in transfer syntax {transfer_syntax}, allow it there or send another encoding"
    )]
    ContextRefused {
        /// SOP Class UID.
        sop_class_uid: String,
        /// Transfer Syntax UID.
        transfer_syntax: String,
    },
    /// A C-ECHO that was not answered with success.
    #[error("the peer answered the echo with status {status:#06x}, see its log")]
    EchoRefused {
        /// Status (0000,0900).
        status: u16,
    },
    /// The connection failed.
    #[error(transparent)]
    Wire(#[from] WireError),
}

impl ScuError {
    /// Whether the same attempt may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            ScuError::Connect { .. } | ScuError::Aborted | ScuError::Wire(_) => true,
            ScuError::Rejected { transient, .. } => *transient,
            ScuError::EchoRefused { .. }
            | ScuError::AeTitle(_)
            | ScuError::TooManyContexts(_)
            | ScuError::ContextRefused { .. } => false,
        }
    }
}

/// Where and how to store.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// `host:port` of the peer.
    pub address: String,
    /// Our AE title.
    pub calling_ae_title: String,
    /// The peer's AE title.
    pub called_ae_title: String,
    /// SOP Class UIDs to be sent, each with the transfer syntaxes its objects are in.
    pub contexts: Vec<(String, Vec<String>)>,
    /// For the TCP connection and for the answer to the association request, each.
    pub connect_timeout: Duration,
    /// For the peer to take a whole object, and again to answer.
    pub io_timeout: Duration,
    /// Longest P-DATA PDU to send and receive, in bytes; usually [`MAX_PDU`].
    pub max_pdu: u32,
}

/// An association over which objects are stored. Dropped without [`Storer::release`], the connection just closes.
pub struct Storer {
    pub(super) messages: Messages,
    pub(super) contexts: Vec<Context>,
    next_message_id: u16,
}

impl Storer {
    /// Opens an association with one presentation context for each pair of SOP class and transfer syntax, so that what the
    /// peer accepts is the object's own encoding. Fails if the peer takes none of them.
    pub fn connect(options: &StoreOptions) -> Result<Storer, ScuError> {
        let proposals: Vec<(String, String)> = options
            .contexts
            .iter()
            .flat_map(|(class, syntaxes)| syntaxes.iter().map(|syntax| (class.clone(), syntax.clone())))
            .collect();
        let timeout = options.connect_timeout;
        for title in [&options.calling_ae_title, &options.called_ae_title] {
            if title.trim().is_empty() || title.len() > 16 || !title.bytes().all(is_ae_byte) {
                return Err(ScuError::AeTitle(title.clone()));
            }
        }
        if proposals.len() > MAX_CONTEXTS {
            return Err(ScuError::TooManyContexts(proposals.len()));
        }
        let stream = connect(&options.address, timeout)?;
        let connect_error = |source| ScuError::Connect { address: options.address.clone(), source };
        let mut wire = Wire::new(stream, Patience { silence: timeout, total: timeout }, None).map_err(connect_error)?;
        let (calling, called) = (&options.calling_ae_title, &options.called_ae_title);
        let max_pdu = options.max_pdu.clamp(PDU_FLOOR, PDU_CEILING);
        let (contexts, peer_max_pdu) = association::request(&mut wire, calling, called, &proposals, max_pdu)?;
        let patience = Patience { silence: options.io_timeout, total: options.io_timeout };
        // The only data sets that come back are reports of storage commitment, and answers to queries, which are shorter.
        let (max_object_bytes, budget) = (MAX_REPORT_BYTES, Budget::new(MAX_REPORT_BYTES));
        let limits = Limits { max_pdu, max_object_bytes, budget, idle: patience, message: patience };
        let nothing_accepted = contexts.is_empty();
        let storer = Storer { messages: Messages::new(wire, limits, peer_max_pdu), contexts, next_message_id: 1 };
        match proposals.into_iter().next() {
            Some((sop_class_uid, transfer_syntax)) if nothing_accepted => {
                storer.release()?;
                Err(ScuError::ContextRefused { sop_class_uid, transfer_syntax })
            }
            _ => Ok(storer),
        }
    }

    /// Whether the peer takes objects of this class in this transfer syntax.
    pub fn accepts(&self, sop_class_uid: &str, transfer_syntax: &str) -> bool {
        self.context(sop_class_uid, transfer_syntax).is_some()
    }

    /// Sends one object (its data set, without group 0002) and returns the status of the response: 0x0000 success,
    /// 0xBxxx warning, all others failures.
    pub fn store(
        &mut self,
        sop_class_uid: &str,
        sop_instance_uid: &str,
        transfer_syntax: &str,
        data_set: &[u8],
    ) -> Result<u16, ScuError> {
        let context = self.context(sop_class_uid, transfer_syntax).ok_or_else(|| ScuError::ContextRefused {
            sop_class_uid: sop_class_uid.to_owned(),
            transfer_syntax: transfer_syntax.to_owned(),
        })?;
        let command = Command {
            sop_class_uid: Some(sop_class_uid.to_owned()),
            field: C_STORE_RQ,
            priority: Some(0),
            has_data_set: true,
            sop_instance_uid: Some(sop_instance_uid.to_owned()),
            ..Command::default()
        };
        self.exchange(context, command, Some(data_set))
    }

    pub(super) fn next_message_id(&mut self) -> u16 {
        let message_id = self.next_message_id;
        self.next_message_id = self.next_message_id.wrapping_add(1);
        message_id
    }

    /// Sends a request and waits for its status.
    fn exchange(&mut self, context: u8, mut command: Command, data_set: Option<&[u8]>) -> Result<u16, ScuError> {
        let message_id = self.next_message_id();
        command.message_id = Some(message_id);
        let expected = command.field | RESPONSE;
        let result = self.messages.send(context, &command, data_set).and_then(|()| self.messages.receive(&|_, _| 0));
        match result {
            Ok(Received::Message { command, .. })
                if command.field == expected && command.responded_to == Some(message_id) =>
            {
                command.status.ok_or_else(|| self.give_up(WireError::invalid("a response carries no status")))
            }
            Ok(Received::Aborted) => Err(ScuError::Aborted),
            Ok(_) => Err(self.give_up(WireError::unexpected("the answer is not the response to our request"))),
            // A peer that aborts may close before we have written all: what it said is more than a broken pipe.
            Err(error @ WireError::Lost(_)) => match self.messages.receive(&|_, _| 0) {
                Ok(Received::Aborted) => Err(ScuError::Aborted),
                _ => Err(error.into()),
            },
            Err(error) => Err(self.give_up(error)),
        }
    }

    /// Aborts the association, since after `error` nothing is known about the stream.
    pub(super) fn give_up(&mut self, error: WireError) -> ScuError {
        self.messages.wire.abort(match &error {
            WireError::Protocol { reason, .. } => AbortRQSource::ServiceProvider(reason.clone()),
            _ => AbortRQSource::ServiceProvider(AbortRQServiceProviderReason::ReasonNotSpecified),
        });
        error.into()
    }

    /// Ends the association in order.
    pub fn release(mut self) -> Result<(), ScuError> {
        self.messages.wire.send_pdu(&Pdu::ReleaseRQ)?;
        match self.messages.receive(&|_, _| 0)? {
            Received::Released => {
                self.messages.wire.close();
                Ok(())
            }
            Received::Aborted => Err(ScuError::Aborted),
            _ => Err(self.give_up(WireError::unexpected("the answer to our release is none"))),
        }
    }

    fn context(&self, sop_class_uid: &str, transfer_syntax: &str) -> Option<u8> {
        let mut contexts = self.contexts.iter();
        contexts
            .find(|context| context.abstract_syntax == sop_class_uid && context.transfer_syntax == transfer_syntax)
            .map(|context| context.id)
    }
}

/// C-ECHO in an association of its own: returns the time from the request to its answer.
pub fn echo(
    address: &str,
    calling_ae_title: &str,
    called_ae_title: &str,
    timeout: Duration,
) -> Result<Duration, ScuError> {
    let mut storer = Storer::connect(&StoreOptions {
        address: address.to_owned(),
        calling_ae_title: calling_ae_title.to_owned(),
        called_ae_title: called_ae_title.to_owned(),
        contexts: vec![(VERIFICATION.to_owned(), vec![IMPLICIT_VR_LITTLE_ENDIAN.to_owned()])],
        connect_timeout: timeout,
        io_timeout: timeout,
        max_pdu: MAX_PDU,
    })?;
    let refused = || ScuError::ContextRefused {
        sop_class_uid: VERIFICATION.to_owned(),
        transfer_syntax: IMPLICIT_VR_LITTLE_ENDIAN.to_owned(),
    };
    let context = storer.context(VERIFICATION, IMPLICIT_VR_LITTLE_ENDIAN).ok_or_else(refused)?;
    let command = Command { sop_class_uid: Some(VERIFICATION.to_owned()), field: C_ECHO_RQ, ..Command::default() };
    let started = Instant::now();
    let status = storer.exchange(context, command, None)?;
    let elapsed = started.elapsed();
    storer.release()?;
    if status == status::SUCCESS { Ok(elapsed) } else { Err(ScuError::EchoRefused { status }) }
}

fn is_ae_byte(byte: u8) -> bool {
    (byte.is_ascii_graphic() || byte == b' ') && byte != b'\\'
}

fn connect(address: &str, timeout: Duration) -> Result<TcpStream, ScuError> {
    let error = |source| ScuError::Connect { address: address.to_owned(), source };
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for socket in address.to_socket_addrs().map_err(error)? {
        match TcpStream::connect_timeout(&socket, timeout.max(Duration::from_millis(1))) {
            Ok(stream) => return Ok(stream),
            Err(source) => last = source,
        }
    }
    Err(error(last))
}
