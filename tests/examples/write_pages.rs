//! Writes pages and key images of phantoms into a folder, to be looked at, and says how long each took:
//! `cargo run --release -p sulcus-tests --example write_pages -- FOLDER`.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Instant;

use sulcus_operators::{
    phantom::Orientation,
    results::{
        key_images::sheet,
        page::{Changes, Visit, render},
        typeface::installed,
    },
    rows::{Finding, LesionVerdict, ReportStatus},
};
use sulcus_tests::reported_phantom::ReportedPhantom;

fn main() {
    let folder = std::env::args().nth(1).unwrap();
    let folder = Path::new(&folder);
    let base = ReportedPhantom::phantom(Orientation::Sagittal, [1.0; 3], 5).unwrap();

    write(folder, "normal", &full(base.clone()));

    let mut none = ReportedPhantom::of(base.source.clone(), base.volume.clone(), base.labels.mapv(|_| 0)).unwrap();
    none.outcome.notes.push("intensities are stored values without a rescale".to_owned());
    write(folder, "none", &none);

    let one =
        ReportedPhantom::of(base.source.clone(), base.volume.clone(), base.labels.mapv(|l| u16::from(l == 2))).unwrap();
    write(folder, "one", &one);

    let mut withdrawn = base.clone();
    withdrawn.row.status = ReportStatus::Withdrawn("its series was withdrawn: it is of another patient".to_owned());
    withdrawn.row.run = None;
    write(folder, "withdrawn", &withdrawn);

    for (name, orientation, spacing) in [
        ("axial-thick", Orientation::Axial, [0.9, 0.9, 4.0]),
        ("coronal", Orientation::Coronal, [1.0, 1.0, 1.5]),
        ("oblique", Orientation::Oblique, [1.0, 1.0, 1.2]),
    ] {
        write(folder, name, &ReportedPhantom::phantom(orientation, spacing, 4).unwrap());
    }

    let yamada = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B";
    let japanese = base.clone().named("\\ISO 2022 IR 87", yamada).unwrap();
    write(folder, "japanese-without-font", &japanese);
    let hong = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf";
    let korean = base.clone().named("\\ISO 2022 IR 149", hong).unwrap();
    for (name, mut reported) in [("japanese", japanese), ("korean", korean)] {
        reported.fonts.extend(installed());
        write(folder, name, &reported);
    }
    write(folder, "latin", &base.named("ISO_IR 100", b"M\xfcller-L\xfcdenscheidt^Zo\xeb^^Dr.").unwrap());
    write(folder, "many", &many());
    write(folder, "large", &ReportedPhantom::large().unwrap());
}

fn full(mut base: ReportedPhantom) -> ReportedPhantom {
    base.row.doubts.push("the series may be incomplete: no count was given and nothing came for 60 s".to_owned());
    base.outcome.notes = vec![
        "prescan normalised images were used".to_owned(),
        "the scan differs from the model's training: voxels of 1 mm where 0.7 mm are usual".to_owned(),
    ];
    base.row.not_used = vec![
        ("1.2.840.99999.1.20260105.1.2".to_owned(), "localizer: three slices".to_owned()),
        ("1.2.840.99999.1.20260105.1.3".to_owned(), "the same acquisition without prescan normalise".to_owned()),
    ];
    let verdict = |at: usize, verdict: LesionVerdict| Finding {
        tracking_uid: base.outcome.lesions[at].tracking_uid.clone(),
        verdict,
        reader: "Dr Reader".to_owned(),
        comment: String::new(),
    };
    base.row.verdicts = vec![
        verdict(0, LesionVerdict::Accepted),
        Finding { comment: "a vessel".to_owned(), ..verdict(1, LesionVerdict::Rejected) },
        verdict(2, LesionVerdict::Relabelled("Virchow-Robin space".to_owned())),
    ];
    let visit = |date: &str, lesions: u32, volume_mm3: f64| Visit {
        study_date: date.to_owned(),
        lesions,
        volume_mm3,
        changes: Changes {
            new: Some(1),
            persisting: Some(2),
            enlarging: Some(1),
            shrinking: Some(0),
            resolved: Some(0),
        },
    };
    base.earlier = vec![visit("20230310", 2, 61.4), visit("20240118", 3, 96.0), visit("20250122", 3, 104.5)];
    base
}

/// 500 small lesions, 40 long notes, a long name, on the finest grid.
fn many() -> ReportedPhantom {
    let base = ReportedPhantom::phantom(Orientation::Sagittal, [0.6, 0.55, 0.6], 0).unwrap();
    let mut labels = base.labels.clone();
    let (slices, rows, columns) = labels.dim();
    for label in 0..500usize {
        let at = [
            slices / 4 + label * 7 % (slices / 2),
            rows / 4 + label * 13 % (rows / 2),
            columns / 4 + label * 29 % (columns / 2),
        ];
        let side = 2 + label % 5;
        for ((s, r), c) in
            (0..side).flat_map(|s| (0..side).map(move |r| (s, r))).flat_map(|sr| (0..side).map(move |c| (sr, c)))
        {
            labels[[at[0] + s, at[1] + r, at[2] + c]] = label as u16 + 1;
        }
    }
    let mut many = ReportedPhantom::of(base.source, base.volume, labels).unwrap();
    let long = "a note that goes on and on, because what happened to these images is not said in a few words, ";
    many.outcome.notes = (0..40).map(|at| format!("{at}: {}", long.repeat(3))).collect();
    many.row.not_used =
        (0..30).map(|at| (format!("1.2.840.99999.1.2026.{}.{at}", "7".repeat(36)), long.repeat(2))).collect();
    many.row.verdicts = many
        .outcome
        .lesions
        .iter()
        .step_by(9)
        .map(|lesion| Finding {
            tracking_uid: lesion.tracking_uid.clone(),
            verdict: LesionVerdict::Rejected,
            reader: "R".to_owned(),
            comment: String::new(),
        })
        .collect();
    if let Some(run) = &mut many.row.run {
        run.stack = "ORIGINAL, PRIMARY, M, ND, NORM, DIS3D | inversion 2 | uniform, denoised | echo 2.98 ms".to_owned();
    }
    many.row.pipeline = "a pipeline with a name that does not end anywhere near the place where it should".to_owned();
    let name = format!("{}^{}", "Wolfeschlegelsteinhausenbergerdorff".repeat(2), "Hubert Blaine ".repeat(4));
    many.named("ISO_IR 192", name.as_bytes()).unwrap()
}

fn write(folder: &Path, name: &str, reported: &ReportedPhantom) {
    let report = reported.report().unwrap();
    let page = reported.page(&report);
    let mut fastest = f64::MAX;
    let mut pdf = Vec::new();
    for _ in 0..5 {
        let start = Instant::now();
        pdf = render(&page).unwrap();
        fastest = fastest.min(start.elapsed().as_secs_f64());
    }
    println!(
        "{name}: {:?}, {} lesions, {:.0} ms, {} bytes",
        reported.volume.voxels.dim(),
        report.lesions.len(),
        fastest * 1e3,
        pdf.len()
    );
    std::fs::write(folder.join(format!("{name}.pdf")), pdf).unwrap();
    if let Ok(sheet) = sheet(&report, &reported.volume, reported.labels.view(), Some(4)) {
        let mut file = format!("P6 {} {} 255\n", sheet.size[0], sheet.size[1]).into_bytes();
        file.extend(sheet.rgb);
        std::fs::write(folder.join(format!("{name}.ppm")), file).unwrap();
    }
}
