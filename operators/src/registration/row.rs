//! What a run's outcome records of an alignment.

use serde::{Deserialize, Serialize};

use super::{Aligned, RigidRow};
use crate::digest::Digest;

/// How a run's scan lies to that of an earlier visit, whose lesions it was compared with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Alignment {
    /// StudyInstanceUID of the earlier visit.
    pub study_uid: String,
    /// The earlier visit's run.
    pub run_key: Digest,
    /// Takes a point of this run's patient space to the earlier visit's.
    pub transform: RigidRow,
    /// See [`Aligned::similarity_permille`].
    pub similarity_permille: u32,
    /// See [`Aligned::overlap_permille`].
    pub overlap_permille: u32,
}

impl Alignment {
    /// Of the run of an earlier visit.
    pub fn new(study_uid: &str, run_key: Digest, aligned: &Aligned) -> Self {
        Alignment {
            study_uid: study_uid.to_owned(),
            run_key,
            transform: aligned.motion.row(),
            similarity_permille: aligned.similarity_permille,
            overlap_permille: aligned.overlap_permille,
        }
    }
}
