//! Rules about every tracked text: no traces of one machine, no package hosts, links that lead somewhere.

use super::Finding;

/// Hosts of package registries: which index is used is the machine's own setting.
const HOSTS: &[&str] =
    &[concat!("crates", ".io"), concat!("pypi", ".org"), concat!("debian", ".org"), concat!("npm", "js")];

/// Where one person's machine keeps things.
const HOMES: &[&str] = &[concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/wo", "rk/")];

/// All findings in one text but its links.
pub fn check(file: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    // Written by cargo, not by us.
    if file.ends_with("Cargo.lock") {
        return findings;
    }
    for (line, content) in (1..).zip(text.lines()) {
        for host in HOSTS.iter().filter(|host| content.contains(*host)) {
            findings.push(Finding::new(
                file,
                line,
                format!("names the package host {host}; leave it to the machine's settings"),
            ));
        }
        for home in HOMES.iter().filter(|home| starts_a_path(content, home)) {
            findings.push(Finding::new(file, line, format!("names a path of one machine ({home}); make it relative")));
        }
        if content.contains('\u{2014}') {
            findings.push(Finding::new(file, line, "an em dash; use a comma, a colon or two sentences"));
        }
    }
    findings
}

fn starts_a_path(content: &str, home: &str) -> bool {
    content.match_indices(home).any(|(at, _)| {
        let before = content.get(..at).and_then(|before| before.chars().next_back());
        before.is_none_or(|c| !(c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '}' | '/')))
    })
}

/// Relative links of a Markdown file that lead nowhere; `exists` is asked with a path from the repository's root.
pub fn links(file: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut fenced = false;
    for (line, content) in (1..).zip(text.lines()) {
        if content.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        for tail in content.split("](").skip(1).filter(|_| !fenced) {
            let target = tail.split([')', ' ', '#']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let path = if folder.is_empty() { target.to_owned() } else { format!("{folder}/{target}") };
            if !exists(&path) {
                findings.push(Finding::new(file, line, format!("the link to {target} leads nowhere; mend it")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_host_is_found_but_not_in_what_cargo_writes() {
        let text = format!("one\nsee {}\n", HOSTS[1]);
        assert_eq!(check("README.md", &text).first().map(|finding| finding.line), Some(2));
        assert_eq!(check("Cargo.lock", &text), []);
    }

    #[test]
    fn a_path_of_one_machine_is_found() {
        for home in HOMES {
            assert_eq!(check("x.toml", &format!("path = \"{home}x\"")).len(), 1, "{home}");
        }
        assert_eq!(check("x.md", &format!("docs{}x and ../shared{}", HOMES[2], HOMES[2])), []);
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let text = "[a](b.md) [c](gone.md#x)\n[d](https://example.invalid/x) [e](#here)\n```\n[f](gone.md)\n```\n";
        let findings = links("docs/x.md", text, |path| path == "docs/b.md");
        assert_eq!(findings, [Finding::new("docs/x.md", 1, "the link to gone.md leads nowhere; mend it")]);
    }
}
