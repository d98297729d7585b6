//! What a configuration may say, and what it is told when it may not.
#![allow(clippy::unwrap_used)]

mod cluster;
mod pipelines;
mod site;
mod sources;

use std::path::Path;

use sulcus_config::{ConfigError, Site};

fn parse(text: &str) -> Result<Site, ConfigError> {
    Site::parse(text, Path::new("/etc/sulcus/site.toml"))
}

#[track_caller]
fn refused(text: &str, expected: &[&str]) {
    let message = parse(text).unwrap_err().to_string();
    let expected: Vec<String> = expected.iter().map(|line| format!("/etc/sulcus/site.toml:{line}")).collect();
    assert_eq!(message.lines().collect::<Vec<_>>(), expected);
}
