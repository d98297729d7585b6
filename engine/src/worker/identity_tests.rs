//! Promises of identities that are kept.
#![allow(clippy::unwrap_used)]

use ndarray::Array3;
use sulcus_operators::{
    digest::Digest,
    phantom::{Field, Motion, Phantom, PhantomSpec, Sequence, TrueLesion, Visit},
    registration::{Aligned, Rigid},
    rows::RunOutcome,
    volume::Grid,
};

use super::*;
use crate::worker::run::store_labels;

const UNIT: [[f64; 4]; 4] = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]];

fn volume() -> Volume {
    Volume {
        grid: Grid { size: [2, 2, 2], affine: UNIT },
        voxels: Array3::zeros([2, 2, 2]),
        frame_of_reference_uid: "1.2.3".to_owned(),
        rescale: None,
        intensity_scale: String::new(),
        notes: Vec::new(),
        frames: Vec::new(),
        stack: String::new(),
    }
}

fn lesion(tracking_uid: &str) -> LesionRow {
    LesionRow {
        label: 1,
        tracking_uid: tracking_uid.to_owned(),
        voxels: 8,
        volume_nl: 8000,
        centroid_um: [500; 3],
        box_first: [0; 3],
        box_size: [2; 3],
        mean_intensity_milli: 0,
        probability_permille: 900,
        peak_probability_permille: 900,
    }
}

/// With one lesion, `2.25.1`.
fn earlier_outcome() -> RunOutcome {
    RunOutcome {
        probability: None,
        run_key: Digest::of(b"earlier"),
        mask: Digest::default(),
        size: [2; 3],
        spacing_um: [1000; 3],
        affine_nm: affine_nm(&volume().grid),
        frame_of_reference_uid: "1.2.3".to_owned(),
        intensity_scale: String::new(),
        notes: Vec::new(),
        lesions: vec![lesion("2.25.1")],
        alignments: Vec::new(),
        of_visits: false,
        domain: None,
    }
}

#[test]
fn only_a_run_in_the_same_patient_space_gives_its_identities() {
    let folder = tempfile::tempdir().unwrap();
    let results = ResultsStore::open(folder.path()).unwrap();
    let labels = Array3::from_elem([2, 2, 2], 1u16);
    let outcome = RunOutcome { mask: store_labels(&results, &labels).unwrap(), ..earlier_outcome() };
    let kept = |volume: &Volume, outcome: &RunOutcome, same_series| {
        let earlier = [EarlierRun { outcome: outcome.clone(), same_series }];
        let before = Before { runs: &earlier, visits: &[], volume: &mut |_| panic!("no visit is asked for") };
        let kept = keep_identities(&results, volume, labels.view(), vec![lesion("2.25.2")], before);
        (kept.lesions[0].tracking_uid.clone(), kept.notes.len())
    };
    let (was, new) = (("2.25.1".to_owned(), 0), ("2.25.2".to_owned(), 0));
    assert_eq!(kept(&volume(), &outcome, false), was, "the same frame of reference");
    let elsewhere = RunOutcome { frame_of_reference_uid: "1.2.4".to_owned(), ..outcome.clone() };
    assert_eq!(kept(&volume(), &elsewhere, false), new);
    assert_eq!(kept(&volume(), &elsewhere, true), was, "the same series");
    let unplaced = RunOutcome { frame_of_reference_uid: String::new(), ..outcome.clone() };
    let nowhere = Volume { frame_of_reference_uid: String::new(), ..volume() };
    assert_eq!(kept(&nowhere, &unplaced, false), new, "two that name none share none");
    assert_eq!(kept(&nowhere, &RunOutcome { affine_nm: None, ..unplaced }, true), was, "of an old ledger");

    let lost = RunOutcome { mask: Digest::of(b"lost"), ..outcome };
    assert_eq!(kept(&volume(), &lost, true), ("2.25.2".to_owned(), 1), "a lost label map is said, and no failure");
}

#[test]
fn a_rerun_whose_lesions_are_all_known_is_compared_with_the_visits_that_they_were_compared_with() {
    let folder = tempfile::tempdir().unwrap();
    let results = ResultsStore::open(folder.path()).unwrap();
    let labels = Array3::from_shape_fn([2, 2, 2], |(z, _, _)| z as u16 + 1);
    let aligned = Aligned {
        motion: Rigid { rotation: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], shift_mm: [0.0; 3] },
        similarity_permille: 900,
        overlap_permille: 900,
    };
    let with = Alignment::new("1.9", Digest::of(b"visit"), &aligned);
    let outcome = RunOutcome {
        mask: store_labels(&results, &Array3::from_elem([2, 2, 2], 1u16)).unwrap(),
        alignments: vec![with.clone()],
        ..earlier_outcome()
    };
    let runs = [EarlierRun { outcome, same_series: true }];
    let kept = |lesions: Vec<LesionRow>| {
        let before = Before { runs: &runs, visits: &[], volume: &mut |_| panic!("no visit is asked for") };
        let Kept { alignments, of_visits, .. } = keep_identities(&results, &volume(), labels.view(), lesions, before);
        (alignments, of_visits)
    };
    assert_eq!(kept(vec![lesion("2.25.2")]), (vec![with], true));
    let second = LesionRow { label: 2, ..lesion("2.25.3") };
    let expected = (vec![], true);
    assert_eq!(kept(vec![lesion("2.25.2"), second]), expected, "one is new, and the other may be from a visit");
}

