//! The key images as a DICOM object: Secondary Capture Image Storage (PS3.3 A.8.1), one RGB sheet of the largest lesions
//! in three views, for archives and viewers that show nothing else.
//!
//! Names no patient. The same planes and contours are on the page; how they lie is `planes`'s.

use dicom_core::{DataElement, VR};
use dicom_dictionary_std::{tags, uids};
use ndarray::ArrayView3;
use thiserror::Error;

use super::{
    RESEARCH_USE,
    dicom::{
        Header, Kind, Object, ObjectError, begin,
        elements::{short, text},
        part_10, patient, strings,
    },
    encapsulated::sources,
    planes::{Plane, PlanesError, Scene, Spot, orientation::View},
    raster::Raster,
    report::{Lesion, Report, Status},
    typeface::{Typefaces, Weight},
};
use crate::{
    prescan::{Limits, prescan},
    volume::{Encoded, Volume},
};

/// What the object is made from.
#[derive(Clone, Copy, Debug)]
pub struct KeyImagesInput<'a> {
    /// Whose object it is, and which.
    pub header: Header<'a>,
    /// The revision's report.
    pub report: &'a Report,
    /// The volume.
    pub volume: &'a Volume,
    /// Its lesion labels, axes (slice, row, column).
    pub labels: ArrayView3<'a, u16>,
}

/// Why there is no object.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum KeyImagesError {
    /// A withdrawn report shows no image.
    #[error("a withdrawn report has no key images; send its page instead")]
    Withdrawn,
    /// The planes cannot be cut.
    #[error("the key images cannot be made")]
    Planes(#[from] PlanesError),
    /// What holds for every object.
    #[error(transparent)]
    Object(#[from] ObjectError),
}

/// A sheet of pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sheet {
    /// Pixels across and down.
    pub size: [usize; 2],
    /// Red, green and blue of each pixel, row by row.
    pub rgb: Vec<u8>,
}

/// Side of a picture, space between, height of a line of words; all even, so that the sheet has an even length.
const SIDE: usize = 400;
const GAP: usize = 8;
const WORDS: usize = 34;
/// Side of a detail, and what it shows at least, mm.
const DETAIL: usize = 160;
const DETAIL_MM: f32 = 28.0;
const CONTOUR: [u8; 3] = [0, 230, 255];
const WHITE: [u8; 3] = [255; 3];
const GREY: [u8; 3] = [170; 3];

/// Writes the object.
///
/// # Errors
/// [`KeyImagesError`].
pub fn encode(input: &KeyImagesInput<'_>) -> Result<Object, KeyImagesError> {
    let series = series_number(input.header.source)?;
    let sheet = sheet(input.report, input.volume, input.labels, series)?;
    let mut notes = Vec::new();
    let kind = Kind {
        sop_class_uid: uids::SECONDARY_CAPTURE_IMAGE_STORAGE,
        // What the images were acquired with.
        modality: "MR",
        series_description: "Sulcus key images",
    };
    let (mut object, inherited) = begin(&input.header, &kind, &mut notes)?;
    for element in patient::inherit_image(input.header.source, &inherited.charset, &mut notes)? {
        if element.header().tag != tags::POSITION_REFERENCE_INDICATOR {
            object.put(element);
        }
    }
    let derived = "Planes through the largest lesions in three views, with contours of the label map; \
                   grey levels from the 1st to the 99.5th percentile";
    for (tag, vr, value) in [
        (tags::CONVERSION_TYPE, VR::CS, "WSD"),
        (tags::DERIVATION_DESCRIPTION, VR::ST, derived),
        (tags::IMAGE_COMMENTS, VR::LT, RESEARCH_USE),
        // Numbers, letters and volumes are burnt in; nothing that names the patient.
        (tags::BURNED_IN_ANNOTATION, VR::CS, "NO"),
        // An unpaired part, so that no laterality is missing.
        (tags::BODY_PART_EXAMINED, VR::CS, "BRAIN"),
        (tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "RGB"),
    ] {
        object.put(text(tag, vr, value));
    }
    object.put(DataElement::new(tags::IMAGE_TYPE, VR::CS, strings(&["DERIVED", "SECONDARY"])));
    object.put(DataElement::empty(tags::PATIENT_ORIENTATION, VR::CS));
    if !input.volume.frames.is_empty() {
        object.put(sources(tags::SOURCE_IMAGE_SEQUENCE, &input.volume.frames)?);
    }
    let [columns, rows] = sheet.size.map(|extent| u16::try_from(extent).unwrap_or(u16::MAX));
    for (tag, value) in [
        (tags::SAMPLES_PER_PIXEL, 3),
        (tags::PLANAR_CONFIGURATION, 0),
        (tags::ROWS, rows),
        (tags::COLUMNS, columns),
        (tags::BITS_ALLOCATED, 8),
        (tags::BITS_STORED, 8),
        (tags::HIGH_BIT, 7),
        (tags::PIXEL_REPRESENTATION, 0),
    ] {
        object.put(short(tag, value));
    }
    Ok(Object { bytes: part_10(&object, Some(&sheet.rgb))?, notes })
}

