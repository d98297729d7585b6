//! Hand-made PDUs: the shapes of fragmentation that our own SCU does not produce.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use dicom_ul::pdu::{
    AssociationAC, AssociationRQ, Pdu, PresentationContextProposed, PresentationContextResult,
    PresentationContextResultReason, UserVariableItem, read_pdu, write_pdu,
};
use sulcus_connectors::dimse::command::{C_CANCEL_RQ, C_STORE_RQ, Command};
use sulcus_connectors::dimse::status;

use crate::{EXPLICIT, IMPLICIT, MR, Server};

/// A raw association: context 1 is MR in implicit or explicit (explicit first), context 3 Verification, 5 unknown.
pub struct Raw {
    pub stream: TcpStream,
    pub contexts: Vec<(u8, PresentationContextResultReason, String)>,
}

pub fn context(id: u8, abstract_syntax: &str, syntaxes: &[&str]) -> PresentationContextProposed {
    PresentationContextProposed {
        id,
        abstract_syntax: abstract_syntax.to_owned(),
        transfer_syntaxes: syntaxes.iter().map(|uid| (*uid).to_owned()).collect(),
    }
}

pub fn request(presentation_contexts: Vec<PresentationContextProposed>, max_length: u32) -> Pdu {
    Pdu::AssociationRQ(AssociationRQ {
        protocol_version: 1,
        calling_ae_title: "RAW".to_owned(),
        called_ae_title: "SULCUS".to_owned(),
        application_context_name: "1.2.840.10008.3.1.1.1".to_owned(),
        presentation_contexts,
        user_variables: vec![UserVariableItem::MaxLength(max_length)],
    })
}

/// The next PDU, or none at the end of the stream.
pub fn read(stream: &mut TcpStream) -> Option<Pdu> {
    let mut bytes = vec![0; 6];
    stream.read_exact(&mut bytes).ok()?;
    let length = u32::from_be_bytes([bytes[2], bytes[3], bytes[4], bytes[5]]) as usize;
    bytes.resize(6 + length, 0);
    stream.read_exact(&mut bytes[6..]).ok()?;
    read_pdu(bytes.as_slice(), 1 << 20, true).unwrap()
}

pub fn send(stream: &mut TcpStream, pdu: &Pdu) {
    let mut bytes = Vec::new();
    write_pdu(&mut bytes, pdu).unwrap();
    stream.write_all(&bytes).unwrap();
}

impl Raw {
    pub fn open(server: &Server, max_length: u32) -> Raw {
        let contexts = vec![
            context(1, MR, &[EXPLICIT, IMPLICIT]),
            context(3, "1.2.840.10008.1.1", &["1.2.840.10008.1.2\0"]),
            context(5, "1.2.3.4", &[EXPLICIT]),
            context(7, MR, &["1.2.840.10008.1.2.4.100"]),
            context(9, MR, &["1.2.840.10008.1.2.4.100", IMPLICIT]),
        ];
        Raw::ask(server, &request(contexts, max_length)).0
    }

    /// Opens an association by this request; also what the answer's user information says.
    pub fn ask(server: &Server, request: &Pdu) -> (Raw, Vec<UserVariableItem>) {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        send(&mut stream, request);
        let Some(Pdu::AssociationAC(answer)) = read(&mut stream) else { panic!("not accepted") };
        let contexts = answer.presentation_contexts.into_iter().map(|c| (c.id, c.reason, c.transfer_syntax)).collect();
        (Raw { stream, contexts }, answer.user_variables)
    }

    /// Sends PDVs (context, control, bytes), all in one PDU.
    pub fn pdvs(&mut self, pdvs: &[(u8, u8, &[u8])]) {
        let mut body = Vec::new();
        for (context, control, bytes) in pdvs {
            body.extend_from_slice(&(bytes.len() as u32 + 2).to_be_bytes());
            body.extend_from_slice(&[*context, *control]);
            body.extend_from_slice(bytes);
        }
        let mut pdu = vec![4, 0];
        pdu.extend_from_slice(&(body.len() as u32).to_be_bytes());
        pdu.extend_from_slice(&body);
        self.stream.write_all(&pdu).unwrap();
    }

