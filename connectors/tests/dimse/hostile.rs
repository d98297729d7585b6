//! Peers that break the protocol, stall, or leave: they are ended, and the next one is served.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use dicom_ul::pdu::{AbortRQServiceProviderReason as Reason, AbortRQSource, Pdu};
use proptest::prelude::*;
use sulcus_connectors::dimse::scu::{self, Storer};

use crate::protocol::{Raw, context, read, request, send, store_command};
use crate::{EXPLICIT, MR, Server};

/// PDVs of one PDU: presentation context, message control header, bytes.
type Pdvs<'a> = &'a [(u8, u8, &'a [u8])];

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(&server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

fn still_serves(server: &Server) {
    scu::echo(&server.address, "MR7T", "SULCUS", Duration::from_secs(5)).unwrap();
}

fn aborted_with(stream: &mut TcpStream, reason: Reason) {
    assert_eq!(read(stream), Some(Pdu::AbortRQ { source: AbortRQSource::ServiceProvider(reason) }));
    assert_eq!(read(stream), None);
}

#[test]
fn garbage_on_the_port_is_aborted() {
    let server = Server::start();
    let openings: [(&[u8], Reason); 4] = [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", Reason::UnrecognizedPdu),
        (&[0xff; 4096], Reason::UnrecognizedPdu),
        (&[1, 0, 0xff, 0xff, 0xff, 0xff, 0, 1], Reason::InvalidPduParameter),
        (&[4, 0, 0, 0, 0, 6, 0, 0, 0, 2, 1, 3], Reason::UnexpectedPdu),
    ];
    for (bytes, reason) in openings {
        let mut stream = connect(&server);
        stream.write_all(bytes).unwrap();
        aborted_with(&mut stream, reason);
    }
    // An association request whose items reach past its end, and one that proposes a context twice.
    let mut stream = connect(&server);
    let mut broken = vec![1, 0, 0, 0, 0, 80];
    broken.extend_from_slice(&[0, 1, 0, 0]);
    broken.extend_from_slice(&[b' '; 64]);
    broken.extend_from_slice(&[0x10, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
    stream.write_all(&broken).unwrap();
    aborted_with(&mut stream, Reason::InvalidPduParameter);
    let mut stream = connect(&server);
    send(&mut stream, &request(vec![context(1, MR, &[EXPLICIT]), context(1, MR, &[EXPLICIT])], 0));
    aborted_with(&mut stream, Reason::InvalidPduParameter);
    still_serves(&server);
}

#[test]
fn a_broken_pdu_inside_an_association_is_aborted() {
    let server = Server::with(|options| options.max_pdu = 16_384);
    let store = store_command(1, MR, "1.2.3");
    let cases: [(Vec<u8>, Reason); 7] = [
        (vec![4, 0, 0xff, 0xff, 0xff, 0xff, 0, 0], Reason::InvalidPduParameter),
        (vec![4, 0, 0, 0, 0x40, 1, 0, 0], Reason::InvalidPduParameter),
        (vec![4, 0, 0, 0, 0, 0], Reason::InvalidPduParameter),
        (vec![4, 0, 0, 0, 0, 6, 0xff, 0xff, 0xff, 0xff, 1, 3], Reason::InvalidPduParameter),
        (vec![4, 0, 0, 0, 0, 6, 0, 0, 0, 1, 1, 3], Reason::InvalidPduParameter),
        (vec![9, 0, 0, 0, 0, 6, 0, 0, 0, 1, 1, 3], Reason::UnrecognizedPdu),
        (vec![6, 0, 0, 0, 0, 4, 0, 0, 0, 0], Reason::UnexpectedPdu),
    ];
    for (bytes, reason) in cases {
        let mut raw = Raw::open(&server, 0);
        raw.stream.write_all(&bytes).unwrap();
        aborted_with(&mut raw.stream, reason);
    }
    let messages: [(Pdvs<'_>, Reason); 6] = [
        (&[(1, 2, b"data first")], Reason::UnexpectedPdu),
        (&[(1, 3, b"no command")], Reason::InvalidPduParameter),
        (&[(1, 3, &store), (9, 2, b"other context")], Reason::UnexpectedPdu),
        (&[(1, 3, &store), (1, 3, &store)], Reason::UnexpectedPdu),
        (&[(5, 3, &store), (5, 2, b"refused context")], Reason::InvalidPduParameter),
        (&[(1, 1, &[0; 10_000]), (1, 1, &[0; 6_366])], Reason::InvalidPduParameter),
    ];
    for (pdvs, reason) in messages {
        let mut raw = Raw::open(&server, 0);
        raw.pdvs(pdvs);
        if reason == Reason::InvalidPduParameter && pdvs.len() == 2 && pdvs[0].0 == 1 {
            raw.pdvs(&[(1, 1, &[0; 100])]);
        }
        aborted_with(&mut raw.stream, reason);
    }
    assert!(server.ended(13).iter().all(|(_, series, orderly)| series.is_empty() && !orderly));
    still_serves(&server);
}

#[test]
fn a_connection_lost_inside_a_message_stores_nothing() {
    let server = Server::start();
    for abort in [true, false] {
        let mut raw = Raw::open(&server, 0);
        raw.pdvs(&[(1, 3, &store_command(1, MR, "1.2.1")), (1, 2, b"whole")]);
        raw.response();
        raw.pdvs(&[(1, 3, &store_command(2, MR, "1.2.2")), (1, 0, b"half")]);
        if abort {
            send(&mut raw.stream, &Pdu::AbortRQ { source: AbortRQSource::ServiceUser });
        } else {
            raw.stream.shutdown(Shutdown::Both).unwrap();
        }
    }
    for (_, series, orderly) in server.ended(2) {
        assert_eq!((series, orderly), (vec!["1.2.3".to_owned()], false));
    }
    assert_eq!(server.inbox.objects.lock().unwrap().len(), 2);
}

#[test]
fn who_says_nothing_is_disconnected() {
    let server = Server::with(|options| {
        options.negotiation_timeout = Duration::from_millis(300);
        options.idle_timeout = Duration::from_millis(300);
        options.silence_timeout = Duration::from_millis(300);
    });
    let started = Instant::now();
    let mut half_open = connect(&server);
    let mut idle = Raw::open(&server, 0);
    let mut stalled = Raw::open(&server, 0);
    stalled.pdvs(&[(1, 3, &store_command(1, MR, "1.2.3")), (1, 0, b"half")]);
    for stream in [&mut half_open, &mut idle.stream, &mut stalled.stream] {
        aborted_with(stream, Reason::ReasonNotSpecified);
    }
    assert!(started.elapsed() < Duration::from_secs(5));
    server.ended(2);
}

#[test]
fn who_drips_is_disconnected() {
    let server = Server::with(|options| {
        options.negotiation_timeout = Duration::from_millis(700);
        options.message_timeout = Duration::from_millis(700);
    });
    let drip = |stream: &mut TcpStream, bytes: &[u8]| {
        let started = Instant::now();
        // Each byte comes well inside the silence allowed; only the total can end this.
        for byte in bytes.iter().cycle() {
            if stream.write_all(&[*byte]).is_err() || started.elapsed() > Duration::from_secs(8) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        started.elapsed()
    };
    let mut slow = connect(&server);
    assert!(drip(&mut slow, &[1, 0, 0, 0, 0xff, 0xff, 0, 1]) < Duration::from_secs(5));
    let mut raw = Raw::open(&server, 0);
    raw.pdvs(&[(1, 3, &store_command(1, MR, "1.2.3"))]);
    let mut empty_fragments = vec![4, 0, 0, 0x01, 0x80, 0];
    empty_fragments.extend([0, 0, 0, 2, 1, 0].repeat(100));
    assert!(drip(&mut raw.stream, &empty_fragments) < Duration::from_secs(5));
    server.ended(1);
    still_serves(&server);
}

#[test]
fn a_crowd_of_half_open_connections_is_bounded_and_passes() {
    let server = Server::with(|options| {
        options.max_associations = 4;
        options.negotiation_timeout = Duration::from_millis(400);
    });
    let mut crowd: Vec<_> = (0..60).map(|_| connect(&server)).collect();
    std::thread::sleep(Duration::from_millis(100));
    assert!(server.open_associations() <= 4);
    for stream in &mut crowd {
        let _ = stream.read_to_end(&mut Vec::new());
    }
    drop(crowd);
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Err(error) = Storer::connect(&server.options()).and_then(Storer::release) {
        assert!(Instant::now() < deadline, "{error}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The bytes of a whole association: request, one object, release.
fn conversation() -> Vec<u8> {
    let mut bytes = Vec::new();
    dicom_ul::pdu::write_pdu(&mut bytes, &request(vec![context(1, MR, &[EXPLICIT])], 0)).unwrap();
    for (control, fragment) in [(3, store_command(1, MR, "1.2.3").as_slice()), (0, &[7; 100]), (2, &[8; 100])] {
        bytes.extend_from_slice(&[4, 0]);
        bytes.extend_from_slice(&(fragment.len() as u32 + 6).to_be_bytes());
        bytes.extend_from_slice(&(fragment.len() as u32 + 2).to_be_bytes());
        bytes.extend_from_slice(&[1, control]);
        bytes.extend_from_slice(fragment);
    }
    bytes.extend_from_slice(&[5, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
    bytes
}

#[test]
fn a_damaged_conversation_ends_and_harms_nobody() {
    let server = Server::with(|options| options.silence_timeout = Duration::from_secs(2));
    let whole = conversation();
    let changes = prop::collection::vec((0..whole.len(), any::<u8>()), 0..4);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(150));
    let outcome = runner.run(&(changes, 0..=whole.len()), |(changes, cut)| {
        let mut bytes = whole.clone();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        let mut stream = connect(&server);
        // The server may have ended the connection before it took everything.
        let _ = stream.write_all(&bytes[..cut]);
        let _ = stream.shutdown(Shutdown::Write);
        let ended = stream.read_to_end(&mut Vec::new());
        let timed_out = ended.is_err_and(|e| matches!(e.kind(), std::io::ErrorKind::WouldBlock));
        prop_assert!(!timed_out, "the connection was not ended");
        Ok(())
    });
    outcome.unwrap();
    still_serves(&server);
    let mut stream = connect(&server);
    stream.write_all(&whole).unwrap();
    let answers: Vec<_> = std::iter::from_fn(|| read(&mut stream)).collect();
    assert!(matches!(answers.as_slice(), [Pdu::AssociationAC(_), Pdu::PData { .. }, Pdu::ReleaseRP]), "{answers:?}");
}
