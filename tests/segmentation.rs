//! Segmentations of real scanner series, as their readers see them: dicom3tools, pydicom and highdicom.
//!
//! Labels are ellipsoids that are set here; what is tested is the object and where its voxels lie.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sulcus_operators::{
    convert,
    digest::Digest,
    lesions::measure,
    part10,
    results::{
        check::{Expected, check},
        dicom::{Algorithm, Equipment, Header},
        seg::{SegInput, encode},
    },
    rows::LesionRow,
    volume::{Encoded, Volume},
};
use sulcus_tests::dciodvfy::dciodvfy;
use sulcus_tests::or_skip;
use sulcus_tests::places::scanner_files;
use sulcus_tests::python::python;
use sulcus_tests::slices::{Slices, write_series};

/// A series read from disk.
struct Series {
    files: Vec<(PathBuf, String, String, Vec<u8>)>,
}

impl Series {
    fn open(paths: &[PathBuf]) -> Self {
        let open = |path: &PathBuf| {
            let bytes = std::fs::read(path).unwrap();
            let file = part10::split(&bytes).unwrap();
            (path.clone(), file.sop_instance_uid.clone(), file.transfer_syntax.clone(), file.data_set.to_vec())
        };
        Self { files: paths.iter().map(open).collect() }
    }

    fn encoded(&self) -> Vec<Encoded<'_>> {
        self.files.iter().map(|(_, _, transfer_syntax, data_set)| Encoded { transfer_syntax, data_set }).collect()
    }

    fn source(&self, uid: &str) -> Option<Encoded<'_>> {
        let (_, _, transfer_syntax, data_set) = self.files.iter().find(|(_, known, ..)| known == uid)?;
        Some(Encoded { transfer_syntax, data_set })
    }

    fn path(&self, uid: &str) -> &Path {
        &self.files.iter().find(|(_, known, ..)| known == uid).unwrap().0
    }
}

/// Ellipsoids along the volume's diagonal, one a lesion, and their rows.
fn lesions_in(volume: &Volume, count: u16) -> (ndarray::Array3<u16>, Vec<LesionRow>) {
    let size = volume.grid.size.map(|extent| extent as f64);
    let share = 1.0 / f64::from(count.max(1));
    let labels = ndarray::Array3::from_shape_fn(volume.voxels.raw_dim(), |(slice, row, column)| {
        let at = [column as f64 / size[0], row as f64 / size[1], slice as f64 / size[2]];
        let inside = |label: &u16| {
            let centre = (f64::from(*label) - 0.5) * share;
            let radii = [0.45 * share, 0.3 * share, 0.4 * share];
            at.iter().zip(radii).map(|(x, radius)| ((x - centre) / radius).powi(2)).sum::<f64>() <= 1.0
        };
        (1..=count).find(inside).unwrap_or(0)
    });
    let probability = labels.mapv(|label| if label > 0 { 0.75 } else { 0.0 });
    let rows = measure::lesions(labels.view(), volume, probability.view(), &Digest::of(b"run")).unwrap();
    assert_eq!(rows.len(), usize::from(count));
    (labels, rows)
}

