//! A patient's visits: how many lesions each found, and what changed from one to the next.
//!
//! A lesion is the same in two visits where it has the same Tracking UID, which a run gives it after comparing the scans
//! ([`crate::lesions::tracking`]). Where two visits were not compared, nothing is said of change: that no lesion has a
//! UID of the last visit would say nothing of the patient.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A lesion is larger or smaller where its volume changed by this share, in per mille of the smaller volume ...
const NOTABLE_PERMILLE: u64 = 250;
/// ... and by this volume, nanolitres: less is within what one voxel more or less makes.
const NOTABLE_NL: u64 = 5_000;

/// What one visit's report says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VisitRow {
    /// StudyInstanceUID.
    pub study_uid: String,
    /// StudyDate, `YYYYMMDD`.
    pub study_date: String,
    /// Lesions that no reader rejected.
    pub lesions: u32,
    /// Their volume, nanolitres.
    pub volume_nl: u64,
    /// What changed since the visit before; none for the first, and where the two were not compared.
    pub change: Option<VisitChange>,
}

/// What changed from one visit to the next, in lesions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VisitChange {
    /// That the visit before did not have.
    pub new: u32,
    /// That both have, in much the same size.
    pub persisting: u32,
    /// That both have, larger by a quarter and 5 mm3 at least.
    pub enlarging: u32,
    /// That both have, smaller by as much.
    pub shrinking: u32,
    /// That only the visit before had.
    pub resolved: u32,
}

/// What changed between two visits that were compared. Lesions are volumes, nanolitres, by Tracking UID.
pub fn change(before: &BTreeMap<&str, u64>, now: &BTreeMap<&str, u64>) -> VisitChange {
    let mut change = VisitChange::default();
    for (uid, &volume) in now {
        let count = match before.get(uid) {
            None => &mut change.new,
            Some(&was) if notably(was, volume) => &mut change.enlarging,
            Some(&was) if notably(volume, was) => &mut change.shrinking,
            Some(_) => &mut change.persisting,
        };
        *count += 1;
    }
    change.resolved = before.keys().filter(|uid| !now.contains_key(*uid)).count() as u32;
    change
}

/// True where `large` is notably more than `small`.
fn notably(small: u64, large: u64) -> bool {
    let grown = large.saturating_sub(small);
    grown >= NOTABLE_NL && u128::from(grown) * 1000 >= u128::from(small) * u128::from(NOTABLE_PERMILLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lesion_of_two_visits_is_counted_once() {
        let before = BTreeMap::from([("same", 100_000), ("larger", 20_000), ("smaller", 40_000), ("gone", 9_000)]);
        let now = BTreeMap::from([("same", 110_000), ("larger", 25_000), ("smaller", 30_000), ("fresh", 7_000)]);
        let expected = VisitChange { new: 1, persisting: 1, enlarging: 1, shrinking: 1, resolved: 1 };
        assert_eq!(change(&before, &now), expected);
        assert_eq!(change(&BTreeMap::new(), &BTreeMap::new()), VisitChange::default());
    }

    #[test]
    fn what_a_voxel_makes_is_no_change() {
        assert!(!notably(1_000, 5_999), "six times, and less than 5 mm3");
        assert!(!notably(100_000, 124_999), "less than a quarter");
        assert!(notably(1_000, 6_000) && notably(100_000, 125_000));
        assert!(!notably(u64::MAX - 1, u64::MAX));
    }
}
