//! A walk over a data set's bytes before anything else looks at them.
//!
//! What comes from outside may declare lengths of gigabytes, nest a hundred thousand sequences or end anywhere.
//! The walk goes through every element once, without recursion and without allocating by a declared length, refuses
//! with a reason, and leaves a table of elements. Facts and pixels are read from that table; dicom-rs, which takes a
//! declared length and a depth at their word, parses only what has passed here.
//!
//! Values are read in `values`; what they mean is for `header` to say.

mod values;
mod walk;

use std::borrow::Cow;
use std::io::Read;
use std::ops::Range;

use dicom_core::Tag;

use crate::volume::Encoded;

/// Implicit VR Little Endian.
pub const IMPLICIT_LE: &str = "1.2.840.10008.1.2";
/// Explicit VR Little Endian.
pub const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";
/// Deflated Explicit VR Little Endian.
pub const DEFLATED_LE: &str = "1.2.840.10008.1.2.1.99";
/// Explicit VR Big Endian (retired).
pub const EXPLICIT_BE: &str = "1.2.840.10008.1.2.2";

/// What is accepted from outside.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Sequences within sequences.
    pub depth: usize,
    /// Elements, items and fragments together.
    pub elements: usize,
    /// Bytes of a deflated data set once inflated.
    pub inflated_bytes: u64,
}

impl Default for Limits {
    /// 32 levels (real objects have up to 8), a million elements, 512 MiB inflated (the largest volume that is
    /// converted, in 16 bits).
    fn default() -> Self {
        Limits { depth: 32, elements: 1_000_000, inflated_bytes: 512 << 20 }
    }
}

/// Why a data set is not looked at any further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Refusal {
    #[error("the data set is empty; send the object again")]
    Empty,
    #[error("the data set ends inside an element at byte {at}; the object is truncated, send it again")]
    Truncated { at: usize },
    #[error("element {tag} at byte {at} declares {declared} bytes where {present} are left; send the object again")]
    TooLong { tag: Tag, at: usize, declared: u32, present: usize },
    #[error("element {tag} at byte {at} has no valid value representation; check the transfer syntax")]
    NoVr { tag: Tag, at: usize },
    #[error("element {tag} at byte {at} has an undefined length, which its value representation does not allow")]
    Undefined { tag: Tag, at: usize },
    #[error("{tag} at byte {at} is out of place; the object's sequences do not nest")]
    Misplaced { tag: Tag, at: usize },
    #[error("sequences nest more than {limit} deep at byte {at}; the limit protects the reader")]
    TooDeep { at: usize, limit: usize },
    #[error("there are more than {limit} elements; the limit protects the reader")]
    TooMany { limit: usize },
    #[error("the deflated data set cannot be inflated; send it in another transfer syntax")]
    Inflate,
    #[error("the deflated data set exceeds {limit} bytes; send it in another transfer syntax")]
    InflatesTooFar { limit: u64 },
}

/// One element or item of the table, in stored order, parents before what is in them.
#[derive(Clone, Copy, Debug)]
pub struct Element {
    /// Its tag; (FFFE,E000) for an item.
    pub tag: Tag,
    /// Its VR as written; none in implicit VR and for items.
    pub vr: Option<[u8; 2]>,
    /// Where its header begins.
    pub start: usize,
    /// Where its value begins.
    pub value: usize,
    /// Where its value ends, before any delimiter.
    pub end: usize,
    /// Index of the next element that is not inside this one.
    pub next: u32,
    /// True for sequences and items, whose content follows in the table.
    pub nested: bool,
    /// True where numbers are stored with the most significant byte first.
    big_endian: bool,
}

/// Where the pixels of the image are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PixelBytes {
    /// Uncompressed, one frame after the other.
    Native(Range<usize>),
    /// Encapsulated (PS3.5 A.4).
    Fragments {
        /// Basic Offset Table; may be empty.
        offsets: Vec<u32>,
        /// The fragments after the offset table.
        fragments: Vec<Range<usize>>,
    },
}

