//! Key images: three views through each of the largest lesions, with a detail in a corner; through the middle of the
//! head where there is no lesion.

use super::{
    PICTURES, RIGHT,
    canvas::{ACCENT, BLACK, Canvas, GREY, Ink, WHITE, bold, regular},
    heading::cubic,
};
use crate::results::{
    planes::{Plane, Scene, Segment, Spot, orientation::View},
    report::Report,
};

/// Contours: a light tint of the accent, which grey levels do not hide.
const CONTOUR: Ink = Ink([0.0, 0.90, 1.0]);
/// Behind and beside the planes.
const DARK: Ink = Ink([0.0; 3]);
/// Space between pictures, mm.
const GAP: f32 = 1.2;
/// Left dark around a plane, so that none reaches beyond its square, mm.
const EDGE: f32 = 0.6;
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
    // A single row would leave the page empty: its pictures are larger, in two rows.
    let across = if spots.len() == 1 { 2 } else { 3 };
    let down = if spots.len() == 1 { 2 } else { 1 };
    let width = (RIGHT - PICTURES + GAP) / across as f32 - GAP;
    let height = ((end - top - 2.0) / spots.len() as f32 - CAPTION - 2.0) / down as f32 - GAP;
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
            let x = PICTURES + (at % across) as f32 * (side + GAP);
            let y = y + CAPTION + (at / across) as f32 * (side + GAP);
            picture(canvas, [x, y, side], (side - EDGE) / longest, plane, spot);
        }
        if spots.len() == 1 && spot.label > 0 {
            detail(canvas, [PICTURES + side + GAP, y + CAPTION + side + GAP, side], &planes[0]);
        }
        y += down as f32 * (side + GAP) + CAPTION + 2.0 - GAP;
    }
}

/// One view in a square: left, top, side; `scale` is mm on paper for one of the head.
fn picture(canvas: &mut Canvas<'_, '_>, [x, y, side]: [f32; 3], scale: f32, plane: &Plane, spot: &Spot) {
    canvas.area([x, y, side, side], DARK);
    let whole = [0.0, 0.0, plane.size[0] as f32, plane.size[1] as f32];
    let [across, down] = plane.extent().map(|mm| mm * scale);
    let area = [x + (side - across) / 2.0, y + (side - down) / 2.0, across, down];
    let contours = plane.contours();
    draw(canvas, area, whole, (plane, &contours), 0.2);
    if spot.label > 0 {
        let part = plane.around_spot(DETAIL_MM);
        // In the lower corner that the lesion is farther from.
        let left = (part[0] + part[2]) / 2.0 > whole[2] / 2.0;
        let small = side * DETAIL;
        let corner = [if left { x + 0.4 } else { x + side - small - 0.4 }, y + side - small - 0.4, small, small];
        draw(canvas, corner, part, (plane, &contours), 0.3);
        canvas.frame(corner, 0.15, WHITE);
    }
    let [left, right, top, bottom] = plane.cut.letters.each_ref().map(String::as_str);
    letters(canvas, [x + 2.2, y + side / 2.0], left);
    letters(canvas, [x + side - 2.2, y + side / 2.0], right);
    letters(canvas, [x + side / 2.0, y + 1.9], top);
    letters(canvas, [x + side / 2.0, y + side - 1.9], bottom);
    named(canvas, [x, y], &plane.words());
}

/// Lines of words in the upper left corner of a picture, on a dark ground.
fn named(canvas: &mut Canvas<'_, '_>, [x, y]: [f32; 2], lines: &[String]) {
    let style = regular(5.5, WHITE);
    let top = |line: usize| y + 2.3 * line as f32;
    for (line, words) in lines.iter().enumerate() {
        let width = canvas.width(style, words);
        canvas.area([x, top(line), width + 1.6, 3.2], DARK);
    }
    // After all grounds, which would cut what hangs below a line.
    for (line, words) in lines.iter().enumerate() {
        canvas.text([x + 0.8, top(line) + 2.4], style, words);
    }
}

/// The axial view around a lesion that is the only one, in a square of its own.
fn detail(canvas: &mut Canvas<'_, '_>, [x, y, side]: [f32; 3], axial: &Plane) {
    let words = format!("{}, detail", axial.cut.view.name());
    draw(canvas, [x, y, side, side], axial.around_spot(1.5 * DETAIL_MM), (axial, &axial.contours()), 0.35);
    named(canvas, [x, y], &[words]);
}

/// Letters about a point, on a dark ground, since skulls are white.
fn letters(canvas: &mut Canvas<'_, '_>, [x, y]: [f32; 2], letters: &str) {
    let style = bold(6.0, WHITE);
    let width = canvas.width(style, letters) + 1.0;
    canvas.area([x - width / 2.0, y - 1.3, width, 2.6], DARK);
    canvas.text_about([x, y + 0.8], style, letters);
}

/// A part of a plane with its contours in an area of the page.
fn draw(
    canvas: &mut Canvas<'_, '_>,
    area: [f32; 4],
    part: [f32; 4],
    (plane, contours): (&Plane, &[Segment]),
    line: f32,
) {
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
    let pieces: Vec<[[f32; 2]; 2]> = contours.iter().map(|segment| segment.ends.map(place)).collect();
    // On a dark ground, to be seen on white matter too.
    canvas.pieces(&pieces, area, line + 0.2, DARK);
    canvas.pieces(&pieces, area, line, CONTOUR);
}
