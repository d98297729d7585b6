//! DiagnosticReport, Observations and Device: what was found, and how far readers stand behind it.

use serde_json::{Value, json};

use super::{
    Earlier, FhirError, FhirInput, checked,
    entries::{Entry, Identifier, Request},
    is_reviewed, name, prose, report_identifier,
    study::study,
    subject,
};
use crate::results::{
    RESEARCH_USE,
    dicom::codes::{BRAIN, Code, LESION},
    report::{Judgement, Lesion, Report, Run, Status, Verdict},
};

const SNOMED: &str = "http://snomed.info/sct";
const UCUM: &str = "http://unitsofmeasure.org";
const VOLUME: Code = Code("118565006", "SCT", "Volume");
const DISTANCE: &str = "Distance of the scan from the model's training scans (1: as those from each other)";
const REPLACES: &str = "http://hl7.org/fhir/StructureDefinition/diagnosticReport-replaces";

/// All entries of the transaction.
pub(super) fn entries(input: &FhirInput<'_>) -> Result<Vec<Entry>, FhirError> {
    let report = input.report;
    let subject = subject(&report.patient)?;
    checked("the report's UID", &report.uid)?;
    checked("StudyInstanceUID", &report.study_instance_uid)?;
    let mut entries = Vec::new();
    let mut results = Vec::new();
    let mut shared = json!({ "subject": subject });
    // A withdrawn report describes no study: whose it is may be just what was wrong.
    let mut study_reference =
        json!({ "type": "ImagingStudy", "identifier": Identifier::dicom(&report.study_instance_uid).json() });
    if report.status == Status::Final {
        let study = study(report, input.source.ok_or(FhirError::NoSource)?, &subject)?;
        study_reference = study.entry.reference();
        if let Some(started) = study.started {
            shared["effectiveDateTime"] = json!(started);
        }
        entries.push(study.entry);
        let mut of_observations = shared.clone();
        of_observations["derivedFrom"] = json!([study_reference]);
        if let Some(run) = &report.run {
            let device = device(run)?;
            of_observations["device"] = device.reference();
            entries.push(device);
        }
        let observations = observations(report, &of_observations)?;
        results = observations.iter().map(Entry::reference).collect();
        entries.extend(observations);
    }
    entries.push(diagnostic_report(input, shared, &study_reference, &results)?);
    for earlier in input.earlier {
        supersede(report, earlier, &mut entries)?;
    }
    Ok(entries)
}

fn device(run: &Run) -> Result<Entry, FhirError> {
    let (model, version) =
        (name("the model's name", &run.model_name)?, name("the model's version", &run.model_version)?);
    let identifier = Identifier::derived("device", &[model, version, &run.model_digest]);
    let resource = json!({
        "status": "active",
        "manufacturer": "Sulcus",
        "deviceName": [{ "name": model, "type": "model-name" }],
        "type": { "text": "Lesion segmentation model" },
        "version": [
            { "type": { "text": "Model version" }, "value": version },
            { "type": { "text": "BLAKE3 digest of the model package" }, "value": run.model_digest },
        ],
        "note": [{ "text": RESEARCH_USE }],
    });
    Ok(Entry::new("Device", Request::Create, identifier, &[], resource))
}

fn observations(report: &Report, shared: &Value) -> Result<Vec<Entry>, FhirError> {
    let status = if is_reviewed(report) { "final" } else { "preliminary" };
    let mut count = observation(shared, status, json!({ "text": "Number of lesions" }));
    count["valueInteger"] = json!(report.lesions.len());
    let mut volume = observation(shared, status, coded(VOLUME, "Total lesion volume"));
    volume["valueQuantity"] = quantity(report.lesion_volume_mm3, "mm3");
    let [count_id, volume_id, distance_id] = totals(&report.uid);
    let mut entries = vec![
        Entry::new("Observation", Request::Create, count_id, &[], count),
        Entry::new("Observation", Request::Create, volume_id, &[], volume),
    ];
    if let Some(domain) = report.run.as_ref().and_then(|run| run.domain) {
        // Nothing that a reader says of lesions changes it.
        let mut distance = observation(shared, "final", json!({ "text": DISTANCE }));
        distance["valueQuantity"] = quantity(domain.distance, "1");
        if let Some(notes) = distance["note"].as_array_mut() {
            notes.push(json!({ "text": prose("what is said of the distance", &domain.note())? }));
        }
        entries.push(Entry::new("Observation", Request::Create, distance_id, &[], distance));
    }
    let scale = report.run.as_ref().map_or("", |run| run.intensity_scale.as_str());
    for found in &report.lesions {
        let tracking = Identifier::dicom(checked("tracking UID", &found.tracking_uid)?);
        let identifier = of_lesion(&report.uid, &found.tracking_uid);
        let resource = lesion(found, scale, shared)?;
        entries.push(Entry::new("Observation", Request::Create, identifier, &[tracking], resource));
    }
    Ok(entries)
}

