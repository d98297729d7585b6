//! Python peers (pydicom, highdicom, nibabel, dcm2niix), each asked by a script of `tests/peers` that prints JSON.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::peer::PeerError;
use crate::places::root;

/// The Python that has the peers: what `SULCUS_PEERS_PYTHON` names, or else the one that `cargo xtask setup` made.
///
/// # Errors
/// [`PeerError::Absent`] where there is none.
pub fn interpreter() -> Result<PathBuf, PeerError> {
    let made = root().join("runtime/peers/bin/python");
    let python = std::env::var_os("SULCUS_PEERS_PYTHON").map_or(made, PathBuf::from);
    if python.is_file() {
        return Ok(python);
    }
    Err(PeerError::Absent("no Python with the peers; run `cargo xtask setup`".to_owned()))
}

/// A program that a Python package carries, such as `dcm2niix`.
///
/// # Errors
/// [`PeerError::Absent`] where it is not there.
pub fn packaged(name: &str) -> Result<PathBuf, PeerError> {
    let program = interpreter()?.with_file_name(name);
    if program.is_file() {
        return Ok(program);
    }
    Err(PeerError::Absent(format!("{name} is not in the Python environment; run `cargo xtask setup`")))
}

/// Runs a script of `tests/peers` and reads the JSON that it prints.
///
/// # Errors
/// [`PeerError::Absent`] without a Python, [`PeerError::Failed`] where the script fails or prints no JSON.
pub fn python(script: &str, arguments: &[impl AsRef<OsStr>]) -> Result<Value, PeerError> {
    let file = root().join("tests/peers").join(script);
    let mut command = Command::new(interpreter()?);
    let output = command.arg(&file).args(arguments).stdin(Stdio::null()).output()?;
    let failed = |what: &str| {
        let said = String::from_utf8_lossy(&output.stderr);
        PeerError::failed(format!("{}: {what}\n{said}", file.display()))
    };
    if !output.status.success() {
        return Err(failed(&format!("ended with {}", output.status)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| failed(&format!("printed no JSON: {error}")))
}
