//! What we hold of what a sender lists as it asks for storage commitment, and which events that makes.

use std::collections::BTreeMap;

use sulcus_connectors::inbox::{CommitmentRequest, Kept};

use super::{
    LedgerError,
    event::{Arrival, Event},
    read::Reader,
};

/// Failure Reasons (0008,1197; PS3.3 C.14-1.1).
const PROCESSING_FAILURE: u16 = 0x0110;
const NO_SUCH_OBJECT_INSTANCE: u16 = 0x0112;
const CLASS_INSTANCE_CONFLICT: u16 = 0x0119;

impl Reader {
    /// Whether each object of a request is kept, and the events that say what was listed, one a study. What lies in
    /// quarantine is kept, but not as what its sender believes it to be, so that he is told to keep his own.
    pub fn listed(&self, source: &str, request: &CommitmentRequest) -> Result<(Vec<Kept>, Vec<Event>), LedgerError> {
        let mut kept = Vec::with_capacity(request.listed.len());
        let mut studies: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut absent = Vec::new();
        for (class, uid) in &request.listed {
            let held = self.held(uid)?;
            let (mut facts, mut conflict, mut quarantined) = (None, false, false);
            for entry in self.entries_about(uid, usize::MAX)? {
                match entry.event {
                    Event::InstanceReceived { facts: of, .. } if held.is_some_and(|held| held.seq == entry.seq) => {
                        (facts, conflict) = (Some(of), false);
                    }
                    Event::InstanceReceived { facts, arrival: Arrival::Conflict { .. }, .. } => {
                        conflict |= facts.sop_instance_uid == *uid;
                    }
                    Event::InstanceQuarantined { .. } => quarantined = true,
                    _ => {}
                }
            }
            kept.push(match &facts {
                Some(facts) if facts.sop_class_uid != *class => Kept::Not(CLASS_INSTANCE_CONFLICT),
                Some(_) if conflict => Kept::Not(PROCESSING_FAILURE),
                Some(_) => Kept::Safe,
                None if quarantined => Kept::Not(PROCESSING_FAILURE),
                None => Kept::Not(NO_SUCH_OBJECT_INSTANCE),
            });
            match facts {
                Some(facts) => studies.entry(facts.study_uid.clone()).or_default().push(uid.clone()),
                None => absent.push(uid.clone()),
            }
        }
        let mut events = Vec::new();
        for (study_uid, instances) in studies {
            let event = Event::InstancesListed {
                source: source.to_owned(),
                study_uid: study_uid.clone(),
                instances,
                absent: absent.clone(),
            };
            // Who asks again for the same says nothing new.
            let is_known = self.entries_about(&study_uid, usize::MAX)?.iter().any(|entry| entry.event == event);
            events.extend((!is_known).then_some(event));
        }
        Ok((kept, events))
    }
}
