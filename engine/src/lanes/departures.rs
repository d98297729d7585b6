//! When studies turned out not to be of a patient, as far as a run or an object of his must know it: what the graph makes of
//! it (`graph::persons`), read from the ledger.

use sulcus_operators::rows::{PatientKey, Seq};

use crate::{
    graph::persons::{Persons, batch},
    ledger::{
        LedgerError,
        event::{Arrival, Entry, Event},
        history::History,
        merges::During,
        read::Reader,
    },
};

/// The studies that were taken for this patient's and were not, among the visits that are told of together, and during
/// what. Under an empty UID: during what ids were one person's with this one that are not any more.
pub(super) fn departed(reader: &Reader, patient: &PatientKey) -> Result<Vec<(String, During)>, LedgerError> {
    let mut persons = Persons::of(reader.merges()?);
    for study in reader.studies_of(patient)? {
        let study_uid = &study.study_uid;
        if !reader.is_disputed(study_uid)? {
            continue;
        }
        for Entry { seq, event, .. } in reader.about_study(study_uid, Seq::MAX)? {
            match &event {
                Event::InstanceReceived { facts, arrival: Arrival::New, .. } if facts.study_uid == *study_uid => {
                    persons.came(seq, facts);
                }
                Event::InstanceWithdrawn { because: Some(because), .. } if because.disowns() => {
                    persons.left(seq, study_uid);
                }
                _ => {}
            }
        }
    }
    let merges = persons.merges();
    let known = merges.of(patient);
    let parted = merges.undone().iter().filter(|undone| merges.of(&undone.from) == known);
    let parted = parted.map(|undone| (String::new(), undone.during));
    let of_patient =
        batch(&persons).departed.into_iter().filter(|(of, ..)| of == known).map(|(_, study, during)| (study, during));
    Ok(of_patient.chain(parted).collect())
}
