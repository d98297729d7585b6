//! Whose studies are whose, as the events say so far: ids that were merged, studies that turned out to be another's, and
//! those that are too many to be visits. What is said of a study is kept as it was said, under the ids of the headers; what
//! enters the graph is made of it anew whenever ids are merged.

use std::collections::{BTreeSet, HashMap};

use sulcus_operators::rows::{Fault, InstanceFacts, PatientKey, Seq};

use super::{
    group::{Key, Row},
    rows::Output,
    sessions::Input,
};
use crate::ledger::merges::{During, Merges};

/// What is said of persons and their studies.
#[derive(Default)]
pub struct Persons {
    merges: Merges,
    studies: HashMap<String, OfStudy>,
}

/// What is said of one study.
#[derive(Default)]
struct OfStudy {
    /// Ids of which it is one study too many.
    alone: BTreeSet<PatientKey>,
    /// Whenever it came under another id than before.
    came: Vec<(Seq, PatientKey)>,
    /// Whenever something of it was said to be another patient's.
    left: Vec<Seq>,
}

/// Rows with the collections that they belong into.
pub(super) type Stated = BTreeSet<(Input, Key, Row)>;

impl Persons {
    /// Of whom nothing is said but which ids are of one person.
    pub fn of(merges: Merges) -> Self {
        Persons { merges, ..Persons::default() }
    }

    /// Which ids are of one person.
    pub fn merges(&self) -> &Merges {
        &self.merges
    }

    /// Ids are merged, or no longer.
    pub fn merge(&mut self, seq: Seq, from: &PatientKey, into: Option<&PatientKey>) {
        self.merges.read(seq, from, into);
    }

    /// Notes an instance that came in. True where its study's rows change.
    pub fn came(&mut self, seq: Seq, facts: &InstanceFacts) -> bool {
        // Once a study, not once a slice.
        let of_study = match self.studies.get_mut(&facts.study_uid) {
            Some(of_study) => of_study,
            None => self.study(&facts.study_uid),
        };
        if of_study.came.last().is_some_and(|(_, last)| *last == facts.patient) {
            return false;
        }
        of_study.came.push((seq, facts.patient.clone()));
        of_study.came.len() > 1
    }

    /// Something of a study is said to be another patient's.
    pub fn left(&mut self, seq: Seq, study_uid: &str) {
        self.study(study_uid).left.push(seq);
    }

    /// A study is one too many of those under an id.
    pub fn alone(&mut self, study_uid: &str, patient: &PatientKey) {
        self.study(study_uid).alone.insert(patient.clone());
    }

    /// Forgets a study.
    pub fn forget(&mut self, study_uid: &str) {
        self.studies.remove(study_uid);
    }

    /// Studies of which something is said.
    pub fn studies(&self) -> impl Iterator<Item = &String> {
        self.studies.keys()
    }

    /// The rows that say so of one study.
    pub(super) fn of_study(&self, study_uid: &str) -> Stated {
        let Some(OfStudy { alone, came, left }) = self.studies.get(study_uid) else { return Stated::new() };
        let key = |patient: &PatientKey| Key::Patient(self.merges.of(patient).clone());
        let alone = alone.iter().map(|patient| (Input::Alone, key(patient), Row::Alone(study_uid.to_owned())));
        let mut stated: Stated = alone.collect();
        let mut departed = |patient: &PatientKey, during| {
            stated.insert((Input::Departed, key(patient), Row::Departed(study_uid.to_owned(), during)));
        };
        for ((since, before), (seq, patient)) in came.iter().zip(came.iter().skip(1)) {
            let [before, patient] = [before, patient].map(|patient| self.merges.of(patient));
            if PatientKey::count([before, patient]) > 1 {
                departed(before, [*since, *seq]);
            }
        }
        for seq in left {
            let before = came.iter().filter(|(since, _)| since < seq);
            before.for_each(|(since, patient)| departed(patient, [*since, *seq]));
        }
        stated
    }

    /// The rows that say so of no study: persons who are others again, and merges that would close a circle.
    pub(super) fn of_site(&self) -> Stated {
        // Ids without an issuer give equal runs, so that either side may hold what was compared with the other.
        let undone = self.merges.undone().iter().flat_map(|undone| {
            [&undone.from, &undone.into].map(|patient| {
                let key = Key::Patient(self.merges.of(patient).clone());
                (Input::Departed, key, Row::Departed(String::new(), undone.during))
            })
        });
        let circles = self.merges.circles().iter().map(|seq| {
            let fault = Fault {
                stage: "merges".to_owned(),
                key: format!("event {seq}"),
                reason:
                    "the merge of patients would close a circle, so that none of its ids would be the last; it does \
                         not count"
                        .to_owned(),
                hint: "take back the merge that is wrong, with `sulcus merge --undo`".to_owned(),
            };
            (Input::Circles, Key::Fault(fault.key.clone()), Row::from(Output::Fault(fault)))
        });
        undone.chain(circles).collect()
    }

    fn study(&mut self, study_uid: &str) -> &mut OfStudy {
        self.studies.entry(study_uid.to_owned()).or_default()
    }
}

/// All that is said, by the collection.
#[derive(Default)]
pub struct Said {
    /// Studies that were taken for a patient's, and during what.
    pub departed: Vec<(PatientKey, String, During)>,
    /// Studies that stand alone.
    pub alone: BTreeSet<(PatientKey, String)>,
    /// Merges that would close a circle.
    pub faults: Vec<Fault>,
}

/// The same from the whole log.
pub fn batch(persons: &Persons) -> Said {
    let Said { mut departed, mut alone, mut faults } = Said::default();
    let all = persons.studies().flat_map(|study| persons.of_study(study)).chain(persons.of_site());
    for (_, key, row) in all {
        match (key, row) {
            (Key::Patient(patient), Row::Departed(study, during)) => departed.push((patient, study, during)),
            (Key::Patient(patient), Row::Alone(study)) => {
                alone.insert((patient, study));
            }
            (_, Row::Output(output)) => {
                faults.extend(if let Output::Fault(fault) = output.as_ref() { Some(fault.clone()) } else { None });
            }
            _ => {}
        }
    }
    Said { departed, alone, faults }
}
