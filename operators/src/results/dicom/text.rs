//! Values as text: what a copied value must look like, and numbers and times as DS, DA and TM.
//!
//! A legal value is copied byte for byte. An illegal one is corrected where the meaning is plain, else left out;
//! either way the reason is returned, without the value, since reasons reach logs.

use dicom_core::VR;
use dicom_encoding::text::{SpecificCharacterSet, TextCodec};

use crate::rows::Millis;

/// How many bytes a character takes in the source's SpecificCharacterSet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repertoire {
    /// One.
    SingleByte,
    /// ISO_IR 192.
    Utf8,
    /// ISO 2022 code extensions, GB18030, GBK: never split, cut or searched.
    Other,
}

impl Repertoire {
    /// Of the raw value of SpecificCharacterSet.
    pub(crate) fn of(charset: &[u8]) -> Self {
        let text = String::from_utf8_lossy(charset);
        match text.trim_matches([' ', '\0']) {
            "ISO_IR 192" => Self::Utf8,
            "" => Self::SingleByte,
            one if one.starts_with("ISO_IR ") && !one.contains('\\') => Self::SingleByte,
            _ => Self::Other,
        }
    }

    fn characters(self, bytes: &[u8]) -> usize {
        match self {
            Self::Utf8 => bytes.iter().filter(|&&b| b & 0xC0 != 0x80).count(),
            _ => bytes.len(),
        }
    }

    /// The longest prefix of at most `limit` characters.
    fn prefix(self, bytes: &[u8], limit: usize) -> &[u8] {
        let end = match self {
            Self::Utf8 => bytes.iter().enumerate().filter(|(_, b)| **b & 0xC0 != 0x80).nth(limit).map(|(at, _)| at),
            _ => Some(limit),
        };
        bytes.get(..end.unwrap_or(bytes.len())).unwrap_or(bytes)
    }
}

/// A value to write, and what was done to it, if anything.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Legal {
    /// The bytes to write, without padding; empty where the value is left out.
    pub(crate) bytes: Vec<u8>,
    /// What was done to it.
    pub(crate) note: Option<&'static str>,
}

/// Makes a copied value of one value multiplicity legal for its VR (PS3.5 6.2).
pub(crate) fn legal(vr: VR, raw: &[u8], repertoire: Repertoire) -> Legal {
    let trimmed = trim(raw);
    // Such text is the same in every set.
    let repertoire = if is_plain(trimmed) { Repertoire::SingleByte } else { repertoire };
    let kept = |bytes: &[u8]| Legal { bytes: bytes.to_vec(), note: None };
    let changed = |bytes: Vec<u8>, note| Legal { bytes, note: Some(note) };
    if trimmed.is_empty() {
        return kept(trimmed);
    }
    let left_out = changed(Vec::new(), "the illegal value was left out");
    match vr {
        VR::DA | VR::TM => {
            let separator = if vr == VR::DA { b'.' } else { b':' };
            let plain: Vec<u8> = trimmed.iter().copied().filter(|&b| b != separator).collect();
            let fine = if vr == VR::DA { is_date(&plain) } else { is_time(&plain) };
            match (fine, plain == trimmed) {
                (true, true) => kept(trimmed),
                (true, false) => changed(plain, "the separators of an old form were taken out"),
                _ => left_out,
            }
        }
        VR::AS => match trimmed {
            [a, b, c, b'D' | b'W' | b'M' | b'Y'] if [a, b, c].iter().all(|d| d.is_ascii_digit()) => kept(trimmed),
            _ => left_out,
        },
        VR::CS => {
            let allowed = |b: &u8| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b' ' | b'_');
            if trimmed.len() <= 16 && trimmed.iter().all(allowed) { kept(trimmed) } else { left_out }
        }
        VR::DS => match std::str::from_utf8(trimmed).ok().and_then(|text| text.trim().parse::<f64>().ok()) {
            Some(number) if number.is_finite() && trimmed.len() <= 16 => kept(trimmed),
            Some(number) if number.is_finite() => {
                changed(decimal(number).into_bytes(), "a number of more than 16 characters was rounded")
            }
            _ => left_out,
        },
        VR::PN => text(trimmed, 64, true, repertoire),
        VR::SH => text(trimmed, 16, false, repertoire),
        _ => text(trimmed, 64, false, repertoire),
    }
}

