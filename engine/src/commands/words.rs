//! Numbers and texts as a person reads them in a terminal.

use std::fmt::Display;

/// A number of things: `1 run`, `2 runs`. What has no plural of its own (series) is said without this.
pub(super) fn counted(count: impl Display, what: &str) -> String {
    let count = count.to_string();
    match (count.as_str(), what.strip_suffix('y')) {
        ("1", _) => format!("1 {what}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) => format!("{count} {what}s"),
    }
}

/// The text, or as much of it as fits in `width` characters with an ellipsis.
pub(super) fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{}\u{2026}", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular_and_what_is_too_long_is_cut() {
        assert_eq!([0, 1, 2].map(|count| counted(count, "run")), ["0 runs", "1 run", "2 runs"]);
        assert_eq!(counted(2, "delivery"), "2 deliveries");
        assert_eq!((shortened("abc", 3), shortened("ab cd", 4)), ("abc".to_owned(), "ab\u{2026}".to_owned()));
    }
}
