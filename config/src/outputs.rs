//! What a pipeline makes of a study: the outputs that a destination may be sent.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which part of a pipeline's result an object is. The order is that in which objects are made and sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// DICOM Segmentation, BINARY, one segment a lesion.
    #[serde(alias = "Segmentation")]
    Segmentation,
    /// DICOM Segmentation, BINARY, all lesions as one segment.
    WholeSegmentation,
    /// DICOM Label Map Segmentation.
    LabelmapSegmentation,
    /// DICOM Segmentation, FRACTIONAL: the probability of a lesion.
    ProbabilityMap,
    /// Comprehensive 3D SR (TID 1500).
    StructuredReport,
    /// The page for people as Encapsulated PDF.
    EncapsulatedReport,
    /// Lesions in three planes as Secondary Capture.
    KeyImages,
    /// `report.json`.
    #[serde(alias = "Report")]
    Report,
    /// The page for people, PDF.
    Page,
    /// FHIR R4 transaction bundle.
    Fhir,
    /// NIfTI label and probability maps as BIDS derivatives.
    Derivatives,
    /// Key Object Selection that rejects what earlier revisions sent (IHE IOCM).
    RejectionNote,
}

impl Role {
    /// All of them, in order.
    pub const ALL: [Role; 12] = [
        Role::Segmentation,
        Role::WholeSegmentation,
        Role::LabelmapSegmentation,
        Role::ProbabilityMap,
        Role::StructuredReport,
        Role::EncapsulatedReport,
        Role::KeyImages,
        Role::Report,
        Role::Page,
        Role::Fhir,
        Role::Derivatives,
        Role::RejectionNote,
    ];

    /// The name that configuration and ledger use.
    pub fn name(self) -> &'static str {
        match self {
            Role::Segmentation => "segmentation",
            Role::WholeSegmentation => "whole-segmentation",
            Role::LabelmapSegmentation => "labelmap-segmentation",
            Role::ProbabilityMap => "probability-map",
            Role::StructuredReport => "structured-report",
            Role::EncapsulatedReport => "encapsulated-report",
            Role::KeyImages => "key-images",
            Role::Report => "report",
            Role::Page => "page",
            Role::Fhir => "fhir",
            Role::Derivatives => "derivatives",
            Role::RejectionNote => "rejection-note",
        }
    }

    /// True for a DICOM object, which a Storage SCP can take.
    pub fn is_dicom(self) -> bool {
        !matches!(self, Role::Report | Role::Page | Role::Fhir | Role::Derivatives)
    }

    /// True for what is made of a withdrawn report as well: it says that it was withdrawn.
    pub fn tells_withdrawal(self) -> bool {
        matches!(
            self,
            Role::EncapsulatedReport | Role::Report | Role::Page | Role::Fhir | Role::Derivatives | Role::RejectionNote
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_written_by_its_name_and_read_from_older_ledgers() {
        for role in Role::ALL {
            assert_eq!(serde_json::to_value(role).ok(), Some(role.name().into()));
        }
        let older: Result<Vec<Role>, _> = serde_json::from_str(r#"["Segmentation", "Report"]"#);
        assert_eq!(older.ok(), Some(vec![Role::Segmentation, Role::Report]));
        assert!(Role::ALL.is_sorted());
    }
}
