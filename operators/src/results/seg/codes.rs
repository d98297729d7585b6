//! Short ways to write elements and coded entries, and the codes that a segmentation uses.

use dicom_core::{DataElement, PrimitiveValue, Tag, VR, value::DataSetSequence};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

/// A coded entry: value, scheme, meaning (PS3.3 8.8).
#[derive(Clone, Copy, Debug)]
pub(super) struct Code(pub(super) &'static str, pub(super) &'static str, pub(super) &'static str);

/// Category of every segment (CID 7150).
pub(super) const MORPHOLOGICALLY_ABNORMAL: Code = Code("49755003", "SCT", "Morphologically Abnormal Structure");
/// Type of every segment (CID 7159).
pub(super) const LESION: Code = Code("52988006", "SCT", "Lesion");
/// Anatomic region of every segment (CID 4).
pub(super) const BRAIN: Code = Code("12738006", "SCT", "Brain");
/// Family of the algorithm (CID 7162).
pub(super) const ARTIFICIAL_INTELLIGENCE: Code = Code("123110", "DCM", "Artificial Intelligence");
/// How a frame was derived (CID 7203).
pub(super) const SEGMENTATION: Code = Code("113076", "DCM", "Segmentation");
/// Why a source image is referenced (CID 7202).
pub(super) const SOURCE_IMAGE: Code = Code("121322", "DCM", "Source image for image processing operation");

impl Code {
    fn item(self) -> InMemDicomObject {
        InMemDicomObject::from_element_iter([
            text(tags::CODE_VALUE, VR::SH, self.0),
            text(tags::CODING_SCHEME_DESIGNATOR, VR::SH, self.1),
            text(tags::CODE_MEANING, VR::LO, self.2),
        ])
    }
}

/// An element of the data set that is built.
pub(super) type Element = dicom_object::mem::InMemElement;

/// A text element; an empty text is an empty value.
pub(super) fn text(tag: Tag, vr: VR, value: impl Into<String>) -> Element {
    let value: String = value.into();
    match value.is_empty() {
        true => DataElement::empty(tag, vr),
        false => DataElement::new(tag, vr, PrimitiveValue::from(value)),
    }
}

/// An element of several numbers as DS.
pub(super) fn decimals(tag: Tag, values: &[f64]) -> Element {
    let texts = values.iter().map(|&value| super::text::decimal(value)).collect();
    DataElement::new(tag, VR::DS, PrimitiveValue::Strs(texts))
}

/// A US element.
pub(super) fn short(tag: Tag, value: u16) -> Element {
    DataElement::new(tag, VR::US, PrimitiveValue::from(value))
}

/// A sequence element.
pub(super) fn sequence(tag: Tag, items: Vec<InMemDicomObject>) -> Element {
    DataElement::new(tag, VR::SQ, DataSetSequence::from(items))
}

/// A sequence of one item.
pub(super) fn single<const N: usize>(tag: Tag, elements: [Element; N]) -> Element {
    sequence(tag, vec![InMemDicomObject::from_element_iter(elements)])
}

/// A sequence of one coded entry.
pub(super) fn coded(tag: Tag, code: Code) -> Element {
    sequence(tag, vec![code.item()])
}
