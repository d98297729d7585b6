//! Predicting a head with an nnU-Net: `sulcus predict` against `nnUNetv2_predict_from_modelfolder`, with the same
//! weights on the same case, mirroring off; and the resampling alone.
//!
//! `SULCUS_ORACLE_PYTHON` names the Python that has nnU-Net, as `cargo xtask oracle` makes it. `SULCUS_BENCH_GPU` names a
//! GPU, such as `cuda:0`, on which both are run as well; it needs ONNX Runtime's GPU build, which then does the CPU's
//! part too, without OpenVINO.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use ndarray::{Array3, Array4};
use sulcus_operators::nnunet::export::{Export, Labelling, labels_from_logits};
use sulcus_operators::nnunet::resample::{Order, resample};
use sulcus_operators::nnunet::tiles::Precision;
use sulcus_tests::PeerError;
use sulcus_tests::bench::{Bench, scratch};
use sulcus_tests::memory::measured;
use sulcus_tests::places::{root, sulcus};

/// Tiles of the case: 3 x 4 x 3 at half a patch.
const TILES: f64 = 36.0;

fn main() -> ExitCode {
    sulcus_tests::bench::rounds(3, run)
}

fn run(rounds: u32) -> Result<(), PeerError> {
    let python = oracle()?;
    let mut bench = Bench::new("predict");
    resampling(&mut bench, &python, rounds)?;
    let scratch = scratch()?;
    let case = case(&python)?;
    let package = scratch.path().join("package");
    let mut import = Command::new(sulcus()?);
    import.args(["model", "import", "--lesion", "core", "--json", "--output"]).arg(&package).arg(case.join("results"));
    let said = import.stderr(Stdio::inherit()).output()?.stdout;
    let said: serde_json::Value =
        serde_json::from_slice(&said).map_err(|error| PeerError::Failed(error.to_string()))?;
    let peak = Command::new(&python).arg(script()).arg("peak").stderr(Stdio::inherit()).output()?.stdout;
    let peak: f64 = serde_json::from_slice(&peak).map_err(|error| PeerError::Failed(error.to_string()))?;
    bench.add("the machine's peak in float32 (a product of matrices)", "GFLOP/s", peak);
    let operations = said["cost"]["operations"].as_f64().unwrap_or_default();
    let gpu = std::env::var("SULCUS_BENCH_GPU").ok();
    for round in 0..rounds {
        let output = |name: &str| scratch.path().join(format!("{name}-{round}"));
        let cache = output("cache");
        let ours = |device: &str| -> Result<Command, PeerError> {
            let mut command = Command::new(sulcus()?);
            command.args(["predict", "--disable_tta", "--device", device, "-m"]).arg(&package);
            command.arg("-i").arg(case.join("images")).arg("--cache").arg(&cache);
            Ok(command)
        };
        let theirs = |device: &str| {
            let mut command = Command::new(python.with_file_name("nnUNetv2_predict_from_modelfolder"));
            command.args(["-f", "0", "--disable_tta", "--disable_progress_bar", "-npp", "1", "-nps", "1"]);
            command.args(["-device", device]);
            command.arg("-i").arg(case.join("images")).arg("-m").arg(case.join("results"));
            for name in ["nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"] {
                command.env(name, scratch.path());
            }
            command
        };
        let mut contenders = vec![("nnU-Net", theirs("cpu")), ("sulcus cpu", ours("cpu")?)];
        match &gpu {
            Some(gpu) => contenders.extend([("nnU-Net, GPU", theirs("cuda")), ("sulcus, GPU", ours(gpu)?)]),
            None => {
                contenders.extend([("sulcus openvino cold", ours("openvino")?), ("sulcus openvino", ours("openvino")?)])
            }
        }
        for (name, mut command) in contenders {
            let (seconds, bytes) = measured(command.arg("-o").arg(output(name)))?;
            if !output(name).join("case.nii.gz").is_file() {
                return Err(PeerError::Failed(format!("{name} wrote no label map")));
            }
            bench.add(name, "s", seconds);
            bench.add(&format!("{name}, memory"), "MB", bytes as f64 / 1e6);
            bench.add(&format!("{name}, of the network"), "GFLOP/s", operations * TILES / seconds / 1e9);
        }
    }
    let compared: &[_] = match gpu {
        Some(_) => &[("sulcus cpu", "nnU-Net"), ("sulcus, GPU", "nnU-Net, GPU")],
        None => &[("sulcus openvino", "nnU-Net"), ("sulcus openvino cold", "nnU-Net"), ("sulcus cpu", "nnU-Net")],
    };
    for (ours, theirs) in compared {
        bench.ratio_of_times(&format!("{ours}, time"), ours, theirs);
        bench.ratio_of_times(&format!("{ours}, memory"), &format!("{ours}, memory"), &format!("{theirs}, memory"));
    }
    bench.finish()
}

