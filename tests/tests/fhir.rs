//! FHIR bundles as their readers see them: fhir.resources validates them, and Medplum's server keeps them.

use std::time::Duration;

use serde_json::{Value, json};
use sulcus_connectors::fhir::{FhirEndpoint, post};
use sulcus_operators::results::fhir::{Earlier, FhirInput, bundle};
use sulcus_operators::results::report::{Report, Status};
use sulcus_operators::rows::{Finding, LesionVerdict, ReportStatus};
use sulcus_tests::medplum::Medplum;
use sulcus_tests::or_skip;
use sulcus_tests::places::scanner_files;
use sulcus_tests::python::python;
use sulcus_tests::reported::{Reported, Revision};
use sulcus_tests::slices::{Slices, write_series};

fn made_up(count: u16) -> Reported {
    let folder = tempfile::tempdir().unwrap();
    let size = if count > 20 { 128 } else { 48 };
    let slices = Slices { count: u32::from(size), rows: size, columns: size, seed: 7 };
    Reported::new(&write_series(folder.path(), slices).unwrap(), count).unwrap()
}

const FIRST: Revision<'_> = Revision { number: 1, uid: "2.25.61", supersedes: None };
const SECOND: Revision<'_> = Revision { number: 2, uid: "2.25.62", supersedes: Some("2.25.61") };
const THIRD: Revision<'_> = Revision { number: 3, uid: "2.25.63", supersedes: Some("2.25.62") };

fn of(reported: &Reported, report: &Report, earlier: &[&Report]) -> Vec<u8> {
    let tracking: Vec<Vec<&str>> = earlier
        .iter()
        .map(|report| report.lesions.iter().map(|lesion| lesion.tracking_uid.as_str()).collect())
        .collect();
    let earlier: Vec<Earlier<'_>> = earlier
        .iter()
        .zip(&tracking)
        .map(|(report, uids)| Earlier {
            uid: &report.uid,
            patient: Some(&report.patient),
            tracking_uids: uids,
            has_distance: report.run.as_ref().is_some_and(|run| run.domain.is_some()),
        })
        .collect();
    let source = (report.status == Status::Final).then(|| reported.source());
    bundle(&FhirInput { report, source, earlier: &earlier }).unwrap()
}

/// What readers say of the first three lesions.
fn verdicts(reported: &Reported) -> Vec<Finding> {
    let said = [LesionVerdict::Accepted, LesionVerdict::Rejected, LesionVerdict::Relabelled("Gef\u{e4}\u{df}".into())];
    let finding = |(row, verdict): (&sulcus_operators::rows::LesionRow, LesionVerdict)| Finding {
        tracking_uid: row.tracking_uid.clone(),
        verdict,
        reader: "Dr \u{c5}".into(),
        comment: "seen on \"FLAIR\" <too>".into(),
    };
    reported.lesions.iter().zip(said).map(finding).collect()
}

/// How many resources of each type and status fhir.resources finds.
fn validated(bytes: &[u8]) -> Option<Value> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bundle.json");
    std::fs::write(&file, bytes).unwrap();
    Some(or_skip(python("read_fhir.py", &[file]))?["resources"].clone())
}

#[test]
fn fhir_resources_finds_no_fault_in_any_kind_of_bundle() {
    let reported = made_up(3);
    let first = reported.report(FIRST, ReportStatus::Final, Vec::new());
    let Some(counts) = validated(&of(&reported, &first, &[])) else { return };
    let plain = json!({"ImagingStudy available": 1, "Device active": 1, "Observation preliminary": 5,
        "DiagnosticReport partial": 1});
    assert_eq!(counts, plain);
    let judged = reported.report(SECOND, ReportStatus::Final, verdicts(&reported));
    assert_eq!(
        validated(&of(&reported, &judged, &[&first])).unwrap(),
        json!({"ImagingStudy available": 1, "Device active": 1, "Observation final": 4, "DiagnosticReport final": 1,
            "DiagnosticReport entered-in-error": 1, "Observation entered-in-error": 5})
    );
    let withdrawn = reported.report(THIRD, ReportStatus::Withdrawn("the series was taken back".into()), Vec::new());
    assert_eq!(
        validated(&of(&reported, &withdrawn, &[&judged])).unwrap(),
        json!({"DiagnosticReport entered-in-error": 2, "Observation entered-in-error": 4})
    );
    for count in [0, 60] {
        let reported = made_up(count);
        let report = reported.report(FIRST, ReportStatus::Final, Vec::new());
        let counts = validated(&of(&reported, &report, &[])).unwrap();
        assert_eq!(counts["Observation preliminary"], report.lesions.len() + 2, "{count} lesions");
    }
}

