//! The ledger, the spool, the dataflow graph, the lanes, and the commands of `sulcus`.

pub mod ledger;
