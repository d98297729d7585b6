//! Promises of the bundle; that it is FHIR is shown by a peer in `tests/fhir.rs`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::{
    domain::ToldDistance,
    results::{
        fixture::Sample,
        fixture_report::{report, verdict},
    },
    rows::{LesionVerdict, ReportStatus},
};

fn sample() -> Sample {
    Sample::new([7, 5, 6], &[([1, 1, 1], [2, 2, 2]), ([4, 3, 2], [1, 1, 3]), ([0, 0, 0], [1, 1, 1])])
}

fn made(report: &Report, earlier: &[Earlier<'_>]) -> Value {
    let sample = sample();
    let source = (report.status == Status::Final).then(|| sample.source("1.2.3.4.1").unwrap());
    serde_json::from_slice(&bundle(&FhirInput { report, source, earlier }).unwrap()).unwrap()
}

fn all<'a>(bundle: &'a Value, kind: &str) -> Vec<&'a Value> {
    let entries = bundle["entry"].as_array().unwrap().iter();
    entries.map(|entry| &entry["resource"]).filter(|resource| resource["resourceType"] == kind).collect()
}

fn lesions(bundle: &Value) -> Vec<&Value> {
    all(bundle, "Observation").into_iter().filter(|found| found.get("component").is_some()).collect()
}

/// Every `reference` below a value.
fn references(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            into.extend(map.get("reference").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|value| references(value, into));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, into)),
        _ => {}
    }
}

#[test]
fn every_resource_is_made_once_and_references_stay_within_the_bundle() {
    let bundle = made(&report(&sample(), ReportStatus::Final, Vec::new()), &[]);
    let entries = bundle["entry"].as_array().unwrap();
    // Study, device, count, volume, three lesions, report.
    assert_eq!(entries.len(), 8);
    let mut urls = BTreeSet::new();
    for entry in entries {
        assert!(urls.insert(entry["fullUrl"].as_str().unwrap().to_owned()));
        let identifier = &entry["resource"]["identifier"][0];
        let search =
            format!("identifier={}|{}", identifier["system"].as_str().unwrap(), identifier["value"].as_str().unwrap());
        assert_eq!(
            entry["request"],
            json!({"method": "POST", "url": entry["resource"]["resourceType"], "ifNoneExist": search})
        );
        assert_eq!(entry["resource"]["meta"]["tag"][0]["display"], "Research use only, not for diagnosis");
    }
    let mut referred = BTreeSet::new();
    references(&bundle, &mut referred);
    assert!(referred.is_subset(&urls), "{referred:?} {urls:?}");
    assert_eq!(all(&bundle, "DiagnosticReport")[0]["result"].as_array().unwrap().len(), 5);
    assert!(urls.iter().all(|url| url.len() == 45 && url.starts_with("urn:uuid:")));
}

