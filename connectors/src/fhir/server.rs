//! A small FHIR server for tests: it keeps resources in memory, honours `ifNoneExist` and conditional updates, and
//! misbehaves as it is told.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// What the server does with one request.
#[derive(Clone, Debug)]
pub(super) enum Behaviour {
    /// Keeps the transaction and says so.
    Serve,
    /// Answers at once, without looking.
    Answer { status: &'static str, headers: String, body: Vec<u8> },
    /// Keeps the transaction and breaks the connection before it says so.
    DropAfter,
    /// Keeps the transaction and breaks the connection within the answer.
    CutBody,
    /// Keeps the transaction and answers after a while.
    Slow(Duration),
    /// Keeps the transaction and answers one entry less.
    OneLess,
}

/// What it holds and was asked.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) resources: Vec<Value>,
    /// Header lines of each request.
    pub(super) requests: Vec<Vec<String>>,
    behaviours: VecDeque<Behaviour>,
}

/// A running server; it ends with the process.
pub(super) struct Server {
    pub(super) url: String,
    pub(super) held: Arc<Mutex<Held>>,
}

impl Server {
    /// Starts it with what it does to the first requests; then it serves.
    pub(super) fn start(behaviours: impl IntoIterator<Item = Behaviour>) -> io::Result<Server> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}/fhir", listener.local_addr()?);
        let held = Arc::new(Mutex::new(Held { behaviours: behaviours.into_iter().collect(), ..Held::default() }));
        let shared = Arc::clone(&held);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // A request that breaks off is what some tests are about.
                thread::spawn(move || drop(answer(stream, &shared)));
            }
        });
        Ok(Server { url, held })
    }
}

fn answer(mut stream: TcpStream, held: &Mutex<Held>) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        headers.push(line.trim().to_owned());
    }
    let length = headers.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let (behaviour, response) = {
        let Ok(mut held) = held.lock() else { return Ok(()) };
        held.requests.push(headers);
        let behaviour = held.behaviours.pop_front().unwrap_or(Behaviour::Serve);
        if let Behaviour::Answer { status, headers, body } = &behaviour {
            write!(stream, "HTTP/1.1 {status}\r\n{headers}Connection: close\r\n\r\n")?;
            return stream.write_all(body);
        }
        (behaviour, transaction(&mut held.resources, &body))
    };
    let (status, mut answer) = response;
    match behaviour {
        Behaviour::DropAfter => return Ok(()),
        Behaviour::Slow(time) => thread::sleep(time),
        Behaviour::OneLess => drop(answer["entry"].as_array_mut().and_then(Vec::pop)),
        _ => {}
    }
    let text = answer.to_string();
    let sent = if matches!(behaviour, Behaviour::CutBody) { &text[..text.len() / 2] } else { &text };
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: application/fhir+json\r\nContent-Length: {}\r\n", text.len());
    write!(stream, "{head}Connection: close\r\n\r\n{sent}")
}

/// Keeps all of a transaction or nothing.
fn transaction(resources: &mut Vec<Value>, body: &[u8]) -> (&'static str, Value) {
    let bundle: Value = serde_json::from_slice(body).unwrap_or_default();
    let mut kept = resources.clone();
    let mut answers = Vec::new();
    for entry in bundle["entry"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let (request, resource) = (&entry["request"], &entry["resource"]);
        let kind = resource["resourceType"].as_str().unwrap_or_default();
        let update = request["method"] == "PUT";
        let search = if update {
            request["url"].as_str().and_then(|url| url.strip_prefix(&format!("{kind}?")))
        } else {
            request["ifNoneExist"].as_str()
        };
        let places = matching(&kept, kind, search.unwrap_or_default());
        let status = match (places.as_slice(), update) {
            ([], _) => {
                kept.push(resource.clone());
                "201 Created"
            }
            ([at], true) => {
                kept[*at] = resource.clone();
                "200 OK"
            }
            ([_], false) => "200 OK",
            _ => return ("412 Precondition Failed", outcome("multiple-matches")),
        };
        answers.push(json!({ "response": { "status": status, "location": format!("{kind}/1/_history/1") } }));
    }
    *resources = kept;
    ("200 OK", json!({ "resourceType": "Bundle", "type": "transaction-response", "entry": answers }))
}

/// Places of the resources that hold the identifier of `identifier=SYSTEM|VALUE`.
fn matching(resources: &[Value], kind: &str, search: &str) -> Vec<usize> {
    let wanted = search.strip_prefix("identifier=").and_then(|rest| rest.split_once('|'));
    let holds = |resource: &Value| {
        let identifiers = resource["identifier"].as_array().map(Vec::as_slice).unwrap_or_default();
        resource["resourceType"] == kind
            && identifiers
                .iter()
                .any(|id| wanted.is_some_and(|(system, value)| id["system"] == system && id["value"] == value))
    };
    (0..resources.len()).filter(|at| holds(&resources[*at])).collect()
}

/// An outcome with a patient's name in its words.
pub(super) fn outcome(code: &str) -> Value {
    json!({
        "resourceType": "OperationOutcome",
        "issue": [{ "severity": "error", "code": code, "diagnostics": "Patient Doe^Jane is not to be leaked" }],
    })
}
