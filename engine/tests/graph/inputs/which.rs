//! Which series of a study are read beside the first.

use sulcus_config::AppliesTo;
use sulcus_engine::ledger::event::InputRule;
use sulcus_operators::digest::Digest;

use super::{INV1, INV2, UNI, of_three, series, serving, withdrawn_because};
use crate::site::{Slice, series_uid, study_uid};

/// What is said where INV1 is this instead.
fn said_of(change: impl Fn(&mut Slice)) -> String {
    let mut site = serving(of_three());
    site.whole(0, &[UNI, INV2]);
    let mut slices = series(0, INV1, 4);
    slices.iter_mut().for_each(change);
    site.send(slices);
    assert!(site.runs().is_empty());
    site.awaited_words().concat()
}

#[test]
fn a_series_of_another_patient_or_frame_of_reference_is_no_further_input() {
    let other = said_of(|slice| slice.patient = 1);
    assert_eq!(other, "INV1 is missing (1.2.0.1 cannot be: it is of another patient than 1.2.0.0)");
    let elsewhere = said_of(|slice| slice.frame = 1);
    assert_eq!(elsewhere, "INV1 is missing (1.2.0.1 cannot be: it lies in another frame of reference than 1.2.0.0)");
}

#[test]
fn what_was_acquired_with_another_first_series_is_that_ones() {
    let mut rules = of_three();
    rules.pipelines[0].when = format!("SeriesNumber == {UNI}.0 || SeriesNumber == 3.0");
    rules.pipelines[0].inputs.truncate(1);
    rules.pipelines[0].inputs[0].when = format!("SeriesNumber == {INV1}.0 || SeriesNumber == 4.0");
    let mut site = serving(rules);
    site.whole(0, &[UNI, INV1]);
    assert_eq!(site.inputs_of_report(), ["INV1 1.2.0.1"]);
    // The scan is repeated, and its uniform image, which is preferred, comes first.
    let repeated = |number: u8| {
        let mut slices = series(0, number, 5);
        slices.iter_mut().for_each(|slice| slice.acquisition = "20200101 121000".into());
        slices
    };
    site.send(repeated(3));
    site.work();
    let why = withdrawn_because(&site.only_report());
    assert!(why.contains("1.2.0.1 cannot be: it was acquired with another series than 1.2.0.3"), "{why}");
    site.send(repeated(4));
    site.work();
    let report = site.only_report();
    assert_eq!(report.run.unwrap().series_uid, series_uid(0, 3));
    assert_eq!(site.inputs_of_report(), ["INV1 1.2.0.4"]);
    let not_used: Vec<&String> = report.not_used.iter().map(|(uid, _)| uid).collect();
    assert_eq!(not_used, ["1.2.0.0", "1.2.0.1"]);
}

#[test]
fn of_several_that_may_be_an_input_the_one_acquired_with_the_first_is_read() {
    let mut rules = of_three();
    rules.pipelines[0].inputs.truncate(1);
    rules.pipelines[0].inputs[0].when = "SeriesNumber > 0.0".into();
    let mut site = serving(rules);
    // Larger, and so preferred where nothing else tells.
    let mut larger = series(0, INV1, 6);
    larger.iter_mut().for_each(|slice| slice.acquisition = "20200101 110000".into());
    site.send(larger);
    site.whole(0, &[INV2, UNI]);
    assert_eq!(site.inputs_of_report(), ["INV1 1.2.0.2"]);
    let not_used = site.only_report().not_used;
    assert_eq!(not_used, [(series_uid(0, INV1), "as INV1 is used: 1.2.0.2".to_owned())]);
}

#[test]
fn the_first_series_is_never_its_own_further_input() {
    let mut rules = of_three();
    rules.pipelines[0].inputs.truncate(1);
    rules.pipelines[0].inputs[0].when = "Modality == \"MR\"".into();
    let mut site = serving(rules);
    site.whole(0, &[UNI]);
    assert!(site.runs().is_empty());
    site.whole(0, &[INV1]);
    assert_eq!(site.inputs_of_report(), ["INV1 1.2.0.1"]);
}

#[test]
fn of_two_inputs_that_want_one_series_the_one_with_a_choice_gives_way() {
    let mut rules = of_three();
    rules.pipelines[0].inputs[0].when = "SeriesNumber > 0.0".into();
    // As it stands alone, INV1 would take the larger one.
    let mut site = serving(rules.clone());
    site.whole(0, &[UNI, INV1]);
    site.send(series(0, INV2, 5));
    site.work();
    assert_eq!(site.inputs_of_report(), ["INV1 1.2.0.1", "INV2 1.2.0.2"]);
    // With one series for both, one is missing.
    let mut site = serving(rules);
    site.whole(0, &[UNI, INV2]);
    let said = site.awaited_words().concat();
    assert_eq!(said, "INV2 is missing (the series that it may be is used as another input)");
}

#[test]
fn the_rule_of_the_first_series_says_which_others_are_read() {
    let mut site = serving(of_three());
    site.send(series(0, UNI, 4));
    // For what comes from here on, one other series is read, and INV1 is another.
    let mut other = of_three();
    other.pipelines[0].applies_to = AppliesTo::New;
    other.pipelines[0].model = Digest::of(b"of two");
    other.pipelines[0].inputs = vec![InputRule { name: "INV1".into(), when: format!("SeriesNumber == {INV2}.0") }];
    site.change(other);
    site.whole(0, &[INV1, INV2]);
    assert_eq!(site.inputs_of_report(), ["INV1 1.2.0.1", "INV2 1.2.0.2"]);
    site.whole(1, &[UNI, INV1, INV2]);
    let reports = site.reports();
    let run = reports.iter().find(|row| row.study_uid == study_uid(1)).unwrap().run.clone().unwrap();
    assert_eq!((run.model, run.inputs.len()), (Digest::of(b"of two"), 1));
}
