//! `cargo xtask oracle`: nnU-Net itself writes cases, large and small, and our answers are compared with its own.
//!
//! nnU-Net and torch live in an environment of their own, `runtime/oracle`, which CI does without: it has the small
//! cases of `tests/oracle/cases`. Those are made by the same script, with `--size small`.

use std::path::PathBuf;

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
                "binary(nnunet)",
            ]);
            succeed(cargo.env("SULCUS_ORACLE_CASES", &cases), "see the failing case above")
        })?;
    }
    Ok(())
}
