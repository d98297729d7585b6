//! A small picture in colour: grey planes, antialiased lines and text on it, pixel by pixel.
//!
//! What is drawn where is `key_images`'s; the outlines of letters are `typeface`'s.

use super::typeface::{Typefaces, Weight};

/// Steps within a pixel's height when an outline is filled.
const STEPS: usize = 4;

/// Red, green and blue.
pub(crate) type Colour = [u8; 3];

/// A picture, black to begin with.
pub(crate) struct Raster {
    /// Pixels across and down.
    pub(crate) size: [usize; 2],
    /// Three samples a pixel, row by row.
    pub(crate) samples: Vec<u8>,
}

impl Raster {
    pub(crate) fn new(size: [usize; 2]) -> Self {
        Self { size, samples: vec![0; size[0] * size[1] * 3] }
    }

    /// Puts a colour over a pixel; `cover` is from 0 to 1. Outside nothing happens.
    fn blend(&mut self, [x, y]: [isize; 2], colour: Colour, cover: f32) {
        if x < 0 || y < 0 || x as usize >= self.size[0] || y as usize >= self.size[1] {
            return;
        }
        let first = (y as usize * self.size[0] + x as usize) * 3;
        for (sample, wanted) in self.samples.iter_mut().skip(first).take(3).zip(colour) {
            let under = f32::from(*sample);
            *sample = (under + (f32::from(wanted) - under) * cover.clamp(0.0, 1.0)).round() as u8;
        }
    }

    /// A grey picture of `size` pixels, row by row, with its top left corner at a place.
    pub(crate) fn grey(&mut self, [x, y]: [usize; 2], size: [usize; 2], grey: &[u8]) {
        for (row, line) in grey.chunks(size[0].max(1)).enumerate() {
            for (column, &level) in line.iter().enumerate() {
                self.blend([(x + column) as isize, (y + row) as isize], [level; 3], 1.0);
            }
        }
    }

    /// The outline of a rectangle (left, top, right, bottom), one pixel wide, on its inside.
    pub(crate) fn frame(&mut self, [left, top, right, bottom]: [usize; 4], colour: Colour) {
        for x in left..right {
            for y in [top, bottom.saturating_sub(1)] {
                self.blend([x as isize, y as isize], colour, 1.0);
            }
        }
        for y in top..bottom {
            for x in [left, right.saturating_sub(1)] {
                self.blend([x as isize, y as isize], colour, 1.0);
            }
        }
    }

    /// A filled rectangle: left, top, right, bottom.
    pub(crate) fn area(&mut self, [left, top, right, bottom]: [isize; 4], colour: Colour) {
        for y in top..bottom {
            for x in left..right {
                self.blend([x, y], colour, 1.0);
            }
        }
    }

    /// Pieces of line within a rectangle (left, top, right, bottom). Where pieces overlap they cover once.
    pub(crate) fn pieces(&mut self, pieces: &[[[f32; 2]; 2]], within: [usize; 4], width: f32, colour: Colour) {
        let [left, top, right, bottom] = within;
        let across = right.saturating_sub(left);
        let mut cover = vec![0.0f32; across * bottom.saturating_sub(top)];
        for [from, to] in pieces {
            let reach = width / 2.0 + 1.0;
            let range = |axis: usize, first: usize, end: usize| {
                let low = (from[axis].min(to[axis]) - reach).floor().max(first as f32) as usize;
                let high = (from[axis].max(to[axis]) + reach).ceil().min(end as f32).max(0.0) as usize;
                low..high
            };
            for y in range(1, top, bottom) {
                for x in range(0, left, right) {
                    let covered = (width / 2.0 + 0.5 - distance([x as f32 + 0.5, y as f32 + 0.5], *from, *to)).min(1.0);
                    if let Some(most) = cover.get_mut((y - top) * across + x - left) {
                        *most = most.max(covered);
                    }
                }
            }
        }
        for (at, covered) in cover.into_iter().enumerate().filter(|(_, covered)| *covered > 0.0) {
            self.blend([(left + at % across) as isize, (top + at / across) as isize], colour, covered);
        }
    }

    /// Text from a point on its baseline, `size` pixels to the em; gives its width in pixels.
    pub(crate) fn text(
        &mut self,
        faces: &Typefaces<'_>,
        [x, y]: [f32; 2],
        (weight, size): (Weight, f32),
        colour: Colour,
        text: &str,
    ) -> f32 {
        let mut at = x;
        for glyph in faces.line(weight, text) {
            let loops = faces.outline(glyph);
            let placed: Vec<Vec<[f32; 2]>> = loops
                .iter()
                .map(|polygon| polygon.iter().map(|[u, v]| [at + u * size, y - v * size]).collect())
                .collect();
            self.fill(&placed, colour);
            at += glyph.advance * size;
        }
        at - x
    }

