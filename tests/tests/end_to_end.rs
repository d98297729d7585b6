//! Real scanner series through the real binary to a real archive, and the other ways in: a folder and a zip.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use sulcus_engine::ledger::event::Event;
use sulcus_engine::results_store::ResultsStore;
use sulcus_engine::worker::load_labels;
use sulcus_operators::convert;
use sulcus_operators::phantom::dicom::{Encoding, ScanSpec, Vendor, study};
use sulcus_operators::phantom::{Field, Orientation, Phantom, PhantomSpec, Sequence};
use sulcus_operators::results::report::{Report, Status};
use sulcus_operators::rows::RunOutcome;
use sulcus_operators::volume::Encoded;
use sulcus_tests::dciodvfy::dciodvfy;
use sulcus_tests::dcmtk::storescu;
use sulcus_tests::orthanc::Orthanc;
use sulcus_tests::places::{root, scanner_files, sulcus};
use sulcus_tests::python::{interpreter, python};
use sulcus_tests::scans::{objects, reports, send, small_series, small_series_uid};
use sulcus_tests::serving::{Object, Serving, SiteSpec, count, settled};
use sulcus_tests::slices::{Slices, write_series};
use sulcus_tests::{PeerError, or_skip};

/// For runs on the whole of a real head, on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(240);

fn valid_report(folder: &Path) {
    let read = |path: PathBuf| serde_json::from_slice::<Value>(&fs::read(path).unwrap()).unwrap();
    let schema = read(root().join("docs/reference/report.schema.json"));
    jsonschema::validate(&schema, &read(folder.join("report.json"))).unwrap();
}

/// The outcome of the run that a report speaks of.
fn outcome(serving: &Serving, report: &Report) -> RunOutcome {
    let key = &report.run.as_ref().unwrap().run_key;
    let found = serving.entries().into_iter().find_map(|entry| match entry.event {
        Event::RunFinished(outcome) if outcome.run_key.to_string() == *key => Some(outcome),
        _ => None,
    });
    found.unwrap()
}

/// Compares a segmentation as dciodvfy, pydicom and highdicom see it with the stored labels of its run.
fn readers_agree(serving: &Serving, report: &Report, files: &[PathBuf], segmentation: &[u8]) -> Option<()> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("segmentation.dcm");
    fs::write(&file, segmentation).unwrap();
    if let Some(findings) = or_skip(dciodvfy(&file)) {
        assert_eq!(findings.errors, Vec::<String>::new());
    }
    let outcome = outcome(serving, report);
    let labels = load_labels(&ResultsStore::open(&serving.data()).unwrap(), &outcome).unwrap();
    // Segments are numbered in the order of the lesions, which is that of their labels.
    let stored: Vec<u8> = labels.iter().flat_map(|label| label.to_le_bytes()).collect();
    let held = folder.path().join("held");
    fs::write(&held, stored).unwrap();

    let used = objects(files).unwrap();
    let series = &report.run.as_ref().unwrap().series_instance_uid;
    let encoded: Vec<Encoded<'_>> = used
        .iter()
        .map(|object| Encoded { transfer_syntax: &object.transfer_syntax, data_set: &object.data_set })
        .collect();
    let volume = convert::volume(&encoded, &report.run.as_ref().unwrap().stack).unwrap();
    let path = |uid: &str| &files[used.iter().position(|object| object.sop_instance_uid == uid).unwrap()];
    let frames = volume.frames.iter().map(
        |frame| json!({"file": path(&frame.sop_instance_uid), "uid": frame.sop_instance_uid, "frame": frame.frame}),
    );
    let tracking: Vec<&str> = report.lesions.iter().map(|lesion| lesion.tracking_uid.as_str()).collect();
    let list = folder.path().join("list.json");
    let case = json!({
        "name": "delivered",
        "segmentation": file,
        "fractional": false,
        "held": held,
        "sources": Value::from_iter(frames),
        "tracking_uids": tracking,
    });
    fs::write(&list, json!([case]).to_string()).unwrap();
    let read = or_skip(python("read_segmentations.py", &[list]))?["delivered"].take();
    println!("series {series}: {} segments, {} voxels", read["segments"], read["pixels"]);
    assert_eq!(
        (&read["differing"], &read["tracking"]),
        (&json!(0), &json!(true)),
        "voxels are where the run found them"
    );
    for peer in ["highdicom_mm", "dcmqi_mm"] {
        assert!(read[peer].as_f64().unwrap() < 1e-3, "{read}");
    }
    assert_eq!(read["segments"], report.lesions.len().max(1));
    Some(())
}

