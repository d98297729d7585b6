//! A site in small: it writes a log, feeds the graph, and does what the graph asks for. After every epoch what the
//! graph holds must equal what the oracle makes of the log.

use std::collections::{BTreeMap, BTreeSet};

use crate::open::{Open, all};
use sulcus_config::AppliesTo;
use sulcus_engine::{
    graph::{Changes, Graph, Output, RunToDo, oracle},
    ledger::event::{
        Arrival, Because, DestinationRule, Entry, Event, PipelineRule, Rules, Scope, SourcePolicy, SpoolPlace, Timer,
        TimerKind,
    },
};
use sulcus_operators::{
    digest::Digest,
    rows::{Fault, FrameFacts, InstanceFacts, PatientKey, ReportRow, ReportStatus, Role, Seq, Verdict},
};

/// What is special about a slice.
#[derive(Clone, Debug)]
pub struct Slice {
    pub study: u8,
    pub series: u8,
    pub number: i64,
    /// Other bytes under the same UID.
    pub version: u8,
    pub patient: u8,
    pub expected: Option<u32>,
    pub enhanced: bool,
    pub modality: &'static str,
    pub image_type: &'static str,
    /// SpacingBetweenSlices, mm; slices lie as far apart as their numbers.
    pub spacing: &'static str,
    /// StudyDate; where it is empty, the day of its receipt counts.
    pub day: &'static str,
    pub acquisition: String,
    /// Which frame of reference of the study.
    pub frame: u8,
}

impl Slice {
    pub fn new(study: u8, series: u8, number: i64) -> Self {
        Slice {
            study,
            series,
            number,
            version: 0,
            patient: 0,
            expected: None,
            enhanced: false,
            modality: "MR",
            image_type: "ORIGINAL\\PRIMARY\\M\\ND",
            spacing: "",
            day: "",
            acquisition: format!("20200101 12000{series}"),
            frame: 0,
        }
    }

    pub fn facts(&self) -> InstanceFacts {
        let Slice { study, series, number, .. } = self;
        let frame = |position: i64| FrameFacts {
            stack: self.image_type.to_owned(),
            position_um: Some([0, 0, position * 1000]),
            orientation: Some([1_000_000, 0, 0, 0, 1_000_000, 0]),
            spacing_um: Some([1000, 1000]),
        };
        let sop_class = if self.modality == "MR" { "1.2.840.10008.5.1.4.1.1.4" } else { "1.2.840.10008.5.1.4.1.1.7" };
        let series_number = series.to_string();
        let keywords = [
            ("SOPClassUID", sop_class),
            ("SeriesNumber", &series_number),
            ("Modality", self.modality),
            ("SeriesDescription", "t1_mprage"),
            ("ImageType", self.image_type),
            ("MagneticFieldStrength", "3"),
            ("SpacingBetweenSlices", self.spacing),
            ("StudyDate", self.day),
        ];
        InstanceFacts {
            sop_class_uid: sop_class.into(),
            sop_instance_uid: format!("{}.{number}", series_uid(*study, *series)),
            study_uid: study_uid(*study),
            series_uid: series_uid(*study, *series),
            transfer_syntax: "1.2.840.10008.1.2.1".into(),
            data_set_digest: Digest::of(format!("{study} {series} {number} {}", self.version).as_bytes()),
            content_digest: Digest::of(format!("pixels {study} {series} {number} {}", self.version).as_bytes()),
            demographics_digest: Digest::of(&[self.patient]),
            patient: patient(self.patient),
            instance_number: Some(*number),
            frame_of_reference_uid: format!("1.9.{study}.{}", self.frame),
            matrix: [256, 256],
            enhanced: self.enhanced,
            mosaic: false,
            expected_instances: self.expected,
            counted_by: "ImagesInAcquisition".into(),
            concatenation: None,
            frames: if self.enhanced { (1..=4).map(frame).collect() } else { vec![frame(*number)] },
            acquisition: self.acquisition.clone(),
            keywords: keywords.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect(),
        }
    }
}

pub fn patient(id: u8) -> PatientKey {
    PatientKey { issuer: "hospital".into(), id: id.to_string() }
}

pub fn study_uid(study: u8) -> String {
    format!("1.2.{study}")
}

pub fn series_uid(study: u8, series: u8) -> String {
    format!("1.2.{study}.{series}")
}

/// One pipeline over all MPRAGE, one folder that takes everything, one DICOM node that takes segmentations.
pub fn rules() -> Rules {
    let policy = |name: &str, settle_millis| SourcePolicy {
        name: name.into(),
        settle_millis,
        idle_millis: 60_000,
        counts: false,
    };
    Rules {
        pipelines: vec![PipelineRule {
            name: "lesions".into(),
            when: "Modality == \"MR\" && SeriesDescription.contains(\"mprage\") && MagneticFieldStrength > 2.0".into(),
            model: Digest::of(b"model"),
            model_path: "models/demo".into(),
            model_name: ["demo".into(), "1".into()],
            destinations: vec!["folder".into(), "pacs".into()],
            applies_to: AppliesTo::All,
            inputs: Vec::new(),
            alone: None,
        }],
        sources: vec![policy("scanner", 5_000)],
        destinations: vec![
            DestinationRule { name: "folder".into(), roles: vec![Role::Segmentation, Role::Report], attempts: 8 },
            DestinationRule { name: "pacs".into(), roles: vec![Role::Segmentation], attempts: 8 },
        ],
    }
}

