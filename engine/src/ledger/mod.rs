//! The ledger: append-only events in one SQLite database, with a monotone sequence and a hash chain.

pub mod event;
