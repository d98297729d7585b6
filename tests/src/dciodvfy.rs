//! dicom3tools' `dciodvfy`: whether an object holds what its IOD asks for.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::peer::{PeerError, program};

/// What `dciodvfy` says of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// Lines that begin with `Error`.
    pub errors: Vec<String>,
    /// Lines that begin with `Warning`.
    pub warnings: Vec<String>,
}

/// Checks one Part-10 file.
///
/// # Errors
/// [`PeerError::Absent`] where dicom3tools is not installed; [`PeerError::Failed`] where its status and its words do
/// not agree, as after a crash.
pub fn dciodvfy(path: &Path) -> Result<Findings, PeerError> {
    let output = Command::new(program("dciodvfy", "dicom3tools")?).arg(path).stdin(Stdio::null()).output()?;
    let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let said = String::from_utf8_lossy(&said);
    let lines = |lead: &str| said.lines().filter(|line| line.starts_with(lead)).map(str::to_owned).collect::<Vec<_>>();
    let findings = Findings { errors: lines("Error"), warnings: lines("Warning") };
    match output.status.code() {
        Some(0) if findings.errors.is_empty() => Ok(findings),
        Some(1) if !findings.errors.is_empty() => Ok(findings),
        _ => Err(PeerError::failed(format!("dciodvfy ended with {}: {said}", output.status))),
    }
}
