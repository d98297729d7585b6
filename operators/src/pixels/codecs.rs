//! Compressed frames: which fragments make a frame, and the codecs of dicom-rs that decode it.
//!
//! A codec is only called when the stream's own header declares the size that the data set declares, since codecs
//! allocate by what the stream says. A panic inside one costs this frame, not the process.

use std::borrow::Cow;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use dicom_encoding::adapters::{PixelDataObject, RawPixelData};
use dicom_encoding::transfer_syntax::TransferSyntaxIndex;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;

use super::{PixelFormat, PixelsError};

const RLE: &str = "1.2.840.10008.1.2.5";

/// The compressed bytes of a frame: its fragments, put together.
pub(super) fn stream<'b>(
    bytes: &'b [u8],
    format: &PixelFormat,
    offsets: &[u32],
    fragments: &[Range<usize>],
    frame: u32,
) -> Result<Cow<'b, [u8]>, PixelsError> {
    let index = frame as usize - 1;
    let frames = format.frames as usize;
    let mine: Vec<&Range<usize>> = if fragments.len() == frames {
        fragments.iter().skip(index).take(1).collect()
    } else if frames == 1 {
        fragments.iter().collect()
    } else if offsets.len() == frames {
        // Offsets count from the first fragment's item header, 8 bytes before its value.
        let base = fragments.first().map_or(0, |first| first.start);
        let from = offsets.get(index).map_or(0, |offset| base + *offset as usize);
        let to = offsets.get(index + 1).map_or(usize::MAX, |offset| base + *offset as usize);
        fragments.iter().filter(|fragment| (from..to).contains(&fragment.start)).collect()
    } else {
        let reason = "several fragments a frame and no offset table".to_owned();
        return Err(PixelsError::Codec { frame, reason });
    };
    let parts: Vec<&[u8]> = mine.into_iter().filter_map(|range| bytes.get(range.clone())).collect();
    match parts.as_slice() {
        [] => Err(PixelsError::Truncated { frame }),
        [one] => Ok(Cow::Borrowed(one)),
        several => Ok(Cow::Owned(several.concat())),
    }
}

/// Decodes one frame to little endian samples.
pub(super) fn decode(
    transfer_syntax: &str,
    stream: &[u8],
    format: &PixelFormat,
    frame: u32,
) -> Result<Vec<u8>, PixelsError> {
    let unsupported = || PixelsError::Unsupported(transfer_syntax.to_owned());
    let fault = |reason: String| PixelsError::Codec { frame, reason };
    let syntax = TransferSyntaxRegistry.get(transfer_syntax).ok_or_else(unsupported)?;
    let reader = syntax.pixel_data_reader().ok_or_else(unsupported)?;
    if transfer_syntax != RLE && declared_size(stream) != Some([format.columns, format.rows]) {
        return Err(fault("the stream's size differs from Columns and Rows".to_owned()));
    }
    let object = OneFrame { transfer_syntax, stream, format };
    let mut decoded = Vec::new();
    catch_unwind(AssertUnwindSafe(|| reader.decode_frame(&object, 0, &mut decoded)))
        .map_err(|_| fault("the codec gave up".to_owned()))?
        .map_err(|error| fault(error.to_string()))?;
    if decoded.len() < format.columns * format.rows {
        return Err(PixelsError::Truncated { frame });
    }
    Ok(decoded)
}

/// Columns and rows of a single-component JPEG, JPEG-LS or JPEG 2000 stream, by its own header.
fn declared_size(stream: &[u8]) -> Option<[usize; 2]> {
    let short = |at: usize| Some(usize::from(u16::from_be_bytes(*stream.get(at..)?.first_chunk()?)));
    let long = |at: usize| Some(u32::from_be_bytes(*stream.get(at..)?.first_chunk()?) as usize);
    if stream.starts_with(&[0xFF, 0x4F, 0xFF, 0x51]) {
        // SIZ (ISO 15444-1 A.5.1): size less offset of the image area, then tiles, then components.
        let single = short(40)? == 1;
        return Some([long(8)?.checked_sub(long(16)?)?, long(12)?.checked_sub(long(20)?)?]).filter(|_| single);
    }
    let mut at = 2;
    loop {
        let &[0xFF, marker, ..] = stream.get(at..)? else { return None };
        match marker {
            0xFF => at += 1,
            // Start of frame (ISO 10918-1 B.2.2), but for the tables and the arithmetic flag; F7 is JPEG-LS.
            0xC0..=0xCF | 0xF7 if !matches!(marker, 0xC4 | 0xC8 | 0xCC) => {
                let single = stream.get(at + 9) == Some(&1);
                return Some([short(at + 7)?, short(at + 5)?]).filter(|_| single);
            }
            0xDA | 0xD9 => return None,
            _ => at += 2 + short(at + 2)?,
        }
    }
}

/// One compressed frame, as the codecs want to see it.
struct OneFrame<'a> {
    transfer_syntax: &'a str,
    stream: &'a [u8],
    format: &'a PixelFormat,
}

impl PixelDataObject for OneFrame<'_> {
    fn transfer_syntax_uid(&self) -> &str {
        self.transfer_syntax
    }

    fn rows(&self) -> Option<u16> {
        u16::try_from(self.format.rows).ok()
    }

    fn cols(&self) -> Option<u16> {
        u16::try_from(self.format.columns).ok()
    }

    fn samples_per_pixel(&self) -> Option<u16> {
        Some(1)
    }

    fn bits_allocated(&self) -> Option<u16> {
        u16::try_from(self.format.bits_allocated).ok()
    }

    fn bits_stored(&self) -> Option<u16> {
        u16::try_from(self.format.bits_stored).ok()
    }

    fn photometric_interpretation(&self) -> Option<&str> {
        Some(if self.format.monochrome1 { "MONOCHROME1" } else { "MONOCHROME2" })
    }

    fn number_of_frames(&self) -> Option<u32> {
        Some(1)
    }

    fn number_of_fragments(&self) -> Option<u32> {
        Some(1)
    }

    fn fragment(&self, fragment: usize) -> Option<Cow<'_, [u8]>> {
        (fragment == 0).then_some(Cow::Borrowed(self.stream))
    }

    fn offset_table(&self) -> Option<Cow<'_, [u32]>> {
        None
    }

    fn raw_pixel_data(&self) -> Option<RawPixelData> {
        Some(RawPixelData {
            fragments: std::iter::once(self.stream.to_vec()).collect(),
            offset_table: std::iter::empty().collect(),
        })
    }
}