#[test]
fn fhir_resources_finds_no_fault_in_bundles_of_scanner_series() {
    for folder in ["philips-mprage-classic/In/cl", "siemens-xa30-enhanced/In/5_anat-T1w_acq-tfl"] {
        let Some(files) = or_skip(scanner_files(folder)) else { return };
        let reported = Reported::new(&files, 2).unwrap();
        let report = reported.report(FIRST, ReportStatus::Final, Vec::new());
        let Some(counts) = validated(&of(&reported, &report, &[])) else { return };
        assert_eq!(counts["ImagingStudy available"], 1, "{folder}");
    }
}

#[test]
fn a_real_server_holds_each_resource_once_after_retries_and_the_last_revision_alone_stands() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = or_skip(Medplum::start(folder.path())) else { return };
    let reported = made_up(3);
    let first = reported.report(FIRST, ReportStatus::Final, Vec::new());
    let second = reported.report(SECOND, ReportStatus::Final, verdicts(&reported));
    let third = reported.report(THIRD, ReportStatus::Withdrawn("the series was taken back".into()), Vec::new());
    let endpoint = FhirEndpoint {
        url: server.url(),
        token_file: None,
        connect_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(60),
    };
    let counts = || {
        let of = |kind: &str, search: &str| server.search(kind, search).unwrap().len();
        let standing = "status=partial,preliminary,final";
        [
            of("ImagingStudy", ""),
            of("Device", ""),
            of("DiagnosticReport", ""),
            of("DiagnosticReport", standing),
            of("Observation", ""),
            of("Observation", standing),
        ]
    };
    let send = |bytes: &[u8]| post(&endpoint, bytes).unwrap();
    let one = of(&reported, &first, &[]);
    assert_eq!(send(&one).created, 8);
    assert_eq!(send(&one).created, 0, "a retry makes nothing");
    assert_eq!(counts(), [1, 1, 1, 1, 5, 5]);

    let two = of(&reported, &second, &[&first]);
    assert_eq!(send(&two).created, 5);
    assert_eq!(send(&two).created, 0);
    assert_eq!(send(&one).created, 0, "a late retry of the first brings nothing back");
    assert_eq!(counts(), [1, 1, 2, 1, 9, 4]);

    // The lesion is found across revisions by its tracking UID, and what refers to it was resolved.
    let tracking = format!("identifier=urn:dicom:uid|urn:oid:{}", reported.lesions[0].tracking_uid);
    let mut statuses: Vec<_> =
        server.search("Observation", &tracking).unwrap().iter().map(|found| found["status"].to_string()).collect();
    statuses.sort();
    assert_eq!(statuses, ["\"entered-in-error\"", "\"final\""]);
    let report = server.search("DiagnosticReport", "status=final").unwrap().remove(0);
    assert_eq!(report["result"].as_array().unwrap().len(), 4);
    assert!(report["result"][0]["reference"].as_str().unwrap().starts_with("Observation/"), "{report}");
    let study = server.search("ImagingStudy", "").unwrap().remove(0);
    assert_eq!(report["imagingStudy"][0]["reference"], format!("ImagingStudy/{}", study["id"].as_str().unwrap()));

    send(&of(&reported, &third, &[&second, &first]));
    assert_eq!(counts(), [1, 1, 3, 0, 9, 0], "nothing stands once it is withdrawn");
}
