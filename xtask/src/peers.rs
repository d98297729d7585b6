//! The peers that tests talk to: DCMTK, dicom3tools and Orthanc from the system's packages, the rest by pip.

use std::path::{Path, PathBuf};

use crate::packages::install;
use crate::step::{Failure, command, find, output, succeed};

/// What `tests/peers` scripts import, pinned.
const PYTHON: &[&str] = &[
    "dcm2niix==1.0.20260724",
    "highdicom==0.28.2",
    "nibabel==5.4.2",
    "numpy==2.4.6",
    "pillow==13.0.0",
    "pydicom==3.0.2",
    "pynetdicom==3.0.4",
];

/// System packages: the program that shows each is there, the package, and what skips without it.
const SYSTEM: &[(&str, &str, &str)] = &[
    ("storescu", "dcmtk", "tests that send or receive by DCMTK"),
    ("dciodvfy", "dicom3tools", "tests that check SEG objects by dciodvfy"),
    ("Orthanc", "orthanc", "tests that deliver to a real Orthanc"),
    ("pdftotext", "poppler-utils", "tests that read the page for people"),
];

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
    install(python, PYTHON)
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
