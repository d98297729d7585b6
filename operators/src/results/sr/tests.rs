//! Reports that must come out right, and those that must be refused.

#![allow(clippy::unwrap_used)]
use dicom_core::Tag;
use dicom_object::{FileDicomObject, InMemDicomObject, from_reader};
use ndarray::Array3;

use super::*;
use crate::{
    results::{
        fixture::Sample,
        report::{Judgement, ReportInput, Verdict},
    },
    rows::{PatientKey, ReportRow, ReportStatus, RunOrder, RunOutcome},
    volume::Encoded,
};

const PREDECESSOR: Reference<'_> = Reference {
    study_instance_uid: "1.2.3",
    series_instance_uid: "2.25.42",
    sop_class_uid: uids::COMPREHENSIVE3_DSR_STORAGE,
    sop_instance_uid: "2.25.41",
};
const SEGMENTATION: Reference<'_> = Reference {
    study_instance_uid: "1.2.3",
    series_instance_uid: "2.25.14",
    sop_class_uid: uids::SEGMENTATION_STORAGE,
    sop_instance_uid: "2.25.13",
};

fn two() -> Sample {
    Sample::new([7, 5, 6], &[([1, 1, 1], [3, 2, 2]), ([4, 3, 4], [2, 2, 2])])
}

/// The sample's report, without verdicts.
fn report(sample: &Sample, status: ReportStatus) -> Report {
    let run_key = crate::digest::Digest([1; 32]);
    let row = ReportRow {
        visits: Vec::new(),
        without: Vec::new(),
        study_uid: "1.2.3".into(),
        pipeline: "lesions".into(),
        status,
        run: Some(RunOrder {
            run_key,
            study_uid: "1.2.3".into(),
            series_uid: "1.2.3.4".into(),
            stack: String::new(),
            model: run_key,
            members: vec![1],
            inputs: Vec::new(),
        }),
        demographics_digest: run_key,
        not_used: Vec::new(),
        doubts: vec!["slice 3 may be missing".into()],
        verdicts: Vec::new(),
        content: run_key,
    };
    let outcome = RunOutcome {
        probability: None,
        alignments: Vec::new(),
        of_visits: false,
        domain: None,
        run_key,
        mask: run_key,
        size: sample.grid.size.map(|extent| extent as u32),
        spacing_um: [700, 900, 1100],
        affine_nm: None,
        frame_of_reference_uid: "1.2.3.5".into(),
        intensity_scale: "stored values".into(),
        notes: vec![],
        lesions: sample.lesions.clone(),
    };
    let input = ReportInput {
        row: &row,
        outcome: Some(&outcome),
        patient: &PatientKey { issuer: "source:a".into(), id: "P1".into() },
        uid: "2.25.31",
        revision: 2,
        supersedes: None,
        created: 0,
        model: ("blob-filter", "1"),
        segmentation: Some("2.25.13"),
    };
    Report::new(&input).unwrap()
}

fn input<'a>(sample: &'a Sample, report: &'a Report) -> SrInput<'a> {
    SrInput {
        header: sample.header(),
        report,
        grid: &sample.grid,
        frames: &sample.frames,
        frame_of_reference_uid: "1.2.3.5",
        labels: sample.labels.view(),
        segmentation: SEGMENTATION,
        supersedes: None,
    }
}

fn read(object: &Object) -> FileDicomObject<InMemDicomObject> {
    from_reader(object.bytes.as_slice()).unwrap()
}

fn items(object: &InMemDicomObject, tag: Tag) -> &[InMemDicomObject] {
    object.element_opt(tag).unwrap().and_then(|element| element.items()).unwrap_or_default()
}

fn string(object: &InMemDicomObject, tag: Tag) -> String {
    object.element(tag).unwrap().to_str().unwrap().trim_end().to_owned()
}

/// All items below with this code as their name.
fn named<'a>(object: &'a InMemDicomObject, code: &str) -> Vec<&'a InMemDicomObject> {
    let own = |item: &InMemDicomObject| {
        let name = items(item, tags::CONCEPT_NAME_CODE_SEQUENCE);
        name.first().is_some_and(|name| string(name, tags::CODE_VALUE) == code)
    };
    items(object, tags::CONTENT_SEQUENCE)
        .iter()
        .flat_map(|item| own(item).then_some(item).into_iter().chain(named(item, code)))
        .collect()
}

