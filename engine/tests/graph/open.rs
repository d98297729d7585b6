//! The open work beside the whole graph: it must hold what the graph holds, but for the studies that are sealed, of
//! which nothing may be to do, waited for or at fault. At any time it may be thrown away and read from the log anew.

use std::collections::{BTreeMap, BTreeSet};

use sulcus_engine::{
    cohort::counted,
    graph::{Changes, Output, matches::Taking},
    ledger::{
        LedgerError,
        event::{Counted, Entry, Event, Rules, Scope, StudySummary},
        history::{History, OpenAt},
        merges::Merges,
        patients::MOST_STUDIES,
        studies::{Owners, touches},
    },
    open_work::OpenWork,
    queue::{Queue, Urgencies},
    seals::{concerned, seals},
    standing::Standing,
};
use sulcus_operators::{
    digest::Digest,
    rows::{PatientKey, ReportRow, Seq, Verdict},
};

/// The open work of a log, and what it tells.
#[derive(Default)]
pub struct Open {
    work: OpenWork,
    standing: Standing,
    now: BTreeMap<Output, isize>,
    followed: usize,
}

/// A log as the ledger would give it.
pub struct Log<'a>(pub &'a [Entry]);

impl Log<'_> {
    fn of_series(&self, series_uid: &str) -> BTreeSet<String> {
        let study = |entry: &Entry| match &entry.event {
            Event::InstanceReceived { facts, .. } if facts.series_uid == series_uid => Some(facts.study_uid.clone()),
            _ => None,
        };
        self.0.iter().filter_map(study).collect()
    }

    fn of(&self, event: &Event) -> BTreeSet<String> {
        let of_object = |wanted: &Digest| {
            let study = |entry: &Entry| match &entry.event {
                Event::ObjectEncoded { object, key, .. } if object == wanted => Some(key.study_uid.clone()),
                _ => None,
            };
            self.0.iter().filter_map(study).collect()
        };
        match event {
            Event::InstanceReceived { facts, .. } => self.of_series(&facts.series_uid),
            Event::InstanceWithdrawn { scope: Scope::Study(uid), .. } => BTreeSet::from([uid.clone()]),
            Event::InstanceWithdrawn { scope: Scope::Series(uid), .. } => self.of_series(uid),
            Event::InstanceWithdrawn { scope: Scope::Instance(uid), .. } => {
                let study = |entry: &Entry| match &entry.event {
                    Event::InstanceReceived { facts, .. } if facts.sop_instance_uid == *uid => {
                        Some(facts.study_uid.clone())
                    }
                    _ => None,
                };
                self.0.iter().filter_map(study).collect()
            }
            Event::AssociationReleased { series_uids, .. } => {
                series_uids.iter().flat_map(|uid| self.of_series(uid)).collect()
            }
            Event::TimerFired(timer) => self.of_series(&timer.series_uid),
            Event::PatientsMerged { from, into, .. } => {
                let mut merges = Merges::default();
                self.0.iter().for_each(|entry| {
                    if let Event::PatientsMerged { from, into, .. } = &entry.event {
                        merges.read(entry.seq, from, into.as_ref());
                    }
                });
                let before = merges.undone().iter().filter(|undone| undone.from == *from).map(|undone| &undone.into);
                let ids = before.chain([from]).chain(into).flat_map(|patient| merges.ids(patient));
                ids.flat_map(|id| self.visits_of(&id).unwrap()).collect()
            }
            Event::RevisionIssued { key, .. } | Event::ObjectEncoded { key, .. } | Event::EncodeFailed { key, .. } => {
                BTreeSet::from([key.study_uid.clone()])
            }
            Event::DeliveryStarted { object, .. }
            | Event::DeliveryFailed { object, .. }
            | Event::DeliverySettled { object, .. }
            | Event::ResendAsked { object, .. } => of_object(object),
            Event::StudySealed { study_uid, .. }
            | Event::StudyReopened { study_uid }
            | Event::VerdictGiven { study_uid, .. }
            | Event::InstancesListed { study_uid, .. }
            | Event::SeriesCounted { study_uid, .. }
            | Event::SeriesDirected { study_uid, .. } => BTreeSet::from([study_uid.clone()]),
            Event::StepReported { study_uid, .. } => {
                let came = |entry: &Entry| matches!(&entry.event, Event::InstanceReceived { facts, .. } if facts.study_uid == *study_uid);
                self.0.iter().any(came).then(|| study_uid.clone()).into_iter().collect()
            }
            _ => BTreeSet::new(),
        }
    }

    /// The studies that an event of the log belonged to when it was recorded: a withdrawal is of none that came later.
    fn of_entry(&self, entry: &Entry) -> BTreeSet<String> {
        match &entry.event {
            Event::InstanceWithdrawn { .. } | Event::PatientsMerged { .. } => {
                Log(&self.0[..entry.seq as usize]).of(&entry.event)
            }
            event => self.of(event),
        }
    }

    /// What a start would read.
    fn open_at(&self) -> OpenAt {
        let mut open: BTreeMap<String, (Seq, bool)> = BTreeMap::new();
        for entry in self.0 {
            for study in self.of_entry(entry) {
                match &entry.event {
                    Event::StudySealed { as_of, .. } => {
                        if let Some((touched, sealed)) = open.get_mut(&study) {
                            *sealed |= *touched <= *as_of;
                        }
                    }
                    event if touches(event) => {
                        open.insert(study, (entry.seq, false));
                    }
                    _ => {}
                }
            }
        }
        let site = self.0.iter().filter(|entry| self.owners(&entry.event).unwrap().site);
        OpenAt {
            upto: self.0.len() as Seq,
            site: site.cloned().collect(),
            studies: open.into_iter().filter(|(_, (_, sealed))| !sealed).map(|(study, _)| study).collect(),
        }
    }
}

