//! What a single value must be, each rule once: names, AE titles, addresses, spans, paths.

use std::path::Path;

use crate::problems::{Checks, Step};
use crate::seconds::Seconds;

/// A name: 1 to 64 letters, digits, `-`, `_` or `.`, not starting with a dot, so that it may also name a file.
pub(crate) fn name<'a>(at: &mut Checks<'_>, key: impl Into<Step<'a>>, value: &str) {
    let plain = value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if value.is_empty() || value.len() > 64 || !plain || value.starts_with('.') {
        at.problem(
            key,
            format!("\"{value}\" is no name; use 1 to 64 letters, digits, '-', '_' or '.', not starting with a dot"),
        );
    }
}

/// An AE title (PS3.5 section 6.2): 1 to 16 printable characters of the default repertoire, no backslash, not blank.
pub(crate) fn ae_title<'a>(at: &mut Checks<'_>, key: impl Into<Step<'a>>, value: &str) {
    let reason = if value.trim_matches(' ').is_empty() {
        "is blank"
    } else if value.len() > 16 {
        "is longer than 16 characters"
    } else if value.contains('\\') {
        "contains a backslash"
    } else if !value.chars().all(|c| c == ' ' || c.is_ascii_graphic()) {
        "contains a character outside printable ASCII"
    } else {
        return;
    };
    at.problem(key, format!("AE title \"{value}\" {reason}; use 1 to 16 printable ASCII characters, no backslash"));
}

/// `HOST:PORT` with a port that can be called.
pub(crate) fn host_and_port(at: &mut Checks<'_>, key: &str, value: &str) {
    let valid = value.rsplit_once(':').is_some_and(|(host, port)| {
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let host_ok = !host.is_empty()
            && !host.contains(|c: char| c.is_whitespace() || matches!(c, '/' | '@'))
            && (bracketed || !host.contains(':'));
        host_ok && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if !valid {
        at.problem(key, format!("{key} \"{value}\" is not HOST:PORT; write it like \"127.0.0.1:4242\""));
    }
}

/// An http or https URL of a server, without credentials, query or fragment. Says whether what is sent there stays
/// private: https, or this machine; an URL that is refused counts as private, so that one fault is said once.
pub(crate) fn base_url(at: &mut Checks<'_>, key: &str, value: &str) -> bool {
    let parts = value.split_once("://").map(|(scheme, rest)| {
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        (scheme.to_ascii_lowercase(), authority, path)
    });
    let printable =
        value.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '@' | '\\' | '"' | '<' | '>'));
    let Some((scheme, authority, _)) = parts.filter(|_| printable) else {
        at.problem(key, not_a_url(key, value));
        return true;
    };
    let host = match authority.rsplit_once(':').filter(|_| !authority.ends_with(']')) {
        Some((host, port)) if port.parse::<u16>().is_ok_and(|port| port > 0) => host,
        Some(_) => "",
        None => authority,
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if !matches!(scheme.as_str(), "http" | "https") || host.is_empty() || (host.contains(':') && !bracketed) {
        at.problem(key, not_a_url(key, value));
        return true;
    }
    scheme == "https" || matches!(host, "localhost" | "127.0.0.1" | "[::1]")
}

/// A value with an `@` may hold a password, so it is not repeated.
fn not_a_url(key: &str, value: &str) -> String {
    let shown = if value.contains('@') { "that holds an '@'".to_owned() } else { format!("\"{value}\"") };
    format!("{key} {shown} is no base URL; write it like \"https://fhir.example/r4\", without credentials or query")
}

/// A span above zero, at most [`Seconds::LIMIT`].
pub(crate) fn seconds(at: &mut Checks<'_>, key: &str, value: Seconds) {
    if !(value.0 > 0.0 && value.0 <= Seconds::LIMIT) {
        at.problem(key, format!("{key} is {}; give seconds above 0 and at most {}", value.0, Seconds::LIMIT));
    }
}

/// A whole number within bounds, both included.
pub(crate) fn between(at: &mut Checks<'_>, key: &str, value: u64, least: u64, most: u64) {
    if value < least || value > most {
        at.problem(key, format!("{key} is {value}; give a number from {least} to {most}"));
    }
}

/// A path that says something.
pub(crate) fn path(at: &mut Checks<'_>, key: &str, value: &Path) {
    if value.as_os_str().is_empty() {
        at.problem(key, format!("{key} is empty; name a folder"));
    }
}
