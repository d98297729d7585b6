//! How far a scan is from those that a model learned from: the row, and what is said of it.
//!
//! How it is measured is the model's: `sulcus_models::embedding`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A scan's distance from the training scans, in terms of theirs from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DomainDistance {
    /// Thousandths of the usual (median) distance of a training scan from the others.
    pub distance_milli: u32,
    /// How many training scans are nearer to the others than this scan is to them.
    pub farther_than: u32,
    /// How many training scans there are; 1 at least.
    pub scans: u32,
}

impl DomainDistance {
    /// Whether it is farther than 99 of 100 training scans (of fewer than 100, than every one), or three times as far as is
    /// usual: a training scan that is odd itself must not make others look usual.
    pub fn is_beyond(&self) -> bool {
        u64::from(self.farther_than) * 100 >= u64::from(self.scans) * 99 || self.distance_milli >= 3000
    }
}

/// How far a scan is from those that a model learned from, as a report says it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToldDistance {
    /// In units of the usual (median) distance of a training scan from the others: 1 is usual.
    pub distance: f64,
    /// How many training scans are nearer to the others than this scan is to them.
    pub farther_than: u32,
    /// How many training scans there are.
    pub training_scans: u32,
    /// Whether it is farther than 99 of 100 of them (of fewer than 100, than every one), or three times as far as is usual.
    pub beyond: bool,
}

impl ToldDistance {
    /// Of an outcome's.
    pub fn new(row: &DomainDistance) -> Self {
        ToldDistance {
            distance: f64::from(row.distance_milli) / 1000.0,
            farther_than: row.farther_than,
            training_scans: row.scans,
            beyond: row.is_beyond(),
        }
    }

    /// What a reader should know.
    pub fn note(&self) -> String {
        let ToldDistance { distance, farther_than, training_scans: scans, beyond } = self;
        match beyond {
            true if farther_than == scans => format!(
                "this scan is farther from the model's {scans} training scans than any of them is from the others \
                 ({distance:.1} times the usual distance): read the results with care"
            ),
            true => format!(
                "this scan is farther from the model's training scans than {farther_than} of these {scans} are from the \
                 others ({distance:.1} times the usual distance): read the results with care"
            ),
            false => format!(
                "this scan is no farther from the model's training scans than some of these are from the others (farther \
                 than {farther_than} of {scans})"
            ),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::rows::RunOutcome;

    fn beyond(farther_than: u32, scans: u32) -> bool {
        DomainDistance { distance_milli: 1000, farther_than, scans }.is_beyond()
    }

    #[test]
    fn a_scan_is_beyond_where_99_of_100_training_scans_are_nearer_and_of_fewer_all() {
        assert!(beyond(64, 64) && !beyond(63, 64));
        assert!(beyond(990, 1000) && !beyond(989, 1000));
        assert!(beyond(u32::MAX, u32::MAX) && !beyond(0, 1));
        let far = |distance_milli| DomainDistance { distance_milli, farther_than: 63, scans: 64 }.is_beyond();
        assert!(far(3000) && !far(2999), "an odd training scan hides no stranger");
    }

    #[test]
    fn an_outcome_of_before_distances_were_measured_is_read_as_one_without() {
        let before = r#"{"run_key":"RUN","mask":"RUN","size":[1,1,1],"spacing_um":[1,1,1],"intensity_scale":"","notes":[],
            "lesions":[]}"#;
        let outcome: RunOutcome = serde_json::from_str(&before.replace("RUN", &"01".repeat(32))).unwrap();
        assert_eq!(outcome.domain, None);
        let distance = DomainDistance { distance_milli: 1200, farther_than: 3, scans: 64 };
        let told = serde_json::to_string(&RunOutcome { domain: Some(distance), ..outcome }).unwrap();
        assert_eq!(serde_json::from_str::<RunOutcome>(&told).unwrap().domain, Some(distance));
    }

    #[test]
    fn a_note_warns_only_of_what_is_beyond() {
        let note = |farther_than, scans| {
            ToldDistance::new(&DomainDistance { distance_milli: 2345, farther_than, scans }).note()
        };
        assert!(note(64, 64).contains("than any of them") && note(64, 64).contains("2.3 times"));
        assert!(note(995, 1000).contains("than 995 of these 1000 are"));
        assert!(note(64, 64).contains("with care") && note(995, 1000).contains("with care"));
        assert!(!note(30, 64).contains("care") && note(30, 64).contains("30 of 64"));
    }
}
