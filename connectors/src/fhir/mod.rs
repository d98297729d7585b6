//! A FHIR R4 server as a destination: one transaction is posted, and what the server says of it is read.
//!
//! What it promises
//! - `Ok` means that the server answered the whole transaction with success, entry by entry. Anything else is an error:
//!   an answer cut short, a count that differs, an entry that failed, an answer that is no transaction-response.
//! - An error says nothing about what the server did: it may have kept all of it before the connection broke. So the same
//!   bytes are posted again, and the bundle's own conditions (`ifNoneExist`, conditional updates) keep a resource from
//!   being made twice. The bundle is never split or changed here.
//! - No redirect is followed: it would hand patients' results, and the token, to a server that nobody configured.
//! - Time and memory are bounded: to connect, for the whole exchange, and for the answer's bytes.
//! - Errors hold no patient data: of what the server says only status, severities and issue codes are passed on, since
//!   servers put values into diagnostics.
//!
//! When to try again is the engine's, what the bundle says `results::fhir`'s.

mod answer;
#[cfg(test)]
mod server;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};

use self::answer::Issue;

/// FHIR's JSON (R4 3.1.0.1.9).
const FHIR_JSON: &str = "application/fhir+json";
/// The longest answer that is read; 64 MiB hold the entries of the largest bundle with their resources.
const LONGEST_ANSWER: u64 = 64 << 20;
/// The longest token.
const LONGEST_TOKEN: u64 = 64 << 10;

/// A server, and how long it may take.
#[derive(Clone, Debug)]
pub struct FhirEndpoint {
    /// Base URL, http or https.
    pub url: String,
    /// A file that holds a bearer token (RFC 6750); read for each post, so that it may be renewed.
    pub token_file: Option<PathBuf>,
    /// For a connection to be made.
    pub connect_timeout: Duration,
    /// For the whole exchange, connection and answer included.
    pub timeout: Duration,
}

/// What the server did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// HTTP status of the answer.
    pub status: u16,
    /// Entries of the transaction, each answered with success.
    pub entries: usize,
    /// Entries that made a resource (201).
    pub created: usize,
    /// Entries that name where their resource is.
    pub locations: usize,
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Receipt { status, entries, created, locations } = self;
        write!(f, "HTTP {status}, {entries} entries, {created} created, {locations} locations")
    }
}

/// Why a transaction does not count as delivered.
#[derive(Debug, Error)]
pub enum FhirError {
    /// The token cannot be read.
    #[error("the token file {} cannot be used; write one token of printable ASCII into it", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// What is to be posted is no bundle.
    #[error("what is to be posted is no FHIR bundle; encode the revision again")]
    Bundle,
    /// No connection, no answer, or not in time.
    #[error("the exchange with the FHIR server failed: {0}; check the url and that the server is running")]
    Exchange(String),
    /// The server points elsewhere.
    #[error("the server redirects (HTTP {0}), which is not followed; configure the url that it points to")]
    Redirect(u16),
    /// The answer is longer than is read.
    #[error("the answer is longer than {LONGEST_ANSWER} bytes; check that the url is a FHIR server's base")]
    TooLong,
    /// The answer is not FHIR.
    #[error("HTTP {status}, and the answer is no FHIR {expected}; check that the url is a FHIR server's base")]
    NotFhir {
        /// HTTP status.
        status: u16,
        /// What it should have been.
        expected: &'static str,
    },
    /// The server refused.
    #[error("the server refused the transaction with HTTP {status}{}; {}", Issues(issues), hint(*status))]
    Refused {
        /// HTTP status.
        status: u16,
        /// What its OperationOutcome holds; empty without one.
        issues: Vec<Issue>,
    },
    /// One entry was refused though the transaction as a whole was not.
    #[error(
        "the server answered entry {entry} of the transaction with {status:03}{}; it is to be tried again",
        Issues(issues)
    )]
    Entry {
        /// Which, from 1.
        entry: usize,
        /// Its status; 0 where the server gave none.
        status: u16,
        /// What its outcome holds.
        issues: Vec<Issue>,
    },
    /// Not every entry was answered.
    #[error("the server answered {answered} entries of a transaction of {sent}; it is to be tried again")]
    Count {
        /// Entries sent.
        sent: usize,
        /// Entries answered.
        answered: usize,
    },
}