/// Sends files by storescu to a site with a real archive, and gives the report and the segmentation in the archive.
fn through_the_site(files: &[PathBuf], work: &Path) -> Result<(Serving, Report, Vec<u8>), PeerError> {
    let orthanc = Orthanc::start(work)?;
    let mut serving = Serving::start(work, SiteSpec { archive: Some(orthanc.dicom_address()), ..SiteSpec::default() })?;
    storescu(serving.address(), "SULCUS", &["--required"], files)?;
    serving.wait_for("the results did not come", PATIENCE, |entries| settled(entries, 3))?;
    let (folder, report) = reports(&serving.results()).pop().unwrap();
    valid_report(&folder);
    let held = orthanc.instances()?;
    assert_eq!(held.len(), 1, "the archive holds one object");
    assert_eq!(orthanc.value(&held[0], "Modality")?, "SEG");
    assert_eq!(orthanc.value(&held[0], "SOPInstanceUID")?, report.segmentation_sop_instance_uid.clone().unwrap());
    let referenced = orthanc.value(&held[0], "ReferencedSeriesSequence")?;
    assert_eq!(referenced[0]["SeriesInstanceUID"], report.run.as_ref().unwrap().series_instance_uid);
    let file = orthanc.file(&held[0])?;
    Ok((serving, report, file))
}

#[test]
fn of_one_siemens_acquisition_one_series_is_segmented_and_the_other_named_with_the_reason() {
    let folders = ["siemens-xa30-enhanced/In/6_anat-T1w_acq-tfl", "siemens-xa30-enhanced/In/5_anat-T1w_acq-tfl"];
    let Some(files) = or_skip(folders.iter().map(|folder| scanner_files(folder)).collect::<Result<Vec<_>, _>>()) else {
        return;
    };
    let work = tempfile::tempdir().unwrap();
    // The one that is preferred goes first: the other way round the first would be run as well, for nothing.
    let Some((serving, report, segmentation)) = or_skip(through_the_site(&files.concat(), work.path())) else { return };
    assert_eq!((report.revision, report.status), (1, Status::Final));
    assert!(report.run.as_ref().unwrap().stack.contains("NORM"), "{:?}", report.run);
    let [not_used] = &report.series_not_used[..] else { panic!("{:?}", report.series_not_used) };
    assert!(
        not_used.reason.contains("the same acquisition as") && not_used.reason.contains("prescan-normalised"),
        "{not_used:?}"
    );
    assert_ne!(not_used.series_instance_uid, report.run.as_ref().unwrap().series_instance_uid);
    assert!(!report.lesions.is_empty());
    assert_eq!(count(&serving.entries(), "TimerFired"), 0, "an Enhanced object is whole in itself");
    readers_agree(&serving, &report, &files[0], &segmentation);
}

#[test]
fn a_classic_philips_series_is_segmented_in_the_archive() {
    let Some(files) = or_skip(scanner_files("philips-mprage-classic/In/cl")) else { return };
    let work = tempfile::tempdir().unwrap();
    let Some((serving, report, segmentation)) = or_skip(through_the_site(&files, work.path())) else { return };
    assert_eq!((report.revision, report.status), (1, Status::Final));
    assert!(!report.lesions.is_empty());
    assert_eq!(report.run.as_ref().unwrap().size[2], files.len() as u32);
    assert_eq!(count(&serving.entries(), "TimerFired"), 0, "Philips headers count the slices");
    readers_agree(&serving, &report, &files, &segmentation);
}

#[test]
fn where_there_is_no_lesion_the_result_says_so_and_the_segmentation_is_empty() {
    let work = tempfile::tempdir().unwrap();
    let files = write_series(&work.path().join("in"), Slices { count: 20, rows: 64, columns: 64, seed: 1 }).unwrap();
    let Some((serving, report, segmentation)) = or_skip(through_the_site(&files, work.path())) else { return };
    assert_eq!((report.result.as_str(), report.lesions.len()), ("No lesion was found.", 0));
    assert_eq!(report.lesion_volume_mm3, 0.0);
    assert_eq!(report.run.as_ref().unwrap().series_instance_uid, small_series_uid(1));
    readers_agree(&serving, &report, &files, &segmentation);
}

