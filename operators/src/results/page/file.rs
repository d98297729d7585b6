//! The PDF file around the page: fonts cut down to what is used, pictures, and an identity that follows from the
//! content. Nothing in it depends on a clock.

use std::collections::BTreeMap;
use std::io::Write;

use flate2::{Compression, write::ZlibEncoder};
use pdf_writer::{
    Filter, Finish, Name, Pdf, Rect, Ref, Str, TextStr,
    types::{CidFontType, FontFlags, SystemInfo, UnicodeCmap},
};
use rayon::prelude::*;
use subsetter::GlyphRemapper;
use ttf_parser::Tag;

use super::{
    PageError,
    canvas::{Canvas, PAGE, POINTS, font_name, picture_name},
};
use crate::{
    digest::Digest,
    results::typeface::{Glyph, Typeface},
};

/// A grey picture.
pub(super) struct Picture {
    /// Pixels across and down.
    pub(super) size: [usize; 2],
    /// Row by row.
    pub(super) grey: Vec<u8>,
}

/// What is used of a face.
#[derive(Default)]
pub(super) struct Used {
    remapper: GlyphRemapper,
    /// By the glyph's new number: what it shows, and its width in ems.
    shown: BTreeMap<u16, (char, f32)>,
}

impl Used {
    /// The glyph's number in the font of the file.
    pub(super) fn code(&mut self, glyph: Glyph) -> u16 {
        let code = self.remapper.remap(glyph.id);
        self.shown.entry(code).or_insert((glyph.character, glyph.advance));
        code
    }
}

const SYSTEM: SystemInfo<'static> = SystemInfo { registry: Str(b"Adobe"), ordering: Str(b"Identity"), supplement: 0 };

/// Hands out object numbers.
struct Numbers(i32);

impl Numbers {
    fn next(&mut self) -> Ref {
        self.0 += 1;
        Ref::new(self.0)
    }
}

