//! What senders listed of a study as sent (storage commitment), against what is here: evidence for each of its series. A list
//! proves only what it lists; what is listed and not here may belong to any series of the study.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::instances::{Arrived, Brought};

/// How a series stands to the lists of its study.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Listed {
    /// How many of its instances are listed.
    pub instances: u32,
    /// How many listed instances are not here.
    pub missing: u32,
}

/// The lists of studies. Of a study without any, nothing is kept.
#[derive(Default)]
pub struct Listings(HashMap<String, OfStudy>);

#[derive(Default)]
struct OfStudy {
    listed: BTreeSet<String>,
    here: BTreeMap<String, u32>,
}

impl Listings {
    /// Notes a list of instances. `standing` are those of the study that stand.
    pub fn list<'a>(
        &mut self,
        study_uid: &str,
        listed: impl Iterator<Item = &'a String>,
        standing: impl Iterator<Item = &'a Arrived>,
    ) {
        let of_study = self.0.entry(study_uid.to_owned()).or_default();
        of_study.listed.extend(listed.cloned());
        of_study.here.clear();
        standing.for_each(|arrived| of_study.count(arrived, true));
    }

    /// Counts an arrival that stands now, or no longer does. True where that changes what the lists of its study say.
    pub fn count(&mut self, arrived: &Arrived, stands: bool) -> bool {
        let Some(of_study) = self.0.get_mut(&arrived.study_uid) else { return false };
        of_study.count(arrived, stands);
        true
    }

    /// Forgets a study.
    pub fn forget(&mut self, study_uid: &str) {
        self.0.remove(study_uid);
    }

    /// How the series of a study stand to its lists, by series; those of which nothing is listed are left out.
    pub fn of(&self, study_uid: &str) -> BTreeMap<String, Listed> {
        let Some(OfStudy { listed, here }) = self.0.get(study_uid) else { return BTreeMap::new() };
        let missing = listed.len() as u32 - here.values().sum::<u32>();
        let series = here.iter().filter(|(_, count)| **count > 0);
        series.map(|(series, count)| (series.clone(), Listed { instances: *count, missing })).collect()
    }

    /// The same of all studies.
    pub fn all(&self) -> BTreeMap<String, Listed> {
        self.0.keys().flat_map(|study_uid| self.of(study_uid)).collect()
    }
}

impl OfStudy {
    fn count(&mut self, arrived: &Arrived, stands: bool) {
        if !matches!(arrived.brought, Brought::Member(_)) || !self.listed.contains(&arrived.instance_uid) {
            return;
        }
        let here = self.here.entry(arrived.series_uid.clone()).or_default();
        *here = if stands { *here + 1 } else { here.saturating_sub(1) };
    }
}
