//! Promises of the page that need no reader of PDF. What stands on it is read in `tests/tests/page.rs`.

use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::entries::EXPLICIT_VR_LITTLE_ENDIAN;
use ndarray::Array3;

use super::{
    canvas::{BLACK, regular},
    *,
};
use crate::{
    domain::ToldDistance,
    header,
    results::{fixture::Sample, fixture_report},
    rows::{DomainDistance, ReportStatus},
};

/// A small study with its report.
struct Study {
    sample: Sample,
    volume: Volume,
    report: Report,
    source: Vec<u8>,
}

impl Study {
    fn new(size: [usize; 3], boxes: &[([usize; 3], [usize; 3])], status: ReportStatus) -> Self {
        let sample = Sample::new(size, boxes);
        let voxels = Array3::from_shape_fn(sample.labels.dim(), |(s, r, c)| (s + 2 * r + 3 * c) as f32);
        let volume = Volume {
            grid: sample.grid.clone(),
            voxels,
            frames: sample.frames.clone(),
            stack: String::new(),
            frame_of_reference_uid: String::new(),
            rescale: None,
            intensity_scale: String::new(),
            notes: Vec::new(),
        };
        let report = fixture_report::report(&sample, status, Vec::new());
        let source = sample.instances[0].1.clone();
        Self { sample, volume, report, source }
    }

    fn input(&self) -> PageInput<'_> {
        PageInput {
            report: &self.report,
            supersedes: None,
            source: Encoded { transfer_syntax: "1.2.840.10008.1.2.1", data_set: &self.source },
            images: Some((&self.volume, self.sample.labels.view())),
            earlier: &[],
            software_version: "0.1.0",
            fonts: &[],
        }
    }

    /// Stores other bytes in the source's header; none takes the element out.
    fn store(&mut self, tag: Tag, vr: VR, bytes: Option<&[u8]>) {
        let mut object: InMemDicomObject = header::read(self.input().source).unwrap();
        object.remove_element(tag);
        if let Some(bytes) = bytes {
            object.put(DataElement::new(tag, vr, PrimitiveValue::U8(bytes.into())));
        }
        let mut written = Vec::new();
        object.write_dataset_with_ts(&mut written, &EXPLICIT_VR_LITTLE_ENDIAN.erased()).unwrap();
        self.source = written;
    }

    fn words(&self) -> Wording {
        Wording::read(self.input().source).unwrap()
    }
}

fn study() -> Study {
    Study::new([20, 18, 16], &[([4, 5, 6], [3, 4, 5]), ([10, 5, 6], [2, 2, 2])], ReportStatus::Final)
}

/// A file with one page.
fn is_one_page(pdf: &[u8]) -> bool {
    let holds = |what: &[u8]| pdf.windows(what.len()).filter(|part| *part == what).count();
    pdf.starts_with(b"%PDF-") && holds(b"/Type /Page\n") == 1 && holds(b"/Count 1\n") == 1
}

#[test]
fn equal_input_gives_equal_bytes_and_one_page() {
    let study = study();
    let pdf = render(&study.input()).unwrap();
    assert!(is_one_page(&pdf));
    assert_eq!(pdf, render(&study.input()).unwrap());
    let mut other = self::study();
    other.report.revision = 3;
    assert_ne!(pdf, render(&other.input()).unwrap());
}

#[test]
fn a_withdrawn_report_needs_no_images_and_shows_none() {
    let study = Study::new([8, 8, 8], &[([1, 1, 1], [3, 3, 3])], ReportStatus::Withdrawn("taken back".into()));
    let without = render(&PageInput { images: None, ..study.input() }).unwrap();
    assert_eq!(without, render(&study.input()).unwrap());
    assert!(is_one_page(&without) && !without.windows(6).any(|part| part == b"/Image"));
    let standing = self::study();
    assert_eq!(render(&PageInput { images: None, ..standing.input() }), Err(PageError::NoImages));
}

