//! One revision of a report as a FHIR R4 transaction: ImagingStudy, DiagnosticReport, Observations and the Device that
//! made them.
//!
//! - A retry makes nothing twice: every resource has an identifier made of UIDs, and every entry is a conditional create
//!   on it (R4 3.1.0.8.1). Where the server holds the study's ImagingStudy already, that one is referred to.
//! - Each revision is a DiagnosticReport with Observations of its own. Its bundle marks those of the revisions before as
//!   `entered-in-error` (in R4 the status of what was released and is withdrawn) by conditional updates; a later retry of
//!   an earlier bundle then finds them and makes nothing.
//! - What no reader judged is unverified: Observation `preliminary`, DiagnosticReport `partial`. A lesion that a reader
//!   accepted or renamed is `final`, and so is the report once all are judged. A rejected lesion is left out: in R4
//!   `cancelled` is what was not measured, and an earlier Observation of it is `entered-in-error` by then. A withdrawn
//!   report is `entered-in-error`, and its conclusion says why.
//! - The patient is a logical reference, id and issuer alone: the server knows its patients, and a name or birth date
//!   would be one copy more to keep right.
//! - All of it carries a tag, and what was measured the security label HRESCH: research use only.
//!
//! Posting is the connectors' (`fhir`).

mod entries;
mod resources;
mod study;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use thiserror::Error;

use self::entries::{Entry, Identifier};
use super::{
    report::{Patient, Report, Status},
    uid::is_valid_uid,
};
use crate::volume::Encoded;

/// The longest text that R4 allows in a string (2.24.0.1).
const LONGEST_TEXT: usize = 1 << 20;

/// What a bundle is made from.
#[derive(Clone, Copy, Debug)]
pub struct FhirInput<'a> {
    /// What the revision says.
    pub report: &'a Report,
    /// One instance of the series that was used, as stored; none where the report is withdrawn.
    pub source: Option<Encoded<'a>>,
    /// The revisions before that may stand at the server, in any order; one that was withdrawn itself needs no entry.
    pub earlier: &'a [Earlier<'a>],
}

/// A revision that this one supersedes.
#[derive(Clone, Copy, Debug)]
pub struct Earlier<'a> {
    /// `Report::uid`.
    pub uid: &'a str,
    /// Whose study it said it was; none: as this revision says.
    pub patient: Option<&'a Patient>,
    /// Tracking UIDs of `Report::lesions`.
    pub tracking_uids: &'a [&'a str],
    /// Whether it told of a distance from the training scans.
    pub has_distance: bool,
}

/// Why no bundle was made.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FhirError {
    /// A UID that PS3.5 9.1 forbids.
    #[error("{what} {uid:?} is not a valid UID (at most 64 characters, digits and dots)")]
    Uid {
        /// Which.
        what: &'static str,
        /// Its value.
        uid: String,
    },
    /// A final report describes a study.
    #[error("a final report needs an instance of its source; give one of the run's instances")]
    NoSource,
    /// The source's bytes cannot be read.
    #[error("the source instance cannot be read: {0}")]
    Source(String),
    /// The source is of another study or series.
    #[error("the source instance is of another {0} than the report; give one of the run's instances")]
    OtherSource(&'static str),
    /// One identity twice in one transaction, which R4 forbids.
    #[error("{0} would be written twice in one transaction; list each earlier revision and lesion once")]
    Twice(&'static str),
    /// A text that no FHIR string holds.
    #[error("{0} is longer than a FHIR string or holds control characters; correct it at its source")]
    Text(&'static str),
    /// A number that JSON has not.
    #[error("the bundle cannot be written: {0}")]
    Json(String),
}

/// The bundle of one revision: indented JSON with a newline at the end, the same for equal input.
///
/// # Errors
/// [`FhirError`] where report and source do not belong together, or a value has no place in FHIR.
pub fn bundle(input: &FhirInput<'_>) -> Result<Vec<u8>, FhirError> {
    let entries = resources::entries(input)?;
    let mut seen = BTreeSet::new();
    if let Some(entry) = entries.iter().find(|entry| !seen.insert(&entry.identifier)) {
        return Err(FhirError::Twice(entry.kind));
    }
    let entries: Vec<Value> = entries.into_iter().map(Entry::into_json).collect();
    let bundle = json!({ "resourceType": "Bundle", "type": "transaction", "entry": entries });
    let mut bytes = serde_json::to_vec_pretty(&bundle).map_err(|error| FhirError::Json(error.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Refuses a UID that PS3.5 9.1 forbids.
fn checked<'a>(what: &'static str, uid: &'a str) -> Result<&'a str, FhirError> {
    if is_valid_uid(uid) { Ok(uid) } else { Err(FhirError::Uid { what, uid: uid.to_owned() }) }
}

/// A text that names something, as it is.
fn name<'a>(what: &'static str, text: &'a str) -> Result<&'a str, FhirError> {
    let text = text.trim();
    let fits = text.len() <= LONGEST_TEXT && !text.chars().any(char::is_control);
    if fits { Ok(text) } else { Err(FhirError::Text(what)) }
}

/// A text for people: a control character becomes a space, which changes no word.
fn prose(what: &'static str, text: &str) -> Result<String, FhirError> {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    name(what, &text).map(str::to_owned)
}

/// A logical reference to the patient (R4 2.3.0.2).
fn subject(patient: &Patient) -> Result<Value, FhirError> {
    let (id, issuer) = (name("PatientID", &patient.id)?, name("IssuerOfPatientID", &patient.issuer)?);
    if id.is_empty() {
        return Ok(json!({ "type": "Patient", "display": "Not identified: the source has no PatientID" }));
    }
    let mut identifier = json!({ "value": id });
    if is_valid_uid(issuer) && issuer.contains('.') {
        identifier["system"] = json!(format!("urn:oid:{issuer}"));
    } else if is_uri(issuer) {
        identifier["system"] = json!(issuer);
    } else if !issuer.is_empty() {
        // No URI, so it cannot be a system; it still keeps equal ids of two sites apart.
        identifier["assigner"] = json!({ "display": issuer });
    }
    Ok(json!({ "type": "Patient", "identifier": identifier }))
}

/// True for an issuer that is a URI by itself; `source:` and `demographics:` are ours and none.
fn is_uri(issuer: &str) -> bool {
    let known = ["urn:", "http://", "https://"].iter().any(|scheme| issuer.starts_with(scheme));
    known && issuer.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '<' | '>' | '|'))
}

/// The report's own identity.
fn report_identifier(uid: &str) -> Identifier {
    Identifier::uri(uid)
}

/// Whether readers judged every lesion of the run.
fn is_reviewed(report: &Report) -> bool {
    let mut lesions = report.lesions.iter().chain(&report.lesions_rejected).peekable();
    report.status == Status::Final && lesions.peek().is_some() && lesions.all(|lesion| lesion.verdict.is_some())
}
