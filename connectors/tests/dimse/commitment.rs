//! Storage commitment on both sides: an archive that calls back, and one that reports over our own association; what is
//! hostile or wrong is bounded and answered by status.

use std::cell::RefCell;
use std::net::TcpStream;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dicom_ul::pdu::{Pdu, PresentationContextResultReason as Reason, RequestorRoles, UserVariableItem};
use proptest::prelude::*;
use sulcus_connectors::dimse::command::{Command, N_ACTION_RQ, N_EVENT_REPORT_RQ, RESPONSE};
use sulcus_connectors::dimse::commitment::{MAX_REPORT_BYTES, Reference, STORAGE_COMMITMENT};
use sulcus_connectors::dimse::commitment::{STORAGE_COMMITMENT_INSTANCE, read_report};
use sulcus_connectors::dimse::scu::{self, ScuError, StoreOptions, Storer};
use sulcus_connectors::dimse::sources::SourceRule;
use sulcus_connectors::dimse::{MAX_PDU, status};
use sulcus_connectors::inbox::{CommitmentReport, Reported};

use crate::protocol::{Raw, answering, context, read, request, say, send};
use crate::{EXPLICIT, IMPLICIT, MR, Server};

const VERIFICATION: &str = "1.2.840.10008.1.1";

/// The request of an archive that calls to report, in this role; MR is context 3, Verification 5.
fn calling(roles: Option<RequestorRoles>, syntaxes: &[&str]) -> Pdu {
    let contexts = vec![
        context(1, STORAGE_COMMITMENT, syntaxes),
        context(3, MR, &[EXPLICIT]),
        context(5, VERIFICATION, &[IMPLICIT]),
    ];
    let Pdu::AssociationRQ(mut request) = request(contexts, 0) else { panic!("no request") };
    let item = |roles| UserVariableItem::ScuScpRoleSelectionSubItem(STORAGE_COMMITMENT.to_owned(), roles);
    request.user_variables.extend(roles.map(item));
    Pdu::AssociationRQ(request)
}

const REPORTS: Option<RequestorRoles> = Some(RequestorRoles { scu: false, scp: true });

fn called_back(server: &Server) -> Raw {
    let (raw, variables) = Raw::ask(server, &calling(REPORTS, &[EXPLICIT, IMPLICIT]));
    assert_eq!(raw.contexts[0], (1, Reason::Acceptance, EXPLICIT.to_owned()));
    assert!(variables.contains(&UserVariableItem::ScuScpRoleSelectionSubItem(
        STORAGE_COMMITMENT.to_owned(),
        RequestorRoles { scu: false, scp: true }
    )));
    raw
}

fn element(number: u16, vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![8, 0];
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(vr);
    if vr == b"SQ" {
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
    } else {
        bytes.extend_from_slice(&(value.len() as u16).to_le_bytes());
    }
    bytes.extend_from_slice(value);
    bytes
}

fn uid(number: u16, text: &str) -> Vec<u8> {
    let mut value = text.as_bytes().to_vec();
    value.resize(value.len().next_multiple_of(2), 0);
    element(number, b"UI", &value)
}

/// A report in explicit VR: its transaction, what is committed, and what is not.
fn report(transaction: &str, committed: &[String], failed: &[(&str, u16)]) -> Vec<u8> {
    let item = |mut content: Vec<u8>, reason: Option<u16>| {
        content.extend(reason.map(|reason| element(0x1197, b"US", &reason.to_le_bytes())).unwrap_or_default());
        let mut item = vec![0xfe, 0xff, 0, 0xe0];
        item.extend_from_slice(&(content.len() as u32).to_le_bytes());
        item.extend_from_slice(&content);
        item
    };
    let object = |instance: &str| [uid(0x1150, MR), uid(0x1155, instance)].concat();
    let committed: Vec<u8> = committed.iter().flat_map(|instance| item(object(instance), None)).collect();
    let failed: Vec<u8> = failed.iter().flat_map(|(instance, reason)| item(object(instance), Some(*reason))).collect();
    let mut bytes = uid(0x1195, transaction);
    if !failed.is_empty() {
        bytes.extend(element(0x1198, b"SQ", &failed));
    }
    bytes.extend(element(0x1199, b"SQ", &committed));
    bytes
}

fn event(event_type: u16) -> Command {
    Command {
        sop_class_uid: Some(STORAGE_COMMITMENT.to_owned()),
        field: N_EVENT_REPORT_RQ,
        message_id: Some(1),
        has_data_set: true,
        sop_instance_uid: Some(STORAGE_COMMITMENT_INSTANCE.to_owned()),
        event_type: Some(event_type),
        ..Command::default()
    }
}

