//! Promises of how performed procedure steps are read and answered.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use sulcus_operators::prescan::{EXPLICIT_LE, IMPLICIT_LE};

use super::super::message::Limit;
use super::*;
use crate::dimse::command::N_SET_RQ;

/// One element, padded to even length.
fn element(syntax: &str, tag: Tag, vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
    let padding = value.len() % 2;
    let length = (value.len() + padding) as u32;
    let mut bytes = [tag.0.to_le_bytes(), tag.1.to_le_bytes()].concat();
    match (syntax == EXPLICIT_LE, vr) {
        (true, b"SQ") => bytes.extend([b"SQ\0\0", &length.to_le_bytes()[..]].concat()),
        (true, _) => bytes.extend([&vr[..], &(length as u16).to_le_bytes()].concat()),
        (false, _) => bytes.extend(length.to_le_bytes()),
    }
    bytes.extend(value);
    bytes.extend(&[0][..padding]);
    bytes
}

fn sequence(syntax: &str, tag: Tag, items: &[Vec<u8>]) -> Vec<u8> {
    let item = |item: &Vec<u8>| [&[0xfe, 0xff, 0x00, 0xe0], &(item.len() as u32).to_le_bytes()[..], item].concat();
    element(syntax, tag, b"SQ", &items.iter().map(item).collect::<Vec<_>>().concat())
}

/// A step in this state, of these studies, with these series and how many instances each.
fn step(syntax: &str, state: &str, studies: &[&str], series: &[(&str, usize)]) -> Vec<u8> {
    let uid = |tag, uid: &str| element(syntax, tag, b"UI", uid.as_bytes());
    let study = |study: &&str| uid(tags::STUDY_INSTANCE_UID, study);
    let images = |series: &str, count: usize| {
        let image = |number| uid(tags::REFERENCED_SOP_INSTANCE_UID, &format!("{series}.{number}"));
        sequence(syntax, tags::REFERENCED_IMAGE_SEQUENCE, &(1..=count).map(image).collect::<Vec<_>>())
    };
    let made =
        |(series, count): &(&str, usize)| [images(series, *count), uid(tags::SERIES_INSTANCE_UID, series)].concat();
    let mut bytes = Vec::new();
    if !state.is_empty() {
        bytes.extend(element(syntax, tags::PERFORMED_PROCEDURE_STEP_STATUS, b"CS", state.as_bytes()));
    }
    let studies: Vec<_> = studies.iter().map(study).collect();
    bytes.extend(sequence(syntax, tags::SCHEDULED_STEP_ATTRIBUTES_SEQUENCE, &studies));
    bytes.extend(sequence(syntax, tags::PERFORMED_SERIES_SEQUENCE, &series.iter().map(made).collect::<Vec<_>>()));
    bytes
}

fn create() -> Command {
    let (class, instance) = (Some(PERFORMED_STEP.to_owned()), Some("2.25.9".to_owned()));
    Command { field: N_CREATE_RQ, sop_class_uid: class, sop_instance_uid: instance, ..Command::default() }
}

fn set() -> Command {
    let (class, instance) = (Some(PERFORMED_STEP.to_owned()), Some("2.25.9".to_owned()));
    let command = Command { field: N_SET_RQ, requested_sop_class_uid: class, ..Command::default() };
    Command { requested_sop_instance_uid: instance, ..command }
}

#[test]
fn what_a_step_made_is_read_in_either_encoding() {
    for syntax in [EXPLICIT_LE, IMPLICIT_LE] {
        let begun = read_step(syntax, &step(syntax, "IN PROGRESS", &["1.2"], &[]), "2.25.9", true).unwrap();
        assert_eq!((begun.state, &begun.study_uids[..]), (Some(StepState::InProgress), &["1.2".to_owned()][..]));
        assert_eq!(begun.series, Some(BTreeMap::new()));
        // A series that is named twice has the instances of both.
        let series = [("1.2.3", 2), ("1.2.4", 1), ("1.2.3", 3)];
        let ended = read_step(syntax, &step(syntax, "DISCONTINUED", &[], &series), "2.25.9", false).unwrap();
        assert_eq!((ended.state, ended.step_uid.as_str()), (Some(StepState::Discontinued), "2.25.9"));
        let counts: Vec<_> = ended.series.iter().flatten().map(|(uid, made)| (uid.as_str(), made.len())).collect();
        assert_eq!(counts, [("1.2.3", 3), ("1.2.4", 1)]);
        let silent = element(syntax, tags::MODALITY, b"CS", b"MR");
        let silent = read_step(syntax, &silent, "2.25.9", false).unwrap();
        assert_eq!((silent.state, silent.series), (None, None));
    }
}

