//! The evidence that lists or counts, weighed: what says how many instances a series has, and whether they are here.
//!
//! What promises more than is here keeps a series open, whatever else is known; where the promise is that of another than
//! who says that all is here, that is a contradiction and a fault.

use sulcus_operators::rows::SeriesState;

use super::listings::{Listed, OfList, OfStep};

const SEND_THE_MISSING: &str = "check at the scanner which slices belong to the series, and send the missing ones";

/// What the evidence says together.
#[derive(Default)]
pub(super) struct Weighed {
    /// Something says that all is here, or that nothing more will come.
    pub closes: bool,
    /// An archive holds as many as are here. It may be given them just now, by the same sender: that counts once nothing more
    /// came for a settle window.
    pub level: bool,
    /// Something promises more than is here.
    pub short: bool,
    /// In words, strongest first.
    pub reasons: Vec<String>,
    /// What contradicts, each with what to do.
    pub faults: Vec<(String, &'static str)>,
    /// Why the series may not be whole though it is closed, for whoever reads its result.
    pub doubts: Vec<String>,
}

/// Weighs all that is listed, counted and promised of a series.
pub(super) fn weigh(state: &SeriesState, listed: Listed) -> Weighed {
    let mut weighed = Weighed::default();
    if let Some(of) = listed.kept {
        weighed.kept(state, of);
    }
    if let Some(of) = listed.made {
        weighed.made(state, of);
    }
    if let Some(holds) = listed.archived {
        weighed.archived(state, holds);
    }
    weighed.promised(state);
    weighed
}

/// True where the headers promise more than is here.
fn promises_more(state: &SeriesState) -> bool {
    !state.enhanced_whole && state.expected.as_ref().is_some_and(|(expected, _)| state.instances < *expected)
}

impl Weighed {
    /// What its sender asked us to keep.
    fn kept(&mut self, state: &SeriesState, OfList { instances, missing }: OfList) {
        let count = state.instances;
        if missing > 0 {
            self.reasons.push(format!(
                "of the instances that its sender listed (storage commitment) {missing} are not here, and may belong to it"
            ));
        } else if instances < count {
            self.reasons.push(format!(
                "its sender listed {instances} of its {count} instances (storage commitment): the list proves nothing"
            ));
        } else {
            self.all_here(state, "its sender listed", "storage commitment");
        }
    }

    /// What the scanner says that it made, in a step that has ended.
    fn made(&mut self, state: &SeriesState, OfStep { listed, here, discontinued }: OfStep) {
        let count = state.instances;
        let word = if discontinued { "MPPS DISCONTINUED" } else { "MPPS COMPLETED" };
        let whole = state.enhanced_whole || state.expected.as_ref().is_some_and(|(expected, _)| count == *expected);
        if discontinued && !whole {
            self.doubts.push(format!(
                "The scan was broken off, as its scanner says, and the series may be incomplete: {count} instances came. \
                 Lesions in slices that are missing are not in this report."
            ));
        }
        if here < listed {
            self.short = true;
            self.reasons.push(format!("{here} of {listed} instances are here that its scanner says it made ({word})"));
        } else if listed < count {
            self.reasons.push(format!(
                "its scanner says that it made {listed} of its {count} instances ({word}): that proves nothing"
            ));
        } else if discontinued {
            self.closes = true;
            self.reasons.push(format!(
                "the scan was broken off, and all {count} instances are here that its scanner made until then ({word})"
            ));
        } else {
            self.all_here(state, "its scanner says it made", word);
        }
    }

    /// What its archive holds. The archive may be behind: fewer than are here say nothing.
    fn archived(&mut self, state: &SeriesState, holds: u32) {
        let count = state.instances;
        if count < holds {
            self.short = true;
            self.reasons.push(format!("{count} of {holds} instances that its archive holds (C-FIND)"));
        } else if holds < count {
            self.reasons
                .push(format!("its archive holds {holds} of its {count} instances (C-FIND): that proves nothing"));
        } else if !promises_more(state) {
            self.level = true;
            self.reasons.push(format!("all {count} instances are here that its archive holds (C-FIND)"));
            let gap =
                format!("its archive holds the {count} instances that are here, and slices are missing between them");
            self.gap(state, gap);
        }
    }

    /// What its headers promise.
    fn promised(&mut self, state: &SeriesState) {
        let count = state.instances;
        match &state.expected {
            Some((expected, by)) if count == *expected => {
                let all = format!("all {expected} instances are here ({by})");
                if self.short {
                    let reason = format!("{all}, and more are listed or held elsewhere");
                    self.faults.push((reason, "check at the scanner how many instances belong to the series"));
                }
                let gap = format!("{all}, and slices are missing between them");
                self.close(state, all, gap);
            }
            Some((expected, by)) if count > *expected && !state.enhanced_whole => {
                self.reasons.push(format!("{count} instances where {by} says {expected}: the count proves nothing"));
                self.faults.push((
                    format!("{count} instances where {by} says {expected}"),
                    "check at the scanner which instances belong to the series, and withdraw the others",
                ));
            }
            Some((expected, by)) if !state.enhanced_whole => {
                self.short = true;
                self.reasons.push(format!("{count} of {expected} instances ({by})"));
            }
            _ => {}
        }
    }

    /// All is here that somebody `said`; that headers promise more contradicts that.
    fn all_here(&mut self, state: &SeriesState, said: &str, word: &str) {
        let count = state.instances;
        let here = format!("{said} the {count} instances that are here");
        if promises_more(state) {
            let hint = "check at the scanner how many instances belong to the series";
            self.faults.push((format!("{here} ({word}), and more are promised"), hint));
        } else {
            let all = format!("all {count} instances are here that {said} ({word})");
            self.close(state, all, format!("{here}, and slices are missing between them"));
        }
    }

    /// All is here; a gap between the slices contradicts that.
    fn close(&mut self, state: &SeriesState, all: String, gap: String) {
        self.closes = true;
        self.reasons.push(all);
        self.gap(state, gap);
    }

    fn gap(&mut self, state: &SeriesState, gap: String) {
        if state.stacks.iter().any(|stack| stack.missing > 0) {
            self.faults.push((gap, SEND_THE_MISSING));
        }
    }
}
