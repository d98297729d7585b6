//! The page as a DICOM object: Encapsulated PDF Storage (PS3.3 A.45.1), for archives that take no bare PDF.
//!
//! What stands on the page is `page`'s.

use std::collections::BTreeSet;

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;

use super::{
    RESEARCH_USE,
    dicom::{
        Header, Kind, Object, ObjectError, begin, check_uid,
        codes::IMAGING_MEASUREMENT_REPORT,
        elements::{Element, coded, sequence, text},
        part_10,
    },
};
use crate::volume::FrameRef;

/// What the object is made from.
#[derive(Clone, Copy, Debug)]
pub struct EncapsulatedInput<'a> {
    /// Whose object it is, and which.
    pub header: Header<'a>,
    /// The PDF file.
    pub pdf: &'a [u8],
    /// The source of each slice of the volume; empty for a withdrawn report.
    pub frames: &'a [FrameRef],
}

/// Wraps the page.
///
/// # Errors
/// [`ObjectError`] where a UID is not valid or the source cannot be read.
pub fn encode(input: &EncapsulatedInput<'_>) -> Result<Object, ObjectError> {
    let mut notes = Vec::new();
    let kind = Kind {
        sop_class_uid: uids::ENCAPSULATED_PDF_STORAGE,
        modality: "DOC",
        series_description: "Sulcus lesion report",
    };
    let (mut object, _) = begin(&input.header, &kind, &mut notes)?;
    for (tag, vr, value) in [
        (tags::CONVERSION_TYPE, VR::CS, "WSD"),
        // The page names the patient.
        (tags::BURNED_IN_ANNOTATION, VR::CS, "YES"),
        (tags::VERIFICATION_FLAG, VR::CS, "UNVERIFIED"),
        (tags::DOCUMENT_TITLE, VR::ST, &format!("Lesion report; {}", RESEARCH_USE.to_lowercase())),
        (tags::MIME_TYPE_OF_ENCAPSULATED_DOCUMENT, VR::LO, "application/pdf"),
    ] {
        object.put(text(tag, vr, value));
    }
    object.put(DataElement::empty(tags::ACQUISITION_DATE_TIME, VR::DT));
    object.put(coded(tags::CONCEPT_NAME_CODE_SEQUENCE, IMAGING_MEASUREMENT_REPORT));
    if !input.frames.is_empty() {
        object.put(sources(tags::SOURCE_INSTANCE_SEQUENCE, input.frames)?);
    }
    let length = u32::try_from(input.pdf.len()).map_err(|error| ObjectError::Encoding(error.to_string()))?;
    object.put(DataElement::new(tags::ENCAPSULATED_DOCUMENT_LENGTH, VR::UL, PrimitiveValue::from(length)));
    let mut document = input.pdf.to_vec();
    if document.len() % 2 == 1 {
        document.push(0);
    }
    object.put(DataElement::new(tags::ENCAPSULATED_DOCUMENT, VR::OB, PrimitiveValue::U8(document.into())));
    Ok(Object { bytes: part_10(&object, None)?, notes })
}

/// A sequence of references to source instances, each once, in the order of slices.
pub(super) fn sources(tag: dicom_core::Tag, frames: &[FrameRef]) -> Result<Element, ObjectError> {
    let mut seen = BTreeSet::new();
    let mut items = Vec::new();
    for frame in frames.iter().filter(|frame| seen.insert(frame.sop_instance_uid.as_str())) {
        check_uid("SOPClassUID of a source", &frame.sop_class_uid)?;
        check_uid("SOPInstanceUID of a source", &frame.sop_instance_uid)?;
        items.push(InMemDicomObject::from_element_iter([
            text(tags::REFERENCED_SOP_CLASS_UID, VR::UI, &frame.sop_class_uid),
            text(tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, &frame.sop_instance_uid),
        ]));
    }
    Ok(sequence(tag, items))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::results::fixture::Sample;

    #[test]
    fn the_document_comes_out_as_it_went_in_with_its_length() {
        let sample = Sample::new([7, 5, 4], &[]);
        for pdf in [b"%PDF-1.7 odd".as_slice(), b"%PDF-1.7 even"] {
            let input = EncapsulatedInput { header: sample.header(), pdf, frames: &sample.frames };
            let object = encode(&input).unwrap();
            assert_eq!(object.bytes, encode(&input).unwrap().bytes);
            let read = dicom_object::from_reader(object.bytes.as_slice()).unwrap();
            let stored = read.element(tags::ENCAPSULATED_DOCUMENT).unwrap().to_bytes().unwrap().into_owned();
            let length: usize = read.element(tags::ENCAPSULATED_DOCUMENT_LENGTH).unwrap().to_int().unwrap();
            assert_eq!(stored.len() % 2, 0);
            assert_eq!(&stored[..length], pdf);
            let references = read.element(tags::SOURCE_INSTANCE_SEQUENCE).unwrap().items().unwrap();
            assert_eq!(references.len(), 4);
        }
    }

    #[test]
    fn frames_of_one_instance_are_one_reference_and_a_bad_one_is_refused() {
        let sample = Sample::new([7, 5, 4], &[]);
        let mut frames = sample.frames.clone();
        frames.iter_mut().for_each(|frame| frame.sop_instance_uid = "1.2.3.4.1".to_owned());
        let references = sources(tags::SOURCE_INSTANCE_SEQUENCE, &frames).unwrap();
        assert_eq!(references.items().unwrap().len(), 1);
        frames[0].sop_instance_uid = "1".repeat(65);
        let input = EncapsulatedInput { header: sample.header(), pdf: b"%PDF", frames: &frames };
        assert!(matches!(encode(&input), Err(ObjectError::Uid { .. })));
    }
}