/// What the walk found.
#[derive(Clone, Debug)]
pub struct Prescan<'a> {
    bytes: Cow<'a, [u8]>,
    transfer_syntax: String,
    elements: Vec<Element>,
    /// Indices of the top-level elements by tag.
    top: Vec<u32>,
    pixels: Option<PixelBytes>,
    /// From the header of PixelData to its end, delimiter included.
    pixel_element: Range<usize>,
    /// Sequences of VR UN with undefined length within explicit VR (CP-246): where the VR's length field is, and the
    /// length that makes them plain bytes.
    unknown_sequences: Vec<(usize, u32)>,
    codes: Vec<String>,
}

/// Walks over a data set. See [`Limits`] for what is accepted.
///
/// # Errors
/// A [`Refusal`] with the place and the reason.
pub fn prescan<'a>(encoded: Encoded<'a>, limits: &Limits) -> Result<Prescan<'a>, Refusal> {
    let bytes = match encoded.transfer_syntax {
        DEFLATED_LE => Cow::Owned(inflate(encoded.data_set, limits.inflated_bytes)?),
        _ => Cow::Borrowed(encoded.data_set),
    };
    let found = walk::walk(&bytes, encoded.transfer_syntax, limits)?;
    let mut top = Vec::with_capacity(256);
    let mut index = 0;
    while let Some(element) = found.elements.get(index as usize) {
        top.push(index);
        index = element.next;
    }
    // A stable sort, so that of two equal tags the first one counts.
    top.sort_by_key(|index| found.elements.get(*index as usize).map(|element| element.tag));
    let mut prescan = Prescan {
        bytes,
        transfer_syntax: encoded.transfer_syntax.to_owned(),
        elements: found.elements,
        top,
        pixels: found.pixels,
        pixel_element: found.pixel_element,
        unknown_sequences: found.unknown_sequences,
        codes: Vec::new(),
    };
    prescan.codes = prescan.character_sets();
    Ok(prescan)
}

fn inflate(deflated: &[u8], limit: u64) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    let mut reader = flate2::read::DeflateDecoder::new(deflated).take(limit.saturating_add(1));
    reader.read_to_end(&mut bytes).map_err(|_| Refusal::Inflate)?;
    if bytes.len() as u64 > limit {
        return Err(Refusal::InflatesTooFar { limit });
    }
    Ok(bytes)
}

impl Prescan<'_> {
    /// The data set's bytes; inflated where they came deflated. Ranges of this table point into them.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// TransferSyntaxUID of the data set as received.
    pub fn transfer_syntax(&self) -> &str {
        &self.transfer_syntax
    }

    /// All elements and items, in stored order.
    pub fn elements(&self) -> &[Element] {
        &self.elements
    }

    /// Where the image's pixels are; none without PixelData (7FE0,0010).
    pub fn pixels(&self) -> Option<&PixelBytes> {
        self.pixels.as_ref()
    }

    /// The data set without PixelData, in bytes that dicom-rs 0.10 can parse: a private sequence that is written as
    /// VR UN with undefined length (CP-246; Philips (2001,105F)) makes it give up on the whole data set, so each is
    /// given its length and becomes plain bytes of VR UN, still implicit VR little endian inside.
    pub fn without_pixels(&self) -> Cow<'_, [u8]> {
        let cut = &self.pixel_element;
        let before = self.bytes.get(..cut.start).unwrap_or_default();
        let after = self.bytes.get(cut.end..).unwrap_or_default();
        if after.is_empty() && self.unknown_sequences.is_empty() {
            return Cow::Borrowed(before);
        }
        let mut bytes = [before, after].concat();
        for (at, length) in &self.unknown_sequences {
            let at = if *at < cut.start { *at } else { at.saturating_sub(cut.len()) };
            let order = if self.transfer_syntax == EXPLICIT_BE { length.to_be_bytes() } else { length.to_le_bytes() };
            if let Some(field) = bytes.get_mut(at..at + 4) {
                field.copy_from_slice(&order);
            }
        }
        Cow::Owned(bytes)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
