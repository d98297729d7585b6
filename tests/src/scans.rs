//! Scans as a test sends them: objects of files, an association that keeps every answer, and the reports that came.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sulcus_connectors::dimse::scu::{StoreOptions, Storer};
use sulcus_operators::part10;
use sulcus_operators::phantom::Phantom;
use sulcus_operators::phantom::dicom::{Encoding, ScanSpec, Vendor, study};
use sulcus_operators::results::report::Report;

use crate::peer::PeerError;
use crate::serving::Object;
use crate::slices::{Slices, write_series};

/// The objects of some Part-10 files, in their order.
///
/// # Errors
/// Where a file cannot be read.
pub fn objects(files: &[PathBuf]) -> Result<Vec<Object>, PeerError> {
    let object = |path: &PathBuf| {
        let bytes = std::fs::read(path)?;
        let failed = |error| PeerError::Failed(format!("{}: {error}", path.display()));
        let file = part10::split(&bytes).map_err(failed)?;
        Ok(Object {
            sop_class_uid: file.sop_class_uid.clone(),
            sop_instance_uid: file.sop_instance_uid.clone(),
            transfer_syntax: file.transfer_syntax.clone(),
            data_set: file.data_set.to_vec(),
        })
    };
    files.iter().map(object).collect()
}

/// A series of 20 slices that promise no count, 64 by 64 of noise, in which the shipped filter finds no lesion.
///
/// # Errors
/// As [`write_series`].
pub fn small_series(folder: &Path, seed: u32) -> Result<Vec<Object>, PeerError> {
    objects(&write_series(folder, Slices { count: 20, rows: 64, columns: 64, seed })?)
}

/// The same series with even grey and white matter in place of the noise, and in the grey a lesion at each of these
/// places (column up to 30, row, slice) that the shipped filter finds.
///
/// # Errors
/// As [`write_series`].
pub fn series_with_lesions(folder: &Path, seed: u32, places: &[[i32; 3]]) -> Result<Vec<Object>, PeerError> {
    let mut slices = small_series(folder, seed)?;
    for (slice, object) in (0..).zip(&mut slices) {
        let start = object.data_set.len() - 2 * 64 * 64;
        for (voxel, sample) in (0..).zip(object.data_set[start..].chunks_exact_mut(2)) {
            let at = [voxel % 64, voxel / 64, slice];
            let distance = |place: &[i32; 3]| (0..3).map(|axis| (at[axis] - place[axis]).pow(2)).sum::<i32>();
            let value: u16 = match at[0] {
                _ if places.iter().any(|place| distance(place) <= 6) => 692,
                0..38 => 800,
                _ => 1200,
            };
            sample.copy_from_slice(&value.to_le_bytes());
        }
    }
    Ok(slices)
}

/// Gives a series a patient's name and a manufacturer of its own, of as many letters as it had.
///
/// # Panics
/// Where they are of another length than `SYNTHETIC` and `Sulcus`.
pub fn named(mut slices: Vec<Object>, patient: &str, manufacturer: &str) -> Vec<Object> {
    for slice in &mut slices {
        for (from, to) in [("SYNTHETIC", patient), ("Sulcus", manufacturer)] {
            assert_eq!(from.len(), to.len(), "{to} has another length than {from}");
            let at = slice.data_set.windows(from.len()).position(|bytes| bytes == from.as_bytes());
            if let Some(place) = at.and_then(|at| slice.data_set.get_mut(at..at + from.len())) {
                place.copy_from_slice(to.as_bytes());
            }
        }
    }
    slices
}

/// The one object of a phantom's Enhanced scan, with its values replaced by others of the same length.
///
/// # Errors
/// Where it cannot be made, or holds no such value.
pub fn phantom_scan(phantom: &Phantom, label: &str, replaced: &[[&str; 2]]) -> Result<Object, PeerError> {
    let (vendor, encoding) = (Vendor::Siemens, Encoding::Enhanced);
    let scan = ScanSpec { vendor, encoding, localizer: false, label: label.to_owned() };
    let series = study(phantom, &scan).map_err(|error| PeerError::Failed(error.to_string()))?;
    let instance = series.into_iter().flat_map(|series| series.instances).next();
    let instance = instance.ok_or_else(|| PeerError::Failed("a scan without instances".to_owned()))?;
    let mut object = Object {
        sop_class_uid: instance.sop_class_uid,
        sop_instance_uid: instance.sop_instance_uid,
        transfer_syntax: instance.transfer_syntax,
        data_set: instance.data_set,
    };
    replaced.iter().try_for_each(|[from, to]| replace(&mut object, from, to))?;
    Ok(object)
}

/// Replaces a value in an object's header by another of the same length, wherever it stands.
///
/// # Errors
/// Where it does not, or the lengths differ.
pub fn replace(object: &mut Object, from: &str, to: &str) -> Result<(), PeerError> {
    // Headers come before the pixels, which hold no digits in a row.
    let header = object.data_set.len().min(1 << 16);
    let places: Vec<usize> = (0..header.saturating_sub(from.len()))
        .filter(|at| object.data_set[*at..].starts_with(from.as_bytes()))
        .collect();
    if places.is_empty() || from.len() != to.len() {
        return Err(PeerError::Failed(format!("{from} cannot be replaced by {to}")));
    }
    places.into_iter().for_each(|at| object.data_set[at..at + to.len()].copy_from_slice(to.as_bytes()));
    object.sop_instance_uid = object.sop_instance_uid.replace(from, to);
    Ok(())
}

/// SeriesInstanceUID of [`small_series`].
pub fn small_series_uid(seed: u32) -> String {
    format!("2.25.{}2", 100_000 + seed)
}

/// Opens an association that proposes what these objects are.
///
/// # Errors
/// Where there is no connection, or nothing is accepted.
pub fn associate(address: SocketAddr, objects: &[Object]) -> Result<Storer, PeerError> {
    let mut contexts: Vec<(String, Vec<String>)> =
        objects.iter().map(|object| (object.sop_class_uid.clone(), vec![object.transfer_syntax.clone()])).collect();
    contexts.sort();
    contexts.dedup();
    Storer::connect(&StoreOptions {
        address: address.to_string(),
        calling_ae_title: "SCANNER".to_owned(),
        called_ae_title: "SULCUS".to_owned(),
        contexts,
        connect_timeout: Duration::from_secs(5),
        io_timeout: Duration::from_secs(20),
        max_pdu: 131_072,
    })
    .map_err(|error| PeerError::Failed(format!("{address}: {error}")))
}

/// Sends objects over one association and releases it; the status that each was answered with.
///
/// # Errors
/// Where one is not answered.
pub fn send(address: SocketAddr, objects: &[Object]) -> Result<Vec<u16>, PeerError> {
    let failed = |error| PeerError::Failed(format!("{address}: {error}"));
    let mut storer = associate(address, objects)?;
    let statuses = objects.iter().map(|object| {
        let Object { sop_class_uid, sop_instance_uid, transfer_syntax, data_set } = object;
        storer.store(sop_class_uid, sop_instance_uid, transfer_syntax, data_set)
    });
    let statuses = statuses.collect::<Result<Vec<u16>, _>>().map_err(failed)?;
    storer.release().map_err(failed)?;
    Ok(statuses)
}

/// All reports below a folder of results with their folders, by study and revision.
pub fn reports(folder: &Path) -> Vec<(PathBuf, Report)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name == "report.json")
                && let Some(report) = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok())
            {
                found.push((folder.clone(), report));
            }
        }
    }
    found.sort_by_key(|(_, report): &(PathBuf, Report)| (report.study_instance_uid.clone(), report.revision));
    found
}
