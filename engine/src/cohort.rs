//! What one report adds to the counts over all patients. The ledger keeps one row a report (`ledger/cohort.rs`), so the
//! counts follow each correction at the cost of that correction.

use std::collections::BTreeMap;

use sulcus_operators::{
    results::derivatives::subject,
    rows::{LesionVerdict, ReportRow},
};

use crate::{graph::Lesion, ledger::cohort::Counted, standing::Standing};

/// What reports are counted by, beside pipeline and visit: trial, site, scanner, field strength, sequence. No name, id or
/// date is among them.
pub const KEYWORDS: [&str; 10] = [
    "ClinicalTrialProtocolID",
    "ClinicalTrialSiteID",
    "ClinicalTrialTimePointID",
    "InstitutionName",
    "MagneticFieldStrength",
    "Manufacturer",
    "ManufacturerModelName",
    "ProtocolName",
    "SeriesDescription",
    "StationName",
];

/// What a report adds; none where it is withdrawn.
pub fn counted(row: &ReportRow, standing: &Standing) -> Option<Counted> {
    let run = row.run.as_ref()?;
    let of_run = |uids: (&str, &str)| uids == (row.study_uid.as_str(), run.series_uid.as_str());
    let series = standing.series.iter().find(|state| of_run((&state.study_uid, &state.series_uid)))?;
    let rejected =
        |lesion: &Lesion| lesion.finding.as_ref().is_some_and(|finding| finding.verdict == LesionVerdict::Rejected);
    let own = |lesion: &&Lesion| {
        (&lesion.study_uid, &lesion.pipeline, lesion.run_key) == (&row.study_uid, &row.pipeline, run.run_key)
    };
    let volumes: Vec<u64> = standing
        .lesions
        .iter()
        .filter(own)
        .filter(|lesion| !rejected(lesion))
        .map(|lesion| lesion.lesion.volume_nl)
        .collect();
    Some(Counted {
        subject: subject(&series.patient.issuer, &series.patient.id),
        visit: Some(row.visits.len().max(1) as u32),
        lesions: volumes.len() as u32,
        volume_nl: volumes.iter().sum(),
        keywords: told(&series.keywords),
    })
}

/// The keywords of a series that reports are counted by.
pub fn told(keywords: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let told = keywords.iter().filter(|(keyword, _)| KEYWORDS.contains(&keyword.as_str()));
    told.map(|(keyword, value)| (keyword.clone(), value.clone())).collect()
}
