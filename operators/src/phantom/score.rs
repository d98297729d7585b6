//! How a result compares with the phantom's truth, lesion by lesion.
//!
//! Counting follows the cortical lesion benchmark (arXiv 2507.12092, `metrics.py`): a found lesion P that touches the
//! true lesions K' has IoU_adj = |P and K'| / |P or (K' minus other found lesions)|. From 0.25 on it is a true
//! positive, below under-segmented, and without any overlap a false positive; a true lesion that nothing touches is
//! missed. Lesions are told apart by their labels, which on both sides number 26-connected components.

use std::collections::BTreeMap;

use ndarray::ArrayView3;
use serde::{Deserialize, Serialize};

use super::{LesionType, TrueLesion};

/// From this IoU_adj on a found lesion counts as a true positive.
pub const ENOUGH_OVERLAP: f64 = 0.25;

/// A true lesion beside what was found of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoreRow {
    /// Its number in the truth.
    pub lesion: u16,
    /// Where it lies in the cortex.
    pub kind: LesionType,
    /// Centre of mass, LPS, mm.
    pub centre_mm: [f64; 3],
    /// Its true volume, mm3.
    pub volume_mm3: f64,
    /// The found lesion that covers most of it; none where it was missed.
    pub found: Option<FoundLesion>,
}

/// A found lesion beside the truth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoundLesion {
    /// Its label in the result.
    pub label: u16,
    /// Voxels that it has.
    pub voxels: u64,
    /// IoU_adj; 0 for a false positive.
    pub overlap: f64,
}

/// The whole comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// One row for each true lesion, by label.
    pub rows: Vec<ScoreRow>,
    /// Found lesions that touch no true one, by label.
    pub false_positives: Vec<FoundLesion>,
    /// Found lesions with an IoU_adj of at least 0.25.
    pub true_positives: usize,
    /// Found lesions that touch true ones with less.
    pub under_segmented: usize,
    /// True lesions that nothing touches.
    pub missed: usize,
    /// 2 TP / (2 TP + FP + USL + FN); 1 where there is nothing to find and nothing found.
    pub f1: f64,
}

/// Why nothing can be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the result has {found:?} voxels and the truth {truth:?} (slices, rows, columns); bring both to the scan's grid"
)]
pub struct ScoreError {
    truth: (usize, usize, usize),
    found: (usize, usize, usize),
}

