//! Results in OHIF, as a reader sees them: overlays lie where the lesions are, and every lesion is listed.
//!
//! The pictures in `tests/tests/ohif` are what OHIF showed when they were kept; only where their overlays lie is
//! compared. `SULCUS_KEEP_SCREENSHOTS=1` writes them anew, and the one in the documentation.

use std::path::{Path, PathBuf};

use ndarray::{ArrayView2, Axis};
use serde_json::Value;
use sulcus_operators::convert;
use sulcus_operators::digest::Digest;
use sulcus_operators::lesions::measure;
use sulcus_operators::part10;
use sulcus_operators::phantom::dicom::{Encoding, PhantomSeries, ScanSpec, Vendor, study};
use sulcus_operators::phantom::{Field, Orientation, Phantom, PhantomSpec, Sequence};
use sulcus_operators::results::dicom::{Algorithm, Equipment, Header, Reference};
use sulcus_operators::results::report::{Report, ReportInput};
use sulcus_operators::results::seg::{SegInput, SegKind, encode};
use sulcus_operators::results::sr::{self, SrInput};
use sulcus_operators::rows::{LesionRow, PatientKey, ReportRow, ReportStatus, RunOrder, RunOutcome};
use sulcus_operators::volume::{Encoded, Volume};
use sulcus_tests::dcmtk::storescu;
use sulcus_tests::ohif::{Ohif, Place, Visit};
use sulcus_tests::or_skip;
use sulcus_tests::orthanc::Orthanc;
use sulcus_tests::places::root;

const SEGMENTATION_SERIES: &str = "2.25.9001";
const SEGMENTATION: &str = "2.25.9002";
const REPORT_SERIES: &str = "2.25.9003";

const CREATED: i64 = 1_709_164_799_999;

/// A scanned phantom and the true lesions in it.
struct Scan {
    phantom: Phantom,
    series: PhantomSeries,
    volume: Volume,
    lesions: Vec<LesionRow>,
}

impl Scan {
    fn new(spec: PhantomSpec, encoding: Encoding) -> Scan {
        let phantom = Phantom::generate(&spec).unwrap();
        let sent = ScanSpec { vendor: Vendor::Siemens, encoding, localizer: false, label: "ohif".to_owned() };
        let series = study(&phantom, &sent).unwrap().remove(0);
        let volume = convert::volumes(&encoded(&series)).unwrap().remove(0);
        let labels = phantom.labels.view();
        let probability = labels.mapv(|label| if label > 0 { 0.75 } else { 0.0 });
        let lesions = measure::lesions(labels, &volume, probability.view(), &Digest::of(b"run")).unwrap();
        assert_eq!(lesions.len(), phantom.lesions.len());
        Scan { phantom, series, volume, lesions }
    }

