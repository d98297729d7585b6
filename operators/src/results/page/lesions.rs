//! Lesions by size, the largest one by one, and what readers rejected.

use super::{
    LEFT, TABLE,
    canvas::{ACCENT, BLACK, Canvas, GREY, LINE, bold, regular},
    heading::number,
};
use crate::results::{
    planes::by_size,
    report::{Judgement, Lesion, Report},
};

/// Upper ends of the size classes but the last, mm3; a lesion of exactly such a volume is in the class above it.
const CLASSES: [f64; 3] = [10.0, 50.0, 250.0];
const NAMES: [&str; 4] = ["below 10", "10 to 50", "50 to 250", "250 and above"];
/// Distance of rows, mm.
const STEP: f32 = 4.1;
/// Lines of what readers rejected.
const REJECTED: usize = 4;

/// The tables between top and bottom; gives where they end.
pub(super) fn tables(canvas: &mut Canvas<'_, '_>, [top, bottom]: [f32; 2], report: &Report) -> f32 {
    let mut y = classes(canvas, top, &report.lesions) + 7.0;
    let rejected = rejected(canvas, report);
    let end = match rejected.len() {
        0 => bottom,
        lines => bottom - 8.0 - 3.9 * lines as f32,
    };
    y = list(canvas, [y, end], &report.lesions);
    if !rejected.is_empty() {
        y += if report.lesions.is_empty() { 0.0 } else { 7.0 };
        canvas.text([LEFT, y], bold(8.5, ACCENT), "Rejected by a reader, in no count");
        for line in rejected {
            y += 3.9;
            canvas.text([LEFT, y], regular(7.5, BLACK), &line);
        }
    }
    y
}

/// Number and volume in each class and in all; gives where the table ends.
fn classes(canvas: &mut Canvas<'_, '_>, top: f32, lesions: &[Lesion]) -> f32 {
    let (head, body) = (regular(7.0, GREY), regular(8.0, BLACK));
    let columns = [LEFT + 46.0, LEFT + TABLE];
    canvas.text([LEFT, top], bold(8.5, ACCENT), "Lesions by size");
    let mut y = top + 4.6;
    canvas.text([LEFT, y], head, "Class, mm\u{b3}");
    canvas.text_to([columns[0], y], head, "Lesions");
    canvas.text_to([columns[1], y], head, "Volume, mm\u{b3}");
    let mut sums = [(0usize, 0.0); 4];
    for lesion in lesions {
        let class = CLASSES.iter().filter(|end| lesion.volume_mm3 >= **end).count();
        sums[class].0 += 1;
        sums[class].1 += lesion.volume_mm3;
    }
    for (name, (count, volume)) in NAMES.into_iter().zip(sums) {
        y += STEP;
        rule(canvas, y);
        let style = if count == 0 { regular(8.0, GREY) } else { body };
        canvas.text([LEFT, y], style, name);
        canvas.text_to([columns[0], y], style, &count.to_string());
        canvas.text_to([columns[1], y], style, &if count == 0 { "\u{2013}".to_owned() } else { number(volume) });
    }
    y += STEP;
    rule(canvas, y);
    let style = bold(8.0, BLACK);
    canvas.text([LEFT, y], style, "All");
    canvas.text_to([columns[0], y], style, &lesions.len().to_string());
    let volume = lesions.iter().map(|lesion| lesion.volume_mm3).fold(0.0, |sum, volume| sum + volume);
    canvas.text_to([columns[1], y], style, &number(volume));
    y
}

/// A hairline above a row.
fn rule(canvas: &mut Canvas<'_, '_>, y: f32) {
    canvas.lines(&[[LEFT, y - 3.0], [LEFT + TABLE, y - 3.0]], 0.12, LINE);
}