    /// Fills polygons by the nonzero rule.
    fn fill(&mut self, polygons: &[Vec<[f32; 2]>], colour: Colour) {
        let points = || polygons.iter().flatten();
        let edge = |axis: usize, pick: fn(f32, f32) -> f32, start: f32| points().map(|p| p[axis]).fold(start, pick);
        let (left, right) = (edge(0, f32::min, f32::MAX).floor(), edge(0, f32::max, f32::MIN).ceil());
        let (top, bottom) = (edge(1, f32::min, f32::MAX).floor(), edge(1, f32::max, f32::MIN).ceil());
        if !(left < right && top < bottom) {
            return;
        }
        for y in top as isize..bottom as isize {
            let mut cover = vec![0.0f32; (right - left) as usize];
            for step in 0..STEPS {
                let line = y as f32 + (step as f32 + 0.5) / STEPS as f32;
                for [from, to] in inside(polygons, line) {
                    let (from, to) = (from - left, to - left);
                    for at in from.max(0.0) as usize..(to.ceil().max(0.0) as usize).min(cover.len()) {
                        let share = (to.min(at as f32 + 1.0) - from.max(at as f32)).max(0.0);
                        cover[at] += share / STEPS as f32;
                    }
                }
            }
            for (at, covered) in cover.into_iter().enumerate().filter(|(_, covered)| *covered > 0.0) {
                self.blend([left as isize + at as isize, y], colour, covered);
            }
        }
    }
}

/// The stretches of a horizontal line that lie within polygons, by the nonzero rule.
fn inside(polygons: &[Vec<[f32; 2]>], line: f32) -> Vec<[f32; 2]> {
    let mut crossings: Vec<(f32, i32)> = Vec::new();
    for polygon in polygons {
        for (at, &[x, y]) in polygon.iter().enumerate() {
            let &[to_x, to_y] = polygon.get(at + 1).or(polygon.first()).unwrap_or(&[x, y]);
            if (y <= line) != (to_y <= line) {
                let share = (line - y) / (to_y - y);
                crossings.push((x + share * (to_x - x), if to_y > y { 1 } else { -1 }));
            }
        }
    }
    crossings.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut winding = 0;
    let mut stretches = Vec::new();
    for pair in crossings.windows(2) {
        let [(from, turn), (to, _)] = pair else { continue };
        winding += turn;
        if winding != 0 {
            stretches.push([*from, *to]);
        }
    }
    stretches
}

/// Distance of a point from a piece of line.
fn distance(point: [f32; 2], from: [f32; 2], to: [f32; 2]) -> f32 {
    let along = [to[0] - from[0], to[1] - from[1]];
    let length = along[0] * along[0] + along[1] * along[1];
    let offset = [point[0] - from[0], point[1] - from[1]];
    let share =
        if length > 0.0 { ((offset[0] * along[0] + offset[1] * along[1]) / length).clamp(0.0, 1.0) } else { 0.0 };
    (offset[0] - share * along[0]).hypot(offset[1] - share * along[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bright(raster: &Raster, x: usize, y: usize) -> u8 {
        raster.samples[(y * raster.size[0] + x) * 3]
    }

    #[test]
    fn a_line_covers_its_pixels_and_no_others() {
        let mut raster = Raster::new([12, 9]);
        raster.pieces(&[[[2.0, 4.5], [9.0, 4.5]], [[4.0, 4.5], [9.0, 4.5]]], [0, 0, 8, 9], 1.0, [200; 3]);
        assert_eq!([3, 7, 8, 11].map(|x| bright(&raster, x, 4)), [200, 200, 0, 0]);
        assert_eq!([2, 6].map(|y| bright(&raster, 5, y)), [0, 0]);
    }

    #[test]
    fn a_letter_with_a_hole_is_filled_around_it() {
        let mut raster = Raster::new([40, 40]);
        let faces = Typefaces::new(&[]);
        let width = raster.text(&faces, [4.0, 34.0], (Weight::Bold, 40.0), [255; 3], "O");
        let middle = (4.0 + width / 2.0) as usize;
        assert_eq!(bright(&raster, middle, 20), 0, "the hole");
        assert!((0..middle).any(|x| bright(&raster, x, 20) == 255), "the left stroke");
        assert!(raster.samples.chunks(3).all(|pixel| pixel[0] == pixel[2]));
    }

    #[test]
    fn nothing_is_drawn_outside() {
        let mut raster = Raster::new([6, 6]);
        let faces = Typefaces::new(&[]);
        raster.text(&faces, [-50.0, -3.0], (Weight::Regular, 30.0), [255; 3], "WWW");
        raster.pieces(&[[[-9.0, -9.0], [20.0, -9.0]]], [0, 0, 6, 6], 2.0, [255; 3]);
        raster.grey([4, 4], [4, 4], &[9; 16]);
        assert_eq!(raster.samples.iter().filter(|sample| **sample != 0).count(), 4 * 3);
    }
}
