//! Python packages: the project's own virtual environment in `runtime/peers`, and wheels fetched by digest.

use std::path::{Path, PathBuf};

use crate::step::{Failure, command, find, output, root, succeed};

/// The folder that git ignores and `setup` fills.
pub fn folder() -> PathBuf {
    root().join("runtime")
}

/// The folder of the virtual environment's programs.
pub fn programs() -> PathBuf {
    folder().join("peers/bin")
}

/// The Python of the peers' virtual environment; made where it is missing.
pub fn python() -> Result<PathBuf, Failure> {
    environment(&folder().join("peers"))
}

/// The Python of a virtual environment; made where it is missing.
pub fn environment(folder: &Path) -> Result<PathBuf, Failure> {
    let python = folder.join("bin/python");
    if output(command(&python).args(["-m", "pip", "--version"])).is_some() {
        return Ok(python);
    }
    let Some(system) = find("python3") else {
        return Err(Failure::new("there is no python3", "install Python 3.11 or later and run this again"));
    };
    let hint = "install Python's venv module (on Debian and Ubuntu: `apt-get install python3-venv`), remove the \
                folder in runtime, and run this again";
    succeed(command(system).args(["-m", "venv", "--clear"]).arg(folder), hint)?;
    Ok(python)
}

/// Installs pinned packages into the virtual environment; quick where they are there already.
pub fn install(python: &Path, requirements: &[&str]) -> Result<(), Failure> {
    let hint = "check that pip can reach a package index (settings: `pip config list`), then run this again";
    let mut pip = command(python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(requirements);
    succeed(&mut pip, hint)
}

/// A wheel that is fetched for one platform whatever Python runs here, so that one digest is enough.
pub struct Wheel {
    /// The package and its pinned version.
    pub requirement: &'static str,
    /// The platform tags that name the wheel.
    pub platforms: &'static [&'static str],
    /// SHA-256 of the wheel, in hex.
    pub digest: &'static str,
}

impl Wheel {
    /// Fetches the wheel, lets pip check its digest, and moves its folder `inner` to `place`.
    pub fn unpack(&self, python: &Path, inner: &str, place: &Path) -> Result<(), Failure> {
        let download = folder().join("download");
        clear(&download)?;
        let list = download.join("wheel.txt");
        write(&list, &format!("{} --hash=sha256:{}\n", self.requirement, self.digest))?;
        let mut pip = command(python);
        pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]);
        pip.args(["--only-binary=:all:", "--implementation", "cp", "--python-version", "3.11", "--abi", "cp311"]);
        for platform in self.platforms {
            pip.args(["--platform", platform]);
        }
        pip.arg("--dest").arg(&download).arg("--requirement").arg(&list);
        succeed(&mut pip, "check that pip can reach a package index, and that the digest it names is the pinned one")?;
        let wheel = std::fs::read_dir(&download).into_iter().flatten().flatten().map(|entry| entry.path());
        let wheel = wheel.filter(|path| path.extension().is_some_and(|end| end == "whl")).collect::<Vec<_>>();
        let [wheel] = wheel.as_slice() else {
            return Err(Failure::new(format!("pip left no wheel of {}", self.requirement), "run this again"));
        };
        let hint = "free some disk space (400 MB) and run this again";
        succeed(command(python).args(["-m", "zipfile", "-e"]).arg(wheel).arg(download.join("unpacked")), hint)?;
        remove(place)?;
        std::fs::rename(download.join("unpacked").join(inner), place)
            .map_err(|error| Failure::new(format!("cannot move {inner} to {}: {error}", place.display()), hint))?;
        remove(&download)
    }
}

/// Writes a small file.
pub fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| {
        Failure::new(format!("cannot write {}: {error}", path.display()), "check the disk and its rights")
    })
}

/// Makes a folder, empty.
pub fn clear(path: &Path) -> Result<(), Failure> {
    remove(path)?;
    std::fs::create_dir_all(path).map_err(|error| {
        Failure::new(format!("cannot make {}: {error}", path.display()), "check the disk and its rights")
    })
}

/// Removes a folder and all in it, where it is there.
pub fn remove(path: &Path) -> Result<(), Failure> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::new(
            format!("cannot remove {}: {error}", path.display()),
            "remove it by hand and run this again",
        )),
        _ => Ok(()),
    }
}
