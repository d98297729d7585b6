//! What a FHIR server says: a transaction-response, or an OperationOutcome.

use serde_json::Value;

use super::{FhirError, Receipt};

/// Issues of one outcome that are passed on.
const MOST_ISSUES: usize = 8;

/// One issue of an OperationOutcome, without its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// `fatal`, `error`, `warning` or `information`; empty where it is none of them.
    pub severity: String,
    /// A code of R4's issue types, such as `invalid`; empty where it is no code.
    pub code: String,
}

/// How many entries a bundle has; none where it is no bundle.
pub(super) fn entries_of(bundle: &[u8]) -> Option<usize> {
    let bundle: Value = serde_json::from_slice(bundle).ok()?;
    let entries = bundle.get("entry")?.as_array()?;
    (bundle.get("resourceType")? == "Bundle").then_some(entries.len())
}

/// What a transaction-response says of a transaction of `sent` entries.
pub(super) fn receipt(status: u16, body: &[u8], sent: usize) -> Result<Receipt, FhirError> {
    let not_fhir = || FhirError::NotFhir { status, expected: "transaction-response" };
    let answer: Value = serde_json::from_slice(body).map_err(|_| not_fhir())?;
    if answer.get("resourceType").is_none_or(|kind| kind != "Bundle")
        || answer.get("type").is_none_or(|kind| kind != "transaction-response")
    {
        return Err(not_fhir());
    }
    let entries = answer.get("entry").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if entries.len() != sent {
        return Err(FhirError::Count { sent, answered: entries.len() });
    }
    let mut receipt = Receipt { status, entries: sent, created: 0, locations: 0 };
    for (index, entry) in entries.iter().enumerate() {
        let response = entry.get("response");
        let text = response.and_then(|response| response.get("status")?.as_str()).unwrap_or_default();
        let status = text.get(..3).and_then(|digits| digits.parse().ok()).unwrap_or(0);
        if !matches!(status, 200..300 | 304) {
            let outcome = response.and_then(|response| response.get("outcome"));
            return Err(FhirError::Entry { entry: index + 1, status, issues: outcome.map(issues).unwrap_or_default() });
        }
        receipt.created += usize::from(status == 201);
        receipt.locations += usize::from(response.is_some_and(|response| response.get("location").is_some()));
    }
    Ok(receipt)
}

/// What an answer that refuses holds; empty where it is no OperationOutcome.
pub(super) fn issues_of(body: &[u8]) -> Vec<Issue> {
    serde_json::from_slice(body).map(|outcome: Value| issues(&outcome)).unwrap_or_default()
}

fn issues(outcome: &Value) -> Vec<Issue> {
    let listed = outcome.get("issue").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    listed.iter().take(MOST_ISSUES).map(|issue| Issue { severity: severity(issue), code: code(issue) }).collect()
}

fn severity(issue: &Value) -> String {
    let text = issue.get("severity").and_then(Value::as_str).unwrap_or_default();
    if matches!(text, "fatal" | "error" | "warning" | "information") { text.to_owned() } else { String::new() }
}

/// Only what has the shape of R4's codes, all of them short words of lower-case letters.
fn code(issue: &Value) -> String {
    let text = issue.get("code").and_then(Value::as_str).unwrap_or_default();
    let is_code = text.len() <= 16 && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    if is_code { text.to_owned() } else { String::new() }
}
