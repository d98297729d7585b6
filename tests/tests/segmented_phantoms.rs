//! Segmentations of phantoms in every orientation and encoding, as dicom3tools, highdicom, dcmqi, pydicom and Orthanc
//! see them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use serde_json::{Value, json};
use sulcus_operators::part10;
use sulcus_operators::phantom::Orientation;
use sulcus_operators::phantom::dicom::Encoding;
use sulcus_tests::dciodvfy::dciodvfy;
use sulcus_tests::or_skip;
use sulcus_tests::orthanc::Orthanc;
use sulcus_tests::phantoms::{Head, changed, first_frame};
use sulcus_tests::python::python;
use sulcus_tests::scans::{objects, send};
use sulcus_tests::segmented::{KINDS, Series, Subject, Written, lattice};

const ENCODINGS: [Encoding; 2] = [Encoding::Classic, Encoding::Enhanced];

/// Segmentations that are all read at once: starting a peer costs more than reading with it.
struct Cases {
    folder: tempfile::TempDir,
    told: Vec<Value>,
    voxels: BTreeMap<String, usize>,
}

impl Cases {
    fn new() -> Cases {
        Cases { folder: tempfile::tempdir().unwrap(), told: Vec::new(), voxels: BTreeMap::new() }
    }

    fn series(&self, name: &str, head: &Head, encoding: Encoding, directions: [f64; 2]) -> Vec<PathBuf> {
        head.write(&self.folder.path().join(format!("{name}-source")), encoding, directions).unwrap()
    }

    /// Writes every kind of segmentation with this many lesions.
    fn add(&mut self, name: &str, files: &[PathBuf], count: u16) {
        let subject = Subject::new(Series::open(files).unwrap(), |volume| lattice(volume, count)).unwrap();
        assert_eq!(subject.lesions.len(), usize::from(count), "{name}");
        for kind in KINDS {
            let (file, case) = subject.write(kind, self.folder.path(), name).unwrap();
            valid(&file, kind);
            self.voxels.insert(case["name"].as_str().unwrap().to_owned(), subject.labelled());
            self.told.push(case);
        }
    }

    /// Has all of them read.
    fn read(self) {
        let list = self.folder.path().join("list.json");
        std::fs::write(&list, json!(self.told).to_string()).unwrap();
        let Some(read) = or_skip(python("read_segmentations.py", &[list])) else { return };
        assert_eq!(read.as_object().unwrap().len(), self.told.len());
        for (name, read) in read.as_object().unwrap() {
            assert_eq!((&read["differing"], &read["tracking"]), (&json!(0), &json!(true)), "{name}: {read}");
            assert!(read["highdicom_mm"].as_f64().unwrap() < 1e-3, "{name}: {read}");
            assert!(read["dcmqi_mm"].as_f64().unwrap() < 1e-3, "{name}: {read}");
            assert_eq!(read["pixels"], read["held"], "{name}: {read}");
            if !name.ends_with("Probability") {
                assert_eq!(read["pixels"], self.voxels[name], "{name}: {read}");
            }
        }
    }
}

/// dicom3tools does not know label maps.
fn valid(file: &Path, kind: Written) {
    if kind != Written::LabelMap
        && let Some(findings) = or_skip(dciodvfy(file))
    {
        assert_eq!(findings.errors, Vec::<String>::new(), "{}", file.display());
    }
}

#[test]
fn every_orientation_and_encoding_is_read_alike() {
    let mut cases = Cases::new();
    for orientation in [Orientation::Axial, Orientation::Sagittal, Orientation::Coronal, Orientation::Oblique] {
        let head = Head::new(orientation).unwrap();
        for encoding in ENCODINGS {
            let name = format!("{orientation:?}-{encoding:?}");
            let files = cases.series(&name, &head, encoding, [1.0, 1.0]);
            cases.add(&name, &files, 7);
        }
    }
    cases.read();
}

