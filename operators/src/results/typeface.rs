//! The typefaces of the page and the key images: which glyph shows a character, how wide it is, what its outline is.
//!
//! Noto Sans (Latin, Greek, Cyrillic) comes with the program. What it lacks is taken from fonts that the caller gives.
//! Scripts that must be shaped (Arabic, Indic) or run from right to left are not shown at all rather than wrongly. How
//! text is laid out is `page`'s, how it is drawn `page::canvas`'s and `raster`'s.

use std::path::Path;

use ttf_parser::{Face, GlyphId, OutlineBuilder};

/// Stands for characters that no typeface shows.
pub(crate) const NOT_SHOWN: &str = "[\u{2026}]";

/// Where free fonts with East Asian characters are usually installed.
const INSTALLED: [&str; 5] = [
    "/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf",
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/google-noto-cjk/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/noto-cjk/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc",
];

/// A font for characters that Noto Sans lacks.
#[derive(Clone, Debug)]
pub struct MoreFont {
    /// A TrueType or OpenType file or collection; of a collection, the first font.
    pub bytes: Vec<u8>,
}

/// A font with East Asian characters, if one is installed on this machine. Read once and kept by the caller, so that
/// equal input gives equal pages.
pub fn installed() -> Option<MoreFont> {
    let read = |path: &&str| std::fs::read(Path::new(path)).ok().filter(|bytes| Face::parse(bytes, 0).is_ok());
    INSTALLED.iter().find_map(read).map(|bytes| MoreFont { bytes })
}

/// Thick or thin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// Noto Sans Regular.
    Regular,
    /// Noto Sans Bold.
    Bold,
}

/// One face and the file that it lies in.
pub(crate) struct Typeface<'a> {
    /// The file.
    pub(crate) bytes: &'a [u8],
    /// Its tables.
    pub(crate) face: Face<'a>,
}

/// A character's place in a line of text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Glyph {
    /// Index of the face.
    pub(crate) face: usize,
    /// Glyph number within it.
    pub(crate) id: u16,
    /// What it shows.
    pub(crate) character: char,
    /// Width, in ems.
    pub(crate) advance: f32,
}

/// Regular, bold, then what was given.
pub(crate) struct Typefaces<'a> {
    pub(crate) faces: Vec<Typeface<'a>>,
}

impl<'a> Typefaces<'a> {
    /// Noto Sans, then `more` in their order; a file that is no font is passed over.
    pub(crate) fn new(more: &'a [MoreFont]) -> Self {
        let own = [notosans::REGULAR_TTF, notosans::BOLD_TTF];
        let files = own.into_iter().chain(more.iter().map(|font| font.bytes.as_slice()));
        let parse = |bytes| Face::parse(bytes, 0).ok().map(|face| Typeface { bytes, face });
        Self { faces: files.filter_map(parse).collect() }
    }

    /// The glyph of a character; none where no face has it, or it may not stand alone.
    pub(crate) fn glyph(&self, weight: Weight, character: char) -> Option<Glyph> {
        let first = usize::from(weight == Weight::Bold);
        if needs_shaping(character) {
            return None;
        }
        let order = std::iter::once(first).chain(2..self.faces.len());
        order.into_iter().find_map(|face| {
            let font = &self.faces.get(face)?.face;
            let id = font.glyph_index(character).filter(|id| id.0 != 0)?;
            let advance = f32::from(font.glyph_hor_advance(id).unwrap_or(0)) / f32::from(font.units_per_em());
            Some(Glyph { face, id: id.0, character, advance })
        })
    }

    /// True where every character can be shown.
    pub(crate) fn shows(&self, text: &str) -> bool {
        visible(text).all(|character| self.glyph(Weight::Regular, character).is_some())
    }

    /// The glyphs of a line; [`NOT_SHOWN`] stands for each stretch of characters that no face shows.
    pub(crate) fn line(&self, weight: Weight, text: &str) -> Vec<Glyph> {
        let mut glyphs = Vec::with_capacity(text.len());
        let mut missing = false;
        for character in visible(text) {
            match self.glyph(weight, character) {
                Some(glyph) => {
                    glyphs.push(glyph);
                    missing = false;
                }
                None if missing => {}
                None => {
                    glyphs.extend(NOT_SHOWN.chars().filter_map(|dots| self.glyph(weight, dots)));
                    missing = true;
                }
            }
        }
        glyphs
    }

    /// Width of a line, in ems.
    pub(crate) fn width(&self, weight: Weight, text: &str) -> f32 {
        self.line(weight, text).iter().map(|glyph| glyph.advance).sum()
    }

