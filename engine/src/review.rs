//! The review of sealed studies after the rules changed: those that the rules concern are opened again, a bounded number
//! at a time, and then the review is recorded as done. A review that a stop broke off begins anew.

use sulcus_operators::rows::Seq;

use crate::{
    graph::matches::Taking,
    ledger::{LedgerError, event::Event, read::Reader},
    seals::concerned,
    standing::Standing,
};

/// Sealed studies that are looked at in one pass.
const PASS: usize = 256;
/// No more studies are opened while so many are open.
const MOST_OPEN: usize = 4096;

/// How far a review has come.
#[derive(Default)]
pub struct Review {
    rules_at: Seq,
    seal: Seq,
    taking: Taking,
}

impl Review {
    /// True where sealed studies are to be looked at now.
    pub fn is_due(standing: &Standing, open: usize) -> bool {
        standing.reviewed < standing.rules_at && open < MOST_OPEN
    }

    /// The next events of a review that is due; none where none is, where enough is open for now, or where the next
    /// sealed studies are not concerned. `open` is the number of open studies.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub fn next(&mut self, standing: &Standing, open: usize, reader: &Reader) -> Result<Vec<Event>, LedgerError> {
        let Some(rules) = standing.rules.as_ref().filter(|_| Review::is_due(standing, open)) else {
            return Ok(Vec::new());
        };
        if self.rules_at != standing.rules_at {
            *self = Review { rules_at: standing.rules_at, ..Review::default() };
        }
        let sealed = reader.sealed_after(self.seal, PASS)?;
        let mut events = Vec::new();
        for (seal, summary) in &sealed {
            self.seal = *seal;
            if let Some(summary) = summary
                && concerned(summary, rules, &standing.rulings, &mut self.taking)
            {
                events.push(Event::StudyReopened { study_uid: summary.study_uid.clone() });
            }
        }
        if sealed.len() < PASS {
            events.push(Event::SealsReviewed { rules: self.rules_at });
        }
        Ok(events)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use sulcus_operators::{digest::Digest, rows::PatientKey};

    use super::*;
    use crate::ledger::{
        event::{Entry, PipelineRule, Rules, SeriesSummary, StudySummary},
        store::Ledger,
    };

    const STUDIES: usize = 2 * PASS + 44;

    /// A sealed study of one MR series that no pipeline took.
    fn sealed(study: usize) -> Event {
        let keywords = [("Modality", "MR"), ("SOPClassUID", "1.2.840.10008.5.1.4.1.1.4"), ("SeriesNumber", "7")];
        let study_uid = format!("1.2.{study}");
        let series = SeriesSummary {
            series_uid: format!("{study_uid}.1"),
            instances: 1,
            first_member: 1,
            received: 0,
            keywords: keywords.map(|(keyword, value)| (keyword.to_owned(), value.to_owned())).into_iter().collect(),
            taken: Vec::new(),
        };
        let patient = PatientKey { issuer: String::new(), id: String::new() };
        let summary = StudySummary { study_uid: study_uid.clone(), patient, series: vec![series], reports: Vec::new() };
        Event::StudySealed { study_uid, as_of: 0, summary }
    }

    fn rules(when: &str) -> Rules {
        let pipeline = PipelineRule {
            name: "lesions".into(),
            when: when.into(),
            model: Digest::of(b"model"),
            model_path: String::new(),
            model_name: Default::default(),
            destinations: Vec::new(),
            applies_to: sulcus_config::AppliesTo::All,
            inputs: Vec::new(),
            alone: None,
        };
        Rules { pipelines: vec![pipeline], ..Rules::default() }
    }

    /// What a review of so many studies gives, and in how many passes.
    fn reviewed(when: &str, open: usize) -> (BTreeMap<&'static str, usize>, usize) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.sqlite");
        let mut ledger = Ledger::create_or_open(&path).unwrap();
        ledger.append(&(0..STUDIES).map(sealed).collect::<Vec<_>>(), 0).unwrap();
        let reader = Reader::open(&path).unwrap();
        let (mut review, mut standing) = (Review::default(), Standing::default());
        let seq = STUDIES as Seq + 1;
        standing.note(&Entry { seq, epoch: seq, at: 0, host: None, event: Event::RulesChanged(rules(when)) });
        let (mut names, mut passes) = (BTreeMap::new(), 0);
        while Review::is_due(&standing, open) {
            passes += 1;
            for event in review.next(&standing, open, &reader).unwrap() {
                *names.entry(event.name()).or_default() += 1;
                standing.note(&Entry { seq, epoch: seq, at: 0, host: None, event });
            }
        }
        (names, passes)
    }

    #[test]
    fn a_review_opens_all_that_the_rules_concern_and_ends() {
        assert_eq!(reviewed("true", 0), ([("StudyReopened", STUDIES), ("SealsReviewed", 1)].into(), 3));
        assert_eq!(reviewed("SeriesNumber == 8.0", 0), ([("SealsReviewed", 1)].into(), 3));
    }

    #[test]
    fn a_rule_that_fails_on_a_sealed_series_concerns_it() {
        assert_eq!(reviewed("SeriesNumber.contains(\"7\")", 0).0["StudyReopened"], STUDIES);
    }

    #[test]
    fn a_review_waits_while_enough_is_open() {
        assert_eq!(reviewed("true", MOST_OPEN), (BTreeMap::new(), 0));
    }
}