    fn header(&self) -> Header<'_> {
        Header {
            source: encoded(&self.series)[0],
            sop_instance_uid: SEGMENTATION,
            series_instance_uid: SEGMENTATION_SERIES,
            series_number: 9001,
            revision: 1,
            created: CREATED,
            equipment: Equipment { serial_number: "site-1", software_version: "0.1.0" },
        }
    }

    fn segmentation(&self) -> Vec<u8> {
        let input = SegInput {
            header: self.header(),
            kind: SegKind::Lesions,
            grid: &self.volume.grid,
            frames: &self.volume.frames,
            frame_of_reference_uid: &self.volume.frame_of_reference_uid,
            labels: self.phantom.labels.view(),
            lesions: &self.lesions,
            findings: &[],
            algorithm: Algorithm { name: "blob-filter", version: "1", digest: Digest::of(b"model") },
        };
        encode(&input).unwrap().parts.remove(0).bytes
    }

    fn report(&self) -> Vec<u8> {
        let grid = &self.volume.grid;
        let run_key = Digest::of(b"run");
        let study_uid = self.study_uid();
        let outcome = RunOutcome {
            probability: None,
            alignments: Vec::new(),
            of_visits: false,
            domain: None,
            run_key,
            mask: Digest::default(),
            size: grid.size.map(|extent| extent as u32),
            spacing_um: grid.spacing().map(|mm| (mm * 1000.0).round() as i64),
            affine_nm: None,
            frame_of_reference_uid: self.volume.frame_of_reference_uid.clone(),
            intensity_scale: self.volume.intensity_scale.clone(),
            notes: Vec::new(),
            lesions: self.lesions.clone(),
        };
        let run = RunOrder {
            run_key,
            study_uid: study_uid.clone(),
            series_uid: self.series.series_uid.clone(),
            stack: self.volume.stack.clone(),
            model: Digest::of(b"model"),
            members: vec![1],
            inputs: Vec::new(),
        };
        let row = ReportRow {
            visits: Vec::new(),
            without: Vec::new(),
            study_uid: study_uid.clone(),
            pipeline: "lesions".into(),
            status: ReportStatus::Final,
            run: Some(run),
            demographics_digest: Digest::default(),
            not_used: Vec::new(),
            doubts: Vec::new(),
            verdicts: Vec::new(),
            content: Digest::default(),
        };
        let report = Report::new(&ReportInput {
            row: &row,
            outcome: Some(&outcome),
            patient: &PatientKey { issuer: "source:test".into(), id: "P".into() },
            uid: "2.25.9005",
            revision: 1,
            supersedes: None,
            created: CREATED,
            model: ("blob-filter", "1"),
            segmentation: Some(SEGMENTATION),
        });
        let input = SrInput {
            header: Header {
                sop_instance_uid: "2.25.9004",
                series_instance_uid: REPORT_SERIES,
                series_number: 9002,
                ..self.header()
            },
            report: &report.unwrap(),
            grid,
            frames: &self.volume.frames,
            frame_of_reference_uid: &self.volume.frame_of_reference_uid,
            labels: self.phantom.labels.view(),
            segmentation: Reference {
                study_instance_uid: &study_uid,
                series_instance_uid: SEGMENTATION_SERIES,
                sop_class_uid: "1.2.840.10008.5.1.4.1.1.66.4",
                sop_instance_uid: SEGMENTATION,
            },
            supersedes: None,
        };
        sr::encode(&input).unwrap().bytes
    }

    fn study_uid(&self) -> String {
        let instance = &self.series.instances[0];
        let (class, uid) = (&instance.sop_class_uid, &instance.sop_instance_uid);
        let file = part10::wrap(&instance.transfer_syntax, class, uid, &instance.data_set);
        let header = dicom_object::from_reader(file.as_slice()).unwrap();
        header.element_by_name("StudyInstanceUID").unwrap().to_str().unwrap().trim_end_matches('\0').to_owned()
    }

    /// Writes the series and what was made of it as files.
    fn write(&self, folder: &Path, made: &[Vec<u8>]) -> Vec<PathBuf> {
        let wrap = |instance: &sulcus_operators::phantom::dicom::PhantomInstance| {
            let (class, uid) = (&instance.sop_class_uid, &instance.sop_instance_uid);
            part10::wrap(&instance.transfer_syntax, class, uid, &instance.data_set)
        };
        let objects = self.series.instances.iter().map(wrap).chain(made.iter().cloned());
        let write = |(number, bytes)| {
            let file = folder.join(format!("{number:04}.dcm"));
            std::fs::write(&file, bytes).unwrap();
            file
        };
        (0..).zip(objects).map(write).collect()
    }

    /// Where a slice lies in the series.
    fn place(&self, slice: usize) -> Place {
        let frame = &self.volume.frames[slice];
        Place { sop_instance_uid: frame.sop_instance_uid.clone(), frame: frame.frame.unwrap_or(1) }
    }

    fn plane(&self, slice: usize) -> ArrayView2<'_, u16> {
        self.phantom.labels.index_axis(Axis(0), slice)
    }

    /// The slice that holds most of a lesion.
    fn slice(&self, label: u32) -> usize {
        let held = |slice: &usize| self.plane(*slice).iter().filter(|other| u32::from(**other) == label).count();
        (0..self.volume.grid.size[2]).max_by_key(held).unwrap()
    }

    /// An intensity that few voxels have.
    fn bright(&self) -> f64 {
        let mut values: Vec<f32> = self.volume.voxels.iter().copied().collect();
        values.sort_by(f32::total_cmp);
        1.2 * f64::from(values[values.len() * 999 / 1000])
    }
}

