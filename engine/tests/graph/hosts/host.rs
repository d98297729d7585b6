//! A host of a cluster in small: a ledger of its own, the open work over it, and whatever of that is its to do.

use std::collections::BTreeMap;

use sulcus_engine::{
    cohort::counted,
    graph::{Output, oracle},
    hosts::Hosts,
    ledger::{
        event::{Entry, Event, SpoolPlace},
        read::Reader,
        relayed::Peer,
        store::Ledger,
    },
    open_work::OpenWork,
    seals::seals,
    spool::{
        Position,
        record::{Label, Standing as Stands},
    },
    standing::Standing,
};
use sulcus_operators::{digest::Digest, rows::ReportStatus};

use crate::{
    outcomes::outcome,
    site::{Slice, rules},
};

pub struct Host {
    pub name: &'static str,
    hosts: Hosts,
    ledger: Ledger,
    reader: Reader,
    work: OpenWork,
    standing: Standing,
    _folder: tempfile::TempDir,
}

/// What a report says in the end, whoever made it: the run, what readers said, and the visits that it tells of.
pub type Said = (bool, Option<Digest>, Vec<String>, Vec<String>);

impl Host {
    pub fn new(name: &'static str, others: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.sqlite");
        let mut ledger = Ledger::create_or_open(&path).unwrap();
        // No two ledgers begin with the same event at the same time.
        ledger.append(&[Event::RulesChanged(rules())], name.len() as i64).unwrap();
        let reader = Reader::open(&path).unwrap();
        let hosts = Hosts::new(name, others.iter().copied());
        let mut host = Host {
            name,
            hosts,
            ledger,
            reader,
            work: OpenWork::default(),
            standing: Standing::default(),
            _folder: folder,
        };
        host.follow();
        host
    }

    /// Takes in what the ledger holds beyond the last call.
    pub fn follow(&mut self) {
        let Host { reader, work, standing, .. } = self;
        for entry in reader.entries_after(work.upto(), usize::MAX >> 1).unwrap() {
            work.apply(&entry, reader).unwrap();
            standing.note(&entry);
        }
        work.close_epoch(reader, &mut |changes| standing.update(changes)).unwrap();
    }

    /// The engine starts anew.
    pub fn restart(&mut self) {
        (self.work, self.standing) = Default::default();
        let Host { reader, work, standing, .. } = self;
        let at = reader.open_work().unwrap();
        at.site.iter().for_each(|entry| standing.note(entry));
        work.start(at, reader, &mut |changes| standing.update(changes)).unwrap();
    }

    pub fn receive(&mut self, slice: &Slice) {
        let label = Label::Received { source: "scanner".into(), facts: slice.facts().into(), standing: Stands::Fresh };
        let mut batch = self.ledger.begin(1).unwrap();
        batch.record(&label, SpoolPlace { segment: 0, offset: 0, length: 0 }, Position::default()).unwrap();
        batch.commit().unwrap();
    }

    pub fn event(&mut self, event: Event) {
        self.ledger.append(&[event], 1).unwrap();
    }

    /// Takes in what another host tells, as much of it as `limit`; how many events that were.
    pub fn hear(&mut self, other: &Host, limit: usize) -> usize {
        let known = self.reader.peer(other.name).unwrap();
        let (told, upto) = other.reader.told_after(known.upto, limit).unwrap();
        let now = Peer { identity: other.reader.identity().unwrap().unwrap(), upto };
        let before = self.ledger.last_seq();
        let mut batch = self.ledger.begin(1).unwrap();
        told.iter().for_each(|told| batch.relayed(other.name, self.name, told).unwrap());
        batch.told_upto(other.name, &now).unwrap();
        batch.commit().unwrap();
        (self.ledger.last_seq() - before) as usize
    }

