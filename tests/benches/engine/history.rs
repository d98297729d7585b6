//! A ledger with so many sealed studies: seeded seals, and a sample of real ones from their first slice on.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use sulcus_engine::cohort::counted;
use sulcus_engine::ledger::event::{
    AppliesTo, Arrival, DestinationRule, Event, PipelineRule, ReportSummary, Rules, SeriesSummary, SourcePolicy,
    SpoolPlace, StudySummary,
};
use sulcus_engine::ledger::store::Ledger;
use sulcus_engine::receiver::ledger_path;
use sulcus_engine::review::Review;
use sulcus_engine::seals::seals;
use sulcus_engine::standing::Tail;
use sulcus_operators::digest::Digest;
use sulcus_operators::rows::{FrameFacts, InstanceFacts, LesionRow, LesionVerdict, PatientKey, Role, RunOutcome};
use sulcus_tests::PeerError;
use sulcus_tests::bench::{Bench, scratch};

use crate::{add_times, failed};

/// Slices of a series.
pub const SLICES: i64 = 192;
/// Studies that are real from their first slice on, half of which are sealed.
const REAL: usize = 400;
/// Corrections of each kind.
const CORRECTIONS: usize = 100;

/// One pipeline, one folder.
pub fn rules() -> Rules {
    Rules {
        pipelines: vec![PipelineRule {
            name: "lesions".into(),
            when: "Modality == \"MR\" && SeriesDescription.contains(\"mprage\") && MagneticFieldStrength > 2.0".into(),
            model: Digest::of(b"model"),
            model_path: "models/demo".into(),
            model_name: ["demo".into(), "1".into()],
            destinations: vec!["folder".into()],
            applies_to: AppliesTo::All,
            inputs: Vec::new(),
            alone: None,
        }],
        sources: vec![SourcePolicy {
            name: "scanner".into(),
            settle_millis: 5_000,
            idle_millis: 60_000,
            counts: false,
        }],
        destinations: vec![DestinationRule {
            name: "folder".into(),
            roles: vec![Role::Segmentation, Role::Report],
            attempts: 3,
        }],
    }
}

fn study_uid(study: usize) -> String {
    format!("1.3.12.2.1107.5.2.43.66012.30000020061606534917500{study:09}")
}

fn series_uid(study: usize) -> String {
    format!("{}.2", study_uid(study))
}

/// As many keywords as a scanner's header gives, of common lengths.
fn keywords(study: usize) -> BTreeMap<String, String> {
    let named = [
        ("SOPClassUID", "1.2.840.10008.5.1.4.1.1.4"),
        ("Modality", "MR"),
        ("SeriesDescription", "t1_mprage_sag_p2_iso"),
        ("ImageType", "ORIGINAL\\PRIMARY\\M\\NORM\\DIS2D"),
        ("MagneticFieldStrength", "3"),
        ("Manufacturer", "SIEMENS"),
        ("ManufacturerModelName", "Prisma_fit"),
        ("ScanningSequence", "GR\\IR"),
        ("SequenceVariant", "SK\\SP\\MP"),
        ("ScanOptions", "IR\\PFP\\WE"),
        ("SequenceName", "*tfl3d1_16ns"),
        ("RepetitionTime", "2300"),
        ("EchoTime", "2.98"),
        ("InversionTime", "900"),
        ("FlipAngle", "9"),
        ("SliceThickness", "1"),
        ("Rows", "256"),
        ("Columns", "240"),
        ("PixelBandwidth", "240"),
        ("ProtocolName", "t1_mprage_sag_p2_iso"),
        ("BodyPartExamined", "HEAD"),
        ("StationName", "AWP66012"),
        ("DeviceSerialNumber", "66012"),
        ("SoftwareVersions", "syngo MR E11"),
    ];
    let mut keywords: BTreeMap<String, String> =
        named.into_iter().map(|(keyword, value)| (keyword.to_owned(), value.to_owned())).collect();
    keywords.insert("SeriesNumber".to_owned(), (study % 20).to_string());
    keywords
}

fn patient(study: usize) -> PatientKey {
    PatientKey { issuer: "hospital".to_owned(), id: format!("MS{:06}", study / 4) }
}

/// One slice arrives. The first 192 are promised by the header.
pub fn slice(study: usize, number: i64) -> Event {
    let unique = Digest::of(format!("{study} {number}").as_bytes());
    let facts = InstanceFacts {
        sop_class_uid: "1.2.840.10008.5.1.4.1.1.4".into(),
        sop_instance_uid: format!("{}.{number}", series_uid(study)),
        study_uid: study_uid(study),
        series_uid: series_uid(study),
        transfer_syntax: "1.2.840.10008.1.2.1".into(),
        data_set_digest: unique,
        content_digest: unique,
        demographics_digest: Digest::of(&study.to_le_bytes()),
        patient: patient(study),
        instance_number: Some(number),
        frame_of_reference_uid: format!("{}.1", study_uid(study)),
        matrix: [240, 256],
        enhanced: false,
        mosaic: false,
        expected_instances: Some(SLICES.max(number) as u32),
        counted_by: "ImagesInAcquisition".into(),
        concatenation: None,
        frames: vec![FrameFacts {
            stack: "ORIGINAL\\PRIMARY\\M\\NORM\\DIS2D".into(),
            position_um: Some([0, 0, number * 1000]),
            orientation: Some([1_000_000, 0, 0, 0, 1_000_000, 0]),
            spacing_um: Some([1000, 1000]),
        }],
        acquisition: format!("20200616 {study}"),
        keywords: keywords(study).into(),
    };
    let place = SpoolPlace { segment: 0, offset: 0, length: 0 };
    Event::InstanceReceived { source: "scanner".into(), place, facts: facts.into(), arrival: Arrival::New }
}

