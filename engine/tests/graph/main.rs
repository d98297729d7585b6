//! The graph as a whole: named promises, and random logs against the oracle at one and several workers.

#![allow(missing_docs, clippy::unwrap_used)]

mod cancelled;
mod cohort;
mod cost;
mod directed;
mod doubts;
mod hosts;
mod inputs;
mod listed;
mod made;
mod merges;
mod open;
mod outages;
mod outbox;
mod outcomes;
mod processes;
mod promises;
mod queue;
mod random;
mod rehearsal;
mod sealed;
mod site;
mod variants;
mod verdicts;
mod versions;
mod visits;
mod wrong_patient;
