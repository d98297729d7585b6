//! The results of a site's folder destination, as a person reads them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sulcus_operators::{results::report::Report, rows::Fault};

use super::table::Table;

/// Lesions that a terminal is shown.
const MOST_ROWS: usize = 30;

/// One report found in a folder of results.
pub(super) struct Found {
    /// Where it lies.
    pub(super) path: PathBuf,
    /// What it says.
    pub(super) report: Report,
}

/// The newest report of each study and pipeline below a folder of results, sorted by path.
pub(super) fn newest_reports(folder: &Path) -> Vec<Found> {
    let mut found = Vec::new();
    for study in folders(folder) {
        for pipeline in folders(&study) {
            let newest = folders(&pipeline)
                .into_iter()
                .filter_map(|path| {
                    Some((path.file_name()?.to_str()?.strip_prefix("revision-")?.parse::<u32>().ok()?, path))
                })
                .map(|(revision, path)| (revision, path.join("report.json")))
                .filter(|(_, path)| path.is_file())
                .max();
            let Some((_, path)) = newest else { continue };
            if let Some(report) = fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok()) {
                found.push(Found { path, report });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// Prints a report as a person reads it.
pub(super) fn print_report(found: &Found) {
    let report = &found.report;
    outln!("study {}, revision {}: {}", report.study_instance_uid, report.revision, report.result);
    if let Some(reason) = &report.withdrawn_because {
        outln!("  withdrawn: {reason}");
    }
    let mut table = Table::new(["lesion", "mm3", "centre (LPS, mm)", "mean intensity", "probability"]);
    for lesion in report.lesions.iter().take(MOST_ROWS) {
        let [x, y, z] = lesion.centroid_mm;
        table.row([
            lesion.label.to_string(),
            format!("{:.1}", lesion.volume_mm3),
            format!("{x:.1}, {y:.1}, {z:.1}"),
            format!("{:.1}", lesion.mean_intensity),
            format!("{:.2}", lesion.mean_probability),
        ]);
    }
    table.print();
    if report.lesions.len() > MOST_ROWS {
        outln!("  and {} more in report.json", report.lesions.len() - MOST_ROWS);
    }
    for series in &report.series_not_used {
        outln!("  not used: series {}: {}", series.series_instance_uid, series.reason);
    }
    report.notes.iter().for_each(|note| outln!("  note: {note}"));
    if let Some(folder) = found.path.parent() {
        outln!("  {}", folder.display());
    }
    outln!("  {}", report.research_use);
}

/// Prints faults with their hints.
pub(super) fn print_faults(faults: &[Fault]) {
    for fault in faults {
        eprintln!("fault in {}: {}: {}\n  {}", fault.stage, fault.key, fault.reason, fault.hint);
    }
}