/// How an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Done,
    Failed,
    Permanent,
    Died,
    /// Nobody wanted it any more, and it was stopped; of what is no run, that it died.
    Cancelled,
}

pub struct Site {
    pub log: Vec<Entry>,
    pub now: BTreeMap<Output, isize>,
    graph: Graph,
    /// The same log with what is at rest left out.
    pub open: Open,
    /// Whether its runs are compared with the other studies' visits.
    pub compares: bool,
    epoch: u64,
    /// What stands: its event, its bytes, its series and its study.
    pub standing: BTreeMap<String, (Seq, Digest, String, String)>,
}

impl Site {
    pub fn new() -> Self {
        let (log, now, standing, open) = Default::default();
        Site { log, now, graph: Graph::new(), open, compares: false, epoch: 1, standing }
    }

    pub fn with_rules() -> Self {
        let mut site = Site::new();
        site.event(Event::RulesChanged(rules()));
        site
    }

    /// Whose runs are compared with the other studies' visits.
    pub fn that_compares() -> Self {
        Site { compares: true, ..Site::with_rules() }
    }

    pub fn seq(&self) -> Seq {
        self.log.len() as Seq
    }

    pub fn event(&mut self, event: Event) {
        let seq = self.seq() + 1;
        let entry = Entry { seq, epoch: self.epoch, at: seq as i64 * 10, host: None, event };
        self.graph.apply(&entry);
        self.log.push(entry);
    }

    /// Closes the epoch, and compares with the oracle.
    pub fn close(&mut self) -> Changes {
        let changes = self.graph.close_epoch();
        self.epoch = self.seq() + 1;
        for (output, diff) in all(&changes) {
            *self.now.entry(output).or_default() += diff;
        }
        self.now.retain(|_, count| *count != 0);
        assert!(self.now.values().all(|count| *count == 1), "a row is there twice, or owed: {:?}", self.now);
        let (holds, wants) = (self.now.keys().collect::<BTreeSet<_>>(), oracle::outputs(&self.log));
        let wants = wants.iter().collect::<BTreeSet<_>>();
        let (missing, extra): (Vec<_>, Vec<_>) =
            (wants.difference(&holds).collect(), holds.difference(&wants).collect());
        assert!(missing.is_empty() && extra.is_empty(), "the graph lacks {missing:#?} and has {extra:#?}");
        self.open.follow(&self.log, &self.now);
        self.is_counted();
        changes
    }

    pub fn slice(&mut self, slice: &Slice) {
        let facts = slice.facts();
        let arrival = match self.standing.get(&facts.sop_instance_uid) {
            Some((first, digest, ..)) if *digest == facts.data_set_digest => Arrival::Repeated { first: *first },
            Some((first, ..)) => Arrival::Conflict { first: *first },
            None => {
                let seq = self.seq() + 1;
                let kept = (seq, facts.data_set_digest, facts.series_uid.clone(), facts.study_uid.clone());
                self.standing.insert(facts.sop_instance_uid.clone(), kept);
                Arrival::New
            }
        };
        let place = SpoolPlace { segment: 0, offset: 0, length: 0 };
        self.event(Event::InstanceReceived { source: "scanner".into(), place, facts: facts.into(), arrival });
    }

    pub fn slices(&mut self, study: u8, series: u8, numbers: std::ops::RangeInclusive<i64>, expected: Option<u32>) {
        for number in numbers {
            self.slice(&Slice { expected, ..Slice::new(study, series, number) });
        }
    }

    pub fn withdraw(&mut self, scope: Scope) {
        self.withdraw_because(scope, None);
    }

    pub fn withdraw_because(&mut self, scope: Scope, because: Option<Because>) {
        self.standing.retain(|uid, (_, _, series, study)| match &scope {
            Scope::Instance(named) => uid != named,
            Scope::Series(named) => series != named,
            Scope::Study(named) => study != named,
        });
        self.event(Event::InstanceWithdrawn { scope, reason: "wrong".into(), because });
    }

    pub fn release(&mut self, series_uids: Vec<String>, orderly: bool) {
        self.event(Event::AssociationReleased { source: "scanner".into(), series_uids, orderly });
    }

    pub fn quarantine(&mut self, uid: &str) {
        let place = SpoolPlace { segment: 0, offset: 0, length: 0 };
        let (source, sop_instance_uid, reason) = ("scanner".into(), uid.to_owned(), "truncated".to_owned());
        self.event(Event::InstanceQuarantined { source, place, sop_instance_uid, reason });
    }

    /// Fires the wanted timer of a kind on a series.
    pub fn fire(&mut self, series_uid: &str, kind: TimerKind) {
        let timer = self.timers().into_iter().find(|timer| timer.series_uid == series_uid && timer.kind == kind);
        let timer = timer.unwrap_or_else(|| panic!("no {kind:?} timer is wanted on {series_uid}"));
        self.event(Event::TimerFired(timer));
    }

