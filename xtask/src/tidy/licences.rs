//! Licences and origins of dependencies, by the allow list of `deny.toml`, for machines that have no cargo-deny.

use serde_json::Value;

use super::Finding;

/// The licences that `deny.toml` allows.
pub fn allowed(deny: &str) -> Vec<String> {
    let table: toml::Table = deny.parse().unwrap_or_default();
    let list = table.get("licenses").and_then(|licences| licences.get("allow")).and_then(|allow| allow.as_array());
    list.into_iter().flatten().filter_map(|licence| licence.as_str().map(str::to_owned)).collect()
}

/// Dependencies under no allowed licence, or from elsewhere than the registry.
pub fn check(metadata: &Value, allowed: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let used = metadata["resolve"]["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    // A package without a source is one of ours.
    for package in packages.iter().filter(|package| used.iter().any(|node| node["id"] == package["id"])) {
        let Some(source) = package["source"].as_str() else { continue };
        let name = package["name"].as_str().unwrap_or_default();
        if !source.starts_with("registry+") {
            findings.push(Finding::new(
                "Cargo.lock",
                1,
                format!("{name} does not come from the registry; pin a release"),
            ));
        }
        let licence = package["license"].as_str().unwrap_or_default();
        if !satisfied(licence, allowed) {
            let message = format!("{name} is under \"{licence}\", which deny.toml does not allow");
            findings.push(Finding::new("deny.toml", 1, message));
        }
    }
    findings
}

/// Whether an SPDX expression can be met by allowed licences; the old form `A/B` means `A OR B`.
fn satisfied(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let met = any(&mut words, allowed, 0);
    words.peek().is_none() && met == Some(true)
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any(words: &mut Words<'_>, allowed: &[String], depth: usize) -> Option<bool> {
    let mut met = all(words, allowed, depth)?;
    while words.next_if_eq(&"OR").is_some() {
        met |= all(words, allowed, depth)?;
    }
    Some(met)
}

fn all(words: &mut Words<'_>, allowed: &[String], depth: usize) -> Option<bool> {
    let mut met = one(words, allowed, depth)?;
    while words.next_if_eq(&"AND").is_some() {
        met &= one(words, allowed, depth)?;
    }
    Some(met)
}

fn one(words: &mut Words<'_>, allowed: &[String], depth: usize) -> Option<bool> {
    let word = words.next().filter(|_| depth < 16)?;
    if word == "(" {
        let met = any(words, allowed, depth + 1)?;
        return (words.next() == Some(")")).then_some(met);
    }
    let mut licence = word.to_owned();
    if words.next_if_eq(&"WITH").is_some() {
        licence = format!("{licence} WITH {}", words.next()?);
    }
    Some(allowed.contains(&licence))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_expression_is_met_by_what_is_allowed() {
        let allowed = allowed("[licenses]\nallow = [\"MIT\", \"Apache-2.0\", \"Zlib\"]\n");
        for good in ["MIT", "GPL-3.0 OR MIT", "GPL-2.0/MIT", "(MIT OR GPL-3.0) AND Zlib", "MIT AND Zlib"] {
            assert!(satisfied(good, &allowed), "{good}");
        }
        for bad in [
            "",
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "Apache-2.0 WITH LLVM-exception",
            "(MIT",
            "MIT MIT",
            "MIT AND (GPL-3.0 OR LGPL-2.1)",
        ] {
            assert!(!satisfied(bad, &allowed), "{bad}");
        }
    }

    #[test]
    fn a_dependency_of_another_licence_or_origin_is_found() {
        let metadata = json!({"packages": [
            {"id": "a", "name": "a", "source": "registry+x", "license": "GPL-3.0"},
            {"id": "b", "name": "b", "source": "git+x", "license": "MIT"},
            {"id": "c", "name": "c", "source": null, "license": null},
            {"id": "d", "name": "d", "source": "registry+x", "license": "GPL-3.0"},
        ], "resolve": {"nodes": [{"id": "a"}, {"id": "b"}, {"id": "c"}]}});
        let found = check(&metadata, &["MIT".to_owned()]);
        assert_eq!(found.len(), 2, "{found:?}");
    }
}
