//! Promises of `series`.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

/// A sagittal oblique stack: normal along x, tilted a little.
const ORIENTATION: [i32; 6] = [-38_610, 999_252, -2_354, 60_861, 0, -998_146];

fn row(number: i64) -> InstanceRow {
    let step = [997_406, 38_682, 60_815];
    let position = step.map(|part: i64| (part * number) / 1000);
    let facts = InstanceFacts {
        sop_class_uid: "1.2.840.10008.5.1.4.1.1.4".into(),
        sop_instance_uid: format!("1.2.{number}"),
        study_uid: "1.2".into(),
        series_uid: "1.3".into(),
        transfer_syntax: "1.2.840.10008.1.2.1".into(),
        data_set_digest: Digest::of(&number.to_be_bytes()),
        content_digest: Digest::of(&number.to_le_bytes()),
        demographics_digest: Digest::of(b"someone"),
        patient: PatientKey { issuer: "source:scanner".into(), id: "A".into() },
        instance_number: Some(number),
        frame_of_reference_uid: "1.4".into(),
        matrix: [256, 256],
        enhanced: false,
        mosaic: false,
        expected_instances: Some(20),
        counted_by: "ImagesInAcquisition".into(),
        concatenation: None,
        frames: vec![FrameFacts {
            stack: "ORIGINAL\\PRIMARY\\M\\ND | TE 2.9".into(),
            position_um: Some(position),
            orientation: Some(ORIENTATION),
            spacing_um: Some([1000, 1000]),
        }],
        acquisition: "20260101120000".into(),
        keywords: BTreeMap::from([("Modality".into(), "MR".into())]).into(),
    };
    let received = 1_785_542_400_000 + number;
    InstanceRow { seq: number as u64, received, source: "scanner".into(), known_as: None, facts: facts.into() }
}

fn facts(row: &mut InstanceRow) -> &mut InstanceFacts {
    Arc::make_mut(&mut row.facts)
}

fn whole() -> Vec<InstanceRow> {
    (1..=20).map(row).collect()
}

fn reason(rows: &[InstanceRow]) -> String {
    usable_stack(&summarise(rows).unwrap()).unwrap_err().0
}

#[test]
fn no_rows_no_series() {
    assert_eq!(summarise::<InstanceRow>(&[]), None);
}

#[test]
fn the_day_of_a_scan_is_its_studys_or_that_of_its_receipt() {
    let day = |rows: &[InstanceRow]| {
        let state = summarise(rows).unwrap();
        scan_day(&state.keywords, state.received)
    };
    let dated = |date: &str| {
        let mut rows = whole();
        for row in &mut rows {
            facts(row).keywords.make_mut().insert("StudyDate".into(), date.into());
        }
        day(&rows)
    };
    assert_eq!(day(&whole()), 20_260_801);
    assert_eq!((dated("20251231"), dated("2025.12.31"), dated("20251231 ")), (20_251_231, 20_251_231, 20_251_231));
    for unusable in ["", "2025", "yesterday", "2025123a", "+2025123"] {
        assert_eq!(dated(unusable), 20_260_801, "{unusable}");
    }
}

#[test]
fn a_whole_series_is_even_numbered_and_counted() {
    let state = summarise(&whole()).unwrap();
    let stack = usable_stack(&state).unwrap();
    assert_eq!((stack.frames, stack.step_um, stack.missing, stack.doubled, stack.uniform), (20, 1000, 0, 0, true));
    assert!(state.numbered && !state.enhanced_whole && !state.mosaic);
    assert_eq!(state.expected, Some((20, "ImagesInAcquisition".into())));
    assert_eq!(state.members, (1..=20).collect::<Vec<_>>());
}

#[test]
fn a_missing_slice_is_counted() {
    let mut rows = whole();
    rows.remove(7);
    rows.remove(7);
    let state = summarise(&rows).unwrap();
    assert_eq!(state.stacks[0].missing, 2);
    assert!(!state.numbered && state.stacks[0].uniform);
    assert!(reason(&rows).contains("2 slices are missing"));
}

