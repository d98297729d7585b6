//! Every output of a study at every kind of destination, through a correction and a withdrawal: what stands where.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use dicom_dictionary_std::{tags, uids};
use dicom_object::{InMemDicomObject, open_file};
use sulcus_engine::ledger::event::{Entry, Event};
use sulcus_operators::results::report::{Report, Status};
use sulcus_operators::rows::Role;
use sulcus_tests::dciodvfy::dciodvfy;
use sulcus_tests::medplum::Medplum;
use sulcus_tests::or_skip;
use sulcus_tests::orthanc::Orthanc;
use sulcus_tests::scans::{reports, send, series_with_lesions, small_series_uid};
use sulcus_tests::serving::{Serving, SiteSpec};

const PATIENCE: Duration = Duration::from_secs(120);

/// Roles that each destination has of each revision.
fn delivered(entries: &[Entry]) -> BTreeMap<(u32, String), BTreeSet<Role>> {
    let mut objects = BTreeMap::new();
    let mut delivered: BTreeMap<(u32, String), BTreeSet<Role>> = BTreeMap::new();
    for entry in entries {
        match &entry.event {
            Event::ObjectEncoded { object, key, role, .. } => {
                objects.insert(*object, (key.revision, *role));
            }
            Event::DeliverySettled { object, destination, .. } => {
                let (revision, role) = objects[object];
                delivered.entry((revision, destination.clone())).or_default().insert(role);
            }
            _ => {}
        }
    }
    delivered
}

fn wait(serving: &mut Serving, what: &str, revision: u32, expected: &[(&str, &[Role])]) {
    let there = |entries: &[Entry]| {
        let delivered = delivered(entries);
        expected.iter().all(|(to, roles)| {
            let has = delivered.get(&(revision, (*to).to_owned()));
            has.is_some_and(|has| roles.iter().all(|role| has.contains(role)))
        })
    };
    serving.wait_for(what, PATIENCE, there).unwrap();
}

