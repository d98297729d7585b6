//! A real head from a scanner, through conversion and the demonstration model, with the time that it takes.
//!
//! Needs ONNX Runtime and the scanner files (`SULCUS_SCANNER_DATA`); says so and skips without them. The head is not
//! brain extracted, and is taken to be free of lesions: what is reported in it is false, and is printed.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use sulcus_models::device::{Device, Provider};
use sulcus_models::package::Package;
use sulcus_models::predict::find_lesions;
use sulcus_models::runtime::{FOLDER, Runtime};
use sulcus_models::session::Session;
use sulcus_operators::convert;
use sulcus_operators::digest::Digest;
use sulcus_operators::part10;
use sulcus_operators::volume::{Encoded, Volume};

fn head() -> Option<Volume> {
    let root = std::env::var_os("SULCUS_SCANNER_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let folder = root.join("philips-mprage-classic/In");
    let mut folders = vec![folder.clone()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path if path.extension().is_some_and(|end| end == "dcm") => files.push(std::fs::read(path).unwrap()),
                _ => {}
            }
        }
    }
    if files.is_empty() {
        println!("SKIPPED: no scanner files in {} (set SULCUS_SCANNER_DATA)", folder.display());
        return None;
    }
    let parts: Vec<_> = files.iter().map(|bytes| part10::split(bytes).unwrap()).collect();
    let instances: Vec<_> =
        parts.iter().map(|part| Encoded { transfer_syntax: &part.transfer_syntax, data_set: part.data_set }).collect();
    convert::volumes(&instances).unwrap().into_iter().max_by_key(|volume| volume.voxels.len())
}

#[test]
fn a_real_head_passes_through_the_demonstration_model() {
    let folder = std::env::var_os(FOLDER)
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/onnxruntime"), PathBuf::from);
    let runtime = match Runtime::load(Some(&folder)) {
        Ok(runtime) => runtime,
        Err(error) => return println!("SKIPPED: {error}"),
    };
    let Some(head) = head() else { return };
    let package = Arc::new(Package::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("demo")).unwrap());
    let device = Device { threads: 2, fall_back: true, ..Device::new(Provider::OpenVino) };
    let mut session = Session::open(runtime, package, &device).unwrap();
    let clock = Instant::now();
    let mut tiles = 0;
    let found = find_lesions(&mut session, &[&head], &Digest::default(), &mut |_, of| tiles = of).unwrap();
    println!(
        "{}: {:?} voxels in {tiles} tiles in {:.1} s, {} lesions",
        session.provider(),
        head.voxels.dim(),
        clock.elapsed().as_secs_f64(),
        found.lesions.len()
    );
    assert_eq!((found.labels.dim(), found.probability.dim()), (head.voxels.dim(), head.voxels.dim()));
    assert!(found.probability.iter().all(|p| (0.0..=1.0).contains(p)));
    let marked = found.labels.iter().filter(|label| **label > 0).count() as u64;
    assert_eq!(marked, found.lesions.iter().map(|row| row.voxels).sum::<u64>());
}