#[test]
fn a_position_twice_is_a_fault_only_within_one_stack() {
    let mut rows = whole();
    let mut twice = row(5);
    facts(&mut twice).sop_instance_uid = "1.2.99".into();
    rows.push(twice.clone());
    assert!(reason(&rows).contains("more than one image"));
    rows.pop();
    facts(&mut twice).frames[0].stack = "ORIGINAL\\PRIMARY\\P\\ND | TE 2.9".into();
    rows.push(twice);
    assert_eq!(usable_stack(&summarise(&rows).unwrap()).unwrap().frames, 20);
}

#[test]
fn two_equal_magnitude_volumes_are_not_guessed_between() {
    let mut rows = whole();
    for mut echo in whole() {
        facts(&mut echo).sop_instance_uid.push_str(".2");
        facts(&mut echo).frames[0].stack = "ORIGINAL\\PRIMARY\\M\\ND | TE 5.8".into();
        rows.push(echo);
    }
    assert!(reason(&rows).contains("2 equally large volumes"));
    let state = summarise(&rows).unwrap();
    assert_eq!(
        (state.instances, state.expected.unwrap().0),
        (40, 20),
        "more came than was promised, and both are told"
    );
}

#[test]
fn what_no_model_may_see_is_named() {
    let change = |edit: fn(&mut InstanceFacts)| {
        let mut rows = whole();
        edit(facts(&mut rows[3]));
        reason(&rows)
    };
    assert!(change(|facts| facts.mosaic = true).contains("mosaic"));
    assert!(change(|facts| facts.frames[0].orientation = Some([1_000_000, 0, 0, 0, 1_000_000, 0])).contains("differ"));
    assert!(change(|facts| facts.frames[0].position_um = None).contains("lack a position"));
    assert!(change(|facts| facts.matrix = [128, 128]).contains("differ"));
    assert!(change(|facts| facts.frames[0].position_um = Some([4_300, 166, 262])).contains("unevenly spaced"));
    assert!(reason(&whole()[..1]).contains("single slice"));
    let mut phase = whole();
    phase.iter_mut().for_each(|row| facts(row).frames[0].stack = "ORIGINAL\\PRIMARY\\P\\ND".into());
    assert!(reason(&phase).contains("phase"));
}

#[test]
fn an_orientation_that_is_not_square_is_for_no_model() {
    for cosines in [
        [2_000_000, 0, 0, 0, 2_000_000, 0],
        [1_000_000, 0, 0, 500_000, 866_025, 0],
        [0; 6],
        [i32::MIN; 6],
        [i32::MAX; 6],
    ] {
        let mut rows = whole();
        rows.iter_mut().for_each(|row| facts(row).frames[0].orientation = Some(cosines));
        assert!(reason(&rows).contains("two unit vectors at right angles"), "{cosines:?}");
    }
}

#[test]
fn a_concatenation_is_whole_with_all_its_parts() {
    let part = |index: u32| {
        let mut part = row(i64::from(index));
        facts(&mut part).enhanced = true;
        facts(&mut part).concatenation = Some([index, 3]);
        part
    };
    assert!(summarise(&[part(2), part(1), part(3)]).unwrap().enhanced_whole);
    assert!(!summarise(&[part(1), part(3)]).unwrap().enhanced_whole);
    assert!(!summarise(&[part(1), part(2)]).unwrap().enhanced_whole);
}

#[test]
fn hostile_positions_do_not_panic() {
    let mut rows = whole();
    facts(&mut rows[0]).frames[0].position_um = Some([i64::MAX; 3]);
    facts(&mut rows[1]).frames[0].position_um = Some([i64::MIN; 3]);
    facts(&mut rows[2]).frames[0].orientation = Some([i32::MIN; 6]);
    facts(&mut rows[4]).frames[0].spacing_um = Some([i64::MIN, i64::MAX]);
    assert!(usable_stack(&summarise(&rows).unwrap()).is_err());
}

proptest! {
    #[test]
    fn the_state_does_not_depend_on_the_order(
        rows in Just(whole()).prop_shuffle(),
        keep in 1usize..20,
        doubled in 0usize..20,
    ) {
        let mut some: Vec<InstanceRow> = rows[..keep].to_vec();
        some.push(rows[doubled].clone());
        let shuffled = summarise(&some);
        some.sort();
        prop_assert_eq!(&shuffled, &summarise(&some));
        some.reverse();
        prop_assert_eq!(&shuffled, &summarise(&some));
    }
}
