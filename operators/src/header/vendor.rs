//! What vendors keep in private elements: counts, image types, scales.
//!
//! A private element is found by its creator (PS3.5 7.8.1), never by a fixed block. Sources: GE's, Philips' and
//! Siemens' conformance statements, and real headers.

use dicom_core::{Tag, VR};

use crate::prescan::{Element, Prescan};

/// The element `(group, xxBB)` among `elements`, where `xx` is the block that `creator` reserved there.
pub(super) fn private<'e>(
    scan: &Prescan<'_>,
    elements: impl Iterator<Item = &'e Element> + Clone,
    group: u16,
    creator: &str,
    byte: u8,
) -> Option<&'e Element> {
    let block = elements.clone().find(|element| {
        element.tag.0 == group && (0x10..=0xFF).contains(&element.tag.1) && scan.text_of(element) == creator
    })?;
    let tag = Tag(group, (block.tag.1 << 8) | u16::from(byte));
    elements.clone().find(|element| element.tag == tag)
}

/// A count in a private element at the top level.
fn count(scan: &Prescan<'_>, group: u16, creator: &str, byte: u8, vr: VR) -> Option<u32> {
    let element = private(scan, scan.group(group), group, creator, byte)?;
    let number = *scan.numbers_of(element, vr).first()?;
    (number >= 1.0 && number <= f64::from(u32::MAX)).then_some(number as u32)
}

/// How many instances the header says its series has, and by which attribute; for classic objects.
pub(super) fn expected_instances(scan: &Prescan<'_>) -> Option<(u32, String)> {
    let times = scan.count(Tag(0x0020, 0x0105)).filter(|times| *times > 1).unwrap_or(1);
    if let Some(images) = scan.count(Tag(0x0020, 0x1002)).filter(|images| *images > 0) {
        return Some((images, "ImagesInAcquisition (0020,1002)".to_owned()));
    }
    let by_times = |slices: u32, name: &str| {
        let images = slices.checked_mul(times)?;
        let over_time = if times > 1 { " times NumberOfTemporalPositions (0020,0105)" } else { "" };
        Some((images, format!("{name}{over_time}")))
    };
    if let Some(slices) = count(scan, 0x0021, "GEMS_RELA_01", 0x4F, VR::SS) {
        return by_times(slices, "GE locations in acquisition (0021,xx4F)");
    }
    let philips = |byte, vr| count(scan, 0x2001, "Philips Imaging DD 001", byte, vr);
    let slices = philips(0x18, VR::SL)?;
    // Echoes and cardiac phases multiply the slices; dynamics are the temporal positions.
    let echoes = philips(0x14, VR::SL).unwrap_or(1);
    let phases = philips(0x17, VR::SL).unwrap_or(1);
    by_times(slices.checked_mul(echoes)?.checked_mul(phases)?, "Philips NumberOfSlicesMR (2001,xx18)")
}

/// Siemens XA ImageTypeText (0021,xx75), which alone tells `M\DIS2D` from `M\NORM\DIS2D`. `elements` are those of one
/// functional group item or of the top level; the text lies in a sequence there or directly.
pub(super) fn image_type_text<'e>(
    scan: &'e Prescan<'_>,
    elements: impl Iterator<Item = &'e Element> + Clone,
) -> Option<String> {
    const CREATOR: &str = "SIEMENS MR SDI 02";
    let sequence = private(scan, elements.clone(), 0x0021, CREATOR, 0xFE);
    let nested = sequence.and_then(|sequence| scan.within(sequence).next()).and_then(|item| {
        let inside: Vec<&Element> = scan.within(item).collect();
        private(scan, inside.into_iter(), 0x0021, CREATOR, 0x75)
    });
    let element = nested.or_else(|| private(scan, elements, 0x0021, CREATOR, 0x75))?;
    Some(scan.text_of(element)).filter(|text| !text.is_empty())
}

/// Philips scale slope SS (2005,xx0E): floating point value = (stored x RS + RI) / (RS x SS).
pub(super) fn philips_scale_slope<'e>(
    scan: &Prescan<'_>,
    elements: impl Iterator<Item = &'e Element> + Clone,
) -> Option<f64> {
    let element = private(scan, elements, 0x2005, "Philips MR Imaging DD 001", 0x0E)?;
    scan.numbers_of(element, VR::FL).first().copied().filter(|slope| slope.is_finite() && *slope != 0.0)
}

/// A Siemens mosaic: many slices tiled into one image.
pub(super) fn is_mosaic(image_type: &str) -> bool {
    image_type.split('\\').any(|value| value.trim() == "MOSAIC")
}