#[test]
fn what_is_no_step_is_refused_by_its_status_and_never_recorded() {
    let refused = |command: Command, bytes: Vec<u8>| {
        answer(&command, EXPLICIT_LE, &DataSet::of(bytes), &mut |_| panic!("nothing is recorded")).0
    };
    let of = |state: &str, studies: &[&str], series: &[(&str, usize)]| step(EXPLICIT_LE, state, studies, series);
    let good = || of("IN PROGRESS", &["1.2"], &[]);
    let other = Some("1.2.840.10008.5.1.4.1.1.4".to_owned());
    assert_eq!(refused(Command { sop_class_uid: other.clone(), ..create() }, good()), status::NO_SUCH_SOP_CLASS);
    assert_eq!(refused(Command { requested_sop_class_uid: other, ..set() }, good()), status::NO_SUCH_SOP_CLASS);
    assert_eq!(refused(Command { sop_instance_uid: None, ..create() }, good()), status::INVALID_ARGUMENT);
    for state in ["COMPLETED", "DISCONTINUED", "", "DONE"] {
        assert_eq!(refused(create(), of(state, &["1.2"], &[])), status::INVALID_ATTRIBUTE, "begun as {state}");
    }
    assert_eq!(refused(set(), of("DONE", &[], &[])), status::INVALID_ATTRIBUTE);
    assert_eq!(refused(create(), of("IN PROGRESS", &[], &[])), status::MISTYPED_ARGUMENT);
    assert_eq!(refused(set(), of("COMPLETED", &[], &[("one^two", 1)])), status::MISTYPED_ARGUMENT);
    assert_eq!(refused(set(), vec![8, 0, 0x60, 0, b'C', b'S', 200, 0]), status::MISTYPED_ARGUMENT);
    let absent = answer(&set(), EXPLICIT_LE, &DataSet::Absent, &mut |_| panic!("nothing is recorded"));
    assert_eq!(absent.0, status::MISTYPED_ARGUMENT);
    let long = DataSet::Forgotten(Some(Limit::Object));
    let long = answer(&set(), EXPLICIT_LE, &long, &mut |_| panic!("nothing is recorded"));
    assert_eq!(long.0, status::RESOURCE_LIMITATION);
}

#[test]
fn a_step_that_names_more_than_anybody_makes_is_refused() {
    let read = |studies: &[&str], series: &[(&str, usize)]| {
        read_step(EXPLICIT_LE, &step(EXPLICIT_LE, "COMPLETED", studies, series), "2.25.9", false)
    };
    assert_eq!(read(&[], &[("1.2", MAX_MADE)]).unwrap().series.unwrap()["1.2"].len(), MAX_MADE);
    assert_eq!(read(&[], &[("1.2", MAX_MADE), ("1.3", 1)]), Err(StepError::TooMany));
    let uids = |count: usize| (0..count).map(|number| format!("1.2.{number}")).collect::<Vec<_>>();
    let many = uids(MAX_SERIES + 1);
    assert_eq!(read(&[], &many.iter().map(|uid| (uid.as_str(), 0)).collect::<Vec<_>>()), Err(StepError::TooMany));
    let many = uids(MAX_STUDIES + 1);
    assert_eq!(read(&many.iter().map(String::as_str).collect::<Vec<_>>(), &[]), Err(StepError::TooMany));
}

#[test]
fn what_becomes_of_a_step_is_its_status() {
    let good = DataSet::of(step(EXPLICIT_LE, "COMPLETED", &[], &[("1.2.3", 2)]));
    for (stepped, expected) in [
        (Stepped::Recorded, 0x0000),
        (Stepped::Begun, 0x0111),
        (Stepped::Unknown, 0x0112),
        (Stepped::Ended, 0x0110),
        (Stepped::TooMany, 0x0213),
        (Stepped::Failed, 0x0110),
    ] {
        let (status, comment) = answer(&set(), EXPLICIT_LE, &good, &mut |_| stepped);
        assert_eq!(status, expected, "{stepped:?}");
        assert!(comment.is_none_or(|comment| comment.len() <= 64));
    }
}

proptest! {
    #[test]
    fn a_step_cut_or_changed_anywhere_never_panics(
        cut in 0usize..400, changes in prop::collection::vec((0usize..400, any::<u8>()), 0..6), explicit: bool, begins: bool,
    ) {
        let syntax = if explicit { EXPLICIT_LE } else { IMPLICIT_LE };
        let mut bytes = step(syntax, "IN PROGRESS", &["1.2"], &[("1.2.3", 3), ("1.2.4", 2)]);
        for (at, byte) in changes {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        bytes.truncate(cut);
        let _ = read_step(syntax, &bytes, "2.25.9", begins);
    }
}
