//! Promises of `report.json`.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use super::*;
use crate::{
    results::{
        fixture::Sample,
        fixture_report::{self, outcome, row},
    },
    rows::DomainDistance,
};

fn schema_file() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/report.schema.json")
}

fn report(status: ReportStatus, lesions: Vec<LesionRow>) -> Report {
    judged(status, lesions, Vec::new())
}

fn judged(status: ReportStatus, lesions: Vec<LesionRow>, verdicts: Vec<Finding>) -> Report {
    fixture_report::report(&Sample { lesions, ..Sample::new([7, 5, 6], &[]) }, status, verdicts)
}

fn check(report: &Report) -> serde_json::Value {
    let value: serde_json::Value = serde_json::from_slice(&report.to_json().unwrap()).unwrap();
    jsonschema::validate(&Report::schema(), &value).unwrap();
    assert_eq!(&serde_json::from_value::<Report>(value.clone()).unwrap(), report);
    value
}

#[test]
fn a_report_says_what_was_found_in_mm_and_keeps_to_its_schema() {
    let sample = Sample::new([7, 5, 6], &[([1, 1, 1], [3, 2, 2])]);
    let value = check(&report(ReportStatus::Final, sample.lesions));
    assert_eq!(value["result"], "1 lesion was found.");
    assert_eq!(value["created"], "2024-02-28T23:59:59.999Z");
    assert_eq!(value["lesions"][0]["volume_mm3"], 8.316);
    assert_eq!(value["lesion_volume_mm3"], 8.316);
    assert_eq!(value["run"]["spacing_mm"], serde_json::json!([0.7, 0.9, 1.1]));
    assert_eq!(value["research_use"], "Research use only, not for diagnosis");
}

#[test]
fn a_report_names_the_further_series_that_were_read_and_is_as_before_where_there_were_none() {
    let mut report = report(ReportStatus::Final, Vec::new());
    assert!(check(&report)["run"].get("inputs").is_none());
    let (name, series_instance_uid, stack) = ("INV1".to_owned(), "1.2.3".to_owned(), "M".to_owned());
    report.run.iter_mut().for_each(|run| {
        run.inputs.push(Input {
            name: name.clone(),
            series_instance_uid: series_instance_uid.clone(),
            stack: stack.clone(),
        });
    });
    assert_eq!(check(&report)["run"]["inputs"][0]["name"], "INV1");
}

#[test]
fn an_empty_result_is_said_in_words_and_as_an_empty_list() {
    let value = check(&report(ReportStatus::Final, Vec::new()));
    assert_eq!(value["result"], "No lesion was found.");
    assert_eq!(value["lesions"], serde_json::json!([]));
}

fn finding_on(lesion: &LesionRow, verdict: LesionVerdict, comment: &str) -> Finding {
    let (tracking_uid, reader) = (lesion.tracking_uid.clone(), "A. Reader".to_owned());
    Finding { tracking_uid, verdict, reader, comment: comment.to_owned() }
}

#[test]
fn what_a_reader_rejected_is_listed_apart_and_counts_for_nothing() {
    let sample = Sample::new([7, 5, 6], &[([1, 1, 1], [3, 2, 2]), ([4, 3, 4], [2, 2, 2]), ([0, 0, 0], [1, 1, 1])]);
    let lesions = sample.lesions;
    let verdicts = vec![
        finding_on(&lesions[0], LesionVerdict::Rejected, "a vessel"),
        finding_on(&lesions[1], LesionVerdict::Relabelled("juxtacortical".into()), ""),
        finding_on(&lesions[2], LesionVerdict::Accepted, ""),
    ];
    let value = check(&judged(ReportStatus::Final, lesions.clone(), verdicts.clone()));
    assert_eq!(value["result"], "2 lesions were found; 1 was rejected by a reader.");
    assert_eq!(value["lesion_volume_mm3"], 6.237);
    let labels = |list: &str| value[list].as_array().unwrap().iter().map(|l| l["label"].clone()).collect::<Vec<_>>();
    assert_eq!((labels("lesions"), labels("lesions_rejected")), (vec![2.into(), 3.into()], vec![1.into()]));
    let said = |verdict: &str, name: Option<&str>, comment: Option<&str>| serde_json::json!({"verdict": verdict, "relabelled": name, "reader": "A. Reader", "comment": comment});
    assert_eq!(value["lesions_rejected"][0]["verdict"], said("rejected", None, Some("a vessel")));
    assert_eq!(value["lesions"][0]["verdict"], said("relabelled", Some("juxtacortical"), None));
    assert_eq!(value["lesions"][1]["verdict"], said("accepted", None, None));

    let none_left = judged(ReportStatus::Final, lesions[..1].to_vec(), verdicts[..1].to_vec());
    assert_eq!(none_left.result, "No lesion remains; 1 was rejected by a reader.");
    assert_eq!((none_left.lesions.len(), none_left.lesion_volume_mm3), (0, 0.0));
    let withdrawn = judged(ReportStatus::Withdrawn("gone".into()), lesions, verdicts);
    assert!(withdrawn.lesions.is_empty() && withdrawn.lesions_rejected.is_empty());
}

