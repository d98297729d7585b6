//! SynthStrip's network, imported from a checkpoint that torch wrote, against what torch itself answers
//! (`tests/oracle/strip.py`).

use std::fs;
use std::path::Path;
use std::process::Command;

use ndarray::Ix3;
use sulcus_models::brain::BrainPackage;
use sulcus_models::device::{Device, Provider};
use sulcus_models::runtime::Runtime;
use sulcus_tests::npy;
use sulcus_tests::places::{root, sulcus};

fn import(checkpoint: &Path, output: &Path, more: &[&str]) -> (bool, String) {
    let mut command = Command::new(sulcus().unwrap());
    let said =
        command.args(["model", "import"]).args(more).arg(checkpoint).arg("--output").arg(output).output().unwrap();
    (said.status.success(), String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned())
}

#[test]
fn the_imported_network_answers_as_torch_does() {
    let (cases, work) = (root().join("tests/oracle/strip"), tempfile::tempdir().unwrap());
    let folder = work.path().join("brain");
    let (well, said) = import(&cases.join("synthstrip.pt"), &folder, &[]);
    assert!(well && said.contains("multiples of 8"), "{said}");
    let package = BrainPackage::open(&folder).unwrap().unwrap();
    let image = npy::read(&cases.join("image.npy")).unwrap().into_dimensionality::<Ix3>().unwrap();
    let wanted = npy::read(&cases.join("distance.npy")).unwrap().into_dimensionality::<Ix3>().unwrap();
    let runtime = Runtime::load(None).unwrap();
    for provider in [Provider::Cpu, Provider::OpenVino] {
        if provider == Provider::OpenVino
            && !runtime.library().with_file_name("libonnxruntime_providers_openvino.so").is_file()
        {
            println!("SKIPPED: this ONNX Runtime has no OpenVINO provider");
            continue;
        }
        let mut session = package.session(runtime, &Device::new(provider)).unwrap();
        let found = session.distance(image.view()).unwrap();
        let worst = found.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{provider}: distances differ by at most {worst:.1e}");
        assert!(worst <= 1e-3, "{provider}: {worst}");
        session.check().unwrap();
    }
    let mut check = Command::new(sulcus().unwrap());
    let said = check.args(["model", "check"]).arg(&folder).output().unwrap();
    assert!(said.status.success() && String::from_utf8_lossy(&said.stdout).contains("passed on cpu"), "{said:?}");
}

#[test]
fn what_is_no_such_network_is_refused_and_nothing_is_left() {
    let work = tempfile::tempdir().unwrap();
    let file = root().join("tests/oracle/strip/synthstrip.pt");
    let whole = fs::read(&file).unwrap();
    let cut = work.path().join("cut.pt");
    fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let other = root().join("tests/oracle/cases/iso/results/fold_0/checkpoint_final.pth");
    let output = work.path().join("package");
    for (checkpoint, more, words) in [
        (&cut, &[][..], "zip"),
        (&other, &[], "model_state_dict"),
        (&file, &["--half"], "SynthStrip"),
        (&work.path().join("nowhere.pt"), &[], "nowhere.pt"),
    ] {
        let (well, said) = import(checkpoint, &output, more);
        assert!(!well && said.contains(words), "{said}");
    }
    assert!(import(&file, &output, &[]).0);
    let model = output.join("model.onnx");
    let mut bytes = fs::read(&model).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&model, bytes).unwrap();
    assert!(BrainPackage::open(&output).unwrap_err().to_string().contains("was changed"));
    let mut left: Vec<_> = fs::read_dir(work.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    left.sort();
    assert_eq!(left, ["cut.pt", "package"]);
}