    /// The outline of a glyph as closed polygons, in ems, y upwards.
    pub(crate) fn outline(&self, glyph: Glyph) -> Vec<Vec<[f32; 2]>> {
        let Some(font) = self.faces.get(glyph.face) else { return Vec::new() };
        let mut pen = Pen { em: f32::from(font.face.units_per_em()), loops: Vec::new() };
        font.face.outline_glyph(GlyphId(glyph.id), &mut pen);
        pen.loops
    }
}

/// The characters of a line that take room: white space and control characters become a space, invisible marks go.
fn visible(text: &str) -> impl Iterator<Item = char> {
    let kept = text.chars().filter(|c| !matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'));
    kept.map(|c| if c.is_control() || c.is_whitespace() { ' ' } else { c })
}

/// Scripts whose characters change with their neighbours, or run from right to left.
fn needs_shaping(character: char) -> bool {
    matches!(character,
        '\u{590}'..='\u{109f}' | '\u{1100}'..='\u{11ff}' | '\u{1700}'..='\u{1cff}' | '\u{fb1d}'..='\u{fdff}'
        | '\u{fe70}'..='\u{fefc}' | '\u{10800}'..='\u{10fff}' | '\u{11000}'..='\u{11fff}' | '\u{1e800}'..='\u{1efff}')
}

/// Flattens curves into polygons.
struct Pen {
    em: f32,
    loops: Vec<Vec<[f32; 2]>>,
}

impl Pen {
    fn add(&mut self, point: [f32; 2]) {
        let em = self.em;
        if let Some(polygon) = self.loops.last_mut() {
            polygon.push(point.map(|part| part / em));
        }
    }

    fn last(&self) -> [f32; 2] {
        let last = self.loops.last().and_then(|polygon| polygon.last()).copied().unwrap_or_default();
        last.map(|part| part * self.em)
    }

    /// The points of a Bezier curve after its first, in eight steps.
    fn curve<const N: usize>(&mut self, points: [[f32; 2]; N]) {
        for step in 1..=8 {
            let t = step as f32 / 8.0;
            // De Casteljau's construction.
            let mut level = points;
            for end in (1..N).rev() {
                for at in 0..end {
                    level[at] = std::array::from_fn(|i| level[at][i] + t * (level[at + 1][i] - level[at][i]));
                }
            }
            self.add(level[0]);
        }
    }
}

impl OutlineBuilder for Pen {
    fn move_to(&mut self, x: f32, y: f32) {
        self.loops.push(Vec::new());
        self.add([x, y]);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.add([x, y]);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let from = self.last();
        self.curve([from, [x1, y1], [x, y]]);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let from = self.last();
        self.curve([from, [x1, y1], [x2, y2], [x, y]]);
    }

    fn close(&mut self) {}
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn latin_greek_and_cyrillic_are_shown_without_any_font_of_the_machine() {
        let faces = Typefaces::new(&[]);
        assert_eq!(faces.faces.len(), 2);
        for text in ["Müller, Zoë", "Łódź ğışİ", "Αθήνα", "Київ Щукин", "10 \u{2013} 50 mm\u{b3} \u{2026} \u{d7}"]
        {
            assert!(faces.shows(text), "{text}");
            assert!(faces.line(Weight::Bold, text).iter().all(|glyph| glyph.face == 1), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_shown_is_said_and_never_dropped_or_an_empty_box() {
        let faces = Typefaces::new(&[]);
        for text in ["山田", "שלום", "عربى", "अ", "ไทย"] {
            assert!(!faces.shows(text), "{text}");
            let line: String = faces.line(Weight::Regular, &format!("a{text}b")).iter().map(|g| g.character).collect();
            assert_eq!(line, "a[\u{2026}]b");
        }
        assert!(faces.line(Weight::Regular, "a\u{0}\tb").iter().all(|glyph| glyph.id != 0));
    }

    #[test]
    fn a_file_that_is_no_font_is_passed_over() {
        let junk = [MoreFont { bytes: b"no font".to_vec() }];
        assert_eq!(Typefaces::new(&junk).faces.len(), 2);
    }

    #[test]
    fn an_outline_has_the_loops_of_its_letter() {
        let faces = Typefaces::new(&[]);
        let loops = |c| faces.outline(faces.glyph(Weight::Regular, c).unwrap()).len();
        assert_eq!((loops('L'), loops('O'), loops('8')), (1, 2, 3));
    }
}