/// Writes a segmentation of the series, checks it by ourselves and by dciodvfy, and gives what the Python peers read.
fn read_back(paths: &[PathBuf], count: u16) -> Option<Value> {
    let series = Series::open(paths);
    let volume = convert::volumes(&series.encoded()).unwrap().remove(0);
    let (labels, rows) = lesions_in(&volume, count);
    let object = encode(&SegInput {
        header: Header {
            source: series.encoded()[0],
            sop_instance_uid: "2.25.11",
            series_instance_uid: "2.25.12",
            series_number: 9001,
            revision: 1,
            created: 1_709_164_799_999,
            equipment: Equipment { serial_number: "site-1", software_version: "0.1.0" },
        },
        grid: &volume.grid,
        frames: &volume.frames,
        frame_of_reference_uid: &volume.frame_of_reference_uid,
        labels: labels.view(),
        lesions: &rows,
        findings: &[],
        algorithm: Algorithm { name: "blob-filter", version: "1", digest: Digest::of(b"model") },
    })
    .unwrap();
    let source = |uid: &str| series.source(uid);
    let (labelled, findings) = (labels.view(), [].as_slice());
    let expected = Expected { source: &source, frames: &volume.frames, labels: labelled, lesions: &rows, findings };
    let checked = check(&object.bytes, &expected).unwrap();
    println!("{} lesions: {checked:?}, {} bytes, notes {:?}", rows.len(), object.bytes.len(), object.notes);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("seg.dcm");
    std::fs::write(&file, &object.bytes).unwrap();
    if let Some(findings) = or_skip(dciodvfy(&file)) {
        assert_eq!(findings.errors, Vec::<String>::new());
        // What comes of the source is carried as it is: a name of the retired form, an empty date or id.
        let from_source = |line: &&String| line.contains("Patient's Name") || line.contains("needed to build DICOMDIR");
        let ours: Vec<_> = findings.warnings.iter().filter(|line| !from_source(line)).collect();
        assert_eq!(ours, Vec::<&String>::new());
    }
    let stored: Vec<u8> = labels.iter().flat_map(|label| label.to_le_bytes()).collect();
    std::fs::write(folder.path().join("labels"), stored).unwrap();
    let sources: Vec<Value> = volume
        .frames
        .iter()
        .map(|frame| {
            let uid = &frame.sop_instance_uid;
            json!({"file": series.path(uid), "uid": uid, "frame": frame.frame})
        })
        .collect();
    std::fs::write(folder.path().join("sources.json"), json!(sources).to_string()).unwrap();
    let arguments = [file, folder.path().join("labels"), folder.path().join("sources.json")];
    let read = or_skip(python("read_segmentation.py", &arguments))?;
    println!("{read}");
    assert_eq!(read["differing"], 0);
    assert!(read["farthest_mm"].as_f64().unwrap() < 1e-3, "{read}");
    assert_eq!(read["voxels"], labels.iter().filter(|label| **label > 0).count());
    assert_eq!(read["segments"], rows.len().max(1));
    let tracking: Vec<_> = rows.iter().map(|row| row.tracking_uid.as_str()).collect();
    assert_eq!(read["tracking_uids"], if rows.is_empty() { json!([""]) } else { json!(tracking) });
    Some(read)
}

#[test]
fn readers_see_the_same_voxels_at_the_same_places_of_a_classic_philips_series() {
    let Some(files) = or_skip(scanner_files("philips-mprage-classic/In/cl")) else { return };
    read_back(&files, 5);
}

#[test]
fn readers_see_the_same_voxels_at_the_same_places_of_an_enhanced_siemens_series() {
    for folder in ["siemens-xa30-enhanced/In/5_anat-T1w_acq-tfl", "siemens-xa30-enhanced/In/6_anat-T1w_acq-tfl"] {
        let Some(files) = or_skip(scanner_files(folder)) else { return };
        read_back(&files, 4);
    }
}

#[test]
fn readers_see_one_lesion_and_none() {
    let Some(files) = or_skip(scanner_files("siemens-xa30-enhanced/In/5_anat-T1w_acq-tfl")) else { return };
    read_back(&files, 1);
    if let Some(read) = read_back(&files, 0) {
        assert_eq!(read["frames"], 96);
    }
}

#[test]
fn readers_see_frames_that_begin_inside_a_byte() {
    for (rows, columns) in [(13, 11), (9, 17), (31, 30)] {
        let folder = tempfile::tempdir().unwrap();
        let slices = Slices { count: 12, rows, columns, seed: u32::from(rows) };
        let files = write_series(folder.path(), slices).unwrap();
        read_back(&files, 3);
    }
}
