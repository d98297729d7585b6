//! In which order work that waits is taken up: by how urgent its pipeline is and by how long it waits, so that what is on
//! the table comes before a back-fill, and a back-fill comes all the same.

use std::collections::{BTreeMap, HashMap};

use sulcus_config::{Site, Urgency};
use sulcus_operators::rows::{Millis, SeriesState};

use crate::graph::{ObjectToEncode, RunToDo};

/// By how much longer something must wait to be taken up before what is a class more urgent: an hour.
const HEAD_START: Millis = 3_600_000;

/// How urgent pipelines are, by name. One that the configuration no longer names is as urgent as any.
#[derive(Clone, Debug, Default)]
pub struct Urgencies(BTreeMap<String, Urgency>);

impl Urgencies {
    /// As a site's configuration says.
    pub fn of(site: &Site) -> Self {
        let pipelines = site.pipelines.iter();
        Urgencies(pipelines.map(|pipeline| (pipeline.name.clone(), pipeline.urgency)).collect())
    }

    /// What is less is taken up first: when it began to wait, less a head start for its class.
    fn rank(&self, pipeline: &str, since: Millis) -> Millis {
        let classes = match self.0.get(pipeline).copied().unwrap_or_default() {
            Urgency::Urgent => -1,
            Urgency::Normal => 0,
            Urgency::Background => 1,
        };
        since.saturating_add(classes * HEAD_START)
    }

    /// The runs in the order in which they are taken up. A run waits since its series' first slice was received; one that
    /// several pipelines want is as urgent as the most urgent of them.
    pub fn runs<'a>(
        &self,
        runs: impl Iterator<Item = &'a RunToDo>,
        series: impl Iterator<Item = &'a SeriesState>,
    ) -> Vec<&'a RunToDo> {
        let mut runs: Vec<&RunToDo> = runs.collect();
        if runs.len() < 2 {
            return runs;
        }
        let received: HashMap<&str, Millis> = series.map(|state| (state.series_uid.as_str(), state.received)).collect();
        runs.sort_by_cached_key(|run| {
            let since = received.get(run.order.series_uid.as_str()).copied().unwrap_or_default();
            let rank = run.wanted_by.iter().map(|(_, pipeline)| self.rank(pipeline, since)).min();
            (rank.unwrap_or(since), run.order.members.first().copied(), run.order.run_key)
        });
        runs
    }

    /// The objects in the order in which they are made. An object waits since its revision was issued.
    pub fn objects<'a>(&self, objects: impl Iterator<Item = &'a ObjectToEncode>) -> Vec<&'a ObjectToEncode> {
        let mut objects: Vec<&ObjectToEncode> = objects.collect();
        objects.sort_by_cached_key(|object| {
            let rank = self.rank(&object.key.pipeline, object.at);
            (rank, object.key.study_uid.clone(), object.key.pipeline.clone(), object.key.revision, object.role)
        });
        objects
    }
}

#[cfg(test)]
#[path = "urgency_tests.rs"]
mod tests;
