//! Rules about Rust files: how they open, how long they are, what they may not call.

use super::Finding;
use super::lexer::code_only;

/// A file longer than this does more than one thing.
const LONGEST: usize = 400;

/// Words that name nothing.
const EMPTY_NAMES: &[&str] = &["util", "utils", "helper", "helpers", "manager", "managers"];

/// Files that may hold unsafe code, each with its reason beside the code.
const UNSAFE: &[&str] = &[];

/// Rooms where the same input must always give the same output.
const REPLAYED: &[&str] = &["operators/src/", "models/src/", "engine/src/graph/"];

/// What a file may not hold outside its tests: the code, where it is forbidden (empty: everywhere), and why.
const FORBIDDEN: &[(&str, &[&str], &str)] = &[
    ("unbounded(", &[], "a channel without a bound; use a bounded one with a named setting"),
    ("unbounded::<", &[], "a channel without a bound; use a bounded one with a named setting"),
    ("mpsc::channel(", &[], "a channel without a bound; use a bounded one with a named setting"),
    ("mpsc::channel::<", &[], "a channel without a bound; use a bounded one with a named setting"),
    ("SystemTime::now", REPLAYED, "a clock where a replay must give the same; take the time from an event"),
    ("Instant::now", REPLAYED, "a clock where a replay must give the same; take the time from an event"),
    ("rand::", REPLAYED, "randomness where a replay must give the same; take a seed"),
    ("std::net::", REPLAYED, "a socket where only arithmetic belongs; move it to connectors"),
];

/// All findings in one Rust file.
pub fn check(file: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |line: usize, message: String| findings.push(Finding::new(file, line, message));
    if !text.starts_with("//!") {
        add(1, "the file does not open with `//!`; say what it owns and what it leaves to whom".to_owned());
    }
    let lines = text.lines().count();
    if lines > LONGEST {
        add(LONGEST + 1, format!("the file has {lines} lines, {LONGEST} are the limit; let it do one thing"));
    }
    let steps = file.trim_end_matches(".rs").split(['/', '_']);
    for word in steps.filter(|word| EMPTY_NAMES.contains(word)) {
        add(1, format!("\"{word}\" names nothing; name the file after what it does"));
    }
    let code = code_only(text);
    let mut in_tests = ["tests/", "/tests/", "/benches/"].iter().any(|folder| match folder.strip_prefix('/') {
        Some(_) => file.contains(folder),
        None => file.starts_with(folder),
    });
    for (line, code) in (1..).zip(code.lines()) {
        in_tests |= code.trim_start().starts_with("#[cfg(test)]");
        for name in ["todo", "unimplemented", "dbg"] {
            if words(code).any(|(word, after)| word == name && after.starts_with('!')) {
                add(line, format!("`{name}!` is left in the code; finish it or take it out"));
            }
        }
        if words(code).any(|(word, _)| word == "unsafe") && !UNSAFE.contains(&file) {
            add(line, "unsafe code; do without, or list the file with its reason in xtask/src/tidy/code.rs".to_owned());
        }
        let mut named = words(code).skip_while(|(word, _)| *word != "mod").map(|(word, _)| word).skip(1);
        if let Some(name) = named.next().filter(|name| EMPTY_NAMES.contains(name)) {
            add(line, format!("module \"{name}\" names nothing; name it after what it does"));
        }
        if code.contains("#[ignore]") {
            add(line, "a test is ignored without a reason; write `#[ignore = \"why\"]` or take it out".to_owned());
        }
        for (pattern, rooms, why) in FORBIDDEN.iter().filter(|_| !in_tests) {
            let concerned = rooms.is_empty() || rooms.iter().any(|room| file.starts_with(room));
            if concerned && code.contains(pattern) {
                add(line, (*why).to_owned());
            }
        }
    }
    findings
}

/// The words of a line of code, each with what follows it.
fn words(code: &str) -> impl Iterator<Item = (&str, &str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut rest = code;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(|c| !is_word(c));
        let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(length);
        rest = after;
        (!word.is_empty()).then_some((word, after))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn found(file: &str, text: &str) -> Vec<(usize, String)> {
        check(file, text).into_iter().map(|finding| (finding.line, finding.message)).collect()
    }

    #[track_caller]
    fn one(file: &str, text: &str, line: usize, words: &str) {
        let found = found(file, text);
        assert!(matches!(found.as_slice(), [(at, message)] if *at == line && message.contains(words)), "{found:?}");
    }

    #[test]
    fn a_clean_file_has_no_findings() {
        let text = "//! Owns x.\n\n/// Never `todo!()`, never unsafe.\npub fn f() -> &'static str {\n    \"todo!() unsafe\"\n}\n";
        assert_eq!(found("operators/src/x.rs", text), []);
        assert_eq!(
            found("engine/src/lib.rs", "//! X.\n#![deny(unsafe_code)]\nfn f() { let (a, b) = bounded(4); }\n"),
            []
        );
    }

    #[test]
    fn a_file_without_opening_is_found() {
        one("engine/src/x.rs", "fn f() {}\n", 1, "does not open");
    }

    #[test]
    fn a_long_file_is_found() {
        assert_eq!(found("engine/src/x.rs", &format!("//! X.\n{}", "\n".repeat(399))), []);
        one("engine/src/x.rs", &format!("//! X.\n{}", "\n".repeat(400)), 401, "401 lines");
    }

    #[test]
    fn a_name_that_says_nothing_is_found() {
        one("engine/src/string_utils.rs", "//! X.\n", 1, "\"utils\"");
        one("engine/src/util/x.rs", "//! X.\n", 1, "\"util\"");
        one("engine/src/x.rs", "//! X.\npub mod helper {}\n", 2, "\"helper\"");
    }

    #[test]
    fn what_is_left_unfinished_is_found() {
        one("engine/src/x.rs", "//! X.\nfn f() { todo!() }\n", 2, "`todo!`");
        one("engine/src/x.rs", "//! X.\nfn f() { unimplemented!(\"x\") }\n", 2, "`unimplemented!`");
        one("engine/src/x.rs", "//! X.\nfn f() { dbg!(1); }\n", 2, "`dbg!`");
        one("tests/src/x.rs", "//! X.\n#[test]\n#[ignore]\nfn f() {}\n", 3, "without a reason");
        assert_eq!(found("tests/src/x.rs", "//! X.\n#[test]\n#[ignore = \"an hour\"]\nfn f() {}\n"), []);
    }

    #[test]
    fn unsafe_code_is_found() {
        one("engine/src/x.rs", "//! X.\nfn f() { unsafe { g() } }\n", 2, "unsafe code");
    }

    #[test]
    fn a_channel_without_bound_is_found_outside_tests() {
        let text = "//! X.\nfn f() { let (a, b) = crossbeam::channel::unbounded(); }\n";
        one("engine/src/x.rs", text, 2, "without a bound");
        one("engine/src/x.rs", "//! X.\nfn f() { std::sync::mpsc::channel::<u8>(); }\n", 2, "without a bound");
        assert_eq!(found("tests/src/x.rs", text), []);
        let inner = "//! X.\n#[cfg(test)]\nmod tests { fn f() { unbounded(); } }\n";
        assert_eq!(found("engine/src/x.rs", inner), []);
    }

    #[test]
    fn a_clock_is_found_where_a_replay_must_give_the_same() {
        let text = "//! X.\nfn f() { std::time::Instant::now(); }\n";
        one("engine/src/graph/x.rs", text, 2, "a clock");
        one("operators/src/x.rs", text, 2, "a clock");
        assert_eq!(found("engine/src/lanes/x.rs", text), []);
    }
}
