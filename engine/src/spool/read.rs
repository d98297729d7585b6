//! Reading the spool: one data set by its place, or every whole record behind a position.
//!
//! Any process may read while the receiver writes.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{
    Position,
    record::{Head, Label, Standing, data_set_verifies, read_head},
    segment_path, segments,
};
use crate::ledger::event::SpoolPlace;

/// Why bytes could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file system failed.
    #[error("the spool cannot be read at segment {segment}, offset {offset}: check the disk")]
    Io {
        /// Segment.
        segment: u32,
        /// Offset.
        offset: u64,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// There is no whole record, or it is not the one that the place names.
    #[error("no intact record at segment {segment}, offset {offset}: restore the spool, or have the object sent again")]
    Damaged {
        /// Segment.
        segment: u32,
        /// Offset.
        offset: u64,
    },
}

/// Reads data sets by place. Keeps the last segment open.
#[derive(Debug)]
pub struct SpoolReader {
    folder: PathBuf,
    open: Option<(u32, File)>,
}

impl SpoolReader {
    /// A reader of this spool folder.
    pub fn new(folder: &Path) -> Self {
        SpoolReader { folder: folder.to_owned(), open: None }
    }

    fn io(place: &SpoolPlace) -> impl FnOnce(io::Error) -> ReadError {
        let (segment, offset) = (place.segment, place.offset);
        move |source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof => ReadError::Damaged { segment, offset },
            _ => ReadError::Io { segment, offset, source },
        }
    }

    fn head(&mut self, place: &SpoolPlace) -> Result<(&File, Head), ReadError> {
        if self.open.as_ref().is_none_or(|(segment, _)| *segment != place.segment) {
            let file = File::open(segment_path(&self.folder, place.segment)).map_err(Self::io(place))?;
            self.open = Some((place.segment, file));
        }
        let damaged = ReadError::Damaged { segment: place.segment, offset: place.offset };
        let Some((_, file)) = &self.open else { return Err(damaged) };
        let length = file.metadata().map_err(Self::io(place))?.len();
        let head = read_head(file, length, place.offset).map_err(Self::io(place))?;
        head.filter(|head| head.length == place.length).map(|head| (file, head)).ok_or(damaged)
    }

    /// The data set at `place` (without group 0002) and its record's label, verified against their digests.
    pub fn data_set(&mut self, place: &SpoolPlace) -> Result<(Label, Vec<u8>), ReadError> {
        let (file, head) = self.head(place)?;
        let mut bytes = vec![0; head.length as usize];
        file.read_exact_at(&mut bytes, place.offset + head.data_set_at()).map_err(Self::io(place))?;
        if sulcus_operators::digest::Digest::of(&bytes) != head.digest {
            return Err(ReadError::Damaged { segment: place.segment, offset: place.offset });
        }
        Ok((head.label, bytes))
    }

    /// Checks head, label and data set at `place` without holding the data set in memory.
    pub fn verify(&mut self, place: &SpoolPlace) -> Result<Head, ReadError> {
        let (file, head) = self.head(place)?;
        if data_set_verifies(file, place.offset, &head).map_err(Self::io(place))? {
            return Ok(head);
        }
        Err(ReadError::Damaged { segment: place.segment, offset: place.offset })
    }
}

/// A whole record as a scan finds it.
#[derive(Debug)]
pub struct Found {
    /// What it says.
    pub label: Label,
    /// Where the bytes of its instance lie: its own, or those that it repeats.
    pub place: SpoolPlace,
    /// The spool's end after it.
    pub end: Position,
}

/// Visits every whole record behind `from` in the order of writing. A segment ends at its first record that is not
/// whole; later segments are visited all the same.
pub fn scan<E: From<ReadError>>(
    folder: &Path,
    from: Position,
    mut visit: impl FnMut(Found) -> Result<(), E>,
) -> Result<(), E> {
    let failed = |segment, offset| move |source| ReadError::Io { segment, offset, source };
    for segment in segments(folder).map_err(failed(from.segment, from.offset))? {
        if segment < from.segment {
            continue;
        }
        let mut offset = if segment == from.segment { from.offset } else { 0 };
        let file = File::open(segment_path(folder, segment)).map_err(failed(segment, offset))?;
        let length = file.metadata().map_err(failed(segment, offset))?.len();
        while let Some(head) = read_head(&file, length, offset).map_err(failed(segment, offset))? {
            if !data_set_verifies(&file, offset, &head).map_err(failed(segment, offset))? {
                break;
            }
            let own = SpoolPlace { segment, offset, length: head.length };
            let place = match &head.label {
                Label::Received { standing: Standing::Repeats(first), .. } => *first,
                _ => own,
            };
            offset = offset.saturating_add(head.span());
            visit(Found { label: head.label, place, end: Position { segment, offset } })?;
        }
    }
    Ok(())
}