/// Compares label maps (axes slice, row, column; 0 is none) on the same grid.
///
/// # Errors
/// [`ScoreError`] where the grids differ in size.
pub fn score(
    truth: &[TrueLesion],
    truth_labels: ArrayView3<'_, u16>,
    found_labels: ArrayView3<'_, u16>,
) -> Result<Score, ScoreError> {
    if truth_labels.dim() != found_labels.dim() {
        return Err(ScoreError { truth: truth_labels.dim(), found: found_labels.dim() });
    }
    let mut true_voxels: BTreeMap<u16, u64> = BTreeMap::new();
    let mut found_voxels: BTreeMap<u16, u64> = BTreeMap::new();
    let mut shared: BTreeMap<(u16, u16), u64> = BTreeMap::new();
    for (&known, &found) in truth_labels.iter().zip(&found_labels) {
        if known > 0 {
            *true_voxels.entry(known).or_default() += 1;
        }
        if found > 0 {
            *found_voxels.entry(found).or_default() += 1;
        }
        if known > 0 && found > 0 {
            *shared.entry((known, found)).or_default() += 1;
        }
    }
    let judged: BTreeMap<u16, FoundLesion> = found_voxels
        .iter()
        .map(|(&label, &voxels)| {
            let touched = |known: &u16| shared.contains_key(&(*known, label));
            let union_of_true: u64 = true_voxels.iter().filter(|(known, _)| touched(known)).map(|(_, n)| n).sum();
            let within = |own: bool| -> u64 {
                let overlaps = shared.iter().filter(|((known, other), _)| touched(known) && (*other == label) == own);
                overlaps.map(|(_, n)| n).sum()
            };
            let (own, others) = (within(true), within(false));
            let overlap = own as f64 / (voxels + union_of_true - others - own) as f64;
            (label, FoundLesion { label, voxels, overlap })
        })
        .collect();
    let rows: Vec<ScoreRow> = truth
        .iter()
        .map(|lesion| {
            let covering = shared.iter().filter(|((known, _), _)| *known == lesion.label);
            let best = covering.max_by_key(|((_, found), n)| (**n, std::cmp::Reverse(*found)));
            ScoreRow {
                lesion: lesion.label,
                kind: lesion.kind,
                centre_mm: lesion.centre_mm,
                volume_mm3: lesion.volume_mm3,
                found: best.and_then(|((_, found), _)| judged.get(found).cloned()),
            }
        })
        .collect();
    let false_positives: Vec<FoundLesion> = judged.values().filter(|found| found.overlap == 0.0).cloned().collect();
    let true_positives = judged.values().filter(|found| found.overlap >= ENOUGH_OVERLAP).count();
    let under_segmented = judged.len() - true_positives - false_positives.len();
    let missed = rows.iter().filter(|row| row.found.is_none()).count();
    let all = 2 * true_positives + false_positives.len() + under_segmented + missed;
    let f1 = if all == 0 { 1.0 } else { 2.0 * true_positives as f64 / all as f64 };
    Ok(Score { rows, false_positives, true_positives, under_segmented, missed, f1 })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ndarray::Array3;

    use super::*;

    fn line(labels: &[u16]) -> Array3<u16> {
        Array3::from_shape_vec((1, 1, labels.len()), labels.to_vec()).unwrap()
    }

    fn lesions(count: u16) -> Vec<TrueLesion> {
        let lesion =
            |label| TrueLesion { label, kind: LesionType::Subpial, centre_mm: [0.0; 3], volume_mm3: 5.0, voxels: 1 };
        (1..=count).map(lesion).collect()
    }

    #[test]
    fn found_missed_and_false_lesions_are_told_apart() {
        let truth = line(&[1, 1, 0, 2, 2, 0, 3, 3, 3, 3, 3, 0, 0]);
        let found = line(&[7, 7, 7, 0, 0, 0, 8, 0, 0, 0, 0, 0, 9]);
        let score = score(&lesions(3), truth.view(), found.view()).unwrap();
        assert_eq!((score.true_positives, score.under_segmented, score.missed), (1, 1, 1));
        assert_eq!(score.rows[0].found, Some(FoundLesion { label: 7, voxels: 3, overlap: 2.0 / 3.0 }));
        assert_eq!(score.rows[1].found, None);
        assert_eq!(score.rows[2].found, Some(FoundLesion { label: 8, voxels: 1, overlap: 0.2 }));
        assert_eq!(score.false_positives, [FoundLesion { label: 9, voxels: 1, overlap: 0.0 }]);
        assert_eq!(score.f1, 2.0 / 5.0);
    }

    #[test]
    fn a_lesion_found_in_two_parts_is_not_held_against_either() {
        let truth = line(&[1, 1, 1, 1]);
        let found = line(&[1, 1, 0, 2]);
        let score = score(&lesions(1), truth.view(), found.view()).unwrap();
        // Part 1: 2 / |{0, 1} or {0, 1, 2}|; part 2: 1 / |{3} or {2, 3}|.
        assert_eq!(score.rows[0].found, Some(FoundLesion { label: 1, voxels: 2, overlap: 2.0 / 3.0 }));
        assert_eq!((score.true_positives, score.f1), (2, 1.0));
    }

    #[test]
    fn nothing_to_find_and_nothing_found_is_perfect() {
        let none = line(&[0, 0]);
        assert_eq!(score(&[], none.view(), none.view()).unwrap().f1, 1.0);
        assert_eq!(score(&[], none.view(), line(&[1, 0]).view()).unwrap().f1, 0.0);
    }

    #[test]
    fn other_grids_are_refused() {
        assert!(score(&[], line(&[0]).view(), line(&[0, 0]).view()).is_err());
    }
}
