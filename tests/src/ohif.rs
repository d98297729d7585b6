//! OHIF in a headless Chromium, driven by `tests/peers/ohif.mjs`: what a reader at that viewer sees of a study.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::orthanc::Orthanc;
use crate::peer::{PeerError, program};
use crate::places::root;

/// The viewer, the browser that shows it, and what drives the browser.
#[derive(Debug)]
pub struct Ohif {
    node: PathBuf,
    chromium: PathBuf,
    folder: PathBuf,
}

/// An image of a series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// SOPInstanceUID.
    pub sop_instance_uid: String,
    /// Its frame, from 1.
    pub frame: u32,
}

/// What the viewer is asked to show.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Visit<'a> {
    /// StudyInstanceUID.
    pub study: &'a str,
    /// SeriesInstanceUID of the segmentation.
    pub segmentation: &'a str,
    /// For each segment, the image to look at it on.
    pub segments: &'a [Place],
    /// SeriesInstanceUID of the structured report, where there is one.
    pub report: Option<&'a str>,
    /// The intensity that is shown white.
    pub brightest: f64,
    /// The beginning of the names of the pictures.
    pub name: &'a str,
    /// Where pictures are written.
    pub screenshots: &'a Path,
    /// Where earlier pictures lie, if there are any.
    pub kept: &'a Path,
}

impl Ohif {
    /// Finds the viewer and its browser.
    ///
    /// # Errors
    /// [`PeerError::Absent`] where one of them is not installed.
    pub fn find() -> Result<Ohif, PeerError> {
        let folder = root().join("runtime/ohif");
        if !folder.join("viewer/index.html").is_file() || !folder.join("playwright-core/index.mjs").is_file() {
            return Err(PeerError::Absent("no OHIF; run `cargo xtask setup`".to_owned()));
        }
        let node = program("node", "nodejs")?;
        let version = Command::new(&node).arg("--version").stdin(Stdio::null()).output()?.stdout;
        let version = String::from_utf8_lossy(&version).trim().to_owned();
        let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
        if major.is_none_or(|major| major < 20) {
            return Err(PeerError::Absent(format!("node is {version}; what drives the browser needs 20 or later")));
        }
        Ok(Ohif { node, chromium: program("chromium", "chromium")?, folder })
    }

    /// Opens a study of an Orthanc that speaks DICOMweb, and tells what it sees: see `tests/peers/ohif.mjs`.
    ///
    /// # Errors
    /// [`PeerError::Failed`] where the viewer does not show what it was asked for.
    pub fn visit(&self, orthanc: &Orthanc, visit: &Visit<'_>) -> Result<Value, PeerError> {
        let request = json!({
            "viewer": self.folder.join("viewer"),
            "playwright": self.folder.join("playwright-core/index.mjs"),
            "chromium": self.chromium,
            "orthanc": format!("http://{}", orthanc.http_address()),
            "visit": visit,
        });
        let script = root().join("tests/peers/ohif.mjs");
        let output = Command::new(&self.node).arg(script).arg(request.to_string()).stdin(Stdio::null()).output()?;
        let failed = |what: &str| {
            let said = String::from_utf8_lossy(&output.stderr);
            PeerError::failed(format!("ohif.mjs: {what}\n{said}"))
        };
        if !output.status.success() {
            return Err(failed(&format!("ended with {}", output.status)));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| failed(&format!("printed no JSON: {error}")))
    }
}
