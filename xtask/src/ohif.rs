//! OHIF, the viewer that tests look at results in, and playwright, which drives the browser: both by npm, into
//! `runtime/ohif`.
//!
//! Only what a package ships is fetched, without its dependencies: the viewer is built already. No script of a package
//! runs here.

use std::path::Path;

use crate::packages::{clear, folder, remove, write};
use crate::step::{Failure, command, find, output, succeed};

/// A package: its name and version, SHA-512 of its archive in hex, its folder that is used, and what that is called
/// here.
struct Package {
    requirement: &'static str,
    digest: &'static str,
    inner: &'static str,
    name: &'static str,
}

const PACKAGES: [Package; 2] = [
    Package {
        requirement: "@ohif/app@3.13.2",
        digest: "5997719a9986eeba85816f5924b71b82bdd70ad2e2d4a0cd3e831a798e4f3deea3e06e1f8c48e393271933a0ba664d85f3b04ac457e9abe8dde715d907d13c10",
        inner: "package/dist",
        name: "viewer",
    },
    Package {
        requirement: "playwright-core@1.65.1",
        digest: "86a3e9cfb6e548c3f1595768784d728814b35ec2a254e77693e9230af994cb00f618f3b60ddf477dc5a7abd34dd061db3590c5819f497c116bf97e7f04ba34ab",
        inner: "package",
        name: "playwright-core",
    },
];

/// Checks an archive's digest and unpacks one folder of it, without source maps and the networks of OHIF's own tools.
const UNPACK: &str = "\
import hashlib, sys, tarfile
archive, digest, inner, place = sys.argv[1:]
with open(archive, 'rb') as file:
    found = hashlib.file_digest(file, 'sha512').hexdigest()
if found != digest:
    sys.exit(f'{archive} has digest {found} instead of {digest}')
with tarfile.open(archive) as packed:
    for member in packed:
        inside = member.name.removeprefix(inner + '/')
        if inside != member.name and not inside.startswith('ort/') and not inside.endswith('.map'):
            member.name = inside
            packed.extract(member, place, filter='data')
";

/// Fetches what is missing; says so where there is no node or npm.
pub fn ensure(python: &Path) -> Result<(), Failure> {
    if find("node").is_none() || find("npm").is_none() {
        println!("    node and npm are not installed: tests that look at results in OHIF skip");
        return Ok(());
    }
    let place = folder().join("ohif");
    let stamp = place.join("digests.txt");
    let digests: String = PACKAGES.iter().map(|package| format!("{}\n", package.digest)).collect();
    if std::fs::read_to_string(&stamp).is_ok_and(|there| there == digests) {
        return Ok(());
    }
    clear(&place)?;
    for package in &PACKAGES {
        package.fetch(python, &place)?;
    }
    write(&stamp, &digests)
}

impl Package {
    fn fetch(&self, python: &Path, place: &Path) -> Result<(), Failure> {
        let hint = "check that npm can reach a registry (settings: `npm config list`), then run this again";
        let download = place.join("download");
        clear(&download)?;
        println!("    fetching {}", self.requirement);
        let mut npm = command("npm");
        npm.args(["pack", "--silent", self.requirement, "--pack-destination"]).arg(&download);
        let Some(said) = output(&mut npm) else {
            return Err(Failure::new(format!("npm did not fetch {}", self.requirement), hint));
        };
        let archive = download.join(said.trim());
        let hint = "see whether the registry gives another archive under this version; if it should, pin its digest";
        let unpack = [self.digest, self.inner];
        succeed(command(python).args(["-c", UNPACK]).arg(&archive).args(unpack).arg(place.join(self.name)), hint)?;
        remove(&download)
    }
}
