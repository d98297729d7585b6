//! The walk itself: one pass, an explicit stack, lengths checked against the bytes that are present.

use std::ops::Range;

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::StandardDataDictionary;

use super::{EXPLICIT_BE, Element, IMPLICIT_LE, Limits, PixelBytes, Refusal};

const ITEM: Tag = Tag(0xFFFE, 0xE000);
const ITEM_END: Tag = Tag(0xFFFE, 0xE00D);
const SEQUENCE_END: Tag = Tag(0xFFFE, 0xE0DD);
const PIXEL_DATA: Tag = Tag(0x7FE0, 0x0010);
const UNDEFINED: u32 = u32::MAX;

pub(super) struct Found {
    pub elements: Vec<Element>,
    pub pixels: Option<PixelBytes>,
    pub pixel_element: Range<usize>,
    pub unknown_sequences: Vec<(usize, u32)>,
}

#[derive(Clone, Copy, PartialEq)]
struct Layout {
    explicit: bool,
    big_endian: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Sequence,
    Item,
    Fragments,
}

struct Open {
    index: usize,
    kind: Kind,
    /// Where it ends; none for an undefined length.
    end: Option<usize>,
    layout: Layout,
    /// The length field to fill in, for a sequence of VR UN.
    unknown: Option<usize>,
}

struct Header {
    tag: Tag,
    vr: Option<[u8; 2]>,
    length: u32,
    value: usize,
}

pub(super) fn walk(bytes: &[u8], transfer_syntax: &str, limits: &Limits) -> Result<Found, Refusal> {
    if bytes.is_empty() {
        return Err(Refusal::Empty);
    }
    let layout = Layout { explicit: transfer_syntax != IMPLICIT_LE, big_endian: transfer_syntax == EXPLICIT_BE };
    let mut walk = Walk {
        bytes,
        at: 0,
        layout,
        stack: Vec::new(),
        found: Found {
            // Sized by what is there: no element is shorter than 8 bytes, most are longer.
            elements: Vec::with_capacity((bytes.len() / 64).min(512)),
            pixels: None,
            pixel_element: bytes.len()..bytes.len(),
            unknown_sequences: Vec::new(),
        },
    };
    loop {
        walk.close_ended();
        if walk.at == bytes.len() {
            break;
        }
        walk.step(limits)?;
        if walk.found.elements.len() > limits.elements {
            return Err(Refusal::TooMany { limit: limits.elements });
        }
        if walk.stack.len() > 2 * limits.depth {
            return Err(Refusal::TooDeep { at: walk.at, limit: limits.depth });
        }
    }
    if !walk.stack.is_empty() {
        return Err(Refusal::Truncated { at: bytes.len() });
    }
    Ok(walk.found)
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    layout: Layout,
    stack: Vec<Open>,
    found: Found,
}

