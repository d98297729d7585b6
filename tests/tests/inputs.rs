//! A pipeline whose model reads three series of a study, at a running site: the uniform image of an MP2RAGE and both
//! inversions. The model finds what `blob_filter` finds in the first, but nothing where the second is bright or the third
//! is dark.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use serde_json::Value;
use sulcus_engine::ledger::event::Event;
use sulcus_operators::phantom::dicom::{Encoding, ScanSpec, Vendor, study};
use sulcus_operators::phantom::{Field, Phantom, PhantomSpec, Sequence};
use sulcus_operators::results::report::{Report, Status};
use sulcus_tests::phantoms::changed;
use sulcus_tests::scans::{objects, reports, send};
use sulcus_tests::serving::{Object, Serving, SiteSpec, count, settled};
use sulcus_tests::slices::{Slices, write_series};
use sulcus_tests::three_channels;

const PATIENCE: Duration = Duration::from_secs(120);
const STUDY: &str = "2.25.4711";
/// Where lesions lie in the first series (column, row, slice).
const LESIONS: [[i32; 3]; 3] = [[14, 20, 8], [18, 44, 12], [10, 34, 5]];

/// Which lesions the second and third series forbid.
const BRIGHT: i32 = 1;
const DARK: i32 = 2;

fn series_uid(number: u32) -> String {
    format!("2.25.{}2", 100_000 + number)
}

/// A series of the study: 20 slices of 64 by 64, `value` in each voxel (column, row, slice). `shift` moves it along rows.
fn series(folder: &Path, number: u32, name: &str, shift: i32, value: impl Fn([i32; 3]) -> u16) -> Vec<Object> {
    let files =
        write_series(&folder.join(number.to_string()), Slices { count: 20, rows: 64, columns: 64, seed: number });
    let files: Vec<PathBuf> = files.unwrap();
    for (slice, file) in (1..).zip(&files) {
        changed(file, |object| {
            for (tag, vr, text) in [
                (tags::STUDY_INSTANCE_UID, VR::UI, STUDY.to_owned()),
                (tags::FRAME_OF_REFERENCE_UID, VR::UI, format!("{STUDY}.1")),
                (tags::SERIES_DESCRIPTION, VR::LO, name.to_owned()),
                (tags::IMAGE_POSITION_PATIENT, VR::DS, format!("{}\\-128\\{slice}", shift - 128)),
            ] {
                object.put(DataElement::new(tag, vr, PrimitiveValue::from(text)));
            }
            Ok(())
        })
        .unwrap();
    }
    let mut objects = objects(&files).unwrap();
    for (slice, object) in (0..).zip(&mut objects) {
        let start = object.data_set.len() - 2 * 64 * 64;
        for (voxel, sample) in (0..).zip(object.data_set[start..].chunks_exact_mut(2)) {
            sample.copy_from_slice(&value([voxel % 64, voxel / 64, slice]).to_le_bytes());
        }
    }
    objects
}

fn is_in(lesion: i32, at: [i32; 3]) -> bool {
    let place = LESIONS[lesion as usize];
    (0..3).map(|axis| (at[axis] - place[axis]).pow(2)).sum::<i32>() <= 6
}

fn uni(folder: &Path) -> Vec<Object> {
    series(folder, 1, "mp2rage_UNI", 0, |at| match at[0] {
        _ if (0..3).any(|lesion| is_in(lesion, at)) => 692,
        0..38 => 800,
        _ => 1200,
    })
}

fn inv1(folder: &Path, number: u32, shift: i32) -> Vec<Object> {
    series(folder, number, "mp2rage_INV1", shift, |at| if is_in(BRIGHT, at) { 3000 } else { 1000 })
}

fn inv2(folder: &Path) -> Vec<Object> {
    series(folder, 3, "mp2rage_INV2", 0, |at| if is_in(DARK, at) { 100 } else { 1000 })
}

