//! The same answers as nnU-Net: cases that its own trainer, preprocessor and predictor wrote (`tests/oracle/make.py`),
//! imported and predicted here.
//!
//! `tests/oracle/cases` holds small ones; `SULCUS_ORACLE_CASES` names another folder, as `cargo xtask oracle` does.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ndarray::{Array3, Array4, ArrayD, ArrayView3, Axis, Ix3, Ix4, Ix5};
use sulcus_models::device::{Device, Provider};
use sulcus_models::golden;
use sulcus_models::import::{Order, Which, import};
use sulcus_models::package::Package;
use sulcus_models::predict::{Options, predict_image, prepare};
use sulcus_models::reorient::Reorientation;
use sulcus_models::runtime::Runtime;
use sulcus_models::session::Session;
use sulcus_operators::nifti_image;
use sulcus_operators::nnunet::tiles::{Precision, starts};
use sulcus_tests::npy;
use sulcus_tests::places::root;

/// One case of the oracle.
struct Case {
    name: String,
    folder: PathBuf,
    mirror: bool,
    package: Package,
    /// Channels, z, y, x, as the network's reader turns it.
    image: Array4<f32>,
    /// Of z, y, x.
    spacing: [f64; 3],
    /// How nnU-Net's reader turned the image.
    way: Option<Reorientation>,
}

fn turned<T: Clone>(way: Option<Reorientation>, array: ArrayView3<'_, T>) -> Array3<T> {
    way.map_or_else(|| array.to_owned(), |way| way.forward(array))
}

fn cases() -> Vec<PathBuf> {
    let folder =
        std::env::var_os("SULCUS_ORACLE_CASES").map_or_else(|| root().join("tests/oracle/cases"), PathBuf::from);
    let mut folders: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.path()).collect();
    folders.sort();
    folders
}

/// The last label of a dataset, which stands for a lesion.
fn lesion(folder: &Path) -> String {
    let text = std::fs::read(folder.join("results/dataset.json")).unwrap();
    let dataset: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let labels = dataset["labels"].as_object().unwrap();
    labels.keys().rfind(|name| !["background", "ignore"].contains(&name.as_str())).unwrap().clone()
}

impl Case {
    fn open(runtime: &'static Runtime, folder: &Path, work: &Path) -> Case {
        let text = std::fs::read(folder.join("case.json")).unwrap();
        let case: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let name = case["name"].as_str().unwrap().to_owned();
        let order = Order {
            results: folder.join("results"),
            output: work.join(&name),
            folds: Vec::new(),
            checkpoint: Which::Final,
            half: false,
            name: None,
            provenance: None,
            lesion: Some(lesion(folder)),
            orientation: "LPS".to_owned(),
        };
        import(&order, |package| {
            let mut session = Session::open(runtime, Arc::new(package), &Device::new(Provider::Cpu)).unwrap();
            Ok(golden::golden(&mut session).unwrap())
        })
        .unwrap();
        let package = Package::open(&order.output).unwrap();
        let images: Vec<_> = (0..package.manifest().channels.len())
            .map(|channel| nifti_image::read(&folder.join(format!("images/case_{channel:04}.nii.gz"))).unwrap())
            .collect();
        let [x, y, z] = images[0].spacing;
        let way = Reorientation::of_reader(&package.plans().reader, &images[0].grid).unwrap();
        let spacing = way.map_or([z, y, x], |way| way.by_axis([z, y, x]));
        let voxels: Vec<_> = images.iter().map(|image| turned(way, image.voxels.view())).collect();
        let voxels: Vec<_> = voxels.iter().map(|image| image.view()).collect();
        let image = ndarray::stack(Axis(0), &voxels).unwrap();
        let mirror = case["mirror"].as_bool().unwrap();
        Case { name, folder: folder.to_owned(), mirror, package, image, spacing, way }
    }

    /// What nnU-Net wrote, as it lay before it was turned back.
    fn segmentation(&self) -> Array3<u8> {
        let wanted = self.oracle("segmentation.npy").mapv(|value| value as u8).into_dimensionality::<Ix3>().unwrap();
        turned(self.way, wanted.view())
    }

    fn oracle(&self, name: &str) -> ArrayD<f32> {
        npy::read(&self.folder.join("oracle").join(name)).unwrap()
    }

    /// Largest difference of a logit of one tile, without mirroring: what import and runtime add.
    fn tile_difference(&self, session: &mut Session) -> f32 {
        let (mut tile, mut wanted) = (self.oracle("tile.npy"), self.oracle("tile_logits.npy"));
        if self.package.plans().planar {
            tile.insert_axis_inplace(Axis(1));
            wanted.insert_axis_inplace(Axis(1));
        }
        let tile = tile.insert_axis(Axis(0)).into_dimensionality::<Ix5>().unwrap();
        difference(session.run(0, tile).unwrap().logits.iter(), wanted.iter())
    }

    fn labels(&self, session: &mut Session, precision: Precision) -> Array3<u8> {
        let options = Options { mirror: self.mirror, precision, ..Options::default() };
        let predicted = predict_image(session, self.image.clone(), self.spacing, &options, &mut |_, _| {}).unwrap();
        predicted.labels().unwrap().labels
    }

