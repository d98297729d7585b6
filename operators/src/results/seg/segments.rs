//! The Segment Sequence (PS3.3 C.8.20.4): one segment a lesion, or one that says that none was found.

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use super::{
    Algorithm,
    codes::{
        ARTIFICIAL_INTELLIGENCE, BRAIN, LESION, MORPHOLOGICALLY_ABNORMAL, coded, short, single, text as text_element,
    },
    text::ascii,
};
use crate::rows::LesionRow;

/// The items of the Segment Sequence, numbered from 1.
pub(super) fn segments(lesions: &[LesionRow], algorithm: &Algorithm<'_>) -> Vec<InMemDicomObject> {
    if lesions.is_empty() {
        let description = "The algorithm found no lesion; all frames of this segment are zero";
        return vec![segment(1, "No lesion found", description, None, algorithm)];
    }
    (1..=u16::MAX)
        .zip(lesions)
        .map(|(number, lesion)| {
            let name = format!("Lesion {}", lesion.label);
            let description = format!(
                "{}.{:03} mm3, mean probability {} %",
                lesion.volume_nl / 1000,
                lesion.volume_nl % 1000,
                (lesion.probability_permille + 5) / 10
            );
            segment(number, &name, &description, Some(&lesion.tracking_uid), algorithm)
        })
        .collect()
}

fn segment(
    number: u16,
    label: &str,
    description: &str,
    tracking_uid: Option<&str>,
    algorithm: &Algorithm<'_>,
) -> InMemDicomObject {
    let name = ascii(algorithm.name, 64);
    let mut item = InMemDicomObject::from_element_iter([
        coded(tags::ANATOMIC_REGION_SEQUENCE, BRAIN),
        coded(tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE, MORPHOLOGICALLY_ABNORMAL),
        short(tags::SEGMENT_NUMBER, number),
        text_element(tags::SEGMENT_LABEL, VR::LO, label),
        text_element(tags::SEGMENT_DESCRIPTION, VR::ST, description),
        single(
            tags::SEGMENTATION_ALGORITHM_IDENTIFICATION_SEQUENCE,
            [
                coded(tags::ALGORITHM_FAMILY_CODE_SEQUENCE, ARTIFICIAL_INTELLIGENCE),
                text_element(tags::ALGORITHM_VERSION, VR::LO, ascii(algorithm.version, 64)),
                text_element(tags::ALGORITHM_PARAMETERS, VR::LT, format!("model {}", algorithm.digest)),
                text_element(tags::ALGORITHM_NAME, VR::LO, name.clone()),
            ],
        ),
        text_element(tags::SEGMENT_ALGORITHM_TYPE, VR::CS, "AUTOMATIC"),
        text_element(tags::SEGMENT_ALGORITHM_NAME, VR::LO, name),
        coded(tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE, LESION),
    ]);
    if let Some(uid) = tracking_uid {
        item.put(DataElement::new(tags::TRACKING_ID, VR::UT, PrimitiveValue::from(label)));
        item.put(DataElement::new(tags::TRACKING_UID, VR::UI, PrimitiveValue::from(uid)));
    }
    item
}