/// Draws the sheet: for each of the largest lesions a row of three views with a detail; without lesions one row through
/// the middle of the head. `series` is the SeriesNumber of what is shown, where it has one.
///
/// # Errors
/// [`KeyImagesError::Withdrawn`] and [`KeyImagesError::Planes`].
pub fn sheet(
    report: &Report,
    volume: &Volume,
    labels: ArrayView3<'_, u16>,
    series: Option<i32>,
) -> Result<Sheet, KeyImagesError> {
    if report.status == Status::Withdrawn {
        return Err(KeyImagesError::Withdrawn);
    }
    let scene = Scene::new(volume, labels, &report.lesions)?;
    let faces = Typefaces::new(&[]);
    let middle = [scene.middle()];
    let spots = if scene.spots.is_empty() { middle.as_slice() } else { &scene.spots };
    let size = [3 * SIDE + 4 * GAP, 2 * WORDS + spots.len() * (SIDE + WORDS) + GAP];
    let mut raster = Raster::new(size);
    let head = (Weight::Bold, 20.0);
    let of_series = series.map(|number| format!(" of series {number}")).unwrap_or_default();
    let title = format!("Key images{of_series}, report revision {}", report.revision);
    raster.text(&faces, [GAP as f32 + 2.0, 25.0], head, WHITE, &title);
    let (right, left) = (size[0] as f32 - GAP as f32 - 2.0, GAP as f32 + 2.0);
    let width = faces.width(Weight::Bold, RESEARCH_USE) * 20.0;
    raster.text(&faces, [right - width, 25.0], head, CONTOUR, RESEARCH_USE);
    for (row, spot) in spots.iter().enumerate() {
        let top = WORDS + row * (SIDE + WORDS);
        let lesion = report.lesions.iter().find(|lesion| lesion.label == spot.label);
        raster.text(&faces, [left, top as f32 + 25.0], (Weight::Regular, 20.0), GREY, &caption(lesion));
        let planes = View::ALL.map(|view| scene.plane(view, spot));
        let longest = planes.iter().flat_map(Plane::extent).fold(1.0, f32::max);
        for (column, plane) in planes.iter().enumerate() {
            let corner = [GAP + column * (SIDE + GAP), top + WORDS];
            picture(&mut raster, &faces, corner, SIDE as f32 / longest, plane, spot);
        }
    }
    let words = report.result.as_str();
    let baseline = size[1] as f32 - 12.0;
    raster.text(&faces, [left, baseline], (Weight::Regular, 20.0), WHITE, words);
    let width = faces.width(Weight::Bold, RESEARCH_USE) * 20.0;
    raster.text(&faces, [right - width, baseline], head, CONTOUR, RESEARCH_USE);
    Ok(Sheet { size, rgb: raster.samples })
}

/// SeriesNumber of an instance; a UID would tell whose images they are after both were made anonymous.
fn series_number(source: Encoded<'_>) -> Result<Option<i32>, ObjectError> {
    let scan = prescan(source, &Limits::default()).map_err(|error| ObjectError::Source(error.to_string()))?;
    Ok(scan.text(tags::SERIES_NUMBER).trim().parse().ok())
}

