//! Promises of features over tiles. Those with a network need ONNX Runtime; they say so and skip without it.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::device::{Device, Provider};
use crate::golden::noise;
use crate::package::Package;
use crate::runtime::{FOLDER, Runtime};

/// The package of a folder beside this crate on the plain CPU.
fn session(folder: &str) -> Option<Session> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let library = std::env::var_os(FOLDER).map_or_else(|| here.join("../runtime/onnxruntime"), PathBuf::from);
    let runtime = match Runtime::load(Some(&library)) {
        Ok(runtime) => runtime,
        Err(error) => {
            println!("SKIPPED: {error}");
            return None;
        }
    };
    let package = Arc::new(Package::open(&here.join(folder)).unwrap());
    Some(Session::open(runtime, package, &Device::new(Provider::Cpu)).unwrap())
}

fn tiles(session: &Session, mirrorings: &[&[usize]]) -> Tiles {
    Tiles {
        patch: session.package().plans().patch_size,
        step: 0.5,
        mirrorings: mirrorings.iter().map(|axes| axes.to_vec()).collect(),
        outputs: 2,
        precision: Precision::Single,
    }
}

fn features(session: &mut Session, image: &Array4<f32>, mirrorings: &[&[usize]]) -> Option<Vec<f64>> {
    let tiles = tiles(session, mirrorings);
    run(session, image.clone(), &tiles, &mut |_, _| {}).unwrap().features
}

/// Three tiles in a row, noise in the first two: the last holds nothing.
fn image() -> Array4<f32> {
    let mut noise = noise();
    Array4::from_shape_fn((1, 64, 64, 128), |(_, _, _, x)| if x < 64 { noise() } else { 0.0 })
}

#[test]
fn features_do_not_depend_on_how_many_tiles_run_together() {
    let Some(mut session) = session("demo") else { return };
    let one = features(&mut session, &image(), &[&[], &[2]]).unwrap();
    assert_eq!((session.batch(), one.len()), (1, 128));
    for batch in [2, 3] {
        // What is bound keeps the shape of the first run.
        let Some(mut session) = self::session("demo") else { return };
        session.set_batch(batch);
        assert_eq!(features(&mut session, &image(), &[&[], &[2]]).unwrap(), one, "{batch} together");
    }
}

#[test]
fn features_are_the_mean_over_all_mirrorings_of_the_tiles_that_hold_something() {
    let Some(mut session) = session("demo") else { return };
    let image = image();
    let found = features(&mut session, &image, &[&[], &[0, 2]]).unwrap();
    let mut sums = vec![0.0; 128];
    for start in [0, 32] {
        for axes in [&[][..], &[0, 2]] {
            let tile = image.slice(s![.., .., .., start..start + 64]);
            let tile = tiles::mirrored(tile, axes).to_owned().insert_axis(Axis(0));
            let row = session.run(0, tile).unwrap().features.unwrap();
            sums.iter_mut().zip(&row).for_each(|(sum, feature)| *sum += f64::from(*feature));
        }
    }
    assert_eq!(found, sums.iter().map(|sum| sum / 4.0).collect::<Vec<_>>());
}

#[test]
fn a_blank_image_and_a_network_without_features_have_none() {
    let Some(mut demo) = session("demo") else { return };
    assert_eq!(features(&mut demo, &Array4::zeros((1, 64, 64, 64)), &[&[]]), None);
    let Some(mut other) = session("../tests/blob-filter") else { return };
    assert!(!other.has_features());
    assert_eq!(features(&mut other, &image(), &[&[]]), None);
}

#[test]
fn an_embedding_of_another_network_is_refused() {
    let Some(session) = session("demo") else { return };
    let folder = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(session.package().folder()).unwrap().flatten() {
        std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    let mut noise = noise();
    let scans: Vec<Vec<f64>> = (0..9).map(|_| (0..7).map(|_| f64::from(noise())).collect()).collect();
    let package = Package::embed(folder.path(), &crate::embedding::Embedding::of(&scans).unwrap()).unwrap();
    let runtime = Runtime::load(None)
        .or_else(|_| Runtime::load(Some(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/onnxruntime"))));
    let opened = Session::open(runtime.unwrap(), Arc::new(package), &Device::new(Provider::Cpu));
    let message = opened.unwrap_err().to_string();
    assert!(message.contains("embedding.bin is of 7 features, its first network tells of 128"), "{message}");
}
