//! Where the repository, the binary and the real scanner files lie.

use std::path::{Path, PathBuf};

use crate::peer::PeerError;

/// The repository's root.
pub fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

/// The binary `sulcus`: what `SULCUS_BINARY` names, or else the one that cargo built beside this test.
///
/// # Errors
/// Where it has not been built.
pub fn sulcus() -> Result<PathBuf, PeerError> {
    let beside = || {
        let own = std::env::current_exe().ok()?;
        Some(own.parent()?.parent()?.join("sulcus"))
    };
    std::env::var_os("SULCUS_BINARY")
        .map(PathBuf::from)
        .or_else(beside)
        .filter(|file| file.is_file())
        .ok_or_else(|| PeerError::failed("the binary is missing; run `cargo build --release --package sulcus-engine`"))
}

/// The folder of real scanner files: `SULCUS_SCANNER_DATA`, or `shared/data` beside the repository.
///
/// # Errors
/// [`PeerError::Absent`] where neither is there.
pub fn scanner_data() -> Result<PathBuf, PeerError> {
    let folder = std::env::var_os("SULCUS_SCANNER_DATA").map_or_else(|| root().join("../shared/data"), PathBuf::from);
    if folder.is_dir() {
        return Ok(folder);
    }
    Err(PeerError::Absent("no real scanner files here; set SULCUS_SCANNER_DATA to their folder".to_owned()))
}

/// The files of a folder of scanner files, sorted by name: `philips-mprage-classic/In/cl` for instance.
///
/// # Errors
/// [`PeerError::Absent`] where there are no scanner files; [`PeerError::Failed`] where that folder is missing or empty.
pub fn scanner_files(folder: &str) -> Result<Vec<PathBuf>, PeerError> {
    let folder = scanner_data()?.join(folder);
    let entries =
        std::fs::read_dir(&folder).map_err(|error| PeerError::failed(format!("{}: {error}", folder.display())))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    if files.is_empty() {
        return Err(PeerError::failed(format!("{} holds no files", folder.display())));
    }
    Ok(files)
}