    /// The next response, put together from its fragments.
    pub fn response(&mut self) -> Command {
        let mut bytes = Vec::new();
        loop {
            let Some(Pdu::PData { data }) = read(&mut self.stream) else { panic!("no response") };
            for value in data {
                bytes.extend_from_slice(&value.data);
                if value.is_last {
                    return Command::decode(&bytes).unwrap();
                }
            }
        }
    }
}

/// Sends a message, its data set in fragments that no limit on PDUs forbids.
pub fn say(raw: &mut Raw, context: u8, command: &Command, data_set: Option<&[u8]>) {
    let mut bytes = Vec::new();
    command.encode(&mut bytes);
    raw.pdvs(&[(context, 3, &bytes)]);
    if let Some(data_set) = data_set {
        let mut chunks = data_set.chunks(60_000).peekable();
        if chunks.peek().is_none() {
            raw.pdvs(&[(context, 2, b"")]);
        }
        while let Some(chunk) = chunks.next() {
            raw.pdvs(&[(context, if chunks.peek().is_none() { 2 } else { 0 }, chunk)]);
        }
    }
}

/// A peer that accepts what is proposed, takes one request with its data set, and then does as `script` says. Gives its
/// address.
pub fn answering(script: impl FnOnce(&mut Raw, Command, Vec<u8>) + Send + 'static) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let Some(Pdu::AssociationRQ(request)) = read(&mut stream) else { panic!("no request") };
        let accepted = |proposed: &PresentationContextProposed| PresentationContextResult {
            id: proposed.id,
            reason: PresentationContextResultReason::Acceptance,
            transfer_syntax: proposed.transfer_syntaxes[0].clone(),
        };
        send(
            &mut stream,
            &Pdu::AssociationAC(AssociationAC {
                protocol_version: 1,
                calling_ae_title: request.calling_ae_title.clone(),
                called_ae_title: request.called_ae_title.clone(),
                application_context_name: request.application_context_name.clone(),
                presentation_contexts: request.presentation_contexts.iter().map(accepted).collect(),
                user_variables: vec![UserVariableItem::MaxLength(0)],
            }),
        );
        let mut raw = Raw { stream, contexts: Vec::new() };
        let command = raw.response();
        let Some(Pdu::PData { data }) = read(&mut raw.stream) else { panic!("no data set") };
        script(&mut raw, command, data[0].data.clone());
    });
    (address, thread)
}

pub fn store_command(message_id: u16, class: &str, instance: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    Command {
        sop_class_uid: Some(class.to_owned()),
        field: C_STORE_RQ,
        message_id: Some(message_id),
        priority: Some(0),
        has_data_set: true,
        sop_instance_uid: Some(instance.to_owned()),
        ..Command::default()
    }
    .encode(&mut bytes);
    bytes
}

const COMMAND: u8 = 1;
const LAST_COMMAND: u8 = 3;
const DATA: u8 = 0;
const LAST_DATA: u8 = 2;

#[test]
fn each_context_is_answered_with_its_own_result() {
    let server = Server::start();
    let raw = Raw::open(&server, 0);
    use PresentationContextResultReason::*;
    let results: Vec<_> =
        raw.contexts.iter().map(|(id, reason, syntax)| (*id, reason.clone(), syntax.as_str())).collect();
    assert_eq!(results[0], (1, Acceptance, EXPLICIT));
    assert_eq!(results[1], (3, Acceptance, IMPLICIT));
    assert_eq!((results[2].0, &results[2].1), (5, &AbstractSyntaxNotSupported));
    assert_eq!((results[3].0, &results[3].1), (7, &TransferSyntaxesNotSupported));
    assert_eq!(results[4], (9, Acceptance, IMPLICIT));
}