fn answer(raw: &mut Raw, command: &Command, data_set: &[u8]) -> Option<u16> {
    say(raw, 1, command, command.has_data_set.then_some(data_set));
    let response = raw.response();
    assert_eq!((response.field, response.responded_to), (N_EVENT_REPORT_RQ | RESPONSE, Some(1)));
    response.status
}

fn one(uid: &str) -> Vec<String> {
    vec![uid.to_owned()]
}

#[test]
fn an_archive_that_calls_back_in_its_role_is_heard() {
    let server = Server::start();
    let mut raw = called_back(&server);
    say(&mut raw, 1, &event(2), Some(&report("2.25.1", &one("1.2.3"), &[("1.2.4", 0x0112)])));
    let response = raw.response();
    assert_eq!(response.status, Some(status::SUCCESS));
    assert_eq!(response.event_type, Some(2));
    assert_eq!(response.sop_class_uid.as_deref(), Some(STORAGE_COMMITMENT));
    assert_eq!(response.sop_instance_uid.as_deref(), Some(STORAGE_COMMITMENT_INSTANCE));
    assert!(!response.has_data_set);
    let heard = CommitmentReport {
        transaction_uid: "2.25.1".to_owned(),
        committed: one("1.2.3"),
        failed: vec![("1.2.4".to_owned(), 0x0112)],
    };
    assert_eq!(*server.inbox.reports.lock().unwrap(), [heard]);
    assert!(server.inbox.objects.lock().unwrap().is_empty());
}

#[test]
fn who_calls_in_another_role_may_ask_and_not_report() {
    let server = Server::start();
    for roles in [None, Some(RequestorRoles { scu: true, scp: false })] {
        let (mut raw, variables) = Raw::ask(&server, &calling(roles, &[EXPLICIT]));
        assert_eq!((raw.contexts[0].0, &raw.contexts[0].1), (1, &Reason::Acceptance));
        assert!(!variables.iter().any(|item| matches!(item, UserVariableItem::ScuScpRoleSelectionSubItem(..))));
        for other in [1, 3, 5] {
            say(&mut raw, other, &event(1), Some(&report("2.25.1", &one("1.2.3"), &[])));
            assert_eq!(raw.response().status, Some(status::UNRECOGNIZED_OPERATION));
        }
    }
    let (raw, _) = Raw::ask(&server, &calling(REPORTS, &["1.2.840.10008.1.2.4.70"]));
    assert_eq!(raw.contexts[0].1, Reason::TransferSyntaxesNotSupported);
    // Who reports is promised nothing, and a source no more than its inbox says.
    let ask = Command {
        field: N_ACTION_RQ,
        message_id: Some(1),
        requested_sop_class_uid: Some(STORAGE_COMMITMENT.to_owned()),
        requested_sop_instance_uid: Some(STORAGE_COMMITMENT_INSTANCE.to_owned()),
        action_type: Some(1),
        has_data_set: true,
        ..Command::default()
    };
    let asked = report("2.25.1", &one("1.2.3"), &[]);
    let (mut raw, _) = Raw::ask(&server, &calling(None, &[EXPLICIT]));
    say(&mut raw, 1, &ask, Some(&asked));
    assert_eq!(raw.response().status, Some(status::PROCESSING_FAILURE));
    let mut raw = called_back(&server);
    say(&mut raw, 1, &ask, Some(&asked));
    assert_eq!(raw.response().status, Some(status::UNRECOGNIZED_OPERATION));
    assert!(server.inbox.reports.lock().unwrap().is_empty());
}

