//! The report of a sample series, for tests of what is made from a report.

use super::{
    fixture::Sample,
    report::{Report, ReportInput},
};
use crate::{
    digest::Digest,
    rows::{Finding, LesionVerdict, PatientKey, ReportRow, ReportStatus, RunOrder, RunOutcome},
};

/// A verdict on the lesion with this label.
pub(super) fn verdict(label: u32, verdict: LesionVerdict, comment: &str) -> Finding {
    Finding { tracking_uid: format!("2.25.{}", 100 + label), verdict, reader: "Dr A".into(), comment: comment.into() }
}

/// What the revision says.
pub(super) fn row(status: ReportStatus, verdicts: Vec<Finding>) -> ReportRow {
    let run = RunOrder {
        run_key: Digest([1; 32]),
        study_uid: "1.2.3".into(),
        series_uid: "1.2.3.4".into(),
        stack: "M".into(),
        model: Digest([5; 32]),
        members: vec![1],
        inputs: Vec::new(),
    };
    ReportRow {
        study_uid: "1.2.3".into(),
        pipeline: "cortical-lesions".into(),
        run: (status == ReportStatus::Final).then_some(run),
        status,
        demographics_digest: Digest([2; 32]),
        not_used: Vec::new(),
        doubts: Vec::new(),
        verdicts,
        visits: Vec::new(),
        without: Vec::new(),
        content: Digest([3; 32]),
    }
}

/// What the run gave.
pub(super) fn outcome(sample: &Sample) -> RunOutcome {
    RunOutcome {
        run_key: Digest([1; 32]),
        mask: Digest([4; 32]),
        probability: None,
        size: sample.grid.size.map(|side| side as u32),
        spacing_um: [700, 900, 1100],
        affine_nm: None,
        frame_of_reference_uid: "1.2.3.5".into(),
        intensity_scale: "stored values".into(),
        notes: vec!["a <single> slice".into()],
        lesions: sample.lesions.clone(),
        alignments: Vec::new(),
        of_visits: false,
        domain: None,
    }
}

/// Revision 2 of the sample's report.
pub(super) fn report(sample: &Sample, status: ReportStatus, verdicts: Vec<Finding>) -> Report {
    of(&outcome(sample), status, verdicts)
}

/// Revision 2 of a report on an outcome.
pub(super) fn of(outcome: &RunOutcome, status: ReportStatus, verdicts: Vec<Finding>) -> Report {
    Report::new(&ReportInput {
        row: &row(status, verdicts),
        outcome: Some(outcome),
        patient: &PatientKey { issuer: "hospital".into(), id: "P1".into() },
        uid: "2.25.7",
        revision: 2,
        supersedes: Some("2.25.6"),
        created: 1_709_164_799_999,
        model: ("blob-filter", "1"),
        segmentation: Some("2.25.8"),
    })
    .unwrap()
}