/// The files of a revision by name, as the folder holds them.
fn files(serving: &Serving, revision: u32) -> BTreeSet<String> {
    let study = std::fs::read_dir(serving.results()).unwrap().next().unwrap().unwrap().path();
    let folder = study.join("lesions").join(format!("revision-{revision}"));
    std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

fn file(serving: &Serving, revision: u32, name: &str) -> std::path::PathBuf {
    let study = std::fs::read_dir(serving.results()).unwrap().next().unwrap().unwrap().path();
    study.join("lesions").join(format!("revision-{revision}")).join(name)
}

/// SOPInstanceUIDs that a Key Object Selection rejects.
fn rejected(path: &Path) -> BTreeSet<String> {
    fn collect(object: &InMemDicomObject, uids: &mut BTreeSet<String>) {
        let evidence = object.element(tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE).unwrap().items().unwrap();
        for series in
            evidence.iter().flat_map(|item| item.element(tags::REFERENCED_SERIES_SEQUENCE).unwrap().items().unwrap())
        {
            for sop in series.element(tags::REFERENCED_SOP_SEQUENCE).unwrap().items().unwrap() {
                let uid = sop.element(tags::REFERENCED_SOP_INSTANCE_UID).unwrap().to_str().unwrap();
                uids.insert(uid.trim_end_matches('\0').to_owned());
            }
        }
    }
    let mut uids = BTreeSet::new();
    collect(&open_file(path).unwrap(), &mut uids);
    uids
}

/// Code of a Key Object Selection's title.
fn title(path: &Path) -> String {
    let note = open_file(path).unwrap();
    let title = note.element(tags::CONCEPT_NAME_CODE_SEQUENCE).unwrap().items().unwrap()[0].clone();
    title.element(tags::CODE_VALUE).unwrap().to_str().unwrap().trim().to_owned()
}

/// UIDs of the DICOM objects that were encoded of a revision, but for its note.
fn objects(entries: &[Entry], of_revision: u32) -> BTreeSet<String> {
    let uid = |entry: &Entry| match &entry.event {
        Event::ObjectEncoded { key, role, uid, .. }
            if key.revision == of_revision && role.is_dicom() && *role != Role::RejectionNote =>
        {
            Some(uid.clone())
        }
        _ => None,
    };
    entries.iter().filter_map(uid).collect()
}

fn valid(serving: &Serving, revision: u32) {
    for name in files(serving, revision).iter().filter(|name| name.ends_with(".dcm")) {
        // dicom3tools do not know label map segmentations.
        if name == "labelmap-segmentation.dcm" {
            continue;
        }
        if let Some(findings) = or_skip(dciodvfy(&file(serving, revision, name))) {
            assert_eq!(findings.errors, Vec::<String>::new(), "{name} of revision {revision}");
        }
    }
}

#[test]
fn every_output_stands_at_every_kind_of_destination_until_it_is_corrected_or_taken_back() {
    let work = tempfile::tempdir().unwrap();
    let Some(orthanc) = or_skip(Orthanc::start(work.path())) else { return };
    let server = or_skip(Medplum::start(work.path()));
    let mut destinations = vec![("data-set".to_owned(), "kind = \"bids\"\npath = \"state/bids\"\n".to_owned())];
    if let Some(server) = &server {
        let retry = "retry = { first_seconds = 0.2, limit_seconds = 1.0 }";
        destinations.push(("ehr".to_owned(), format!("kind = \"fhir\"\nurl = \"{}\"\n{retry}\n", server.url())));
    }
    let dicom: Vec<Role> = Role::ALL.into_iter().filter(|role| role.is_dicom()).collect();
    let spec = SiteSpec {
        archive: Some(orthanc.dicom_address()),
        folder_outputs: Role::ALL.to_vec(),
        archive_outputs: dicom.clone(),
        destinations,
        ..SiteSpec::default()
    };
    let mut serving = Serving::start(work.path(), spec).unwrap();
    let slices = series_with_lesions(&work.path().join("in"), 31, &[[8, 20, 6], [20, 40, 13]]).unwrap();
    send(serving.address(), &slices).unwrap();
    let first =
        |roles: &[Role]| -> Vec<Role> { roles.iter().copied().filter(|role| *role != Role::RejectionNote).collect() };
    let fhir: &[(&str, &[Role])] = if server.is_some() { &[("ehr", &[Role::Fhir])] } else { &[] };
    let (all, objects_first) = (first(&Role::ALL), first(&dicom));
    let to: &[(&str, &[Role])] = &[("folder", &all), ("archive", &objects_first), ("data-set", &[Role::Derivatives])];
    wait(&mut serving, "no first revision", 1, &[to, fhir].concat());
    assert_eq!(files(&serving, 1).len(), all.len(), "{:?}", files(&serving, 1));
    valid(&serving, 1);
    let standing =
        |search: &str| server.as_ref().map(|server| server.search("DiagnosticReport", search).unwrap().len());
    let final_ones = "status=partial,preliminary,final";
    assert_eq!(standing(final_ones), server.as_ref().map(|_| 1));
    let maps = |folder: &Path| {
        let all = walk(folder);
        all.iter().filter(|name| name.ends_with("_dseg.nii.gz")).count()
    };
    let bids = work.path().join("state/bids");
    assert_eq!(maps(&bids), 1);

    // A reader rejects a lesion: the archive is told what no longer stands.
    let report: Report = reports(&serving.results()).pop().unwrap().1;
    let lesion = report.lesions[0].tracking_uid.clone();
    let study = report.study_instance_uid.clone();
    let words = ["verdict", "--study", &study, "--lesion", &lesion, "--reject", "--reader", "A. Reader"];
    let (said, done) = serving.command(&words).unwrap();
    assert!(done, "{said}");
    let to: &[(&str, &[Role])] = &[("folder", &Role::ALL), ("archive", &dicom), ("data-set", &[Role::Derivatives])];
    wait(&mut serving, "no second revision", 2, &[to, fhir].concat());
    valid(&serving, 2);
    let entries = serving.entries();
    assert_eq!(rejected(&file(&serving, 2, "rejection-note.dcm")), objects(&entries, 1));
    let sr = open_file(file(&serving, 2, "structured-report.dcm")).unwrap();
    assert!(sr.element(tags::PREDECESSOR_DOCUMENTS_SEQUENCE).is_ok(), "it names the report that it replaces");
    assert_eq!(standing(final_ones), server.as_ref().map(|_| 1), "the first is entered in error");
    assert_eq!(maps(&bids), 1);

    // The series is taken back.
    let series = small_series_uid(31);
    let (said, done) =
        serving.command(&["withdraw", "--series", &series, "--reason", "x", "--because", "wrong-patient"]).unwrap();
    assert!(done, "{said}");
    let telling: Vec<Role> = Role::ALL.into_iter().filter(|role| role.tells_withdrawal()).collect();
    let told = [Role::EncapsulatedReport, Role::RejectionNote];
    let to: &[(&str, &[Role])] = &[("folder", &telling), ("archive", &told), ("data-set", &[Role::Derivatives])];
    wait(&mut serving, "no withdrawal", 3, &[to, fhir].concat());
    valid(&serving, 3);
    let entries = serving.entries();
    let before: BTreeSet<String> = objects(&entries, 1).union(&objects(&entries, 2)).cloned().collect();
    assert_eq!(rejected(&file(&serving, 3, "rejection-note.dcm")), before);
    let titles = [2, 3].map(|revision| title(&file(&serving, revision, "rejection-note.dcm")));
    assert_eq!(titles, ["113001", "113037"], "superseded, and then of a wrong patient");
    assert_eq!(reports(&serving.results()).pop().unwrap().1.status, Status::Withdrawn);
    assert_eq!((standing(final_ones), maps(&bids)), (server.as_ref().map(|_| 0), 0));
    let (status, _) = serving.command(&["status"]).unwrap();
    assert!(
        status.contains("faults: 1\n  findings:"),
        "the verdict has no lesion, and no archive is at fault: {status}"
    );

    // The archive holds each object once, and every one that was encoded.
    let held = orthanc.instances().unwrap();
    let uid = |id: &String| orthanc.value(id, "SOPInstanceUID").unwrap().as_str().unwrap().to_owned();
    let held: Vec<String> = held.iter().map(uid).collect();
    let encoded = entries.iter().filter_map(|entry| match &entry.event {
        Event::ObjectEncoded { role, uid, .. } if role.is_dicom() => Some(uid.clone()),
        _ => None,
    });
    assert_eq!(held.iter().cloned().collect::<BTreeSet<_>>(), encoded.collect::<BTreeSet<_>>());
    assert_eq!(held.len(), held.iter().collect::<BTreeSet<_>>().len());
    let classes: BTreeSet<String> = orthanc
        .instances()
        .unwrap()
        .iter()
        .map(|id| orthanc.value(id, "SOPClassUID").unwrap().as_str().unwrap().to_owned())
        .collect();
    assert!(classes.contains(uids::KEY_OBJECT_SELECTION_DOCUMENT_STORAGE), "{classes:?}");

    // The outbox names each; what was delivered is sent again by hand.
    let (outbox, done) = serving.command(&["outbox", "--study", &study]).unwrap();
    assert!(done && outbox.contains("rejection-note") && outbox.contains("delivered"), "{outbox}");
    let sent = |entries: &[Entry]| entries.iter().filter(|entry| entry.event.name() == "DeliverySettled").count();
    let count = sent(&serving.entries());
    let (said, done) = serving.command(&["resend", "--destination", "archive", "--study", &study]).unwrap();
    assert!(done && said.contains("2 objects"), "{said}");
    serving.wait_for("nothing was sent again", PATIENCE, |entries| sent(entries) == count + 2).unwrap();
    assert_eq!(orthanc.instances().unwrap().len(), held.len(), "the archive has each once still");
    let (said, done) = serving.command(&["resend", "--destination", "archiv", "--study", &study]).unwrap();
    assert!(!done && said.contains("did you mean archive?"), "{said}");
    let (said, done) = serving.command(&["resend", "--destination", "archive"]).unwrap();
    assert!(done && said.contains("nothing for archive"), "{said}");
}

/// Names of all files below a folder.
fn walk(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => names.extend(walk(&path)),
            path => names.push(path.display().to_string()),
        }
    }
    names
}

