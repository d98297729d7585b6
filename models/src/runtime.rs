//! ONNX Runtime as a library that is loaded at run time, once a process, from a folder that setup filled.
//!
//! Owns finding and loading it, so that a missing or foreign library is an error and never a panic; sessions on it are
//! in `session`.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use thiserror::Error;

/// The environment variable that names the folder.
pub const FOLDER: &str = "SULCUS_ONNXRUNTIME";

const HINT: &str =
    "run `cargo xtask setup`, or set SULCUS_ONNXRUNTIME to a folder with libonnxruntime.so 1.24 or later";

/// Why ONNX Runtime could not be loaded.
#[derive(Debug, Error)]
pub enum RuntimeError {
    /// No folder was named.
    #[error("no folder of ONNX Runtime is given; {HINT}")]
    NoFolder,
    /// The folder does not hold the library.
    #[error("there is no libonnxruntime.so in {0}; {HINT}")]
    Missing(PathBuf),
    /// The file is not a usable ONNX Runtime.
    #[error("cannot load {path}: {reason}; {HINT}")]
    Load {
        /// The library.
        path: PathBuf,
        /// What the loader said.
        reason: String,
    },
    /// Another library is in use already: one process holds one.
    #[error("this process has loaded {loaded} and cannot load {wanted} as well; start another process for it")]
    Another {
        /// The library in use.
        loaded: PathBuf,
        /// The library asked for.
        wanted: PathBuf,
    },
}

/// A loaded ONNX Runtime.
#[derive(Debug)]
pub struct Runtime {
    library: PathBuf,
    environment: ort::environment::Environment,
}

static LOADED: OnceLock<Runtime> = OnceLock::new();
static LOADING: Mutex<()> = Mutex::new(());

impl Runtime {
    /// Loads the library in `folder`; where none is given, in the one that `SULCUS_ONNXRUNTIME` names, else where
    /// `cargo xtask setup` puts it, seen from the program's own folder and those above it. The folder is the wheel's
    /// `onnxruntime/capi`, or one above it.
    pub fn load(folder: Option<&Path>) -> Result<&'static Self, RuntimeError> {
        let named = std::env::var_os(FOLDER).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = folder.map(Path::to_owned).or(named).or_else(set_up).ok_or(RuntimeError::NoFolder)?;
        let library = find(&folder).ok_or_else(|| RuntimeError::Missing(folder.clone()))?;
        let failed = |reason: String| RuntimeError::Load { path: library.clone(), reason };
        let library = library.canonicalize().map_err(|error| failed(error.to_string()))?;
        let _loading = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = LOADED.get() {
            return if loaded.library == library {
                Ok(loaded)
            } else {
                Err(RuntimeError::Another { loaded: loaded.library.clone(), wanted: library })
            };
        }
        let environment = ort::init_from(&library)
            .map_err(|error| failed(error.to_string()))?
            .with_name("sulcus")
            .with_telemetry(false)
            .build()
            .map_err(|error| failed(error.to_string()))?;
        environment.set_log_level(ort::logging::LogLevel::Error);
        tracing::info!(library = %library.display(), "loaded ONNX Runtime");
        Ok(LOADED.get_or_init(|| Runtime { library, environment }))
    }

    /// The library's file.
    pub fn library(&self) -> &Path {
        &self.library
    }

    pub(crate) fn environment(&self) -> &ort::environment::Environment {
        &self.environment
    }
}

/// The folder that `cargo xtask setup` fills, where this program was built beside it.
fn set_up() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    program.ancestors().skip(1).map(|folder| folder.join("runtime/onnxruntime")).find(|folder| find(folder).is_some())
}

/// The library in a folder, or where a wheel keeps it below; the newest where there are several versions.
fn find(folder: &Path) -> Option<PathBuf> {
    let places = [folder.to_owned(), folder.join("capi"), folder.join("onnxruntime").join("capi")];
    places.iter().find_map(|place| {
        let files = std::fs::read_dir(place).ok()?.flatten().map(|entry| entry.path());
        let library = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            (name == "libonnxruntime.so" || name.starts_with("libonnxruntime.so.")) && path.is_file()
        };
        files.filter(library).max_by_key(|path| version(path))
    })
}

/// The numbers behind `libonnxruntime.so`; none of them for the plain name.
fn version(library: &Path) -> Vec<u32> {
    let name = library.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.split('.').filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_an_error_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        let message = Runtime::load(Some(folder.path())).unwrap_err().to_string();
        assert!(message.contains("cargo xtask setup"), "{message}");
        assert!(matches!(Runtime::load(Some(Path::new("/nowhere/at/all"))), Err(RuntimeError::Missing(_))));
    }

    #[test]
    fn a_file_that_is_no_library_is_an_error_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        for bytes in [b"".as_slice(), b"not a library", b"\x7fELF\x02\x01\x01"] {
            std::fs::write(folder.path().join("libonnxruntime.so.1.24.1"), bytes).unwrap();
            let error = Runtime::load(Some(folder.path())).unwrap_err();
            assert!(matches!(&error, RuntimeError::Load { .. }), "{error}");
            assert!(error.to_string().contains("cargo xtask setup"), "{error}");
        }
    }

    #[test]
    fn the_newest_of_several_versions_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        for version in ["1.9.0", "1.24.1", "1.24"] {
            std::fs::write(folder.path().join(format!("libonnxruntime.so.{version}")), b"").unwrap();
        }
        assert!(find(folder.path()).unwrap().ends_with("libonnxruntime.so.1.24.1"));
    }

    #[test]
    fn a_version_that_is_too_old_is_named_with_the_one_that_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("old.c");
        // The C interface's one entry point (onnxruntime_c_api.h), as a library of 2022 answers it.
        let text = r#"
            #include <stdint.h>
            static const void *api(uint32_t version) { return 0; }
            static const char *version(void) { return "1.12.1"; }
            static const struct { const void *(*api)(uint32_t); const char *(*version)(void); } base = { api, version };
            const void *OrtGetApiBase(void) { return &base; }
        "#;
        std::fs::write(&source, text).unwrap();
        let library = folder.path().join("libonnxruntime.so.1.12.1");
        let mut compiler = std::process::Command::new("cc");
        assert!(compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status().unwrap().success());
        let error = Runtime::load(Some(folder.path())).unwrap_err();
        assert!(matches!(&error, RuntimeError::Load { .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains("1.12.1") && message.contains("1.24"), "{message}");
    }
}
