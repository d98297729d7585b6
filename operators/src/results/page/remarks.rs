//! What a reader should know of the images, and which series were not used, side by side.

use super::{
    LEFT, RIGHT,
    canvas::{ACCENT, BLACK, Canvas, GREY, bold, regular},
};
use crate::results::report::Report;

/// Lines of a column.
const LINES: usize = 8;
/// Lines of one remark.
const EACH: usize = 3;
/// Distance of lines, mm.
const STEP: f32 = 3.6;

/// Both columns; gives where they end.
pub(super) fn remarks(canvas: &mut Canvas<'_, '_>, top: f32, report: &Report) -> f32 {
    let middle = (LEFT + RIGHT) / 2.0 + 2.0;
    let not_used: Vec<String> = report
        .series_not_used
        .iter()
        .map(|series| format!("{} (series {})", series.reason, ending(&series.series_instance_uid)))
        .collect();
    let width = middle - LEFT - 5.0;
    // What is beyond is among the notes by itself.
    let usual = report.run.as_ref().and_then(|run| run.domain).filter(|domain| !domain.beyond);
    let notes: Vec<String> = report.notes.iter().cloned().chain(usual.map(|domain| domain.note())).collect();
    let notes = column(canvas, [LEFT, top], width, "Notes on the images", &notes, "none");
    let series = column(canvas, [middle, top], width, "Series not used", &not_used, "none");
    notes.max(series) + 4.0
}

/// The end of a UID, by which series of a study are told apart.
fn ending(uid: &str) -> String {
    let characters: Vec<char> = uid.chars().collect();
    match characters.len().checked_sub(16) {
        Some(cut) if cut > 0 => format!("\u{2026}{}", characters.iter().skip(cut).collect::<String>()),
        _ => uid.to_owned(),
    }
}

fn column(
    canvas: &mut Canvas<'_, '_>,
    [x, top]: [f32; 2],
    width: f32,
    heading: &str,
    remarks: &[String],
    none: &str,
) -> f32 {
    let style = regular(7.5, BLACK);
    canvas.text([x, top], bold(8.5, ACCENT), heading);
    let mut y = top + 4.6;
    if remarks.is_empty() {
        canvas.text([x, y], regular(7.5, GREY), none);
        return y + STEP;
    }
    let mut room = LINES;
    for (at, remark) in remarks.iter().enumerate() {
        let left = remarks.len() - at;
        // The last line is kept for saying how many are left.
        let most = EACH.min(if left > 1 { room.saturating_sub(1) } else { room });
        if most == 0 {
            canvas.text([x + 3.0, y], regular(7.5, GREY), &format!("and {left} more, in report.json"));
            return y + STEP;
        }
        canvas.disc([x + 0.8, y - 0.9], 0.45, ACCENT);
        let lines = canvas.wrapped(style, remark, width - 3.0, most);
        room -= lines.len().min(room);
        for line in lines {
            canvas.text([x + 3.0, y], style, &line);
            y += STEP;
        }
    }
    y
}