fn text(trimmed: &[u8], limit: usize, name: bool, repertoire: Repertoire) -> Legal {
    if repertoire == Repertoire::Other {
        return Legal { bytes: trimmed.to_vec(), note: None };
    }
    if trimmed.contains(&b'\\') {
        return Legal { bytes: Vec::new(), note: Some("several values where one is allowed were left out") };
    }
    let mut note = None;
    let mut bytes: Vec<u8> = trimmed.iter().copied().filter(|&b| b >= 0x20 && b != 0x7F).collect();
    if bytes.len() != trimmed.len() {
        note = Some("control characters were taken out");
    }
    // The limit of a PN holds for each of its component groups.
    let parts: Vec<&[u8]> = if name { bytes.split(|&b| b == b'=').collect() } else { vec![&bytes] };
    if parts.iter().any(|part| repertoire.characters(part) > limit) {
        note = Some("a value that was too long was cut");
        bytes = parts.iter().map(|part| repertoire.prefix(part, limit)).collect::<Vec<_>>().join(&b'=');
    }
    Legal { bytes, note }
}

/// ASCII without escape sequences.
pub(crate) fn is_plain(bytes: &[u8]) -> bool {
    bytes.is_ascii() && !bytes.contains(&0x1B)
}

/// Without the padding at the end, and without leading spaces, which carry no meaning either.
fn trim(raw: &[u8]) -> &[u8] {
    let end = raw.iter().rposition(|b| !matches!(b, b' ' | 0)).map_or(0, |at| at + 1);
    let start = raw.iter().position(|&b| b != b' ').unwrap_or(0).min(end);
    raw.get(start..end).unwrap_or_default()
}

fn is_date(bytes: &[u8]) -> bool {
    bytes.len() == 8
        && matches!((number(bytes, 4, 2), number(bytes, 6, 2)), (Some(month), Some(day))
            if number(bytes, 0, 4).is_some() && (1..=12).contains(&month) && (1..=31).contains(&day))
}

fn is_time(bytes: &[u8]) -> bool {
    let (whole, fraction) = match bytes.iter().position(|&b| b == b'.') {
        Some(at) => (bytes.get(..at).unwrap_or_default(), bytes.get(at + 1..)),
        None => (bytes, None),
    };
    let within = |start, top| number(whole, start, 2).is_some_and(|n| n <= top);
    let whole_fine = match whole.len() {
        2 => within(0, 23),
        4 => within(0, 23) && within(2, 59),
        6 => within(0, 23) && within(2, 59) && within(4, 60),
        _ => false,
    };
    whole_fine
        && fraction.is_none_or(|f| whole.len() == 6 && (1..=6).contains(&f.len()) && f.iter().all(u8::is_ascii_digit))
}

fn number(bytes: &[u8], start: usize, count: usize) -> Option<u32> {
    let digits = bytes.get(start..start + count)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A number as DS: at most 16 characters, as many digits as fit.
pub(crate) fn decimal(value: f64) -> String {
    let value = if value == 0.0 { 0.0 } else { value };
    let shortest = value.to_string();
    if shortest.len() <= 16 {
        return shortest;
    }
    if value.abs() >= 1e-4 && value.abs() < 1e15 {
        for places in (0..15).rev() {
            let text = format!("{value:.places$}");
            if text.len() <= 16 {
                return if text.contains('.') {
                    text.trim_end_matches('0').trim_end_matches('.').to_owned()
                } else {
                    text
                };
            }
        }
    }
    // Direction cosines and offsets this small are noise, yet kept.
    format!("{value:.8e}")
}

/// Our own text as ASCII without backslash and control characters, cut to `limit`.
pub(crate) fn ascii(text: &str, limit: usize) -> String {
    let clean = |c: char| if c.is_ascii_graphic() && c != '\\' || c == ' ' { c } else { '_' };
    text.trim().chars().take(limit).map(clean).collect()
}

/// Text of a reader as LO of a data set with this SpecificCharacterSet. None where the character set cannot write it, or
/// no LO may hold it.
pub(crate) fn written(text: &str, charset: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    if text.chars().count() > 64 || text.chars().any(|c| c.is_control() || c == '\\') {
        return None;
    }
    encoded(text, charset)
}

/// The same as UT, which has no limit and may hold tabs and line ends.
pub(crate) fn written_long(text: &str, charset: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    if text.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r')) {
        return None;
    }
    encoded(text, charset)
}