fn caption(lesion: Option<&Lesion>) -> String {
    match lesion {
        Some(lesion) => format!("Lesion {}, {:.1} mm\u{b3}", lesion.label, lesion.volume_mm3),
        None => "Middle of the head".to_owned(),
    }
}

/// Where a plane lies in its square: left, top, right, bottom.
fn area(corner: [usize; 2], scale: f32, plane: &Plane) -> [usize; 4] {
    let extent = plane.extent().map(|mm| ((mm * scale).round() as usize).clamp(1, SIDE));
    let first = [0, 1].map(|axis| corner[axis] + (SIDE - extent[axis]) / 2);
    [first[0], first[1], first[0] + extent[0], first[1] + extent[1]]
}

/// One view in a square; `scale` is pixels for a millimetre.
fn picture(raster: &mut Raster, faces: &Typefaces<'_>, corner: [usize; 2], scale: f32, plane: &Plane, spot: &Spot) {
    let whole = [0.0, 0.0, plane.size[0] as f32, plane.size[1] as f32];
    draw(raster, area(corner, scale, plane), whole, plane);
    let [x, y] = corner;
    if spot.label > 0 {
        let part = plane.around_spot(DETAIL_MM);
        // In the lower corner that the lesion is farther from.
        let left = (part[0] + part[2]) / 2.0 > whole[2] / 2.0;
        let first = if left { x } else { x + SIDE - DETAIL };
        let small = [first, y + SIDE - DETAIL, first + DETAIL, y + SIDE];
        draw(raster, small, part, plane);
        raster.frame(small, WHITE);
    }
    let [left, right, top, bottom] = plane.cut.letters.each_ref().map(String::as_str);
    let (x, y, side) = (x as f32, y as f32, SIDE as f32);
    let bold = (Weight::Bold, 18.0);
    let wide = |words: &str| faces.width(Weight::Bold, words) * 18.0;
    for (words, at) in [
        (left, [x + 5.0, y + side / 2.0 + 6.0]),
        (right, [x + side - 5.0 - wide(right), y + side / 2.0 + 6.0]),
        (top, [x + (side - wide(top)) / 2.0, y + 19.0]),
        (bottom, [x + (side - wide(bottom)) / 2.0, y + side - 6.0]),
    ] {
        on_dark(raster, faces, at, bold, words);
    }
    let regular = (Weight::Regular, 15.0);
    for (line, words) in plane.words().iter().enumerate() {
        on_dark(raster, faces, [x + 5.0, y + 17.0 + 19.0 * line as f32], regular, words);
    }
}

/// White words on a dark ground, since skulls are white.
fn on_dark(raster: &mut Raster, faces: &Typefaces<'_>, [x, y]: [f32; 2], style: (Weight, f32), words: &str) {
    let width = faces.width(style.0, words) * style.1;
    let ground = [x - 3.0, y - 0.85 * style.1, x + width + 3.0, y + 0.25 * style.1].map(|edge| edge.round() as isize);
    raster.area(ground, [0; 3]);
    raster.text(faces, [x, y], style, WHITE, words);
}

/// A part of a plane with its contours in a rectangle of the sheet.
fn draw(raster: &mut Raster, area: [usize; 4], part: [f32; 4], plane: &Plane) {
    let size = [area[2] - area[0], area[3] - area[1]];
    raster.grey([area[0], area[1]], size, &plane.sample(part, size));
    let place = |end: [f32; 2]| -> [f32; 2] {
        std::array::from_fn(|axis| {
            let share = (end[axis] - part[axis]) / (part[axis + 2] - part[axis]);
            area[axis] as f32 + share * size[axis] as f32
        })
    };
    let pieces: Vec<[[f32; 2]; 2]> = plane.contours().iter().map(|segment| segment.ends.map(place)).collect();
    // On a dark ground, to be seen on white matter too.
    raster.pieces(&pieces, area, 3.0, [0; 3]);
    raster.pieces(&pieces, area, 1.3, CONTOUR);
}

#[cfg(test)]
#[path = "key_images_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
