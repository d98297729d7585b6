//! One A4 page in millimetres from its top left corner: text, lines, areas and grey pictures.
//!
//! What stands where is for the sections to say; the file around it is `file`'s.

use pdf_writer::{
    Content, Name, Str,
    types::{LineCapStyle, LineJoinStyle},
};

use super::file::{Picture, Used};
use crate::results::typeface::{Typefaces, Weight};

/// Points in a millimetre.
pub(super) const POINTS: f32 = 72.0 / 25.4;
/// A4, mm.
pub(super) const PAGE: [f32; 2] = [210.0, 297.0];

/// A colour, red, green and blue from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ink(pub(super) [f32; 3]);

/// Text.
pub(super) const BLACK: Ink = Ink([0.10, 0.12, 0.14]);
/// Labels and what matters less.
pub(super) const GREY: Ink = Ink([0.38, 0.42, 0.46]);
/// Hairlines.
pub(super) const LINE: Ink = Ink([0.82, 0.85, 0.87]);
/// The one accent.
pub(super) const ACCENT: Ink = Ink([0.0, 0.38, 0.47]);
/// What nobody may overlook.
pub(super) const ALARM: Ink = Ink([0.75, 0.07, 0.10]);
/// A tint of the accent, for areas behind text.
pub(super) const TINT: Ink = Ink([0.92, 0.96, 0.97]);
/// Paper.
pub(super) const WHITE: Ink = Ink([1.0; 3]);

/// How text is set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Style {
    pub(super) weight: Weight,
    /// Points.
    pub(super) size: f32,
    pub(super) ink: Ink,
}

/// Regular text.
pub(super) const fn regular(size: f32, ink: Ink) -> Style {
    Style { weight: Weight::Regular, size, ink }
}

/// Bold text.
pub(super) const fn bold(size: f32, ink: Ink) -> Style {
    Style { weight: Weight::Bold, size, ink }
}

/// The page that is drawn.
pub(super) struct Canvas<'f, 'a> {
    pub(super) faces: &'f Typefaces<'a>,
    pub(super) content: Content,
    pub(super) used: Vec<Used>,
    pub(super) pictures: Vec<Picture>,
    /// True once some text held characters that no typeface shows.
    pub(super) missing: bool,
}

impl<'f, 'a> Canvas<'f, 'a> {
    pub(super) fn new(faces: &'f Typefaces<'a>) -> Self {
        let used = faces.faces.iter().map(|_| Used::default()).collect();
        Self { faces, content: Content::new(), used, pictures: Vec::new(), missing: false }
    }

    /// Text from a point on its baseline; gives its width, mm.
    pub(super) fn text(&mut self, [x, y]: [f32; 2], style: Style, text: &str) -> f32 {
        self.missing |= !self.faces.shows(text);
        let glyphs = self.faces.line(style.weight, text);
        self.fill(style.ink);
        let mut at = x * POINTS;
        for run in glyphs.chunk_by(|a, b| a.face == b.face) {
            let Some(face) = run.first().map(|glyph| glyph.face) else { continue };
            let Some(used) = self.used.get_mut(face) else { continue };
            let bytes: Vec<u8> = run.iter().flat_map(|glyph| used.code(*glyph).to_be_bytes()).collect();
            self.content.begin_text().set_font(Name(font_name(face).as_bytes()), style.size);
            self.content.next_line(at, (PAGE[1] - y) * POINTS).show(Str(&bytes)).end_text();
            at += run.iter().map(|glyph| glyph.advance).sum::<f32>() * style.size;
        }
        at / POINTS - x
    }

    /// Text up to a point on its baseline.
    pub(super) fn text_to(&mut self, [x, y]: [f32; 2], style: Style, text: &str) {
        self.text([x - self.width(style, text), y], style, text);
    }

    /// Text about a point on its baseline.
    pub(super) fn text_about(&mut self, [x, y]: [f32; 2], style: Style, text: &str) {
        self.text([x - self.width(style, text) / 2.0, y], style, text);
    }

    /// Width, mm.
    pub(super) fn width(&self, style: Style, text: &str) -> f32 {
        self.faces.width(style.weight, text) * style.size / POINTS
    }

    /// The text, or as much of it as fits with an ellipsis.
    pub(super) fn fitted(&self, style: Style, text: &str, width: f32) -> String {
        if self.width(style, text) <= width {
            return text.to_owned();
        }
        let room = (width * POINTS / style.size - self.faces.width(style.weight, "\u{2026}")).max(0.0);
        let mut taken = 0.0;
        let fits = |character: &char| {
            taken += self.faces.width(style.weight, character.encode_utf8(&mut [0; 4]));
            taken <= room
        };
        let kept: String = text.chars().take_while(fits).collect();
        format!("{}\u{2026}", kept.trim_end())
    }