fn texts(object: &InMemDicomObject, code: &str) -> Vec<String> {
    let is_text = |item: &&InMemDicomObject| string(item, tags::VALUE_TYPE) == "TEXT";
    named(object, code).into_iter().filter(is_text).map(|item| string(item, tags::TEXT_VALUE)).collect()
}

fn verdict(verdict: Judgement, relabelled: Option<&str>, comment: Option<&str>) -> Option<Verdict> {
    let (relabelled, comment) = (relabelled.map(str::to_owned), comment.map(str::to_owned));
    Some(Verdict { verdict, relabelled, reader: "Ad\u{e8}le Reader".into(), comment })
}

#[test]
fn each_lesion_is_one_group_with_its_segment_and_its_measurements() {
    let sample = two();
    let written = encode(&input(&sample, &report(&sample, ReportStatus::Final))).unwrap();
    assert_eq!(written.notes, Vec::<String>::new());
    let object = read(&written);
    let groups = named(&object, "125007");
    assert_eq!(groups.len(), 2);
    for ((number, group), lesion) in (1u16..).zip(&groups).zip(&sample.lesions) {
        let children = items(group, tags::CONTENT_SEQUENCE);
        let first = children.iter().find(|item| string(item, tags::VALUE_TYPE) == "UIDREF").unwrap();
        assert_eq!(string(first, tags::UID), lesion.tracking_uid);
        let segments = named(group, "121191");
        assert_eq!(segments.len(), 1);
        let referenced = &items(segments[0], tags::REFERENCED_SOP_SEQUENCE)[0];
        assert_eq!(referenced.element(tags::REFERENCED_SEGMENT_NUMBER).unwrap().to_int::<u16>().unwrap(), number);
        let value = |code: &str| -> Vec<f64> {
            let of = |item: &&InMemDicomObject| {
                let measured = &items(item, tags::MEASURED_VALUE_SEQUENCE)[0];
                string(measured, tags::NUMERIC_VALUE).parse().unwrap()
            };
            named(group, code).iter().map(of).collect()
        };
        assert_eq!(value("118565006"), [lesion.volume_nl as f64 / 1000.0]);
        assert_eq!(value("probability"), [0.875, 0.99]);
        assert_eq!(value("entropy"), [0.544]);
        assert_eq!(value("110852"), [lesion.mean_intensity_milli as f64 / 1000.0]);
        let width = if number == 1 { 2.1f64 } else { 1.4 };
        assert_eq!(value("103339001"), [(width.hypot(1.8) * 1000.0).round() / 1000.0]);
        assert_eq!(named(group, "111010").len(), 1);
    }
    assert_eq!(texts(&object, "121071"), ["2 lesions were found in a series that may be incomplete."]);
    assert_eq!(texts(&object, "note"), ["slice 3 may be missing"]);
    assert_eq!(texts(&object, "use"), [super::super::RESEARCH_USE]);
    assert_eq!(string(&object, tags::VERIFICATION_FLAG), "UNVERIFIED");
}

#[test]
fn the_model_is_named_where_no_lesion_is() {
    let sample = Sample::new([4, 4, 2], &[]);
    let object = read(&encode(&input(&sample, &report(&sample, ReportStatus::Final))).unwrap());
    assert_eq!(named(&object, "126010").len(), 0, "no empty container");
    assert_eq!(texts(&object, "121071"), ["No lesion was found in a series that may be incomplete."]);
    assert_eq!(texts(&object, "111001"), ["blob-filter"]);
    assert_eq!(texts(&object, "111002"), [format!("model {}", "01".repeat(32))]);
}

