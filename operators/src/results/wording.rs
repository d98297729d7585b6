//! What the header of a source instance says, in words for people: patient, study, scanner, protocol.
//!
//! Text is decoded by the file's SpecificCharacterSet, code extensions (ISO 2022) included. Which characters can be
//! shown is `typeface`'s matter, where they stand on the page `page`'s. Nothing of it may reach a log.

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use dicom_encoding::text::{SpecificCharacterSet, TextCodec};

use crate::{
    prescan::{Limits, Prescan, Refusal, prescan},
    volume::Encoded,
};

/// What the page says of the source. Empty where the header is silent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Wording {
    /// PatientName, its groups (alphabetic, ideographic, phonetic) as they are spoken; empty ones left out.
    pub(crate) names: Vec<String>,
    pub(crate) patient_id: String,
    pub(crate) birth_date: String,
    pub(crate) sex: String,
    pub(crate) study_date: String,
    pub(crate) accession: String,
    pub(crate) study: String,
    /// Manufacturer and model.
    pub(crate) scanner: String,
    pub(crate) field: String,
    pub(crate) series: String,
    /// Scanning sequence and its name.
    pub(crate) sequence: String,
    /// TR, TE and TI.
    pub(crate) timing: String,
    /// True where some text could not be decoded; it is shown as escaped bytes.
    pub(crate) undecoded: bool,
}

impl Wording {
    /// Reads one instance.
    ///
    /// # Errors
    /// Where the bytes are refused.
    pub(crate) fn read(source: Encoded<'_>) -> Result<Self, Refusal> {
        let scan = prescan(source, &Limits::default())?;
        let mut reader = Reader { scan: &scan, codes: codes(&scan), undecoded: false };
        let mut words = Self {
            names: reader.names(),
            patient_id: reader.text(tags::PATIENT_ID),
            birth_date: date(&reader.text(tags::PATIENT_BIRTH_DATE)),
            sex: match reader.text(tags::PATIENT_SEX).as_str() {
                "M" => "male".to_owned(),
                "F" => "female".to_owned(),
                "O" => "other".to_owned(),
                other => other.to_owned(),
            },
            study_date: date(&reader.text(tags::STUDY_DATE)),
            accession: reader.text(tags::ACCESSION_NUMBER),
            study: reader.text(tags::STUDY_DESCRIPTION),
            scanner: joined([reader.text(tags::MANUFACTURER), reader.text(tags::MANUFACTURER_MODEL_NAME)], " "),
            field: reader.number(tags::MAGNETIC_FIELD_STRENGTH).map(|tesla| format!("{tesla} T")).unwrap_or_default(),
            series: reader.text(tags::SERIES_DESCRIPTION),
            sequence: String::new(),
            timing: String::new(),
            undecoded: false,
        };
        let first = |reader: &mut Reader<'_, '_>, tags: &[Tag]| {
            tags.iter().map(|tag| reader.text(*tag)).find(|text| !text.is_empty()).unwrap_or_default()
        };
        let kind = reader.text(tags::SCANNING_SEQUENCE).replace('\\', "/");
        let name = first(&mut reader, &[tags::SEQUENCE_NAME, tags::PULSE_SEQUENCE_NAME, tags::PROTOCOL_NAME]);
        words.sequence = joined([kind, name], ", ");
        let time = |label: &str, tags: &[Tag]| {
            let ms = tags.iter().find_map(|tag| reader.number(*tag))?;
            Some(format!("{label} {} ms", (ms * 100.0).round() / 100.0))
        };
        let times = [
            time("TR", &[tags::REPETITION_TIME]),
            time("TE", &[tags::ECHO_TIME, tags::EFFECTIVE_ECHO_TIME]),
            time("TI", &[tags::INVERSION_TIME, tags::INVERSION_TIMES]),
        ];
        words.timing = times.into_iter().flatten().collect::<Vec<_>>().join(", ");
        words.undecoded = reader.undecoded;
        Ok(words)
    }
}

/// The texts that are there, joined.
fn joined<const N: usize>(texts: [String; N], between: &str) -> String {
    texts.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(between)
}

/// `20240229` as `2024-02-29`; anything else as it is.
pub(crate) fn date(stored: &str) -> String {
    match (stored.get(..4), stored.get(4..6), stored.get(6..8)) {
        (Some(year), Some(month), Some(day)) if stored.len() == 8 && stored.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{year}-{month}-{day}")
        }
        _ => stored.to_owned(),
    }
}

/// The values of SpecificCharacterSet, in order; the first may be empty.
fn codes(scan: &Prescan<'_>) -> Vec<String> {
    scan.text(tags::SPECIFIC_CHARACTER_SET).split('\\').map(|code| code.trim().to_owned()).collect()
}

struct Reader<'s, 'a> {
    scan: &'s Prescan<'a>,
    codes: Vec<String>,
    undecoded: bool,
}

