//! What the graph says stands, as those who act or look hold it, and the tail that keeps it at the ledger's end.

use std::{path::Path, sync::Arc};

use sulcus_operators::rows::{Completeness, Fault, Millis, ReportRow, Seq, SeriesState};

use crate::{
    failure::Hinted,
    graph::{
        Changes, DeliveryToDo, InputsAwaited, Lesion, ObjectToEncode, RevisionToIssue, RunToDo, versions::Rulings,
    },
    lanes::models::Models,
    ledger::{
        LedgerError,
        event::{Entry, Event, Rules, Timer},
        read::Reader,
    },
    open_work::OpenWork,
    receiver::ledger_path,
    wanted::Rows,
};

/// Entries that one epoch may hold together.
const CHUNK: usize = 4096;

/// All rows that the graph keeps for those who act or look.
#[derive(Default)]
pub struct Standing {
    /// Runs to do.
    pub runs: Rows<RunToDo>,
    /// Runs whose last attempt has not ended: no longer to do, and still wanted.
    pub unended: Rows<RunToDo>,
    /// Revisions to issue.
    pub revisions: Rows<RevisionToIssue>,
    /// Objects to encode.
    pub objects: Rows<ObjectToEncode>,
    /// Deliveries to do.
    pub deliveries: Rows<DeliveryToDo>,
    /// Timers to wait for.
    pub timers: Rows<Timer>,
    /// The series.
    pub series: Rows<Arc<SeriesState>>,
    /// Their verdicts.
    pub completeness: Rows<Completeness>,
    /// The reports wanted.
    pub reports: Rows<ReportRow>,
    /// The lesions reported.
    pub lesions: Rows<Lesion>,
    /// Further series that reports wait for.
    pub awaited: Rows<InputsAwaited>,
    /// What failed and is not cured.
    pub faults: Rows<Fault>,
    /// The rules in force, as last recorded.
    pub rules: Option<Rules>,
    /// The event that recorded them.
    pub rules_at: Seq,
    /// When that was.
    pub rules_since: Millis,
    /// Their versions that are in force.
    pub rulings: Rulings,
    /// The models that recorded rules have named.
    pub models: Models,
    /// The rules that all sealed studies agree with.
    pub reviewed: Seq,
}

impl Standing {
    /// Takes in what one epoch changed.
    pub fn update(&mut self, changes: Changes) {
        self.runs.update(changes.runs);
        self.unended.update(changes.unended);
        self.revisions.update(changes.revisions);
        self.objects.update(changes.objects);
        self.deliveries.update(changes.deliveries);
        self.timers.update(changes.timers);
        self.series.update(changes.series);
        self.completeness.update(changes.completeness);
        self.reports.update(changes.reports);
        self.lesions.update(changes.lesions);
        self.awaited.update(changes.awaited);
        self.faults.update(changes.faults);
    }

    /// True where nothing is to do and nothing is waited for.
    pub fn at_rest(&self) -> bool {
        self.runs.is_empty()
            && self.revisions.is_empty()
            && self.objects.is_empty()
            && self.deliveries.is_empty()
            && self.timers.is_empty()
    }

    /// Takes in what an event says of the site.
    pub fn note(&mut self, entry: &Entry) {
        match &entry.event {
            Event::RulesChanged(rules) => {
                self.rulings.read(entry.seq, rules);
                self.models.read(rules);
                self.rules = Some(rules.clone());
                (self.rules_at, self.rules_since) = (entry.seq, entry.at);
            }
            Event::SealsReviewed { rules } => self.reviewed = self.reviewed.max(*rules),
            _ => {}
        }
    }
}

/// The graph over a ledger's open work, kept at the ledger's end.
pub struct Tail {
    reader: Reader,
    work: OpenWork,
    standing: Standing,
}

impl Tail {
    /// Reads the open work of the ledger in a site's data folder.
    ///
    /// # Errors
    /// Where the ledger cannot be opened or read.
    pub fn open(data: &Path) -> Result<Self, Hinted> {
        let reader = open_reader(data)?;
        let (mut work, mut standing) = (OpenWork::default(), Standing::default());
        let at = reader.open_work().map_err(unreadable)?;
        at.site.iter().for_each(|entry| standing.note(entry));
        work.start(at, &reader, &mut |changes| standing.update(changes)).map_err(unreadable)?;
        Ok(Tail { reader, work, standing })
    }

    /// Takes in what the ledger holds beyond the last call.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub fn follow(&mut self) -> Result<(), Hinted> {
        loop {
            let entries = self.reader.entries_after(self.work.upto(), CHUNK).map_err(unreadable)?;
            if entries.is_empty() {
                return Ok(());
            }
            for entry in &entries {
                self.work.apply(entry, &self.reader).map_err(unreadable)?;
                self.standing.note(entry);
            }
            self.work.close_epoch(&self.reader, &mut |changes| self.standing.update(changes)).map_err(unreadable)?;
        }
    }

    /// The last event that was taken in.
    pub fn cursor(&self) -> Seq {
        self.work.upto()
    }

    /// What stands.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The open work.
    pub fn work(&self) -> &OpenWork {
        &self.work
    }

    /// The ledger.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }
}

/// Opens a site's ledger for reading.
pub fn open_reader(data: &Path) -> Result<Reader, Hinted> {
    let path = ledger_path(data);
    Reader::open(&path).map_err(|error| {
        Hinted::work(
            format!("the ledger {} cannot be opened: {error}", path.display()),
            "check `site.data` in the configuration, or start `sulcus serve` once to create it",
        )
    })
}

/// A ledger that cannot be read.
pub fn unreadable(error: LedgerError) -> Hinted {
    Hinted::work(format!("the ledger cannot be read: {error}"), "run `sulcus ledger verify`")
}
