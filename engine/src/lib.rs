//! The ledger, the spool, the dataflow graph, the lanes, and the commands of `sulcus`.

pub mod cohort;
pub mod commands;
pub mod devices;
pub mod dispatch;
pub mod failure;
pub mod graph;
pub mod hosts;
pub mod intake;
pub mod lanes;
pub mod ledger;
pub mod open_work;
pub mod outbox;
pub mod queue;
pub mod receiver;
pub mod rehearsal;
pub mod residents;
pub mod results_store;
pub mod review;
pub mod rules;
pub mod seals;
pub mod spool;
pub mod standing;
pub mod supervisor;
#[cfg(test)]
mod testing;
pub mod wanted;
pub mod worker;