impl Walk<'_> {
    /// Closes what ends here by its declared length.
    fn close_ended(&mut self) {
        while self.stack.last().is_some_and(|open| open.end == Some(self.at)) {
            self.close(self.at);
        }
    }

    fn close(&mut self, end: usize) {
        let Some(open) = self.stack.pop() else { return };
        let next = self.found.elements.len() as u32;
        let depth = self.stack.len();
        if let Some(element) = self.found.elements.get_mut(open.index) {
            element.end = end;
            element.next = next;
            if let Some(field) = open.unknown {
                // The delimiter stays within the value, so that no length around it changes.
                let length = self.at.saturating_sub(element.value);
                self.found.unknown_sequences.push((field, u32::try_from(length).unwrap_or(UNDEFINED)));
            }
            if element.tag == PIXEL_DATA && depth == 0 {
                self.found.pixel_element = element.start..self.at;
            }
        }
        self.layout = open.layout;
    }

    fn step(&mut self, limits: &Limits) -> Result<(), Refusal> {
        let start = self.at;
        let header = self.header()?;
        // What it is in ends no later than its parent, so the innermost end is the nearest.
        let bound = self.stack.iter().rev().find_map(|open| open.end).unwrap_or(self.bytes.len());
        let present = bound.saturating_sub(header.value);
        if header.value > bound || (header.length != UNDEFINED && header.length as usize > present) {
            return Err(Refusal::TooLong { tag: header.tag, at: start, declared: header.length, present });
        }
        let misplaced = Err(Refusal::Misplaced { tag: header.tag, at: start });
        let inside = self.stack.last().map(|open| (open.kind, open.end.is_none()));
        match (header.tag, inside) {
            (ITEM, Some((Kind::Sequence, _))) => {
                self.open(start, &header, Kind::Item);
                Ok(())
            }
            (ITEM, Some((Kind::Fragments, _))) => {
                if header.length == UNDEFINED {
                    return Err(Refusal::Undefined { tag: header.tag, at: start });
                }
                self.fragment(&header, limits)
            }
            (ITEM_END, Some((Kind::Item, true))) | (SEQUENCE_END, Some((Kind::Sequence | Kind::Fragments, true))) => {
                self.at = header.value;
                self.close(start);
                Ok(())
            }
            (Tag(0xFFFE, _), _) | (_, Some((Kind::Sequence | Kind::Fragments, _))) => misplaced,
            _ => self.element(start, &header),
        }
    }

    fn element(&mut self, start: usize, header: &Header) -> Result<(), Refusal> {
        let undefined = header.length == UNDEFINED;
        if header.tag == PIXEL_DATA && self.stack.is_empty() && self.found.pixels.is_some() {
            return Err(Refusal::Misplaced { tag: header.tag, at: start });
        }
        let kind = match header.vr {
            Some(vr) => match &vr {
                b"SQ" => Some(Kind::Sequence),
                b"OB" | b"OW" if undefined => Some(Kind::Fragments),
                // What dicom-rs does not know it takes as UN, and so does this walk.
                _ if undefined && is_unknown(vr) => Some(Kind::Sequence),
                _ if undefined => return Err(Refusal::Undefined { tag: header.tag, at: start }),
                _ => None,
            },
            None if undefined && header.tag == PIXEL_DATA => Some(Kind::Fragments),
            None if undefined || is_sequence(header.tag) => Some(Kind::Sequence),
            None => None,
        };
        if let Some(kind) = kind {
            self.open(start, header, kind);
            return Ok(());
        }
        let end = header.value + header.length as usize;
        if header.tag == PIXEL_DATA && self.stack.is_empty() {
            self.found.pixels = Some(PixelBytes::Native(header.value..end));
            self.found.pixel_element = start..end;
        }
        let next = self.found.elements.len() as u32 + 1;
        self.push(start, header, end, next, false);
        self.at = end;
        Ok(())
    }

    fn open(&mut self, start: usize, header: &Header, kind: Kind) {
        let end = (header.length != UNDEFINED).then(|| header.value + header.length as usize);
        let index = self.found.elements.len();
        self.push(start, header, header.value, index as u32 + 1, kind != Kind::Fragments);
        let layout = self.layout;
        let mut unknown = None;
        if self.layout.explicit && kind == Kind::Sequence && header.vr.is_some_and(|vr| &vr != b"SQ") {
            unknown = Some(header.value - 4);
            self.layout = Layout { explicit: false, big_endian: false };
        }
        if kind == Kind::Fragments && header.tag == PIXEL_DATA && self.stack.is_empty() {
            self.found.pixels = Some(PixelBytes::Fragments { offsets: Vec::new(), fragments: Vec::new() });
        }
        self.stack.push(Open { index, kind, end, layout, unknown });
        self.at = header.value;
    }

    /// An item of encapsulated pixel data: the offset table first, then the fragments.
    fn fragment(&mut self, header: &Header, limits: &Limits) -> Result<(), Refusal> {
        let range = header.value..header.value + header.length as usize;
        self.at = range.end;
        let image = self.stack.len() == 1 && self.stack.first().is_some_and(|open| self.tag(open.index) == PIXEL_DATA);
        let Some(PixelBytes::Fragments { offsets, fragments }) = self.found.pixels.as_mut().filter(|_| image) else {
            return Ok(());
        };
        let first = self.stack.last().is_some_and(|open| {
            self.found.elements.get(open.index).is_some_and(|element| element.value + 8 == header.value)
        });
        if first {
            let table = self.bytes.get(range).unwrap_or_default();
            offsets.extend(table.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])));
        } else if fragments.len() >= limits.elements {
            return Err(Refusal::TooMany { limit: limits.elements });
        } else {
            fragments.push(range);
        }
        Ok(())
    }

    fn tag(&self, index: usize) -> Tag {
        self.found.elements.get(index).map_or(ITEM, |element| element.tag)
    }

    fn push(&mut self, start: usize, header: &Header, end: usize, next: u32, nested: bool) {
        self.found.elements.push(Element {
            tag: header.tag,
            vr: header.vr,
            start,
            value: header.value,
            end,
            next,
            nested,
            big_endian: self.layout.big_endian,
        });
    }

    fn header(&self) -> Result<Header, Refusal> {
        let truncated = Refusal::Truncated { at: self.at };
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let &[g0, g1, e0, e1, a, b, c, d, ..] = rest else { return Err(truncated) };
        let big = self.layout.big_endian;
        let short = |bytes: [u8; 2]| if big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) };
        let long = |bytes: [u8; 4]| if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
        let tag = Tag(short([g0, g1]), short([e0, e1]));
        if tag.0 == 0xFFFE || !self.layout.explicit {
            return Ok(Header { tag, vr: None, length: long([a, b, c, d]), value: self.at + 8 });
        }
        let vr = [a, b];
        if !vr.iter().all(u8::is_ascii_uppercase) {
            return Err(Refusal::NoVr { tag, at: self.at });
        }
        if has_short_length(vr) {
            return Ok(Header { tag, vr: Some(vr), length: u32::from(short([c, d])), value: self.at + 8 });
        }
        let &[_, _, _, _, _, _, _, _, a, b, c, d, ..] = rest else { return Err(truncated) };
        Ok(Header { tag, vr: Some(vr), length: long([a, b, c, d]), value: self.at + 12 })
    }
}

/// VRs with a 16-bit length (PS3.5 7.1.2).
fn has_short_length(vr: [u8; 2]) -> bool {
    const SHORT: [&[u8; 2]; 21] = [
        b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
        b"ST", b"TM", b"UI", b"UL", b"US",
    ];
    SHORT.contains(&&vr)
}

/// UN, or letters that name no VR.
fn is_unknown(vr: [u8; 2]) -> bool {
    matches!(VR::from_binary(vr), None | Some(VR::UN))
}

/// Whether the dictionary, which tells dicom-rs the VR in implicit VR, has this as a sequence.
fn is_sequence(tag: Tag) -> bool {
    StandardDataDictionary.by_tag(tag).is_some_and(|entry| entry.vr().relaxed() == VR::SQ)
}