/// The largest lesions, as many as have room between top and end; gives where the table ends.
fn list(canvas: &mut Canvas<'_, '_>, [top, end]: [f32; 2], lesions: &[Lesion]) -> f32 {
    if lesions.is_empty() {
        return top;
    }
    let head = regular(7.0, GREY);
    // Right edges of number, volume and three coordinates; the probability's, and the verdict's left edge.
    let edges = [LEFT + 6.0, LEFT + 17.0, LEFT + 26.0, LEFT + 34.5, LEFT + 43.0, LEFT + 51.0];
    let verdict = LEFT + 53.5;
    canvas.text([LEFT, top], bold(8.5, ACCENT), "Largest lesions");
    let mut y = top + 4.6;
    for (edge, name) in edges.iter().zip(["No.", "mm\u{b3}", "", "centre, mm", "", "prob."]) {
        let shift = if name.starts_with('c') { 4.5 } else { 0.0 };
        canvas.text_to([edge + shift, y], head, name);
    }
    canvas.text([verdict, y], head, "Reader");
    let room = ((end - y) / STEP) as usize;
    let sorted = by_size(lesions);
    let shown = if sorted.len() <= room { sorted.len() } else { room.saturating_sub(1) };
    for lesion in sorted.iter().take(shown) {
        y += STEP;
        rule(canvas, y);
        let style = regular(7.5, BLACK);
        let [x, back, head] = lesion.centroid_mm;
        let cells = [
            lesion.label.to_string(),
            number(lesion.volume_mm3),
            place(x, ["L", "R"]),
            place(back, ["P", "A"]),
            place(head, ["S", "I"]),
            format!("{:.2}", lesion.mean_probability),
        ];
        for (edge, cell) in edges.iter().zip(cells) {
            canvas.text_to([*edge, y], style, &cell);
        }
        let words = canvas.fitted(style, &said(lesion), LEFT + TABLE - verdict);
        canvas.text([verdict, y], style, &words);
    }
    if shown < sorted.len() {
        y += STEP;
        rule(canvas, y);
        let volume: f64 = sorted.iter().skip(shown).map(|lesion| lesion.volume_mm3).sum();
        let more = format!("and {} more, together {} mm\u{b3}", sorted.len() - shown, number(volume));
        canvas.text([LEFT, y], regular(7.5, GREY), &more);
    }
    y
}

/// A coordinate with the side that it lies on.
fn place(mm: f64, [positive, negative]: [&str; 2]) -> String {
    format!("{}\u{a0}{:.0}", if mm.round() < 0.0 { negative } else { positive }, mm.abs())
}

/// What a reader said.
fn said(lesion: &Lesion) -> String {
    let Some(verdict) = &lesion.verdict else { return "\u{2013}".to_owned() };
    match (verdict.verdict, &verdict.relabelled) {
        (Judgement::Relabelled, Some(name)) => name.clone(),
        (Judgement::Relabelled, None) => "relabelled".to_owned(),
        (Judgement::Accepted, _) => "accepted".to_owned(),
        (Judgement::Rejected, _) => "rejected".to_owned(),
    }
}

/// What readers rejected, who did and why, in few lines. Lesions of which the same is said stand together.
fn rejected(canvas: &Canvas<'_, '_>, report: &Report) -> Vec<String> {
    let all = &report.lesions_rejected;
    let style = regular(7.5, BLACK);
    let words = |shown: usize| {
        let mut said: Vec<(String, Vec<String>)> = Vec::new();
        for lesion in by_size(all).into_iter().take(shown) {
            let number = format!("No.\u{a0}{} ({}\u{a0}mm\u{b3})", lesion.label, number(lesion.volume_mm3));
            let who = reader(lesion);
            match said.iter_mut().find(|(known, _)| *known == who) {
                Some((_, numbers)) => numbers.push(number),
                None => said.push((who, vec![number])),
            }
        }
        let mut list: Vec<String> =
            said.into_iter().map(|(who, numbers)| format!("{}{who}", numbers.join(", "))).collect();
        if shown < all.len() {
            list.push(format!("and {} more", all.len() - shown));
        }
        list.join("; ")
    };
    let fits = |shown: &usize| {
        let lines = canvas.wrapped(style, &words(*shown), TABLE, REJECTED + 1);
        lines.len() <= REJECTED
    };
    // Of one lesion that does not fit, the comment is cut, not the lesion.
    let shown = (1..=all.len().min(12)).rev().find(fits).unwrap_or(1);
    canvas.wrapped(style, &words(shown), TABLE, REJECTED)
}

/// Who judged a lesion, and what was added.
fn reader(lesion: &Lesion) -> String {
    let Some(verdict) = &lesion.verdict else { return String::new() };
    match &verdict.comment {
        Some(comment) => format!(" by {}: {comment}", verdict.reader),
        None => format!(" by {}", verdict.reader),
    }
}
