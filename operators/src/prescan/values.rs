//! Reading values through the table: finding an element, its text, its numbers.
//!
//! Text is decoded with the data set's character set; numbers by their VR, whatever the byte order.

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::StandardDataDictionary;
use dicom_encoding::text::{SpecificCharacterSet, TextCodec};

use super::{Element, Prescan};

impl Prescan<'_> {
    /// The top-level element of this tag.
    pub fn find(&self, tag: Tag) -> Option<&Element> {
        let at = self.top.partition_point(|index| self.elements.get(*index as usize).is_some_and(|e| e.tag < tag));
        let element = self.elements.get(*self.top.get(at)? as usize)?;
        (element.tag == tag).then_some(element)
    }

    /// The top-level elements of a group, by tag.
    pub fn group(&self, group: u16) -> impl Iterator<Item = &Element> + Clone {
        let first =
            self.top.partition_point(|index| self.elements.get(*index as usize).is_some_and(|e| e.tag.0 < group));
        self.top
            .iter()
            .skip(first)
            .map_while(|index| self.elements.get(*index as usize))
            .take_while(move |element| element.tag.0 == group)
    }

    /// What lies directly in a sequence (its items) or in an item (its elements).
    pub fn within<'s>(&'s self, parent: &Element) -> impl Iterator<Item = &'s Element> + use<'s> {
        let end = if parent.nested { parent.next as usize } else { 0 };
        let first = self.elements.partition_point(|element| element.start <= parent.start);
        let mut index = first;
        std::iter::from_fn(move || {
            let element = self.elements.get(index).filter(|_| index < end)?;
            index = element.next as usize;
            Some(element)
        })
    }

    /// The bytes of an element's value.
    pub fn value(&self, element: &Element) -> &[u8] {
        self.bytes.get(element.value..element.end).unwrap_or_default()
    }

    /// An element's text, without padding; several values joined by a backslash as in the file. Empty where it is not
    /// text. What cannot be decoded is kept apart by its bytes, so that different texts stay different.
    pub fn text_of(&self, element: &Element) -> String {
        let bytes = self.value(element);
        let padding = |byte: &u8| *byte == b' ' || *byte == 0;
        let start = bytes.iter().position(|byte| !padding(byte)).unwrap_or(bytes.len());
        let end = bytes.iter().rposition(|byte| !padding(byte)).map_or(start, |last| last + 1);
        let bytes = bytes.get(start..end).unwrap_or_default();
        if bytes.is_ascii() {
            return String::from_utf8_lossy(bytes).into_owned();
        }
        let decoded = match self.codes.as_slice() {
            [code] => SpecificCharacterSet::from_code(code).and_then(|set| set.decode(bytes).ok()),
            _ => None,
        };
        decoded.unwrap_or_else(|| bytes.escape_ascii().to_string())
    }

    /// The text of a top-level element; empty where missing.
    pub fn text(&self, tag: Tag) -> String {
        self.find(tag).map(|element| self.text_of(element)).unwrap_or_default()
    }

    /// The VR of an element: as written, else as in the dictionary.
    fn vr_of(&self, element: &Element) -> Option<VR> {
        let written = element.vr.and_then(VR::from_binary).filter(|vr| *vr != VR::UN);
        written.or_else(|| StandardDataDictionary.by_tag(element.tag).map(|entry| entry.vr().relaxed()))
    }

    /// Whether the value is text rather than binary numbers.
    pub fn is_text(&self, element: &Element) -> bool {
        use VR::{FD, FL, OB, OD, OF, OL, OV, OW, SL, SQ, SS, SV, UL, UN, US, UV};
        let vr = self.vr_of(element);
        !matches!(vr, None | Some(FD | FL | OB | OD | OF | OL | OV | OW | SL | SQ | SS | SV | UL | UN | US | UV))
    }

    /// The numbers of an element, whether binary or decimal text. `otherwise` is the VR where neither the file nor
    /// the dictionary tells (private elements in implicit VR). What is no number ends the list.
    pub fn numbers_of(&self, element: &Element, otherwise: VR) -> Vec<f64> {
        let vr = self.vr_of(element).unwrap_or(otherwise);
        let bytes = self.value(element);
        let big = element.big_endian;
        macro_rules! binary {
            ($kind:ty) => {
                bytes
                    .chunks_exact(size_of::<$kind>())
                    .map_while(|part| part.try_into().ok())
                    .map(|part| if big { <$kind>::from_be_bytes(part) } else { <$kind>::from_le_bytes(part) } as f64)
                    .collect()
            };
        }
        match vr {
            VR::US => binary!(u16),
            VR::SS => binary!(i16),
            VR::UL => binary!(u32),
            VR::SL => binary!(i32),
            VR::FL | VR::OF => binary!(f32),
            VR::FD | VR::OD => binary!(f64),
            VR::DS | VR::IS => String::from_utf8_lossy(bytes)
                .split('\\')
                .map_while(|part| part.trim_matches(|c: char| c == '\0' || c.is_whitespace()).parse::<f64>().ok())
                .take_while(|number| number.is_finite())
                .collect(),
            _ => Vec::new(),
        }
    }

    /// The first number of a top-level element.
    pub fn number(&self, tag: Tag) -> Option<f64> {
        self.find(tag).and_then(|element| self.numbers_of(element, VR::UN).first().copied())
    }

    /// The first number of a top-level element as a count.
    pub fn count(&self, tag: Tag) -> Option<u32> {
        self.number(tag).filter(|number| (0.0..=f64::from(u32::MAX)).contains(number)).map(|number| number as u32)
    }

    /// The values of SpecificCharacterSet (0008,0005), empty ones left out.
    pub(super) fn character_sets(&self) -> Vec<String> {
        let codes = self.text(Tag(0x0008, 0x0005));
        codes.split('\\').map(str::trim).filter(|code| !code.is_empty()).map(str::to_owned).collect()
    }
}
