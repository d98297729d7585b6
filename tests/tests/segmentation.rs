//! Segmentations of real scanner series, as their readers see them: dicom3tools, pydicom, highdicom and dcmqi.
//!
//! Labels are ellipsoids that are set here; what is tested is the object and where its voxels lie.

use std::path::PathBuf;

use serde_json::{Value, json};
use sulcus_tests::dciodvfy::dciodvfy;
use sulcus_tests::or_skip;
use sulcus_tests::places::scanner_files;
use sulcus_tests::python::python;
use sulcus_tests::segmented::{KINDS, Series, Subject, Written, ellipsoids};
use sulcus_tests::slices::{Slices, write_series};

/// Writes segmentations of a series, checks them by ourselves and by dciodvfy, and gives what the Python peers read.
fn read_back(paths: &[PathBuf], count: u16, kinds: &[Written]) -> Option<Value> {
    let subject = Subject::new(Series::open(paths).unwrap(), |volume| ellipsoids(volume, count)).unwrap();
    assert_eq!(subject.lesions.len(), usize::from(count));
    let folder = tempfile::tempdir().unwrap();
    let mut cases = Vec::new();
    for kind in kinds {
        let (file, case) = subject.write(*kind, folder.path(), "series").unwrap();
        // dicom3tools does not know label maps.
        if *kind != Written::LabelMap
            && let Some(findings) = or_skip(dciodvfy(&file))
        {
            assert_eq!(findings.errors, Vec::<String>::new());
            // What comes of the source is carried as it is: a name of the retired form, an empty date or id.
            let from_source =
                |line: &&String| line.contains("Patient's Name") || line.contains("needed to build DICOMDIR");
            let ours: Vec<_> = findings.warnings.iter().filter(|line| !from_source(line)).collect();
            assert_eq!(ours, Vec::<&String>::new());
        }
        cases.push(case);
    }
    let list = folder.path().join("list.json");
    std::fs::write(&list, json!(cases).to_string()).unwrap();
    let read = or_skip(python("read_segmentations.py", &[list]))?;
    for (name, read) in read.as_object().unwrap() {
        println!("{name}: {read}");
        assert_eq!(read["differing"], 0, "{name}");
        assert_eq!((&read["pixels"], &read["tracking"]), (&read["held"], &json!(true)), "{name}");
        for peer in ["highdicom_mm", "dcmqi_mm"] {
            assert!(read[peer].as_f64().unwrap() < 1e-3, "{name}: {read}");
        }
    }
    let each = &read["series-Lesions"];
    assert_eq!(each["pixels"], subject.labelled());
    assert_eq!(each["segments"], usize::from(count.max(1)));
    Some(read)
}

#[test]
fn readers_see_the_same_voxels_at_the_same_places_of_a_classic_philips_series() {
    let Some(files) = or_skip(scanner_files("philips-mprage-classic/In/cl")) else { return };
    read_back(&files, 5, &[Written::Lesions, Written::AllAsOne]);
}

#[test]
fn readers_see_the_same_voxels_at_the_same_places_of_an_enhanced_siemens_series() {
    for folder in ["siemens-xa30-enhanced/In/5_anat-T1w_acq-tfl", "siemens-xa30-enhanced/In/6_anat-T1w_acq-tfl"] {
        let Some(files) = or_skip(scanner_files(folder)) else { return };
        read_back(&files, 4, &[Written::Lesions, Written::LabelMap]);
    }
}

#[test]
fn readers_see_one_lesion_and_none() {
    let Some(files) = or_skip(scanner_files("siemens-xa30-enhanced/In/5_anat-T1w_acq-tfl")) else { return };
    read_back(&files, 1, &[Written::Lesions]);
    if let Some(read) = read_back(&files, 0, &[Written::Lesions]) {
        assert_eq!(read["series-Lesions"]["frames"], 96);
    }
}

#[test]
fn readers_see_frames_that_begin_inside_a_byte() {
    for (rows, columns) in [(13, 11), (9, 17), (31, 30)] {
        let folder = tempfile::tempdir().unwrap();
        let slices = Slices { count: 12, rows, columns, seed: u32::from(rows) };
        let files = write_series(folder.path(), slices).unwrap();
        read_back(&files, 3, &KINDS);
    }
}
