//! An archive that is asked how many instances a series has, and what is hostile or wrong in what it answers.

use std::time::{Duration, Instant};

use sulcus_connectors::dimse::command::{C_FIND_RQ, Command};
use sulcus_connectors::dimse::find::{Archive, FindError};
use sulcus_connectors::dimse::scu::ScuError;

use crate::protocol::{Raw, answering, say};

const PENDING: u16 = 0xFF00;

fn element(group: u16, number: u16, vr: &[u8; 2], value: &str) -> Vec<u8> {
    let mut value = value.as_bytes().to_vec();
    value.resize(value.len().next_multiple_of(2), if vr == b"UI" { 0 } else { b' ' });
    let length = (value.len() as u16).to_le_bytes();
    [&group.to_le_bytes()[..], &number.to_le_bytes(), vr, &length, &value].concat()
}

/// An answer on a series: how many instances it has, as the archive writes it.
fn series(uid: &str, count: &str) -> Vec<u8> {
    let counted = if count.is_empty() { Vec::new() } else { element(0x0020, 0x1209, b"IS", count) };
    [element(0x0008, 0x0052, b"CS", "SERIES"), element(0x0020, 0x000e, b"UI", uid), counted].concat()
}

fn pending(raw: &mut Raw, command: &Command, identifier: &[u8]) {
    let response = Command { has_data_set: true, ..command.response(PENDING, None) };
    say(raw, 1, &response, Some(identifier));
}

/// What is made of an archive that does as `script` says.
fn counted(script: impl FnOnce(&mut Raw, Command, Vec<u8>) + Send + 'static) -> Result<u32, FindError> {
    let (address, thread) = answering(script);
    let (calling_ae_title, called_ae_title) = ("SULCUS".to_owned(), "ARCHIVE".to_owned());
    let archive = Archive { address, calling_ae_title, called_ae_title, timeout: Duration::from_secs(2) };
    let counted = archive.count("1.2", "1.2.3");
    thread.join().unwrap();
    counted
}

/// What is made of these answers.
fn answered(answers: Vec<Vec<u8>>) -> Result<u32, FindError> {
    counted(move |raw, command, _| {
        answers.iter().for_each(|identifier| pending(raw, &command, identifier));
        say(raw, 1, &command.response(0, None), None);
    })
}

#[test]
fn the_question_is_of_one_series_and_the_number_in_its_answer_counts() {
    let count = counted(|raw, command, identifier| {
        assert_eq!((command.field, command.has_data_set), (C_FIND_RQ, true));
        let keys = [
            element(0x0008, 0x0052, b"CS", "SERIES"),
            element(0x0020, 0x000d, b"UI", "1.2"),
            element(0x0020, 0x000e, b"UI", "1.2.3"),
            element(0x0020, 0x1209, b"IS", ""),
        ];
        assert_eq!(identifier, keys.concat());
        pending(raw, &command, &series("1.2.3", "192"));
        say(raw, 1, &command.response(0, None), None);
    });
    assert_eq!(count.unwrap(), 192);
    assert_eq!(answered(Vec::new()).unwrap(), 0, "it knows no such series");
}

#[test]
fn an_answer_that_cannot_be_read_or_is_of_another_series_counts_for_nothing() {
    let cut = series("1.2.3", "192")[..20].to_vec();
    for answer in [cut, series("1.2.4", "192"), Vec::new(), vec![0xff; 300]] {
        assert_eq!(answered(vec![answer]).unwrap(), 0);
    }
    let huge = [series("1.2.3", "192"), vec![0; 1 << 17]].concat();
    assert_eq!(answered(vec![huge]).unwrap(), 0, "longer than any answer is held");
}

#[test]
fn an_archive_that_refuses_or_hangs_up_or_says_nothing_is_an_error_soon() {
    let refused = counted(|raw, command, _| say(raw, 1, &command.response(0xA700, None), None));
    assert!(matches!(refused, Err(FindError::Refused { status: 0xA700 })), "{refused:?}");
    let gone = counted(|_, _, _| {});
    assert!(matches!(gone, Err(FindError::Scu(ScuError::Wire(_)))), "{gone:?}");
    let begun = Instant::now();
    let mute = counted(|_, _, _| std::thread::sleep(Duration::from_secs(3)));
    assert!(matches!(mute, Err(FindError::Scu(ScuError::Wire(_)))), "{mute:?}");
    assert!(begun.elapsed() < Duration::from_secs(8));
    let other = counted(|raw, command, _| {
        say(raw, 1, &Command { responded_to: Some(99), ..command.response(0, None) }, None);
    });
    assert!(matches!(other, Err(FindError::Scu(ScuError::Wire(_)))), "{other:?}");
}

#[test]
fn an_archive_that_answers_without_end_is_left() {
    let endless = counted(|raw, command, _| {
        let answer = series("1.2.4", "");
        // It ends with the connection, which the other side closes: what is written then fails.
        let _ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            (0..70_000).for_each(|_| pending(raw, &command, &answer));
        }));
    });
    assert!(matches!(endless, Err(FindError::TooMany)), "{endless:?}");
}
