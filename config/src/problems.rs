//! What is wrong in a site's file, said with its line and the nearest valid key.
//!
//! `serde` says what a key or type should be; [`Checks`] says where a value that parsed breaks a rule. Both end as
//! [`Problem`]s, and a file with several faults of the second kind names them all at once.

use std::fmt;
use std::path::PathBuf;

use toml::de::{DeTable, DeValue};

/// One fault in a site's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line it stands in, from 1.
    pub line: usize,
    /// What is wrong, then what to write instead.
    pub message: String,
}

/// Why a site's file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read configuration {path}; check that the file is there and may be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file says something that it may not.
    #[error("{}", Listed { origin, problems })]
    Invalid {
        /// The file.
        origin: PathBuf,
        /// What is wrong, at least one, by line.
        problems: Vec<Problem>,
    },
}

struct Listed<'a> {
    origin: &'a PathBuf,
    problems: &'a [Problem],
}

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let lead = if index == 0 { "" } else { "\n" };
            write!(f, "{lead}{}:{}: {}", self.origin.display(), problem.line, problem.message)?;
        }
        Ok(())
    }
}

/// A key or the index of an array's element, on the way to a value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

impl<'a> From<&'a str> for Step<'a> {
    fn from(key: &'a str) -> Self {
        Step::Key(key)
    }
}

impl From<usize> for Step<'_> {
    fn from(index: usize) -> Self {
        Step::Index(index)
    }
}

/// Collects problems while rules walk the settings, and knows the line of the place they have come to.
pub(crate) struct Checks<'a> {
    text: &'a str,
    here: Option<&'a DeValue<'a>>,
    offset: usize,
    found: &'a mut Vec<Problem>,
}

impl<'a> Checks<'a> {
    pub(crate) fn new(text: &'a str, root: &'a DeValue<'a>, found: &'a mut Vec<Problem>) -> Self {
        Checks { text, here: Some(root), offset: 0, found }
    }

    /// The same collection, one step further in; what the file leaves to a default keeps the line of its table.
    pub(crate) fn within<'b>(&mut self, step: impl Into<Step<'b>>) -> Checks<'_> {
        let (here, offset) = self.step(step.into());
        Checks { text: self.text, here, offset, found: self.found }
    }

    pub(crate) fn problem<'b>(&mut self, step: impl Into<Step<'b>>, message: String) {
        let (_, offset) = self.step(step.into());
        self.found.push(Problem { line: line_of(self.text, offset), message });
    }

    fn step(&self, step: Step<'_>) -> (Option<&'a DeValue<'a>>, usize) {
        let next = match (self.here, step) {
            (Some(DeValue::Table(table)), Step::Key(key)) => table.get(key),
            (Some(DeValue::Array(array)), Step::Index(index)) => array.get(index),
            _ => None,
        };
        next.map_or((None, self.offset), |value| (Some(value.get_ref()), value.span().start))
    }
}

/// The known word that a mistyped one is nearest to, if any is near.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let score = |other: &str| strsim::jaro_winkler(&word.to_lowercase(), &other.to_lowercase());
    known.iter().copied().filter(|other| score(other) > 0.8).max_by(|a, b| score(a).total_cmp(&score(b)))
}

/// Puts what `toml` or `serde` complained of into our words: the line, and the nearest valid key.
///
/// `from` is where the faulty table starts, where that is known better than the error itself knows.
pub(crate) fn from_toml(text: &str, error: &toml::de::Error, from: Option<usize>) -> Problem {
    let start = from.or(error.span().map(|span| span.start)).unwrap_or(0);
    let message = error.message().trim_end_matches('\n').replace('\n', "; ");
    let unknown = ["unknown field", "unknown variant"].iter().find_map(|lead| {
        let rest = message.strip_prefix(lead)?;
        let mut quoted = rest.split('`').skip(1).step_by(2);
        let word = quoted.next()?;
        Some((*lead, word.to_owned(), quoted.map(str::to_owned).collect::<Vec<_>>()))
    });
    let Some((lead, word, known)) = unknown else {
        return Problem { line: line_of(text, start), message };
    };
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let what = if lead == "unknown field" { "unknown key" } else { "unknown value" };
    let hint = nearest(&word, &known).map_or(String::new(), |near| format!(" did you mean \"{near}\"?"));
    // A table read by its `kind` is buffered by serde, which forgets the key's own place: look for it below the table.
    let offset = DeTable::parse(text).ok().and_then(|root| place_of(root.get_ref(), &word, start)).unwrap_or(start);
    Problem {
        line: line_of(text, offset),
        message: format!("{what} \"{word}\";{hint} valid here: {}", known.join(", ")),
    }
}

/// The first place at or after `from` where `word` stands as a key or as a value.
fn place_of(table: &DeTable<'_>, word: &str, from: usize) -> Option<usize> {
    let mut first: Option<usize> = None;
    let mut note = |offset: usize| {
        if offset >= from {
            first = Some(first.map_or(offset, |known| known.min(offset)));
        }
    };
    for (key, value) in table {
        if key.get_ref() == word {
            note(key.span().start);
        }
        if let Some(offset) = place_in(value, word, from) {
            note(offset);
        }
    }
    first
}

fn place_in(value: &toml::Spanned<DeValue<'_>>, word: &str, from: usize) -> Option<usize> {
    match value.get_ref() {
        DeValue::Table(table) => place_of(table, word, from),
        DeValue::Array(array) => array.iter().filter_map(|value| place_in(value, word, from)).min(),
        DeValue::String(text) if text == word => Some(value.span().start).filter(|start| *start >= from),
        _ => None,
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}