#[test]
fn a_report_of_before_there_were_verdicts_still_reads() {
    let sample = Sample::new([7, 5, 6], &[([1, 1, 1], [3, 2, 2])]);
    let mut value = check(&report(ReportStatus::Final, sample.lesions));
    value.as_object_mut().unwrap().remove("lesions_rejected");
    value["lesions"][0].as_object_mut().unwrap().remove("verdict");
    let old: Report = serde_json::from_value(value).unwrap();
    assert!(old.lesions[0].verdict.is_none() && old.lesions_rejected.is_empty());
}

#[test]
fn a_withdrawn_report_tells_why_and_shows_no_lesions() {
    let sample = Sample::new([7, 5, 6], &[([1, 1, 1], [3, 2, 2])]);
    let value = check(&report(ReportStatus::Withdrawn("the series was deleted".into()), sample.lesions));
    assert_eq!(value["status"], "withdrawn");
    assert_eq!(value["withdrawn_because"], "the series was deleted");
    assert_eq!(value["lesions"], serde_json::json!([]));
    assert_eq!(value["lesion_volume_mm3"], 0.0);
}

#[test]
fn what_the_schema_does_not_know_is_refused_by_it() {
    let mut value = check(&report(ReportStatus::Final, Vec::new()));
    value["surprise"] = 1.into();
    assert!(jsonschema::validate(&Report::schema(), &value).is_err());
}

#[test]
fn an_outcome_of_another_run_is_refused() {
    let row = row(ReportStatus::Final, Vec::new());
    let patient = PatientKey { issuer: String::new(), id: String::new() };
    let input = ReportInput {
        row: &row,
        outcome: None,
        patient: &patient,
        uid: "2.25.7",
        revision: 1,
        supersedes: None,
        created: 0,
        model: ("", ""),
        segmentation: None,
    };
    assert_eq!(Report::new(&input).err(), Some(ReportError::NoOutcome));
    let other = RunOutcome { run_key: Digest([9; 32]), ..outcome(&Sample::new([1; 3], &[])) };
    let refused = Report::new(&ReportInput { outcome: Some(&other), ..input }).err();
    assert_eq!(refused, Some(ReportError::OtherRun { found: Digest([9; 32]), expected: Digest([1; 32]) }));
}

#[test]
fn a_report_tells_how_far_the_scan_is_and_warns_of_one_beyond_the_training_scans() {
    let of = |farther_than| {
        let domain = Some(DomainDistance { distance_milli: 2250, farther_than, scans: 64 });
        let outcome = RunOutcome { domain, ..outcome(&Sample::new([7, 5, 6], &[])) };
        fixture_report::of(&outcome, ReportStatus::Final, Vec::new())
    };
    let value = check(&of(64));
    let wanted = serde_json::json!({"distance": 2.25, "farther_than": 64, "training_scans": 64, "beyond": true});
    assert_eq!(value["run"]["domain"], wanted);
    assert!(value["notes"][1].as_str().unwrap().contains("read the results with care"));
    let value = check(&of(63));
    assert_eq!(value["run"]["domain"]["beyond"], false);
    assert_eq!(value["notes"], serde_json::json!(["a <single> slice"]));
    let unknown = check(&report(ReportStatus::Final, Vec::new()));
    assert_eq!(unknown["run"]["domain"], serde_json::Value::Null);
}

#[test]
fn a_report_of_before_distances_were_told_is_read_as_one_that_tells_none() {
    let now = report(ReportStatus::Final, Vec::new());
    let mut value: serde_json::Value = serde_json::from_slice(&now.to_json().unwrap()).unwrap();
    assert!(value["run"].as_object_mut().unwrap().remove("domain").is_some());
    assert_eq!(serde_json::from_value::<Report>(value).unwrap(), now);
}

#[test]
fn the_committed_schema_is_current() {
    let committed = std::fs::read_to_string(schema_file()).unwrap();
    let current = serde_json::to_string_pretty(&Report::schema()).unwrap() + "\n";
    assert_eq!(
        committed, current,
        "write it again: cargo test --release -p sulcus-operators -- --ignored report_schema"
    );
}

#[test]
#[ignore = "writes docs/reference/report.schema.json"]
fn write_report_schema() {
    std::fs::create_dir_all(schema_file().parent().unwrap()).unwrap();
    std::fs::write(schema_file(), serde_json::to_string_pretty(&Report::schema()).unwrap() + "\n").unwrap();
}
