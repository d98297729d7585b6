//! An arrow only ever points down: which room may depend on which, and what some may never reach.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Finding;

/// The rooms, lowest first.
const ROOMS: &[&str] =
    &["sulcus-config", "sulcus-operators", "sulcus-models", "sulcus-connectors", "sulcus-engine", "sulcus-tests"];

/// Rooms that are pure computation, and what they may not reach by any path.
const PURE: &[&str] = &["sulcus-config", "sulcus-operators", "sulcus-models"];
const IMPURE: &[&str] = &["timely", "tokio", "mio", "dicom-ul", "rusqlite"];

/// All findings in cargo's description of the workspace.
pub fn check(metadata: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rank = |name: &str| ROOMS.iter().position(|room| *room == name);
    for package in packages.iter().filter(|package| package["source"].is_null()) {
        let name = package["name"].as_str().unwrap_or_default();
        let file = manifest(name);
        let Some(own) = rank(name) else {
            if name != "xtask" {
                findings.push(Finding::new(
                    &file,
                    1,
                    format!("package {name} has no place among the rooms; see layers.rs"),
                ));
            }
            continue;
        };
        for dependency in package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let dependency = dependency["name"].as_str().unwrap_or_default();
            if rank(dependency).is_some_and(|other| other >= own) {
                findings.push(Finding::new(&file, 1, format!("{name} depends on {dependency}, which lies above it")));
            }
        }
        if PURE.contains(&name) {
            let reached = reached(metadata, package["id"].as_str().unwrap_or_default());
            for impure in IMPURE.iter().filter(|impure| reached.iter().any(|id| names(packages, id, impure))) {
                findings.push(Finding::new(&file, 1, format!("{name} reaches {impure}, and must not by any path")));
            }
        }
    }
    findings
}

fn manifest(name: &str) -> String {
    format!("{}/Cargo.toml", name.trim_start_matches("sulcus-"))
}

fn names(packages: &[Value], id: &str, name: &str) -> bool {
    packages.iter().any(|package| package["id"] == id && package["name"] == name)
}

/// The ids of all packages that a package is built from; what only its tests need is not followed.
fn reached<'a>(metadata: &'a Value, start: &'a str) -> BTreeSet<&'a str> {
    let nodes = metadata["resolve"]["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut seen = BTreeSet::new();
    let mut open = vec![start];
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        let edges = nodes.iter().filter(|node| node["id"] == id).filter_map(|node| node["deps"].as_array()).flatten();
        let built = edges.filter(|edge| {
            edge["dep_kinds"].as_array().is_none_or(|kinds| kinds.iter().any(|kind| kind["kind"] != "dev"))
        });
        open.extend(built.filter_map(|edge| edge["pkg"].as_str()));
    }
    seen
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn messages(metadata: &Value) -> Vec<String> {
        check(metadata).into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn an_arrow_that_points_up_is_found() {
        let metadata = json!({"packages": [
            {"id": "o", "name": "sulcus-operators", "source": null, "dependencies": [{"name": "sulcus-engine"}]},
            {"id": "e", "name": "sulcus-engine", "source": null, "dependencies": [{"name": "sulcus-operators"}]},
            {"id": "x", "name": "xtask", "source": null, "dependencies": []},
        ], "resolve": {"nodes": []}});
        assert_eq!(
            messages(&metadata),
            ["operators/Cargo.toml:1: sulcus-operators depends on sulcus-engine, which lies above it"]
        );
    }

    #[test]
    fn a_network_runtime_is_found_however_far_down_it_hides() {
        let metadata = json!({"packages": [
            {"id": "m", "name": "sulcus-models", "source": null, "dependencies": [{"name": "a"}]},
            {"id": "a", "name": "a", "source": "registry", "dependencies": []},
            {"id": "t", "name": "tokio", "source": "registry", "dependencies": []},
        ], "resolve": {"nodes": [
            {"id": "m", "deps": [{"pkg": "a", "dep_kinds": [{"kind": null}]}]},
            {"id": "a", "deps": [{"pkg": "t", "dep_kinds": [{"kind": null}]}]},
        ]}});
        assert_eq!(messages(&metadata), ["models/Cargo.toml:1: sulcus-models reaches tokio, and must not by any path"]);
    }

    #[test]
    fn a_package_without_a_room_is_found() {
        let metadata = json!({"packages": [{"id": "z", "name": "sulcus-zebra", "source": null, "dependencies": []}]});
        assert_eq!(messages(&metadata).len(), 1);
    }
}
