//! Writes a rejection note: a Key Object Selection (PS3.3 A.35.4, PS3.16 TID 2010) of objects that a destination is to
//! show no more, as IHE IOCM has it.
//!
//! Which objects those are, and whether a destination is told, is the engine's.

use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use thiserror::Error;

use super::dicom::{
    Header, Kind, Object, ObjectError, Reference, begin, check_reference,
    codes::Code,
    content::{PRIVATE_SCHEME, Relation, Words, code, coding_scheme, context, hierarchy, object, root, text},
    elements::sequence,
    part_10,
};

const QUALITY: Code = Code("113001", "DCM", "Rejected for Quality Reasons");
const PATIENT_SAFETY: Code = Code("113037", "DCM", "Rejected for Patient Safety Reasons");
const WORKLIST: Code = Code("113038", "DCM", "Incorrect Modality Worklist Entry");
const RETENTION: Code = Code("113039", "DCM", "Data Retention Policy Expired");
const TITLE_MODIFIER: Code = Code("113011", "DCM", "Document Title Modifier");
const DESCRIPTION: Code = Code("113012", "DCM", "Key Object Description");
/// CID 7011 is extensible; what it lists are faults of acquisition and processing.
const SUPERSEDED: Code = Code("superseded", PRIVATE_SCHEME, "Superseded by a later revision");
const WITHDRAWN: Code = Code("withdrawn", PRIVATE_SCHEME, "Withdrawn without a successor");

/// What is to be known of a rejection.
#[derive(Clone, Copy, Debug)]
pub struct KosInput<'a> {
    /// Whose object it is, and which; its source is an instance of the study that the rejected objects are in.
    pub header: Header<'a>,
    /// Why they are rejected.
    pub reason: Reason,
    /// The same in words, for people.
    pub why: &'a str,
    /// The rejected objects, all of one study.
    pub objects: &'a [Reference<'a>],
}

/// Why objects are rejected: titles of CID 7010.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A later revision says it better: rejected for quality reasons, which lets an archive still show them on demand.
    Superseded,
    /// What they were made from is gone or can no longer be used: for quality reasons as well.
    Withdrawn,
    /// They are under the wrong patient, or would mislead: for patient safety, after which nobody may see them.
    PatientSafety,
    /// What they were made from was acquired under a wrong worklist entry.
    WrongWorklistEntry,
    /// They are kept no longer.
    Retention,
}

/// Why no note was written.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum KosError {
    /// There is nothing to reject.
    #[error("a rejection note lists no object; name the objects that it rejects")]
    Empty,
    /// A note stands in the study of what it rejects.
    #[error("a rejected object is of study {found} and the note of study {expected}; write one note a study")]
    OtherStudy {
        /// The object's study.
        found: String,
        /// The note's study.
        expected: String,
    },
    /// What holds for every object.
    #[error(transparent)]
    Object(#[from] ObjectError),
}

/// Writes the rejection note.
///
/// # Errors
/// [`KosError`] where it could not be valid.
pub fn encode(input: &KosInput<'_>) -> Result<Object, KosError> {
    if input.objects.is_empty() {
        return Err(KosError::Empty);
    }
    input.objects.iter().try_for_each(check_reference)?;
    let mut notes = Vec::new();
    let kind = Kind {
        sop_class_uid: uids::KEY_OBJECT_SELECTION_DOCUMENT_STORAGE,
        modality: "KO",
        series_description: "Sulcus rejection note",
    };
    let (mut document, inherited) = begin(&input.header, &kind, &mut notes)?;
    if let Some(other) = input.objects.iter().find(|object| object.study_instance_uid != inherited.study_uid) {
        let found = other.study_instance_uid.to_owned();
        return Err(KosError::OtherStudy { found, expected: inherited.study_uid });
    }
    document.put(sequence(tags::REFERENCED_PERFORMED_PROCEDURE_STEP_SEQUENCE, Vec::new()));
    document.put(coding_scheme());
    let objects = input.objects.iter().copied();
    document.put(hierarchy(tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE, objects));
    let (title, modifier) = match input.reason {
        Reason::Superseded => (QUALITY, Some(SUPERSEDED)),
        Reason::Withdrawn => (QUALITY, Some(WITHDRAWN)),
        // TID 2010 has a modifier for reasons of quality alone.
        Reason::PatientSafety => (PATIENT_SAFETY, None),
        Reason::WrongWorklistEntry => (WORKLIST, None),
        Reason::Retention => (RETENTION, None),
    };
    let mut items = context(&input.header.equipment);
    items.extend(modifier.map(|modifier| code(Relation::ConceptMod, TITLE_MODIFIER, modifier)));
    let mut words = Words { charset: &inherited.charset, notes: &mut notes };
    items.extend(
        words.long("Why objects are rejected", input.why).map(|why| text(Relation::Contains, DESCRIPTION, why)),
    );
    items.extend(input.objects.iter().map(item));
    for element in root(title, "2010", items) {
        document.put(element);
    }
    Ok(Object { bytes: part_10(&document, None)?, notes })
}

