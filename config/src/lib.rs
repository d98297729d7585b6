//! What a site writes: typed settings, defaults and validation.
//!
//! Owns the shape of a site's TOML file, every default in it, the messages for what is wrong in it, and its JSON
//! Schema. Leaves to `engine` whether a pipeline's rule compiles and whether a model package can be read: this crate
//! reads its own file and nothing else, and of folders asks only where their links lead.

mod applies;
mod cluster;
mod destinations;
mod devices;
mod outputs;
mod pipelines;
mod problems;
mod receiver;
mod rules;
mod schema;
mod seconds;
mod site;
mod sources;

pub use applies::AppliesTo;
pub use cluster::{Cluster, Peer};
pub use destinations::{BidsDestination, Destination, DicomDestination, FhirDestination, FolderDestination, Retry};
pub use devices::{Device, Provider};
pub use outputs::Role;
pub use pipelines::{Alone, Input, Pipeline, Urgency};
pub use problems::{ConfigError, Problem, nearest};
pub use receiver::Receiver;
pub use seconds::Seconds;
pub use site::{Identity, Runtime, Site};
pub use sources::{Archive, DicomSource, FolderSource, Source};