#[test]
fn flipped_axes_are_read_alike() {
    let mut cases = Cases::new();
    for orientation in [Orientation::Axial, Orientation::Oblique] {
        let head = Head::new(orientation).unwrap();
        for (flip, directions) in [("columns", [-1.0, 1.0]), ("rows", [1.0, -1.0]), ("both", [-1.0, -1.0])] {
            for encoding in ENCODINGS {
                let name = format!("{orientation:?}-{encoding:?}-{flip}");
                let files = cases.series(&name, &head, encoding, directions);
                cases.add(&name, &files, 7);
            }
        }
    }
    cases.read();
}

#[test]
fn no_lesion_one_and_five_hundred_are_read_alike() {
    let mut cases = Cases::new();
    let head = Head::new(Orientation::Sagittal).unwrap();
    for (encoding, count) in ENCODINGS.into_iter().flat_map(|encoding| [0, 1, 500].map(|count| (encoding, count))) {
        let name = format!("{encoding:?}-{count}");
        let files = cases.series(&name, &head, encoding, [1.0, 1.0]);
        cases.add(&name, &files, count);
    }
    cases.read();
}

#[test]
fn one_slice_is_read_alike() {
    let mut cases = Cases::new();
    let head = Head::new(Orientation::Coronal).unwrap();
    for encoding in ENCODINGS {
        let name = format!("{encoding:?}-slice");
        let mut files = cases.series(&name, &head, encoding, [1.0, 1.0]);
        files.truncate(1);
        if encoding == Encoding::Enhanced {
            changed(&files[0], first_frame).unwrap();
        }
        cases.add(&name, &files, 3);
    }
    cases.read();
}

/// PatientName as stored, as read, and its SpecificCharacterSet.
const NAMES: [(&str, &[u8], &[&str]); 4] = [
    ("ISO_IR 100", b"M\xfcller^J\xf6rg", &["M\u{fc}ller^J\u{f6}rg"]),
    (
        "ISO_IR 192",
        "\u{15a}l\u{105}zak^\u{141}ucja=\u{5c71}\u{7530}".as_bytes(),
        &["\u{15a}l\u{105}zak^\u{141}ucja", "\u{5c71}\u{7530}"],
    ),
    // PS3.5 H.3.1, and a character whose second byte is a backslash.
    (
        "\\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1b$B;3EDP\\\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        &[
            "Yamada^Tarou",
            "\u{5c71}\u{7530}\u{4fd1}^\u{592a}\u{90ce}",
            "\u{3084}\u{307e}\u{3060}^\u{305f}\u{308d}\u{3046}",
        ],
    ),
    // PS3.5 I.2.
    (
        "\\ISO 2022 IR 149",
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        &["Hong^Gildong", "\u{6d2a}^\u{5409}\u{6d1e}", "\u{d64d}^\u{ae38}\u{b3d9}"],
    ),
];

#[test]
fn patient_names_of_every_script_leave_as_they_came() {
    let folder = tempfile::tempdir().unwrap();
    let head = Head::new(Orientation::Axial).unwrap();
    let mut written = Vec::new();
    for (number, (charset, name, _)) in NAMES.into_iter().enumerate() {
        let source = folder.path().join(number.to_string());
        let files = head.write(&source, Encoding::Enhanced, [1.0, 1.0]).unwrap();
        changed(&files[0], |object| {
            object.put(DataElement::new(tags::SPECIFIC_CHARACTER_SET, VR::CS, PrimitiveValue::from(charset)));
            object.put(DataElement::new(tags::PATIENT_NAME, VR::PN, PrimitiveValue::U8(name.into())));
            // The last group, which is of one script, as a text.
            let last = name.rsplit(|byte| *byte == b'=').next().unwrap_or_default();
            object.put(DataElement::new(tags::STUDY_DESCRIPTION, VR::LO, PrimitiveValue::U8(last.into())));
            Ok(())
        })
        .unwrap();
        let subject = Subject::new(Series::open(&files).unwrap(), |volume| lattice(volume, 2)).unwrap();
        for kind in KINDS {
            let (file, _) = subject.write(kind, folder.path(), &number.to_string()).unwrap();
            // dicom3tools takes the second byte of a character for the end of a value.
            if !name.contains(&b'\\') {
                valid(&file, kind);
            }
            written.push(file);
        }
    }
    let Some(read) = or_skip(python("read_names.py", &written)) else { return };
    for (at, read) in read.as_array().unwrap().iter().enumerate() {
        let (charset, name, groups) = NAMES[at / KINDS.len()];
        let hexadecimal = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!((&read["raw"], &read["groups"]), (&json!(hexadecimal(name)), &json!(groups)), "{charset}");
        let last = name.rsplit(|byte| *byte == b'=').next().unwrap_or_default();
        assert_eq!(read["description_raw"], hexadecimal(last), "{charset}");
        assert_eq!(read["description"], *groups.last().unwrap(), "{charset}");
    }
}