/// A site whose pipeline reads all three; `more` is said of it besides.
fn start(work: &Path, more: &str) -> Serving {
    let model = work.join("three-channels");
    std::fs::create_dir(&model).unwrap();
    three_channels::write(&model).unwrap();
    let input = |name: &str| {
        format!("[[pipeline.input]]\nname = \"{name}\"\nwhen = 'SeriesDescription.contains(\"{name}\")'\n")
    };
    let spec = SiteSpec {
        when: "SeriesDescription.contains(\"UNI\")".to_owned(),
        model,
        pipeline_settings: format!("{}{}{more}", input("INV1"), input("INV2")),
        ..SiteSpec::default()
    };
    Serving::start(work, spec).unwrap()
}

/// The newest report once so many revisions are delivered, each as segmentation and report; a withdrawn one has no
/// segmentation.
fn revision(serving: &mut Serving, number: u32, deliveries: usize) -> Report {
    serving.wait_for("no further revision", PATIENCE, |entries| settled(entries, deliveries)).unwrap();
    let (_, report) = reports(&serving.results()).pop().unwrap();
    assert_eq!(report.revision, number, "{report:?}");
    report
}

fn status(serving: &Serving) -> Value {
    let (said, done) = serving.command(&["status", "--json"]).unwrap();
    assert!(done, "{said}");
    serde_json::from_str(&said).unwrap()
}