/// Identities of lesion count, total volume and distance from the training scans of a report.
fn totals(report_uid: &str) -> [Identifier; 3] {
    ["lesion count", "lesion volume", "domain distance"].map(|kind| Identifier::derived(kind, &[report_uid]))
}

/// Identity of a lesion's Observation in one revision; its tracking UID is a second identifier, the same in all.
fn of_lesion(report_uid: &str, tracking_uid: &str) -> Identifier {
    Identifier::derived("lesion", &[report_uid, tracking_uid])
}

fn observation(shared: &Value, status: &str, code: Value) -> Value {
    let mut observation = shared.clone();
    let category = "http://terminology.hl7.org/CodeSystem/observation-category";
    observation["status"] = json!(status);
    observation["category"] = json!([{ "coding": [{ "system": category, "code": "imaging", "display": "Imaging" }] }]);
    observation["code"] = code;
    observation["bodySite"] = coded(BRAIN, BRAIN.2);
    observation["note"] = json!([{ "text": RESEARCH_USE }]);
    observation
}

fn lesion(lesion: &Lesion, scale: &str, shared: &Value) -> Result<Value, FhirError> {
    let status = if lesion.verdict.is_some() { "final" } else { "preliminary" };
    let relabelled = lesion.verdict.as_ref().and_then(|verdict| verdict.relabelled.as_deref());
    let code = match relabelled.map(|text| prose("a reader's label", text)).transpose()? {
        // The reader's words alone: what they call otherwise need not be a lesion.
        Some(text) if !text.is_empty() => json!({ "text": text }),
        _ => coded(LESION, &format!("Lesion {}", lesion.label)),
    };
    let mut resource = observation(shared, status, code);
    let mut intensity = json!({ "value": lesion.mean_intensity });
    let scale = prose("the intensity scale", scale)?;
    if !scale.is_empty() {
        intensity["unit"] = json!(scale);
    }
    let component = |code: Value, value: Value| json!({ "code": code, "valueQuantity": value });
    resource["component"] = json!([
        component(coded(VOLUME, VOLUME.2), quantity(lesion.volume_mm3, "mm3")),
        component(json!({ "text": "Mean intensity" }), intensity),
        component(json!({ "text": "Mean probability of a lesion" }), quantity(lesion.mean_probability, "1")),
        component(json!({ "text": "Highest probability of a lesion" }), quantity(lesion.peak_probability, "1")),
    ]);
    if let (Some(verdict), Some(notes)) = (&lesion.verdict, resource["note"].as_array_mut()) {
        notes.push(annotation(verdict)?);
    }
    Ok(resource)
}

fn annotation(verdict: &Verdict) -> Result<Value, FhirError> {
    let said = match verdict.verdict {
        Judgement::Accepted => "Accepted by a reader",
        Judgement::Rejected => "Rejected by a reader",
        Judgement::Relabelled => "Given another name by a reader",
    };
    let comment = prose("a reader's comment", verdict.comment.as_deref().unwrap_or_default())?;
    let text = if comment.is_empty() { said.to_owned() } else { format!("{said}: {comment}") };
    let mut note = json!({ "text": text });
    let reader = prose("a reader's name", &verdict.reader)?;
    if !reader.is_empty() {
        note["authorString"] = json!(reader);
    }
    Ok(note)
}

