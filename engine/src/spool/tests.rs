//! The promises of the spool: what is appended is read back, and torn or hostile segments harm nobody.
#![allow(clippy::unwrap_used)]
use std::os::unix::fs::FileExt;

use proptest::prelude::*;

use super::{read::*, record::*, *};
use crate::testing::facts;

const SEGMENT: u64 = 64 << 10;

fn label(number: u32, data_set: &[u8]) -> Label {
    Label::Received { source: "test".into(), facts: facts(1, number, data_set).into(), standing: Standing::Fresh }
}

fn append(spool: &mut Spool, sets: &[Vec<u8>]) -> Vec<(SpoolPlace, Position)> {
    let labels: Vec<Label> = sets.iter().zip(1..).map(|(set, number)| label(number, set)).collect();
    let records: Vec<Record<'_>> = labels
        .iter()
        .zip(sets)
        .map(|(label, data_set)| Record { label, data_set, digest: Digest::of(data_set) })
        .collect();
    spool.append(&records).unwrap()
}

fn found(folder: &Path, from: Position) -> Vec<Found> {
    let mut all = Vec::new();
    scan(folder, from, |found| {
        all.push(found);
        Ok::<(), ReadError>(())
    })
    .unwrap();
    all
}

#[test]
fn what_was_appended_is_read_back_and_found_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path(), SEGMENT, Position::default()).unwrap();
    let sets: Vec<Vec<u8>> = (0..40u8).map(|n| vec![n; usize::from(n) * 331]).collect();
    let mut places = Vec::new();
    for batch in sets.chunks(3) {
        places.extend(append(&mut spool, batch));
    }
    assert!(segments(folder.path()).unwrap().len() > 3, "the records fill several segments");
    let mut reader = SpoolReader::new(folder.path());
    for (set, (place, _)) in sets.iter().zip(&places) {
        assert_eq!(&reader.data_set(place).unwrap().1, set);
    }
    let all = found(folder.path(), Position::default());
    assert_eq!(all.iter().map(|found| (found.place, found.end)).collect::<Vec<_>>(), places);
    let later = found(folder.path(), places[24].1);
    assert_eq!(later.len(), 15, "a scan begins behind the position it is given");
}

#[test]
fn a_record_longer_than_a_segment_gets_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path(), SEGMENT, Position::default()).unwrap();
    let set = vec![7; 3 * SEGMENT as usize];
    let place = append(&mut spool, std::slice::from_ref(&set))[0].0;
    assert_eq!(SpoolReader::new(folder.path()).data_set(&place).unwrap().1, set);
}

#[test]
fn a_new_life_never_writes_into_an_old_segment() {
    let folder = tempfile::tempdir().unwrap();
    let first = append(&mut Spool::open(folder.path(), SEGMENT, Position::default()).unwrap(), &[vec![1; 100]]);
    let second = append(&mut Spool::open(folder.path(), SEGMENT, first[0].1).unwrap(), &[vec![2; 100]]);
    assert_eq!((first[0].0.segment, second[0].0.segment), (1, 2));
    // Where the ledger knows more segments than there are, their numbers are not given again.
    let known = Position { segment: 9, offset: 4096 };
    let third = append(&mut Spool::open(folder.path(), SEGMENT, known).unwrap(), &[vec![3; 100]]);
    assert_eq!(third[0].0.segment, 10);
}

#[test]
fn a_place_that_names_no_record_is_damaged_not_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    append(&mut Spool::open(folder.path(), SEGMENT, Position::default()).unwrap(), &[vec![1; 100]]);
    let mut reader = SpoolReader::new(folder.path());
    for (segment, offset, length) in [(1, 1, 100), (1, 0, 99), (1, u64::MAX, 100), (2, 0, 100), (1, SEGMENT - 1, 1)] {
        let place = SpoolPlace { segment, offset, length };
        assert!(matches!(reader.data_set(&place), Err(ReadError::Damaged { .. })), "{place:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_changed_byte_hides_its_record_and_those_behind_it_only(
        at in 0u64..40_000, flip in 1u8..=255, lengths in proptest::collection::vec(0usize..9000, 1..6)
    ) {
        let folder = tempfile::tempdir().unwrap();
        let sets: Vec<Vec<u8>> = lengths.iter().map(|&length| vec![5; length]).collect();
        let places = append(&mut Spool::open(folder.path(), SEGMENT, Position::default()).unwrap(), &sets);
        let file = std::fs::File::options().read(true).write(true).open(segment_path(folder.path(), 1)).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ flip], at).unwrap();
        let whole = found(folder.path(), Position::default());
        let before = places.iter().filter(|(_, end)| end.offset <= at).count();
        // A byte of the padding, or of the zero word in the head, may change without harm to what is read.
        prop_assert!(whole.len() == before || whole.len() == places.len());
        for (found, (place, end)) in whole.iter().zip(&places) {
            prop_assert_eq!((&found.place, &found.end), (place, end));
        }
        for ((place, _), set) in places.iter().zip(&sets) {
            if let Ok((_, read)) = SpoolReader::new(folder.path()).data_set(place) {
                prop_assert_eq!(&read, set);
            }
        }
    }

    #[test]
    fn random_and_cut_segments_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600), cut in 0u64..9000) {
        let folder = tempfile::tempdir().unwrap();
        append(&mut Spool::open(folder.path(), SEGMENT, Position::default()).unwrap(), &[vec![1; 100], vec![2; 100]]);
        let path = segment_path(folder.path(), 1);
        std::fs::File::options().write(true).open(&path).unwrap().set_len(cut).unwrap();
        let whole = found(folder.path(), Position::default()).len();
        prop_assert!(whole <= 2);
        let mut hostile = b"SULCREC1".to_vec();
        hostile.extend_from_slice(&bytes);
        std::fs::write(&path, hostile).unwrap();
        prop_assert_eq!(found(folder.path(), Position::default()).len(), 0);
    }
}