/// Images are IMAGE items, all else is COMPOSITE.
fn item(rejected: &Reference<'_>) -> InMemDicomObject {
    const IMAGES: [&str; 5] = [
        uids::SEGMENTATION_STORAGE,
        uids::LABEL_MAP_SEGMENTATION_STORAGE,
        uids::SECONDARY_CAPTURE_IMAGE_STORAGE,
        uids::MULTI_FRAME_TRUE_COLOR_SECONDARY_CAPTURE_IMAGE_STORAGE,
        uids::PARAMETRIC_MAP_STORAGE,
    ];
    let value_type = if IMAGES.contains(&rejected.sop_class_uid) { "IMAGE" } else { "COMPOSITE" };
    object(value_type, None, (rejected.sop_class_uid, rejected.sop_instance_uid), None)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use dicom_object::from_reader;

    use super::*;
    use crate::results::fixture::Sample;

    const REJECTED: Reference<'_> = Reference {
        study_instance_uid: "1.2.3",
        series_instance_uid: "2.25.12",
        sop_class_uid: uids::SEGMENTATION_STORAGE,
        sop_instance_uid: "2.25.13",
    };

    fn titled(reason: Reason) -> String {
        let sample = Sample::new([4, 4, 2], &[]);
        let input = KosInput { header: sample.header(), reason, why: "later", objects: &[REJECTED] };
        let written = encode(&input).unwrap();
        assert_eq!(written.bytes, encode(&input).unwrap().bytes, "equal input gives equal bytes");
        let object = from_reader(written.bytes.as_slice()).unwrap();
        let title = object.element(tags::CONCEPT_NAME_CODE_SEQUENCE).unwrap();
        title.items().unwrap()[0].element(tags::CODE_VALUE).unwrap().to_str().unwrap().into_owned()
    }

    #[test]
    fn a_note_is_titled_by_its_reason() {
        assert_eq!(titled(Reason::Superseded), "113001");
        assert_eq!(titled(Reason::Withdrawn), "113001");
        assert_eq!(titled(Reason::PatientSafety), "113037");
        assert_eq!(titled(Reason::WrongWorklistEntry), "113038");
        assert_eq!(titled(Reason::Retention), "113039");
    }

    #[test]
    fn a_note_of_nothing_or_of_another_study_is_refused() {
        let sample = Sample::new([4, 4, 2], &[]);
        let refused = |objects: &[Reference<'_>]| {
            let input = KosInput { header: sample.header(), reason: Reason::Superseded, why: "", objects };
            encode(&input).map(|_| ()).unwrap_err()
        };
        assert_eq!(refused(&[]), KosError::Empty);
        let other = Reference { study_instance_uid: "1.2.4", ..REJECTED };
        assert_eq!(
            refused(&[REJECTED, other]),
            KosError::OtherStudy { found: "1.2.4".into(), expected: "1.2.3".into() }
        );
        let long = "1".repeat(65);
        let long = Reference { sop_instance_uid: &long, ..REJECTED };
        assert!(matches!(refused(&[long]), KosError::Object(ObjectError::Uid { .. })));
    }
}
