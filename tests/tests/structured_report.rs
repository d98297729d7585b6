//! Structured reports and rejection notes, as their readers see them: dicom3tools, DCMTK, pydicom, highdicom, dcmqi and
//! Orthanc.
//!
//! Lesions are boxes that are set here; what is tested is the object and what its readers find in it.

mod scan;

use std::path::{Path, PathBuf};

use dicom_core::VR;
use dicom_dictionary_std::tags;
use scan::{SEGMENTATION, Scan};
use serde_json::{Value, json};
use sulcus_operators::phantom::{Orientation, dicom::Encoding};
use sulcus_operators::results::{
    dicom::Object,
    kos::Reason,
    report::{Judgement, Report, Verdict},
};
use sulcus_tests::dciodvfy::dciodvfy;
use sulcus_tests::dcmqi::tid1500reader;
use sulcus_tests::dcmtk::dsrdump;
use sulcus_tests::or_skip;
use sulcus_tests::orthanc::Orthanc;
use sulcus_tests::phantoms::Head;
use sulcus_tests::places::scanner_files;
use sulcus_tests::python::python;
use sulcus_tests::scans::{objects, send};

/// Writes an object and lets dciodvfy judge it.
fn valid(object: &Object, folder: &Path) -> PathBuf {
    let file = folder.join("object.dcm");
    std::fs::write(&file, &object.bytes).unwrap();
    if let Some(findings) = or_skip(dciodvfy(&file)) {
        assert_eq!(findings.errors, Vec::<String>::new());
        // What comes of the source is carried as it is: a name of the retired form, an empty date or id.
        let from_source = |line: &&String| line.contains("Patient's Name") || line.contains("needed to build DICOMDIR");
        // It knows no scheme whose name begins with 99, which PS3.16 8 leaves to whoever makes codes of their own.
        let private = |line: &&String| line.contains("Unrecognized defined term <99SULCUS>");
        let ours: Vec<_> = findings.warnings.iter().filter(|line| !from_source(line) && !private(line)).collect();
        assert_eq!(ours, Vec::<&String>::new());
    }
    file
}

/// The same of a document, which dsrdump reads as well.
fn judged(object: &Object, folder: &Path) -> PathBuf {
    let file = valid(object, folder);
    if let Some(said) = or_skip(dsrdump(&file)) {
        // It says of every template, and of several character sets, that it cannot check them.
        let unable = |line: &str| line.contains("template") || line.contains("support");
        let complains = |line: &&str| (line.starts_with("W:") || line.starts_with("E:")) && !unable(line);
        let complaints: Vec<_> = said.lines().filter(complains).collect();
        assert_eq!(complaints, Vec::<&str>::new());
    }
    file
}

/// The items with this code as their name, wherever they are.
fn named<'a>(items: &'a Value, code: &str) -> Vec<&'a Value> {
    let items = items.as_array().unwrap();
    let below = |item: &'a Value| {
        let own = (item["name"][0] == code).then_some(item);
        own.into_iter().chain(named(&item["items"], code))
    };
    items.iter().flat_map(below).collect()
}

/// Writes a report of `count` lesions and holds what its readers find against it.
fn read_back(scan: &Scan, count: u16) {
    let (report, labels) = scan.report(count);
    let object = scan.sr(&report, &labels);
    println!("{count} lesions: {} bytes, notes {:?}", object.bytes.len(), object.notes);
    let folder = tempfile::tempdir().unwrap();
    let file = judged(&object, folder.path());
    let groups = if report.lesions.is_empty() { "" } else { "groups" };
    if let Some(read) = or_skip(python("read_report.py", &[file.as_os_str(), groups.as_ref()])) {
        compare(&read, scan, &report);
    }
    let Some(read) = or_skip(tid1500reader(&file)) else { return };
    let measurements = read["Measurements"].as_array().unwrap();
    assert_eq!(measurements.len(), report.lesions.len());
    for ((segment, lesion), read) in (1..).zip(&report.lesions).zip(measurements) {
        assert_eq!(read["TrackingUniqueIdentifier"], lesion.tracking_uid);
        assert_eq!(read["ReferencedSegment"], segment);
        assert_eq!(read["segmentationSOPInstanceUID"], SEGMENTATION);
        assert_eq!(read["Finding"]["CodeMeaning"], "Lesion");
        assert_eq!(read["measurementItems"].as_array().unwrap().len(), 7, "{read}");
    }
}

