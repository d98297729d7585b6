//! The ledger, the spool, the dataflow graph, the lanes, and the commands of `sulcus`.

pub mod graph;
pub mod ledger;
pub mod receiver;
pub mod results_store;
pub mod spool;
#[cfg(test)]
mod testing;
