//! `cargo xtask bench NAME`: runs one of `tests/benches` against its peers.

use crate::packages::folder;
use crate::setup;
use crate::step::{Failure, command, root, step, succeed, target};

/// Sets up, builds, and runs the bench of this name; what follows the name goes to the bench.
pub fn run(name: &str, arguments: &[&str]) -> Result<(), Failure> {
    if !root().join("tests/benches").join(format!("{name}.rs")).is_file() {
        return Err(Failure::new(format!("there is no bench \"{name}\""), "take one of tests/benches"));
    }
    let ready = setup::everything()?;
    step("build", || {
        let mut cargo = ready.command("cargo");
        succeed(cargo.args(["build", "--release", "--locked", "--workspace", "--bins"]), "read the first error")
    })?;
    if name == "receive" && !folder().join("bin/dicom-storescp").is_file() {
        step("dicom-storescp, for this bench only", || {
            let mut cargo = command("cargo");
            cargo.args(["install", "dicom-storescp", "--version", "0.10.1", "--locked", "--root"]).arg(folder());
            succeed(&mut cargo, "check that cargo can reach its registry")
        })?;
    }
    let figures = target().join("bench").join(format!("{name}.json"));
    let mut cargo = ready.command("cargo");
    cargo.args(["bench", "--locked", "--workspace", "--bench", name, "--"]).args(arguments);
    succeed(cargo.env("SULCUS_BENCH_JSON", &figures), "see the message above")?;
    println!("figures: {}", figures.display());
    Ok(())
}