#[test]
fn the_study_is_described_by_its_own_header_and_the_patient_by_id_alone() {
    let bundle = made(&report(&sample(), ReportStatus::Final, Vec::new()), &[]);
    let study = all(&bundle, "ImagingStudy")[0];
    assert_eq!(study["identifier"][0], json!({"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}));
    assert_eq!(study["identifier"][1]["value"], "A1");
    assert_eq!(study["started"], "2024-02-29");
    assert_eq!(study["series"][0]["uid"], "1.2.3.4");
    let subject = json!({"type": "Patient", "identifier": {"value": "P1", "assigner": {"display": "hospital"}}});
    for kind in ["ImagingStudy", "DiagnosticReport", "Observation"] {
        assert!(all(&bundle, kind).iter().all(|resource| resource["subject"] == subject), "{kind}");
    }
    assert!(all(&bundle, "Patient").is_empty());
    assert!(!bundle.to_string().contains("ller"), "no name leaves");
    let device = all(&bundle, "Device")[0];
    assert_eq!(device["version"][1]["value"], "05".repeat(32));
}

#[test]
fn a_lesion_is_an_observation_with_its_measurements() {
    let report = report(&sample(), ReportStatus::Final, Vec::new());
    let bundle = made(&report, &[]);
    let found = lesions(&bundle);
    assert_eq!(found.len(), 3);
    assert_eq!(found[0]["identifier"][1], json!({"system": "urn:dicom:uid", "value": "urn:oid:2.25.101"}));
    assert_eq!(found[0]["component"][0]["valueQuantity"]["value"], report.lesions[0].volume_mm3);
    assert_eq!(found[0]["component"][0]["valueQuantity"]["code"], "mm3");
    assert_eq!(found[0]["component"][1]["valueQuantity"]["value"], report.lesions[0].mean_intensity);
    assert_eq!(found[0]["component"][2]["valueQuantity"]["value"], 0.875);
    assert_eq!(found[0]["component"][3]["valueQuantity"]["value"], 0.99);
    assert_eq!(found[0]["code"]["coding"][0]["code"], "52988006");
    assert_eq!(found[0]["status"], "preliminary", "nobody judged it");
    assert_eq!(all(&bundle, "DiagnosticReport")[0]["status"], "partial");
    let totals = all(&bundle, "Observation");
    assert_eq!(totals[0]["valueInteger"], 3);
    assert_eq!(totals[1]["valueQuantity"]["value"], report.lesion_volume_mm3);
    let text = all(&bundle, "DiagnosticReport")[0]["text"]["div"].as_str().unwrap().to_owned();
    assert!(text.contains("a &lt;single&gt; slice"), "{text}");
}

#[test]
fn what_readers_said_is_status_and_note() {
    let said = vec![
        verdict(1, LesionVerdict::Accepted, "clear\ncut"),
        verdict(2, LesionVerdict::Rejected, ""),
        verdict(3, LesionVerdict::Relabelled("vessel".into()), ""),
    ];
    let bundle = made(&report(&sample(), ReportStatus::Final, said), &[]);
    let found = lesions(&bundle);
    assert_eq!(found.len(), 2, "the rejected one is left out");
    assert_eq!(found[0]["status"], "final");
    assert_eq!(found[0]["note"][1], json!({"text": "Accepted by a reader: clear cut", "authorString": "Dr A"}));
    assert_eq!(found[1]["code"], json!({"text": "vessel"}));
    assert_eq!(all(&bundle, "DiagnosticReport")[0]["status"], "final");
    assert_eq!(all(&bundle, "Observation")[0]["valueInteger"], 2);
    let half = vec![verdict(1, LesionVerdict::Accepted, "")];
    let bundle = made(&report(&sample(), ReportStatus::Final, half), &[]);
    assert_eq!(all(&bundle, "DiagnosticReport")[0]["status"], "partial");
    assert_eq!(lesions(&bundle)[0]["status"], "final");
}

#[test]
fn a_revision_marks_what_the_one_before_left_and_no_identity_comes_twice() {
    let whose = Patient { id: "P0".into(), issuer: "1.2.3.9".into() };
    let earlier = [Earlier {
        uid: "2.25.6",
        patient: Some(&whose),
        tracking_uids: &["2.25.101", "2.25.102"],
        has_distance: false,
    }];
    let bundle = made(&report(&sample(), ReportStatus::Final, Vec::new()), &earlier);
    let entries = bundle["entry"].as_array().unwrap();
    let updates: Vec<_> = entries.iter().filter(|entry| entry["request"]["method"] == "PUT").collect();
    assert_eq!(updates.len(), 5);
    assert_eq!(updates[0]["request"]["url"], "DiagnosticReport?identifier=urn:ietf:rfc:3986|urn:oid:2.25.6");
    for update in &updates {
        assert_eq!(update["resource"]["status"], "entered-in-error");
        let whose = &update["resource"]["subject"]["identifier"];
        assert_eq!(whose, &json!({"value": "P0", "system": "urn:oid:1.2.3.9"}));
    }
    let new = all(&bundle, "DiagnosticReport")[0];
    assert_eq!(new["extension"][0]["valueReference"]["identifier"]["value"], "urn:oid:2.25.6");

    // The updates name the very Observations that the revision before made.
    let first = Report { uid: "2.25.6".into(), ..report(&sample(), ReportStatus::Final, Vec::new()) };
    let made_before = made(&first, &[]);
    let known: BTreeSet<String> =
        all(&made_before, "Observation").iter().map(|o| o["identifier"][0].to_string()).collect();
    assert!(updates[1..].iter().all(|update| known.contains(&update["resource"]["identifier"][0].to_string())));

    let sample = sample();
    let report = report(&sample, ReportStatus::Final, Vec::new());
    let source = sample.source("1.2.3.4.1");
    for earlier in [[earlier[0], earlier[0]].as_slice(), &[Earlier { uid: "2.25.7", ..earlier[0] }]] {
        let input = FhirInput { report: &report, source, earlier };
        assert_eq!(bundle_error(&input), FhirError::Twice("DiagnosticReport"));
    }
}

fn bundle_error(input: &FhirInput<'_>) -> FhirError {
    super::bundle(input).unwrap_err()
}

#[test]
fn a_withdrawn_report_says_so_and_why() {
    let report = report(&sample(), ReportStatus::Withdrawn("the wrong patient".into()), Vec::new());
    let bundle = made(&report, &[Earlier { uid: "2.25.6", patient: None, tracking_uids: &[], has_distance: false }]);
    let own = all(&bundle, "DiagnosticReport")[0];
    assert_eq!(own["status"], "entered-in-error");
    assert!(own["conclusion"].as_str().unwrap().contains("Reason: the wrong patient."));
    assert!(all(&bundle, "ImagingStudy").is_empty() && lesions(&bundle).is_empty());
    assert_eq!(own["imagingStudy"][0]["identifier"]["value"], "urn:oid:1.2.3");
}

#[test]
fn no_lesion_is_a_count_of_zero() {
    let sample = Sample::new([7, 5, 6], &[]);
    let bundle = made(&report(&sample, ReportStatus::Final, Vec::new()), &[]);
    assert!(lesions(&bundle).is_empty());
    assert_eq!(all(&bundle, "Observation")[0]["valueInteger"], 0);
    assert_eq!(all(&bundle, "DiagnosticReport")[0]["status"], "partial", "no reader said so");
}

#[test]
fn equal_input_gives_equal_bytes() {
    let sample = sample();
    let report = report(&sample, ReportStatus::Final, Vec::new());
    let input = FhirInput { report: &report, source: sample.source("1.2.3.4.1"), earlier: &[] };
    assert_eq!(super::bundle(&input).unwrap(), super::bundle(&input).unwrap());
}

#[test]
fn a_patient_without_id_is_said_to_be_one() {
    let mut report = report(&sample(), ReportStatus::Final, Vec::new());
    report.patient = Patient { id: String::new(), issuer: "demographics:0123".into() };
    let bundle = made(&report, &[]);
    let subject = &all(&bundle, "ImagingStudy")[0]["subject"];
    assert_eq!(subject, &json!({"type": "Patient", "display": "Not identified: the source has no PatientID"}));
}

#[test]
fn what_has_no_place_in_fhir_is_refused() {
    let sample = sample();
    let good = report(&sample, ReportStatus::Final, Vec::new());
    let source = sample.source("1.2.3.4.1");
    let error = |report: &Report| bundle_error(&FhirInput { report, source, earlier: &[] });
    let changed = |change: &dyn Fn(&mut Report)| {
        let mut report = good.clone();
        change(&mut report);
        error(&report)
    };
    assert_eq!(bundle_error(&FhirInput { report: &good, source: None, earlier: &[] }), FhirError::NoSource);
    assert_eq!(changed(&|r| r.study_instance_uid = "1.2.4".into()), FhirError::OtherSource("study"));
    let series = |r: &mut Report| r.run.as_mut().unwrap().series_instance_uid = "1.2.3.5".into();
    assert_eq!(changed(&series), FhirError::OtherSource("series"));
    assert_eq!(changed(&|r| r.patient.id = "P\u{7}1".into()), FhirError::Text("PatientID"));
    assert_eq!(changed(&|r| r.patient.issuer = "x".repeat(LONGEST_TEXT + 1)), FhirError::Text("IssuerOfPatientID"));
    assert_eq!(changed(&|r| r.lesions[1] = r.lesions[0].clone()), FhirError::Twice("Observation"));
    let long = "1".repeat(65);
    assert!(matches!(changed(&|r| r.uid = long.clone()), FhirError::Uid { .. }));
    assert!(matches!(changed(&|r| r.lesions[0].tracking_uid = long.clone()), FhirError::Uid { .. }));
}

#[test]
fn a_distance_is_an_observation_of_its_own_and_superseded_with_its_report() {
    let mut report = report(&sample(), ReportStatus::Final, Vec::new());
    let domain = ToldDistance { distance: 3.25, farther_than: 64, training_scans: 64, beyond: true };
    report.run.as_mut().unwrap().domain = Some(domain);
    let earlier = Earlier { uid: "2.25.6", patient: None, tracking_uids: &[], has_distance: true };
    let bundle = made(&report, &[earlier]);
    let of = |status: &str| -> Vec<&Value> {
        let told = |found: &&Value| {
            found["status"] == status && found["code"]["text"].as_str().unwrap().starts_with("Distance of the scan")
        };
        all(&bundle, "Observation").into_iter().filter(told).collect()
    };
    let ([told], [former]) = (&of("final")[..], &of("entered-in-error")[..]) else { panic!("one of each") };
    assert_eq!(told["valueQuantity"]["value"], 3.25);
    assert!(told["note"][1]["text"].as_str().unwrap().contains("with care"));
    let first = Report { uid: "2.25.6".into(), ..report.clone() };
    let before = made(&first, &[]);
    let known: Vec<&Value> = all(&before, "Observation").iter().map(|found| &found["identifier"][0]).collect();
    assert!(known.contains(&&former["identifier"][0]));
}
