//! The frames of an image: geometry, rescale, and what tells the volumes of one series apart.
//!
//! An Enhanced object (PS3.3 C.7.6.16) keeps these in functional groups; for each frame the per-frame group counts,
//! then the shared group, then the top level. A classic object is one frame that has them at the top level.

use std::fmt::Write;

use dicom_core::{Tag, VR};

use super::vendor;
use crate::prescan::{Element, Prescan};
use crate::rows::FrameFacts;

const SHARED: Tag = Tag(0x5200, 0x9229);
const PER_FRAME: Tag = Tag(0x5200, 0x9230);

/// One frame, by its header. Lengths in mm, LPS; cosines of row, then column direction.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// See [`FrameFacts::stack`].
    pub stack: String,
    /// ImagePositionPatient: centre of the first voxel.
    pub position: Option<[f64; 3]>,
    /// ImageOrientationPatient.
    pub orientation: Option<[f64; 6]>,
    /// PixelSpacing: between rows, then between columns.
    pub spacing: Option<[f64; 2]>,
    /// SpacingBetweenSlices, else SliceThickness.
    pub slice_step: Option<f64>,
    /// RescaleSlope, never 0; 1 where missing or empty.
    pub slope: f64,
    /// RescaleIntercept; 0 where missing or empty.
    pub intercept: f64,
    /// Philips scale slope, where the vendor gives one.
    pub scale_slope: Option<f64>,
}

impl Frame {
    /// The frame as a row of integers.
    pub fn facts(&self) -> FrameFacts {
        let um = |mm: f64| (mm * 1e3).round() as i64;
        FrameFacts {
            stack: self.stack.clone(),
            position_um: self.position.map(|position| position.map(um)),
            orientation: self.orientation.map(|cosines| cosines.map(|cosine| (cosine * 1e6).round() as i32)),
            spacing_um: self.spacing.map(|spacing| spacing.map(um)),
        }
    }
}

/// Why frames cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramesError {
    /// The two counts of frames differ.
    #[error("NumberOfFrames says {declared}, but there are {present} per-frame items; send the object again")]
    Count {
        /// NumberOfFrames.
        declared: u32,
        /// Items of PerFrameFunctionalGroupsSequence.
        present: usize,
    },
    /// A rescale that is given and cannot be used.
    #[error("{keyword} is \"{value}\", which rescales nothing; correct it, or leave the element out")]
    Rescale {
        /// RescaleSlope or RescaleIntercept.
        keyword: &'static str,
        /// What stands there.
        value: String,
    },
}

/// Whether the object is Enhanced: it has functional groups.
pub(super) fn is_enhanced(scan: &Prescan<'_>) -> bool {
    scan.find(PER_FRAME).is_some()
}

/// The frames of an image in stored order; none where the object is no image. A multi-frame object without functional
/// groups says nothing of its frames: it counts as one frame without position.
///
/// # Errors
/// [`FramesError::Count`] where an Enhanced object contradicts itself; [`FramesError::Rescale`] where a frame's
/// RescaleSlope or RescaleIntercept is no finite number, or the slope zero.
pub fn frames(scan: &Prescan<'_>) -> Result<Vec<Frame>, FramesError> {
    let declared = scan.count(Tag(0x0028, 0x0008)).unwrap_or(1);
    if let Some(groups) = scan.find(PER_FRAME) {
        let present = scan.within(groups).count();
        if present != declared as usize {
            return Err(FramesError::Count { declared, present });
        }
        let shared = shared(scan);
        return scan.within(groups).map(|item| Groups::of(scan, Some(item), &shared).frame()).collect();
    }
    if scan.find(Tag(0x0028, 0x0010)).is_none() {
        return Ok(Vec::new());
    }
    let mut frame = Groups { scan, frame: Vec::new(), shared: &[] }.frame()?;
    if declared > 1 {
        (frame.position, frame.orientation) = (None, None);
    }
    Ok(vec![frame])
}

/// The elements of the shared groups, by tag.
fn shared<'s>(scan: &'s Prescan<'_>) -> Vec<&'s Element> {
    let item = scan.find(SHARED).and_then(|groups| scan.within(groups).next());
    item.map(|item| gather(scan, item)).unwrap_or_default()
}

/// The elements of a functional group item and of the first item of each sequence in it, sorted by tag; what lies in
/// a standard sequence goes before what a vendor repeats in a private one.
fn gather<'s>(scan: &'s Prescan<'_>, item: &Element) -> Vec<&'s Element> {
    let mut found = Vec::with_capacity(64);
    for element in scan.within(item) {
        found.push(element);
        if let Some(inner) = scan.within(element).next() {
            found.extend(scan.within(inner));
        }
    }
    found.sort_by_key(|element| element.tag);
    found
}

/// The layers that one frame's attributes are looked up in.
pub(super) struct Groups<'s, 'b> {
    scan: &'s Prescan<'b>,
    frame: Vec<&'s Element>,
    shared: &'s [&'s Element],
}