fn seeded(study: usize) -> Event {
    let series = SeriesSummary {
        series_uid: series_uid(study),
        instances: SLICES as u32,
        first_member: 1,
        received: 0,
        keywords: keywords(study).into(),
        taken: vec![("lesions".to_owned(), Digest::of(b"model"))],
    };
    let report = ReportSummary {
        pipeline: "lesions".to_owned(),
        series_uid: Some(series_uid(study)),
        model: Some(Digest::of(b"model")),
        lesions: (study % 7) as u32,
        volume_nl: (study % 7) as u64 * 31_000,
        routes: vec![(Role::Segmentation, "folder".to_owned()), (Role::Report, "folder".to_owned())],
        named: true,
    };
    let summary = StudySummary {
        study_uid: study_uid(study),
        patient: patient(study),
        series: vec![series],
        reports: vec![report],
    };
    Event::StudySealed { study_uid: study_uid(study), as_of: 0, summary }
}

/// Tracking UID of a study's lesion.
fn tracking_uid(study_uid: &str, label: u32) -> String {
    Digest::of_parts("lesion", [study_uid.as_bytes(), &label.to_le_bytes()]).uid()
}

/// A reader rejects the first lesion of a study.
fn verdict(study: usize) -> Event {
    Event::VerdictGiven {
        study_uid: study_uid(study),
        tracking_uid: tracking_uid(&study_uid(study), 1),
        verdict: LesionVerdict::Rejected,
        reader: "A. Reader".into(),
        comment: "a vessel".into(),
    }
}

fn outcome(run_key: Digest, study_uid: &str) -> RunOutcome {
    let lesion = |label: u32| LesionRow {
        label,
        tracking_uid: tracking_uid(study_uid, label),
        voxels: 31,
        volume_nl: 31_000,
        centroid_um: [1000, 2000, 3000],
        box_first: [10, 10, 10],
        box_size: [4, 4, 3],
        mean_intensity_milli: 120_000,
        probability_permille: 800,
        peak_probability_permille: 990,
    };
    RunOutcome {
        run_key,
        mask: run_key,
        probability: None,
        size: [240, 256, 192],
        spacing_um: [1000, 1000, 1000],
        affine_nm: None,
        frame_of_reference_uid: String::new(),
        intensity_scale: "stored".into(),
        notes: Vec::new(),
        lesions: (1..=5).map(lesion).collect(),
        alignments: Vec::new(),
        of_visits: false,
        domain: None,
    }
}

/// Does what is to do, as the lanes would record it.
fn work(ledger: &mut Ledger, tail: &mut Tail) -> Result<(), PeerError> {
    loop {
        tail.follow().map_err(failed)?;
        let standing = tail.standing();
        let mut events = Vec::new();
        for run in standing.runs.iter() {
            let run_key = run.order.run_key;
            let outcome = outcome(run_key, &run.order.study_uid);
            events.extend([Event::RunStarted { run_key, attempt: 1 }, Event::RunFinished(outcome)]);
        }
        for row in standing.revisions.iter() {
            events.push(row.event(0, counted(&row.row, standing)));
        }
        for row in standing.objects.iter() {
            let object = Digest::of_row("object", &(&row.key, &row.role));
            let (key, role, uid, bytes) = (row.key.clone(), row.role, object.uid(), object);
            events.push(Event::ObjectEncoded { object, key, role, uid, bytes, length: 1 });
        }
        for row in standing.deliveries.iter() {
            let (object, destination) = (row.row.object, row.row.destination.clone());
            events.push(Event::DeliverySettled { object, destination, receipt: "kept".into() });
        }
        if events.is_empty() {
            return Ok(());
        }
        ledger.append(&events, 0).map_err(failed)?;
    }
}

/// Opens the work of a ledger and prints the seconds that it took and the bytes that it added.
pub fn start(data: &Path) -> Result<(), PeerError> {
    let (before, begun) = (held()?, Instant::now());
    let tail = Tail::open(data).map_err(failed)?;
    let seconds = begun.elapsed().as_secs_f64();
    println!("{seconds} {}", held()? - before);
    drop(tail);
    Ok(())
}

/// Bytes that this process holds.
fn held() -> Result<f64, PeerError> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let resident = pages.split_whitespace().nth(1).and_then(|pages| pages.parse::<f64>().ok());
    resident.map(|pages| pages * 4096.0).ok_or_else(|| failed("/proc/self/statm does not read"))
}