#[test]
fn a_header_that_says_nothing_still_makes_a_page() {
    let mut study = study();
    for tag in [tags::PATIENT_NAME, tags::PATIENT_ID, tags::STUDY_DATE, tags::ACCESSION_NUMBER] {
        study.store(tag, VR::LO, None);
    }
    assert!(study.words().names.is_empty());
    assert!(is_one_page(&render(&study.input()).unwrap()));
}

#[test]
fn a_header_of_an_unknown_character_set_is_shown_as_its_bytes() {
    let mut study = study();
    study.store(tags::SPECIFIC_CHARACTER_SET, VR::CS, Some(b"ISO_IR 999"));
    let words = study.words();
    assert!(words.undecoded);
    assert_eq!(words.names, ["M\\xfcller, A"]);
    assert!(is_one_page(&render(&study.input()).unwrap()));
}

#[test]
fn values_that_are_too_long_and_bytes_that_mean_nothing_stay_on_the_page() {
    let mut study = study();
    study.store(tags::PATIENT_NAME, VR::PN, Some(&[b'x'; 3000]));
    study.store(tags::STUDY_DESCRIPTION, VR::LO, Some(b"\x01\x02a\x7f\xff\n\r\tb\\c "));
    study.store(tags::MAGNETIC_FIELD_STRENGTH, VR::DS, Some(b"strong"));
    study.store(tags::PATIENT_BIRTH_DATE, VR::DA, Some(b"yesterday "));
    assert!(is_one_page(&render(&study.input()).unwrap()));
}

#[test]
fn a_source_that_cannot_be_read_and_labels_of_another_volume_are_refused() {
    let study = study();
    let torn = Encoded { data_set: &study.source[..40], ..study.input().source };
    assert!(matches!(render(&PageInput { source: torn, ..study.input() }), Err(PageError::Source(_))));
    let other = Array3::zeros([3, 3, 3]);
    let images = Some((&study.volume, other.view()));
    assert!(matches!(render(&PageInput { images, ..study.input() }), Err(PageError::Planes(_))));
}

#[test]
fn no_numbers_one_slice_and_visits_without_sense_still_make_a_page() {
    let mut study = Study::new([9, 8, 1], &[([2, 2, 0], [3, 3, 1])], ReportStatus::Final);
    study.volume.voxels.fill(f32::NAN);
    let visit = |date: &str, volume_mm3| Visit { study_date: date.into(), volume_mm3, ..Visit::default() };
    let visits = [visit("", f64::NAN), visit("20240101", f64::INFINITY), visit("20240101", -1.0)];
    let many: Vec<Visit> = visits.iter().cycle().take(30).cloned().collect();
    for earlier in [&visits[..1], &visits[1..], &many] {
        assert!(is_one_page(&render(&PageInput { earlier, ..study.input() }).unwrap()));
    }
}

#[test]
fn text_is_cut_where_it_says_so_and_broken_between_words() {
    let faces = Typefaces::new(&[]);
    let canvas = Canvas::new(&faces);
    let style = regular(8.0, BLACK);
    let text = "the quick brown fox jumps over the lazy dog";
    let lines = canvas.wrapped(style, text, 20.0, 9);
    assert!(lines.len() > 2 && lines.iter().all(|line| canvas.width(style, line) <= 20.0), "{lines:?}");
    assert_eq!(lines.join(" "), text);
    let short = canvas.wrapped(style, text, 20.0, 2);
    assert!(short.len() == 2 && short[1].ends_with('\u{2026}') && canvas.width(style, &short[1]) <= 20.0);
    let word = canvas.wrapped(style, &"x".repeat(60), 20.0, 9);
    assert_eq!(word.concat(), "x".repeat(60));
    assert_eq!(canvas.fitted(style, "fits", 20.0), "fits");
}

#[test]
fn a_page_tells_a_distance_that_is_usual_and_one_that_is_not() {
    let page = |farther_than| {
        let mut study = study();
        let told = DomainDistance { distance_milli: 1200, farther_than, scans: 64 };
        study.report.run.as_mut().unwrap().domain = Some(ToldDistance::new(&told));
        render(&study.input()).unwrap()
    };
    assert!(is_one_page(&page(3)) && page(3) != page(4), "it stands on the page");
    assert_ne!(page(3), render(&study().input()).unwrap());
}
