//! Promises of the distance, against numpy.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::golden::noise;

/// Nine scans of five features; the second feature follows the first.
fn scans() -> Vec<Vec<f32>> {
    let mut noise = noise();
    let mut scans: Vec<Vec<f32>> = (0..9).map(|_| (0..5).map(|_| noise()).collect()).collect();
    scans.iter_mut().for_each(|scan| scan[1] = (f64::from(scan[0]) * 2.0 + f64::from(scan[1]) * 0.1) as f32);
    scans
}

/// What numpy 2 gave with each scan left out in turn and the covariance of the others inverted anew:
/// `(v - w) @ np.linalg.solve((1 - l) * C + l * m * np.eye(p), v - w)`, square root.
const LEFT_OUT: [f64; 9] = [
    1.6642657936501275,
    1.8498049283629088,
    1.931540258648834,
    2.237656250294005,
    2.25674830800844,
    2.376487860287603,
    2.7099421630933134,
    3.0452635390650284,
    3.4784975509247458,
];

#[test]
fn distances_are_those_of_numpy_for_a_scan_left_out_and_for_another() {
    let spread = Spread::of(&scans()).unwrap();
    for (found, wanted) in spread.distances.iter().zip(LEFT_OUT) {
        assert!((found - wanted).abs() < 1e-9, "{found} {wanted}");
    }
    let found = spread.distance(&[0.5, -1.0, 2.0, 0.0, 0.25]);
    assert!((found - 4.673087453643748).abs() < 1e-9, "{found}");
    assert_eq!(spread.usual(), spread.distances[4]);
    assert_eq!((spread.nearer(0.0), spread.nearer(2.3), spread.nearer(9.0)), (0, 5, 9));
}

#[test]
fn more_features_than_scans_are_no_hindrance() {
    let mut noise = noise();
    let scans: Vec<Vec<f32>> = (0..8).map(|_| (0..40).map(|_| noise()).collect()).collect();
    let spread = Spread::of(&scans).unwrap();
    let near: Vec<f64> = scans[3].iter().map(|feature| f64::from(*feature)).collect();
    let far: Vec<f64> = near.iter().map(|feature| feature + 5.0).collect();
    assert!(spread.distance(&near) < spread.distance(&far));
    assert_eq!(spread.nearer(spread.distance(&far)), 8);
}

#[test]
fn a_feature_that_never_varied_is_no_reason_for_a_large_distance() {
    let with = |dead: f32| {
        let mut scans = scans();
        scans.iter_mut().for_each(|scan| scan.push(dead));
        Spread::of(&scans).unwrap()
    };
    let point = |dead: f64| vec![0.5, -1.0, 0.5, 0.0, 0.25, dead];
    let spread = with(0.25);
    let (same, off) = (spread.distance(&point(0.25)), spread.distance(&point(0.25 + 1e-6)));
    assert!((same - off).abs() < 1e-3, "{same} {off}");
}

#[test]
fn scans_that_are_alike_or_depend_on_each_other_are_refused() {
    assert_eq!(Spread::of(&vec![vec![1.0, 2.0]; 8]).unwrap_err(), Unusable::Alike);
    let mut one_apart = vec![vec![0.0, 0.0, 0.0]; 9];
    one_apart[0] = vec![1.0, 0.0, 0.0];
    one_apart[1] = vec![-1.0, 0.0, 0.0];
    assert_eq!(Spread::of(&one_apart).unwrap_err(), Unusable::Alike);
    let turns: Vec<Vec<f32>> = (0..8).map(|scan| vec![(scan % 2) as f32; 2]).collect();
    assert_eq!(Spread::of(&turns).unwrap_err(), Unusable::Singular);
}
