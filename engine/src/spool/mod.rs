//! The spool: every byte that was ever accepted, in append-only segment files `NNNNNNNN.segment`.
//!
//! Owned by the receiver process, which alone writes. Records (see [`record`]) carry digest and facts, so that the
//! ledger can be rebuilt from here. One append and one `fdatasync` cover a whole batch, whoever sent its parts.
//!
//! **A segment is written by one life of one process, front to back, never over.** Each start opens a new segment,
//! and so does a write or a sync that failed: what such a file holds beyond its last whole record was never
//! acknowledged, and nothing that comes later can be mistaken for it. Segments are given their length in advance,
//! so that an append changes no more of the file's metadata than it must.

pub mod read;
pub mod record;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IoSlice, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sulcus_operators::digest::Digest;

use self::record::{Label, PAGE, encode, span};
use crate::ledger::event::SpoolPlace;

/// The spool's end after some record: the next one begins here, or in a later segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// Number of the segment; 0 before the first.
    pub segment: u32,
    /// Offset within it.
    pub offset: u64,
}

/// One record on its way into the spool.
#[derive(Debug)]
pub struct Record<'a> {
    /// What it says.
    pub label: &'a Label,
    /// The data set's bytes.
    pub data_set: &'a [u8],
    /// Their BLAKE3.
    pub digest: Digest,
}

/// The writing end.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    segment_bytes: u64,
    file: Option<File>,
    end: Position,
    capacity: u64,
}

/// The path of a segment.
pub fn segment_path(folder: &Path, segment: u32) -> PathBuf {
    folder.join(format!("{segment:08}.segment"))
}

/// Numbers of the segments in the folder, ascending. Other files are passed over.
pub fn segments(folder: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".segment"));
        numbers.extend(number.and_then(|number| number.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes the names in a folder durable.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

impl Spool {
    /// Opens for writing behind every segment that exists and behind `known` (the ledger's position, which exceeds
    /// the segments only where some were lost). Creates the folder; the first segment is made by the first append.
    pub fn open(folder: &Path, segment_bytes: u64, known: Position) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let last = segments(folder)?.last().copied().unwrap_or(0).max(known.segment);
        let end = Position { segment: last, offset: 0 };
        Ok(Spool { folder: folder.to_owned(), segment_bytes, file: None, end, capacity: 0 })
    }

    /// Appends the records and returns, once all are durable, where each lies and the spool's end after each.
    /// On an error none of them counts, and the next append begins a new segment.
    pub fn append(&mut self, records: &[Record<'_>]) -> io::Result<Vec<(SpoolPlace, Position)>> {
        let result = self.try_append(records);
        if result.is_err()
            && let Some(file) = self.file.take()
        {
            // Gives the room back where it can be done; what stays is ignored at the next start, and never overwritten.
            let _ = match self.end.offset {
                0 => fs::remove_file(segment_path(&self.folder, self.end.segment)),
                end => file.set_len(end),
            };
        }
        result
    }

    fn try_append(&mut self, records: &[Record<'_>]) -> io::Result<Vec<(SpoolPlace, Position)>> {
        let mut heads = Vec::with_capacity(records.len());
        let mut spans = Vec::with_capacity(records.len());
        for record in records {
            let length = record.data_set.len() as u64;
            let head = encode(record.label, length, &record.digest)?;
            spans.push(span((head.len() - record::HEAD) as u64, length));
            heads.push(head);
        }
        let total = spans.iter().sum::<u64>();
        if self.file.is_none() || self.end.offset + total > self.capacity {
            self.begin_segment(total)?;
        }
        let Some(file) = self.file.as_mut() else {
            return Err(io::Error::other("no spool segment is open"));
        };
        let padding = [0u8; PAGE as usize];
        let mut slices = Vec::with_capacity(records.len() * 3);
        let mut places = Vec::with_capacity(records.len());
        let mut end = self.end;
        for ((record, head), span) in records.iter().zip(&heads).zip(&spans) {
            let length = record.data_set.len() as u64;
            slices.push(IoSlice::new(head));
            slices.push(IoSlice::new(record.data_set));
            let rest = (span - head.len() as u64 - length) as usize;
            slices.push(IoSlice::new(padding.get(..rest).unwrap_or_default()));
            let place = SpoolPlace { segment: end.segment, offset: end.offset, length };
            end.offset += span;
            places.push((place, end));
        }
        write_all(file, &mut slices)?;
        file.sync_data()?;
        self.end = end;
        Ok(places)
    }

    fn begin_segment(&mut self, at_least: u64) -> io::Result<()> {
        self.file = None;
        let segment = self.end.segment.checked_add(1).ok_or_else(|| io::Error::other("the spool is out of numbers"))?;
        self.end = Position { segment, offset: 0 };
        self.capacity = self.segment_bytes.max(at_least);
        let file = OpenOptions::new().write(true).create_new(true).open(segment_path(&self.folder, segment))?;
        file.set_len(self.capacity)?;
        file.sync_all()?;
        sync_folder(&self.folder)?;
        self.file = Some(file);
        Ok(())
    }
}

fn write_all(file: &mut File, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match file.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut slices, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