fn oracle() -> Result<PathBuf, PeerError> {
    let made = root().join("runtime/oracle/bin/python");
    let python = std::env::var_os("SULCUS_ORACLE_PYTHON").map_or(made, PathBuf::from);
    if python.is_file() {
        return Ok(python);
    }
    Err(PeerError::Absent("no Python with nnU-Net; run `cargo xtask oracle` first".to_owned()))
}

/// The case, made once.
fn case(python: &Path) -> Result<PathBuf, PeerError> {
    let folder = root().join("target/oracle/bench-case");
    let case = folder.join("bench");
    if !case.join("oracle/segmentation.npy").is_file() {
        let made = Command::new(python).arg(script()).arg("case").arg(&folder).status()?;
        if !made.success() {
            return Err(PeerError::Failed("tests/oracle/bench.py could not make the case".to_owned()));
        }
    }
    Ok(case)
}

fn script() -> PathBuf {
    root().join("tests/oracle/bench.py")
}

/// An image of 320 x 384 x 384 voxels at 0.5 mm to 0.7 mm and the logits of two classes back to labels, as bench.py.
fn resampling(bench: &mut Bench, python: &Path, rounds: u32) -> Result<(), PeerError> {
    let (fine, coarse) = ([320, 384, 384], [229, 274, 274]);
    let noise =
        |(z, y, x): (usize, usize, usize)| ((z * 7919 + y * 104_729 + x * 1_299_709) % 1009) as f32 / 500.0 - 1.0;
    let image = Array3::from_shape_fn(fine, noise);
    let logits = Array4::from_shape_fn((2, coarse[0], coarse[1], coarse[2]), |(c, z, y, x)| noise((z + c, y, x)));
    let export = Export { labelling: Labelling::Classes, shown: 1, precision: Precision::Single };
    for _ in 0..rounds {
        let begun = Instant::now();
        let there = resample(image.view(), coarse, Order::Cubic, None);
        bench.add("sulcus resampling, image", "s", begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        let back = labels_from_logits(logits.view(), fine, None, export);
        bench.add("sulcus resampling, logits", "s", begun.elapsed().as_secs_f64());
        if there.dim() != (229, 274, 274) || back.is_err() {
            return Err(PeerError::Failed("the resampling gave something else".to_owned()));
        }
        let said = Command::new(python).arg(script()).arg("resampling").stderr(Stdio::inherit()).output()?.stdout;
        let said: serde_json::Value =
            serde_json::from_slice(&said).map_err(|error| PeerError::Failed(error.to_string()))?;
        for what in ["image", "logits"] {
            bench.add(&format!("nnU-Net resampling, {what}"), "s", said[what].as_f64().unwrap_or_default());
        }
    }
    for what in ["image", "logits"] {
        let [ours, theirs] = ["sulcus", "nnU-Net"].map(|who| format!("{who} resampling, {what}"));
        bench.ratio_of_times(&format!("resampling, {what}"), &ours, &theirs);
    }
    Ok(())
}
