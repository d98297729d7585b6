//! The lesions of a run, told apart by what readers said of them.

use std::collections::BTreeSet;

use ndarray::Array3;

use crate::rows::{Finding, LesionRow, LesionVerdict};

/// What a reader said of a lesion; none where nobody did.
pub fn finding<'a>(findings: &'a [Finding], lesion: &LesionRow) -> Option<&'a Finding> {
    findings.iter().find(|finding| finding.tracking_uid == lesion.tracking_uid)
}

/// True where a reader said that the lesion is none.
pub fn is_rejected(findings: &[Finding], lesion: &LesionRow) -> bool {
    finding(findings, lesion).is_some_and(|finding| finding.verdict == LesionVerdict::Rejected)
}

/// The lesions that no reader rejected, and the label map without the others' voxels.
pub fn without_rejected(
    findings: &[Finding],
    lesions: &[LesionRow],
    mut labels: Array3<u16>,
) -> (Vec<LesionRow>, Array3<u16>) {
    let (rejected, kept): (Vec<&LesionRow>, Vec<&LesionRow>) =
        lesions.iter().partition(|lesion| is_rejected(findings, lesion));
    let rejected: BTreeSet<u32> = rejected.into_iter().map(|lesion| lesion.label).collect();
    if !rejected.is_empty() {
        labels.map_inplace(|label| {
            if *label != 0 && rejected.contains(&u32::from(*label)) {
                *label = 0;
            }
        });
    }
    (kept.into_iter().cloned().collect(), labels)
}