#[test]
fn a_hostile_report_is_answered_by_status_and_the_association_goes_on() {
    let server = Server::start();
    let mut raw = called_back(&server);
    let good = report("2.25.1", &one("1.2.3"), &[]);
    let cases = [
        (event(3), good.clone(), status::NO_SUCH_EVENT_TYPE),
        (Command { event_type: None, ..event(1) }, good.clone(), status::NO_SUCH_EVENT_TYPE),
        (Command { sop_class_uid: Some(MR.to_owned()), ..event(1) }, good.clone(), status::NO_SUCH_SOP_CLASS),
        (Command { sop_instance_uid: Some("1.2".to_owned()), ..event(1) }, good, status::NO_SUCH_SOP_INSTANCE),
        (Command { has_data_set: false, ..event(1) }, Vec::new(), status::MISTYPED_ARGUMENT),
        (event(1), Vec::new(), status::MISTYPED_ARGUMENT),
        (event(1), b"no data set at all".to_vec(), status::MISTYPED_ARGUMENT),
        (event(1), element(0x1199, b"SQ", &[]), status::MISTYPED_ARGUMENT),
        (event(1), report("2.25.1", &one("../../etc"), &[]), status::MISTYPED_ARGUMENT),
        (event(1), report(&"1".repeat(66), &[], &[]), status::MISTYPED_ARGUMENT),
        (event(1), report("2.25.901", &one("1.2.3"), &[]), status::INVALID_ARGUMENT),
        (event(2), report("2.25.902", &one("1.2.3"), &[]), status::RESOURCE_LIMITATION),
        (event(1), report("2.25.903", &one("1.2.3"), &[]), status::PROCESSING_FAILURE),
    ];
    for (command, data_set, expected) in cases {
        assert_eq!(answer(&mut raw, &command, &data_set), Some(expected), "{command:?}");
    }
    let many: Vec<String> = (0..100_000).map(|number| format!("1.2.3.{number}")).collect();
    let long = report("2.25.1", &many, &[]);
    assert!(long.len() as u64 > MAX_REPORT_BYTES);
    assert_eq!(answer(&mut raw, &event(1), &long), Some(status::RESOURCE_LIMITATION));
    let empty_items = element(0x1199, b"SQ", &[0xfe, 0xff, 0, 0xe0, 0, 0, 0, 0].repeat(100_000));
    let short = [uid(0x1195, "2.25.1"), empty_items].concat();
    assert!((short.len() as u64) < MAX_REPORT_BYTES);
    assert_eq!(answer(&mut raw, &event(1), &short), Some(status::RESOURCE_LIMITATION));
    let known = ["2.25.901", "2.25.902", "2.25.903"];
    let heard: Vec<_> = server.inbox.reports.lock().unwrap().iter().map(|r| r.transaction_uid.clone()).collect();
    assert_eq!(heard, known);
    assert_eq!(answer(&mut raw, &event(1), &report("2.25.2", &one("1.2.3"), &[])), Some(status::SUCCESS));
    say(&mut raw, 1, &event(1), Some(&report("2.25.905", &one("1.2.3"), &[])));
    assert!(matches!(read(&mut raw.stream), Some(Pdu::AbortRQ { .. })));
    scu::echo(&server.address, "MR7T", "SULCUS", Duration::from_secs(5)).unwrap();
}