impl Reader<'_, '_> {
    fn text(&mut self, tag: Tag) -> String {
        let Some(element) = self.anywhere(tag) else { return String::new() };
        let text = match decode(self.scan.value(&element), &self.codes) {
            Some(text) => text,
            None => {
                self.undecoded = true;
                self.scan.value(&element).escape_ascii().to_string()
            }
        };
        text.trim_matches([' ', '\0']).to_owned()
    }

    fn number(&self, tag: Tag) -> Option<f64> {
        self.scan.numbers_of(&self.anywhere(tag)?, VR::UN).first().copied()
    }

    /// At the top level, else the first in a sequence: Enhanced objects keep the protocol in functional groups.
    fn anywhere(&self, tag: Tag) -> Option<crate::prescan::Element> {
        let nested = || self.scan.elements().iter().find(|element| element.tag == tag);
        self.scan.find(tag).filter(|element| element.end > element.value).or_else(nested).copied()
    }

    fn names(&mut self) -> Vec<String> {
        let name = self.text(tags::PATIENT_NAME);
        name.split('=').map(spoken).filter(|group| !group.is_empty()).collect()
    }
}

/// One group of a person name as it is read: `Family^Given^Middle^Prefix^Suffix` (PS3.5 6.2.1).
fn spoken(group: &str) -> String {
    let parts: Vec<&str> = group.split('^').map(str::trim).collect();
    let part = |at: usize| parts.get(at).copied().unwrap_or_default().to_owned();
    let given = joined([part(1), part(2)], " ");
    let east_asian = group.chars().any(|c| c >= '\u{2e80}');
    let name = joined([part(0), given], if east_asian { " " } else { ", " });
    joined([name, part(3), part(4)], ", ")
}

/// Text by its character sets; none where they are unknown and the text is not plain ASCII.
pub(crate) fn decode(bytes: &[u8], codes: &[String]) -> Option<String> {
    if bytes.is_ascii() && !bytes.contains(&ESCAPE) {
        return Some(String::from_utf8_lossy(bytes).into_owned());
    }
    match codes {
        [] => None,
        [one] if !bytes.contains(&ESCAPE) => by_code(one, bytes),
        several => extended(bytes, several.first().map_or("", String::as_str)),
    }
}

fn by_code(code: &str, bytes: &[u8]) -> Option<String> {
    // An empty code is ASCII, which these bytes are not.
    let set = SpecificCharacterSet::from_code(code).filter(|_| !code.is_empty())?;
    set.decode(bytes).ok()
}

const ESCAPE: u8 = 0x1B;

