//! The peers themselves: that they start, answer, and say what is wrong.

use sulcus_tests::dciodvfy::dciodvfy;
use sulcus_tests::dcmtk::{echoscu, storescu};
use sulcus_tests::orthanc::Orthanc;
use sulcus_tests::places::scanner_files;
use sulcus_tests::python::python;
use sulcus_tests::slices::{Slices, write_series};
use sulcus_tests::{PeerError, or_skip};

#[test]
fn orthanc_takes_what_dcmtk_sends_lists_it_and_keeps_it_over_a_restart() {
    let Some(files) = or_skip(scanner_files("philips-mprage-classic/In/cl")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(orthanc) = or_skip(Orthanc::start(folder.path())) else { return };
    let Some(_) = or_skip(echoscu(orthanc.dicom_address(), "ORTHANC")) else { return };
    assert_eq!(orthanc.instances().unwrap(), Vec::<String>::new());
    or_skip(storescu(orthanc.dicom_address(), "ORTHANC", &[], &files[..2])).unwrap();
    let instances = orthanc.instances().unwrap();
    assert_eq!(instances.len(), 2);
    assert_eq!(orthanc.value(&instances[0], "Modality").unwrap(), "MR");
    assert_eq!(orthanc.file(&instances[0]).unwrap().get(128..132), Some(b"DICM".as_slice()));

    let ports = orthanc.ports();
    drop(orthanc);
    assert!(matches!(storescu(ports.dicom_address(), "ORTHANC", &[], &files[..1]), Err(PeerError::Failed(_))));
    let again = Orthanc::start_at(folder.path(), ports).unwrap();
    assert_eq!(again.instances().unwrap().len(), 2);
}

#[test]
fn dciodvfy_tells_a_good_object_from_a_bad_one() {
    let folder = tempfile::tempdir().unwrap();
    let files = write_series(folder.path(), Slices { count: 1, rows: 8, columns: 8, seed: 1 }).unwrap();
    let Some(good) = or_skip(dciodvfy(&files[0])) else { return };
    assert_eq!(good.errors, Vec::<String>::new());
    let mut object = dicom_object::open_file(&files[0]).unwrap();
    object.remove_element(dicom_dictionary_std::tags::IMAGE_POSITION_PATIENT);
    object.write_to_file(folder.path().join("bad.dcm")).unwrap();
    let bad = dciodvfy(&folder.path().join("bad.dcm")).unwrap();
    assert!(bad.errors.iter().any(|line| line.contains("ImagePositionPatient")), "{bad:?}");
}

#[test]
fn a_python_peer_answers_in_json_and_its_failure_is_told() {
    let none: [&str; 0] = [];
    let Some(versions) = or_skip(python("versions.py", &none)) else { return };
    assert_eq!(versions["highdicom"], "0.28.2");
    assert!(matches!(python("missing.py", &none), Err(PeerError::Failed(_))));
}
