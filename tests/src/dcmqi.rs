//! dcmqi's readers, from its Python package: another implementation of TID 1500 than ours and highdicom's.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::peer::PeerError;
use crate::python::packaged;

/// What `tid1500reader` makes of a structured report.
///
/// # Errors
/// [`PeerError::Absent`] where dcmqi is not installed; [`PeerError::Failed`] with what it said where it cannot read it.
pub fn tid1500reader(report: &Path) -> Result<Value, PeerError> {
    let program = packaged("tid1500reader")?;
    let read = report.with_extension("tid1500.json");
    let mut command = Command::new(program);
    command.arg("--inputDICOM").arg(report).arg("--outputMetadata").arg(&read);
    let output = command.stdin(Stdio::null()).output()?;
    let failed = |what: String| {
        let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
        PeerError::failed(format!("tid1500reader {what}: {}", String::from_utf8_lossy(&said)))
    };
    if !output.status.success() {
        return Err(failed(format!("ended with {}", output.status)));
    }
    let bytes = std::fs::read(&read).map_err(|error| failed(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))
}