    /// Voxels whose label differs although the oracle's logits leave no doubt: the two that decide are further apart
    /// than what comes of `error`, the difference of a tile's logits, and one step of fp16. nnU-Net adds tiles up in
    /// fp16, and each time a difference, however small, may round the sum to its other neighbour: one step more for each
    /// tile that lies over a voxel, for each of the two logits.
    fn beyond_doubt(&self, found: &Array3<u8>, wanted: &Array3<u8>, error: f32) -> usize {
        let plans = self.package.plans();
        let prepared = prepare(&self.package, self.image.clone(), self.spacing).unwrap();
        let over = |axis: usize| {
            let (length, patch) = (prepared.image.len_of(Axis(axis + 1)), plans.patch_size[axis]);
            let starts = starts(length.max(patch), patch, 0.5);
            let at = |place: usize| starts.iter().filter(|start| (**start..**start + patch).contains(&place)).count();
            (0..length.max(patch)).map(at).max().unwrap_or(1)
        };
        let tiles = (0..3).map(over).product::<usize>() as f32;
        let logits = self.oracle("logits.npy").into_dimensionality::<Ix4>().unwrap();
        let regions = !self.package.manifest().regions_class_order.is_empty();
        let [found, wanted] = [found, wanted].map(|labels| labels.view().permuted_axes(plans.transpose_forward));
        let differing = found.indexed_iter().filter(|(at, label)| wanted[*at] != **label);
        differing
            .filter(|((z, y, x), _)| {
                let [z, y, x] =
                    [(0, *z), (1, *y), (2, *x)].map(|(axis, at)| at.wrapping_sub(prepared.bounds.first[axis]));
                let mut here: Vec<f32> =
                    logits.outer_iter().filter_map(|output| output.get([z, y, x]).copied()).collect();
                if regions {
                    here.push(0.0);
                }
                here.sort_by(|a, b| b.total_cmp(a));
                let largest = here.iter().fold(0.0f32, |largest, logit| largest.max(logit.abs()));
                let step = (largest.max(f32::MIN_POSITIVE).log2().floor() - 10.0).exp2();
                // Of regions, any that is near zero decides; of classes, the two highest.
                let gap = here.windows(2).map(|pair| pair[0] - pair[1]);
                let gap = if regions { gap.fold(f32::INFINITY, f32::min) } else { gap.take(1).sum() };
                here.is_empty() || gap > 2.0 * (error + tiles * step) + step
            })
            .count()
    }
}

fn difference<'a>(found: impl Iterator<Item = &'a f32>, wanted: impl Iterator<Item = &'a f32>) -> f32 {
    found.zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Share of equal voxels, and the lowest Dice coefficient of a label.
fn agreement(found: &Array3<u8>, wanted: &Array3<u8>) -> (f64, f64) {
    let equal = found.iter().zip(wanted).filter(|(a, b)| a == b).count();
    let dice = (0..=wanted.iter().copied().max().unwrap_or(0)).map(|label| {
        let count = |labels: &Array3<u8>| labels.iter().filter(|value| **value == label).count();
        let both = found.iter().zip(wanted).filter(|(a, b)| (**a, **b) == (label, label)).count();
        let sum = count(found) + count(wanted);
        if sum == 0 { 1.0 } else { 2.0 * both as f64 / sum as f64 }
    });
    (equal as f64 / found.len() as f64, dice.fold(1.0, f64::min))
}

#[test]
fn every_case_has_the_answers_of_nnunet() {
    let runtime = Runtime::load(None).unwrap();
    let work = tempfile::tempdir().unwrap();
    let folders = cases();
    assert!(folders.len() >= 12, "{folders:?}");
    let mut wrong = Vec::new();
    for folder in folders {
        let case = Case::open(runtime, &folder, work.path());
        let name = &case.name;
        let prepared = prepare(&case.package, case.image.clone(), case.spacing).unwrap().image;
        let wanted = case.oracle("prepared.npy");
        assert_eq!(prepared.shape(), wanted.shape(), "{name}");
        let preparation = difference(prepared.iter(), wanted.iter());
        let largest = wanted.iter().fold(1.0f32, |largest, voxel| largest.max(voxel.abs()));
        assert!(preparation <= 1e-5 * largest, "{name}: prepared voxels differ by {preparation}");

        let wanted = case.segmentation();
        let package = Arc::new(case.package.clone());
        let mut session = Session::open(runtime, package.clone(), &Device::new(Provider::Cpu)).unwrap();
        let error = case.tile_difference(&mut session);
        assert!(error <= 1e-3, "{name}: logits of a tile differ by {error}");
        let found = case.labels(&mut session, Precision::Half);
        let (equal, dice) = agreement(&found, &wanted);
        let beyond = case.beyond_doubt(&found, &wanted, error);
        if equal < 0.9999 || dice < 0.999 || beyond > 0 {
            wrong.push(format!("{name}: {equal} of the labels, Dice {dice}, {beyond} voxels beyond doubt"));
        }

        let (single, _) = agreement(&case.labels(&mut session, Precision::Single), &wanted);
        let openvino = Session::open(runtime, package, &Device::new(Provider::OpenVino)).map(|mut session| {
            let error = case.tile_difference(&mut session);
            let (equal, dice) = agreement(&case.labels(&mut session, Precision::Half), &wanted);
            format!("OpenVINO: tile {error:.1e}, {:.4} %, Dice {dice:.4}", 100.0 * equal)
        });
        println!(
            "{name:16} prepared {preparation:.1e}, tile {error:.1e}, labels {:.4} %, Dice {dice:.4}; in f32 {:.4} %; {}",
            100.0 * equal,
            100.0 * single,
            openvino.unwrap_or_else(|error| format!("no OpenVINO: {error}"))
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