/// A phantom's image as a volume, its lesions as a run's outcome with tracking UIDs `2.25.RUN.LABEL`.
fn visit(results: &ResultsStore, run: u32, phantom: &Phantom) -> (Volume, RunOutcome) {
    let volume = phantom.volume(phantom.images[0].voxels.clone());
    let row = |truth: &TrueLesion| LesionRow {
        label: u32::from(truth.label),
        ..lesion(&format!("2.25.{run}.{}", truth.label))
    };
    let outcome = RunOutcome {
        probability: None,
        run_key: Digest::of(&run.to_le_bytes()),
        mask: store_labels(results, &phantom.labels).unwrap(),
        size: phantom.grid.size.map(|extent| extent as u32),
        spacing_um: [1000; 3],
        affine_nm: affine_nm(&phantom.grid),
        frame_of_reference_uid: format!("1.2.{run}"),
        intensity_scale: String::new(),
        notes: Vec::new(),
        lesions: phantom.lesions.iter().map(row).collect(),
        alignments: Vec::new(),
        of_visits: false,
        domain: None,
    };
    (volume, outcome)
}

#[test]
fn lesions_of_another_visit_are_followed_where_the_scans_can_be_aligned_and_else_it_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let results = ResultsStore::open(folder.path()).unwrap();
    let spec = PhantomSpec {
        spacing_mm: [1.5; 3],
        size: [128, 112, 112],
        lesions: 5..=5,
        ..PhantomSpec::demo(Field::T3, Sequence::Mprage, 6)
    };
    let motion = Motion { turn_degrees: [5.0, 4.0, -9.0], shift_mm: [8.0, 2.0, -6.0] };
    let later = Visit { motion, scan: 70, gone: vec![2], grown: vec![(3, 1.4)], new: 1 };
    let (was, first) = visit(&results, 1, &Phantom::generate(&spec).unwrap());
    let (is, second) = visit(&results, 2, &Phantom::revisit(&spec, &spec, &later).unwrap());
    let labels = load_labels(&results, &second).unwrap();
    let earlier = |date: &str, outcome: &RunOutcome| EarlierVisit {
        study_uid: "1.9".to_owned(),
        study_date: date.to_owned(),
        outcome: outcome.clone(),
        instances: Vec::new(),
        away: None,
    };
    let kept = |visits: &[EarlierVisit], volume: &mut dyn FnMut(&EarlierVisit) -> Result<Volume, Failure>| {
        keep_identities(&results, &is, labels.view(), second.lesions.clone(), Before { runs: &[], visits, volume })
    };
    let uids = |kept: &Kept| kept.lesions.iter().map(|lesion| lesion.tracking_uid.clone()).collect::<Vec<_>>();
    let visits = [earlier("20260105", &first)];

    let followed = kept(&visits, &mut |_| Ok(was.clone()));
    assert_eq!(uids(&followed), ["2.25.1.1", "2.25.1.3", "2.25.1.4", "2.25.1.5", "2.25.2.6"]);
    assert_eq!(followed.notes, Vec::<String>::new());
    let [alignment] = &followed.alignments[..] else { panic!("one visit is aligned") };
    assert_eq!((alignment.study_uid.as_str(), alignment.run_key), ("1.9", first.run_key));
    assert!(alignment.similarity_permille > 900 && alignment.overlap_permille > 900, "{alignment:?}");

    let own =
        uids(&Kept { lesions: second.lesions.clone(), notes: Vec::new(), alignments: Vec::new(), of_visits: false });
    let mut waves = was.clone();
    for ((z, y, x), voxel) in waves.voxels.indexed_iter_mut() {
        *voxel = [x, y, z].iter().map(|at| (*at as f32 / 5.0).sin()).product();
    }
    let unlike = kept(&visits, &mut |_| Ok(waves.clone()));
    let said = "lesions were not compared with the visit of 2026-01-05: the scans could not be aligned";
    assert_eq!((uids(&unlike), unlike.notes, unlike.alignments), (own.clone(), vec![said.to_owned()], vec![]));

    let gone = kept(&[earlier("", &first)], &mut |_| Err(Failure::input("its bytes are gone", "")));
    let said = "lesions were not compared with a visit without a date: its bytes are gone";
    assert_eq!((uids(&gone), gone.notes), (own.clone(), vec![said.to_owned()]));

    let lost = RunOutcome { mask: Digest::of(b"lost"), ..first.clone() };
    let unread = kept(&[earlier("20250105", &lost), visits[0].clone()], &mut |_| Ok(was.clone()));
    assert_eq!(uids(&unread), uids(&followed), "the next visit is compared all the same");
    assert!(unread.notes[0].ends_with("2025-01-05: its label map cannot be read"), "{:?}", unread.notes);
}