#[test]
fn what_readers_said_is_content_and_what_they_rejected_is_no_measurement() {
    let sample = Sample::new([7, 5, 6], &[([1, 1, 1], [3, 2, 2]), ([4, 3, 4], [2, 2, 2]), ([0, 0, 0], [1, 1, 1])]);
    let mut report = report(&sample, ReportStatus::Final);
    report.lesions[0].verdict = verdict(Judgement::Relabelled, Some("l\u{e9}sion"), Some("two\nlines"));
    report.lesions[1].verdict = verdict(Judgement::Relabelled, Some("\u{75c5}\u{5909}"), None);
    let mut rejected = report.lesions.remove(2);
    rejected.verdict = verdict(Judgement::Rejected, None, Some("vessel"));
    report.lesions_rejected.push(rejected);
    let kept = sample.labels.mapv(|label| if label == 3 { 0 } else { label });
    let written = encode(&SrInput { labels: kept.view(), ..input(&sample, &report) }).unwrap();
    assert_eq!(
        written.notes,
        ["Lesion 2, its new label: characters that the source's character set lacks are written as _"]
    );
    let object = read(&written);
    assert_eq!(named(&object, "125007").len(), 2);
    let verdicts = named(&object, "verdict");
    let said: Vec<_> =
        verdicts.iter().map(|item| string(&items(item, tags::CONCEPT_CODE_SEQUENCE)[0], tags::CODE_VALUE)).collect();
    assert_eq!(said, ["relabelled", "relabelled", "rejected"]);
    assert_eq!(texts(&object, "label"), ["l\u{e9}sion", "__"]);
    assert_eq!(texts(&object, "121106"), ["two\nlines", "Lesion 1", "Lesion 2", "vessel"]);
    let reader = string(named(verdicts[2], "121008")[0], tags::PERSON_NAME);
    assert_eq!(reader, "Ad\u{e8}le Reader^");
    assert_eq!(string(named(verdicts[2], "112040")[0], tags::UID), "2.25.103");
    assert_eq!(named(verdicts[2], "121191").len(), 0);
}

#[test]
fn a_revision_names_its_predecessor_and_every_source() {
    let sample = two();
    let report = report(&sample, ReportStatus::Final);
    let object = read(&encode(&SrInput { supersedes: Some(PREDECESSOR), ..input(&sample, &report) }).unwrap());
    let instances = |tag: Tag| -> Vec<String> {
        let studies = items(&object, tag);
        let series = studies.iter().flat_map(|study| items(study, tags::REFERENCED_SERIES_SEQUENCE));
        let objects = series.flat_map(|series| items(series, tags::REFERENCED_SOP_SEQUENCE));
        objects.map(|object| string(object, tags::REFERENCED_SOP_INSTANCE_UID)).collect()
    };
    assert_eq!(instances(tags::PREDECESSOR_DOCUMENTS_SEQUENCE), ["2.25.41"]);
    let mut wanted: Vec<_> = sample.frames.iter().map(|frame| frame.sop_instance_uid.clone()).collect();
    wanted.push("2.25.13".into());
    assert_eq!(instances(tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE), wanted);
}

#[test]
fn equal_input_gives_equal_bytes() {
    let sample = two();
    let report = report(&sample, ReportStatus::Final);
    assert_eq!(encode(&input(&sample, &report)).unwrap().bytes, encode(&input(&sample, &report)).unwrap().bytes);
}

#[test]
fn uncertainty_is_nothing_where_the_model_is_sure_and_one_bit_where_it_is_not() {
    for (probability, bits) in [(0.0, 0.0), (1.0, 0.0), (0.5, 1.0), (0.75, 0.811_278_124_459_132_8)] {
        assert!((lesion::entropy(probability) - bits).abs() < 1e-12, "{probability}");
    }
}

