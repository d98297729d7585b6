//! `cargo xtask demo`: from a fresh clone to a lesion table.

use crate::setup;
use crate::step::{Failure, step, succeed, target};

/// Sets up, builds, and passes its arguments to `sulcus demo`.
pub fn run(arguments: &[&str]) -> Result<(), Failure> {
    let ready = setup::essentials()?;
    step("build", || {
        let mut cargo = ready.command("cargo");
        let hint = "read the compiler's first error; `rustup update` where it asks for a newer Rust";
        succeed(cargo.args(["build", "--release", "--locked", "--workspace", "--bins"]), hint)
    })?;
    let binary = target().join("release/sulcus");
    let mut demo = ready.command(&binary.to_string_lossy());
    succeed(demo.arg("demo").args(arguments), "see the message above")
}