/// What `status` says in a list once it says so much.
fn told(serving: &Serving, list: &str) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let rows = status(serving)[list].as_array().unwrap().clone();
        if !rows.is_empty() || begun.elapsed() > PATIENCE {
            return rows.iter().map(|row| row["reason"].as_str().unwrap().to_owned()).collect();
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The places of the lesions of a report, by the order above.
fn found(report: &Report) -> Vec<usize> {
    let place = |centroid: [f64; 3]| {
        let near = |place: &[i32; 3]| {
            let at = [f64::from(place[0] - 128), f64::from(place[1] - 128), f64::from(place[2] + 1)];
            (0..3).all(|axis| (at[axis] - centroid[axis]).abs() < 2.5)
        };
        LESIONS.iter().position(near).unwrap()
    };
    let mut found: Vec<usize> = report.lesions.iter().map(|lesion| place(lesion.centroid_mm)).collect();
    found.sort_unstable();
    found
}

#[test]
fn one_report_is_made_of_three_series_and_follows_each_of_them() {
    let work = tempfile::tempdir().unwrap();
    let mut serving = start(work.path(), "");
    let (uni, inv1, inv2) = (uni(work.path()), inv1(work.path(), 2, 0), inv2(work.path()));
    send(serving.address(), &inv1).unwrap();
    send(serving.address(), &uni).unwrap();
    assert_eq!(told(&serving, "inputs_awaited"), ["INV2 is missing (no series of the study is taken as it)"]);
    let (said, _) = serving.command(&["status"]).unwrap();
    assert!(said.contains("waits beside series") && said.contains("INV2 is missing"), "{said}");

    // A slice too few is another grid: nothing is made of it, and the series is named.
    let (last, others) = inv2.split_last().unwrap();
    send(serving.address(), others).unwrap();
    let fault = told(&serving, "faults").concat();
    let expected = format!("INV2, series {}: it does not lie on the grid of series {}", series_uid(3), series_uid(1));
    assert!(fault.starts_with(&expected) && fault.contains("64 x 64 x 19"), "{fault}");
    send(serving.address(), std::slice::from_ref(last)).unwrap();
    let first = revision(&mut serving, 1, 2);
    assert_eq!(status(&serving)["faults"], serde_json::json!([]));
    assert_eq!(found(&first), [0], "the second and the third series were read, each in its channel");
    let run = first.run.as_ref().unwrap();
    assert_eq!(run.series_instance_uid, series_uid(1));
    let inputs: Vec<(&str, &str)> =
        run.inputs.iter().map(|input| (input.name.as_str(), input.series_instance_uid.as_str())).collect();
    assert_eq!(inputs, [("INV1", series_uid(2).as_str()), ("INV2", series_uid(3).as_str())]);
    assert!(first.series_not_used.is_empty(), "{:?}", first.series_not_used);

    // A slice of the third series is taken back and comes corrected.
    let mut corrected = inv2[14].clone();
    let end = corrected.data_set.len();
    corrected.data_set[end - 2..].copy_from_slice(&1001u16.to_le_bytes());
    let uid = corrected.sop_instance_uid.clone();
    let (said, done) = serving.command(&["withdraw", "--instance", &uid, "--reason", "artefact"]).unwrap();
    assert!(done, "{said}");
    send(serving.address(), &[corrected]).unwrap();
    let second = revision(&mut serving, 2, 4);
    assert_ne!(second.run.as_ref().unwrap().run_key, run.run_key);
    assert_eq!(found(&second), [0]);

    let words = ["withdraw", "--series", &series_uid(2), "--reason", "x", "--because", "wrong-patient"];
    let (said, done) = serving.command(&words).unwrap();
    assert!(done, "{said}");
    let third = revision(&mut serving, 3, 5);
    assert_eq!(third.status, Status::Withdrawn);
    let why = "it is made of several series: INV1 is missing (no series of the study is taken as it)";
    assert_eq!(third.withdrawn_because.as_deref(), Some(why));
    let runs = count(&serving.entries(), "RunStarted");
    send(serving.address(), &inv1).unwrap();
    let fourth = revision(&mut serving, 4, 7);
    assert_eq!((&fourth.run, &fourth.lesions), (&second.run, &second.lesions));
    assert_eq!(count(&serving.entries(), "RunStarted"), runs, "what was run is known");
}

#[test]
fn a_series_that_lies_elsewhere_is_named_and_the_right_one_is_read_in_its_place() {
    let work = tempfile::tempdir().unwrap();
    let mut serving = start(work.path(), "");
    for series in [uni(work.path()), inv2(work.path()), inv1(work.path(), 2, 3)] {
        send(serving.address(), &series).unwrap();
    }
    let fault = told(&serving, "faults").concat();
    assert!(fault.starts_with(&format!("INV1, series {}", series_uid(2))), "{fault}");
    assert!(fault.ends_with("its voxels lie up to 3.00 mm elsewhere"), "{fault}");
    let failed = |event: &Event| matches!(event, Event::RunFailed { permanent: true, .. });
    assert_eq!(serving.entries().iter().filter(|entry| failed(&entry.event)).count(), 1, "and tried once");
    let (said, done) = serving.command(&["withdraw", "--series", &series_uid(2), "--reason", "elsewhere"]).unwrap();
    assert!(done, "{said}");
    send(serving.address(), &inv1(work.path(), 4, 0)).unwrap();
    let report = revision(&mut serving, 1, 2);
    assert_eq!(report.run.as_ref().unwrap().inputs[0].series_instance_uid, series_uid(4));
    assert_eq!(found(&report), [0]);
}

#[test]
fn the_first_series_is_reported_alone_after_the_stated_time_and_with_the_others_when_they_come() {
    let work = tempfile::tempdir().unwrap();
    let filter = sulcus_tests::places::root().join("tests/blob-filter");
    let alone = format!("[pipeline.alone]\nmodel = \"{}\"\nafter_seconds = 1.0\n", filter.display());
    let mut serving = start(work.path(), &alone);
    send(serving.address(), &uni(work.path())).unwrap();
    let first = revision(&mut serving, 1, 2);
    assert_eq!(found(&first), [0, 1, 2]);
    assert_eq!(first.run.as_ref().unwrap().model_name, "blob-filter");
    assert!(first.notes[0].starts_with("Made from one series alone") && first.notes[0].contains("INV1 is missing"));
    assert_eq!(first.result, "3 lesions were found.", "the series itself is whole");

    let fired = |entries: &[sulcus_engine::ledger::event::Entry]| count(entries, "RunStarted") == 2;
    send(serving.address(), &inv1(work.path(), 2, 0)).unwrap();
    send(serving.address(), &inv2(work.path())).unwrap();
    serving.wait_for("no run of all three", PATIENCE, fired).unwrap();
    serving
        .wait_for("no report of all three", PATIENCE, |entries| {
            let issued =
                |event: &Event| matches!(event, Event::RevisionIssued { run: Some(run), .. } if run.inputs.len() == 2);
            entries.iter().any(|entry| issued(&entry.event))
        })
        .unwrap();
    let issued = count(&serving.entries(), "RevisionIssued");
    let all = revision(&mut serving, issued as u32, 2 * issued);
    assert_eq!((found(&all), all.run.as_ref().unwrap().model_name.as_str()), (vec![0], "three-channels"));
    let before = first.lesions.iter().find(|lesion| lesion.tracking_uid == all.lesions[0].tracking_uid);
    let moved = before.map(|before| (0..3).map(|axis| before.centroid_mm[axis] - all.lesions[0].centroid_mm[axis]));
    assert!(moved.is_some_and(|mut moved| moved.all(|mm| mm.abs() < 1.0)), "it is the lesion that it was: {first:?}");

    let (said, done) = serving.command(&["withdraw", "--series", &series_uid(3), "--reason", "x"]).unwrap();
    assert!(done, "{said}");
    let last = revision(&mut serving, issued as u32 + 1, 2 * issued + 2);
    assert_eq!(found(&last), [0, 1, 2]);
    assert!(
        last.notes[0].contains("INV2 is missing") && !last.notes[0].contains("INV1 is missing"),
        "{:?}",
        last.notes
    );
    assert_eq!(count(&serving.entries(), "RunStarted"), 2, "what was run alone is known");
}

#[test]
fn the_series_of_an_mp2rage_are_told_apart_as_a_scanner_sends_them() {
    let work = tempfile::tempdir().unwrap();
    let mut serving = start(work.path(), "");
    let spec = PhantomSpec {
        spacing_mm: [2.5; 3],
        size: [80, 72, 64],
        lesions: 0..=0,
        ..PhantomSpec::demo(Field::T7, Sequence::Mp2rage, 5)
    };
    let phantom = Phantom::generate(&spec).unwrap();
    for (vendor, encoding, number) in
        [(Vendor::Siemens, Encoding::Classic, 1), (Vendor::Philips, Encoding::Enhanced, 2)]
    {
        let scan = ScanSpec { vendor, encoding, localizer: true, label: "inputs".to_owned() };
        let sent = study(&phantom, &scan).unwrap();
        for series in &sent {
            let object = |instance: &sulcus_operators::phantom::dicom::PhantomInstance| Object {
                sop_class_uid: instance.sop_class_uid.clone(),
                sop_instance_uid: instance.sop_instance_uid.clone(),
                transfer_syntax: instance.transfer_syntax.clone(),
                data_set: instance.data_set.clone(),
            };
            send(serving.address(), &series.instances.iter().map(object).collect::<Vec<_>>()).unwrap();
        }
        let uid = |name: &str| sent.iter().find(|series| series.description.contains(name)).unwrap().series_uid.clone();
        serving.wait_for("no report", PATIENCE, |entries| settled(entries, 2 * number)).unwrap();
        let made = |report: &Report| report.run.as_ref().unwrap().series_instance_uid == uid("UNI");
        let all = reports(&serving.results());
        assert_eq!(all.len(), number);
        let (_, report) = all.iter().find(|(_, report)| made(report)).unwrap();
        let inputs: Vec<String> =
            report.run.as_ref().unwrap().inputs.iter().map(|input| input.series_instance_uid.clone()).collect();
        assert_eq!(inputs, [uid("INV1"), uid("INV2")], "{vendor:?}");
    }
}
