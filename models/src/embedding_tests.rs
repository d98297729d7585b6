//! Promises of the training embedding's file.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::golden::noise;

fn scans(count: usize, features: usize) -> Vec<Vec<f64>> {
    let mut noise = noise();
    (0..count).map(|_| (0..features).map(|_| f64::from(noise())).collect()).collect()
}

fn refused(change: impl Fn(&mut Vec<u8>)) -> EmbeddingError {
    let mut bytes = Embedding::of(&scans(9, 4)).unwrap().to_bytes();
    change(&mut bytes);
    Embedding::parse(&bytes).unwrap_err()
}

#[test]
fn a_file_is_read_as_it_was_written_and_gives_the_same_distances() {
    let written = Embedding::of(&scans(9, 4)).unwrap();
    let read = Embedding::parse(&written.to_bytes()).unwrap();
    assert_eq!((read.scans(), read.features(), read.to_bytes()), (9, 4, written.to_bytes()));
    let far = [3.0, 3.0, -3.0, 3.0];
    let distance = read.distance(&far).unwrap();
    assert_eq!(Some(distance), written.distance(&far));
    assert!(distance.is_beyond() && distance.distance_milli > 1000 && distance.scans == 9, "{distance:?}");
}

#[test]
fn the_usual_distance_is_one_and_a_scan_in_the_middle_is_nearer() {
    let embedding = Embedding::of(&scans(9, 4)).unwrap();
    let mean: Vec<f64> =
        (0..4).map(|feature| scans(9, 4).iter().map(|scan| scan[feature]).sum::<f64>() / 9.0).collect();
    let near = embedding.distance(&mean).unwrap();
    assert_eq!((near.farther_than, near.is_beyond()), (0, false));
    assert!(near.distance_milli < 10, "{near:?}");
}

#[test]
fn other_or_infinite_features_have_no_distance() {
    let embedding = Embedding::of(&scans(9, 4)).unwrap();
    for features in [&[0.0; 3][..], &[0.0; 5], &[], &[0.0, f64::NAN, 0.0, 0.0], &[0.0, 0.0, f64::INFINITY, 0.0]] {
        assert_eq!(embedding.distance(features), None, "{features:?}");
    }
}

#[test]
fn other_bytes_are_refused_by_name() {
    assert_eq!(refused(|bytes| bytes.truncate(10)), EmbeddingError::Foreign);
    assert_eq!(refused(|bytes| bytes[0] = b'X'), EmbeddingError::Foreign);
    assert_eq!(refused(|bytes| bytes[8] = 2), EmbeddingError::Foreign);
    let length = 20 + 4 * 9 * 4;
    assert_eq!(refused(|bytes| bytes.push(0)), EmbeddingError::Length { found: length + 1, wanted: length });
    assert_eq!(refused(|bytes| bytes.truncate(100)), EmbeddingError::Length { found: 100, wanted: length });
    assert_eq!(refused(|bytes| bytes[12] = 7), EmbeddingError::Extent { scans: 7, features: 4 });
    assert_eq!(refused(|bytes| bytes[16] = 0), EmbeddingError::Extent { scans: 9, features: 0 });
    let most = u32::MAX as usize;
    assert_eq!(refused(|bytes| bytes[12..20].fill(255)), EmbeddingError::Extent { scans: most, features: most });
    let infinite = |bytes: &mut Vec<u8>| bytes[20 + 4 * 6..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    assert_eq!(refused(infinite), EmbeddingError::NotFinite { scan: 1, feature: 2 });
    assert_eq!(refused(|bytes| bytes[20..].fill(0)), EmbeddingError::Alike);
    let turns: Vec<Vec<f64>> = (0..8).map(|scan| vec![f64::from(scan % 2); 4]).collect();
    assert_eq!(Embedding::of(&turns).unwrap_err(), EmbeddingError::Singular);
}

#[test]
fn scans_of_unequal_length_are_refused() {
    let mut uneven = scans(9, 4);
    uneven[5].pop();
    assert_eq!(Embedding::of(&uneven).unwrap_err(), EmbeddingError::Uneven { scan: 5, found: 3, wanted: 4 });
    assert_eq!(Embedding::of(&[]).unwrap_err(), EmbeddingError::Extent { scans: 0, features: 0 });
}
