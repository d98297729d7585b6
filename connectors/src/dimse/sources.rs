//! Who may call the Storage SCP: calling AE titles and addresses, each set of them with the name of a source.

use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;

/// An IP address, or a network in CIDR notation (`10.1.0.0/16`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A text that is neither an address nor a network.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("'{text}' is no IP address or network, write it like 10.1.2.3 or 10.1.0.0/16")]
pub struct NetworkError {
    text: String,
}

impl Network {
    /// Whether `address` lies in this network. IPv4 addresses mapped into IPv6 count as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                same_prefix(network.to_bits().into(), address.to_bits().into(), 32, self.prefix)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                same_prefix(network.to_bits(), address.to_bits(), 128, self.prefix)
            }
            _ => false,
        }
    }
}

fn same_prefix(a: u128, b: u128, width: u8, prefix: u8) -> bool {
    (a ^ b).checked_shr(u32::from(width - prefix)).unwrap_or(0) == 0
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || NetworkError { text: text.to_owned() };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u8>().map_err(|_| error())?)),
            None => (text, None),
        };
        let address = address.parse::<IpAddr>().map_err(|_| error())?.to_canonical();
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(width);
        if prefix > width {
            return Err(error());
        }
        Ok(Network { address, prefix })
    }
}

/// One source: a caller belongs to it when both its AE title and its address match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceRule {
    /// Name of the source in the site's configuration.
    pub name: String,
    /// Calling AE titles; empty for any.
    pub calling_ae_titles: Vec<String>,
    /// Addresses; empty for any.
    pub addresses: Vec<Network>,
}

impl SourceRule {
    /// A source that takes every caller that no other rule names.
    pub fn catch_all(name: &str) -> SourceRule {
        SourceRule { name: name.to_owned(), calling_ae_titles: Vec::new(), addresses: Vec::new() }
    }

    /// The name of the source that a caller belongs to: of the rules that match, the one that names more about it, and of
    /// those the first.
    pub fn find<'a>(rules: &'a [SourceRule], calling_ae_title: &str, address: IpAddr) -> Option<&'a str> {
        let matching = rules.iter().filter(|rule| rule.matches(calling_ae_title, address));
        // `min_by_key` keeps the first of equals.
        matching.min_by_key(|rule| rule.vagueness()).map(|rule| rule.name.as_str())
    }

    fn matches(&self, calling_ae_title: &str, address: IpAddr) -> bool {
        (self.calling_ae_titles.is_empty() || self.calling_ae_titles.iter().any(|title| title == calling_ae_title))
            && (self.addresses.is_empty() || self.addresses.iter().any(|network| network.contains(address)))
    }

    fn vagueness(&self) -> usize {
        usize::from(self.calling_ae_titles.is_empty()) * 2 + usize::from(self.addresses.is_empty())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_contains_its_addresses_only() {
        assert!(network("10.1.0.0/16").contains("10.1.200.3".parse().unwrap()));
        assert!(network("10.1.0.0/16").contains("::ffff:10.1.200.3".parse().unwrap()));
        assert!(!network("10.1.0.0/16").contains("10.2.0.1".parse().unwrap()));
        assert!(network("0.0.0.0/0").contains("8.8.8.8".parse().unwrap()));
        assert!(network("::/0").contains("fe80::1".parse().unwrap()));
        assert!(!network("fe80::1").contains("fe80::2".parse().unwrap()));
        for wrong in ["10.1.0.0/33", "ten", "10.1/16", "1.2.3.4/", "::/129"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_rule_that_says_more_about_a_caller_wins() {
        let rules = [
            SourceRule::catch_all("anyone"),
            SourceRule { addresses: vec![network("10.0.0.1")], ..SourceRule::catch_all("address") },
            SourceRule { calling_ae_titles: vec!["MR7T".to_owned()], ..SourceRule::catch_all("title") },
        ];
        let find = |title, address: &str| SourceRule::find(&rules, title, address.parse().unwrap());
        assert_eq!(find("MR7T", "10.0.0.1"), Some("title"));
        assert_eq!(find("OTHER", "10.0.0.1"), Some("address"));
        assert_eq!(find("OTHER", "10.0.0.2"), Some("anyone"));
        assert_eq!(SourceRule::find(&rules[1..], "OTHER", "10.0.0.2".parse().unwrap()), None);
    }
}
