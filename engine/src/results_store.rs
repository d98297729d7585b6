//! The results store: label maps, volumes and encoded objects as files named by the BLAKE3 of their bytes.
//!
//! `results/ab/<digest>`, synced before the event that names them. Equal bytes are one file. Files are never
//! changed; a reader checks what it reads.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use sulcus_operators::digest::Digest;

use crate::spool::sync_folder;

/// Why a result could not be kept or had.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// The file system failed.
    #[error("the results store failed at {path}: check the disk and its free space")]
    Io {
        /// File or folder.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The file is not what its name says.
    #[error("{path} does not hold what its name says: put it back from a backup")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// The results store of one data folder.
#[derive(Clone, Debug)]
pub struct ResultsStore {
    folder: PathBuf,
}

/// Tells apart the temporary files of one process.
static TEMPORARY: AtomicU64 = AtomicU64::new(0);

impl ResultsStore {
    /// The store within a data folder; makes its folder.
    pub fn open(data_folder: &Path) -> Result<Self, ResultsError> {
        let folder = data_folder.join("results");
        let failed = |source| ResultsError::Io { path: folder.clone(), source };
        fs::create_dir_all(&folder).map_err(failed)?;
        sync_folder(data_folder).map_err(failed)?;
        Ok(ResultsStore { folder })
    }

    /// Where the file of a digest lies, whether or not it is there.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.folder.join(name.get(..2).unwrap_or_default()).join(name)
    }

    /// Keeps these bytes and returns their digest when they are durable under it.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, ResultsError> {
        let digest = Digest::of(bytes);
        let path = self.path(&digest);
        match self.get(&digest) {
            Ok(_) => {
                // Found is not yet durable: whoever wrote it may have ended before its syncs.
                self.make_durable(&path).map_err(|source| ResultsError::Io { path, source })?;
                return Ok(digest);
            }
            Err(ResultsError::Damaged { .. }) => {}
            Err(ResultsError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.write(&path, bytes).map_err(|source| ResultsError::Io { path, source })?;
        Ok(digest)
    }

    /// The bytes of a digest, checked.
    pub fn get(&self, digest: &Digest) -> Result<Vec<u8>, ResultsError> {
        let path = self.path(digest);
        let bytes = fs::read(&path).map_err(|source| ResultsError::Io { path: path.clone(), source })?;
        if Digest::of(&bytes) == *digest { Ok(bytes) } else { Err(ResultsError::Damaged { path }) }
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let parent = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(parent)?;
        let number = TEMPORARY.fetch_add(1, Ordering::Relaxed);
        let temporary = self.folder.join(format!("new-{}-{number}", std::process::id()));
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, path)
        })();
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written?;
        sync_folder(parent)?;
        sync_folder(&self.folder)
    }

    fn make_durable(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()?;
        sync_folder(path.parent().unwrap_or(&self.folder))?;
        sync_folder(&self.folder)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn equal_bytes_are_one_file_under_their_digest() {
        let folder = tempfile::tempdir().unwrap();
        let store = ResultsStore::open(folder.path()).unwrap();
        let digest = store.put(b"a label map").unwrap();
        assert_eq!(store.put(b"a label map").unwrap(), digest);
        assert_eq!(store.get(&digest).unwrap(), b"a label map");
        let files = walk(folder.path());
        assert_eq!(files, [store.path(&digest)], "no temporary file stays behind");
    }

    #[test]
    fn a_changed_file_is_refused_and_put_again_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let store = ResultsStore::open(folder.path()).unwrap();
        let digest = store.put(b"a label map").unwrap();
        fs::write(store.path(&digest), b"a label mop").unwrap();
        assert!(matches!(store.get(&digest), Err(ResultsError::Damaged { .. })));
        store.put(b"a label map").unwrap();
        assert_eq!(store.get(&digest).unwrap(), b"a label map");
    }

    #[test]
    fn what_was_never_put_is_not_found() {
        let folder = tempfile::tempdir().unwrap();
        let store = ResultsStore::open(folder.path()).unwrap();
        let missing = store.get(&Digest::of(b"never"));
        assert!(matches!(missing, Err(ResultsError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound));
    }

    fn walk(folder: &Path) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
        }
        files
    }
}
