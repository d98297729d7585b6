//! Stage `series`: what the standing instances of a series tell together. Also here: a study that names two patients.

use std::{collections::BTreeMap, sync::Arc};

use sulcus_operators::{
    rows::{Fault, PatientKey, SeriesState},
    series::{InstanceRow, summarise},
};

use super::{
    group::{Key, Row, Rows},
    instances::{Arrived, Brought},
    keyed::{each, gather},
    rows::Output,
};

/// Each series that has members, by its UID, and the studies that name several patients.
pub fn stage<'scope>(members: Rows<'scope>) -> (Rows<'scope>, Rows<'scope>) {
    let series = gather([members], "series", |_, rows, out| {
        let members = rows.iter().filter_map(|row| if let Row::Arrived(member) = row { Some(member) } else { None });
        out.extend(state(members).map(Row::State));
    });
    let patients = each(series.clone(), |_, row, out| {
        if let Row::State(state) = row {
            out.push((Key::Study(state.study_uid.clone()), Row::Patient(state.patient.clone())));
        }
    });
    let faults = gather([patients], "patients of a study", |key, rows, out| {
        let patients = rows.iter().filter_map(|row| if let Row::Patient(patient) = row { Some(patient) } else { None });
        if let Key::Study(study_uid) = key {
            out.extend(mixed(study_uid, &patients.collect::<Vec<_>>()).map(|fault| Output::Fault(fault).into()));
        }
    });
    (series, faults)
}

/// The same from the whole log.
pub fn batch(standing: &[Arc<Arrived>]) -> (BTreeMap<String, Arc<SeriesState>>, Vec<Fault>) {
    let mut members: BTreeMap<&str, Vec<&Arc<Arrived>>> = BTreeMap::new();
    for arrived in standing.iter().filter(|arrived| matches!(arrived.brought, Brought::Member(_))) {
        members.entry(&arrived.series_uid).or_default().push(arrived);
    }
    let series: BTreeMap<String, Arc<SeriesState>> =
        members.into_iter().filter_map(|(uid, members)| Some((uid.to_owned(), state(members.into_iter())?))).collect();
    let mut patients: BTreeMap<&str, Vec<&PatientKey>> = BTreeMap::new();
    for state in series.values() {
        patients.entry(&state.study_uid).or_default().push(&state.patient);
    }
    let faults = patients.into_iter().filter_map(|(study_uid, mut patients)| {
        patients.sort();
        patients.dedup();
        mixed(study_uid, &patients)
    });
    let faults = faults.collect();
    (series, faults)
}

fn state<'a>(members: impl Iterator<Item = &'a Arc<Arrived>>) -> Option<Arc<SeriesState>> {
    let rows: Vec<&InstanceRow> = members
        .filter_map(|arrived| match &arrived.brought {
            Brought::Member(row) => Some(row),
            Brought::Refused(_) => None,
        })
        .collect();
    summarise(&rows).map(Arc::new)
}

/// `patients` are distinct and sorted. No patient is named: faults are logged.
fn mixed(study_uid: &str, patients: &[&PatientKey]) -> Option<Fault> {
    let count = PatientKey::count(patients.iter().copied());
    (count > 1).then(|| Fault {
        stage: "series".to_owned(),
        key: study_uid.to_owned(),
        reason: format!("study holds series of {count} patients"),
        hint: "withdraw the series that do not belong to the study's patient".to_owned(),
    })
}
