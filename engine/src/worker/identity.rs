//! The lesions of a run that are lesions of a run before keep their tracking UIDs, and so what readers said of them.

use ndarray::ArrayView3;
use sulcus_operators::{
    lesions::tracking::{Followed, Found, affine_nm, follow},
    rows::LesionRow,
    volume::Volume,
};

use super::run::load_labels;
use crate::{lanes::order::EarlierRun, results_store::ResultsStore};

/// Gives the lesions of a volume the tracking UIDs that they had in earlier runs (newest first) on the same series or
/// in the same frame of reference. Also says with which runs they could not be compared.
pub(super) fn keep_identities(
    results: &ResultsStore,
    volume: &Volume,
    labels: ArrayView3<'_, u16>,
    mut lesions: Vec<LesionRow>,
    earlier: &[EarlierRun],
) -> (Vec<LesionRow>, Vec<String>) {
    let new = Found { labels, affine_nm: affine_nm(&volume.grid), lesions: &lesions };
    let (mut followed, mut lost) = (Followed::new(), Vec::new());
    for EarlierRun { outcome, same_series } in earlier {
        if followed.len() == lesions.len() {
            break;
        }
        let same_space = !volume.frame_of_reference_uid.is_empty()
            && outcome.frame_of_reference_uid == volume.frame_of_reference_uid;
        if outcome.lesions.is_empty() || !(*same_series || same_space) {
            continue;
        }
        match load_labels(results, outcome) {
            Ok(labels) => {
                let was = Found { labels: labels.view(), affine_nm: outcome.affine_nm, lesions: &outcome.lesions };
                follow(&new, &was, &mut followed);
            }
            Err(failure) => {
                tracing::warn!(run = outcome.run_key.short(), reason = failure.reason, "lesions not compared");
                lost.push(format!(
                    "lesions were not compared with those of run {}, whose label map cannot be read: what readers \
                     said of these may be lost",
                    outcome.run_key.short()
                ));
            }
        }
    }
    for lesion in &mut lesions {
        if let Some(uid) = followed.remove(&lesion.label) {
            lesion.tracking_uid = uid;
        }
    }
    (lesions, lost)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ndarray::Array3;
    use sulcus_operators::{digest::Digest, rows::RunOutcome, volume::Grid};

    use super::*;
    use crate::worker::run::store_labels;

    const UNIT: [[f64; 4]; 4] =
        [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]];

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

    #[test]
    fn only_a_run_in_the_same_patient_space_gives_its_identities() {
        let folder = tempfile::tempdir().unwrap();
        let results = ResultsStore::open(folder.path()).unwrap();
        let labels = Array3::from_elem([2, 2, 2], 1u16);
        let outcome = RunOutcome {
            run_key: Digest::of(b"earlier"),
            mask: store_labels(&results, &labels).unwrap(),
            probability: None,
            size: [2; 3],
            spacing_um: [1000; 3],
            affine_nm: affine_nm(&volume().grid),
            frame_of_reference_uid: "1.2.3".to_owned(),
            intensity_scale: String::new(),
            notes: Vec::new(),
            lesions: vec![lesion("2.25.1")],
            alignments: Vec::new(),
        };
        let kept = |volume: &Volume, outcome: &RunOutcome, same_series| {
            let earlier = [EarlierRun { outcome: outcome.clone(), same_series }];
            let (lesions, lost) = keep_identities(&results, volume, labels.view(), vec![lesion("2.25.2")], &earlier);
            (lesions[0].tracking_uid.clone(), lost.len())
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
}
