//! What runs give in tests.

use std::collections::BTreeSet;

use sulcus_engine::graph::RunToDo;
use sulcus_operators::{
    digest::Digest,
    registration::{Aligned, Alignment, Rigid},
    rows::{LesionRow, RunOutcome},
};

use crate::site::Site;

impl Site {
    /// What a run gives, compared with the visits of other studies that have lesions now.
    pub fn outcome_of(&self, run: &RunToDo) -> RunOutcome {
        let outcome = outcome(run.order.run_key);
        if !self.compares {
            return outcome;
        }
        let study_uid = &run.order.study_uid;
        let others = self.lesions().into_iter().filter(|lesion| lesion.study_uid != *study_uid);
        let visits: BTreeSet<(String, Digest)> = others.map(|lesion| (lesion.study_uid, lesion.run_key)).collect();
        let motion = Rigid { rotation: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], shift_mm: [0.0; 3] };
        let aligned = Aligned { motion, similarity_permille: 1000, overlap_permille: 1000 };
        let alignment = |(study_uid, run_key): &(String, Digest)| Alignment::new(study_uid, *run_key, &aligned);
        RunOutcome { alignments: visits.iter().map(alignment).collect(), ..outcome }
    }
}

/// The outcome of a run is decided by its key.
pub fn outcome(run_key: Digest) -> RunOutcome {
    outcome_of(run_key, u32::from(run_key.0[0] % 3))
}

/// An outcome with lesions 1 to `lesions`, which have the same tracking UIDs in every run.
pub fn outcome_of(run_key: Digest, lesions: u32) -> RunOutcome {
    let lesion = |label: u32| LesionRow {
        label,
        tracking_uid: format!("2.25.{label}"),
        voxels: 9,
        volume_nl: 9000,
        centroid_um: [0, 0, 0],
        box_first: [0, 0, 0],
        box_size: [3, 3, 1],
        mean_intensity_milli: 1,
        probability_permille: 600,
        peak_probability_permille: 900,
    };
    RunOutcome {
        run_key,
        mask: Digest::of(&run_key.0),
        probability: None,
        size: [1, 1, 1],
        spacing_um: [1000, 1000, 1000],
        affine_nm: None,
        frame_of_reference_uid: String::new(),
        intensity_scale: "stored".into(),
        notes: Vec::new(),
        lesions: (1..=lesions).map(lesion).collect(),
        alignments: Vec::new(),
        of_visits: false,
        domain: None,
    }
}
