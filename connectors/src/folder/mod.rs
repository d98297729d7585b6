//! A folder, a zip archive or a file of DICOM as a source: what is in it goes to the inbox, as if it had been sent.
//!
//! Nothing is unpacked to disk, links are not followed, and every size is bounded by [`FolderLimits`]. This file owns a
//! pass over a path; `archive` reads zips, `watch` polls a folder that others put files into.

mod archive;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use dicom_dictionary_std::uids::MEDIA_STORAGE_DIRECTORY_STORAGE;
use rayon::prelude::*;
use sulcus_operators::part10::{self, Part10Error};
use thiserror::Error;
use walkdir::WalkDir;

use crate::inbox::{Inbox, Incoming, Stored};

pub use watch::Watch;

/// Bytes looked at before a file is read whole.
const HEAD: u64 = 256;

/// Files that are read before the first of them is delivered, at most,
const READ_AHEAD: usize = 64;
/// and their bytes: no other file is begun once they are more.
const READ_AHEAD_BYTES: u64 = 64 << 20;

/// Memory that is taken for an object before its bytes are there; a larger one grows as they come.
const TRUSTED_SIZE: u64 = 1 << 20;

/// What a pass takes at most.
#[derive(Clone, Debug)]
pub struct FolderLimits {
    /// Files and folders in the path, and again entries in each archive.
    pub max_entries: u64,
    /// Folders inside folders.
    pub max_depth: usize,
    /// Bytes of one object, unpacked.
    pub max_object_bytes: u64,
    /// Bytes of all entries of one archive, unpacked.
    pub max_archive_bytes: u64,
    /// How many times larger than in the archive an entry may unpack to; zlib reaches 1032 on zeros.
    pub max_ratio: u64,
}

impl Default for FolderLimits {
    fn default() -> Self {
        FolderLimits {
            max_entries: 1_000_000,
            max_depth: 32,
            max_object_bytes: 1 << 30,
            max_archive_bytes: 64 << 30,
            max_ratio: 1100,
        }
    }
}

/// Why a file was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skip {
    /// No DICOM.
    NotDicom,
    /// A DICOMDIR: an index of files that are read themselves.
    Dicomdir,
    /// DICOM, but its header (group 0002) cannot be read.
    BrokenHeader,
    /// Longer than [`FolderLimits::max_object_bytes`].
    TooLarge,
    /// Unpacks to more than [`FolderLimits::max_ratio`] allows.
    TooCompressed,
    /// Below [`FolderLimits::max_depth`], or an archive inside an archive.
    TooDeep,
    /// A symbolic link or a special file.
    NotAFile,
    /// An archive that is broken or beyond a limit; what was read of it before is counted.
    BrokenArchive,
    /// It could not be read.
    Unreadable,
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Skip::NotDicom => "no DICOM",
            Skip::Dicomdir => "a DICOMDIR",
            Skip::BrokenHeader => "a DICOM file with a broken header",
            Skip::TooLarge => "longer than an object may be",
            Skip::TooCompressed => "compressed more than an archive of images ever is",
            Skip::TooDeep => "too many folders or archives deep",
            Skip::NotAFile => "a link or special file",
            Skip::BrokenArchive => "a broken or oversized archive",
            Skip::Unreadable => "not readable",
        })
    }
}

/// What a pass did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FolderPass {
    /// Objects kept as new instances.
    pub stored: u64,
    /// Objects that were held already.
    pub repeated: u64,
    /// Objects whose UID is held with other bytes; kept in quarantine.
    pub conflicts: u64,
    /// Objects kept in quarantine, since they cannot be understood.
    pub quarantined: u64,
    /// Objects that the inbox did not keep: to be delivered again.
    pub failed: u64,
    /// Why the first of those was not kept.
    pub first_failure: Option<String>,
    /// Files passed over, counted by reason.
    pub skipped: BTreeMap<Skip, u64>,
    /// Series that objects were kept of.
    pub series: BTreeSet<String>,
}

