//! Stage `series`: what the standing instances of a series tell together. Also here: a study that names two patients.

use std::{collections::BTreeMap, sync::Arc};

use sulcus_operators::{
    rows::{Fault, PatientKey, SeriesState},
    series::{InstanceRow, summarise},
};

use super::{
    completeness::is_candidate,
    group::{Key, Row, Rows},
    instances::{Arrived, Brought},
    keyed::{all, gather},
    matches::Described,
    rows::Output,
};

/// What the stage gives.
pub struct Series<'scope> {
    /// Those that a pipeline may take.
    pub states: Rows<'scope>,
    /// What rules read of them.
    pub described: Rows<'scope>,
    /// All series, and studies that name several patients.
    pub told: Rows<'scope>,
}

/// The series that have members.
pub fn stage(members: Rows<'_>) -> Series<'_> {
    const STATES: usize = 0;
    const DESCRIBED: usize = 1;
    const PATIENTS: usize = 2;
    const TOLD: usize = 3;
    let [states, described, patients, told] = gather([members], "series", |key, rows, out| {
        let members = rows.iter().filter_map(|row| if let Row::Arrived(member) = row { Some(member) } else { None });
        let Some(state) = state(members) else { return };
        if is_candidate(&state.keywords) {
            out.push((STATES, key.clone(), Row::State(Arc::clone(&state))));
            out.push((DESCRIBED, key.clone(), Row::Described(Described::of(&state))));
        }
        out.push((PATIENTS, Key::Study(state.study_uid.clone()), Row::Patient(state.patient.clone())));
        out.push((TOLD, key.clone(), Output::Series(state).into()));
    });
    let [faults] = gather([patients], "patients of a study", |key, rows, out| {
        let patients = rows.iter().filter_map(|row| if let Row::Patient(patient) = row { Some(patient) } else { None });
        if let Key::Study(study_uid) = key {
            let fault = mixed(study_uid, &patients.collect::<Vec<_>>());
            out.extend(fault.map(|fault| (0, key.clone(), Output::Fault(fault).into())));
        }
    });
    Series { states, described, told: all([told, faults]) }
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
            Brought::Refused(..) => None,
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
