//! Key images: three views through each of the largest lesions, with a detail in a corner; through the middle of the
//! head where there is no lesion.

use super::{
    PICTURES, RIGHT,
    canvas::{ACCENT, BLACK, Canvas, GREY, Ink, WHITE, bold, regular},
    heading::cubic,
};
use crate::results::{
    planes::{Plane, Scene, Spot, orientation::View},
    report::Report,
};

/// Contours: a light tint of the accent, which grey levels do not hide.
const CONTOUR: Ink = Ink([0.0, 0.90, 1.0]);
/// Behind and beside the planes.
const DARK: Ink = Ink([0.0; 3]);
/// Space between pictures, mm.
const GAP: f32 = 1.2;
/// Height of the line above a row, mm.
const CAPTION: f32 = 4.6;
/// Side of a detail as a share of its picture's, and what it shows at least, mm.
const DETAIL: f32 = 0.40;
const DETAIL_MM: f32 = 28.0;
/// Pixels in a millimetre of head, and at most across a picture.
const FINENESS: f32 = 2.0;
const MOST: f32 = 460.0;

/// The pictures between top and end.
pub(super) fn pictures(canvas: &mut Canvas<'_, '_>, [top, end]: [f32; 2], scene: &Scene<'_>, report: &Report) {
    canvas.text([PICTURES, top], bold(8.5, ACCENT), "Key images");
    let middle = [scene.middle()];
    let spots = if scene.spots.is_empty() { middle.as_slice() } else { &scene.spots };
    let width = (RIGHT - PICTURES - 2.0 * GAP) / 3.0;
    let height = (end - top - 2.0) / spots.len() as f32 - CAPTION - 1.0;
    let side = width.min(height).max(10.0);
    let mut y = top + 1.6;
    for spot in spots {
        let planes = View::ALL.map(|view| scene.plane(view, spot));
        // One scale for all views, so that they compare.
        let longest = planes.iter().flat_map(Plane::extent).fold(1.0, f32::max);
        let lesion = report.lesions.iter().find(|lesion| lesion.label == spot.label);
        let words = match lesion {
            Some(lesion) => format!("Lesion {}", lesion.label),
            None => "Middle of the head".to_owned(),
        };
        let after = canvas.text([PICTURES, y + 3.1], bold(7.5, BLACK), &words);
        if let Some(lesion) = lesion {
            canvas.text([PICTURES + after + 2.0, y + 3.1], regular(7.5, GREY), &cubic(lesion.volume_mm3));
        }
        for (at, plane) in planes.iter().enumerate() {
            let x = PICTURES + at as f32 * (side + GAP);
            picture(canvas, [x, y + CAPTION, side], side / longest, plane, spot);
        }
        y += side + CAPTION + 1.0;
    }
}

/// One view in a square: left, top, side; `scale` is mm on paper for one of the head.
fn picture(canvas: &mut Canvas<'_, '_>, [x, y, side]: [f32; 3], scale: f32, plane: &Plane, spot: &Spot) {
    canvas.area([x, y, side, side], DARK);
    let whole = [0.0, 0.0, plane.size[0] as f32, plane.size[1] as f32];
    let [across, down] = plane.extent().map(|mm| mm * scale);
    let area = [x + (side - across) / 2.0, y + (side - down) / 2.0, across, down];
    draw(canvas, area, whole, plane, 0.2);
    if spot.label > 0 {
        let part = plane.around_spot(DETAIL_MM);
        // In the lower corner that the lesion is farther from.
        let left = (part[0] + part[2]) / 2.0 > whole[2] / 2.0;
        let small = side * DETAIL;
        let corner = [if left { x + 0.4 } else { x + side - small - 0.4 }, y + side - small - 0.4, small, small];
        draw(canvas, corner, part, plane, 0.3);
        canvas.frame(corner, 0.15, WHITE);
    }
    let style = bold(6.0, WHITE);
    let [left, right, top, bottom] = plane.cut.letters.each_ref().map(String::as_str);
    let middle = y + side / 2.0 + 0.8;
    canvas.text([x + 0.8, middle], style, left);
    canvas.text_to([x + side - 0.8, middle], style, right);
    canvas.text_about([x + side / 2.0, y + 2.6], style, top);
    canvas.text_about([x + side / 2.0, y + side - 0.9], style, bottom);
    canvas.text([x + 0.8, y + 2.6], regular(5.5, WHITE), &named(plane));
}

/// The view's name, and its tilt where it has one.
fn named(plane: &Plane) -> String {
    match plane.cut.tilt {
        tilt if tilt < 1.0 => plane.cut.view.name().to_owned(),
        tilt => format!("{}, {tilt:.0}\u{b0} oblique", plane.cut.view.name()),
    }
}

/// A part of a plane with its contours in an area of the page.
fn draw(canvas: &mut Canvas<'_, '_>, area: [f32; 4], part: [f32; 4], plane: &Plane, line: f32) {
    let pixels = |axis: usize| {
        let mm = (part[axis + 2] - part[axis]) * plane.step[axis];
        let detail = part[axis + 2] - part[axis] < plane.size[axis] as f32 * 0.6;
        (mm * if detail { 3.0 * FINENESS } else { FINENESS }).clamp(1.0, MOST).round() as usize
    };
    let size = [pixels(0), pixels(1)];
    canvas.picture(area, size, plane.sample(part, size));
    let place = |end: [f32; 2]| -> [f32; 2] {
        std::array::from_fn(|axis| {
            area[axis] + (end[axis] - part[axis]) / (part[axis + 2] - part[axis]) * area[axis + 2]
        })
    };
    let pieces: Vec<[[f32; 2]; 2]> = plane.contours().iter().map(|segment| segment.ends.map(place)).collect();
    canvas.pieces(&pieces, area, line, CONTOUR);
}
