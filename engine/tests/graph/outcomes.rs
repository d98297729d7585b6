//! What runs give in tests.

use sulcus_operators::{
    digest::Digest,
    rows::{LesionRow, RunOutcome},
};

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
        domain: None,
    }
}