fn diagnostic_report(
    input: &FhirInput<'_>,
    shared: Value,
    study: &Value,
    results: &[Value],
) -> Result<Entry, FhirError> {
    let report = input.report;
    let status = match report.status {
        Status::Withdrawn => "entered-in-error",
        Status::Final if is_reviewed(report) => "final",
        Status::Final => "partial",
    };
    let mut sentences = vec![report.result.clone()];
    if let Some(reason) = &report.withdrawn_because {
        sentences.push(format!("Reason: {reason}."));
    }
    sentences.extend(report.notes.iter().map(|note| format!("Note: {note}.")));
    sentences.push(format!("{RESEARCH_USE}."));
    let conclusion = prose("the report's text", &sentences.join(" "))?;
    let pipeline = name("the pipeline's name", &report.pipeline)?;
    let mut resource = report_frame(shared, status, &conclusion, &format!("Brain lesions by {pipeline}"));
    resource["issued"] = json!(report.created);
    resource["imagingStudy"] = json!([study]);
    if !results.is_empty() {
        resource["result"] = json!(results);
    }
    if !input.earlier.is_empty() {
        let replaces = |earlier: &Earlier<'_>| {
            let logical = json!({ "type": "DiagnosticReport", "identifier": report_identifier(earlier.uid).json() });
            json!({ "url": REPLACES, "valueReference": logical })
        };
        resource["extension"] = input.earlier.iter().map(replaces).collect();
    }
    Ok(Entry::new("DiagnosticReport", Request::Create, report_identifier(&report.uid), &[], resource))
}

fn report_frame(mut resource: Value, status: &str, conclusion: &str, title: &str) -> Value {
    let service = "http://terminology.hl7.org/CodeSystem/v2-0074";
    let kind = json!({ "system": "http://loinc.org", "code": "18748-4", "display": "Diagnostic imaging study" });
    resource["status"] = json!(status);
    resource["category"] = json!([{ "coding": [{ "system": service, "code": "RAD", "display": "Radiology" }] }]);
    resource["code"] = json!({ "coding": [kind], "text": title });
    resource["conclusion"] = json!(conclusion);
    let div = format!("<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>{}</p></div>", escaped(conclusion));
    resource["text"] = json!({ "status": "generated", "div": div });
    resource
}

/// Marks what an earlier revision left at the server. Its values stay in the server's history of the resource.
fn supersede(report: &Report, earlier: &Earlier<'_>, entries: &mut Vec<Entry>) -> Result<(), FhirError> {
    let uid = checked("the UID of an earlier report", earlier.uid)?;
    let shared = json!({ "subject": subject(earlier.patient.unwrap_or(&report.patient))? });
    let because = format!("Superseded by revision {}. {RESEARCH_USE}.", report.revision);
    let resource = report_frame(shared.clone(), "entered-in-error", &because, "Brain lesions");
    entries.push(Entry::new("DiagnosticReport", Request::Update, report_identifier(uid), &[], resource));
    let mut marked = |identifier, others: &[Identifier], code| {
        let mut resource = observation(&shared, "entered-in-error", code);
        resource["note"] = json!([{ "text": because }]);
        entries.push(Entry::new("Observation", Request::Update, identifier, others, resource));
    };
    let [count, volume, distance] = totals(uid);
    marked(count, &[], json!({ "text": "Number of lesions" }));
    marked(volume, &[], coded(VOLUME, "Total lesion volume"));
    if earlier.has_distance {
        marked(distance, &[], json!({ "text": DISTANCE }));
    }
    for tracking_uid in earlier.tracking_uids {
        let tracking = Identifier::dicom(checked("tracking UID", tracking_uid)?);
        marked(of_lesion(uid, tracking_uid), &[tracking], coded(LESION, LESION.2));
    }
    Ok(())
}

fn coded(code: Code, text: &str) -> Value {
    json!({ "coding": [{ "system": SNOMED, "code": code.0, "display": code.2 }], "text": text })
}

fn quantity(value: f64, unit: &str) -> Value {
    json!({ "value": value, "unit": unit, "system": UCUM, "code": unit })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
