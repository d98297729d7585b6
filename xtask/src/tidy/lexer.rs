//! Rust text with comments and literals blanked, so that a rule about code does not fire on words about code.

/// The same text, line by line and column by column, with every comment, string and character as spaces.
pub fn code_only(text: &str) -> String {
    let mut rest = text;
    let mut out = String::with_capacity(text.len());
    let mut after_word = false;
    while let Some(first) = rest.chars().next() {
        let length = if after_word { 0 } else { prefixed_raw(rest) };
        let length = match first {
            _ if length > 0 => length,
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => quoted(rest),
            '\'' => character(rest),
            _ => 0,
        };
        after_word = length == 0 && (first.is_alphanumeric() || first == '_');
        if length == 0 {
            out.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        } else {
            let (blanked, tail) = rest.split_at_checked(length).unwrap_or((rest, ""));
            out.extend(blanked.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = tail;
        }
    }
    out
}

/// The length of a raw string with its prefix, such as `br#".."#`; 0 where none starts here.
fn prefixed_raw(rest: &str) -> usize {
    let Some(body) = ["r", "br", "cr"].iter().find_map(|prefix| rest.strip_prefix(prefix)) else { return 0 };
    let inner = body.trim_start_matches('#');
    let hashes = body.len() - inner.len();
    let Some(inner) = inner.strip_prefix('"') else { return 0 };
    let close = format!("\"{}", "#".repeat(hashes));
    let start = rest.len() - inner.len();
    inner.find(&close).map_or(rest.len(), |end| start + end + close.len())
}

fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (index, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return index + 1,
            _ => {}
        }
    }
    rest.len()
}

/// A character literal, told from a lifetime by its closing quote.
fn character(rest: &str) -> usize {
    let mut inner = rest.char_indices().skip(1);
    match inner.next() {
        Some((_, '\\')) => rest.char_indices().skip(3).find(|(_, c)| *c == '\'').map_or(0, |(index, _)| index + 1),
        Some(_) => inner.next().filter(|(_, c)| *c == '\'').map_or(0, |(index, _)| index + 1),
        None => 0,
    }
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(tail) = rest.get(at..).filter(|tail| !tail.is_empty()) {
        if tail.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with("*/") {
            depth = depth.saturating_sub(1);
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += tail.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_code_stays() {
        let text = "let a = \"todo!() \\\" x\"; // todo!()\nlet b = r#\"todo!(\"#; /* a /* todo!() */ b */ f('\"', 'a', '\\'');";
        let code = code_only(text);
        assert!(!code.contains("todo"), "{code}");
        assert_eq!(code.chars().count(), text.chars().count());
        assert_eq!(code.lines().count(), 2);
        assert!(code.contains("f(") && code.ends_with(");"));
    }

    #[test]
    fn a_lifetime_is_no_character() {
        assert_eq!(code_only("fn f<'a>(x: &'a str) {}"), "fn f<'a>(x: &'a str) {}");
    }

    #[test]
    fn text_that_ends_early_is_no_trouble() {
        for text in ["\"abc", "/* abc", "'", "'\\", "r#\"abc", "/", "br"] {
            assert_eq!(code_only(text).chars().count(), text.chars().count());
        }
    }
}