#[test]
fn fragments_may_lie_in_any_pdu() {
    let server = Server::start();
    let mut raw = Raw::open(&server, 0);
    let (first, second) = (store_command(1, MR, "1.2.1"), store_command(2, MR, "1.2.2"));
    // The end of one message and the beginning of the next share a PDU; empty and one-byte fragments occur.
    raw.pdvs(&[(9, COMMAND, &first[..1]), (9, COMMAND, &first[1..30])]);
    raw.pdvs(&[(9, LAST_COMMAND, &first[30..]), (9, DATA, b"a"), (9, DATA, b""), (9, DATA, b"bc")]);
    raw.pdvs(&[(9, DATA, b"d")]);
    raw.pdvs(&[(9, LAST_DATA, b""), (1, LAST_COMMAND, &second), (1, LAST_DATA, b"ef")]);
    for id in [1, 2] {
        let response = raw.response();
        assert_eq!((response.responded_to, response.status), (Some(id), Some(status::SUCCESS)));
        assert_eq!(response.sop_instance_uid.as_deref(), Some(format!("1.2.{id}").as_str()));
        assert_eq!(response.sop_class_uid.as_deref(), Some(MR));
    }
    let objects = server.inbox.objects.lock().unwrap();
    let seen: Vec<_> = objects.iter().map(|o| (o.data_set.as_slice(), o.transfer_syntax.as_str())).collect();
    assert_eq!(seen, [(b"abcd".as_slice(), IMPLICIT), (b"ef".as_slice(), EXPLICIT)]);
}

#[test]
fn responses_are_cut_to_the_peers_maximum_length() {
    let server = Server::start();
    let mut raw = Raw::open(&server, 64);
    raw.pdvs(&[(1, LAST_COMMAND, &store_command(9, MR, "1.2.3")), (1, LAST_DATA, b"ab")]);
    let Some(Pdu::PData { data }) = read(&mut raw.stream) else { panic!("no response") };
    assert!(data.len() == 1 && data[0].data.len() <= 58 && !data[0].is_last);
}

#[test]
fn an_unknown_service_is_refused_and_the_association_goes_on() {
    let server = Server::start();
    let mut raw = Raw::open(&server, 0);
    let mut find = Vec::new();
    let command = Command { field: 0x0020, message_id: Some(4), has_data_set: true, ..Command::default() };
    command.encode(&mut find);
    raw.pdvs(&[(1, LAST_COMMAND, &find), (1, LAST_DATA, b"query")]);
    let response = raw.response();
    assert_eq!((response.field, response.status), (0x8020, Some(status::UNRECOGNIZED_OPERATION)));
    let mut cancel = Vec::new();
    Command { field: C_CANCEL_RQ, responded_to: Some(4), ..Command::default() }.encode(&mut cancel);
    raw.pdvs(&[(1, LAST_COMMAND, &cancel)]);
    raw.pdvs(&[(1, LAST_COMMAND, &store_command(5, MR, "1.2.3")), (1, LAST_DATA, b"ab")]);
    assert_eq!(raw.response().responded_to, Some(5));
}

#[test]
fn a_class_outside_the_accept_list_is_refused() {
    let server = Server::start();
    let mut raw = Raw::open(&server, 0);
    for (context, class) in [(1, "1.2.840.10008.5.1.4.1.1.77.1.5.1"), (3, MR)] {
        raw.pdvs(&[(context, LAST_COMMAND, &store_command(5, class, "1.2.3")), (context, LAST_DATA, b"ab")]);
        assert_eq!(raw.response().status, Some(status::SOP_CLASS_NOT_SUPPORTED), "{class} in context {context}");
    }
    assert!(server.inbox.objects.lock().unwrap().is_empty());
}

#[test]
fn a_store_without_a_data_set_cannot_be_understood() {
    let server = Server::start();
    let mut raw = Raw::open(&server, 0);
    let mut bytes = Vec::new();
    let command = Command { field: C_STORE_RQ, message_id: Some(1), ..Command::default() };
    command.encode(&mut bytes);
    raw.pdvs(&[(1, LAST_COMMAND, &bytes)]);
    assert_eq!(raw.response().status, Some(status::CANNOT_UNDERSTAND));
}