fn encoded(series: &PhantomSeries) -> Vec<Encoded<'_>> {
    let encoded = series.instances.iter();
    encoded.map(|one| Encoded { transfer_syntax: &one.transfer_syntax, data_set: &one.data_set }).collect()
}

fn numbers<const N: usize>(value: &Value) -> [f64; N] {
    std::array::from_fn(|at| value[at].as_f64().unwrap_or_else(|| panic!("{value} is no place")))
}

/// Centre, first and last column and row of a lesion in a slice.
fn extent(plane: ArrayView2<'_, u16>, label: u32) -> [[f64; 2]; 3] {
    let of = plane.indexed_iter().filter(|(_, other)| u32::from(**other) == label);
    let places: Vec<[f64; 2]> = of.map(|((row, column), _)| [column as f64, row as f64]).collect();
    let fold = |from: f64, f: fn(f64, f64) -> f64, axis: usize| places.iter().map(|place| place[axis]).fold(from, f);
    let centre = [0, 1].map(|axis| fold(0.0, |a, b| a + b, axis) / places.len() as f64);
    [centre, [0, 1].map(|axis| fold(f64::MAX, f64::min, axis)), [0, 1].map(|axis| fold(0.0, f64::max, axis))]
}

/// Pearson's correlation.
fn correlation(pairs: &[(f64, f64)]) -> f64 {
    let count = pairs.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / count;
    let (a, b) = (mean(|pair| pair.0), mean(|pair| pair.1));
    let sum = |of: &dyn Fn(f64, f64) -> f64| pairs.iter().map(|(x, y)| of(x - a, y - b)).sum::<f64>();
    sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
}

