//! One lesion: its measurement group (PS3.16 TID 1411), or, where a reader rejected it, an evaluation alone.

use super::{SrInput, axes::Extent, codes::*};
use crate::results::{
    dicom::{
        codes::{BRAIN, LESION, MORPHOLOGICALLY_ABNORMAL},
        content::{Items, Relation, Words, code, container, number, object, person, point, text, uid, with},
        text::ascii,
    },
    report::{Judgement, Lesion, Run, Verdict},
};

/// The measurement group of the lesion that is this segment.
///
/// The tracking UID stands before the UID of the source series: OHIF takes the first UIDREF for the lesion's own. It
/// lists a lesion and leads to it only where the first spatial coordinates are a POINT called Image Region, and the
/// first measurement has coordinates too; it shows a comment as the lesion's name.
pub(super) fn group(
    input: &SrInput<'_>,
    run: &Run,
    (segment, lesion): (u16, &Lesion),
    extent: &Extent,
    words: &mut Words<'_>,
) -> dicom_object::InMemDicomObject {
    let segmentation = &input.segmentation;
    let referenced = (segmentation.sop_class_uid, segmentation.sop_instance_uid);
    let centre = |relation, name| point(relation, name, lesion.centroid_mm, input.frame_of_reference_uid);
    let mut items = Vec::from(tracking(lesion));
    items.extend([
        code(Relation::Contains, FINDING_CATEGORY, MORPHOLOGICALLY_ABNORMAL),
        code(Relation::Contains, FINDING, LESION),
        code(Relation::ConceptMod, FINDING_SITE, BRAIN),
    ]);
    items.extend(algorithm(run));
    items.extend([
        object("IMAGE", Some(REFERENCED_SEGMENT), referenced, Some(segment)),
        uid(Relation::Contains, SOURCE_SERIES, &run.series_instance_uid),
        centre(Relation::Contains, IMAGE_REGION),
        centre(Relation::Contains, CENTER),
    ]);
    items.extend(measurements(lesion, extent, centre(Relation::InferredFrom, IMAGE_REGION)));
    if let Some(verdict) = &lesion.verdict {
        items.push(evaluation(lesion.label, verdict, Vec::new(), words));
    }
    items.push(text(Relation::Contains, COMMENT, format!("Lesion {}", lesion.label)));
    container(MEASUREMENT_GROUP, Some("1411"), items)
}

/// A lesion that a reader rejected: it is no measurement group, so that no reader of the report counts it.
pub(super) fn rejected(lesion: &Lesion, words: &mut Words<'_>) -> Option<dicom_object::InMemDicomObject> {
    let mut items = Vec::from(tracking(lesion));
    items.push(number(Relation::Properties, VOLUME, lesion.volume_mm3, CUBIC_MILLIMETRE));
    lesion.verdict.as_ref().map(|verdict| evaluation(lesion.label, verdict, items, words))
}

/// Algorithm Identification (PS3.16 TID 4019).
pub(super) fn algorithm(run: &Run) -> Items {
    let said = |name, value: &str| {
        let value = ascii(value, 256);
        text(Relation::ConceptMod, name, if value.is_empty() { "not stated".to_owned() } else { value })
    };
    vec![
        said(ALGORITHM_NAME, &run.model_name),
        said(ALGORITHM_VERSION, &run.model_version),
        said(ALGORITHM_PARAMETERS, &format!("model {}", run.model_digest)),
    ]
}

/// Uncertainty in bits: 0 where the model is sure, 1 where it holds lesion and no lesion for equally likely.
pub(super) fn entropy(probability: f64) -> f64 {
    let bits = |p: f64| if p > 0.0 { -p * p.log2() } else { 0.0 };
    bits(probability) + bits(1.0 - probability)
}

fn tracking(lesion: &Lesion) -> [dicom_object::InMemDicomObject; 2] {
    [
        text(Relation::ObsContext, TRACKING_IDENTIFIER, format!("Lesion {}", lesion.label)),
        uid(Relation::ObsContext, TRACKING_UID, &lesion.tracking_uid),
    ]
}

fn measurements(lesion: &Lesion, extent: &Extent, centre: dicom_object::InMemDicomObject) -> Items {
    let measured = |name, value, unit| number(Relation::Contains, name, value, unit);
    let derived = |name, derivation, value| {
        with(measured(name, value, NO_UNITS), vec![code(Relation::ConceptMod, DERIVATION, derivation)])
    };
    let [long, short] = extent.axes.map(micrometres);
    vec![
        with(measured(VOLUME, lesion.volume_mm3, CUBIC_MILLIMETRE), vec![centre]),
        measured(LONG_AXIS, long, MILLIMETRE),
        measured(SHORT_AXIS, short, MILLIMETRE),
        derived(SIGNAL_INTENSITY, MEAN, lesion.mean_intensity),
        derived(PROBABILITY, MEAN, lesion.mean_probability),
        derived(PROBABILITY, MAXIMUM, lesion.peak_probability),
        measured(ENTROPY, micrometres(entropy(lesion.mean_probability)), BIT),
    ]
}

/// Rounded to three places.
fn micrometres(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// What a reader said, by whom, with `items` before it.
fn evaluation(
    label: u32,
    verdict: &Verdict,
    mut items: Items,
    words: &mut Words<'_>,
) -> dicom_object::InMemDicomObject {
    let value = match verdict.verdict {
        Judgement::Accepted => ACCEPTED,
        Judgement::Rejected => REJECTED,
        Judgement::Relabelled => RELABELLED,
    };
    if let Some(name) = words.name(&format!("Lesion {label}, its reader"), &verdict.reader) {
        items.extend(person(name));
    }
    let said = [
        (READERS_NAME_FOR_IT, "its new label", &verdict.relabelled),
        (COMMENT, "its reader's comment", &verdict.comment),
    ];
    for (name, what, said) in said {
        let said = said.as_deref().unwrap_or_default();
        if let Some(said) = words.long(&format!("Lesion {label}, {what}"), said) {
            items.push(text(Relation::Properties, name, said));
        }
    }
    with(code(Relation::Contains, VERDICT, value), items)
}
