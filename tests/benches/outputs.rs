//! The objects that leave: a DICOM Segmentation of 320 x 384 x 384 voxels with 200 lesions, as one segment and as 200,
//! built from arrays and headers in memory and written to disk, by Sulcus and by highdicom. And the page for people of as
//! large a study.
//!
//! Each segmentation is made in a process of its own, which says how long it took and how much memory it held at most.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use ndarray::Array3;
use serde_json::{Value, json};
use sulcus_operators::convert;
use sulcus_operators::digest::Digest;
use sulcus_operators::lesions::measure;
use sulcus_operators::part10;
use sulcus_operators::results::dicom::{Algorithm, Equipment, Header};
use sulcus_operators::results::page::render;
use sulcus_operators::results::seg::{SegInput, SegKind, encode};
use sulcus_operators::rows::LesionRow;
use sulcus_operators::volume::{Encoded, FrameRef, Grid, Volume};
use sulcus_tests::PeerError;
use sulcus_tests::bench::{Bench, scratch};
use sulcus_tests::python::python;
use sulcus_tests::reported_phantom::ReportedPhantom;
use sulcus_tests::segmented::Series;
use sulcus_tests::slices::{Slices, write_series};

const SLICES: Slices = Slices { count: 320, rows: 384, columns: 384, seed: 1 };
const LESIONS: u16 = 200;
/// Asks this program to write one segmentation.
const WRITE: &str = "write-segmentation";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if let Some(at) = words.iter().position(|word| word == WRITE) {
        return match written(&words[at + 1..]) {
            Ok(said) => {
                println!("{said}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("{error:?}");
                ExitCode::FAILURE
            }
        };
    }
    sulcus_tests::bench::rounds(5, run)
}

fn run(rounds: u32) -> Result<(), PeerError> {
    let mut bench = Bench::new("outputs");
    segmentations(&mut bench, rounds)?;
    page(&mut bench, rounds)?;
    bench.finish()
}

/// The page, from a volume in memory to the bytes of the PDF.
fn page(bench: &mut Bench, rounds: u32) -> Result<(), PeerError> {
    let study = ReportedPhantom::large()?;
    let report = study.report()?;
    for _ in 0..rounds {
        let begun = Instant::now();
        render(&study.page(&report)).map_err(|error| failed(&error))?;
        bench.add("sulcus page", "s", begun.elapsed().as_secs_f64());
    }
    Ok(())
}

fn segmentations(bench: &mut Bench, rounds: u32) -> Result<(), PeerError> {
    let scratch = scratch()?;
    let folder = scratch.path();
    let sources = folder.join("sources");
    prepare(folder, &write_series(&sources, SLICES)?)?;
    let labels = folder.join("labels");
    let kinds = [("one", "as one segment"), ("each", "as 200 segments")];
    for _ in 0..rounds {
        for (kind, name) in kinds {
            let file = folder.join("theirs.dcm");
            let arguments = [PathBuf::from(kind), labels.clone(), sources.clone(), file.clone()];
            let theirs = python("write_segmentation.py", &arguments)?;
            let mut own = Command::new(std::env::current_exe()?);
            own.arg(WRITE).arg(kind).arg(folder).stdin(Stdio::null()).stderr(Stdio::inherit());
            let ours: Value = serde_json::from_slice(&own.output()?.stdout).map_err(|error| failed(&error))?;
            if ours["frames"] != theirs["frames"] {
                return Err(PeerError::Failed(format!("{kind}: {ours} and {theirs}")));
            }
            for (who, said) in [("sulcus", &ours), ("highdicom", &theirs)] {
                let figure = |key: &str| said[key].as_f64().unwrap_or(f64::NAN);
                bench.add(&format!("{who} {name}"), "s", figure("seconds"));
                bench.add(&format!("{who} {name}, memory"), "MB", figure("peak") / 1e6);
            }
        }
    }
    for (_, name) in kinds {
        bench.ratio_of_times(&format!("{name}, time"), &format!("sulcus {name}"), &format!("highdicom {name}"));
        let memory = |who: &str| format!("{who} {name}, memory");
        bench.ratio_of_times(&format!("{name}, memory"), &memory("sulcus"), &memory("highdicom"));
    }
    Ok(())
}

/// Writes labels, and what else a segmentation is made of.
fn prepare(folder: &Path, files: &[PathBuf]) -> Result<(), PeerError> {
    let series = Series::open(files)?;
    let volume = convert::volumes(&series.encoded()).map_err(|error| failed(&error))?.pop();
    let volume = volume.ok_or_else(|| PeerError::Failed("no volume".to_owned()))?;
    let labels = lesions(&volume);
    let probability = labels.mapv(|label| if label > 0 { 0.75f32 } else { 0.0 });
    let rows = measure::lesions(labels.view(), &volume, probability.view(), &Digest::of(b"run"));
    let rows = rows.map_err(|error| failed(&error))?;
    if rows.len() != usize::from(LESIONS) {
        return Err(PeerError::Failed(format!("{} lesions", rows.len())));
    }
    let uids: Vec<&str> = volume.frames.iter().map(|frame| frame.sop_instance_uid.as_str()).collect();
    let class = volume.frames.first().map(|frame| &frame.sop_class_uid);
    let rest = json!({
        "size": volume.grid.size, "affine": volume.grid.affine, "class": class, "uids": uids, "lesions": rows,
        "frame_of_reference": volume.frame_of_reference_uid, "source": files.first(),
    });
    std::fs::write(folder.join("rest.json"), rest.to_string())?;
    std::fs::write(folder.join("labels"), labels.iter().flat_map(|label| label.to_le_bytes()).collect::<Vec<u8>>())?;
    Ok(())
}