impl History for Log<'_> {
    fn owners(&self, event: &Event) -> Result<Owners, LedgerError> {
        let studies = self.of(event);
        let quarantined = |uid: &String| {
            self.0.iter().any(|entry| {
                matches!(&entry.event, Event::InstanceQuarantined { sop_instance_uid, .. } if sop_instance_uid == uid)
            })
        };
        let site = match event {
            Event::RulesChanged(_) | Event::InstanceQuarantined { .. } | Event::PatientsMerged { .. } => true,
            Event::InstanceWithdrawn { scope: Scope::Instance(uid), .. } => studies.is_empty() || quarantined(uid),
            Event::InstanceWithdrawn { .. } => studies.is_empty(),
            _ => false,
        };
        Ok(Owners { studies, site })
    }

    fn about_study(&self, study_uid: &str, before: Seq) -> Result<Vec<Entry>, LedgerError> {
        let said_before =
            |entry: &Entry| matches!(&entry.event, Event::StepReported { study_uid: of, .. } if of == study_uid);
        let of_study = |entry: &Entry| said_before(entry) || self.of_entry(entry).contains(study_uid);
        let about = |entry: &&Entry| entry.seq < before && of_study(entry);
        Ok(self.0.iter().filter(about).cloned().collect())
    }

    fn about_run(&self, run: &Digest, before: Seq) -> Result<Vec<Entry>, LedgerError> {
        let of_run = |event: &Event| match event {
            Event::RunStarted { run_key, .. }
            | Event::RunFailed { run_key, .. }
            | Event::RunCancelled { run_key, .. } => run_key == run,
            Event::RunFinished(outcome) => outcome.run_key == *run,
            _ => false,
        };
        Ok(self.0.iter().filter(|entry| entry.seq < before && of_run(&entry.event)).cloned().collect())
    }

    fn visits_of(&self, patient: &PatientKey) -> Result<Vec<String>, LedgerError> {
        let study = |entry: &Entry| match &entry.event {
            Event::InstanceReceived { facts, .. } if facts.patient == *patient => Some(facts.study_uid.clone()),
            _ => None,
        };
        let mut studies: Vec<String> = Vec::new();
        for study in self.0.iter().filter_map(study) {
            if studies.len() < MOST_STUDIES && !studies.contains(&study) {
                studies.push(study);
            }
        }
        Ok(studies)
    }
}

impl Open {
    /// Takes in what is new of the log, and compares with what the whole graph holds.
    pub fn follow(&mut self, log: &[Entry], whole: &BTreeMap<Output, isize>) {
        let history = Log(log);
        for entry in &log[self.followed..] {
            self.work.apply(entry, &history).unwrap();
            self.standing.note(entry);
        }
        self.followed = log.len();
        let Open { work, standing, now, .. } = self;
        work.close_epoch(&history, &mut |changes| take(standing, now, changes)).unwrap();
        self.compare(&history, whole);
    }

    /// Throws everything away and starts from the log.
    pub fn restart(&mut self, log: &[Entry], whole: &BTreeMap<Output, isize>) {
        *self = Open { followed: log.len(), ..Open::default() };
        log.iter().for_each(|entry| self.standing.note(entry));
        let history = Log(log);
        let Open { work, standing, now, .. } = self;
        work.start(history.open_at(), &history, &mut |changes| take(standing, now, changes)).unwrap();
        self.compare(&history, whole);
    }

    /// What a review of the sealed studies gives after the rules changed.
    pub fn review(&self, log: &[Entry], rules: &Rules) -> Vec<Event> {
        let mut rulings = self.standing.rulings.clone();
        rulings.read(log.len() as Seq + 1, rules);
        let mut taking = Taking::default();
        let sealed = log.iter().filter_map(|entry| match &entry.event {
            Event::StudySealed { study_uid, summary, .. }
                if self.work.studies().get(study_uid).is_none_or(|study| study.sealed) =>
            {
                Some(summary)
            }
            _ => None,
        });
        let sealed: BTreeMap<&String, &StudySummary> = sealed.map(|summary| (&summary.study_uid, summary)).collect();
        let concerned = sealed.values().filter(|summary| concerned(summary, rules, &rulings, &mut taking));
        concerned.map(|summary| Event::StudyReopened { study_uid: summary.study_uid.clone() }).collect()
    }