    /// Is told all of another host's events again, as one is whose answer was lost.
    pub fn hear_again(&mut self, other: &Host) {
        let (told, _) = other.reader.told_after(0, usize::MAX >> 1).unwrap();
        let mut batch = self.ledger.begin(1).unwrap();
        told.iter().for_each(|told| batch.relayed(other.name, self.name, told).unwrap());
        batch.commit().unwrap();
    }

    /// Does what is to do here now, once; how many events that made.
    pub fn act(&mut self) -> usize {
        self.follow();
        let acts = self.hosts.acts(&self.work, &self.standing);
        let mut events: Vec<Event> = Vec::new();
        let waits = self.standing.timers.iter().filter(|timer| acts.waits(timer));
        events.extend(waits.map(|timer| Event::TimerFired(timer.clone())));
        for run in acts.runs() {
            let (run_key, attempt) = (run.order.run_key, run.attempt);
            events.push(Event::RunStarted { run_key, attempt });
            // Some are stopped once before their end, as where nobody wanted them for a moment.
            let is_stopped = attempt == 1 && run_key.0[0] % 4 == 0;
            events.push(if is_stopped {
                Event::RunCancelled { run_key, attempt }
            } else {
                Event::RunFinished(outcome(run_key))
            });
        }
        events.extend(acts.revisions().map(|row| row.event(7, counted(&row.row, &self.standing))));
        for row in acts.objects() {
            let object = Digest::of_row("object", &(&row.key, row.role, &row.row.content));
            let (key, role, uid) = (row.key.clone(), row.role, object.uid());
            events.push(Event::ObjectEncoded { object, key, role, uid, bytes: object, length: 1 });
        }
        for row in acts.deliveries() {
            let (object, destination, attempt) = (row.row.object, row.row.destination.clone(), row.attempt);
            events.push(Event::DeliveryStarted { object, destination: destination.clone(), attempt });
            events.push(Event::DeliverySettled { object, destination, receipt: self.name.into() });
        }
        if !events.is_empty() {
            self.ledger.append(&events, 1).unwrap();
        }
        self.follow();
        events.len()
    }

    /// Seals what is at rest here.
    pub fn seal(&mut self) {
        self.follow();
        for seal in seals(&self.work, &self.standing, i64::MAX, usize::MAX) {
            self.event(seal);
        }
        self.follow();
    }

    pub fn entries(&self) -> Vec<Entry> {
        self.reader.entries_after(0, usize::MAX >> 1).unwrap()
    }

    /// This host's own events.
    pub fn own(&self) -> Vec<Event> {
        self.entries().into_iter().filter(|entry| entry.host.is_none()).map(|entry| entry.event).collect()
    }

    pub fn open_studies(&self) -> usize {
        self.work.studies().len()
    }

    pub fn faults(&self) -> Vec<String> {
        let acts = self.hosts.acts(&self.work, &self.standing);
        acts.faults().into_iter().map(|fault| fault.reason).collect()
    }

    /// What all that was ever recorded here amounts to, from scratch: the reports.
    pub fn in_the_end(&self) -> BTreeMap<(String, String), Said> {
        let said = |output| match output {
            Output::Report(row) => {
                let run = row.run.as_ref().map(|run| run.run_key);
                let verdicts = row.verdicts.iter().map(|finding| format!("{finding:?}")).collect();
                let visits = row.visits.iter().map(|visit| visit.study_uid.clone()).collect();
                let is_final = row.status == ReportStatus::Final;
                Some(((row.study_uid, row.pipeline), (is_final, run, verdicts, visits)))
            }
            _ => None,
        };
        oracle::outputs(&self.entries()).into_iter().filter_map(said).collect()
    }

    /// What the open work holds: the studies, and how many rows of each kind.
    pub fn standing(&self) -> (Vec<String>, [usize; 5]) {
        let Standing { runs, revisions, reports, lesions, faults, .. } = &self.standing;
        let counts = [runs.len(), revisions.len(), reports.len(), lesions.len(), faults.len()];
        (self.work.studies().keys().cloned().collect(), counts)
    }
}
