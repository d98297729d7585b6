//! Short ways to write elements.

use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use dicom_object::mem::InMemElement;

/// Text; several values are joined by a backslash, and an empty text is an empty value.
pub(super) fn text(tag: Tag, vr: VR, value: impl Into<String>) -> InMemElement {
    let value: String = value.into();
    if value.is_empty() {
        return DataElement::empty(tag, vr);
    }
    DataElement::new(tag, vr, PrimitiveValue::Strs(value.split('\\').map(str::to_owned).collect()))
}

/// Numbers as decimal strings of at most 16 characters, to the ninth decimal place where that fits.
pub(super) fn decimals(tag: Tag, values: &[f64]) -> InMemElement {
    text(tag, VR::DS, values.iter().map(|value| decimal(*value)).collect::<Vec<_>>().join("\\"))
}

fn decimal(value: f64) -> String {
    let whole = format!("{:.0}", value.abs().trunc()).len() + usize::from(value.is_sign_negative());
    let places = 15usize.saturating_sub(whole).min(9);
    let written = format!("{value:.places$}");
    let short = if written.contains('.') { written.trim_end_matches('0').trim_end_matches('.') } else { &written };
    if short == "-0" { "0".to_owned() } else { short.to_owned() }
}

/// An integer string.
pub(super) fn integer(tag: Tag, value: usize) -> InMemElement {
    text(tag, VR::IS, value.to_string())
}

/// Unsigned 16-bit numbers.
pub(super) fn short(tag: Tag, value: u16) -> InMemElement {
    DataElement::new(tag, VR::US, PrimitiveValue::from(value))
}

/// Unsigned 32-bit numbers.
pub(super) fn long(tag: Tag, values: &[u32]) -> InMemElement {
    DataElement::new(tag, VR::UL, PrimitiveValue::U32(values.iter().copied().collect()))
}

/// A 64-bit floating point number.
pub(super) fn double(tag: Tag, value: f64) -> InMemElement {
    DataElement::new(tag, VR::FD, PrimitiveValue::from(value))
}

/// Stored pixels as 16-bit words.
pub(super) fn pixels(values: Vec<u16>) -> InMemElement {
    DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(values.into()))
}

/// A sequence of the given items.
pub(super) fn sequence(tag: Tag, items: Vec<InMemDicomObject>) -> InMemElement {
    DataElement::new(tag, VR::SQ, DataSetSequence::from(items))
}

/// A sequence of one item.
pub(super) fn group(tag: Tag, elements: Vec<InMemElement>) -> InMemElement {
    sequence(tag, vec![InMemDicomObject::from_element_iter(elements)])
}

/// A coded entry: value, scheme, meaning (PS3.3 8.8).
pub(super) fn code(tag: Tag, [value, scheme, meaning]: [&str; 3]) -> InMemElement {
    group(
        tag,
        vec![
            text(tags::CODE_VALUE, VR::SH, value),
            text(tags::CODING_SCHEME_DESIGNATOR, VR::SH, scheme),
            text(tags::CODE_MEANING, VR::LO, meaning),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::decimal;

    #[test]
    fn decimal_strings_fit_and_keep_their_value() {
        for (value, written) in [
            (0.7, "0.7"),
            (-0.0, "0"),
            (-123.456789012345, "-123.456789012"),
            (1e6, "1000000"),
            (-1.0 / 3.0, "-0.333333333"),
        ] {
            assert_eq!(decimal(value), written);
            assert!(written.len() <= 16);
        }
        assert!(decimal(-123_456_789.123_456_79).len() <= 16);
    }
}
