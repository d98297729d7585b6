//! What senders and archives list or count of a study, against what is here: evidence for each of its series.
//!
//! A list for storage commitment proves only what it lists, of whichever series; what is listed and not here may belong to
//! any series of the study. A performed procedure step that has ended lists by series. An archive counts a series.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::instances::{Arrived, Brought};
use crate::ledger::event::StepState;

/// How a series stands to what is listed and counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Listed {
    /// To the lists for storage commitment of its study.
    pub kept: Option<OfList>,
    /// To the steps that ended and made it.
    pub made: Option<OfStep>,
    /// How many instances its archive holds.
    pub archived: Option<u32>,
}

/// How a series stands to the lists for storage commitment of its study.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OfList {
    /// How many of its instances are listed.
    pub instances: u32,
    /// How many listed instances are not here.
    pub missing: u32,
}

/// How a series stands to the steps that ended and made it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OfStep {
    /// How many instances they list of it.
    pub listed: u32,
    /// How many of those are here.
    pub here: u32,
    /// True where one of them was broken off.
    pub discontinued: bool,
}

/// What is listed and counted of studies. Of a study without any, nothing is kept.
#[derive(Default)]
pub struct Listings(HashMap<String, OfStudy>);

#[derive(Default)]
struct OfStudy {
    listed: BTreeSet<String>,
    here: BTreeMap<String, u32>,
    ended: BTreeMap<String, (StepState, Series)>,
    made: BTreeMap<String, Made>,
    archived: BTreeMap<String, u32>,
}

/// What a step made, by series.
type Series = BTreeMap<String, BTreeSet<String>>;

/// What the steps that ended made of a series.
#[derive(Default)]
struct Made {
    instances: BTreeSet<String>,
    here: u32,
    discontinued: bool,
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
        of_study.recount(standing);
    }

    /// Notes how far a step is and what it made. Only its end counts, and it ends once; where two hosts were told of different
    /// ends, the greater one counts on both. `standing` are the instances of the study that stand.
    pub fn step<'a>(
        &mut self,
        study_uid: &str,
        step_uid: &str,
        state: StepState,
        series: &Series,
        standing: impl Iterator<Item = &'a Arrived>,
    ) {
        if state == StepState::InProgress {
            return;
        }
        let of_study = self.0.entry(study_uid.to_owned()).or_default();
        let end = (state, series.clone());
        let before = of_study.ended.entry(step_uid.to_owned()).or_insert_with(|| end.clone());
        *before = end.max(before.clone());
        of_study.made.clear();
        for (state, series) in of_study.ended.values() {
            for (series_uid, instances) in series {
                let made = of_study.made.entry(series_uid.clone()).or_default();
                made.instances.extend(instances.iter().cloned());
                made.discontinued |= *state == StepState::Discontinued;
            }
        }
        of_study.recount(standing);
    }

    /// Notes how many instances of a series its archive holds.
    pub fn archived(&mut self, study_uid: &str, series_uid: &str, instances: u32) {
        let of_study = self.0.entry(study_uid.to_owned()).or_default();
        of_study.archived.insert(series_uid.to_owned(), instances);
    }

    /// Counts an arrival that stands now, or no longer does. True where that changes what the lists of its study say.
    pub fn count(&mut self, arrived: &Arrived, stands: bool) -> bool {
        let Some(of_study) = self.0.get_mut(arrived.study_uid()) else { return false };
        of_study.count(arrived, stands);
        true
    }

    /// Forgets a study.
    pub fn forget(&mut self, study_uid: &str) {
        self.0.remove(study_uid);
    }

    /// How the series of a study stand to what is listed and counted, by series; those of which nothing is are left out.
    pub fn of(&self, study_uid: &str) -> BTreeMap<String, Listed> {
        let mut all: BTreeMap<String, Listed> = BTreeMap::new();
        let Some(of_study) = self.0.get(study_uid) else { return all };
        let missing = of_study.listed.len() as u32 - of_study.here.values().sum::<u32>();
        for (series, count) in of_study.here.iter().filter(|(_, count)| **count > 0) {
            all.entry(series.clone()).or_default().kept = Some(OfList { instances: *count, missing });
        }
        for (series, Made { instances, here, discontinued }) in &of_study.made {
            let (listed, here, discontinued) = (instances.len() as u32, *here, *discontinued);
            all.entry(series.clone()).or_default().made = Some(OfStep { listed, here, discontinued });
        }
        for (series, count) in &of_study.archived {
            all.entry(series.clone()).or_default().archived = Some(*count);
        }
        all
    }

    /// The same of all studies.
    pub fn all(&self) -> BTreeMap<String, Listed> {
        self.0.keys().flat_map(|study_uid| self.of(study_uid)).collect()
    }
}

impl OfStudy {
    fn recount<'a>(&mut self, standing: impl Iterator<Item = &'a Arrived>) {
        self.here.clear();
        self.made.values_mut().for_each(|made| made.here = 0);
        standing.for_each(|arrived| self.count(arrived, true));
    }

    fn count(&mut self, arrived: &Arrived, stands: bool) {
        if !matches!(arrived.brought, Brought::Member(_)) {
            return;
        }
        let step = |count: &mut u32| *count = if stands { *count + 1 } else { count.saturating_sub(1) };
        if self.listed.contains(arrived.instance_uid()) {
            step(self.here.entry(arrived.series_uid.to_string()).or_default());
        }
        if let Some(made) = self.made.get_mut(arrived.series_uid.as_ref())
            && made.instances.contains(arrived.instance_uid())
        {
            step(&mut made.here);
        }
    }
}
