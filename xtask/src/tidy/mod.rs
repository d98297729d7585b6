//! Checks of the project's own invariants that no compiler makes; each finding names its file and line.
//!
//! `code` reads Rust, `prose` reads every tracked text, `layers` and `licences` read what cargo knows of packages.

mod code;
mod layers;
mod lexer;
mod licences;
mod prose;

use std::fmt;

use crate::step::{Failure, command, output, root};

/// One broken invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    file: String,
    line: usize,
    message: String,
}

impl Finding {
    fn new(file: &str, line: usize, message: impl Into<String>) -> Finding {
        Finding { file: file.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

/// Reads what git tracks, or would, and prints every finding.
pub fn run() -> Result<(), Failure> {
    let mut findings = Vec::new();
    let mut git = command("git");
    let listed = output(git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]))
        .ok_or_else(|| Failure::new("git could not list the files", "run this in a clone, with git installed"))?;
    let mut read = 0_usize;
    for file in listed.split('\0').filter(|file| !file.is_empty()) {
        // A file that is gone but still tracked, or is no text, holds nothing to read here.
        let Ok(text) = std::fs::read_to_string(root().join(file)) else { continue };
        read += 1;
        if file.ends_with(".rs") {
            findings.extend(code::check(file, &text));
        }
        findings.extend(prose::check(file, &text));
        if file.ends_with(".md") {
            findings.extend(prose::links(file, &text, |target| root().join(target).exists()));
        }
    }
    let metadata = metadata()?;
    findings.extend(layers::check(&metadata));
    let allowed = licences::allowed(&std::fs::read_to_string(root().join("deny.toml")).unwrap_or_default());
    findings.extend(licences::check(&metadata, &allowed));
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("    tidy: {read} files, no findings");
        return Ok(());
    }
    Err(Failure::new(
        format!("tidy found {} things", findings.len()),
        "mend each line above, or change the rule in xtask/src/tidy",
    ))
}

fn metadata() -> Result<serde_json::Value, Failure> {
    let hint = "run `cargo metadata` to see why";
    let mut cargo = command("cargo");
    cargo.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"]);
    let text = output(&mut cargo).ok_or_else(|| Failure::new("cargo could not describe the packages", hint))?;
    serde_json::from_str(&text).map_err(|error| Failure::new(format!("cargo's description is no JSON: {error}"), hint))
}