/// Issues in brackets, where there are any.
struct Issues<'a>(&'a [Issue]);

impl fmt::Display for Issues<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, issue) in self.0.iter().enumerate() {
            write!(f, "{}{} {}", if index == 0 { " (" } else { ", " }, issue.severity, issue.code)?;
        }
        f.write_str(if self.0.is_empty() { "" } else { ")" })
    }
}

fn hint(status: u16) -> &'static str {
    match status {
        401 | 403 => "check the token and what it allows",
        404 | 405 => "check that the url is the server's base and that it takes transactions",
        412 => "several resources hold one of our identifiers; remove all but one",
        413 => "raise the server's limit on the length of a request",
        429 | 500.. => "see the server's own log",
        _ => "see the server's log for the element that it does not take",
    }
}

/// Posts a transaction to the server's base and reads the answer.
///
/// # Errors
/// [`FhirError`] where the server did not confirm every entry; see the page above for what that means.
pub fn post(endpoint: &FhirEndpoint, bundle: &[u8]) -> Result<Receipt, FhirError> {
    let sent = answer::entries_of(bundle).ok_or(FhirError::Bundle)?;
    let authorization = endpoint.token_file.as_deref().map(bearer).transpose()?;
    let mut request = agent(endpoint)
        .post(endpoint.url.as_str())
        .header("Content-Type", FHIR_JSON)
        .header("Accept", FHIR_JSON)
        // Where it is heeded, the answer holds no resources.
        .header("Prefer", "return=minimal");
    if let Some(authorization) = authorization {
        request = request.header("Authorization", authorization);
    }
    let mut response = request.send(bundle).map_err(exchange)?;
    let status = response.status().as_u16();
    if (300..400).contains(&status) {
        return Err(FhirError::Redirect(status));
    }
    let mut body = Vec::new();
    let longer = LONGEST_ANSWER + 1;
    let reader = response.body_mut().with_config().limit(longer).reader();
    reader.take(longer).read_to_end(&mut body).map_err(|error| FhirError::Exchange(broken(&error)))?;
    if body.len() as u64 > LONGEST_ANSWER {
        return Err(FhirError::TooLong);
    }
    if (200..300).contains(&status) {
        answer::receipt(status, &body, sent)
    } else {
        Err(FhirError::Refused { status, issues: answer::issues_of(&body) })
    }
}

fn agent(endpoint: &FhirEndpoint) -> Agent {
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::PlatformVerifier)
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        // The server that is configured and no other.
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .timeout_connect(Some(endpoint.connect_timeout))
        .timeout_global(Some(endpoint.timeout))
        .user_agent(concat!("sulcus/", env!("CARGO_PKG_VERSION")))
        .build();
    config.new_agent()
}

fn bearer(path: &Path) -> Result<String, FhirError> {
    let failed = |source| FhirError::Token { path: path.to_owned(), source };
    let mut text = String::new();
    fs::File::open(path).and_then(|file| file.take(LONGEST_TOKEN).read_to_string(&mut text)).map_err(failed)?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(failed(io::ErrorKind::InvalidData.into()));
    }
    Ok(format!("Bearer {token}"))
}

/// In words of ours: a library's may hold what was sent.
fn exchange(error: ureq::Error) -> FhirError {
    let said = match error {
        ureq::Error::Timeout(which) => format!("it took too long ({which})"),
        ureq::Error::HostNotFound => "the host is not known".to_owned(),
        ureq::Error::ConnectionFailed => "no connection".to_owned(),
        ureq::Error::Io(error) => broken(&error),
        ureq::Error::Rustls(error) => untrusted(&error).to_owned(),
        ureq::Error::BadUri(_) => "the url cannot be used".to_owned(),
        _ => "it speaks no HTTP that can be read".to_owned(),
    };
    FhirError::Exchange(said)
}

fn untrusted(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(_) => "its certificate is not one that this system trusts",
        _ => "TLS could not be agreed on",
    }
}

fn broken(error: &io::Error) -> String {
    if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
        return untrusted(error).to_owned();
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
        io::ErrorKind::TimedOut => "it took too long".to_owned(),
        kind => format!("the connection broke ({kind})"),
    }
}