#[test]
fn what_cannot_be_a_valid_report_is_refused() {
    let sample = two();
    let report_ = report(&sample, ReportStatus::Final);
    let good = input(&sample, &report_);
    let refused = |input: SrInput<'_>| encode(&input).map(|_| ()).unwrap_err();
    let long = "1.".repeat(32) + "1";
    let (other, empty) = (Array3::zeros([6, 5, 8]), Array3::zeros([6, 5, 7]));
    let mut extra = sample.labels.clone();
    extra[[0, 0, 0]] = 9;
    let flat = Grid { affine: [[0.0; 4]; 4], ..sample.grid.clone() };
    let cut = Encoded { data_set: &good.header.source.data_set[..40], ..good.header.source };
    assert!(matches!(refused(SrInput { labels: other.view(), ..good }), SrError::Shape { .. }));
    assert_eq!(refused(SrInput { frames: &sample.frames[1..], ..good }), SrError::Frames { slices: 6, frames: 5 });
    assert_eq!(refused(SrInput { labels: empty.view(), ..good }), SrError::Voxels { label: 1, expected: 12, found: 0 });
    assert_eq!(refused(SrInput { labels: extra.view(), ..good }), SrError::UnknownLabel { label: 9, slice: 0 });
    assert_eq!(refused(SrInput { grid: &flat, ..good }), SrError::Grid);
    assert_eq!(refused(SrInput { frame_of_reference_uid: "", ..good }), SrError::NoFrameOfReference);
    let uid = |input| matches!(refused(input), SrError::Object(ObjectError::Uid { .. }));
    assert!(uid(SrInput { frame_of_reference_uid: &long, ..good }));
    assert!(uid(SrInput { header: Header { sop_instance_uid: &long, ..good.header }, ..good }));
    assert!(uid(SrInput { segmentation: Reference { sop_instance_uid: &long, ..SEGMENTATION }, ..good }));
    assert!(uid(SrInput { supersedes: Some(Reference { series_instance_uid: "", ..PREDECESSOR }), ..good }));
    assert!(matches!(
        refused(SrInput { header: Header { source: cut, ..good.header }, ..good }),
        SrError::Object(ObjectError::Source(_))
    ));
    let apart = |input| matches!(refused(input), SrError::Apart { .. });
    assert!(apart(SrInput { segmentation: Reference { sop_instance_uid: "2.25.9", ..SEGMENTATION }, ..good }));
    assert!(apart(SrInput { supersedes: Some(Reference { study_instance_uid: "1.9", ..PREDECESSOR }), ..good }));
    let withdrawn = report(&sample, ReportStatus::Withdrawn("gone".into()));
    assert_eq!(refused(SrInput { report: &withdrawn, ..good }), SrError::Withdrawn);
    let changed = |change: fn(&mut Report)| {
        let mut report = report_.clone();
        change(&mut report);
        refused(input(&sample, &report))
    };
    assert_eq!(changed(|report| report.run = None), SrError::NoRun);
    assert_eq!(changed(|report| report.lesions[1].mean_intensity = f64::NAN), SrError::NotFinite(2));
    assert!(matches!(changed(|report| report.study_instance_uid = "1.2.4".into()), SrError::Apart { .. }));
    assert!(matches!(changed(|report| report.lesions[0].tracking_uid = "x".into()), SrError::Object(_)));
    let many = |report: &mut Report| {
        let one = report.lesions[0].clone();
        report.lesions = vec![one; 65_536];
    };
    assert_eq!(changed(many), SrError::TooManyLesions(65_536));
}

#[test]
fn the_distance_from_the_training_scans_is_a_property_of_the_result() {
    let sample = two();
    let mut report = report(&sample, ReportStatus::Final);
    let written = |report: &Report| read(&encode(&input(&sample, report)).unwrap());
    assert!(named(&written(&report), "domain-distance").is_empty(), "where it is unknown, nothing is said");
    let run = report.run.as_mut().unwrap();
    run.domain = Some(ToldDistance { distance: 3.25, farther_than: 64, training_scans: 66, beyond: false });
    let object = written(&report);
    let result = named(&object, "121071").into_iter().find(|item| string(item, tags::VALUE_TYPE) == "TEXT").unwrap();
    let value = |item: &InMemDicomObject, code: &str| {
        let [found] = named(item, code)[..] else { panic!("{code} once") };
        assert_eq!(string(found, tags::RELATIONSHIP_TYPE), "HAS PROPERTIES");
        string(&items(found, tags::MEASURED_VALUE_SEQUENCE)[0], tags::NUMERIC_VALUE).parse::<f64>().unwrap()
    };
    let numbers = ["domain-distance", "farther-than", "training-scans"].map(|code| value(result, code));
    assert_eq!(numbers, [3.25, 64.0, 66.0]);
    report.run.as_mut().unwrap().domain.as_mut().unwrap().distance = f64::NAN;
    assert_eq!(encode(&input(&sample, &report)).unwrap_err(), SrError::NotFinite(0));
}
