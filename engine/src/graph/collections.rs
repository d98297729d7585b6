//! The input collections of the graph, by name.

use super::{group::Rows, sessions::Input};

/// The input collections.
#[derive(Clone)]
pub struct Collections<'scope> {
    /// Instances that stand, by series.
    pub arrived: Rows<'scope>,
    /// What is kept and not used: bytes in quarantine, and those that came again and differ.
    pub refused: Rows<'scope>,
    /// The last orderly release of each series.
    pub released: Rows<'scope>,
    /// Timers that ran out, by series.
    pub fired: Rows<'scope>,
    /// What an operator last said of a series; nothing once it is released.
    pub directed: Rows<'scope>,
    /// The rules in force: one row, none before the first.
    pub rules: Rows<'scope>,
    /// Versions of the pipelines' rules that are in force, one row a pipeline.
    pub rulings: Rows<'scope>,
    /// What happened to runs.
    pub runs: Rows<'scope>,
    /// Revisions issued, by report.
    pub issued: Rows<'scope>,
    /// What happened to objects, by report.
    pub objects: Rows<'scope>,
    /// Deliveries under way.
    pub tried: Rows<'scope>,
    /// Deliveries that are done.
    pub settled: Rows<'scope>,
    /// What readers said of lesions: the newest, where it is not taken back.
    pub verdicts: Rows<'scope>,
    /// Studies that are too many to be a patient's visits, by patient.
    pub alone: Rows<'scope>,
    /// Studies that were not of the patient after all, by patient, each with when that was said.
    pub departed: Rows<'scope>,
    /// What kinds of reasons of withdrawals say, by study.
    pub taken_back: Rows<'scope>,
    /// Faults of merges that would close a circle.
    pub circles: Rows<'scope>,
    /// How series stand to what senders listed.
    pub listed: Rows<'scope>,
}

impl<'scope> Collections<'scope> {
    /// Those that lie in the order of [`Input::ALL`].
    pub(super) fn of(rows: &[Rows<'scope>]) -> Self {
        let of = |input: Input| rows[input as usize].clone();
        Collections {
            arrived: of(Input::Arrived),
            refused: of(Input::Refused),
            released: of(Input::Released),
            fired: of(Input::Fired),
            directed: of(Input::Directed),
            rules: of(Input::Rules),
            rulings: of(Input::Rulings),
            runs: of(Input::Runs),
            issued: of(Input::Issued),
            objects: of(Input::Objects),
            tried: of(Input::Tried),
            settled: of(Input::Settled),
            verdicts: of(Input::Verdicts),
            alone: of(Input::Alone),
            departed: of(Input::Departed),
            taken_back: of(Input::TakenBack),
            circles: of(Input::Circles),
            listed: of(Input::Listed),
        }
    }
}