/// Balls of 2 to 6 voxels' radius, spread evenly and shifted a little.
fn lesions(volume: &Volume) -> Array3<u16> {
    let mut labels = Array3::zeros(volume.voxels.raw_dim());
    for label in 0..i64::from(LESIONS) {
        let (x, y, z) = (label % 5, label / 5 % 5, label / 25);
        let centre = [40 + 38 * z + label % 7, 40 + 70 * y + label % 11, 40 + 70 * x + label % 13];
        let radius = 2 + label % 5;
        for ((dz, dy), dx) in (-radius..=radius)
            .flat_map(|dz| (-radius..=radius).map(move |dy| (dz, dy)))
            .flat_map(|line| (-radius..=radius).map(move |dx| (line, dx)))
        {
            let at = [centre[0] + dz, centre[1] + dy, centre[2] + dx].map(|index| index as usize);
            if dz * dz + dy * dy + dx * dx <= radius * radius
                && let Some(voxel) = labels.get_mut(at)
            {
                *voxel = label as u16 + 1;
            }
        }
    }
    labels
}

/// Writes one segmentation of what [`prepare`] left, and says what it took.
fn written(words: &[String]) -> Result<Value, PeerError> {
    let [kind, folder] = words else { return Err(PeerError::Failed("KIND FOLDER".to_owned())) };
    let folder = Path::new(folder);
    let rest = std::fs::read(folder.join("rest.json"))?;
    let rest: Value = serde_json::from_slice(&rest).map_err(|error| failed(&error))?;
    let wrong = |error: serde_json::Error| failed(&error);
    let size: [usize; 3] = serde_json::from_value(rest["size"].clone()).map_err(wrong)?;
    let grid = Grid { size, affine: serde_json::from_value(rest["affine"].clone()).map_err(wrong)? };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let frame = |uid| FrameRef { sop_class_uid: text(&rest["class"]), sop_instance_uid: text(uid), frame: None };
    let frames: Vec<FrameRef> = rest["uids"].as_array().into_iter().flatten().map(frame).collect();
    let lesions: Vec<LesionRow> = serde_json::from_value(rest["lesions"].clone()).map_err(wrong)?;
    let frame_of_reference = text(&rest["frame_of_reference"]);
    let mut file = BufReader::new(File::open(folder.join("labels"))?);
    let mut labels = vec![0u16; size.iter().product()];
    let mut pair = [0; 2];
    for label in &mut labels {
        file.read_exact(&mut pair)?;
        *label = u16::from_le_bytes(pair);
    }
    let [columns, rows, slices] = size;
    let labels = Array3::from_shape_vec([slices, rows, columns], labels).map_err(|error| failed(&error))?;
    let source = std::fs::read(text(&rest["source"]))?;
    let source = part10::split(&source).map_err(|error| failed(&error))?;

    let begun = Instant::now();
    let segmentation = encode(&SegInput {
        header: Header {
            source: Encoded { transfer_syntax: &source.transfer_syntax, data_set: source.data_set },
            sop_instance_uid: "2.25.11",
            series_instance_uid: "2.25.12",
            series_number: 9001,
            revision: 1,
            created: 1_709_164_799_999,
            equipment: Equipment { serial_number: "site-1", software_version: "0.1.0" },
        },
        kind: if kind == "one" { SegKind::AllAsOne } else { SegKind::Lesions },
        grid: &grid,
        frames: &frames,
        frame_of_reference_uid: &frame_of_reference,
        labels: labels.view(),
        lesions: &lesions,
        findings: &[],
        algorithm: Algorithm { name: "blob-filter", version: "1", digest: Digest::of(b"model") },
    })
    .map_err(|error| failed(&error))?;
    let file = folder.join("ours.dcm");
    for part in &segmentation.parts {
        std::fs::write(&file, &part.bytes)?;
    }
    let (seconds, peak) = (begun.elapsed().as_secs_f64(), peak()?);
    let object = dicom_object::open_file(&file).map_err(|error| failed(&error))?;
    let count = object.element(dicom_dictionary_std::tags::NUMBER_OF_FRAMES).map_err(|error| failed(&error))?;
    let count: u32 = count.to_int().map_err(|error| failed(&error))?;
    Ok(json!({"seconds": seconds, "frames": count, "peak": peak}))
}

/// The most bytes that this process has held.
fn peak() -> Result<u64, PeerError> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kilobytes.map(|kilobytes| kilobytes * 1024).ok_or_else(|| PeerError::Failed("no VmHWM".to_owned()))
}

fn failed(error: &dyn std::error::Error) -> PeerError {
    PeerError::Failed(error.to_string())
}