    /// The text in at most `most` lines, broken between words, or within one that is longer than a line; what does not
    /// fit ends in an ellipsis.
    pub(super) fn wrapped(&self, style: Style, text: &str, width: f32, most: usize) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            if lines.len() + 1 >= most {
                lines.push(self.fitted(style, rest, width));
                break;
            }
            let end = self.line_end(style, rest, width);
            let (line, after) = rest.split_at(end);
            lines.push(line.trim_end().to_owned());
            rest = after.trim_start();
        }
        lines
    }

    /// Bytes of the first line of a text; at least one character.
    fn line_end(&self, style: Style, text: &str, width: f32) -> usize {
        let room = width * POINTS / style.size;
        let (mut taken, mut space) = (0.0, None);
        for (at, character) in text.char_indices() {
            taken += self.faces.width(style.weight, character.encode_utf8(&mut [0; 4]));
            if taken > room && at > 0 {
                return space.unwrap_or(at);
            }
            if character == ' ' {
                space = Some(at);
            }
        }
        text.len()
    }

    /// A filled rectangle: left, top, width, height.
    pub(super) fn area(&mut self, [x, y, width, height]: [f32; 4], ink: Ink) {
        self.fill(ink);
        self.rectangle([x, y, width, height]);
        self.content.fill_nonzero();
    }

    /// The outline of a rectangle.
    pub(super) fn frame(&mut self, area: [f32; 4], width: f32, ink: Ink) {
        self.stroke(width, ink);
        self.rectangle(area);
        self.content.stroke();
    }

    /// Lines between points.
    pub(super) fn lines(&mut self, points: &[[f32; 2]], width: f32, ink: Ink) {
        self.stroke(width, ink);
        for (at, [x, y]) in points.iter().enumerate() {
            let (x, y) = (x * POINTS, (PAGE[1] - y) * POINTS);
            if at == 0 {
                self.content.move_to(x, y)
            } else {
                self.content.line_to(x, y)
            };
        }
        self.content.stroke();
    }

    /// Pieces of line, each for itself, within an area.
    pub(super) fn pieces(&mut self, pieces: &[[[f32; 2]; 2]], within: [f32; 4], width: f32, ink: Ink) {
        self.content.save_state();
        self.rectangle(within);
        self.content.clip_nonzero().end_path();
        self.stroke(width, ink);
        for [[x, y], [to_x, to_y]] in pieces {
            self.content.move_to(x * POINTS, (PAGE[1] - y) * POINTS);
            self.content.line_to(to_x * POINTS, (PAGE[1] - to_y) * POINTS);
        }
        self.content.stroke().restore_state();
    }

    /// A filled disc.
    pub(super) fn disc(&mut self, [x, y]: [f32; 2], radius: f32, ink: Ink) {
        // A line of no length with round ends.
        self.lines(&[[x, y], [x, y]], 2.0 * radius, ink);
    }

    /// A grey picture, `size` pixels across and down, row by row.
    pub(super) fn picture(&mut self, [x, y, width, height]: [f32; 4], size: [usize; 2], grey: Vec<u8>) {
        let name = picture_name(self.pictures.len());
        self.pictures.push(Picture { size, grey });
        self.content.save_state();
        let [x, y] = [x * POINTS, (PAGE[1] - y - height) * POINTS];
        self.content.transform([width * POINTS, 0.0, 0.0, height * POINTS, x, y]);
        self.content.x_object(Name(name.as_bytes())).restore_state();
    }

    fn rectangle(&mut self, [x, y, width, height]: [f32; 4]) {
        self.content.rect(x * POINTS, (PAGE[1] - y - height) * POINTS, width * POINTS, height * POINTS);
    }

    fn fill(&mut self, Ink([red, green, blue]): Ink) {
        self.content.set_fill_rgb(red, green, blue);
    }

    fn stroke(&mut self, width: f32, Ink([red, green, blue]): Ink) {
        self.content.set_stroke_rgb(red, green, blue).set_line_width(width * POINTS);
        self.content.set_line_cap(LineCapStyle::RoundCap).set_line_join(LineJoinStyle::RoundJoin);
    }
}

/// The resource name of a face.
pub(super) fn font_name(face: usize) -> String {
    format!("F{face}")
}

/// The resource name of a picture.
pub(super) fn picture_name(at: usize) -> String {
    format!("I{at}")
}