impl FolderPass {
    fn skip(&mut self, reason: Skip) {
        *self.skipped.entry(reason).or_default() += 1;
    }

    /// Adds what another pass did.
    fn add(&mut self, other: FolderPass) {
        self.stored += other.stored;
        self.repeated += other.repeated;
        self.conflicts += other.conflicts;
        self.quarantined += other.quarantined;
        self.failed += other.failed;
        self.first_failure = self.first_failure.take().or(other.first_failure);
        for (reason, count) in other.skipped {
            *self.skipped.entry(reason).or_default() += count;
        }
        self.series.extend(other.series);
    }

    fn count(&mut self, stored: Stored) {
        match stored {
            Stored::Kept { series_uid } => {
                self.stored += 1;
                self.series.insert(series_uid);
            }
            Stored::Repeated { series_uid } => {
                self.repeated += 1;
                self.series.insert(series_uid);
            }
            Stored::Conflict => self.conflicts += 1,
            Stored::Quarantined { .. } => self.quarantined += 1,
            Stored::OutOfResources { reason } | Stored::Failed { reason } => {
                self.failed += 1;
                self.first_failure.get_or_insert(reason);
            }
        }
    }
}

/// Why a path cannot be a source.
#[derive(Debug, Error)]
pub enum FolderError {
    /// The path cannot be opened or listed.
    #[error("cannot read {}, check that it exists and may be read", path.display())]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// An archive that is none, or is broken.
    #[error("cannot read the archive {}: {reason}, make it again", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// More entries than allowed.
    #[error("{} holds more than {limit} entries, deliver it in parts", path.display())]
    TooMany {
        /// The folder or archive.
        path: PathBuf,
        /// [`FolderLimits::max_entries`].
        limit: u64,
    },
    /// More bytes than allowed.
    #[error("the archive {} unpacks to more than {limit} bytes, deliver it in parts", path.display())]
    TooLarge {
        /// The archive.
        path: PathBuf,
        /// [`FolderLimits::max_archive_bytes`].
        limit: u64,
    },
}

/// Delivers all DICOM in a folder, a zip archive or a single file to the inbox, then tells it that the pass ended, in
/// order or not. Files are taken in the order of their names, and some are read ahead; the source's files are left as
/// they are. A broken archive or unreadable file inside a folder is counted and passed over; where it is `path` itself,
/// it is the error.
pub fn deliver(path: &Path, source: &str, inbox: &dyn Inbox, limits: &FolderLimits) -> Result<FolderPass, FolderError> {
    let mut pass = FolderPass::default();
    let mut ahead: Vec<PathBuf> = Vec::new();
    let mut bytes = 0;
    let take = |files: Vec<PathBuf>, pass: &mut FolderPass| {
        let read: Vec<_> = files.into_par_iter().map(|file| (content(&file, limits), file)).collect();
        for (content, file) in read {
            match content.and_then(|content| give(content, &file, source, inbox, limits, pass)) {
                Err(FolderError::Unreadable { .. }) if file != path => pass.skip(Skip::Unreadable),
                Err(_) if file != path => pass.skip(Skip::BrokenArchive),
                Err(error) => return Err(error),
                Ok(()) => {}
            }
        }
        Ok(())
    };
    let walked = walk(path, &[], limits, &mut pass, &mut |file, pass| {
        ahead.push(file.to_owned());
        bytes += file.metadata().map_or(0, |metadata| metadata.len().min(limits.max_object_bytes));
        if ahead.len() < READ_AHEAD && bytes < READ_AHEAD_BYTES {
            return Ok(());
        }
        bytes = 0;
        take(std::mem::take(&mut ahead), pass)
    });
    let result = take(ahead, &mut pass).and(walked);
    inbox.released(source, pass.series.iter().cloned().collect(), result.is_ok());
    result.map(|()| pass)
}