fn compare(read: &Value, scan: &Scan, report: &Report) {
    assert_eq!(read["class"], "Comprehensive3DSR");
    assert_eq!(read["title"][2], "Imaging Measurement Report");
    assert_eq!(read["predecessors"], json!(["2.25.41"]));
    let mut evidence: Vec<&str> = scan.volume.frames.iter().map(|frame| frame.sop_instance_uid.as_str()).collect();
    evidence.push(SEGMENTATION);
    evidence.sort_unstable();
    evidence.dedup();
    assert_eq!(read["evidence"], json!(evidence));
    let items = &read["items"];
    assert!(named(items, "121071").iter().any(|item| item["value"] == json!(report.result)));
    assert_eq!(named(items, "use")[0]["value"], "Research use only, not for diagnosis");
    let notes: Vec<_> = named(items, "note").iter().map(|item| item["value"].clone()).collect();
    let domain = report.run.as_ref().unwrap().domain.unwrap();
    assert_eq!(notes, ["slices may be missing", "the images are noisy", &domain.note()]);
    let numbers = ["domain-distance", "farther-than", "training-scans"].map(|code| &named(items, code)[0]["value"]);
    assert_eq!(numbers, [&json!(3.25), &json!(64.0), &json!(64.0)]);

    let groups = read["groups"].as_array().unwrap();
    assert_eq!(read["group_count"], report.lesions.len());
    let centers = named(items, "111010");
    assert_eq!(centers.len(), report.lesions.len());
    for (place, group) in groups.iter().map(|found| (found[0].as_u64().unwrap() as usize, &found[1])) {
        let lesion = &report.lesions[place];
        assert_eq!(group["tracking_uid"], lesion.tracking_uid);
        assert_eq!(group["tracking_identifier"], format!("Lesion {}", lesion.label));
        assert_eq!((&group["finding"], &group["sites"]), (&json!("Lesion"), &json!(["Brain"])));
        assert_eq!((&group["segmentation"], &group["segment"]), (&json!(SEGMENTATION), &json!([place + 1])));
        assert_eq!(group["source_series"], scan.series);
        let measured = &group["measurements"];
        assert_eq!(measured["Volume"], json!([lesion.volume_mm3, "mm3"]));
        assert_eq!(measured["Mean MR signal intensity"], json!([lesion.mean_intensity, "1"]));
        assert_eq!(measured["Mean Foreground probability of the model"], json!([0.75, "1"]));
        assert_eq!(measured["Maximum Foreground probability of the model"], json!([0.75, "1"]));
        assert_eq!(measured["Uncertainty: entropy of the mean foreground probability"], json!([0.811, "bit"]));
        let axis = |name: &str| measured[name][0].as_f64().unwrap();
        let spacing = scan.volume.grid.spacing();
        let sides = [0, 1].map(|axis| f64::from(lesion.box_size[axis]) * spacing[axis]);
        assert!((axis("Long Axis") - sides[0].hypot(sides[1])).abs() < 1e-3, "{measured} {sides:?}");
        assert!(axis("Short Axis") > 0.0 && axis("Short Axis") <= axis("Long Axis"), "{measured}");
        for (found, wanted) in centers[place]["value"].as_array().unwrap().iter().zip(lesion.centroid_mm) {
            assert!((found.as_f64().unwrap() - wanted).abs() < 1e-3, "{found} {wanted}");
        }
    }
    // OHIF takes the first UIDREF of a group for the lesion's own.
    for (group, lesion) in named(items, "125007").iter().zip(&report.lesions) {
        let first = group["items"].as_array().unwrap().iter().find(|item| item["type"] == "UIDREF").unwrap();
        assert_eq!(first["value"], lesion.tracking_uid);
    }
    let verdicts = named(items, "verdict");
    if report.lesions_rejected.is_empty() {
        assert_eq!(verdicts.len(), 0);
        return;
    }
    let category = json!(["276214006", "49755003"]);
    assert_eq!(groups[0][1]["evaluations"], json!([category, ["verdict", "accepted"]]));
    let said: Vec<_> = verdicts.iter().map(|verdict| verdict["value"][0].clone()).collect();
    assert_eq!(said, ["accepted", "relabelled", "rejected"]);
    let below = |place: usize, code: &str| named(&verdicts[place]["items"], code)[0]["value"].clone();
    assert_eq!(below(1, "121008"), "Reader^Ada");
    assert_eq!((below(1, "label"), below(1, "121106")), (json!("cyst"), json!("bright on T2\nseen before")));
    assert_eq!(below(2, "112040"), report.lesions_rejected[0].tracking_uid);
    assert_eq!(below(2, "121106"), "vessel");
}

