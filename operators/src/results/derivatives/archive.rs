//! One file that all files of a revision travel in: a zip without compression and without times, so that equal files
//! give equal bytes.
//!
//! Reading trusts nothing: every path must be one that `names` gives, all of one study and pipeline.

use std::io::{Cursor, Read, Write};

use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter, write::SimpleFileOptions};

use super::{
    DerivativesError, File,
    names::{DESCRIPTION, Place, SUFFIXES},
};

/// What an archive says of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// The root's description.
    pub description: Vec<u8>,
    /// The other files.
    pub files: Vec<File>,
    /// Paths of the same study and pipeline that this revision has not.
    pub absent: Vec<String>,
}

/// The archive of these files, in their order.
///
/// # Errors
/// [`DerivativesError::Archive`] where zip does not hold them.
pub fn archive(files: &[File]) -> Result<Vec<u8>, DerivativesError> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let plain = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default());
    for file in files {
        let options = plain.large_file(u32::try_from(file.bytes.len()).is_err());
        writer.start_file(file.path.as_str(), options).map_err(|error| broken(&error))?;
        writer.write_all(&file.bytes).map_err(|error| broken(&error))?;
    }
    Ok(writer.finish().map_err(|error| broken(&error))?.into_inner())
}

/// What an archive holds.
///
/// # Errors
/// [`DerivativesError::Archive`] where it is damaged or not as [`archive`] writes it, [`DerivativesError::Path`] where it
/// names a file that is not of one study and pipeline.
pub fn unpack(bytes: &[u8]) -> Result<Unpacked, DerivativesError> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| broken(&error))?;
    let (mut description, mut files, mut place) = (None, Vec::<File>::new(), None);
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(|error| broken(&error))?;
        // What is not compressed cannot grow beyond the archive.
        if entry.compression() != CompressionMethod::Stored || entry.size() > bytes.len() as u64 {
            return Err(DerivativesError::Archive("an entry is compressed".to_owned()));
        }
        let path = entry.name().map_err(|error| broken(&error))?.into_owned();
        let mut content = Vec::new();
        entry.take(bytes.len() as u64).read_to_end(&mut content).map_err(|error| broken(&error))?;
        if path == DESCRIPTION {
            description = Some(content);
            continue;
        }
        let found = Place::containing(&path).ok_or(DerivativesError::Path("a path that is not ours"))?;
        if place.get_or_insert_with(|| found.clone()) != &found {
            return Err(DerivativesError::Path("files of two studies or pipelines"));
        }
        files.push(File { path, bytes: content });
    }
    let missing = || DerivativesError::Archive("it lacks the description or a study's files".to_owned());
    let (description, place) = description.zip(place).ok_or_else(missing)?;
    let absent = SUFFIXES
        .map(|suffix| place.file(suffix))
        .into_iter()
        .filter(|path| files.iter().all(|file| file.path != *path))
        .collect();
    Ok(Unpacked { description, files, absent })
}

fn broken(error: &dyn std::fmt::Display) -> DerivativesError {
    DerivativesError::Archive(error.to_string().trim_end_matches('.').to_owned())
}
