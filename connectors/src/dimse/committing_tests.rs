//! Promises of how requests for storage commitment are read and answered.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use sulcus_operators::prescan::{EXPLICIT_LE, IMPLICIT_LE};

use super::super::message::Limit;
use super::*;
use crate::dimse::commitment::{Reference, read_report, request};

const MR: &str = "1.2.840.10008.5.1.4.1.1.4";

fn asked(syntax: &str, uids: &[String]) -> Vec<u8> {
    let objects: Vec<_> = uids.iter().map(|uid| Reference { sop_class_uid: MR, sop_instance_uid: uid }).collect();
    request(syntax, "2.25.7", &objects)
}

fn many(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("1.2.{number}")).collect()
}

fn action() -> Command {
    Command {
        requested_sop_class_uid: Some(STORAGE_COMMITMENT.to_owned()),
        requested_sop_instance_uid: Some(STORAGE_COMMITMENT_INSTANCE.to_owned()),
        action_type: Some(REQUEST),
        ..Command::default()
    }
}

#[test]
fn what_is_kept_and_what_is_not_is_reported_in_either_encoding() {
    for syntax in [EXPLICIT_LE, IMPLICIT_LE] {
        let data_set = DataSet::of(asked(syntax, &many(3)));
        let mut take = |request: &CommitmentRequest| {
            assert_eq!(request.listed.len(), 3);
            Asked::Recorded(vec![Kept::Safe, Kept::Not(0x0112), Kept::Safe])
        };
        let (status, _, reported) = answer(&action(), syntax, &data_set, &mut take);
        let (command, bytes) = reported.unwrap();
        assert_eq!((status, command.event_type), (status::SUCCESS, Some(FAILURES_EXIST)));
        let report = read_report(syntax, &bytes).unwrap();
        assert_eq!(report.transaction_uid, "2.25.7");
        assert_eq!(report.committed, ["1.2.0", "1.2.2"]);
        assert_eq!(report.failed, [("1.2.1".to_owned(), 0x0112)]);
        let (_, _, all) = answer(&action(), syntax, &data_set, &mut |_| Asked::Recorded(vec![Kept::Safe; 3]));
        assert_eq!(all.unwrap().0.event_type, Some(ALL_COMMITTED));
    }
}

#[test]
fn what_is_no_request_is_refused_by_its_status_and_never_recorded() {
    let refused = |command: Command, data_set: &DataSet| {
        let (status, _, reported) = answer(&command, EXPLICIT_LE, data_set, &mut |_| panic!("nothing is recorded"));
        assert!(reported.is_none());
        status
    };
    let held = |uids: &[String]| DataSet::of(asked(EXPLICIT_LE, uids));
    let good = held(&many(1));
    let other = Some("1.2.840.10008.5.1.4.1.1.4".to_owned());
    assert_eq!(refused(Command { requested_sop_class_uid: other.clone(), ..action() }, &good), 0x0118);
    assert_eq!(refused(Command { requested_sop_instance_uid: other, ..action() }, &good), 0x0112);
    assert_eq!(refused(Command { action_type: Some(2), ..action() }, &good), 0x0123);
    assert_eq!(refused(action(), &held(&[])), 0x0115);
    assert_eq!(refused(action(), &held(&["name^of".to_owned()])), 0x0212);
    assert_eq!(refused(action(), &held(&many(MAX_LISTED + 1))), 0x0213);
    assert_eq!(refused(action(), &held(&many(100_000))), 0x0213);
    assert_eq!(refused(action(), &DataSet::Absent), 0x0212);
    assert_eq!(refused(action(), &DataSet::Forgotten(Some(Limit::Object))), 0x0213);
    let mut cut = asked(EXPLICIT_LE, &many(2));
    cut.truncate(40);
    assert_eq!(refused(action(), &DataSet::of(cut)), 0x0212);
}

#[test]
fn an_object_that_is_named_twice_is_named_once() {
    let twice = ["1.2.3".to_owned(), "1.2.4".to_owned(), "1.2.3".to_owned()];
    let request = read_request(EXPLICIT_LE, &asked(EXPLICIT_LE, &twice)).unwrap();
    assert_eq!(request.listed, [(MR.to_owned(), "1.2.3".to_owned()), (MR.to_owned(), "1.2.4".to_owned())]);
    assert_eq!(read_request(EXPLICIT_LE, &asked(EXPLICIT_LE, &many(MAX_LISTED))).unwrap().listed.len(), MAX_LISTED);
}

proptest! {
    #[test]
    fn a_request_cut_or_changed_anywhere_never_panics(
        cut in 0usize..300, changes in prop::collection::vec((0usize..300, any::<u8>()), 0..6), explicit: bool,
    ) {
        let syntax = if explicit { EXPLICIT_LE } else { IMPLICIT_LE };
        let mut bytes = asked(syntax, &many(3));
        for (at, byte) in changes {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        bytes.truncate(cut);
        let _ = read_request(syntax, &bytes);
    }
}