/// Calls `take` for each regular file below `path` but not below `except`, counting everything else as skipped.
fn walk(
    path: &Path,
    except: &[PathBuf],
    limits: &FolderLimits,
    pass: &mut FolderPass,
    take: &mut dyn FnMut(&Path, &mut FolderPass) -> Result<(), FolderError>,
) -> Result<(), FolderError> {
    let mut entries = 0;
    let all = WalkDir::new(path).max_depth(limits.max_depth).sort_by_file_name();
    for entry in all.into_iter().filter_entry(|entry| !except.iter().any(|path| path == entry.path())) {
        entries += 1;
        if entries > limits.max_entries {
            return Err(FolderError::TooMany { path: path.to_owned(), limit: limits.max_entries });
        }
        match entry {
            // What was asked for must be readable; what is inside may come and go.
            Err(error) if error.depth() == 0 => {
                let source = error.into_io_error().unwrap_or_else(|| io::ErrorKind::Other.into());
                return Err(FolderError::Unreadable { path: path.to_owned(), source });
            }
            Err(_) => pass.skip(Skip::Unreadable),
            Ok(entry) if entry.file_type().is_dir() => {
                if entry.depth() == limits.max_depth {
                    pass.skip(Skip::TooDeep);
                }
            }
            Ok(entry) if entry.depth() == 0 || entry.file_type().is_file() => take(entry.path(), pass)?,
            Ok(_) => pass.skip(Skip::NotAFile),
        }
    }
    Ok(())
}

/// What a file holds.
enum Content {
    Object(Result<Incoming, Skip>),
    Archive(File),
}

/// Opens one file, and reads it unless it is an archive.
fn content(path: &Path, limits: &FolderLimits) -> Result<Content, FolderError> {
    let unreadable = |source| FolderError::Unreadable { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(unreadable)?;
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("zip")) {
        return Ok(Content::Archive(file));
    }
    let size = file.metadata().map_err(unreadable)?.len();
    object(&mut file, size, limits.max_object_bytes).map(Content::Object).map_err(unreadable)
}

/// Delivers what a file holds, adding to `pass` what became of it.
fn give(
    content: Content,
    path: &Path,
    source: &str,
    inbox: &dyn Inbox,
    limits: &FolderLimits,
    pass: &mut FolderPass,
) -> Result<(), FolderError> {
    match content {
        Content::Archive(file) => return archive::deliver(path, file, source, inbox, limits, pass),
        Content::Object(Ok(object)) => pass.count(inbox.store(Incoming { source: source.to_owned(), ..object })),
        Content::Object(Err(skip)) => pass.skip(skip),
    }
    Ok(())
}

/// Reads one object, whose source is left empty. Of what is not DICOM only the head is read; of what is too long, no more
/// than the limit. `size` is how long it says it is.
fn object(reader: &mut dyn Read, size: u64, max_object_bytes: u64) -> io::Result<Result<Incoming, Skip>> {
    let mut bytes = Vec::new();
    reader.take(HEAD).read_to_end(&mut bytes)?;
    if part10::split(&bytes) == Err(Part10Error::NotDicom) {
        return Ok(Err(Skip::NotDicom));
    }
    // The header is small beside an object; what is over by a header is still taken.
    let limit = max_object_bytes.saturating_add(HEAD);
    bytes.reserve_exact(size.min(TRUSTED_SIZE).min(limit) as usize);
    reader.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Ok(Err(Skip::TooLarge));
    }
    let (header_length, incoming) = match part10::split(&bytes) {
        Ok(file) if file.sop_class_uid == MEDIA_STORAGE_DIRECTORY_STORAGE => return Ok(Err(Skip::Dicomdir)),
        Ok(file) => {
            let incoming = Incoming {
                source: String::new(),
                transfer_syntax: file.transfer_syntax,
                sop_class_uid: file.sop_class_uid,
                sop_instance_uid: file.sop_instance_uid,
                data_set: Vec::new(),
            };
            (bytes.len() - file.data_set.len(), incoming)
        }
        Err(Part10Error::NotDicom) => return Ok(Err(Skip::NotDicom)),
        Err(_) => return Ok(Err(Skip::BrokenHeader)),
    };
    bytes.drain(..header_length);
    Ok(Ok(Incoming { data_set: bytes, ..incoming }))
}