/// Shows a scan with its segmentation and asserts what is seen; `name` names the pictures that are kept.
fn look(name: &str, spec: PhantomSpec, encoding: Encoding) {
    let Some(ohif) = or_skip(Ohif::find()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(orthanc) = or_skip(Orthanc::start_dicomweb(folder.path())) else { return };
    let scan = Scan::new(spec, encoding);
    let files = scan.write(folder.path(), &[scan.segmentation(), scan.report()]);
    let Some(_) = or_skip(storescu(orthanc.dicom_address(), "ORTHANC", &["-R"], &files)) else { return };
    let places: Vec<Place> = scan.lesions.iter().map(|lesion| scan.place(scan.slice(lesion.label))).collect();
    let kept = root().join("tests/tests/ohif");
    let seen = ohif
        .visit(
            &orthanc,
            &Visit {
                study: &scan.study_uid(),
                segmentation: SEGMENTATION_SERIES,
                segments: &places,
                report: Some(REPORT_SERIES),
                brightest: scan.bright(),
                name,
                screenshots: folder.path(),
                kept: &kept,
            },
        )
        .unwrap();

    let labels: Vec<String> = scan.lesions.iter().map(|lesion| format!("Lesion {}", lesion.label)).collect();
    assert_eq!(seen["listed"], serde_json::json!(labels));
    let segments = seen["segments"].as_array().unwrap();
    for (lesion, segment) in scan.lesions.iter().zip(segments) {
        overlay_lies_on(&scan, lesion.label, segment);
    }
    assert_eq!(seen["report"]["listed"], serde_json::json!(labels));
    for (at, lesion) in scan.lesions.iter().enumerate() {
        report_leads_to(&scan, lesion, &seen["report"]["points"][at], &seen["report"]["leads"][at]);
    }
    // One picture of a scan is kept.
    let picture = format!("{name}-1.png");
    if std::env::var_os("SULCUS_KEEP_SCREENSHOTS").is_some() {
        std::fs::copy(folder.path().join(&picture), kept.join(&picture)).unwrap();
        if name == "axial" {
            std::fs::copy(folder.path().join("axial-page.png"), root().join("docs/how-to/ohif.png")).unwrap();
        }
        return;
    }
    let [now, then] = ["now", "kept"].map(|which| {
        let coloured = &segments[0]["screenshot"][which];
        let (centre, size) = (numbers::<2>(&coloured["centre"]), numbers::<2>(&coloured["size"]));
        [0, 1].map(|axis| centre[axis] / size[axis])
    });
    assert!((0..2).all(|axis| (now[axis] - then[axis]).abs() < 0.01), "{picture}: {now:?}, kept {then:?}");
}

/// Asserts that an overlay lies where the lesion is, on an image that is shown as it was sent.
fn overlay_lies_on(scan: &Scan, label: u32, segment: &Value) {
    let slice = scan.slice(label);
    let plane = scan.plane(slice);
    let overlay = &segment["overlay"];
    println!("lesion {label}: {overlay}, expected {:?}", extent(plane, label));
    // The outermost pixels are shown with their borders, half a pixel from their centres.
    for ((what, near), expected) in
        [("centre", 0.5), ("first", 1.5), ("last", 1.5)].into_iter().zip(extent(plane, label))
    {
        let found = numbers::<2>(&overlay[what]);
        let far = (0..2).map(|axis| (found[axis] - expected[axis]).abs()).fold(0.0, f64::max);
        assert!(far < near, "lesion {label}: {what} at {found:?} instead of {expected:?}");
    }
    let list = |what: &str| segment[what].as_array().unwrap().iter().map(|value| value.as_f64().unwrap());
    let covered = list("covered").map(|share| share > 0.0);
    let differ = covered.zip(plane).filter(|(shown, other)| *shown != (u32::from(**other) == label)).count();
    assert_eq!(differ, 0, "pixels of lesion {label} that are covered and should not be, or the other way round");
    let image = scan.volume.voxels.index_axis(Axis(0), slice);
    let shown = correlation(&list("grey").zip(image.iter().map(|value| f64::from(*value))).collect::<Vec<_>>());
    assert!(shown > 0.98, "lesion {label}: the image shown correlates with the one sent by {shown}");

    let jumped: Place = serde_json::from_value(segment["jumped"].clone()).unwrap();
    let on = (0..scan.volume.grid.size[2]).find(|slice| scan.place(*slice) == jumped).unwrap();
    assert!(scan.plane(on).iter().any(|other| u32::from(*other) == label), "lesion {label} is not on slice {on}");
}

/// Asserts that a measurement of the report lies at the lesion's centre, and that the viewer leads to its slice.
fn report_leads_to(scan: &Scan, lesion: &LesionRow, point: &Value, leads: &Value) {
    let (found, centre) = (numbers::<3>(point), lesion.centroid_um.map(|um| um as f64 / 1000.0));
    assert!((0..3).all(|axis| (found[axis] - centre[axis]).abs() < 0.01), "{found:?} instead of {centre:?}");
    let distance = |slice: &usize| {
        // Across the slice, which is what the third axis is.
        let (at, step) = (scan.volume.grid.point([0.0, 0.0, *slice as f64]), scan.phantom.spec.orientation.axes()[2]);
        (0..3).map(|axis| (centre[axis] - at[axis]) * step[axis]).sum::<f64>().abs()
    };
    let nearest = (0..scan.volume.grid.size[2]).min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap();
    let leads: Place = serde_json::from_value(leads.clone()).unwrap();
    assert_eq!(leads, scan.place(nearest), "lesion {}", lesion.label);
}

fn spec(orientation: Orientation, size: [usize; 3], spacing_mm: [f64; 3]) -> PhantomSpec {
    PhantomSpec { size, spacing_mm, orientation, lesions: 3..=3, ..PhantomSpec::demo(Field::T3, Sequence::Mprage, 4) }
}

#[test]
fn overlays_lie_on_the_lesions_of_an_axial_scan() {
    look("axial", spec(Orientation::Axial, [160, 192, 48], [1.1, 1.1, 2.5]), Encoding::Classic);
}

#[test]
fn overlays_lie_on_the_lesions_of_an_oblique_scan_with_pixels_that_are_not_square() {
    look("oblique", spec(Orientation::Oblique, [176, 144, 40], [1.0, 1.4, 3.0]), Encoding::Classic);
}

#[test]
fn overlays_lie_on_the_lesions_of_an_enhanced_sagittal_scan() {
    look("sagittal", spec(Orientation::Sagittal, [192, 144, 48], [1.1, 1.1, 2.5]), Encoding::Enhanced);
}
