//! ONNX Runtime: the OpenVINO build first, the plain CPU build where that cannot be had.

use std::path::{Path, PathBuf};

use crate::packages::{Wheel, folder, write};
use crate::step::Failure;

// `ort` is built for the C API 24, so nothing older than 1.24 will load.
const OPENVINO: Wheel = Wheel {
    requirement: "onnxruntime-openvino==1.24.1",
    platforms: &["manylinux_2_28_x86_64"],
    digest: "3007c803634cc69c6d52af1dea7ce729d9bb62b9a11070fd2f959119199007a8",
};
const PLAIN: Wheel = Wheel {
    requirement: "onnxruntime==1.24.1",
    platforms: &["manylinux_2_28_x86_64", "manylinux_2_27_x86_64"],
    digest: "1cabe71ca14dcfbf812d312aab0a704507ac909c137ee6e89e4908755d0fc60e",
};

const BY_HAND: &str =
    "set SULCUS_ONNXRUNTIME to a folder that holds libonnxruntime.so, 1.24 or later, and run this again";

/// The folder of ONNX Runtime's libraries: what `SULCUS_ONNXRUNTIME` names, or else what was fetched.
pub fn fetch(python: &Path) -> Result<PathBuf, Failure> {
    if let Some(named) = std::env::var_os("SULCUS_ONNXRUNTIME") {
        let named = PathBuf::from(named);
        if named.is_dir() {
            println!("    using {} (SULCUS_ONNXRUNTIME)", named.display());
            return Ok(named);
        }
        return Err(Failure::new(format!("SULCUS_ONNXRUNTIME names no folder: {}", named.display()), BY_HAND));
    }
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err(Failure::new("ONNX Runtime is pinned for Linux on x86-64 only", BY_HAND));
    }
    let place = folder().join("onnxruntime");
    let stamp = place.join("digest.txt");
    let here = std::fs::read_to_string(&stamp).unwrap_or_default();
    if [OPENVINO.digest, PLAIN.digest].contains(&here.trim()) {
        return Ok(place.join("capi"));
    }
    println!("    fetching {}", OPENVINO.requirement);
    let digest = match OPENVINO.unpack(python, "onnxruntime", &place) {
        Ok(()) => OPENVINO.digest,
        Err(Failure { what, .. }) => {
            println!("    {what}\n    falling back to {}, which is slower on Intel CPUs", PLAIN.requirement);
            let failed = |failure: Failure| Failure::new(failure.what, format!("{}; or {BY_HAND}", failure.hint));
            PLAIN.unpack(python, "onnxruntime", &place).map_err(failed)?;
            PLAIN.digest
        }
    };
    write(&stamp, &format!("{digest}\n"))?;
    Ok(place.join("capi"))
}