#[test]
fn objects_of_illegal_headers_are_legal() {
    let folder = tempfile::tempdir().unwrap();
    let head = Head::new(Orientation::Axial).unwrap();
    let changes: [(&str, dicom_core::Tag, VR, &[u8]); 8] = [
        ("id", tags::PATIENT_ID, VR::LO, b""),
        ("latin1", tags::PATIENT_NAME, VR::PN, b"M\xfcller^A"),
        ("utf8", tags::PATIENT_NAME, VR::PN, "M\u{fc}ller^A".as_bytes()),
        ("sex", tags::PATIENT_SEX, VR::CS, b"male"),
        ("date", tags::STUDY_DATE, VR::DA, b"29/02/24"),
        ("age", tags::PATIENT_AGE, VR::AS, b"41"),
        ("description", tags::STUDY_DESCRIPTION, VR::LO, &[b'x'; 70]),
        ("accession", tags::ACCESSION_NUMBER, VR::SH, &[b'7'; 18]),
    ];
    for (name, tag, vr, value) in changes {
        let files = head.write(&folder.path().join(name), Encoding::Enhanced, [1.0, 1.0]).unwrap();
        changed(&files[0], |object| {
            if tag == tags::PATIENT_NAME {
                object.take(tags::SPECIFIC_CHARACTER_SET);
            }
            object.put(DataElement::new(tag, vr, PrimitiveValue::U8(value.into())));
            Ok(())
        })
        .unwrap();
        let subject = Subject::new(Series::open(&files).unwrap(), |volume| lattice(volume, 2)).unwrap();
        valid(&subject.write(Written::Lesions, folder.path(), name).unwrap().0, Written::Lesions);
    }
}

/// All elements and pixels. Orthanc gives sequences another length form, which says nothing.
fn content(file: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    dicom_object::from_reader(file).unwrap().write_dataset(&mut content).unwrap();
    content
}

#[test]
fn orthanc_stores_and_serves_every_kind_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let Some(orthanc) = or_skip(Orthanc::start(folder.path())) else { return };
    let head = Head::new(Orientation::Oblique).unwrap();
    let files = head.write(&folder.path().join("source"), Encoding::Classic, [1.0, 1.0]).unwrap();
    let mut written = Vec::new();
    for count in [0, 40] {
        let subject = Subject::new(Series::open(&files).unwrap(), |volume| lattice(volume, count)).unwrap();
        for kind in KINDS {
            written.push(subject.write(kind, folder.path(), &count.to_string()).unwrap().0);
        }
    }
    let statuses = send(orthanc.dicom_address(), &objects(&written).unwrap()).unwrap();
    assert_eq!(statuses, vec![0; written.len()]);

    let mut served = BTreeMap::new();
    for instance in orthanc.instances().unwrap() {
        let file = orthanc.file(&instance).unwrap();
        served.insert(part10::split(&file).unwrap().sop_instance_uid, (instance, content(&file)));
    }
    assert_eq!(served.len(), written.len());
    for file in &written {
        let bytes = std::fs::read(file).unwrap();
        let (instance, stored) = &served[&part10::split(&bytes).unwrap().sop_instance_uid];
        assert!(*stored == content(&bytes), "{}", file.display());
        // Each frame can be asked for by itself.
        let frames = orthanc.json(&format!("/instances/{instance}/frames")).unwrap();
        assert_eq!(frames.as_array().unwrap().len().to_string(), orthanc.value(instance, "NumberOfFrames").unwrap());
        assert!(!orthanc.get(&format!("/instances/{instance}/frames/0/raw")).unwrap().is_empty());
    }
}
