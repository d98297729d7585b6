//! The page's frame: what it may be used for, title, patient and scan, the result in a sentence, and what made it.

use super::{
    LEFT, RIGHT,
    canvas::{ACCENT, ALARM, BLACK, Canvas, GREY, LINE, PAGE, TINT, WHITE, bold, regular},
};
use crate::{
    results::{RESEARCH_USE, iso_8601, report::Report, typeface::NOT_SHOWN, wording::Wording},
    rows::Millis,
};

/// Height of the bands at top and bottom, mm.
const BAND: f32 = 7.0;
/// Width of the labels in front of facts, mm.
const LABEL: f32 = 20.0;
/// Distance of the lines of facts, mm.
const STEP: f32 = 4.3;

/// What the page may be used for, at top and bottom.
pub(super) fn bands(canvas: &mut Canvas<'_, '_>) {
    for top in [0.0, PAGE[1] - BAND] {
        canvas.area([0.0, top, PAGE[0], BAND], ACCENT);
        canvas.text_about([PAGE[0] / 2.0, top + 4.7], bold(9.0, WHITE), RESEARCH_USE);
    }
}

/// Title, revision and what it supersedes.
pub(super) fn title(canvas: &mut Canvas<'_, '_>, report: &Report, supersedes: Option<(u32, Millis)>) {
    canvas.text([LEFT, 19.5], bold(20.0, BLACK), "Lesion report");
    let pipeline = canvas.fitted(regular(8.5, GREY), &report.pipeline, 80.0);
    canvas.text([LEFT, 24.3], regular(8.5, GREY), &pipeline);
    let revision = format!("Revision {}", report.revision);
    canvas.text_to([RIGHT, 16.0], bold(9.0, BLACK), &revision);
    canvas.text_to([RIGHT, 20.3], regular(8.0, GREY), &format!("created {}", to_the_second(&report.created)));
    let supersedes = match supersedes {
        Some((revision, at)) => format!("supersedes revision {revision} of {}", to_the_second(&iso_8601(at))),
        None => "supersedes none".to_owned(),
    };
    canvas.text_to([RIGHT, 24.3], regular(8.0, GREY), &supersedes);
    canvas.lines(&[[LEFT, 27.5], [RIGHT, 27.5]], 0.35, ACCENT);
}

/// A time of ISO 8601 in UTC, for people.
fn to_the_second(time: &str) -> String {
    let time = time.split('.').next().unwrap_or_default().trim_end_matches('Z');
    format!("{} UTC", time.replace('T', " "))
}

/// Patient and study, scanner and protocol; gives where they end.
pub(super) fn facts(canvas: &mut Canvas<'_, '_>, words: &Wording, report: &Report) -> f32 {
    let name = names(canvas, words);
    let id = if words.patient_id.is_empty() { "not given".to_owned() } else { words.patient_id.clone() };
    let patient = [
        ("Name", name.0),
        ("", name.1),
        ("Patient ID", id),
        ("Born", words.birth_date.clone()),
        ("Sex", words.sex.clone()),
        ("Study date", words.study_date.clone()),
        ("Accession", words.accession.clone()),
        ("Study", words.study.clone()),
    ];
    let voxels = report.run.as_ref().map(|run| {
        let [x, y, z] = run.spacing_mm.map(|mm| format!("{}", (mm * 1000.0).round() / 1000.0));
        let [columns, rows, slices] = run.size;
        format!("{x} \u{d7} {y} \u{d7} {z} mm, {columns} \u{d7} {rows} \u{d7} {slices}")
    });
    let mut scan = vec![
        ("Scanner", words.scanner.clone()),
        ("Field", words.field.clone()),
        ("Series", words.series.clone()),
        ("Sequence", words.sequence.clone()),
        ("Timing", words.timing.clone()),
    ];
    if let Some(run) = &report.run {
        scan.extend([("Voxels", voxels.unwrap_or_default()), ("Volume", run.stack.clone())]);
    }
    let middle = (LEFT + RIGHT) / 2.0 + 2.0;
    let ends = [
        column(canvas, [LEFT, 32.5], middle - LEFT - 5.0, "Patient and study", &patient),
        column(canvas, [middle, 32.5], RIGHT - middle, "Scanner and protocol", &scan),
    ];
    ends[0].max(ends[1])
}

fn column(canvas: &mut Canvas<'_, '_>, [x, top]: [f32; 2], width: f32, heading: &str, facts: &[(&str, String)]) -> f32 {
    canvas.text([x, top], bold(8.5, ACCENT), heading);
    let mut y = top + 5.0;
    for (label, value) in facts.iter().filter(|(label, value)| !label.is_empty() || !value.is_empty()) {
        let style = if *label == "Name" { bold(8.5, BLACK) } else { regular(8.0, BLACK) };
        let (value, style) = match value.as_str() {
            "" => ("not given", regular(8.0, GREY)),
            _ if label.is_empty() => (value.as_str(), regular(7.4, GREY)),
            value => (value, style),
        };
        canvas.text([x, y], regular(8.0, GREY), label);
        // What tells one person or one volume from another takes further lines before it is cut.
        let most = match *label {
            "Name" | "" => 2,
            "Volume" => 3,
            _ => 1,
        };
        for line in canvas.wrapped(style, value, width - LABEL, most) {
            canvas.text([x + LABEL, y], style, &line);
            y += STEP;
        }
    }
    y
}

