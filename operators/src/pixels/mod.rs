//! Stored samples of one frame, whatever the encoding, before any rescale.
//!
//! Uncompressed frames are read here; `codecs` decodes the compressed ones. Bits outside BitsStored are cut off, signs
//! are extended. Rescale, MONOCHROME1 and padding are for `convert` to apply.

mod codecs;

use std::borrow::Cow;

use dicom_core::Tag;

use crate::prescan::{EXPLICIT_BE, Limits, PixelBytes, Prescan, Refusal, prescan};
use crate::volume::Encoded;

/// Most samples of one frame that are decoded (8192 x 8192).
pub const LARGEST_FRAME: usize = 1 << 26;

/// How samples are stored (PS3.3 C.7.6.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PixelFormat {
    /// Columns.
    pub columns: usize,
    /// Rows.
    pub rows: usize,
    /// Frames that the object declares.
    pub frames: u32,
    /// BitsAllocated: 8, 16 or 32.
    pub bits_allocated: u32,
    /// BitsStored.
    pub bits_stored: u32,
    /// HighBit.
    pub high_bit: u32,
    /// PixelRepresentation 1.
    pub signed: bool,
    /// PhotometricInterpretation MONOCHROME1: the lowest value is shown white.
    pub monochrome1: bool,
    /// PixelPaddingValue, as a stored sample.
    pub padding: Option<i32>,
}

/// The stored samples of one frame, rows from the top, columns fastest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Columns.
    pub columns: usize,
    /// Rows.
    pub rows: usize,
    /// `rows * columns` samples.
    pub samples: Vec<i32>,
}

/// Why pixels cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum PixelsError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the object has no pixel data; send an image")]
    None,
    #[error("the pixel format cannot be read: {0}; send a monochrome image of 8, 16 or 32 bits")]
    Format(&'static str),
    #[error("frame {frame} is not there, the object has {frames}; send the object again")]
    NoFrame { frame: u32, frames: u32 },
    #[error("the pixel data end inside frame {frame}; send the object again")]
    Truncated { frame: u32 },
    #[error("transfer syntax {0} cannot be decoded; send the object uncompressed")]
    Unsupported(String),
    #[error("frame {frame} cannot be decompressed ({reason}); send the object uncompressed")]
    Codec { frame: u32, reason: String },
}

/// The stored samples of a frame; `frame` counts from 1, as ReferencedFrameNumber does.
///
/// # Errors
/// [`PixelsError`], with a hint.
pub fn stored(encoded: Encoded<'_>, frame: u32) -> Result<Stored, PixelsError> {
    let scan = prescan(encoded, &Limits::default())?;
    let format = PixelFormat::of(&scan)?;
    let mut samples = Vec::new();
    let bytes = frame_bytes(&scan, &format, frame)?;
    samples.resize(format.columns * format.rows, 0);
    bytes.read(&format, &mut samples, |sample| sample);
    Ok(Stored { columns: format.columns, rows: format.rows, samples })
}

impl PixelFormat {
    /// The format that a header declares.
    ///
    /// # Errors
    /// [`PixelsError::Format`] for colour, float and sizes that make no sense.
    pub fn of(scan: &Prescan<'_>) -> Result<Self, PixelsError> {
        if scan.pixels().is_none() {
            return Err(PixelsError::None);
        }
        let number = |element| scan.count(Tag(0x0028, element));
        let bits_allocated = number(0x0100).ok_or(PixelsError::Format("BitsAllocated is missing"))?;
        let bits_stored = number(0x0101).unwrap_or(bits_allocated);
        let format = PixelFormat {
            columns: number(0x0011).unwrap_or(0) as usize,
            rows: number(0x0010).unwrap_or(0) as usize,
            frames: number(0x0008).unwrap_or(1).max(1),
            bits_allocated,
            bits_stored,
            high_bit: number(0x0102).unwrap_or(bits_stored.saturating_sub(1)),
            signed: number(0x0103) == Some(1),
            monochrome1: scan.text(Tag(0x0028, 0x0004)) == "MONOCHROME1",
            padding: None,
        };
        let samples = format.columns.saturating_mul(format.rows);
        let fault = if number(0x0002).unwrap_or(1) != 1 {
            "it has several samples a pixel"
        } else if !matches!(bits_allocated, 8 | 16 | 32) {
            "BitsAllocated is not 8, 16 or 32"
        } else if !(1..=bits_allocated).contains(&bits_stored)
            || format.high_bit >= bits_allocated
            || format.high_bit + 1 < bits_stored
        {
            "BitsStored and HighBit do not fit BitsAllocated"
        } else if bits_stored == 32 && !format.signed {
            "unsigned samples of 32 bits are not supported"
        } else if samples == 0 || samples > LARGEST_FRAME {
            "Rows or Columns are zero or too large"
        } else {
            let padding = scan.number(Tag(0x0028, 0x0120)).map(|value| format.sample(value as i64 as u32));
            return Ok(PixelFormat { padding, ..format });
        };
        Err(PixelsError::Format(fault))
    }

