//! Which version of a pipeline's rule governs which series. Not a stage: `inputs`, `oracle` and whoever looks at sealed
//! studies fold the recorded rules by it, and nothing else of the ledger.
//!
//! A pipeline's expressions and models are its rule; each event that states another is a new version. `new` governs the
//! series whose first member came after that event, `since` also those scanned on the day or later, `all` every
//! series. A series is governed by the newest version that covers it, and earlier ones stay in force for the others
//! until an `all` comes. To state a rule again can only widen what it governs. While a pipeline is out of the rules
//! none of its versions is in force; what came meanwhile stays ungoverned when it is back, unless it says otherwise.
//!
//! The first rules of a ledger count from its beginning: a site takes in scans from the moment that it listens, which
//! is before its rules are recorded.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use sulcus_config::AppliesTo;
use sulcus_operators::{
    rows::{Millis, Seq, SeriesState},
    series::scan_day,
};

use super::matches::{Condition, Plan};
use crate::ledger::event::{PipelineRule, Rules, SeriesSummary};

/// What of a series decides which rule governs it, and whether that takes it.
#[derive(Clone, Copy, Debug)]
pub struct Scan<'a> {
    /// SeriesInstanceUID.
    pub series_uid: &'a str,
    /// The event that brought its first member,
    pub first_member: Seq,
    /// and when.
    pub received: Millis,
    /// Values that rules may use.
    pub keywords: &'a BTreeMap<String, String>,
}

impl<'a> From<&'a SeriesState> for Scan<'a> {
    fn from(series: &'a SeriesState) -> Self {
        let SeriesState { series_uid, received, keywords, .. } = series;
        Scan { series_uid, first_member: series.first_member(), received: *received, keywords }
    }
}

impl<'a> From<&'a SeriesSummary> for Scan<'a> {
    fn from(series: &'a SeriesSummary) -> Self {
        let SeriesSummary { series_uid, first_member, received, keywords, .. } = series;
        Scan { series_uid, first_member: *first_member, received: *received, keywords }
    }
}

/// One version of a pipeline's rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Version {
    /// The rule; none for the time that the pipeline was out of the rules.
    condition: Option<Arc<Condition>>,
    /// It governs series whose first member came after this event,
    after: Seq,
    /// and earlier ones as this says.
    applies_to: AppliesTo,
}

impl Version {
    fn covers(&self, first: Seq, day: impl Fn() -> u32) -> bool {
        first > self.after
            || match self.applies_to {
                AppliesTo::New => false,
                AppliesTo::Since(since) => day() >= since,
                AppliesTo::All => true,
            }
    }
}

/// The versions of one pipeline's rule that are in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ruling(Vec<Version>);

impl Ruling {
    /// The rule that governs a series; none where no version does.
    pub fn of(&self, scan: Scan<'_>) -> Option<&Arc<Condition>> {
        self.at(scan.first_member, || scan_day(scan.keywords, scan.received))
    }

    fn at(&self, first: Seq, day: impl Fn() -> u32) -> Option<&Arc<Condition>> {
        self.0.iter().rev().find(|version| version.covers(first, &day))?.condition.as_ref()
    }

    /// The rules of all versions, each once.
    pub fn conditions(&self) -> BTreeSet<&Arc<Condition>> {
        self.0.iter().filter_map(|version| version.condition.as_ref()).collect()
    }

    /// What the rules of all versions do that read several series, each once.
    pub fn plans(&self) -> BTreeSet<&Arc<Plan>> {
        let plans = self.0.iter().filter_map(|version| Some(&version.condition.as_ref()?.plan));
        plans.filter(|plan| !plan.inputs.is_empty()).collect()
    }

    fn state(&mut self, stated: Version) {
        let mut stated = stated;
        if let Some(last) = self.0.pop_if(|last| last.condition == stated.condition) {
            stated.after = last.after;
            stated.applies_to = last.applies_to.widest(stated.applies_to);
        }
        if stated.applies_to == AppliesTo::All {
            self.0.clear();
        }
        self.0.push(stated);
    }
}

/// All that the ledger has said of rules so far, as far as it still matters: of each pipeline the changes since the last
/// that applied to all.
#[derive(Clone, Debug, Default)]
pub struct Rulings {
    recorded: bool,
    rulings: BTreeMap<String, Arc<Ruling>>,
    named: BTreeSet<String>,
    /// Each rule once, however many versions state it.
    conditions: BTreeSet<Arc<Condition>>,
}

impl Rulings {
    /// Takes in the rules that the event `seq` recorded.
    pub fn read(&mut self, seq: Seq, rules: &Rules) {
        let after = if self.recorded { seq } else { 0 };
        self.recorded = true;
        self.named = rules.pipelines.iter().map(|rule| rule.name.clone()).collect();
        for rule in &rules.pipelines {
            let condition = Some(self.shared(rule));
            self.state(&rule.name, Version { condition, after, applies_to: rule.applies_to });
        }
        let gone: Vec<String> = self.rulings.keys().filter(|name| !self.named.contains(*name)).cloned().collect();
        for name in gone {
            self.state(&name, Version { condition: None, after, applies_to: AppliesTo::New });
        }
        let in_use: BTreeSet<&Arc<Condition>> = self.rulings.values().flat_map(|ruling| ruling.conditions()).collect();
        self.conditions = in_use.into_iter().cloned().collect();
    }

    /// The versions of the pipelines that the newest rules name.
    pub fn in_force(&self) -> impl Iterator<Item = &Arc<Ruling>> {
        self.named.iter().filter_map(|name| self.rulings.get(name))
    }

    /// The versions of one pipeline's rule, where the newest rules name it.
    pub fn of(&self, pipeline: &str) -> Option<&Arc<Ruling>> {
        self.rulings.get(self.named.get(pipeline)?)
    }

    fn state(&mut self, name: &str, version: Version) {
        Arc::make_mut(self.rulings.entry(name.to_owned()).or_default()).state(version);
    }

    fn shared(&mut self, rule: &PipelineRule) -> Arc<Condition> {
        let condition = Condition { plan: Arc::new(Plan::of(rule)), when: rule.when.clone() };
        match self.conditions.get(&condition) {
            Some(known) => Arc::clone(known),
            None => {
                let condition = Arc::new(condition);
                self.conditions.insert(Arc::clone(&condition));
                condition
            }
        }
    }
}

#[cfg(test)]
#[path = "versions_tests.rs"]
mod tests;