/// The name, and below it what else there is of it. A group that cannot be shown whole is said, not mangled.
fn names(canvas: &Canvas<'_, '_>, words: &Wording) -> (String, String) {
    let mut shown = words.names.iter().filter(|name| canvas.faces.shows(name));
    let others = words.names.iter().any(|name| !canvas.faces.shows(name));
    let first = shown.next().cloned();
    let mut below: Vec<String> = shown.cloned().collect();
    match (&first, others) {
        (Some(_), true) => below.push("name also in characters that this page cannot show".to_owned()),
        (None, true) => below.push("see the patient ID".to_owned()),
        _ => {}
    }
    let name = match first {
        Some(name) => name,
        None if others => "in characters that this page cannot show".to_owned(),
        None => "not given".to_owned(),
    };
    (name, below.join("   "))
}

/// The result in a sentence and the total volume; gives where it ends.
pub(super) fn result(canvas: &mut Canvas<'_, '_>, top: f32, report: &Report) -> f32 {
    canvas.area([LEFT, top, RIGHT - LEFT, 14.0], TINT);
    canvas.area([LEFT, top, 1.2, 14.0], ACCENT);
    let mut style = bold(14.0, BLACK);
    while canvas.width(style, &report.result) > 128.0 && style.size > 8.0 {
        style.size -= 0.5;
    }
    let sentence = canvas.fitted(style, &report.result, 128.0);
    canvas.text([LEFT + 5.0, top + 8.8], style, &sentence);
    if !report.lesions.is_empty() {
        canvas.text_to([RIGHT - 4.0, top + 6.0], regular(7.5, GREY), "Total volume");
        canvas.text_to([RIGHT - 4.0, top + 11.3], bold(12.0, ACCENT), &cubic(report.lesion_volume_mm3));
    }
    top + 14.0 + 6.0
}

/// That the report was withdrawn, and why, so that nobody overlooks it; gives where it ends.
pub(super) fn withdrawn(canvas: &mut Canvas<'_, '_>, top: f32, report: &Report) -> f32 {
    const BANNER: f32 = 34.0;
    let top = top + 2.0;
    let why = match report.withdrawn_because.as_deref().map(str::trim) {
        Some(reason) if !reason.is_empty() => format!("Why: {reason}."),
        _ => "No reason is known.".to_owned(),
    };
    let (style, step, width) = (bold(12.0, BLACK), 6.0, RIGHT - LEFT - 12.0);
    let lines = canvas.wrapped(style, &why, width, 12);
    let advice = "This report gives no result. Do not use earlier revisions of it either.";
    let height = BANNER + 9.0 + step * (lines.len() + 1) as f32;
    canvas.area([LEFT, top, RIGHT - LEFT, BANNER], ALARM);
    canvas.text_about([(LEFT + RIGHT) / 2.0, top + 24.0], bold(60.0, WHITE), "WITHDRAWN");
    canvas.frame([LEFT, top, RIGHT - LEFT, height], 0.8, ALARM);
    let mut y = top + BANNER + 8.5;
    for line in lines {
        canvas.text([LEFT + 6.0, y], style, &line);
        y += step;
    }
    canvas.text([LEFT + 6.0, y], regular(11.0, BLACK), advice);
    top + height + 8.0
}

/// Model, versions and identities, above the lower band.
pub(super) fn origin(canvas: &mut Canvas<'_, '_>, report: &Report, version: &str, undecoded: bool) {
    let style = regular(6.5, GREY);
    canvas.lines(&[[LEFT, 273.5], [RIGHT, 273.5]], 0.2, LINE);
    let (model, series) = match &report.run {
        Some(run) => (
            format!("Model {} {}, digest {}", run.model_name, run.model_version, run.model_digest),
            format!("Series {}", run.series_instance_uid),
        ),
        None => ("No model: the report was withdrawn".to_owned(), String::new()),
    };
    let mut remarks = vec![format!("Sulcus {version}")];
    if undecoded {
        remarks.push("text in an unknown character set stands as its bytes".to_owned());
    }
    if canvas.missing {
        remarks.push(format!("{NOT_SHOWN} stands for characters that this page cannot show"));
    }
    let lines = [
        model,
        remarks.join("; "),
        format!("Report {}", report.uid),
        format!("Study {}", report.study_instance_uid),
        series,
    ];
    let half = (RIGHT - LEFT) / 2.0;
    for (at, line) in lines.iter().enumerate() {
        let (x, y, width) = match at {
            0 => (LEFT, 277.0, RIGHT - LEFT),
            1 => (LEFT, 280.2, RIGHT - LEFT),
            2 => (LEFT, 283.4, RIGHT - LEFT),
            3 => (LEFT, 286.6, half - 2.0),
            _ => (LEFT + half, 286.6, half),
        };
        let line = canvas.fitted(style, line, width);
        canvas.text([x, y], style, &line);
    }
}

/// A volume in mm3; with one decimal where that says something.
pub(super) fn cubic(mm3: f64) -> String {
    format!("{} mm\u{b3}", number(mm3))
}

/// A number with one decimal below a hundred, none above.
pub(super) fn number(value: f64) -> String {
    if value.abs() < 99.95 { format!("{value:.1}") } else { format!("{value:.0}") }
}
