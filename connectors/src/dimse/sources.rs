//! Who may call the Storage SCP: calling AE titles and addresses, each set of them with the name of a source.

use std::net::IpAddr;

use sulcus_config::{Destination, DicomSource, Source};

/// One source: a caller belongs to it when both its AE title and its address match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceRule {
    /// Name of the source in the site's configuration.
    pub name: String,
    /// Calling AE titles; empty for any.
    pub calling_ae_titles: Vec<String>,
    /// Addresses; empty for any. IPv4 addresses mapped into IPv6 count as IPv4.
    pub addresses: Vec<IpAddr>,
}

impl SourceRule {
    /// A source that takes every caller.
    pub fn catch_all(name: &str) -> SourceRule {
        SourceRule { name: name.to_owned(), calling_ae_titles: Vec::new(), addresses: Vec::new() }
    }

    /// The rules of a site's `[[source]]` entries, in their order; folders call nobody and are left out.
    pub fn of_site(sources: &[Source]) -> Vec<SourceRule> {
        let rule = |source: &DicomSource| SourceRule {
            name: source.name.clone(),
            calling_ae_titles: source.ae_titles.iter().map(|title| title.trim().to_owned()).collect(),
            addresses: source.addresses.iter().map(IpAddr::to_canonical).collect(),
        };
        let dicom = sources.iter().filter_map(|source| match source {
            Source::Dicom(source) => Some(rule(source)),
            Source::Folder(_) => None,
        });
        dicom.collect()
    }

    /// The destinations of a site that are asked for storage commitment: their archives may call back to report it.
    pub fn reporters(destinations: &[Destination]) -> Vec<SourceRule> {
        let rule = |destination: &Destination| match destination {
            Destination::Dicom(node) if node.storage_commitment => Some(SourceRule {
                calling_ae_titles: vec![node.ae_title.trim().to_owned()],
                ..SourceRule::catch_all(&node.name)
            }),
            _ => None,
        };
        destinations.iter().filter_map(rule).collect()
    }

    /// The name of the source that a caller belongs to: of the rules that match, the first.
    pub fn find<'a>(rules: &'a [SourceRule], calling_ae_title: &str, address: IpAddr) -> Option<&'a str> {
        rules.iter().find(|rule| rule.matches(calling_ae_title, address)).map(|rule| rule.name.as_str())
    }

    fn matches(&self, calling_ae_title: &str, address: IpAddr) -> bool {
        (self.calling_ae_titles.is_empty() || self.calling_ae_titles.iter().any(|title| title == calling_ae_title))
            && (self.addresses.is_empty() || self.addresses.contains(&address.to_canonical()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_matches_names_the_source() {
        let titled =
            |name: &str| SourceRule { calling_ae_titles: vec!["MR7T".to_owned()], ..SourceRule::catch_all(name) };
        let placed = SourceRule { addresses: vec!["10.0.0.1".parse().unwrap()], ..titled("near") };
        let rules = [placed, titled("title"), SourceRule::catch_all("anyone")];
        let find = |title, address: &str| SourceRule::find(&rules, title, address.parse().unwrap());
        assert_eq!(find("MR7T", "::ffff:10.0.0.1"), Some("near"));
        assert_eq!(find("MR7T", "10.0.0.2"), Some("title"));
        assert_eq!(find("OTHER", "10.0.0.1"), Some("anyone"));
        assert_eq!(SourceRule::find(&rules[..2], "OTHER", "10.0.0.1".parse().unwrap()), None);
    }
}