fn encoded(text: &str, charset: &str) -> Option<Vec<u8>> {
    if text.is_empty() {
        return None;
    }
    if text.is_ascii() {
        return Some(text.as_bytes().to_vec());
    }
    if charset.is_empty() || Repertoire::of(charset.as_bytes()) == Repertoire::Other {
        return None;
    }
    let codec = SpecificCharacterSet::from_code(charset)?;
    let bytes = codec.encode(text).ok()?;
    (codec.decode(&bytes).ok()? == text).then_some(bytes)
}

/// Minutes east of UTC of a raw TimezoneOffsetFromUTC (0008,0201), `+0100`.
pub(crate) fn offset_minutes(raw: &[u8]) -> Option<i64> {
    let trimmed = trim(raw);
    let sign = match trimmed.first() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return None,
    };
    let (hours, minutes) = (number(trimmed, 1, 2)?, number(trimmed, 3, 2)?);
    (trimmed.len() == 5 && hours <= 14 && minutes < 60).then_some(sign * i64::from(hours * 60 + minutes))
}

/// DA and TM of a time, `offset` minutes east of UTC.
pub(crate) fn date_time(at: Millis, offset: i64) -> (String, String) {
    const DAY: i64 = 86_400_000;
    let local = at.saturating_add(offset * 60_000);
    let (day, milli) = (local.div_euclid(DAY), local.rem_euclid(DAY));
    // Days since 0000-03-01, in eras of 400 years of 146,097 days.
    let days = day + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = (year_of_era + era * 400 + i64::from(month <= 2)).clamp(0, 9999);
    let second = milli / 1000;
    (
        format!("{year:04}{month:02}{date:02}"),
        format!("{:02}{:02}{:02}.{:03}", second / 3600, second / 60 % 60, second % 60, milli % 1000),
    )
}

