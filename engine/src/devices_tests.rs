//! Promises of which device takes a run.
#![allow(clippy::unwrap_used)]

use std::fs;

use sulcus_operators::rows::RunOrder;

use super::*;
use crate::ledger::event::{PipelineRule, Rules};

const SMALL: Seat = Seat { free: true, fits: true, ready: false, size: 1 };
const LARGE: Seat = Seat { size: 2, ..SMALL };

#[test]
fn a_run_goes_where_its_model_is_ready_else_to_the_smallest_that_fits_it() {
    assert_eq!(choose(&[LARGE, SMALL]), Some(1));
    assert_eq!(choose(&[Seat { ready: true, ..LARGE }, SMALL]), Some(0));
    let busy = Seat { ready: true, free: false, ..LARGE };
    assert_eq!(choose(&[busy, SMALL]), Some(1), "a busy one is not waited for");
    let narrow = Seat { fits: false, ..SMALL };
    assert_eq!(choose(&[LARGE, narrow]), Some(0));
    assert_eq!(choose(&[Seat { free: false, ..LARGE }, narrow]), None, "but where only it fits");
    assert_eq!(choose(&[Seat { fits: false, ..LARGE }, narrow]), None);
    assert_eq!(choose(&[]), None);
}

fn filter() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/blob-filter")
}

fn copy_filter(to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(filter()).unwrap().flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn site(memory_mib: &[u32]) -> Site {
    let device = |(number, mib): (usize, &u32)| {
        format!("[[device]]\nname = \"d{number}\"\nprovider = \"cpu\"\nmemory_mib = {mib}\n")
    };
    let text: String = memory_mib.iter().enumerate().map(device).collect();
    Site::parse(&text, Path::new("/site.toml")).unwrap()
}

fn named(model: Digest, path: &Path) -> Models {
    let rule: PipelineRule = serde_json::from_value(serde_json::json!({
        "name": "lesions", "when": "true", "model": model, "model_path": path, "destinations": []
    }))
    .unwrap();
    let mut models = Models::default();
    models.read(&Rules { pipelines: vec![rule], ..Rules::default() });
    models
}

fn run(model: Digest) -> RunToDo {
    let order = RunOrder {
        run_key: Digest::of(b"run"),
        study_uid: "1.2".into(),
        series_uid: "1.2.3".into(),
        stack: String::new(),
        model,
        members: vec![1],
        inputs: Vec::new(),
    };
    RunToDo { order, attempt: 1, wanted_by: vec![("1.2".into(), "lesions".into())] }
}

#[test]
fn what_fits_no_device_is_a_fault_that_says_what_it_needs_until_one_has_room() {
    let model = Need::read(&filter()).unwrap().model;
    let (models, runs) = (named(model, &filter()), [run(model), run(model)]);
    let [fault] = &faults(&site(&[1, 9]), &models, runs.iter())[..] else { panic!("one for the series") };
    assert_eq!((fault.stage.as_str(), fault.key.as_str()), ("devices", "1.2.3"));
    assert_eq!(fault.reason, "the model needs at least 11 MiB, and no device has more than 9 MiB for it");
    assert!(fault.hint.contains("memory_mib") && fault.hint.contains("applies_to"));
    for enough in [&[1, 11][..], &[0]] {
        assert_eq!(faults(&site(enough), &models, runs.iter()), []);
    }
}

#[test]
fn what_a_model_needs_is_told_by_its_own_package_and_asked_again_while_that_is_not_there() {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("model");
    let model = Need::read(&filter()).unwrap().model;
    let models = named(model, &folder);
    let mut devices = Devices { devices: Vec::new(), models, needs: BTreeMap::new(), refused: BTreeSet::new() };
    assert_eq!(devices.need(&model), None);
    copy_filter(&folder);
    let manifest = folder.join("manifest.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("version = \"1\"", "version = \"2\"")).unwrap();
    assert_eq!(devices.need(&model), None, "another model is in its place");
    fs::write(&manifest, text).unwrap();
    let told = devices.need(&model).unwrap();
    assert_eq!(told, Need::read(&filter()).unwrap());
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(devices.need(&model), Some(told), "what it told is true for good");
    let room = Room::of(&site(&[1]).devices[0]);
    assert!(room.takes(None) && !room.takes(Some(told)), "a run of a model that cannot be had fails with the reason");
}