/// What follows an escape sequence (PS3.3 C.12.1.1.2, tables C.12-3 and C.12-4).
#[derive(Clone, Copy, PartialEq)]
enum Code {
    /// Single bytes or bytes with the high bit, to be decoded by this set.
    Plain(&'static str),
    /// Pairs of 7-bit bytes of ISO-2022-JP; decoded with this escape sequence before them.
    Pairs(&'static [u8]),
}

const DESIGNATIONS: [(&[u8], Code); 18] = [
    (b"(B", Code::Plain("")),
    (b"(J", Code::Plain("ISO_IR 13")),
    (b")I", Code::Plain("ISO_IR 13")),
    (b"$B", Code::Pairs(b"\x1b$B")),
    (b"$@", Code::Pairs(b"\x1b$@")),
    (b"$(D", Code::Pairs(b"\x1b$(D")),
    (b"$)C", Code::Plain("ISO_IR 149")),
    (b"$)A", Code::Plain("GBK")),
    (b"-A", Code::Plain("ISO_IR 100")),
    (b"-B", Code::Plain("ISO_IR 101")),
    (b"-C", Code::Plain("ISO_IR 109")),
    (b"-D", Code::Plain("ISO_IR 110")),
    (b"-F", Code::Plain("ISO_IR 126")),
    (b"-G", Code::Plain("ISO_IR 127")),
    (b"-H", Code::Plain("ISO_IR 138")),
    (b"-L", Code::Plain("ISO_IR 144")),
    (b"-T", Code::Plain("ISO_IR 166")),
    // ISO_IR 148 (Latin-5): dicom-encoding does not know it, so its text comes out as escaped bytes.
    (b"-M", Code::Plain("ISO_IR 148")),
];

/// Text with code extensions: each stretch after an escape sequence by the set that it names.
fn extended(bytes: &[u8], first: &str) -> Option<String> {
    let mut stretches = bytes.split(|byte| *byte == ESCAPE);
    let mut low = Code::Plain("");
    let mut high = first.to_owned();
    let mut text = stretch(stretches.next().unwrap_or_default(), low, &high)?;
    for part in stretches {
        let (lead, code) = DESIGNATIONS.iter().find(|(lead, _)| part.starts_with(lead))?;
        match code {
            Code::Plain(name) if !lead.starts_with(b"(") => high = (*name).to_owned(),
            _ => low = *code,
        }
        text += &stretch(part.get(lead.len()..).unwrap_or_default(), low, &high)?;
    }
    Some(text)
}

fn stretch(bytes: &[u8], low: Code, high: &str) -> Option<String> {
    match low {
        _ if bytes.is_empty() => Some(String::new()),
        Code::Pairs(escape) => {
            let (before, after) = bytes.split_at(end_of_pairs(bytes, escape));
            Some(pairs(before, escape)? + &stretch(after, Code::Plain(""), high)?)
        }
        Code::Plain(_) if bytes.is_ascii() => Some(String::from_utf8_lossy(bytes).into_owned()),
        Code::Plain(_) => by_code(high, bytes),
    }
}

/// None where a byte is left over or stands for nothing; the decoder escapes those.
fn pairs(bytes: &[u8], escape: &[u8]) -> Option<String> {
    by_code("ISO_IR 87", &[escape, bytes].concat()).filter(|text| !text.contains(['\\', '\u{fffd}']))
}

/// Where pairs end. The delimiters of a person name end them (PS3.5 6.1.2.5.3), also where the escape sequence that has
/// to stand before one is missing. Both may be the first byte of a pair too, `=` of common ones.
fn end_of_pairs(bytes: &[u8], escape: &[u8]) -> usize {
    let carets = bytes.iter().rev().take_while(|byte| **byte == b'^').count();
    let end = (bytes.len() - carets).next_multiple_of(2).min(bytes.len());
    let before = bytes.get(..end).unwrap_or_default();
    if pairs(before, escape).is_some() {
        return end;
    }
    let is = |delimiter: u8| move |at: &usize| bytes.get(*at) == Some(&delimiter);
    let mut starts = (0..before.len()).step_by(2);
    starts.clone().find(is(b'^')).or_else(|| starts.rfind(is(b'='))).unwrap_or(end)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Senders that do not return to ASCII before a delimiter.
    #[test]
    fn a_delimiter_ends_japanese_pairs_without_an_escape_sequence() {
        let kanji = |bytes: &[u8]| decoded("\\ISO 2022 IR 87", bytes);
        let full = b"Yamada^Tarou=\x1b$B;3ED^\x1b$BB@O:=\x1b$B$d$^$@^\x1b$B$?$m$&";
        assert_eq!(kanji(full).unwrap(), "Yamada^Tarou=山田^太郎=やまだ^たろう");
        assert_eq!(kanji(b"\x1b$B;3ED^^^\x1b$BB@O:").unwrap(), "山田^^^太郎");
        assert_eq!(kanji(b"\x1b$B;3ED^^").unwrap(), "山田^^");
        assert_eq!(kanji(b"\x1b$B=U;3^Haru").unwrap(), "春山^Haru");
        assert_eq!(kanji(b"\x1b$B=U;3=Haru ").unwrap(), "春山=Haru ");
        assert_eq!(kanji(b"\x1b$B=U;3\x1b(B").unwrap(), "春山", "both bytes are of a character");
        assert_eq!(kanji(b"\x1b$B;3E"), None, "half a character is none");
    }

    fn decoded(charset: &str, bytes: &[u8]) -> Option<String> {
        let codes: Vec<String> = charset.split('\\').map(str::to_owned).collect();
        decode(bytes, &codes)
    }

    /// The examples of PS3.5 H.3 and I.2.
    #[test]
    fn names_with_code_extensions_are_decoded() {
        let yamada = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B";
        assert_eq!(decoded("\\ISO 2022 IR 87", yamada).unwrap(), "Yamada^Tarou=山田^太郎=やまだ^たろう");
        let half = b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J";
        assert_eq!(decoded("ISO 2022 IR 13\\ISO 2022 IR 87", half).unwrap(), "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎");
        let hong = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf";
        assert_eq!(decoded("\\ISO 2022 IR 149", hong).unwrap(), "Hong^Gildong=洪^吉洞=홍^길동");
        assert_eq!(decoded("\\ISO 2022 IR 100\\ISO 2022 IR 144", b"\x1b-AM\xfc\x1b-L\xb0").unwrap(), "MüА");
    }

    #[test]
    fn names_of_one_character_set_are_decoded() {
        assert_eq!(decoded("ISO_IR 100", b"M\xfcller").unwrap(), "Müller");
        assert_eq!(decoded("ISO_IR 192", "山田^太郎".as_bytes()).unwrap(), "山田^太郎");
        assert_eq!(decoded("GB18030", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab").unwrap(), "Wang^XiaoDong=王^小东");
    }

    #[test]
    fn text_of_an_unknown_character_set_is_told_apart() {
        assert_eq!(decoded("ISO_IR 999", b"M\xfcller"), None);
        assert_eq!(decoded("", b"M\xfcller"), None);
        assert_eq!(decoded("\\ISO 2022 IR 87", b"\x1b$Zxx"), None);
        assert_eq!(decoded("ISO_IR 999", b"Muller").unwrap(), "Muller");
    }

    #[test]
    fn a_name_is_read_as_it_is_spoken() {
        assert_eq!(spoken("Adams^John Robert Quincy^^Rev.^B.A."), "Adams, John Robert Quincy, Rev., B.A.");
        assert_eq!(spoken("山田^太郎"), "山田 太郎");
        assert_eq!(spoken("^^^^"), "");
        assert_eq!((date("20240229"), date("29.2.24")), ("2024-02-29".to_owned(), "29.2.24".to_owned()));
    }
}
