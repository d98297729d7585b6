//! `cargo xtask oracle`: nnU-Net itself writes cases, large and small, and our answers are compared with its own.
//!
//! nnU-Net and torch live in an environment of their own, `runtime/oracle`, which CI does without: it has the small
//! cases of `tests/oracle/cases`. Those are made by the same script, with `--size small`.

use std::path::{Path, PathBuf};

use crate::packages::{environment, folder, install};
use crate::setup;
use crate::step::{Failure, command, root, step, succeed, target};

/// What the cases are made with, pinned.
const NNUNET: &[&str] = &["nnunetv2==2.8.1"];

/// A Python that has nnU-Net: the one that `SULCUS_ORACLE_PYTHON` names, or our own.
pub fn python() -> Result<PathBuf, Failure> {
    if let Some(python) = std::env::var_os("SULCUS_ORACLE_PYTHON") {
        return Ok(PathBuf::from(python));
    }
    let python = environment(&folder().join("oracle"))?;
    install(&python, NNUNET)?;
    Ok(python)
}

/// Makes the cases, small and large, and compares.
pub fn run() -> Result<(), Failure> {
    let ready = setup::everything()?;
    let python = python()?;
    for size in ["small", "large"] {
        let cases = target().join("oracle").join(size);
        step(&format!("{size} cases by nnU-Net"), || {
            let mut make = command(&python);
            make.arg(root().join("tests/oracle/make.py")).arg(&cases).args(["--size", size]);
            succeed(&mut make, "see the message above; nnU-Net 2.8.1 is needed")
        })?;
        step(&format!("comparison with {size} cases"), || {
            let mut cargo = ready.command("cargo");
            cargo.args([
                "nextest",
                "run",
                "--release",
                "--locked",
                "--workspace",
                "--no-capture",
                "-E",
                "test(/^nnunet::/)",
            ]);
            succeed(cargo.env("SULCUS_ORACLE_CASES", &cases), "see the failing case above")
        })?;
    }
    step("nnU-Net reads our probabilities", || read_back(&ready, &python))
}

/// Predicts a case of each kind with `--save_probabilities`, and lets nnU-Net make an ensemble of it.
fn read_back(ready: &setup::Ready, python: &Path) -> Result<(), Failure> {
    let hint = "see the message above";
    let binary = target().join("release/sulcus");
    succeed(ready.command("cargo").args(["build", "--release", "--locked", "--workspace", "--bins"]), hint)?;
    for name in ["resampled", "planar", "regions", "transposed"] {
        let (case, work) = (target().join("oracle/small").join(name), target().join("oracle/read-back"));
        let (package, labels) = (work.join(format!("{name}.package")), work.join(name));
        for folder in [&package, &labels] {
            if folder.exists() {
                std::fs::remove_dir_all(folder).map_err(|error| {
                    Failure::new(format!("{} cannot be removed: {error}", folder.display()), "remove it by hand")
                })?;
            }
        }
        let lesion = if name == "regions" { "active" } else { "core" };
        let mut import = ready.command(&binary.to_string_lossy());
        import.args(["model", "import", "--lesion", lesion, "--output"]).arg(&package).arg(case.join("results"));
        succeed(&mut import, hint)?;
        let mut predict = ready.command(&binary.to_string_lossy());
        predict.args(["predict", "--device", "cpu", "--save_probabilities", "-i"]).arg(case.join("images"));
        succeed(predict.arg("-o").arg(&labels).arg("-m").arg(&package), hint)?;
        succeed(command(python).arg(root().join("tests/oracle/read_back.py")).arg(&labels), hint)?;
    }
    Ok(())
}
