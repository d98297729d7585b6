//! Identities of the objects that leave: stable, so that a retry or a run from scratch names the same object alike.
//!
//! The encoding is frozen by golden vectors: a change of it would make a destination hold each result twice.

use dicom_dictionary_std::uids;

use crate::{digest::Digest, rows::Role};

/// What an output object is made from; equal facts give the same object.
#[derive(Clone, Copy, Debug)]
pub struct ObjectFacts<'a> {
    /// `ReportRow::content`: run, demographics, status and the series that were not used.
    pub content: Digest,
    /// StudyInstanceUID.
    pub study_uid: &'a str,
    /// SeriesInstanceUID of the series that was run; empty for a withdrawn report.
    pub series_uid: &'a str,
    /// Name of the pipeline.
    pub pipeline: &'a str,
    /// Which part of the result.
    pub role: Role,
    /// Revision of the report.
    pub revision: u32,
}

/// The ObjectKey. Its `uid()` is the SOPInstanceUID.
pub fn object_key(facts: &ObjectFacts<'_>) -> Digest {
    Digest::of_parts(
        "sulcus object 1",
        [
            facts.content.0.as_slice(),
            facts.study_uid.as_bytes(),
            facts.series_uid.as_bytes(),
            facts.pipeline.as_bytes(),
            facts.role.name().as_bytes(),
            &facts.revision.to_le_bytes(),
        ],
    )
}

/// SOPClassUID of the objects of a role; none where it is no DICOM object.
pub fn sop_class_uid(role: Role) -> Option<&'static str> {
    match role {
        Role::Segmentation | Role::WholeSegmentation | Role::ProbabilityMap => Some(uids::SEGMENTATION_STORAGE),
        Role::LabelmapSegmentation => Some(uids::LABEL_MAP_SEGMENTATION_STORAGE),
        Role::StructuredReport => Some(uids::COMPREHENSIVE3_DSR_STORAGE),
        Role::EncapsulatedReport => Some(uids::ENCAPSULATED_PDF_STORAGE),
        Role::KeyImages => Some(uids::SECONDARY_CAPTURE_IMAGE_STORAGE),
        Role::RejectionNote => Some(uids::KEY_OBJECT_SELECTION_DOCUMENT_STORAGE),
        Role::Report | Role::Page | Role::Fhir | Role::Derivatives => None,
    }
}

/// SeriesInstanceUID of an object. Each revision has a series of its own, since series attributes (description,
/// software version, demographics) may differ between revisions and must agree within one series.
pub fn series_uid(object: &Digest) -> String {
    Digest::of_parts("sulcus series 1", [object.0.as_slice()]).uid()
}

/// SOPInstanceUID of part `part` (from 1) of an object that is split; the first part has the object's own.
pub fn part_uid(sop_instance_uid: &str, part: u32) -> String {
    match part {
        0 | 1 => sop_instance_uid.to_owned(),
        _ => Digest::of_parts("sulcus part 1", [sop_instance_uid.as_bytes(), &part.to_le_bytes()]).uid(),
    }
}

/// DimensionOrganizationUID (0020,9164) of the object with this SOPInstanceUID.
pub fn dimension_organization_uid(sop_instance_uid: &str) -> String {
    Digest::of_parts("sulcus dimension organization 1", [sop_instance_uid.as_bytes()]).uid()
}

/// Device Observer UID (121012, DCM) of the installation with this DeviceSerialNumber.
pub fn device_uid(serial_number: &str) -> String {
    Digest::of_parts("sulcus device 1", [serial_number.as_bytes()]).uid()
}

/// True for a UID that PS3.5 9.1 allows: at most 64 characters, components of digits without leading zeros.
pub fn is_valid_uid(uid: &str) -> bool {
    uid.len() <= 64
        && uid.split('.').all(|part| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) && (part == "0" || !part.starts_with('0'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> ObjectFacts<'static> {
        ObjectFacts {
            content: Digest([7; 32]),
            study_uid: "1.2.3",
            series_uid: "1.2.3.4",
            pipeline: "cortical-lesions",
            role: Role::Segmentation,
            revision: 1,
        }
    }

    #[test]
    fn the_encoding_of_identities_is_frozen() {
        let key = object_key(&facts());
        assert_eq!(key.to_string(), "ecb84fe74d04de868864bacce27abe182cebcd6cc67a19b058bcd7fc22fac5cf");
        assert_eq!(key.uid(), "2.25.314654810263110638083228041343414222360");
        assert_eq!(series_uid(&key), "2.25.119135060337403701967610305609272757539");
        assert_eq!(part_uid("1.2.3", 1), "1.2.3");
        assert_eq!(part_uid("1.2.3", 2), "2.25.231727841432628561117098982259513932525");
        assert_eq!(dimension_organization_uid("1.2.3"), "2.25.22461396519750358355185849130116315731");
        assert_eq!(device_uid("site-1"), "2.25.215987213819348555070716582313087236160");
    }

    #[test]
    fn every_fact_tells_objects_apart() {
        let base = object_key(&facts());
        let others = [
            ObjectFacts { content: Digest([8; 32]), ..facts() },
            ObjectFacts { study_uid: "1.2.31", series_uid: ".2.3.4", ..facts() },
            ObjectFacts { series_uid: "1.2.3.5", ..facts() },
            ObjectFacts { pipeline: "other", ..facts() },
            ObjectFacts { role: Role::Report, ..facts() },
            ObjectFacts { revision: 2, ..facts() },
        ];
        for other in &others {
            assert_ne!(object_key(other), base, "{other:?}");
        }
    }

    #[test]
    fn uids_that_the_standard_forbids_are_told() {
        assert!(is_valid_uid("1.2.840.10008.1.2"));
        assert!(is_valid_uid(&"1".repeat(64)));
        for bad in ["", "1..2", "1.02", "1.2.", "1.a", &"1".repeat(65), " 1.2"] {
            assert!(!is_valid_uid(bad), "{bad:?}");
        }
    }
}
