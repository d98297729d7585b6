//! A BIDS data set of derivatives as a destination: the files of one revision are put in place below its root.
//!
//! What it promises
//! - A file is whole or absent whatever happens: it is written under a hidden name, synced, renamed, and the folders that
//!   lead to it are synced.
//! - Files of an earlier revision of the same study and pipeline that this one has not are removed, before the new ones
//!   come, so that no label map stands beside a sidecar that withdraws it. Nothing else is removed or changed.
//! - A data set that another tool describes is left alone: nothing is written into it, and the error says so. In our own
//!   description, GeneratedBy gains the models that it does not name yet.
//! - The same archive again changes nothing; after a crash it finishes what was begun.
//!
//! What the files say and which paths an archive may name is `results::derivatives`'.

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;
use sulcus_operators::results::derivatives::{DESCRIPTION, DerivativesError, GENERATED_BY, unpack};
use thiserror::Error;

/// Why the files do not all stand.
#[derive(Debug, Error)]
pub enum BidsError {
    /// The archive is not one of ours.
    #[error(transparent)]
    Archive(#[from] DerivativesError),
    /// The root has a description that is not ours.
    #[error("{} is another tool's, or cannot be read; give derivatives a folder of their own", path.display())]
    Foreign {
        /// The description.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("{} cannot be written or removed ({source}); check the folder and the free space", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Puts the files of an archive in place below `root`, which is made where it is absent. Returns how many there are.
///
/// # Errors
/// [`BidsError`]; what was put in place by then stays and is completed by the next attempt.
pub fn place(root: &Path, archive: &[u8]) -> Result<usize, BidsError> {
    let unpacked = unpack(archive)?;
    let path = root.join(DESCRIPTION);
    if let Some(description) = described(&path, &unpacked.description)? {
        whole(root, &path, &description)?;
    }
    let own = unpacked.files.iter().map(|file| file.path.as_str()).chain(unpacked.absent.iter().map(String::as_str));
    let elsewhere = under_other_subjects(root, &own.collect::<Vec<_>>());
    let elsewhere = elsewhere.map_err(|source| BidsError::Io { path: root.to_owned(), source })?;
    for path in unpacked.absent.iter().map(|path| root.join(path)).chain(elsewhere) {
        remove(&path).map_err(|source| BidsError::Io { path, source })?;
    }
    for file in &unpacked.files {
        whole(root, &root.join(&file.path), &file.bytes)?;
    }
    Ok(unpacked.files.len())
}

/// The files of the same study and pipeline under other subjects: its patient was corrected, and the revision that took
/// them back may never have come.
fn under_other_subjects(root: &Path, own: &[&str]) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let Some(subject) = own.first().and_then(|path| path.split('/').next()) else { return Ok(found) };
    for entry in fs::read_dir(root)? {
        let name = entry?.file_name();
        let Some(other) = name.to_str().filter(|other| other.starts_with("sub-") && *other != subject) else {
            continue;
        };
        let moved = own.iter().map(|path| root.join(path.replace(subject, other)));
        found.extend(moved.filter(|path| path.is_file()));
    }
    Ok(found)
}

/// What the root's description is to be; none where it is so already.
fn described(path: &Path, ours: &[u8]) -> Result<Option<Vec<u8>>, BidsError> {
    let standing = match fs::read(path) {
        Ok(standing) => standing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(ours.to_vec())),
        Err(source) => return Err(BidsError::Io { path: path.to_owned(), source }),
    };
    let foreign = || BidsError::Foreign { path: path.to_owned() };
    let mut standing: Value = serde_json::from_slice(&standing).map_err(|_| foreign())?;
    let ours: Value = serde_json::from_slice(ours).map_err(|_| foreign())?;
    let made_by = standing.get_mut("GeneratedBy").and_then(Value::as_array_mut).ok_or_else(foreign)?;
    if made_by.first().and_then(|first| first.get("Name")).is_none_or(|name| name != GENERATED_BY) {
        return Err(foreign());
    }
    let known = made_by.len();
    for entry in ours.get("GeneratedBy").and_then(Value::as_array).into_iter().flatten() {
        if !made_by.contains(entry) {
            made_by.push(entry.clone());
        }
    }
    Ok((made_by.len() > known).then(|| format!("{standing:#}\n").into_bytes()))
}

/// Writes a file so that it is whole or absent. The hidden name is always the same, so that an attempt that was cut off
/// leaves nothing behind the next.
fn whole(root: &Path, path: &Path, bytes: &[u8]) -> Result<(), BidsError> {
    let write = || {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        fs::create_dir_all(folder)?;
        let hidden = folder.join(format!(".{}.part", name.to_string_lossy()));
        let mut file = File::create(&hidden)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&hidden, path)?;
        // The folders may be new as well, the root too: a name lasts once the folder that holds it is synced.
        let above = root.parent().unwrap_or(root);
        folder.ancestors().take_while(|folder| folder.starts_with(above)).try_for_each(sync)
    };
    write().map_err(|source| BidsError::Io { path: path.to_owned(), source })
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => path.parent().map_or(Ok(()), sync),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