/// A time as RFC 3339 has it, in UTC: `2024-02-28T23:59:59.999Z`.
pub fn iso_8601(at: Millis) -> String {
    let (date, time) = date_time(at, 0);
    let part = |text: &str, range: std::ops::Range<usize>| text.get(range).unwrap_or_default().to_owned();
    format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(&date, 0..4),
        part(&date, 4..6),
        part(&date, 6..8),
        part(&time, 0..2),
        part(&time, 2..4),
        part(&time, 4..10)
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fixed(vr: VR, raw: &[u8]) -> (String, bool) {
        let legal = legal(vr, raw, Repertoire::SingleByte);
        (String::from_utf8_lossy(&legal.bytes).into_owned(), legal.note.is_some())
    }

    #[test]
    fn illegal_values_are_corrected_or_left_out_with_a_note() {
        assert_eq!(fixed(VR::DA, b"20210902"), ("20210902".into(), false));
        assert_eq!(fixed(VR::DA, b"2021.09.02"), ("20210902".into(), true));
        assert_eq!(fixed(VR::DA, b"20211345"), (String::new(), true));
        assert_eq!(fixed(VR::TM, b"121816.5 "), ("121816.5".into(), false));
        assert_eq!(fixed(VR::TM, b"12:18:16"), ("121816".into(), true));
        assert_eq!(fixed(VR::TM, b"noon"), (String::new(), true));
        assert_eq!(fixed(VR::CS, b"m "), (String::new(), true));
        assert_eq!(fixed(VR::AS, b"41Y "), (String::new(), true));
        assert_eq!(fixed(VR::DS, b"72.57470000000000001"), ("72.5747".into(), true));
        assert_eq!(fixed(VR::SH, b"12345678901234567 "), ("1234567890123456".into(), true));
        assert_eq!(fixed(VR::LO, b"A\\B"), (String::new(), true));
        assert_eq!(fixed(VR::LO, b"A\x07B"), ("AB".into(), true));
        assert_eq!(fixed(VR::PN, [b"A^B=".as_slice(), &[b'x'; 70]].concat().as_slice()).0.len(), 68);
    }

    #[test]
    fn text_of_several_character_sets_is_never_touched() {
        let raw = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B\x5c\x5c\x1b(B";
        assert_eq!(Repertoire::of(b"\\ISO 2022 IR 87 "), Repertoire::Other);
        assert_eq!(legal(VR::PN, raw, Repertoire::Other), Legal { bytes: raw.to_vec(), note: None });
    }

    #[test]
    fn a_name_in_utf8_is_cut_between_characters() {
        let raw = "\u{e4}".repeat(70);
        assert_eq!(legal(VR::LO, raw.as_bytes(), Repertoire::Utf8).bytes, "\u{e4}".repeat(64).as_bytes());
    }

    #[test]
    fn times_are_written_in_the_zone_of_the_source() {
        assert_eq!(date_time(0, 0), ("19700101".into(), "000000.000".into()));
        assert_eq!(date_time(1_709_164_799_999, 0), ("20240228".into(), "235959.999".into()));
        assert_eq!(date_time(1_709_164_799_999, 60), ("20240229".into(), "005959.999".into()));
        assert_eq!(offset_minutes(b"-0330 "), Some(-210));
        assert_eq!(offset_minutes(b"0330"), None);
    }

    #[test]
    fn a_readers_text_is_written_in_the_character_set_of_the_source_or_not_at_all() {
        assert_eq!(written(" vessel ", "").as_deref(), Some(b"vessel".as_slice()));
        assert_eq!(written("l\u{e9}sion", "ISO_IR 192").as_deref(), Some("l\u{e9}sion".as_bytes()));
        assert_eq!(written("l\u{e9}sion", "ISO_IR 100").as_deref(), Some(b"l\xe9sion".as_slice()));
        assert_eq!(written(&"\u{e9}".repeat(64), "ISO_IR 192").map(|bytes| bytes.len()), Some(128));
        for (text, charset) in [
            ("l\u{e9}sion", ""),
            ("l\u{e9}sion", "\\ISO 2022 IR 87"),
            ("\u{75c5}\u{5909}", "ISO_IR 100"),
            ("a\\b", ""),
            ("a\nb", ""),
            (" ", ""),
            (&"x".repeat(65), ""),
        ] {
            assert_eq!(written(text, charset), None, "{text:?} in {charset:?}");
        }
    }

    #[test]
    fn long_text_keeps_its_length_its_lines_and_its_backslashes() {
        let long = format!("a\\b\n{}", "\u{e9}".repeat(2000));
        assert_eq!(written_long(&long, "ISO_IR 192").as_deref(), Some(long.as_bytes()));
        for (text, charset) in [(" ", ""), ("a\u{7}b", ""), ("l\u{e9}sion", "\\ISO 2022 IR 149")] {
            assert_eq!(written_long(text, charset), None, "{text:?} in {charset:?}");
        }
    }

    proptest! {
        #[test]
        fn a_decimal_string_fits_and_keeps_its_number(value in -1e6f64..1e6) {
            let text = decimal(value);
            prop_assert!(text.len() <= 16, "{text}");
            prop_assert!((text.parse::<f64>().unwrap_or(f64::NAN) - value).abs() <= 1e-7, "{text} {value}");
        }

        #[test]
        fn no_value_panics(raw in proptest::collection::vec(any::<u8>(), 0..100)) {
            for vr in [VR::DA, VR::TM, VR::AS, VR::CS, VR::DS, VR::PN, VR::SH, VR::LO] {
                for repertoire in [Repertoire::SingleByte, Repertoire::Utf8, Repertoire::Other] {
                    let _ = legal(vr, &raw, repertoire);
                }
            }
        }
    }
}
