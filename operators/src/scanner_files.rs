//! Real scanner files for tests: `$SULCUS_SCANNER_DATA`, else `shared/data` beside the repository.

use std::path::{Path, PathBuf};

use crate::part10;
use crate::volume::Encoded;

/// One file, taken apart.
pub struct ScannerFile {
    /// Where it lies.
    pub path: PathBuf,
    transfer_syntax: String,
    data_set: Vec<u8>,
}

impl ScannerFile {
    /// Its data set.
    pub fn encoded(&self) -> Encoded<'_> {
        Encoded { transfer_syntax: &self.transfer_syntax, data_set: &self.data_set }
    }
}

/// All DICOM files under a folder of the scanner files, by path; none, with a plain line, where they are absent.
pub fn scanner_files(folder: &str) -> Option<Vec<ScannerFile>> {
    let root = std::env::var_os("SULCUS_SCANNER_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let mut files = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "dcm") {
                files.push(open(path)?);
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    if files.is_empty() {
        println!("skipped: no scanner files in {} (set SULCUS_SCANNER_DATA)", root.join(folder).display());
        return None;
    }
    Some(files)
}

fn open(path: PathBuf) -> Option<ScannerFile> {
    let bytes = std::fs::read(&path).ok()?;
    let file = part10::split(&bytes).ok()?;
    let (transfer_syntax, data_set) = (file.transfer_syntax, file.data_set.to_vec());
    Some(ScannerFile { path, transfer_syntax, data_set })
}
