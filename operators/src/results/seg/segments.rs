//! The Segment Sequence (PS3.3 C.8.20.4): one segment a lesion, or one that says that there is none.

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use crate::{
    results::{
        dicom::{
            Algorithm,
            codes::{ARTIFICIAL_INTELLIGENCE, BRAIN, LESION, MORPHOLOGICALLY_ABNORMAL},
            elements::{coded, element, short, single, text as text_element},
            text::{ascii, written},
        },
        judged::finding,
    },
    rows::{Finding, LesionRow, LesionVerdict},
};

/// The items of the Segment Sequence, numbered from 1. What of a reader's text could not be written is added to
/// `notes`.
pub(super) fn segments(
    lesions: &[LesionRow],
    findings: &[Finding],
    algorithm: &Algorithm<'_>,
    charset: &str,
    notes: &mut Vec<String>,
) -> Vec<InMemDicomObject> {
    if lesions.is_empty() {
        let rejected = findings.iter().filter(|finding| finding.verdict == LesionVerdict::Rejected).count();
        let (name, description) = match rejected {
            0 => ("No lesion found", "The algorithm found no lesion; all frames of this segment are zero".to_owned()),
            _ => (
                "No lesion left",
                format!("Readers rejected all lesions ({rejected}) that the algorithm found; all frames are zero"),
            ),
        };
        return vec![segment(1, name.into(), &description, None, algorithm)];
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
            let label = match finding(findings, lesion).map(|finding| &finding.verdict) {
                Some(LesionVerdict::Relabelled(text)) if !text.trim().is_empty() => written(text, charset)
                    .unwrap_or_else(|| {
                        notes.push(format!(
                            "{name}: characters of its new label that the source's character set lacks are written as _"
                        ));
                        ascii(text, 64).into_bytes()
                    }),
                _ => name.clone().into_bytes(),
            };
            segment(number, label, &description, Some((&name, &lesion.tracking_uid)), algorithm)
        })
        .collect()
}

/// One segment; `tracking` is its Tracking ID and UID.
fn segment(
    number: u16,
    label: Vec<u8>,
    description: &str,
    tracking: Option<(&str, &str)>,
    algorithm: &Algorithm<'_>,
) -> InMemDicomObject {
    let name = ascii(algorithm.name, 64);
    let mut item = InMemDicomObject::from_element_iter([
        coded(tags::ANATOMIC_REGION_SEQUENCE, BRAIN),
        coded(tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE, MORPHOLOGICALLY_ABNORMAL),
        short(tags::SEGMENT_NUMBER, number),
        element(tags::SEGMENT_LABEL, VR::LO, label),
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
    if let Some((id, uid)) = tracking {
        item.put(DataElement::new(tags::TRACKING_ID, VR::UT, PrimitiveValue::from(id)));
        item.put(DataElement::new(tags::TRACKING_UID, VR::UI, PrimitiveValue::from(uid)));
    }
    item
}