fn fill(ledger: &mut Ledger, studies: usize) -> Result<(), PeerError> {
    ledger.append(&[Event::RulesChanged(rules()), Event::SealsReviewed { rules: 1 }], 0).map_err(failed)?;
    let all: Vec<usize> = (REAL..studies).collect();
    for studies in all.chunks(2000) {
        let seals: Vec<Event> = studies.iter().map(|study| seeded(*study)).collect();
        ledger.append(&seals, 0).map_err(failed)?;
    }
    for studies in (0..REAL).collect::<Vec<_>>().chunks(20) {
        let slices: Vec<Event> =
            studies.iter().flat_map(|study| (1..=SLICES).map(|number| slice(*study, number))).collect();
        ledger.append(&slices, 0).map_err(failed)?;
    }
    Ok(())
}

/// Measures in a history of `studies`.
pub fn measure(bench: &mut Bench, studies: usize) -> Result<(), PeerError> {
    let folder = scratch()?;
    let data: &Path = folder.path();
    let mut ledger = Ledger::create_or_open(&ledger_path(data)).map_err(failed)?;
    fill(&mut ledger, studies)?;
    {
        // The sample runs through, and half of it is sealed.
        let mut tail = Tail::open(data).map_err(failed)?;
        work(&mut ledger, &mut tail)?;
        let half = seals(tail.work(), tail.standing(), i64::MAX, REAL / 2);
        ledger.append(&half, 0).map_err(failed)?;
    }
    let child = Command::new(std::env::current_exe()?).arg("start").arg(data).output()?;
    let said = String::from_utf8_lossy(&child.stdout);
    let mut figures = said.split_whitespace().map_while(|figure| figure.parse::<f64>().ok());
    let (Some(seconds), Some(bytes)) = (figures.next(), figures.next()) else {
        return Err(failed(format!("a start gave no figures: {said}")));
    };
    bench.add(&format!("{studies} start"), "s", seconds);
    bench.add(&format!("{studies} held after a start"), "MiB", bytes / f64::from(1 << 20));
    let mut tail = Tail::open(data).map_err(failed)?;
    println!("{} of {studies} studies are open", tail.work().studies().len());

    let sealed: Vec<usize> =
        (0..REAL).filter(|study| !tail.work().studies().contains_key(&study_uid(*study))).collect();
    let opened: Vec<usize> = (0..REAL).filter(|study| tail.work().studies().contains_key(&study_uid(*study))).collect();
    for (name, of) in [("open", opened), ("sealed", sealed)] {
        // Each study is corrected once.
        let (late, judged) = of.split_at(CORRECTIONS.min(of.len()));
        let late = late.iter().map(|study| slice(*study, SLICES + 1));
        correct(bench, &mut ledger, &mut tail, &format!("{studies} late slice, {name}"), late)?;
        let verdicts = judged.iter().take(CORRECTIONS).map(|study| verdict(*study));
        correct(bench, &mut ledger, &mut tail, &format!("{studies} verdict, {name}"), verdicts)?;
    }
    review(bench, &mut ledger, &mut tail, studies)
}

/// What corrections cost, each in an epoch of its own.
fn correct(
    bench: &mut Bench,
    ledger: &mut Ledger,
    tail: &mut Tail,
    name: &str,
    corrections: impl Iterator<Item = Event>,
) -> Result<(), PeerError> {
    let (mut graph, mut whole) = (Vec::new(), Vec::new());
    for correction in corrections {
        let start = Instant::now();
        ledger.append(&[correction], 0).map_err(failed)?;
        let committed = Instant::now();
        tail.follow().map_err(failed)?;
        graph.push(committed.elapsed());
        whole.push(start.elapsed());
    }
    let revisions = tail.standing().revisions.len();
    println!("{name}: {} corrections; {revisions} revisions are to be issued", graph.len());
    add_times(bench, &format!("{name}, graph"), graph);
    add_times(bench, &format!("{name}, with commit"), whole);
    Ok(())
}

/// What a changed rule costs that all sealed studies must be asked about, and that concerns none.
fn review(bench: &mut Bench, ledger: &mut Ledger, tail: &mut Tail, studies: usize) -> Result<(), PeerError> {
    let mut changed = rules();
    changed.pipelines[0].when += " && true";
    ledger.append(&[Event::RulesChanged(changed)], 0).map_err(failed)?;
    tail.follow().map_err(failed)?;
    let start = Instant::now();
    let mut review = Review::default();
    let mut reopened = 0;
    loop {
        let events = review.next(tail.standing(), 0, tail.reader()).map_err(failed)?;
        reopened += events.iter().filter(|event| matches!(event, Event::StudyReopened { .. })).count();
        if events.iter().any(|event| matches!(event, Event::SealsReviewed { .. })) {
            break;
        }
    }
    let each = start.elapsed().as_secs_f64() * 1e6 / studies as f64;
    bench.add(&format!("{studies} a changed rule, each sealed study"), "us", each);
    println!("{reopened} studies reopened");
    Ok(())
}
