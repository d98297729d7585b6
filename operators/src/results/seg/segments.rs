//! The Segment Sequence (PS3.3 C.8.20.4): one segment a lesion, one for all, or one that says that there is none.

use std::ops::Range;

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use super::{SegInput, SegKind};
use crate::{
    results::{
        dicom::{
            Algorithm,
            codes::{ARTIFICIAL_INTELLIGENCE, BACKGROUND, BRAIN, LESION, MORPHOLOGICALLY_ABNORMAL},
            elements::{coded, element, short, single, text as text_element},
            text::{ascii, written},
        },
        judged::finding,
    },
    rows::{LesionRow, LesionVerdict},
};

/// The items of the Segment Sequence for a part of the lesions, numbered from 1; before them, in a label map, the
/// background. What of a reader's text could not be written is added to `notes`.
pub(super) fn segments(
    input: &SegInput<'_>,
    part: Range<usize>,
    charset: &str,
    notes: &mut Vec<String>,
) -> Vec<InMemDicomObject> {
    let lesions = input.lesions.get(part).unwrap_or_default();
    let one = |label: &str, description: &str| vec![segment(1, label.into(), description, None, &input.algorithm)];
    match input.kind {
        SegKind::Probability(_) => one(
            "Lesion probability",
            "What the model gave for each voxel: 0 is no lesion, 255 is certain; readers' verdicts do not change it",
        ),
        SegKind::AllAsOne if !lesions.is_empty() => {
            let volume = cubic_millimetres(lesions.iter().map(|lesion| lesion.volume_nl).sum());
            one("All lesions", &format!("{} lesions, {volume}", lesions.len()))
        }
        SegKind::Lesions | SegKind::AllAsOne if lesions.is_empty() => vec![nothing(input)],
        SegKind::Lesions | SegKind::AllAsOne => each(input, lesions, charset, notes),
        SegKind::LabelMap if lesions.is_empty() => vec![background(&input.algorithm), nothing(input)],
        SegKind::LabelMap => {
            let mut items = vec![background(&input.algorithm)];
            items.extend(each(input, lesions, charset, notes));
            items
        }
    }
}

/// The segment that says that there is no lesion.
fn nothing(input: &SegInput<'_>) -> InMemDicomObject {
    let rejected = input.findings.iter().filter(|finding| finding.verdict == LesionVerdict::Rejected).count();
    let (name, description) = match rejected {
        0 => ("No lesion found", "The algorithm found no lesion; all frames of this segment are zero".to_owned()),
        _ => (
            "No lesion left",
            format!("Readers rejected all lesions ({rejected}) that the algorithm found; all frames are zero"),
        ),
    };
    segment(1, name.into(), &description, None, &input.algorithm)
}

fn each(input: &SegInput<'_>, lesions: &[LesionRow], charset: &str, notes: &mut Vec<String>) -> Vec<InMemDicomObject> {
    (1..=u16::MAX)
        .zip(lesions)
        .map(|(number, lesion)| {
            let name = format!("Lesion {}", lesion.label);
            let description = format!(
                "{}, mean probability {} %",
                cubic_millimetres(lesion.volume_nl),
                (lesion.probability_permille + 5) / 10
            );
            let label = match finding(input.findings, lesion).map(|finding| &finding.verdict) {
                Some(LesionVerdict::Relabelled(text)) if !text.trim().is_empty() => written(text, charset)
                    .unwrap_or_else(|| {
                        notes.push(format!(
                            "{name}: characters of its new label that the source's character set lacks are written as _"
                        ));
                        ascii(text, 64).into_bytes()
                    }),
                _ => name.clone().into_bytes(),
            };
            segment(number, label, &description, Some((&name, &lesion.tracking_uid)), &input.algorithm)
        })
        .collect()
}

fn cubic_millimetres(nanolitres: u64) -> String {
    format!("{}.{:03} mm3", nanolitres / 1000, nanolitres % 1000)
}

/// What pixel value 0 of a label map is.
fn background(algorithm: &Algorithm<'_>) -> InMemDicomObject {
    InMemDicomObject::from_element_iter([
        coded(tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE, BACKGROUND),
        short(tags::SEGMENT_NUMBER, 0),
        text_element(tags::SEGMENT_LABEL, VR::LO, "Background"),
        text_element(tags::SEGMENT_ALGORITHM_TYPE, VR::CS, "AUTOMATIC"),
        text_element(tags::SEGMENT_ALGORITHM_NAME, VR::LO, ascii(algorithm.name, 64)),
        coded(tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE, BACKGROUND),
    ])
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