#[test]
fn readers_find_every_lesion_of_a_classic_philips_series() {
    let Some(files) = or_skip(scanner_files("philips-mprage-classic/In/cl")) else { return };
    read_back(&Scan::open(&files), 5);
}

#[test]
fn readers_find_every_lesion_of_an_enhanced_siemens_series() {
    for folder in ["siemens-xa30-enhanced/In/5_anat-T1w_acq-tfl", "siemens-xa30-enhanced/In/6_anat-T1w_acq-tfl"] {
        let Some(files) = or_skip(scanner_files(folder)) else { return };
        read_back(&Scan::open(&files), 5);
    }
}

#[test]
fn readers_find_none_one_and_two_lesions() {
    let scan = Scan::synthetic(16, 64, 48);
    for count in [0, 1, 2] {
        read_back(&scan, count);
    }
}

#[test]
fn readers_find_five_hundred_lesions() {
    read_back(&Scan::synthetic(16, 64, 48), 500);
}

#[test]
fn readers_see_names_of_every_script_unharmed() {
    let japanese = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B";
    let korean = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf";
    let utf8 = "Wang^XiaoDong=\u{738b}^\u{5c0f}\u{4e1c}".as_bytes();
    for (charset, stored, name, words) in [
        ("ISO_IR 100", b"M\xfcller^J\xf6rg".as_slice(), "M\u{fc}ller^J\u{f6}rg", "fr\u{fc}h"),
        ("ISO_IR 192", utf8, "Wang^XiaoDong=\u{738b}^\u{5c0f}\u{4e1c}", "\u{56ca}\u{80bf}"),
        (
            "\\ISO 2022 IR 87",
            japanese,
            "Yamada^Tarou=\u{5c71}\u{7530}^\u{592a}\u{90ce}=\u{3084}\u{307e}\u{3060}^\u{305f}\u{308d}\u{3046}",
            "cyst",
        ),
        ("\\ISO 2022 IR 149", korean, "Hong^Gildong=\u{6d2a}^\u{5409}\u{6d1e}=\u{d64d}^\u{ae38}\u{b3d9}", "cyst"),
    ] {
        let scan = Scan::with_elements(&[
            (tags::SPECIFIC_CHARACTER_SET, VR::CS, charset.as_bytes()),
            (tags::PATIENT_NAME, VR::PN, stored),
        ]);
        let (mut report, labels) = scan.report(1);
        report.lesions[0].verdict = Some(Verdict {
            verdict: Judgement::Relabelled,
            relabelled: Some(words.into()),
            reader: "Reader^Ada".into(),
            comment: None,
        });
        for object in [scan.sr(&report, &labels), scan.note(Reason::Superseded)] {
            let folder = tempfile::tempdir().unwrap();
            let file = judged(&object, folder.path());
            if let Some(read) = or_skip(python("read_report.py", &[&file])) {
                assert_eq!(read["patient_name"], name, "{charset}");
                assert!(named(&read["items"], "label").iter().all(|label| label["value"] == words), "{read}");
            }
        }
    }
}

