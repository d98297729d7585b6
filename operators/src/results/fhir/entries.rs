//! Entries of a transaction: identities, and the requests that make each resource stand once.

use serde_json::{Value, json};

use crate::{digest::Digest, results::RESEARCH_USE};

/// System of identifiers that are DICOM UIDs of the source or of lesions (R4 ImagingStudy).
const DICOM_UID: &str = "urn:dicom:uid";
/// System of identifiers that are URIs and so need no system of their own (R4 2.24.0.9).
const URI: &str = "urn:ietf:rfc:3986";

/// A business identifier. Systems and values are URNs of letters, digits, `:` and `.`, so a search needs no escapes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identifier {
    system: &'static str,
    value: String,
}

impl Identifier {
    /// A UID that DICOM knows.
    pub(super) fn dicom(uid: &str) -> Self {
        Self { system: DICOM_UID, value: format!("urn:oid:{uid}") }
    }

    /// A UID of ours.
    pub(super) fn uri(uid: &str) -> Self {
        Self { system: URI, value: format!("urn:oid:{uid}") }
    }

    /// An identity derived from what the resource is made of.
    pub(super) fn derived(kind: &str, parts: &[&str]) -> Self {
        let parts = std::iter::once(kind).chain(parts.iter().copied()).map(str::as_bytes);
        Self::uri(&Digest::of_parts("sulcus fhir identifier 1", parts).uid())
    }

    pub(super) fn json(&self) -> Value {
        json!({ "system": self.system, "value": self.value })
    }

    fn search(&self) -> String {
        format!("identifier={}|{}", self.system, self.value)
    }
}

/// How an entry comes to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Made where nothing has its identifier.
    Create,
    /// Replaces what has its identifier; made where nothing has.
    Update,
}

/// One resource of the bundle.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Its resource type.
    pub(super) kind: &'static str,
    /// What the server knows it by.
    pub(super) identifier: Identifier,
    request: Request,
    resource: Value,
}

impl Entry {
    /// An entry of this resource, which gets type, identifiers and the tag.
    pub(super) fn new(
        kind: &'static str,
        request: Request,
        identifier: Identifier,
        others: &[Identifier],
        mut resource: Value,
    ) -> Self {
        let mut identifiers = vec![identifier.json()];
        identifiers.extend(others.iter().map(Identifier::json));
        if let Some(more) = resource.get_mut("identifier").and_then(Value::as_array_mut) {
            identifiers.append(more);
        }
        resource["resourceType"] = json!(kind);
        resource["identifier"] = json!(identifiers);
        resource["meta"] = json!({ "tag": [{ "display": RESEARCH_USE }] });
        if matches!(kind, "DiagnosticReport" | "Observation") {
            let label = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
            resource["meta"]["security"] =
                json!([{ "system": label, "code": "HRESCH", "display": "healthcare research" }]);
        }
        Self { kind, identifier, request, resource }
    }

    /// What other entries of the bundle refer to it by; the server puts its own id in the place.
    pub(super) fn full_url(&self) -> String {
        let parts = [self.kind, self.identifier.system, &self.identifier.value].map(str::as_bytes);
        let uid = Digest::of_parts("sulcus fhir entry 1", parts).uid();
        // A UID under 2.25 is a UUID in decimal (PS3.5 B.2).
        let number: u128 = uid.trim_start_matches("2.25.").parse().unwrap_or_default();
        let hex = format!("{number:032x}");
        let part = |range| hex.get(range).unwrap_or_default();
        format!("urn:uuid:{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32))
    }

    pub(super) fn reference(&self) -> Value {
        json!({ "reference": self.full_url() })
    }

    pub(super) fn into_json(self) -> Value {
        let (kind, search) = (self.kind, self.identifier.search());
        let request = match self.request {
            Request::Create => json!({ "method": "POST", "url": kind, "ifNoneExist": search }),
            Request::Update => json!({ "method": "PUT", "url": format!("{kind}?{search}") }),
        };
        json!({ "fullUrl": self.full_url(), "resource": self.resource, "request": request })
    }
}