/// The shipped model, which holds its training scans, and a series that is no head: every output says that it is far.
#[test]
fn every_output_tells_how_far_a_scan_is_from_those_that_the_model_learned_from() {
    let work = tempfile::tempdir().unwrap();
    let outputs = vec![Role::Segmentation, Role::StructuredReport, Role::Report, Role::Page, Role::Fhir];
    let spec = SiteSpec { model: "models/demo".into(), folder_outputs: outputs.clone(), ..SiteSpec::default() };
    let mut serving = Serving::start(work.path(), spec).unwrap();
    let slices = series_with_lesions(&work.path().join("in"), 32, &[[8, 20, 6]]).unwrap();
    send(serving.address(), &slices).unwrap();
    wait(&mut serving, "no revision", 1, &[("folder", &outputs)]);
    valid(&serving, 1);
    let (folder, report) = reports(&serving.results()).pop().unwrap();
    let domain = report.run.unwrap().domain.unwrap();
    println!("{domain:?}");
    assert_eq!((domain.farther_than, domain.training_scans, domain.beyond), (64, 64, true));
    assert!(report.notes.contains(&domain.note()), "{:?}", report.notes);
    let fhir: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("fhir.json")).unwrap()).unwrap();
    let values = fhir["entry"].as_array().unwrap().iter().map(|entry| &entry["resource"]["valueQuantity"]["value"]);
    assert_eq!(values.filter(|value| value.as_f64() == Some(domain.distance)).count(), 1);
    let object = open_file(file(&serving, 1, "structured-report.dcm")).unwrap();
    assert_eq!(measured(&object, "domain-distance"), [domain.distance]);
    assert_eq!(measured(&object, "training-scans"), [64.0]);
}

/// The numbers under a concept, wherever they are.
fn measured(object: &InMemDicomObject, code: &str) -> Vec<f64> {
    let items = |object: &InMemDicomObject, tag| -> Vec<InMemDicomObject> {
        object.element_opt(tag).unwrap().and_then(|element| element.items()).unwrap_or_default().to_vec()
    };
    let text = |object: &InMemDicomObject, tag| object.element(tag).unwrap().to_str().unwrap().trim_end().to_owned();
    let mut found = Vec::new();
    for item in items(object, tags::CONTENT_SEQUENCE) {
        let name = items(&item, tags::CONCEPT_NAME_CODE_SEQUENCE);
        if name.first().is_some_and(|name| text(name, tags::CODE_VALUE) == code) {
            let value = items(&item, tags::MEASURED_VALUE_SEQUENCE).remove(0);
            found.push(text(&value, tags::NUMERIC_VALUE).parse().unwrap());
        }
        found.extend(measured(&item, code));
    }
    found
}
