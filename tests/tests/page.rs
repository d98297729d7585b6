//! The page, its Encapsulated PDF and the key images, as their readers see them: poppler, dicom3tools and Orthanc.

use std::path::Path;
use std::process::Command;

use dicom_dictionary_std::tags;
use sulcus_operators::{
    phantom::Orientation,
    results::{
        encapsulated::{EncapsulatedInput, encode as encapsulate},
        key_images::{KeyImagesInput, encode as key_images, sheet},
        page::{Changes, Visit, render},
        typeface::installed,
    },
    rows::{Finding, LesionVerdict, ReportStatus},
};
use sulcus_tests::dciodvfy::dciodvfy;
use sulcus_tests::dcmtk;
use sulcus_tests::orthanc::Orthanc;
use sulcus_tests::reported_phantom::ReportedPhantom;
use sulcus_tests::{PeerError, or_skip, program, skip};

fn study(lesions: usize) -> ReportedPhantom {
    ReportedPhantom::phantom(Orientation::Sagittal, [2.0; 3], lesions).unwrap()
}

fn page(reported: &ReportedPhantom) -> Vec<u8> {
    let report = reported.report().unwrap();
    render(&reported.page(&report)).unwrap()
}

/// The page's text as it is laid out, by poppler, which also has to find one page.
fn text(pdf: &[u8]) -> Result<String, PeerError> {
    let (words, facts) = (program("pdftotext", "poppler-utils")?, program("pdfinfo", "poppler-utils")?);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("page.pdf");
    std::fs::write(&file, pdf)?;
    let run = |command: &mut Command| -> Result<String, PeerError> {
        let output = command.output()?;
        assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let facts = run(Command::new(facts).arg(&file))?;
    assert!(facts.lines().any(|line| line.starts_with("Pages:") && line.ends_with(" 1")), "{facts}");
    assert!(facts.contains("A4"), "{facts}");
    run(Command::new(words).args(["-layout", "-enc", "UTF-8"]).arg(&file).arg("-"))
}

/// Each line of what is expected stands on one line of the page, whatever space lies between its words.
#[track_caller]
fn holds(text: &str, expected: &[&str]) {
    let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = text.lines().map(squeezed).collect();
    for wanted in expected {
        assert!(lines.iter().any(|line| line.contains(wanted)), "no {wanted:?} in\n{text}");
    }
}

#[test]
fn the_page_says_who_what_how_much_and_by_which_model() {
    let mut reported = study(5).named("ISO_IR 100", b"M\xfcller^Zo\xeb").unwrap();
    reported.outcome.notes.push("prescan normalised images were used".to_owned());
    reported.row.doubts.push("no count was given".to_owned());
    reported.row.not_used.push(("1.2.3.77".to_owned(), "localizer: three slices".to_owned()));
    let verdict = |at: usize, verdict| Finding {
        tracking_uid: reported.outcome.lesions[at].tracking_uid.clone(),
        verdict,
        reader: "R".to_owned(),
        comment: String::new(),
    };
    reported.row.verdicts = vec![
        Finding { comment: "a vessel".to_owned(), ..verdict(0, LesionVerdict::Rejected) },
        verdict(1, LesionVerdict::Relabelled("vessel".to_owned())),
        verdict(2, LesionVerdict::Accepted),
    ];
    let visit = Visit {
        study_date: "20250122".to_owned(),
        lesions: 3,
        volume_mm3: 100.0,
        changes: Changes { new: Some(1), persisting: Some(3), enlarging: None, shrinking: None, resolved: Some(0) },
    };
    reported.earlier = vec![Visit { study_date: "20240101".to_owned(), ..visit.clone() }, visit];
    let Some(text) = or_skip(text(&page(&reported))) else { return };
    assert_eq!(text.matches("Research use only, not for diagnosis").count(), 2);
    let total: u64 = reported.outcome.lesions[1..].iter().map(|lesion| lesion.volume_nl).sum();
    holds(
        &text,
        &[
            "Müller, Zoë",
            "Patient ID PHANTOM-11",
            "Study date 2026-01-05",
            "SIEMENS MAGNETOM Prisma_fit",
            "Field 3",
            "TR 2300 ms",
            "2 × 2 × 2 mm",
            "Revision 2",
            "created 2026-01-05 14:00:00 UTC",
            "supersedes revision 1 of 2026-01-04 10:13:20 UTC",
            "4 lesions were found in a series that may be incomplete; 1 was rejected by a reader.",
            &format!("All 4 {:.0}", total as f64 / 1000.0),
            "prescan normalised images were used",
            "localizer: three slices (series 1.2.3.77)",
            "vessel",
            "accepted",
            "Rejected by a reader, in no count",
            "by R: a vessel",
            "Since 2025-01-22: 1 new, 3 persisting, 0 resolved",
            "Model cortical-nnunet 1.2, digest",
            "Sulcus 0.1.0",
        ],
    );
}

#[test]
fn five_hundred_lesions_and_forty_long_notes_are_one_page_that_says_what_it_leaves_out() {
    let base = study(0);
    let mut labels = base.labels.clone();
    let (slices, rows, columns) = labels.dim();
    for label in 0..500usize {
        let at = [20 + label / 100 * 12, 20 + label / 10 % 10 * 6, 20 + label % 10 * 7];
        assert!(at[0] < slices && at[1] < rows && at[2] < columns);
        labels[at] = label as u16 + 1;
    }
    let mut many = ReportedPhantom::of(base.source, base.volume, labels).unwrap();
    many.outcome.notes = (0..40).map(|at| format!("note {at} {}", "goes on and on ".repeat(30))).collect();
    many.row.pipeline = "p".repeat(300);
    let many = many.named("ISO_IR 192", &[b'N'; 500]).unwrap();
    let Some(text) = or_skip(text(&page(&many))) else { return };
    holds(
        &text,
        &["500 lesions were found.", "NNNNNNNNNNNNNNNN…", "more, together", "more, in report.json", "All 500 4000"],
    );
}

#[test]
fn a_withdrawn_page_says_so_and_why_and_shows_no_lesion() {
    let mut reported = study(3);
    reported.row.status = ReportStatus::Withdrawn("the series was taken back by its sender".to_owned());
    reported.row.run = None;
    let Some(text) = or_skip(text(&page(&reported))) else { return };
    holds(&text, &["WITHDRAWN", "Why: the series was taken back by its sender.", "Patient ID PHANTOM-11"]);
    assert!(!text.contains("Lesions by size") && !text.contains("Key images"), "{text}");
}

#[test]
fn a_page_without_lesions_says_so_and_shows_the_middle_of_the_head() {
    let Some(text) = or_skip(text(&page(&study(0)))) else { return };
    holds(&text, &["No lesion was found.", "Middle of the head", "All 0 0.0"]);
    holds(&text, &["slice"]);
    for letters in ["axial", "coronal", "sagittal", "R", "L", "A", "P", "S", "I"] {
        assert!(text.split_whitespace().any(|word| word == letters), "{letters}");
    }
}

#[test]
fn names_are_shown_whole_or_what_is_missing_is_said() {
    let yamada = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B";
    let hong = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf";
    let base = study(0);
    let named = |charset, name: &[u8]| base.clone().named(charset, name).unwrap();
    let (japanese, korean) = (named("\\ISO 2022 IR 87", yamada), named("\\ISO 2022 IR 149", hong));
    let Some(without) = or_skip(text(&page(&japanese))) else { return };
    holds(&without, &["Yamada, Tarou", "name also in characters that this page cannot show"]);
    let Some(unknown) = or_skip(text(&page(&named("ISO_IR 192", "山田^太郎".as_bytes())))) else { return };
    holds(&unknown, &["Name in characters that this page cannot show", "see the patient ID"]);
    let Some(font) = installed() else { return skip("no font with East Asian characters is installed") };
    for (reported, expected) in [(japanese, ["Yamada, Tarou", "山田 太郎"]), (korean, ["Hong, Gildong", "洪 吉洞"])]
    {
        let shown = text(&page(&ReportedPhantom { fonts: vec![font.clone()], ..reported })).unwrap();
        holds(&shown, &expected);
        // Some of these fonts have Japanese and Chinese characters and no Korean ones.
        let whole = ["やまだ たろう", "홍 길동"].iter().any(|group| shown.contains(group));
        assert!(whole != shown.contains("cannot show"), "{shown}");
    }
}

/// Writes objects into a folder after dciodvfy, where it is installed, found no error in them.
fn written(folder: &Path, name: &str, bytes: &[u8]) -> std::path::PathBuf {
    let file = folder.join(name);
    std::fs::write(&file, bytes).unwrap();
    if let Some(findings) = or_skip(dciodvfy(&file)) {
        assert_eq!(findings.errors, Vec::<String>::new(), "{name}");
        let ours: Vec<_> = findings.warnings.iter().filter(|line| !line.contains("needed to build DICOMDIR")).collect();
        assert_eq!(ours, Vec::<&String>::new(), "{name}");
    }
    file
}

#[test]
fn the_encapsulated_page_is_valid_for_every_kind_of_report() {
    let folder = tempfile::tempdir().unwrap();
    let mut withdrawn = study(0);
    withdrawn.row.status = ReportStatus::Withdrawn("taken back".to_owned());
    withdrawn.row.run = None;
    withdrawn.volume.frames.clear();
    for (name, reported) in [("five", study(5)), ("none", study(0)), ("withdrawn", withdrawn)] {
        let pdf = page(&reported);
        let frames = &reported.volume.frames;
        let object = encapsulate(&EncapsulatedInput { header: reported.header(), pdf: &pdf, frames }).unwrap();
        written(folder.path(), name, &object.bytes);
        let read = dicom_object::from_reader(object.bytes.as_slice()).unwrap();
        let stored = read.element(tags::ENCAPSULATED_DOCUMENT).unwrap().to_bytes().unwrap().into_owned();
        assert_eq!(&stored[..pdf.len()], pdf);
    }
}

#[test]
fn an_archive_stores_page_and_key_images_and_shows_the_same_pixels() {
    let folder = tempfile::tempdir().unwrap();
    let reported = study(4);
    let report = reported.report().unwrap();
    let header = reported.header();
    let pdf = page(&reported);
    let images = key_images(&KeyImagesInput {
        header,
        report: &report,
        volume: &reported.volume,
        labels: reported.labels.view(),
    })
    .unwrap();
    let document = encapsulate(&EncapsulatedInput {
        header: sulcus_operators::results::dicom::Header {
            sop_instance_uid: "2.25.21",
            series_instance_uid: "2.25.22",
            ..header
        },
        pdf: &pdf,
        frames: &reported.volume.frames,
    })
    .unwrap();
    let files =
        [written(folder.path(), "images.dcm", &images.bytes), written(folder.path(), "page.dcm", &document.bytes)];
    let Some(orthanc) = or_skip(Orthanc::start(folder.path())) else { return };
    if or_skip(dcmtk::storescu(orthanc.dicom_address(), "ORTHANC", &["-R"], &files)).is_none() {
        return;
    }
    let instances = orthanc.instances().unwrap();
    assert_eq!(instances.len(), 2);
    for instance in instances {
        if orthanc.value(&instance, "Modality").unwrap() == "DOC" {
            // Orthanc takes the last byte for padding, which is the line end behind the mark or our own.
            let served = orthanc.get(&format!("/instances/{instance}/pdf")).unwrap();
            assert!(pdf.starts_with(&served) && served.trim_ascii_end().ends_with(b"%%EOF"));
        } else {
            // The stored samples, as the archive decodes them: a portable arbitrary map.
            let ours = sheet(&report, &reported.volume, reported.labels.view(), Some(2)).unwrap();
            let raw = orthanc.get(&format!("/instances/{instance}/frames/0/raw")).unwrap();
            assert!(raw == ours.rgb);
            let preview = orthanc.get(&format!("/instances/{instance}/preview")).unwrap();
            let file = folder.path().join("preview.png");
            std::fs::write(&file, preview).unwrap();
            let rgb = folder.path().join("sheet.rgb");
            std::fs::write(&rgb, &ours.rgb).unwrap();
            let Some(read) = or_skip(sulcus_tests::python::python("compare_png.py", &[file, rgb])) else { return };
            assert_eq!(read["size"], serde_json::json!(ours.size));
            assert_eq!(read["differing"], 0);
        }
    }
}