#[test]
fn what_a_source_says_against_the_standard_is_corrected_or_left_out_and_noted() {
    let scan = Scan::with_elements(&[
        (tags::SPECIFIC_CHARACTER_SET, VR::CS, b"ISO_IR 999"),
        (tags::PATIENT_ID, VR::LO, b""),
        (tags::STUDY_DESCRIPTION, VR::LO, &[b'x'; 200]),
        (tags::STUDY_ID, VR::SH, b"more than sixteen characters"),
        (tags::PATIENT_BIRTH_DATE, VR::DA, b"1990.31.12"),
        (tags::PATIENT_SEX, VR::CS, b"unknown"),
        (tags::ACCESSION_NUMBER, VR::SH, b"A\\B"),
    ]);
    let (report, labels) = scan.report(1);
    for object in [scan.sr(&report, &labels), scan.note(Reason::Withdrawn)] {
        assert_eq!(object.notes.len(), 6, "{:?}", object.notes);
        let folder = tempfile::tempdir().unwrap();
        let file = judged(&object, folder.path());
        let Some(read) = or_skip(python("read_report.py", &[&file])) else { return };
        assert_eq!(read["patient_id"], "");
    }
}

#[test]
fn readers_see_what_a_rejection_note_rejects() {
    let scan = Scan::synthetic(2, 16, 16);
    for (reason, title) in
        [(Reason::Superseded, "113001"), (Reason::Withdrawn, "113001"), (Reason::PatientSafety, "113037")]
    {
        let folder = tempfile::tempdir().unwrap();
        let file = judged(&scan.note(reason), folder.path());
        let Some(read) = or_skip(python("read_report.py", &[&file])) else { return };
        assert_eq!(read["class"], "KeyObjectSelectionDocument");
        assert_eq!(read["title"][0], title);
        assert_eq!(read["evidence"], json!(["2.25.41", "2.25.61", "2.25.71"]));
        assert_eq!(read["resolved"][0], json!([scan.study, "2.25.42", "2.25.41"]));
        let types: Vec<_> = read["items"].as_array().unwrap().iter().map(|item| item["type"].clone()).collect();
        assert_eq!(types[types.len() - 4..], ["TEXT", "IMAGE", "COMPOSITE", "COMPOSITE"]);
        let modifiers = named(&read["items"], "113011");
        assert_eq!(modifiers.is_empty(), reason == Reason::PatientSafety);
    }
}

#[test]
fn orthanc_stores_reports_and_rejection_notes_beside_their_source() {
    let scan = Scan::synthetic(16, 64, 48);
    let (report, labels) = scan.report(5);
    let folder = tempfile::tempdir().unwrap();
    let Some(orthanc) = or_skip(Orthanc::start(folder.path())) else { return };
    let written = [scan.sr(&report, &labels), scan.note(Reason::Superseded)];
    let files = [0, 1].map(|number| folder.path().join(format!("{number}.dcm")));
    for (file, object) in files.iter().zip(&written) {
        std::fs::write(file, &object.bytes).unwrap();
    }
    let sent = objects(&files).unwrap();
    assert_eq!(send(orthanc.dicom_address(), &sent).unwrap(), [0, 0]);
    let held = orthanc.instances().unwrap();
    assert_eq!(held.len(), 2);
    for instance in held {
        assert_eq!(orthanc.value(&instance, "StudyInstanceUID").unwrap(), scan.study);
        // Orthanc writes sequences with other lengths, so bytes differ and content must not.
        let served = folder.path().join("served.dcm");
        std::fs::write(&served, orthanc.file(&instance).unwrap()).unwrap();
        let Some(served) = or_skip(python("read_report.py", &[&served])) else { return };
        let equal = |file: &PathBuf| or_skip(python("read_report.py", &[file])).is_some_and(|sent| sent == served);
        assert!(files.iter().any(equal), "{served}");
    }
}

#[test]
fn whatever_the_orientation_and_encoding_every_object_is_valid_and_lesions_are_where_they_were_measured() {
    let folder = tempfile::tempdir().unwrap();
    for orientation in [Orientation::Axial, Orientation::Sagittal, Orientation::Coronal, Orientation::Oblique] {
        let head = Head::new(orientation).unwrap();
        for (encoding, directions) in [(Encoding::Classic, [1.0, 1.0]), (Encoding::Enhanced, [-1.0, 1.0])] {
            let files = head.write(&folder.path().join(format!("{orientation:?}-{encoding:?}")), encoding, directions);
            let scan = Scan::open(&files.unwrap());
            read_back(&scan, 2);
            for object in scan.pictures(2) {
                valid(&object, folder.path());
            }
        }
    }
}
