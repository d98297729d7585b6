//! Promises of the FHIR destination, against a server that misbehaves in every way that networks do.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::server::{Behaviour, Server, outcome};
use super::*;

fn endpoint(url: &str) -> FhirEndpoint {
    let (connect_timeout, timeout) = (Duration::from_secs(2), Duration::from_secs(5));
    FhirEndpoint { url: url.to_owned(), token_file: None, connect_timeout, timeout }
}

fn resource(kind: &str, value: &str, status: &str) -> Value {
    json!({ "resourceType": kind, "status": status, "identifier": [{ "system": "urn:x", "value": value }] })
}

/// A bundle that makes a report and its observation, and marks those of the revision before.
fn bundle(revision: u32) -> Vec<u8> {
    let mut entries = Vec::new();
    for kind in ["DiagnosticReport", "Observation"] {
        let own = format!("{kind}-{revision}");
        entries.push(json!({
            "resource": resource(kind, &own, "final"),
            "request": { "method": "POST", "url": kind, "ifNoneExist": format!("identifier=urn:x|{own}") },
        }));
        if revision > 1 {
            let former = format!("{kind}-{}", revision - 1);
            entries.push(json!({
                "resource": resource(kind, &former, "entered-in-error"),
                "request": { "method": "PUT", "url": format!("{kind}?identifier=urn:x|{former}") },
            }));
        }
    }
    json!({ "resourceType": "Bundle", "type": "transaction", "entry": entries }).to_string().into_bytes()
}

/// Value and status of what the server holds.
fn held(server: &Server) -> Vec<(String, String)> {
    let held = server.held.lock().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut all: Vec<_> = held
        .resources
        .iter()
        .map(|resource| (text(&resource["identifier"][0]["value"]), text(&resource["status"])))
        .collect();
    all.sort();
    all
}

fn answering(status: &'static str, headers: &str, body: impl Into<Vec<u8>>) -> FhirError {
    let behaviour = Behaviour::Answer { status, headers: headers.to_owned(), body: body.into() };
    post(&endpoint(&Server::start([behaviour]).unwrap().url), &bundle(1)).unwrap_err()
}

#[test]
fn a_transaction_is_posted_as_fhir_json_and_its_answer_is_the_receipt() {
    let server = Server::start([]).unwrap();
    let receipt = post(&endpoint(&server.url), &bundle(1)).unwrap();
    assert_eq!(receipt, Receipt { status: 200, entries: 2, created: 2, locations: 2 });
    assert_eq!(receipt.to_string(), "HTTP 200, 2 entries, 2 created, 2 locations");
    let requests = server.held.lock().unwrap().requests.clone();
    let has = |line: &str| requests[0].iter().any(|header| header.eq_ignore_ascii_case(line));
    assert!(requests[0][0].starts_with("POST /fhir HTTP/1.1"), "{requests:?}");
    assert!(has("content-type: application/fhir+json") && has("accept: application/fhir+json"), "{requests:?}");
    assert!(!requests[0].iter().any(|header| header.to_ascii_lowercase().starts_with("authorization")));
}

#[test]
fn whatever_breaks_each_resource_stands_once_after_the_retries() {
    let refusal = || Behaviour::Answer {
        status: "503 Service Unavailable",
        headers: String::new(),
        body: outcome("transient").to_string().into_bytes(),
    };
    let server = Server::start([
        Behaviour::DropAfter,
        Behaviour::CutBody,
        refusal(),
        Behaviour::Slow(Duration::from_secs(3)),
        Behaviour::OneLess,
        Behaviour::Serve,
        Behaviour::DropAfter,
        Behaviour::CutBody,
    ])
    .unwrap();
    let hurried = FhirEndpoint { timeout: Duration::from_millis(800), ..endpoint(&server.url) };
    let mut attempts = 0;
    for revision in [1, 2] {
        let bytes = bundle(revision);
        while let Err(error) = post(&hurried, &bytes) {
            attempts += 1;
            assert!(attempts < 20, "{error}");
        }
    }
    assert_eq!(attempts, 7);
    let expected = [
        ("DiagnosticReport-1", "entered-in-error"),
        ("DiagnosticReport-2", "final"),
        ("Observation-1", "entered-in-error"),
        ("Observation-2", "final"),
    ];
    assert_eq!(held(&server), expected.map(|(value, status)| (value.to_owned(), status.to_owned())));
    // A late retry of the first finds what was marked and leaves it so.
    assert_eq!(post(&hurried, &bundle(1)).unwrap().created, 0);
    assert_eq!(held(&server).len(), 4);
    assert_eq!(held(&server)[0].1, "entered-in-error");
}

#[test]
fn a_refusal_is_told_by_codes_without_the_servers_words() {
    for (status, code) in [("422 Unprocessable Entity", "invalid"), ("500 Internal Server Error", "exception")] {
        let said = answering(status, "Content-Type: application/fhir+json\r\n", outcome(code).to_string()).to_string();
        assert!(said.contains(&format!("HTTP {} (error {code})", &status[..3])), "{said}");
        assert!(!said.contains("Doe") && !said.contains("Patient"), "{said}");
    }
    let mut sly = outcome("Doe^Jane");
    sly["issue"][0]["severity"] = json!("Doe^Jane");
    assert!(!answering("400 Bad Request", "", sly.to_string()).to_string().contains("Doe"));
    let server = Server::start([]).unwrap();
    let twice = resource("Observation", "Observation-1", "final");
    server.held.lock().unwrap().resources = vec![twice.clone(), twice];
    let error = post(&endpoint(&server.url), &bundle(1)).unwrap_err();
    assert!(matches!(error, FhirError::Refused { status: 412, .. }), "{error}");
    assert_eq!(held(&server).len(), 2, "nothing of the transaction was kept");
}