    /// A stored word as a sample: unused bits cut off, the sign extended.
    fn sample(&self, word: u32) -> i32 {
        let above = 32 - self.bits_stored;
        let aligned = (word >> (self.high_bit + 1 - self.bits_stored)) << above;
        if self.signed { (aligned as i32) >> above } else { (aligned >> above) as i32 }
    }
}

/// The bytes of one frame, uncompressed: enough of them for `rows * columns` samples.
pub(crate) struct FrameBytes<'b> {
    bytes: Cow<'b, [u8]>,
    big_endian: bool,
}

/// The uncompressed bytes of a frame, counted from 1.
pub(crate) fn frame_bytes<'s>(
    scan: &'s Prescan<'_>,
    format: &PixelFormat,
    frame: u32,
) -> Result<FrameBytes<'s>, PixelsError> {
    if frame == 0 || frame > format.frames {
        return Err(PixelsError::NoFrame { frame, frames: format.frames });
    }
    match scan.pixels() {
        None => Err(PixelsError::None),
        Some(PixelBytes::Native(range)) => {
            let length = format.columns * format.rows * (format.bits_allocated / 8) as usize;
            let all = scan.bytes().get(range.clone()).unwrap_or_default();
            let start = (frame as usize - 1).saturating_mul(length);
            let bytes = all.get(start..start.saturating_add(length)).ok_or(PixelsError::Truncated { frame })?;
            Ok(FrameBytes { bytes: Cow::Borrowed(bytes), big_endian: scan.transfer_syntax() == EXPLICIT_BE })
        }
        Some(PixelBytes::Fragments { offsets, fragments }) => {
            let stream = codecs::stream(scan.bytes(), format, offsets, fragments, frame)?;
            let bytes = codecs::decode(scan.transfer_syntax(), &stream, format, frame)?;
            Ok(FrameBytes { bytes: Cow::Owned(bytes), big_endian: false })
        }
    }
}

impl FrameBytes<'_> {
    /// Fills `out`, which has `rows * columns` places, with what `convert` makes of each stored sample.
    pub(crate) fn read<T>(&self, format: &PixelFormat, out: &mut [T], convert: impl Fn(i32) -> T) {
        let bytes = &self.bytes;
        let convert = |word: u32| convert(format.sample(word));
        // A codec may give one byte a sample where eight bits are stored in sixteen.
        match (bytes.len() / out.len().max(1), self.big_endian) {
            (0 | 1, _) => each(out, bytes, |byte| convert(u32::from(*byte))),
            (2 | 3, true) => each(out, bytes.as_chunks().0, |word| convert(u32::from(u16::from_be_bytes(*word)))),
            (2 | 3, false) => each(out, bytes.as_chunks().0, |word| convert(u32::from(u16::from_le_bytes(*word)))),
            (_, true) => each(out, bytes.as_chunks().0, |word| convert(u32::from_be_bytes(*word))),
            (_, false) => each(out, bytes.as_chunks().0, |word| convert(u32::from_le_bytes(*word))),
        }
    }
}

fn each<W, T>(out: &mut [T], words: &[W], convert: impl Fn(&W) -> T) {
    out.iter_mut().zip(words).for_each(|(place, word)| *place = convert(word));
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
