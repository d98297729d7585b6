//! Promises of the order in which work is taken up.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use sulcus_operators::{digest::Digest, rows::RunOrder};

use super::*;

const PIPELINES: [(&str, Urgency); 3] =
    [("urgent", Urgency::Urgent), ("normal", Urgency::Normal), ("background", Urgency::Background)];

fn urgencies() -> Urgencies {
    Urgencies(PIPELINES.map(|(name, urgency)| (name.to_owned(), urgency)).into())
}

/// A run on this series, as one pipeline wants it; its first member is the event of the same number.
fn run_to_do(series: u64, pipeline: &str) -> RunToDo {
    let (study_uid, series_uid) = ("1.2.3".to_owned(), format!("1.2.3.{series}"));
    let order = RunOrder {
        run_key: Digest::of(&series.to_le_bytes()),
        study_uid: study_uid.clone(),
        series_uid,
        stack: String::new(),
        model: Digest::default(),
        members: vec![series],
        inputs: Vec::new(),
    };
    RunToDo { order, attempt: 1, wanted_by: vec![(study_uid, pipeline.to_owned())] }
}

fn state(series: u64, received: Millis) -> SeriesState {
    let facts = crate::testing::facts(series as u32, 1, b"");
    let row = sulcus_operators::series::InstanceRow::from((series, received, "test", &facts));
    sulcus_operators::series::summarise(&[row]).unwrap()
}

/// The series of runs in the order in which they are taken up: each of a pipeline, waiting since a time in seconds.
fn order(waiting: &[(&str, Millis)]) -> Vec<usize> {
    let of = |index: usize| index as u64 + 1;
    let runs: Vec<RunToDo> =
        waiting.iter().enumerate().map(|(index, (pipeline, _))| run_to_do(of(index), pipeline)).collect();
    let states: Vec<SeriesState> =
        waiting.iter().enumerate().map(|(index, (_, since))| state(of(index), since * 1000)).collect();
    let ordered = urgencies().runs(runs.iter(), states.iter());
    ordered.iter().map(|run| run.order.members[0] as usize - 1).collect()
}

#[test]
fn what_is_urgent_comes_first_and_what_waits_an_hour_longer_before_it() {
    assert_eq!(order(&[("background", 0), ("normal", 10), ("urgent", 20)]), [2, 1, 0]);
    assert_eq!(order(&[("normal", 0), ("urgent", 3599)]), [1, 0]);
    assert_eq!(order(&[("normal", 0), ("urgent", 3601)]), [0, 1]);
    assert_eq!(order(&[("background", 0), ("urgent", 7199), ("urgent", 7201)]), [1, 0, 2]);
    assert_eq!(order(&[("normal", 5), ("normal", 4), ("gone", 3)]), [2, 1, 0], "the oldest first within a class");
}

#[test]
fn a_run_that_several_pipelines_want_is_as_urgent_as_the_most_urgent() {
    let mut both = run_to_do(1, "background");
    both.wanted_by.push(("1.2.3".to_owned(), "urgent".to_owned()));
    let other = run_to_do(2, "normal");
    let states = [state(1, 5), state(2, 0)];
    assert_eq!(urgencies().runs([&other, &both].into_iter(), states.iter()), [&both, &other]);
}

proptest! {
    /// Under a stream of urgent runs, one every second, none that waits is passed for ever.
    #[test]
    fn nothing_waits_for_ever(class in 0usize..3, begun in 0i64..100_000) {
        let (pipeline, _) = PIPELINES[class];
        let later = begun + 2 * HEAD_START / 1000 + 1;
        prop_assert_eq!(order(&[(pipeline, begun), ("urgent", later)]), [0, 1]);
    }

    #[test]
    fn the_order_is_the_same_however_the_rows_come(
        waiting in prop::collection::vec((0usize..3, 0i64..5), 1..12), turn in 0usize..12,
    ) {
        let runs: Vec<RunToDo> =
            (1..).zip(&waiting).map(|(series, (class, _))| run_to_do(series, PIPELINES[*class].0)).collect();
        let states: Vec<SeriesState> = (1..).zip(&waiting).map(|(series, (_, since))| state(series, *since)).collect();
        let keys = |runs: Vec<&RunToDo>| runs.into_iter().map(|run| run.order.run_key).collect::<Vec<Digest>>();
        let turn = turn % runs.len();
        let turned = runs[turn..].iter().chain(&runs[..turn]);
        prop_assert_eq!(keys(urgencies().runs(runs.iter(), states.iter())), keys(urgencies().runs(turned, states.iter())));
    }
}
