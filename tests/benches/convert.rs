//! Converting a series to NIfTI: `sulcus convert` against dcm2niix, in turn, on a real series and on 192 synthetic
//! slices.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use sulcus_tests::bench::{Bench, scratch};
use sulcus_tests::places::{scanner_data, sulcus};
use sulcus_tests::python::packaged;
use sulcus_tests::slices::{Slices, write_series};
use sulcus_tests::{PeerError, skip};

fn main() -> ExitCode {
    sulcus_tests::bench::rounds(5, run)
}

fn run(rounds: u32) -> Result<(), PeerError> {
    let mut bench = Bench::new("convert");
    let scratch = scratch()?;
    let synthetic = scratch.path().join("synthetic");
    write_series(&synthetic, Slices { count: 192, rows: 256, columns: 256, seed: 1 })?;
    let mut series = vec![("synthetic", synthetic)];
    match scanner_data() {
        Ok(folder) => series.push(("philips", folder.join("philips-mprage-classic/In/cl"))),
        Err(PeerError::Absent(reason)) => skip(&reason),
        Err(error) => return Err(error),
    }
    let ours = sulcus()?;
    let theirs = packaged("dcm2niix")?;
    for _ in 0..rounds {
        for (name, input) in &series {
            let output = scratch.path().join("output");
            let time = timed(Command::new(&ours).arg("convert").arg(input).arg(&output), &output)?;
            bench.add(&format!("sulcus {name}"), "s", time);
            let mut command = Command::new(&theirs);
            command.args(["-z", "n", "-b", "y", "-f", "series", "-o"]).arg(&output).arg(input);
            bench.add(&format!("dcm2niix {name}"), "s", timed(&mut command, &output)?);
        }
    }
    for (name, _) in &series {
        bench.ratio_of_times(&format!("dcm2niix, {name}"), &format!("sulcus {name}"), &format!("dcm2niix {name}"));
    }
    bench.finish()
}

/// Seconds that a command takes to write one uncompressed NIfTI into an empty folder.
fn timed(command: &mut Command, output: &Path) -> Result<f64, PeerError> {
    std::fs::create_dir_all(output)?;
    let start = Instant::now();
    let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).output()?;
    let time = start.elapsed().as_secs_f64();
    let entries = std::fs::read_dir(output)?.flatten().map(|entry| entry.path());
    let volumes: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "nii")).collect();
    std::fs::remove_dir_all(output)?;
    if ended.status.success() && volumes.len() == 1 {
        return Ok(time);
    }
    let said = String::from_utf8_lossy(&ended.stderr);
    Err(PeerError::Failed(format!("{command:?} ended with {} and {} volumes: {said}", ended.status, volumes.len())))
}
