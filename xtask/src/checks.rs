//! `cargo xtask test`: everything CI runs, in the order in which it fails fastest.

use crate::setup;
use crate::step::{Failure, command, find, output, step, succeed, target};
use crate::tidy;

/// Sets up, then format, tidy, licences, lints, documentation, doc tests, tests.
pub fn run() -> Result<(), Failure> {
    step("format", || succeed(command("cargo").args(["fmt", "--all", "--check"]), "run `cargo fmt --all`"))?;
    step("tidy", tidy::run)?;
    let ready = setup::everything()?;
    if output(command("cargo").args(["deny", "--version"])).is_some() {
        let hint = "see deny.toml: change the dependency, or argue for the exception there";
        step("cargo deny", || succeed(command("cargo").args(["deny", "check", "licenses", "bans", "sources"]), hint))?;
    } else {
        println!("    no cargo-deny here: tidy has checked licences and sources by deny.toml itself");
    }
    step("lints", || {
        let mut cargo = ready.command("cargo");
        cargo.args(["clippy", "--release", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]);
        succeed(&mut cargo, "mend what clippy names")
    })?;
    step("documentation", || {
        let mut cargo = ready.command("cargo");
        cargo.args(["doc", "--release", "--locked", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
        succeed(&mut cargo, "mend the links and comments that rustdoc names")
    })?;
    // Everything in one go, the binary too: cargo builds one for the tests of its own package only, and with another
    // selection of features it would build the dependencies twice.
    step("build", || {
        let mut cargo = ready.command("cargo");
        succeed(
            cargo.args(["build", "--release", "--locked", "--workspace", "--bins", "--tests"]),
            "read the first error",
        )
    })?;
    step("documentation examples", || {
        let mut cargo = ready.command("cargo");
        succeed(cargo.args(["test", "--release", "--locked", "--workspace", "--doc"]), "see the failing example above")
    })?;
    let skipped = target().join("skipped-tests.txt");
    crate::packages::write(&skipped, "")?;
    let outcome = step("tests", || {
        let mut cargo = ready.command("cargo");
        cargo.env("SULCUS_BINARY", target().join("release/sulcus")).env("SULCUS_SKIPPED", &skipped);
        if find("cargo-nextest").is_some() {
            cargo.args(["nextest", "run", "--release", "--locked", "--workspace", "--no-fail-fast"]);
        } else {
            println!("    no cargo-nextest here: running `cargo test` instead");
            cargo.args([
                "test",
                "--release",
                "--locked",
                "--workspace",
                "--lib",
                "--bins",
                "--tests",
                "--no-fail-fast",
            ]);
        }
        succeed(&mut cargo, "see the failing tests above; one alone: `cargo nextest run --release NAME`")
    });
    print!("{}", std::fs::read_to_string(&skipped).unwrap_or_default());
    outcome
}
