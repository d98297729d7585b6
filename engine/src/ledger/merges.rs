//! Which ids are of one person: patients that somebody merged, as HL7's ADT A40 does. The newest word on an id counts, and
//! may be taken back.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;
use sulcus_operators::rows::{PatientKey, Seq};

use super::{LedgerError, event::Event, read::Reader, relayed::event_of, store::unsigned};

/// Under this key of `concerns` lie the events that merge patients.
pub(super) const MERGES: &str = "+";

/// Merges, read in the order of their events.
#[derive(Clone, Debug, Default)]
pub struct Merges {
    said: BTreeMap<PatientKey, (Seq, PatientKey)>,
    into: BTreeMap<PatientKey, PatientKey>,
    circles: Vec<Seq>,
    undone: Vec<Undone>,
}

/// A merge that was taken back or replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undone {
    /// Who was merged.
    pub from: PatientKey,
    /// Into whom.
    pub into: PatientKey,
    /// From the event that said so to the one that took it back.
    pub during: During,
}

/// From one event to another.
pub type During = [Seq; 2];

impl Merges {
    /// Takes in what an event says: `from` is the person `into`, or nobody but himself again.
    pub fn read(&mut self, seq: Seq, from: &PatientKey, into: Option<&PatientKey>) {
        if let Some((since, into)) = self.said.remove(from) {
            self.undone.push(Undone { from: from.clone(), into, during: [since, seq] });
        }
        if let Some(into) = into {
            self.said.insert(from.clone(), (seq, into.clone()));
        }
        let mut said: Vec<(Seq, PatientKey, PatientKey)> =
            self.said.iter().map(|(from, (seq, into))| (*seq, from.clone(), into.clone())).collect();
        said.sort();
        self.into.clear();
        self.circles.clear();
        for (seq, from, into) in said {
            if *self.of(&into) == from {
                self.circles.push(seq);
            } else {
                self.into.insert(from, into);
            }
        }
    }

    /// The id under which a person is known.
    pub fn of<'k>(&'k self, patient: &'k PatientKey) -> &'k PatientKey {
        let mut known = patient;
        while let Some(into) = self.into.get(known) {
            known = into;
        }
        known
    }

    /// Into whom somebody merged a patient, whether it counts or not.
    pub fn said_of(&self, patient: &PatientKey) -> Option<&PatientKey> {
        self.said.get(patient).map(|(_, into)| into)
    }

    /// True where a merge would close a circle.
    pub fn closes_circle(&self, from: &PatientKey, into: &PatientKey) -> bool {
        let mut others = self.clone();
        others.read(0, from, None);
        others.of(into) == from
    }

    /// All ids of a person, this one included.
    pub fn ids(&self, patient: &PatientKey) -> BTreeSet<PatientKey> {
        let known = self.of(patient);
        let others = self.into.keys().filter(|from| self.of(from) == known);
        others.chain([patient, known]).cloned().collect()
    }

    /// Merges that would close a circle, by their events: none of them counts.
    pub fn circles(&self) -> &[Seq] {
        &self.circles
    }

    /// Merges that were taken back or replaced.
    pub fn undone(&self) -> &[Undone] {
        &self.undone
    }
}

/// The merges of a ledger.
pub(super) fn merges(connection: &Connection) -> Result<Merges, LedgerError> {
    let query = "SELECT e.seq, body FROM concerns c JOIN events e ON e.seq = c.seq WHERE c.key = ? ORDER BY c.seq";
    let mut statement = connection.prepare_cached(query)?;
    let mut rows = statement.query([MERGES])?;
    let mut merges = Merges::default();
    while let Some(row) = rows.next()? {
        let (seq, body) = (unsigned(row, 0)?, row.get::<_, String>(1)?);
        let event = event_of(seq, &body)?;
        if let Event::PatientsMerged { from, into, .. } = event {
            merges.read(seq, &from, into.as_ref());
        }
    }
    Ok(merges)
}

impl Reader {
    /// Which ids are of one person.
    pub fn merges(&self) -> Result<Merges, LedgerError> {
        merges(&self.connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(id: &str) -> PatientKey {
        PatientKey { issuer: "hospital".to_owned(), id: id.to_owned() }
    }

    fn read(said: &[(&str, Option<&str>)]) -> Merges {
        let mut merges = Merges::default();
        for (seq, (from, into)) in (1..).zip(said) {
            merges.read(seq, &id(from), into.map(id).as_ref());
        }
        merges
    }

    #[test]
    fn a_person_is_known_by_the_last_id_of_a_chain() {
        let merges = read(&[("A", Some("B")), ("B", Some("C")), ("D", Some("C"))]);
        for known in ["A", "B", "C", "D"] {
            assert_eq!(merges.of(&id(known)), &id("C"));
            assert_eq!(merges.ids(&id(known)), ["A", "B", "C", "D"].map(id).into());
        }
        assert_eq!(merges.ids(&id("E")), [id("E")].into());
    }

    #[test]
    fn the_newest_word_on_an_id_counts() {
        let merges = read(&[("A", Some("B")), ("A", Some("C")), ("C", Some("D")), ("C", None)]);
        assert_eq!((merges.of(&id("A")), merges.of(&id("C"))), (&id("C"), &id("C")));
        let undone = |from, into, during| Undone { from: id(from), into: id(into), during };
        assert_eq!(merges.undone(), [undone("A", "B", [1, 2]), undone("C", "D", [3, 4])]);
    }

    #[test]
    fn a_merge_that_closes_a_circle_does_not_count_until_the_circle_is_open() {
        let merges = read(&[("A", Some("B")), ("B", Some("C")), ("C", Some("A")), ("D", Some("D"))]);
        assert_eq!((merges.of(&id("A")), merges.circles()), (&id("C"), &[3, 4][..]));
        let merges = read(&[("A", Some("B")), ("B", Some("A")), ("A", None)]);
        assert_eq!((merges.of(&id("B")), merges.of(&id("A")), merges.circles()), (&id("A"), &id("A"), &[][..]));
    }
}