    /// Attempts one run.
    pub fn run(&mut self, run: &RunToDo, end: End) {
        let (run_key, attempt) = (run.order.run_key, run.attempt);
        self.event(Event::RunStarted { run_key, attempt });
        match end {
            End::Done => {
                let outcome = self.outcome_of(run);
                self.event(Event::RunFinished(outcome));
            }
            End::Died => {}
            End::Cancelled => self.event(Event::RunCancelled { run_key, attempt }),
            End::Failed | End::Permanent => {
                let (reason, hint) = (format!("attempt {attempt} failed"), "look".into());
                self.event(Event::RunFailed { run_key, attempt, permanent: end == End::Permanent, reason, hint });
            }
        }
    }

    /// Receives a whole series, runs it, and issues the revision.
    pub fn issued_once(&mut self) {
        self.slices(0, 0, 1..=5, Some(5));
        self.close();
        let run = self.runs().remove(0);
        self.run(&run, End::Done);
        self.close();
        self.issue();
    }

    /// Attempts one encoding.
    pub fn encode(&mut self, object: &sulcus_engine::graph::ObjectToEncode, end: End) {
        let (key, role, attempt) = (object.key.clone(), object.role, object.attempt);
        let digest = Digest::of_row("object", &(&key, role));
        self.event(match end {
            End::Done | End::Died | End::Cancelled => {
                Event::ObjectEncoded { object: digest, key, role, uid: digest.uid(), bytes: digest, length: 1 }
            }
            End::Failed | End::Permanent => {
                let (permanent, reason, hint) = (end == End::Permanent, "no".into(), "look".into());
                Event::EncodeFailed { key, role, attempt, permanent, reason, hint }
            }
        });
    }

    /// Attempts one delivery.
    pub fn deliver(&mut self, delivery: &sulcus_engine::graph::DeliveryToDo, end: End) {
        let (object, destination, attempt) = (delivery.row.object, delivery.row.destination.clone(), delivery.attempt);
        self.event(Event::DeliveryStarted { object, destination: destination.clone(), attempt });
        match end {
            End::Done => self.event(Event::DeliverySettled { object, destination, receipt: "0000".into() }),
            End::Died | End::Cancelled => {}
            End::Failed | End::Permanent => {
                let (reason, retry_at) = (format!("refused {attempt}"), self.seq() as i64 * 10 + 1000);
                self.event(Event::DeliveryFailed { object, destination, attempt, reason, retry_at });
            }
        }
    }

    /// Gives all revisions to issue their number.
    pub fn issue(&mut self) {
        for revision in self.revisions() {
            let at = self.seq() as i64 * 10;
            let counted = self.open.counted(&revision.row);
            self.event(revision.event(at, counted));
        }
    }

    /// Does everything that is to do, until nothing is.
    pub fn work(&mut self) {
        self.close();
        for _ in 0..20 {
            let before = self.seq();
            self.runs().iter().for_each(|run| self.run(run, End::Done));
            self.issue();
            self.objects().iter().for_each(|object| self.encode(object, End::Done));
            self.deliveries().iter().for_each(|delivery| self.deliver(delivery, End::Done));
            if self.seq() == before {
                return;
            }
            self.close();
        }
        panic!("work does not end");
    }

    pub fn verdict(&self, series_uid: &str) -> Option<Verdict> {
        self.now.keys().find_map(|output| match output {
            Output::Completeness(row) if row.series_uid == series_uid => Some(row.verdict),
            _ => None,
        })
    }

    pub fn faults_of(&self, stage: &str) -> Vec<Fault> {
        self.faults().into_iter().filter(|fault| fault.stage == stage).collect()
    }

    /// Revisions issued so far on a study: number and content.
    pub fn issued(&self) -> Vec<(u32, Digest)> {
        let issued = self.log.iter().filter_map(|entry| match &entry.event {
            Event::RevisionIssued { key, content, .. } => Some((key.revision, *content)),
            _ => None,
        });
        issued.collect()
    }
}

macro_rules! rows {
    ($($name:ident: $variant:ident -> $row:ty;)*) => {
        impl Site {
            $(pub fn $name(&self) -> Vec<$row> {
                let row = |output: &Output| match output { Output::$variant(row) => Some(row.clone()), _ => None };
                self.now.keys().filter_map(row).collect()
            })*
        }
    };
}

rows! {
    runs: Run -> RunToDo;
    revisions: Revision -> sulcus_engine::graph::RevisionToIssue;
    objects: Object -> sulcus_engine::graph::ObjectToEncode;
    deliveries: Delivery -> sulcus_engine::graph::DeliveryToDo;
    timers: Timer -> Timer;
    reports: Report -> ReportRow;
    lesions: Lesion -> sulcus_engine::graph::Lesion;
    awaited: Awaited -> sulcus_engine::graph::InputsAwaited;
    faults: Fault -> Fault;
}

/// True where a report says that it was taken back.
pub fn is_withdrawn(row: &ReportRow) -> bool {
    matches!(row.status, ReportStatus::Withdrawn(_))
}
