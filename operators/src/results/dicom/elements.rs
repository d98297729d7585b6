//! Short ways to write elements.

use dicom_core::{DataElement, PrimitiveValue, Tag, VR, value::DataSetSequence};
use dicom_object::InMemDicomObject;

use super::codes::Code;

/// An element of the data set that is built.
pub(crate) type Element = dicom_object::mem::InMemElement;

/// A text element; an empty text is an empty value.
pub(crate) fn text(tag: Tag, vr: VR, value: impl Into<String>) -> Element {
    let value: String = value.into();
    match value.is_empty() {
        true => DataElement::empty(tag, vr),
        false => DataElement::new(tag, vr, PrimitiveValue::from(value)),
    }
}

/// An element of several numbers as DS.
pub(crate) fn decimals(tag: Tag, values: &[f64]) -> Element {
    let texts = values.iter().map(|&value| super::text::decimal(value)).collect();
    DataElement::new(tag, VR::DS, PrimitiveValue::Strs(texts))
}

/// A US element.
pub(crate) fn short(tag: Tag, value: u16) -> Element {
    DataElement::new(tag, VR::US, PrimitiveValue::from(value))
}

/// A sequence element.
pub(crate) fn sequence(tag: Tag, items: Vec<InMemDicomObject>) -> Element {
    DataElement::new(tag, VR::SQ, DataSetSequence::from(items))
}

/// A sequence of one item.
pub(crate) fn single<const N: usize>(tag: Tag, elements: [Element; N]) -> Element {
    sequence(tag, vec![InMemDicomObject::from_element_iter(elements)])
}

/// A sequence of one coded entry.
pub(crate) fn coded(tag: Tag, code: Code) -> Element {
    sequence(tag, vec![code.item()])
}

/// Text beyond ASCII goes in as bytes, so that nothing transcodes it.
pub(crate) fn element(tag: Tag, vr: VR, bytes: Vec<u8>) -> Element {
    match String::from_utf8(bytes) {
        Ok(ascii) if ascii.is_ascii() => text(tag, vr, ascii),
        Ok(other) => padded(tag, vr, other.into_bytes()),
        Err(error) => padded(tag, vr, error.into_bytes()),
    }
}

fn padded(tag: Tag, vr: VR, mut bytes: Vec<u8>) -> Element {
    if bytes.len() % 2 == 1 {
        bytes.push(b' ');
    }
    DataElement::new(tag, vr, PrimitiveValue::U8(bytes.into()))
}