#[test]
fn a_counted_series_is_run_at_its_last_slice() {
    let work = tempfile::tempdir().unwrap();
    let mut serving = Serving::start(work.path(), SiteSpec::default()).unwrap();
    let mut millis = Vec::new();
    for seed in 1..=5 {
        let spec = PhantomSpec {
            spacing_mm: [1.0; 3],
            size: [48, 48, 24],
            orientation: Orientation::Axial,
            lesions: 0..=0,
            ..PhantomSpec::demo(Field::T3, Sequence::Mprage, seed)
        };
        let scan = ScanSpec {
            vendor: Vendor::Siemens,
            encoding: Encoding::Classic,
            localizer: false,
            label: "latency".to_owned(),
        };
        let series = study(&Phantom::generate(&spec).unwrap(), &scan).unwrap().remove(0);
        let slices: Vec<Object> = series
            .instances
            .into_iter()
            .map(|instance| Object {
                sop_class_uid: instance.sop_class_uid,
                sop_instance_uid: instance.sop_instance_uid,
                transfer_syntax: instance.transfer_syntax,
                data_set: instance.data_set,
            })
            .collect();
        assert!(send(serving.address(), &slices).unwrap().iter().all(|status| *status == 0));
        let wanted = 2 * seed as usize;
        serving.wait_for("no result", PATIENCE, |entries| settled(entries, wanted)).unwrap();
        let entries = serving.entries();
        let last = |name: &str| entries.iter().rfind(|entry| entry.event.name() == name).unwrap().at;
        millis.push(last("RunStarted") - last("InstanceReceived"));
    }
    let entries = serving.entries();
    assert_eq!(
        (count(&entries, "RunStarted"), count(&entries, "TimerFired")),
        (5, 0),
        "counted evidence needs no timer"
    );
    millis.sort_unstable();
    println!("last slice accepted to run started: median {} ms of {millis:?}", millis[2]);
}

#[test]
fn a_watched_folder_is_a_source_by_the_same_path() {
    let work = tempfile::tempdir().unwrap();
    let mut serving = Serving::start(work.path(), SiteSpec::default()).unwrap();
    serving.kill_all();
    let mut text = fs::read_to_string(serving.config()).unwrap();
    text.push_str("[[source]]\nname = \"dropbox\"\nkind = \"folder\"\npath = \"incoming\"\nsettle_seconds = 0.3\n");
    fs::write(serving.config(), text).unwrap();
    serving.start_again().unwrap();
    serving.wait_until_listening().unwrap();
    let incoming = work.path().join("incoming");
    write_series(&incoming, Slices { count: 20, rows: 64, columns: 64, seed: 2 }).unwrap();
    serving.wait_for("no result", PATIENCE, |entries| settled(entries, 2)).unwrap();
    let from = |entry: &sulcus_engine::ledger::event::Entry| matches!(&entry.event, Event::InstanceReceived { source, .. } if source.as_ref() == "dropbox");
    assert_eq!(serving.entries().iter().filter(|entry| from(entry)).count(), 20);
    assert_eq!(fs::read_dir(incoming.join("done")).unwrap().count(), 20, "taken files are moved aside");
    assert_eq!(reports(&serving.results()).len(), 1);
}

#[test]
fn a_zip_gives_what_its_folder_gives() {
    let Some(python) = or_skip(interpreter()) else { return };
    let work = tempfile::tempdir().unwrap();
    let (folder, zip) = (work.path().join("scan"), work.path().join("scan.zip"));
    write_series(&folder, Slices { count: 20, rows: 64, columns: 64, seed: 3 }).unwrap();
    let zipped = Command::new(python).args(["-m", "zipfile", "-c"]).args([&zip, &folder]).status().unwrap();
    assert!(zipped.success());
    let run = |input: &Path, output: &str| {
        let output = work.path().join(output);
        let model = root().join("tests/blob-filter");
        let ended = Command::new(sulcus().unwrap())
            .args(["run", "--device", "cpu", "--json", "--model"])
            .args([&model, input, output.as_path()])
            .output()
            .unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        let said: Value = serde_json::from_slice(&ended.stdout).unwrap();
        assert_eq!(said["faults"], json!([]));
        let (folder, report) = reports(&output).pop().unwrap();
        assert!(folder.join("segmentation.dcm").is_file());
        valid_report(&folder);
        report
    };
    let (of_folder, of_zip) = (run(&folder, "of-folder"), run(&zip, "of-zip"));
    assert_eq!(of_folder.run, of_zip.run);
    assert_eq!(of_folder.result, "No lesion was found.");
    let again = Command::new(sulcus().unwrap())
        .args(["run", "--model"])
        .args([&root().join("tests/blob-filter"), &folder, &work.path().join("of-zip")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(again.status.code() == Some(2) && said.contains("is not empty"), "no result is taken for another: {said}");
}

#[test]
fn a_site_keeps_each_study_apart() {
    let work = tempfile::tempdir().unwrap();
    let mut serving = Serving::start(work.path(), SiteSpec::default()).unwrap();
    let both = [4, 5].map(|seed| small_series(&work.path().join("in"), seed).unwrap());
    let mixed: Vec<Object> = both[0].iter().zip(&both[1]).flat_map(|(a, b)| [a.clone(), b.clone()]).collect();
    send(serving.address(), &mixed).unwrap();
    serving.wait_for("no results", PATIENCE, |entries| settled(entries, 4)).unwrap();
    let found: Vec<String> =
        reports(&serving.results()).into_iter().map(|(_, report)| report.run.unwrap().series_instance_uid).collect();
    assert_eq!(found, [small_series_uid(4), small_series_uid(5)]);
}