#[test]
fn a_damaged_report_is_always_answered() {
    let server = Server::start();
    let raw = RefCell::new(called_back(&server));
    let whole = report("2.25.1", &one("1.2.3"), &[("1.2.4", 0x0110)]);
    let changes = prop::collection::vec((0..whole.len(), any::<u8>()), 1..5);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(300));
    let outcome = runner.run(&(changes, 0..=whole.len()), |(changes, cut)| {
        let mut bytes = whole.clone();
        changes.into_iter().for_each(|(at, byte)| bytes[at] = byte);
        let said = answer(&mut raw.borrow_mut(), &event(2), &bytes[..cut]);
        let read = read_report(EXPLICIT, &bytes[..cut]).is_ok();
        prop_assert!(!read || matches!(said, Some(0x0000 | 0x0110 | 0x0115 | 0x0213)), "{said:?}");
        prop_assert!(read || matches!(said, Some(0x0212 | 0x0213)), "{said:?}");
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn an_archive_that_is_no_source_may_report_and_nothing_else() {
    let rule = |name: &str| SourceRule { calling_ae_titles: one(name), ..SourceRule::catch_all(name) };
    let server = Server::with(|options| options.sources = vec![rule("MR7T")]);
    let mut stream = TcpStream::connect(&server.address).unwrap();
    send(&mut stream, &calling(REPORTS, &[EXPLICIT]));
    assert!(matches!(read(&mut stream), Some(Pdu::AssociationRJ(_))), "a stranger is not let in");
    let server = Server::with(|options| {
        options.sources = vec![rule("MR7T")];
        options.reporters = vec![rule("RAW")];
    });
    let (mut raw, _) = Raw::ask(&server, &calling(REPORTS, &[EXPLICIT]));
    let results: Vec<_> = raw.contexts.iter().map(|(id, reason, _)| (*id, reason.clone())).collect();
    let expected = [(1, Reason::Acceptance), (3, Reason::AbstractSyntaxNotSupported), (5, Reason::Acceptance)];
    assert_eq!(results, expected);
    assert_eq!(answer(&mut raw, &event(1), &report("2.25.1", &one("1.2.3"), &[])), Some(status::SUCCESS));
}

/// An archive that accepts what is proposed, takes the request for commitment, and then does as `script` says.
fn archive(script: impl FnOnce(&mut Raw, Command, Vec<u8>) + Send + 'static) -> (StoreOptions, JoinHandle<()>) {
    let (address, thread) = answering(script);
    let options = StoreOptions {
        address,
        calling_ae_title: "SULCUS".to_owned(),
        called_ae_title: "ARCHIVE".to_owned(),
        contexts: vec![(STORAGE_COMMITMENT.to_owned(), vec![EXPLICIT.to_owned()])],
        connect_timeout: Duration::from_secs(5),
        io_timeout: Duration::from_secs(5),
        max_pdu: MAX_PDU,
    };
    (options, thread)
}

const ASKED: [Reference<'static>; 1] = [Reference { sop_class_uid: MR, sop_instance_uid: "1.2.3" }];

fn taken(raw: &mut Raw, command: &Command) {
    say(raw, 1, &command.response(status::SUCCESS, None), None);
}

#[test]
fn a_report_over_our_association_is_answered_once_it_is_taken() {
    for before in [true, false] {
        let (options, thread) = archive(move |raw, command, data_set| {
            assert_eq!((command.field, command.action_type), (N_ACTION_RQ, Some(1)));
            assert_eq!(command.requested_sop_instance_uid.as_deref(), Some(STORAGE_COMMITMENT_INSTANCE));
            let asked = read_report(EXPLICIT, &data_set).unwrap();
            assert_eq!((asked.transaction_uid.as_str(), asked.committed), ("2.25.9", one("1.2.3")));
            if !before {
                taken(raw, &command);
            }
            assert_eq!(answer(raw, &event(1), &report("2.25.9", &one("1.2.3"), &[])), Some(status::SUCCESS));
            assert_eq!(answer(raw, &event(1), &report("2.25.9", &one("1.2.3"), &[])), Some(status::PROCESSING_FAILURE));
            if before {
                taken(raw, &command);
            }
            let Some(Pdu::ReleaseRQ) = read(&mut raw.stream) else { panic!("no release") };
            send(&mut raw.stream, &Pdu::ReleaseRP);
        });
        let mut storer = Storer::connect(&options).unwrap();
        assert!(storer.offers_commitment());
        let mut heard = Vec::new();
        let mut take = |report: CommitmentReport| {
            heard.push(report);
            if heard.len() == 1 { Reported::Recorded } else { Reported::Failed }
        };
        assert_eq!(storer.ask_commitment("2.25.9", &ASKED, &mut take).unwrap(), 0);
        let begun = Instant::now();
        while !before && storer.hear(Duration::from_millis(300), &mut take).unwrap() {}
        assert!(begun.elapsed() < Duration::from_secs(3), "silence ends by itself");
        assert_eq!((heard.len(), heard[0].committed.clone()), (2, one("1.2.3")));
        storer.release().unwrap();
        thread.join().unwrap();
    }
}

#[test]
fn an_archive_that_floods_or_breaks_off_is_given_up() {
    // A hundred thousand objects: refused by status, and the request is still answered.
    let (options, thread) = archive(|raw, command, _| {
        let many: Vec<String> = (0..100_000).map(|number| format!("1.2.3.{number}")).collect();
        assert_eq!(answer(raw, &event(1), &report("2.25.9", &many, &[])), Some(status::RESOURCE_LIMITATION));
        say(raw, 1, &command.response(0x0110, None), None);
    });
    let mut storer = Storer::connect(&options).unwrap();
    let mut unheard = |_| panic!("nothing that can be taken was sent");
    assert_eq!(storer.ask_commitment("2.25.9", &ASKED, &mut unheard).unwrap(), 0x0110);
    thread.join().unwrap();
    // Reports without end, and no answer.
    let (options, thread) = archive(|raw, _, _| {
        let report = report("2.25.8", &one("1.2.3"), &[]);
        for _ in 0..16 {
            assert_eq!(answer(raw, &event(1), &report), Some(status::INVALID_ARGUMENT));
        }
        assert!(matches!(read(&mut raw.stream), Some(Pdu::AbortRQ { .. })));
    });
    let mut storer = Storer::connect(&options).unwrap();
    let refused = storer.ask_commitment("2.25.9", &ASKED, &mut |_| Reported::Unknown).unwrap_err();
    assert!(matches!(refused, ScuError::Wire(_)), "{refused}");
    thread.join().unwrap();
    // Something else than a report, a connection that ends.
    for foreign in [true, false] {
        let (options, thread) = archive(move |raw, command, _| {
            taken(raw, &command);
            if foreign {
                say(raw, 1, &Command { field: 0x0030, ..event(1) }, Some(b"12"));
            }
        });
        let mut storer = Storer::connect(&options).unwrap();
        let mut unheard = |_| panic!("nothing was sent");
        assert_eq!(storer.ask_commitment("2.25.9", &ASKED, &mut unheard).unwrap(), 0);
        assert!(storer.hear(Duration::from_secs(5), &mut unheard).is_err());
        thread.join().unwrap();
    }
    // One that does not offer it is known before it is asked.
    let server = Server::start();
    let mut storer = Storer::connect(&server.options()).unwrap();
    assert!(!storer.offers_commitment());
    let refused = storer.ask_commitment("2.25.9", &ASKED, &mut |_| Reported::Unknown).unwrap_err();
    assert!(matches!(refused, ScuError::ContextRefused { .. }), "{refused}");
}
