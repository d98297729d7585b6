//! The report for people: one A4 page for each revision of a study's report, as PDF.
//!
//! The page is put together here, each part of it in a file of its own; `canvas` draws, `file` writes. What does not fit
//! is counted and said, so that the page is one page whatever the report holds. Equal input gives equal bytes.

mod canvas;
mod file;
mod heading;
mod lesions;
mod pictures;
mod remarks;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod visits;

use ndarray::ArrayView3;
use thiserror::Error;

use self::canvas::Canvas;
use super::{
    planes::{PlanesError, Scene},
    report::{Report, Status},
    typeface::{MoreFont, Typefaces},
    wording::Wording,
};
use crate::{
    prescan::Refusal,
    rows::Millis,
    volume::{Encoded, Volume},
};

/// Everything that a page says.
#[derive(Clone, Copy, Debug)]
pub struct PageInput<'a> {
    /// The revision's report.
    pub report: &'a Report,
    /// The revision that this one supersedes, and when it was issued; none for the first.
    pub supersedes: Option<(u32, Millis)>,
    /// One instance of the series that was used, as stored; of a withdrawn report, any of the study.
    pub source: Encoded<'a>,
    /// The volume and its lesion labels, axes (slice, row, column); none for a withdrawn report.
    pub images: Option<(&'a Volume, ArrayView3<'a, u16>)>,
    /// Earlier visits of the patient, in the order of their dates; may be empty.
    pub earlier: &'a [Visit],
    /// Version of Sulcus.
    pub software_version: &'a str,
    /// Fonts for characters beyond Latin, Greek and Cyrillic, such as [`installed`](super::typeface::installed) finds.
    pub fonts: &'a [MoreFont],
}

/// What was found at an earlier visit, and how the lesions of this one compare with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Visit {
    /// StudyDate, `YYYYMMDD`.
    pub study_date: String,
    /// Lesions then.
    pub lesions: u32,
    /// Their volume, mm3.
    pub volume_mm3: f64,
    /// From then to now.
    pub changes: Changes,
}

/// How many lesions did what since an earlier visit; none where nobody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Were not there.
    pub new: Option<u32>,
    /// Were and are there.
    pub persisting: Option<u32>,
    /// Became larger.
    pub enlarging: Option<u32>,
    /// Became smaller.
    pub shrinking: Option<u32>,
    /// Are gone.
    pub resolved: Option<u32>,
}

/// Why there is no page.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PageError {
    /// The source's bytes cannot be read.
    #[error("the source instance cannot be read")]
    Source(#[from] Refusal),
    /// A final report without images.
    #[error("a final report needs its volume and label map for the page; convert the series again")]
    NoImages,
    /// The key images cannot be made.
    #[error("the key images of the page cannot be made")]
    Planes(#[from] PlanesError),
    /// A font cannot be embedded.
    #[error("a font of the page cannot be embedded ({0}); leave the site's own font out")]
    Font(String),
}

/// Left edge, right edge, mm.
const LEFT: f32 = 15.0;
const RIGHT: f32 = 195.0;
/// Where the last section must end, mm.
const BOTTOM: f32 = 270.0;
/// Width of the lesion table, and where the pictures begin, mm.
const TABLE: f32 = 74.0;
const PICTURES: f32 = LEFT + TABLE + 6.0;

/// The page as a PDF file.
///
/// # Errors
/// [`PageError`].
pub fn render(input: &PageInput<'_>) -> Result<Vec<u8>, PageError> {
    let words = Wording::read(input.source)?;
    let faces = Typefaces::new(input.fonts);
    let mut canvas = Canvas::new(&faces);
    heading::bands(&mut canvas);
    heading::title(&mut canvas, input.report, input.supersedes);
    let top = heading::facts(&mut canvas, &words, input.report);
    match input.report.status {
        Status::Withdrawn => {
            let top = heading::withdrawn(&mut canvas, top, input.report);
            if !input.report.series_not_used.is_empty() {
                remarks::remarks(&mut canvas, top, input.report);
            }
        }
        Status::Final => {
            let (volume, labels) = input.images.ok_or(PageError::NoImages)?;
            let scene = Scene::new(volume, labels, &input.report.lesions)?;
            let top = heading::result(&mut canvas, top, input.report);
            let top = remarks::remarks(&mut canvas, top, input.report);
            let plot = if input.earlier.is_empty() { 0.0 } else { visits::HEIGHT };
            let end = lesions::tables(&mut canvas, [top, BOTTOM - plot], input.report);
            visits::visits(&mut canvas, end + 7.0, input.earlier, input.report, &words.study_date);
            pictures::pictures(&mut canvas, [top, BOTTOM], &scene, input.report);
        }
    }
    heading::origin(&mut canvas, input.report, input.software_version, words.undecoded);
    file::write(canvas, "Lesion report, research use only, not for diagnosis")
}