    /// What a report adds to the counts over all patients.
    pub fn counted(&self, row: &ReportRow) -> Option<Counted> {
        counted(row, &self.standing)
    }

    /// How many studies are in the graph.
    pub fn len(&self) -> usize {
        self.work.studies().len()
    }

    /// True where no study is open.
    pub fn is_empty(&self) -> bool {
        self.work.studies().is_empty() && self.now.is_empty()
    }

    /// What is to do, in the order in which it goes.
    pub fn queue<'a>(&'a self, urgencies: &'a Urgencies) -> Queue<'a> {
        urgencies.queue(&self.work, &self.standing)
    }

    /// Seals for all studies at rest.
    pub fn seals(&self) -> Vec<Event> {
        seals(&self.work, &self.standing, i64::MAX, usize::MAX)
    }

    fn compare(&self, history: &Log<'_>, whole: &BTreeMap<Output, isize>) {
        assert!(self.now.values().all(|count| *count == 1), "a row is there twice, or owed: {:?}", self.now);
        let is_open = |study: &String| self.work.studies().contains_key(study);
        let (mut wants, mut hidden) = (BTreeSet::new(), Vec::new());
        for output in whole.keys() {
            match study(output, history) {
                Some(study) if !is_open(&study) => hidden.push(output),
                _ => {
                    wants.insert(output);
                }
            }
        }
        let holds: BTreeSet<_> = self.now.keys().collect();
        let (missing, extra): (Vec<_>, Vec<_>) =
            (wants.difference(&holds).collect(), holds.difference(&wants).collect());
        assert!(missing.is_empty() && extra.is_empty(), "the open work lacks {missing:#?} and has {extra:#?}");
        for output in hidden {
            let rests = match output {
                Output::Completeness(row) => row.verdict != Verdict::Waiting,
                Output::Series(_) | Output::Report(_) | Output::Lesion(_) => true,
                _ => false,
            };
            assert!(rests, "a sealed study has {output:#?}");
        }
    }
}

fn take(standing: &mut Standing, now: &mut BTreeMap<Output, isize>, changes: Changes) {
    for (output, diff) in all(&changes) {
        *now.entry(output).or_default() += diff;
    }
    now.retain(|_, count| *count != 0);
    standing.update(changes);
}

/// The study that a row is of; none for a row of the site.
fn study(output: &Output, history: &Log<'_>) -> Option<String> {
    let of_series = |uid: &str| history.of_series(uid).into_iter().next();
    match output {
        Output::Run(row) | Output::Unended(row) => Some(row.order.study_uid.clone()),
        Output::Revision(row) => Some(row.key.study_uid.clone()),
        Output::Object(row) => Some(row.key.study_uid.clone()),
        Output::Delivery(row) => Some(row.row.study_uid.clone()),
        Output::Timer(row) => of_series(&row.series_uid),
        Output::Series(row) => Some(row.study_uid.clone()),
        Output::Completeness(row) => of_series(&row.series_uid),
        Output::Report(row) => Some(row.study_uid.clone()),
        Output::Awaited(row) => Some(row.study_uid.clone()),
        Output::Lesion(row) => Some(row.study_uid.clone()),
        // Bytes in quarantine are the site's, whatever name they were sent under.
        Output::Fault(fault) if fault.reason.starts_with("object from") => None,
        // Lesions of two studies may have one name.
        Output::Fault(fault) if fault.stage == "findings" => {
            fault.reason.split(' ').skip_while(|word| *word != "study").nth(1).map(str::to_owned)
        }
        Output::Fault(fault) => {
            let key = fault.key.split(' ').next().unwrap_or_default();
            let named = |entry: &Entry| match &entry.event {
                Event::InstanceReceived { facts, .. }
                    if [&facts.study_uid, &facts.series_uid, &facts.sop_instance_uid].iter().any(|uid| *uid == key) =>
                {
                    Some(facts.study_uid.clone())
                }
                Event::ObjectEncoded { uid, key: revision, .. } if uid == key => Some(revision.study_uid.clone()),
                _ => None,
            };
            history.0.iter().find_map(named)
        }
    }
}

/// All changes of an epoch as one list.
pub fn all(changes: &Changes) -> Vec<(Output, isize)> {
    let mut all = Vec::new();
    macro_rules! add {
        ($($field:ident $variant:ident),*) => {
            $(all.extend(changes.$field.iter().map(|(row, diff)| (Output::$variant(row.clone()), *diff)));)*
        };
    }
    add!(
        runs Run, unended Unended, revisions Revision, objects Object, deliveries Delivery, timers Timer, series Series,
        completeness Completeness, reports Report, lesions Lesion, awaited Awaited, faults Fault
    );
    all
}
