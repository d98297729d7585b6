//! Change since earlier visits: in a sentence, and as two small plots of volume and count.

use super::{
    LEFT, TABLE, Visit,
    canvas::{ACCENT, BLACK, Canvas, GREY, LINE, bold, regular},
    heading::number,
};
use crate::results::{report::Report, wording::date};

/// Height of the section, mm.
pub(super) const HEIGHT: f32 = 48.0;
/// As many visits are drawn, this one included.
const DRAWN: usize = 8;

/// The section from `top`.
pub(super) fn visits(canvas: &mut Canvas<'_, '_>, top: f32, earlier: &[Visit], report: &Report, study_date: &str) {
    let Some(last) = earlier.last() else { return };
    canvas.text([LEFT, top], bold(8.5, ACCENT), "Change since earlier visits");
    let sentence = sentence(last, report);
    for (at, line) in canvas.wrapped(regular(7.5, BLACK), &sentence, TABLE, 3).iter().enumerate() {
        canvas.text([LEFT, top + 4.6 + 3.6 * at as f32], regular(7.5, BLACK), line);
    }
    let drawn = &earlier[earlier.len().saturating_sub(DRAWN - 1)..];
    let mut dates: Vec<String> = drawn.iter().map(|visit| date(&visit.study_date)).collect();
    dates.push(if study_date.is_empty() { "this visit".to_owned() } else { study_date.to_owned() });
    let mut volumes: Vec<f64> = drawn.iter().map(|visit| visit.volume_mm3).collect();
    volumes.push(report.lesion_volume_mm3);
    let mut counts: Vec<f64> = drawn.iter().map(|visit| f64::from(visit.lesions)).collect();
    counts.push(report.lesions.len() as f64);
    let width = (TABLE - 6.0) / 2.0;
    let area = |x: f32| [x, top + 19.0, width, 18.0];
    plot(canvas, area(LEFT), "Volume, mm\u{b3}", &dates, &volumes, number);
    plot(canvas, area(LEFT + width + 6.0), "Lesions", &dates, &counts, |count| format!("{count:.0}"));
    let hidden = earlier.len() - drawn.len();
    if hidden > 0 {
        let words = format!("{hidden} earlier still are not drawn");
        canvas.text_to([LEFT + TABLE, top], regular(7.0, GREY), &words);
    }
}

/// What changed since the last visit.
fn sentence(last: &Visit, report: &Report) -> String {
    let changes = [
        (last.changes.new, "new"),
        (last.changes.enlarging, "enlarging"),
        (last.changes.shrinking, "shrinking"),
        (last.changes.persisting, "persisting"),
        (last.changes.resolved, "resolved"),
    ];
    let counted: Vec<String> =
        changes.iter().filter_map(|(count, word)| count.map(|count| format!("{count} {word}"))).collect();
    let difference = report.lesion_volume_mm3 - last.volume_mm3;
    let sign = if difference < 0.0 { "\u{2212}" } else { "+" };
    let mut words = format!("Since {}: ", date(&last.study_date));
    if !counted.is_empty() {
        words += &format!("{}; ", counted.join(", "));
    }
    words += &format!("volume {sign}{} mm\u{b3}", number(difference.abs()));
    if last.volume_mm3 > 0.0 {
        words += &format!(" ({sign}{:.0} %)", (100.0 * difference / last.volume_mm3).abs());
    }
    words
}

/// Days since some day, of `YYYY-MM-DD`.
fn days(date: &str) -> Option<f64> {
    let mut parts = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    // The length of a month does not show in a plot this small.
    Some(year as f64 * 365.25 + month as f64 * 30.44 + day as f64)
}

/// One plot: values over dates, the last one in full colour.
fn plot(
    canvas: &mut Canvas<'_, '_>,
    [x, y, width, height]: [f32; 4],
    title: &str,
    dates: &[String],
    values: &[f64],
    written: impl Fn(f64) -> String,
) {
    canvas.text([x, y - 1.5], regular(7.0, GREY), title);
    let base = y + height;
    canvas.lines(&[[x, base], [x + width, base]], 0.2, LINE);
    let most = values.iter().copied().filter(|value| value.is_finite()).fold(0.0, f64::max).max(1e-9);
    // By date where all dates are known and ascend, else evenly.
    let days: Option<Vec<f64>> = dates.iter().map(|date| days(date)).collect();
    let days = days.filter(|days| days.windows(2).all(|pair| pair[0] < pair[1]));
    let share = |at: usize| match &days {
        Some(days) => (days[at] - days[0]) / (days[days.len() - 1] - days[0]),
        None => at as f64 / (dates.len() - 1) as f64,
    };
    let inset = 5.0;
    let points: Vec<[f32; 2]> = values
        .iter()
        .enumerate()
        .map(|(at, value)| {
            let across = x + inset + (width - 2.0 * inset) * share(at) as f32;
            let value = if value.is_finite() { value.max(0.0) } else { 0.0 };
            [across, base - (height - 6.0) * (value / most) as f32]
        })
        .collect();
    canvas.lines(&points, 0.4, ACCENT);
    let mut free = f32::MIN;
    for (at, (point, value)) in points.iter().zip(values).enumerate() {
        let last = at + 1 == points.len();
        canvas.disc(*point, if last { 1.0 } else { 0.7 }, ACCENT);
        let style = if last { bold(7.0, BLACK) } else { regular(7.0, GREY) };
        let words = written(*value);
        let half = canvas.width(style, &words) / 2.0 + 0.5;
        // The last value is always written; earlier ones where they touch no other.
        let room = last || (point[0] - half > free && point[0] + half + 4.0 < points[points.len() - 1][0]);
        if room {
            canvas.text_about([point[0], point[1] - 1.8], style, &words);
            free = point[0] + half;
        }
    }
    let style = regular(6.5, GREY);
    if let (Some(first), Some(last)) = (dates.first(), dates.last()) {
        canvas.text([x, base + 3.2], style, first);
        canvas.text_to([x + width, base + 3.2], style, last);
    }
}
