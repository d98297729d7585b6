//! What commands print, where whoever reads it has enough, or where there is no room for it.

use std::fs::OpenOptions;
use std::io::pipe;
use std::process::{Command, Output, Stdio};

use sulcus_tests::places::{root, sulcus};

/// A command that prints a page, with its output going there.
fn printed(to: impl Into<Stdio>) -> Output {
    let mut command = Command::new(sulcus().unwrap());
    command.args(["model", "inspect"]).arg(root().join("models/demo"));
    command.stdout(to).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap()
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let output = printed(writer);
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""));
}

#[test]
fn an_output_that_cannot_be_written_is_a_failure_that_says_so() {
    let output = printed(OpenOptions::new().write(true).open("/dev/full").unwrap());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the output cannot be written") && said.contains("make room"), "{said}");
}
