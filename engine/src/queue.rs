//! What goes first where several jobs wait for a device, for the encoder, or for a destination.
//!
//! A job goes before those that wait for less than a head start longer: an urgent one has a day over a normal one, and a
//! normal one a week over one of the background. So each has one number by which it is ordered, whatever the clock says;
//! and none waits for ever, since what comes later than the head start goes behind it, however urgent.
//!
//! A job waits since the last news of its study came: a slice, a withdrawal, a person's word. Where the news had been dealt
//! with and only rules that changed or ids that were merged want the study anew, its jobs are of the background and wait
//! since then. All of that is recorded, so `sulcus status` tells the order that the engine goes by.

use std::collections::BTreeMap;

use serde::Serialize;
use sulcus_config::{Site, Urgency};
use sulcus_operators::rows::{Millis, Seq};

use crate::{
    graph::{DeliveryToDo, ObjectToEncode, RunToDo},
    lanes::due::due,
    ledger::event::{Entry, Event},
    open_work::OpenWork,
    standing::Standing,
};

const HOUR: Millis = 3_600_000;

/// How much earlier than a normal job one of this class counts as having come.
fn head_start(urgency: Urgency) -> Millis {
    match urgency {
        Urgency::Urgent => 24 * HOUR,
        Urgency::Normal => 0,
        Urgency::Background => -7 * 24 * HOUR,
    }
}

/// How a job stands among those that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Its class.
    pub urgency: Urgency,
    /// Since when it waits.
    pub since: Millis,
}

impl Place {
    /// What is less goes first.
    fn rank(&self) -> Millis {
        self.since.saturating_sub(head_start(self.urgency))
    }
}

/// What a study's jobs wait for, as far as its events tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// When the last news of it came.
    news: Millis,
    /// The first event since then that shows them dealt with: a revision of a report, or its opening after it was at rest.
    dealt: Option<Seq>,
    /// What last wanted it anew without news of it, and when.
    anew: (Seq, Millis),
}

impl Waits {
    /// Notes what an event that touches the study says. A scanner's list for storage commitment says nothing new of it.
    pub fn note(&mut self, Entry { seq, at, event, .. }: &Entry) {
        match event {
            Event::InstanceReceived { .. }
            | Event::InstanceWithdrawn { .. }
            | Event::VerdictGiven { .. }
            | Event::SeriesDirected { .. }
            | Event::ResendAsked { .. } => (self.news, self.dealt) = (*at, None),
            Event::RevisionIssued { .. } => {
                self.dealt.get_or_insert(*seq);
            }
            Event::StudyReopened { .. } => {
                self.dealt.get_or_insert(*seq);
                self.anew = (*seq, *at);
            }
            Event::PatientsMerged { .. } => self.anew = (*seq, *at),
            _ => {}
        }
    }

    /// The place of a pipeline's jobs of this urgency, where `rules` were recorded last.
    fn place(&self, urgency: Urgency, rules: (Seq, Millis)) -> Place {
        let (anew, since) = self.anew.max(rules);
        match self.dealt {
            Some(dealt) if dealt <= anew => Place { urgency: Urgency::Background, since },
            _ => Place { urgency, since: self.news },
        }
    }
}

/// How urgent pipelines are, by name. One that the configuration no longer names is as urgent as any.
#[derive(Clone, Debug, Default)]
pub struct Urgencies(BTreeMap<String, Urgency>);

impl Urgencies {
    /// As a site's configuration says.
    pub fn of(site: &Site) -> Self {
        let pipelines = site.pipelines.iter();
        Urgencies(pipelines.map(|pipeline| (pipeline.name.clone(), pipeline.urgency)).collect())
    }

    /// The order of what waits, as of now.
    pub fn queue<'a>(&'a self, work: &'a OpenWork, standing: &Standing) -> Queue<'a> {
        Queue { urgencies: self, work, rules: (standing.rules_at, standing.rules_since) }
    }
}

/// Puts what is to do in order.
#[derive(Clone, Copy)]
pub struct Queue<'a> {
    urgencies: &'a Urgencies,
    work: &'a OpenWork,
    rules: (Seq, Millis),
}

impl Queue<'_> {
    fn place(&self, study_uid: &str, pipeline: &str) -> Place {
        let urgency = self.urgencies.0.get(pipeline).copied().unwrap_or_default();
        let waits = self.work.studies().get(study_uid).map(|study| study.waits).unwrap_or_default();
        waits.place(urgency, self.rules)
    }

    /// The runs in the order in which they are taken up, each with its place: that of whoever wants it first. Of those that
    /// came together, that whose series' first slice came first.
    pub fn runs<'r>(&self, runs: impl Iterator<Item = &'r RunToDo>) -> Vec<(Place, &'r RunToDo)> {
        let place = |run: &RunToDo| {
            let places = run.wanted_by.iter().map(|(study_uid, pipeline)| self.place(study_uid, pipeline));
            places.min_by_key(Place::rank).unwrap_or_else(|| self.place(&run.order.study_uid, ""))
        };
        let mut runs: Vec<_> = runs.map(|run| (place(run), run)).collect();
        runs.sort_by_key(|(place, run)| (place.rank(), run.order.members.first().copied(), run.order.run_key));
        runs
    }

    /// The objects in the order in which they are made.
    pub fn objects<'r>(&self, objects: impl Iterator<Item = &'r ObjectToEncode>) -> Vec<&'r ObjectToEncode> {
        let rank = |object: &ObjectToEncode| self.place(&object.key.study_uid, &object.key.pipeline).rank();
        let mut objects: Vec<_> = objects.map(|object| (rank(object), object)).collect();
        objects.sort_by_key(|(rank, object)| (*rank, &object.key, object.role));
        objects.into_iter().map(|(_, object)| object).collect()
    }

    /// The deliveries that may be tried at `now`, in order, and when the next of the others may; `longest` as in [`due`].
    pub fn deliveries<'r>(
        &self,
        deliveries: impl Iterator<Item = &'r DeliveryToDo>,
        now: Millis,
        longest: Millis,
    ) -> (Vec<&'r DeliveryToDo>, Option<Millis>) {
        due(deliveries, now, longest, |delivery| self.place(&delivery.row.study_uid, &delivery.row.pipeline).rank())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "queue_tests.rs"]
mod tests;