/// The file.
///
/// # Errors
/// [`PageError::Font`] where a font cannot be cut down.
pub(super) fn write(canvas: Canvas<'_, '_>, title: &str) -> Result<Vec<u8>, PageError> {
    let Canvas { faces, content, used, pictures, .. } = canvas;
    let content = content.finish();
    let parts = std::iter::once(content.as_slice()).chain(pictures.iter().map(|picture| picture.grey.as_slice()));
    let identity = Digest::of_parts("sulcus page 1", parts).0.to_vec();

    let mut pdf = Pdf::new();
    let mut numbers = Numbers(0);
    let [catalog, pages, page, contents, info] = std::array::from_fn(|_| numbers.next());
    pdf.set_file_id((identity.clone(), identity));
    let mut root = pdf.catalog(catalog);
    root.pages(pages).lang(TextStr("en"));
    root.viewer_preferences().display_doc_title(true);
    root.finish();
    pdf.pages(pages).kids([page]).count(1);
    pdf.document_info(info).title(TextStr(title)).creator(TextStr("Sulcus")).producer(TextStr("Sulcus"));

    let kept: Vec<(usize, &Typeface<'_>, &Used)> = faces
        .faces
        .iter()
        .zip(&used)
        .enumerate()
        .filter(|(_, (_, used))| !used.shown.is_empty())
        .map(|(at, (face, used))| (at, face, used))
        .collect();
    let fonts: Vec<Ref> = kept.iter().map(|_| numbers.next()).collect();
    let images: Vec<Ref> = pictures.iter().map(|_| numbers.next()).collect();

    let mut sheet = pdf.page(page);
    sheet.parent(pages).contents(contents);
    sheet.media_box(Rect::new(0.0, 0.0, PAGE[0] * POINTS, PAGE[1] * POINTS));
    let mut resources = sheet.resources();
    let mut names = resources.fonts();
    for ((at, ..), font) in kept.iter().zip(&fonts) {
        names.pair(Name(font_name(*at).as_bytes()), *font);
    }
    names.finish();
    let mut names = resources.x_objects();
    for (at, image) in images.iter().enumerate() {
        names.pair(Name(picture_name(at).as_bytes()), *image);
    }
    names.finish();
    resources.finish();
    sheet.finish();

    pdf.stream(contents, &deflated(&content, 6)).filter(Filter::FlateDecode);
    for ((_, face, used), font) in kept.into_iter().zip(fonts) {
        embed(&mut pdf, &mut numbers, font, face, used)?;
    }
    // Noise hardly shrinks any further at higher levels.
    let packed: Vec<Vec<u8>> = pictures.par_iter().map(|picture| deflated(&picture.grey, 3)).collect();
    for ((picture, bytes), image) in pictures.iter().zip(packed).zip(images) {
        let mut image = pdf.image_xobject(image, &bytes);
        image.filter(Filter::FlateDecode);
        image.width(picture.size[0] as i32).height(picture.size[1] as i32);
        image.color_space().device_gray();
        image.bits_per_component(8).interpolate(true);
    }
    let mut bytes = pdf.finish();
    // Orthanc takes the last byte of an encapsulated document for padding; without this, the end mark was cut.
    bytes.push(b'\n');
    Ok(bytes)
}

/// A Type 0 font with the used glyphs, their widths, and what they mean.
fn embed(
    pdf: &mut Pdf,
    numbers: &mut Numbers,
    font: Ref,
    Typeface { bytes, face }: &Typeface<'_>,
    used: &Used,
) -> Result<(), PageError> {
    let subset = subsetter::subset(bytes, 0, &used.remapper).map_err(|error| PageError::Font(error.to_string()))?;
    let [descendant, descriptor, program, meaning] = std::array::from_fn(|_| numbers.next());
    let own = face.names().into_iter().find(|name| name.name_id == 6).and_then(|name| name.to_string());
    let own: String = own.unwrap_or_default().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    let name = format!("SULCUS+{own}");
    // An outline in CFF is embedded as that table alone (PDF 32000-1, table 126).
    let cff = ttf_parser::RawFace::parse(&subset, 0).ok().and_then(|raw| raw.table(Tag::from_bytes(b"CFF ")));

    pdf.type0_font(font)
        .base_font(Name(name.as_bytes()))
        .encoding_predefined(Name(b"Identity-H"))
        .descendant_font(descendant)
        .to_unicode(meaning);
    let mut cid = pdf.cid_font(descendant);
    cid.subtype(if cff.is_some() { CidFontType::Type0 } else { CidFontType::Type2 });
    cid.base_font(Name(name.as_bytes())).system_info(SYSTEM).font_descriptor(descriptor).default_width(0.0);
    if cff.is_none() {
        cid.cid_to_gid_map_predefined(Name(b"Identity"));
    }
    let mut widths = cid.widths();
    for (code, (_, advance)) in &used.shown {
        widths.consecutive(*code, [advance * 1000.0]);
    }
    widths.finish();
    cid.finish();

    let unit = 1000.0 / f32::from(face.units_per_em());
    let bounds = face.global_bounding_box();
    let [left, bottom, right, top] =
        [bounds.x_min, bounds.y_min, bounds.x_max, bounds.y_max].map(|edge| f32::from(edge) * unit);
    let mut described = pdf.font_descriptor(descriptor);
    described
        .name(Name(name.as_bytes()))
        .flags(FontFlags::SYMBOLIC)
        .bbox(Rect::new(left, bottom, right, top))
        .italic_angle(0.0)
        .ascent(f32::from(face.ascender()) * unit)
        .descent(f32::from(face.descender()) * unit)
        .cap_height(f32::from(face.capital_height().unwrap_or(face.ascender())) * unit)
        .stem_v(if face.is_bold() { 140.0 } else { 80.0 });
    if cff.is_some() {
        described.font_file3(program)
    } else {
        described.font_file2(program)
    };
    described.finish();

    let packed = deflated(cff.unwrap_or(&subset), 6);
    let mut stream = pdf.stream(program, &packed);
    stream.filter(Filter::FlateDecode);
    match cff {
        Some(_) => stream.pair(Name(b"Subtype"), Name(b"CIDFontType0C")),
        None => stream.pair(Name(b"Length1"), i32::try_from(subset.len()).unwrap_or(i32::MAX)),
    };
    stream.finish();

    let mut meanings = UnicodeCmap::new(Name(b"Sulcus"), SYSTEM);
    for (code, (character, _)) in &used.shown {
        meanings.pair(*code, *character);
    }
    pdf.cmap(meaning, &meanings.finish());
    Ok(())
}

fn deflated(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(level));
    // Writing to memory does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}