#[test]
fn an_answer_that_is_no_transaction_response_is_no_success() {
    let page = "<html><body>Sign in</body></html>";
    for (headers, body) in [
        ("Content-Type: text/html\r\n", page.to_owned()),
        ("", String::new()),
        ("", "[]".to_owned()),
        ("", r#"{"resourceType":"Bundle","type":"searchset","entry":[]}"#.to_owned()),
        ("", outcome("informational").to_string()),
    ] {
        let error = answering("200 OK", headers, body);
        assert!(matches!(error, FhirError::NotFhir { status: 200, .. }), "{error}");
    }
    assert!(matches!(answering("404 Not Found", "", page), FhirError::Refused { status: 404, .. }));
    assert!(matches!(answering("nonsense", "", ""), FhirError::Exchange(_)));
}

#[test]
fn an_entry_that_failed_or_was_not_answered_is_no_success() {
    let failed = json!({
        "resourceType": "Bundle",
        "type": "transaction-response",
        "entry": [
            { "response": { "status": "201 Created" } },
            { "response": { "status": "422", "outcome": outcome("invalid") } },
        ],
    });
    let error = answering("200 OK", "", failed.to_string());
    assert!(matches!(error, FhirError::Entry { entry: 2, status: 422, .. }), "{error}");
    let unsaid = json!({ "resourceType": "Bundle", "type": "transaction-response", "entry": [{}, {}] });
    assert!(matches!(answering("200 OK", "", unsaid.to_string()), FhirError::Entry { entry: 1, status: 0, .. }));
    let server = Server::start([Behaviour::OneLess]).unwrap();
    let error = post(&endpoint(&server.url), &bundle(1)).unwrap_err();
    assert!(matches!(error, FhirError::Count { sent: 2, answered: 1 }), "{error}");
}

#[test]
fn no_redirect_is_followed() {
    for status in ["301 Moved Permanently", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let other = Server::start([]).unwrap();
        let location = format!("Location: {}\r\nContent-Length: 0\r\n", other.url);
        let behaviour = Behaviour::Answer { status, headers: location, body: Vec::new() };
        let server = Server::start([behaviour]).unwrap();
        let error = post(&endpoint(&server.url), &bundle(1)).unwrap_err();
        assert!(matches!(error, FhirError::Redirect(_)), "{error}");
        assert!(other.held.lock().unwrap().requests.is_empty(), "nothing was sent elsewhere");
    }
}

#[test]
fn a_huge_answer_is_cut_off() {
    let body = vec![b' '; LONGEST_ANSWER as usize + 10];
    assert!(matches!(answering("200 OK", "", body), FhirError::TooLong));
}

#[test]
fn a_server_that_is_slow_or_absent_costs_no_more_than_the_time_given() {
    let server = Server::start([Behaviour::Slow(Duration::from_secs(20))]).unwrap();
    let hurried = FhirEndpoint { timeout: Duration::from_millis(500), ..endpoint(&server.url) };
    let start = Instant::now();
    let error = post(&hurried, &bundle(1)).unwrap_err();
    assert!(error.to_string().contains("too long"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(matches!(post(&endpoint("http://127.0.0.1:9/fhir"), &bundle(1)), Err(FhirError::Exchange(_))));
    assert!(matches!(post(&endpoint("https://127.0.0.1:9/fhir"), &bundle(1)), Err(FhirError::Exchange(_))));
}

#[test]
fn the_token_is_read_anew_for_each_post_and_one_that_cannot_be_sent_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let server = Server::start([]).unwrap();
    let with = FhirEndpoint { token_file: Some(file.clone()), ..endpoint(&server.url) };
    assert!(matches!(post(&with, &bundle(1)), Err(FhirError::Token { .. })), "the file is absent");
    for token in ["", "two words", "l\u{e9}ger"] {
        std::fs::write(&file, token).unwrap();
        assert!(matches!(post(&with, &bundle(1)), Err(FhirError::Token { .. })), "{token}");
    }
    assert!(server.held.lock().unwrap().requests.is_empty());
    for token in ["first", "second"] {
        std::fs::write(&file, format!("{token}\n")).unwrap();
        post(&with, &bundle(1)).unwrap();
        let requests = server.held.lock().unwrap().requests.clone();
        let line = format!("authorization: Bearer {token}");
        assert!(requests.last().unwrap().iter().any(|header| header.eq_ignore_ascii_case(&line)), "{requests:?}");
    }
}

#[test]
fn what_is_no_bundle_is_not_posted() {
    let server = Server::start([]).unwrap();
    for bytes in [b"".as_slice(), b"{}", b"{\"resourceType\":\"Patient\",\"entry\":[]}"] {
        assert!(matches!(post(&endpoint(&server.url), bytes), Err(FhirError::Bundle)));
    }
    assert!(server.held.lock().unwrap().requests.is_empty());
}