impl<'s, 'b> Groups<'s, 'b> {
    fn of(scan: &'s Prescan<'b>, item: Option<&Element>, shared: &'s [&'s Element]) -> Self {
        Groups { scan, frame: item.map(|item| gather(scan, item)).unwrap_or_default(), shared }
    }

    /// Calls `read` with the layers of the first frame.
    pub(super) fn first<T>(scan: &'s Prescan<'b>, read: impl FnOnce(&Groups<'_, 'b>) -> T) -> T {
        let shared = shared(scan);
        let item = scan.find(PER_FRAME).and_then(|groups| scan.within(groups).next());
        read(&Groups::of(scan, item, &shared))
    }

    pub(super) fn find(&self, tag: Tag) -> Option<&'s Element> {
        in_sorted(&self.frame, tag).or_else(|| in_sorted(self.shared, tag)).or_else(|| self.scan.find(tag))
    }

    pub(super) fn text(&self, tag: Tag) -> String {
        self.find(tag).map(|element| self.scan.text_of(element)).unwrap_or_default()
    }

    /// ImageType, which an Enhanced frame has as FrameType.
    pub(super) fn image_type(&self) -> String {
        Some(self.text(Tag(0x0008, 0x9007)))
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| self.text(Tag(0x0008, 0x0008)))
    }

    pub(super) fn image_type_text(&self) -> Option<String> {
        vendor::image_type_text(self.scan, self.frame.iter().copied())
            .or_else(|| vendor::image_type_text(self.scan, self.shared.iter().copied()))
            .or_else(|| vendor::image_type_text(self.scan, self.scan.group(0x0021)))
    }

    fn numbers<const N: usize>(&self, tag: Tag) -> Option<[f64; N]> {
        let numbers = self.scan.numbers_of(self.find(tag)?, VR::UN);
        let numbers: [f64; N] = numbers.get(..N)?.try_into().ok()?;
        numbers.iter().all(|number| number.is_finite()).then_some(numbers)
    }

    fn number(&self, tag: Tag) -> Option<f64> {
        self.numbers::<1>(tag).map(|[number]| number)
    }

    /// A rescale number; none where the element is missing or empty.
    fn rescale(&self, tag: Tag, keyword: &'static str) -> Result<Option<f64>, FramesError> {
        let Some(element) = self.find(tag).filter(|element| !self.scan.value(element).trim_ascii().is_empty()) else {
            return Ok(None);
        };
        let unusable = || {
            let value = self.scan.text_of(element).chars().take(64).collect();
            FramesError::Rescale { keyword, value }
        };
        self.number(tag).map(Some).ok_or_else(unusable)
    }

    fn frame(&self) -> Result<Frame, FramesError> {
        let scale_slope = vendor::philips_scale_slope(self.scan, self.frame.iter().copied())
            .or_else(|| vendor::philips_scale_slope(self.scan, self.shared.iter().copied()))
            .or_else(|| vendor::philips_scale_slope(self.scan, self.scan.group(0x2005)));
        let slope = self.rescale(Tag(0x0028, 0x1053), "RescaleSlope")?.unwrap_or(1.0);
        if slope == 0.0 {
            return Err(FramesError::Rescale { keyword: "RescaleSlope", value: "0".to_owned() });
        }
        Ok(Frame {
            stack: self.stack(),
            position: self.numbers(Tag(0x0020, 0x0032)),
            orientation: self.numbers(Tag(0x0020, 0x0037)),
            spacing: self.numbers(Tag(0x0028, 0x0030)),
            slice_step: self
                .number(Tag(0x0018, 0x0088))
                .filter(|step| *step > 0.0)
                .or_else(|| self.number(Tag(0x0018, 0x0050)))
                .filter(|step| *step > 0.0),
            slope,
            intercept: self.rescale(Tag(0x0028, 0x1052), "RescaleIntercept")?.unwrap_or(0.0),
            scale_slope,
        })
    }

    /// What tells this frame's volume from others of its series, in words.
    fn stack(&self) -> String {
        let mut stack = self.image_type();
        for more in [self.text(Tag(0x0008, 0x9208)), self.image_type_text().unwrap_or_default()] {
            if !more.is_empty() {
                let _ = write!(stack, " | {more}");
            }
        }
        let either = |enhanced, classic| self.number(enhanced).or_else(|| self.number(classic));
        let timings = [
            ("TI", either(Tag(0x0018, 0x9079), Tag(0x0018, 0x0082))),
            ("TE", either(Tag(0x0018, 0x9082), Tag(0x0018, 0x0081))),
            ("time point", either(Tag(0x0020, 0x9128), Tag(0x0020, 0x0100))),
            ("acquisition", self.number(Tag(0x0020, 0x0012))),
        ];
        for (name, number) in timings {
            if let Some(number) = number {
                // Microseconds are enough to tell echoes; more digits are a vendor's rounding.
                let _ = write!(stack, " | {name} {}", (number * 1e3).round() / 1e3);
            }
        }
        stack
    }
}

fn in_sorted<'s>(sorted: &[&'s Element], tag: Tag) -> Option<&'s Element> {
    let at = sorted.partition_point(|element| element.tag < tag);
    sorted.get(at).copied().filter(|element| element.tag == tag)
}
