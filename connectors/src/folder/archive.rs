//! Zip archives: entries are read in memory, one at a time, under the limits of a pass. Entry names are never used as
//! paths.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use zip::ZipArchive;

use super::{FolderError, FolderLimits, FolderPass, Skip, object};
use crate::inbox::{Inbox, Incoming};

/// What any entry may unpack to, whatever its ratio.
const SMALL: u64 = 1024 * 1024;

/// Delivers the entries of an archive, in the order of its directory.
pub(super) fn deliver(
    path: &Path,
    file: File,
    source: &str,
    inbox: &dyn Inbox,
    limits: &FolderLimits,
    pass: &mut FolderPass,
) -> Result<(), FolderError> {
    let broken = |error: zip::result::ZipError| FolderError::Archive {
        path: path.to_owned(),
        reason: error.to_string().trim_end_matches('.').to_owned(),
    };
    let mut archive = ZipArchive::new(io::BufReader::new(file)).map_err(broken)?;
    if archive.len() as u64 > limits.max_entries {
        return Err(FolderError::TooMany { path: path.to_owned(), limit: limits.max_entries });
    }
    let mut unpacked = 0;
    for index in 0..archive.len() {
        let mut entry = match archive.by_index(index) {
            Ok(entry) if entry.is_dir() => continue,
            Ok(entry) if entry.is_symlink() => {
                pass.skip(Skip::NotAFile);
                continue;
            }
            Ok(entry) => entry,
            // Encrypted, or by a method that this build does not have.
            Err(_) => {
                pass.skip(Skip::Unreadable);
                continue;
            }
        };
        let size = entry.size();
        let allowed = entry.compressed_size().saturating_mul(limits.max_ratio).max(SMALL);
        let mut counted = Counted { inner: &mut entry, left: allowed, read: 0, exceeded: false, magic: [0; 4] };
        let outcome = object(&mut counted, size, limits.max_object_bytes);
        unpacked += counted.read;
        let (exceeded, magic) = (counted.exceeded, counted.magic);
        if unpacked > limits.max_archive_bytes {
            return Err(FolderError::TooLarge { path: path.to_owned(), limit: limits.max_archive_bytes });
        }
        match outcome {
            Ok(Ok(object)) => pass.count(inbox.store(Incoming { source: source.to_owned(), ..object })),
            Ok(Err(Skip::NotDicom)) if magic == *b"PK\x03\x04" => pass.skip(Skip::TooDeep),
            Ok(Err(skip)) => pass.skip(skip),
            Err(_) if exceeded => pass.skip(Skip::TooCompressed),
            Err(_) => pass.skip(Skip::Unreadable),
        }
    }
    Ok(())
}

/// Reads on until more than `left` bytes have come, then fails.
struct Counted<'a> {
    inner: &'a mut dyn Read,
    left: u64,
    read: u64,
    exceeded: bool,
    /// The first four bytes.
    magic: [u8; 4],
}

impl Read for Counted<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        if self.read == 0
            && let Some(head) = into.get(..count).and_then(<[u8]>::first_chunk)
        {
            self.magic = *head;
        }
        self.read += count as u64;
        if self.read > self.left {
            self.exceeded = true;
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(count)
    }
}
