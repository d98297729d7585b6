//! Trainings and images that cannot be used: named by file and field, and nothing is left half-written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ndarray::Array3;
use nifti::writer::WriterOptions;
use sulcus_operators::volume::Volume;
use sulcus_operators::{nifti_file, nifti_image};
use sulcus_tests::places::{root, sulcus};

/// A copy of a small training, and a place for its package.
struct Training {
    work: tempfile::TempDir,
}

impl Training {
    fn new() -> Self {
        let work = tempfile::tempdir().unwrap();
        copy(&root().join("tests/oracle/cases/iso/results"), &work.path().join("results"));
        Training { work }
    }

    /// One of several channels, imported, with its images.
    fn of_several_channels() -> Self {
        let training = Training { work: tempfile::tempdir().unwrap() };
        let case = root().join("tests/oracle/cases/channels");
        copy(&case.join("results"), &training.path("results"));
        assert!(training.import(&[]).0);
        copy(&case.join("images"), &training.path("images"));
        training
    }

    fn path(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    fn change(&self, file: &str, from: &str, to: &str) {
        let path = self.path("results").join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    fn import(&self, more: &[&str]) -> (bool, String) {
        let mut command = Command::new(sulcus().unwrap());
        command.args(["model", "import"]).args(more);
        if !more.contains(&"--lesion") {
            command.args(["--lesion", "core"]);
        }
        command.arg("--output").arg(self.path("package")).arg(self.path("results"));
        said(&mut command)
    }

    /// It fails, says all of `words`, and leaves nothing behind.
    fn refused(&self, more: &[&str], words: &[&str]) {
        let (well, text) = self.import(more);
        assert!(!well, "{text}");
        words.iter().for_each(|word| assert!(text.contains(word), "{word} is not in: {text}"));
        let left: Vec<_> = fs::read_dir(self.work.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(left, ["results"], "something is left");
    }

    fn predict(&self) -> (bool, String) {
        self.predict_on("cpu")
    }

    fn predict_on(&self, device: &str) -> (bool, String) {
        let mut command = Command::new(sulcus().unwrap());
        command.args(["predict", "--device", device, "--disable_tta", "-i"]).arg(self.path("images"));
        said(command.arg("-o").arg(self.path("labels")).arg("-m").arg(self.path("package")))
    }
}

fn said(command: &mut Command) -> (bool, String) {
    let output = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // Long lines are wrapped for people.
    (output.status.success(), text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_training_that_cannot_be_imported_is_refused_by_name() {
    Training::new().refused(&["--folds", "3"], &["checkpoint_final.pth of fold 3", "it has 0"]);
    let twice = Training::new();
    copy(&twice.path("results/fold_0"), &twice.path("results/fold_all"));
    twice.refused(&["--folds", "all,0"], &["number 0", "alone"]);
    Training::new().refused(&["--checkpoint", "best"], &["checkpoint_best.pth"]);
    Training::new().refused(&["--lesion", "tumour"], &["tumour", "wall, core"]);
    for (file, from, to, words) in [
        ("plans.json", "PlainConvUNet", "SwinUNETR", &["plans.json", "network_class_name", "SwinUNETR"][..]),
        ("plans.json", "ZScoreNormalization", "MyNormalization", &["plans.json", "MyNormalization"]),
        ("plans.json", "\"n_stages\": 3", "\"n_stages\": 4", &["plans.json", "n_stages"]),
        ("plans.json", "\"conv_bias\": true", "\"conv_bias\": false", &["checkpoint_final.pth", "bias", "no place"]),
        ("dataset.json", "\"core\": 2", "\"core\": 3", &["dataset.json", "labels", "value 2"]),
        ("dataset.json", "\"wall\": 1,", "\"wall\": 1, \"more\": 3,", &["checkpoint_final.pth", "seg_layers", "shape"]),
    ] {
        let training = Training::new();
        training.change(file, from, to);
        training.refused(&[], words);
    }
    let training = Training::new();
    let checkpoint = training.path("results/fold_0/checkpoint_final.pth");
    let bytes = fs::read(&checkpoint).unwrap();
    fs::write(&checkpoint, &bytes[..bytes.len() / 2]).unwrap();
    training.refused(&[], &["checkpoint_final.pth", "copy it again"]);
}

#[test]
fn a_package_is_never_written_over() {
    let training = Training::new();
    assert!(training.import(&[]).0);
    let (well, text) = training.import(&[]);
    assert!(!well && text.contains("exists already"), "{text}");
}

#[test]
fn an_image_that_cannot_be_predicted_keeps_no_other_from_it() {
    let training = Training::new();
    assert!(training.import(&["--name", "small"]).0);
    fs::create_dir(training.path("images")).unwrap();
    let image = |case: &str, shape: [usize; 3], voxel: fn((usize, usize, usize)) -> f32| {
        let path = training.path("images").join(format!("{case}_0000.nii.gz"));
        WriterOptions::new(path).write_nifti(&Array3::from_shape_fn(shape, voxel)).unwrap();
    };
    let ramp = |(x, y, z): (usize, usize, usize)| (x * 7 % 5 + y + z) as f32;
    image("constant", [20, 18, 16], |_| 100.0);
    image("nan", [20, 18, 16], |(x, y, z)| if x + y + z == 0 { f32::NAN } else { 1.0 });
    image("slice", [20, 18, 1], ramp);
    image("zero", [20, 18, 16], |_| 0.0);
    fs::write(training.path("images/text_0000.nii.gz"), "no image").unwrap();
    let (well, text) = training.predict();
    assert!(!well && text.contains("case nan was not predicted") && text.contains("not a number"), "{text}");
    assert!(text.contains("case text was not predicted") && text.contains("text_0000.nii.gz"), "{text}");
    let mut written: Vec<String> = fs::read_dir(training.path("labels"))
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.ends_with(".json"))
        .collect();
    written.sort();
    assert_eq!(written, ["constant.nii.gz", "slice.nii.gz", "zero.nii.gz"]);
}

#[test]
fn a_step_that_makes_endless_tiles_is_refused() {
    let training = Training::new();
    assert!(training.import(&[]).0);
    copy(&root().join("tests/oracle/cases/iso/images"), &training.path("images"));
    let mut command = Command::new(sulcus().unwrap());
    command.args(["predict", "--device", "cpu", "-step_size", "0.0001", "-i"]).arg(training.path("images"));
    let (well, text) = said(command.arg("-o").arg(training.path("labels")).arg("-m").arg(training.path("package")));
    assert!(!well && text.contains("--step_size 0.0001 is not from 0.05 to 1"), "{text}");
}

#[test]
fn a_missing_channel_is_named() {
    let training = Training::of_several_channels();
    fs::remove_file(training.path("images/case_0001.nii.gz")).unwrap();
    let (well, text) = training.predict();
    assert!(!well && text.contains("case_0001.nii.gz"), "{text}");
}

#[test]
fn channels_on_different_grids_are_refused() {
    let training = Training::of_several_channels();
    let path = training.path("images/case_0001.nii.gz");
    let image = nifti_image::read(&path).unwrap();
    let mut volume = Volume {
        grid: image.grid,
        voxels: image.voxels,
        frames: Vec::new(),
        stack: String::new(),
        frame_of_reference_uid: String::new(),
        rescale: Some([1.0, 0.0]),
        intensity_scale: String::new(),
        notes: Vec::new(),
    };
    volume.grid.affine[0][3] += 5.0;
    nifti_file::write(&volume, &path).unwrap();
    let (well, text) = training.predict();
    assert!(!well && text.contains("its channels differ in shape, spacing, orientation or place"), "{text}");
}

#[test]
fn a_case_that_is_there_twice_is_refused() {
    let training = Training::new();
    assert!(training.import(&[]).0);
    copy(&root().join("tests/oracle/cases/iso/images"), &training.path("images"));
    let first = fs::read_dir(training.path("images")).unwrap().next().unwrap().unwrap().path();
    fs::copy(&first, first.with_extension("")).unwrap();
    let (well, text) = training.predict();
    assert!(!well && text.contains("is there twice"), "{text}");
}

#[test]
fn a_device_that_is_not_there_is_refused_and_no_other_stands_in() {
    let training = Training::new();
    assert!(training.import(&[]).0);
    copy(&root().join("tests/oracle/cases/iso/images"), &training.path("images"));
    let library = sulcus_models::runtime::Runtime::load(None).unwrap().library().to_owned();
    for (device, file) in
        [("cuda:0", "libonnxruntime_providers_cuda.so"), ("tensorrt:1", "libonnxruntime_providers_tensorrt.so")]
    {
        if library.with_file_name(file).is_file() {
            println!("SKIPPED: this ONNX Runtime may have {device}");
            continue;
        }
        let (well, text) = training.predict_on(device);
        assert!(!well && text.contains(device) && text.contains("GPU build"), "{text}");
        assert_eq!(fs::read_dir(training.path("labels")).unwrap().count(), 0);
    }
    let (well, text) = training.predict_on("gpu");
    assert!(!well && text.contains("cuda:N"), "{text}");
}
