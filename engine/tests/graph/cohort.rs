//! The counts over all patients: the newest revisions add up to what the graph says stands.

use std::collections::BTreeMap;

use sulcus_engine::{
    graph::inputs::ReportKey,
    ledger::event::{Counted, Event, Scope},
};
use sulcus_operators::rows::LesionVerdict;

use crate::site::{Site, Slice, study_uid};

impl Site {
    /// What the newest revision of each report adds.
    fn cohort(&self) -> BTreeMap<ReportKey, Option<Counted>> {
        let mut newest = BTreeMap::new();
        for entry in &self.log {
            if let Event::RevisionIssued { key, counted, .. } = &entry.event {
                newest.insert((key.study_uid.clone(), key.pipeline.clone()), counted.clone());
            }
        }
        newest
    }

    /// Each report whose newest revision says what should stand adds what the graph says of its lesions.
    pub fn is_counted(&self) {
        let to_issue = self.revisions();
        let cohort = self.cohort();
        for row in self.reports() {
            let key = (row.study_uid.clone(), row.pipeline.clone());
            let is_due = to_issue
                .iter()
                .any(|revision| (&revision.key.study_uid, &revision.key.pipeline) == (&row.study_uid, &row.pipeline));
            let Some(counted) = cohort.get(&key).filter(|_| !is_due) else { continue };
            let rejected = |uid: &str| {
                row.verdicts.iter().any(|said| said.tracking_uid == uid && said.verdict == LesionVerdict::Rejected)
            };
            let volumes = self
                .lesions()
                .into_iter()
                .filter(|lesion| (&lesion.study_uid, &lesion.pipeline) == (&row.study_uid, &row.pipeline))
                .filter(|lesion| !rejected(&lesion.lesion.tracking_uid))
                .map(|lesion| lesion.lesion.volume_nl);
            let volumes: Vec<u64> = volumes.collect();
            let stands = row.run.as_ref().map(|_| (volumes.len() as u32, volumes.iter().sum::<u64>()));
            assert_eq!(counted.as_ref().map(|counted| (counted.lesions, counted.volume_nl)), stands, "{key:?}");
        }
    }
}

#[test]
fn a_correction_changes_what_its_report_adds_and_a_withdrawal_takes_it_out() {
    let mut site = Site::with_rules();
    for (study, day) in ["20200101", "20210101"].into_iter().enumerate() {
        for number in 1..=4 {
            site.slice(&Slice { expected: Some(4), day, ..Slice::new(study as u8, 0, number) });
        }
        site.work();
    }
    let key = |study: u8| (study_uid(study), "lesions".to_owned());
    let before = site.cohort();
    let counted = |study: u8| site.cohort()[&key(study)].clone();
    let (first, second) = (counted(0).unwrap(), counted(1).unwrap());
    assert_eq!((first.visit, second.visit), (Some(1), Some(2)));
    assert_eq!(first.subject, second.subject);
    assert_eq!(second.keywords.get("MagneticFieldStrength").map(String::as_str), Some("3"));
    assert!(!second.keywords.contains_key("StudyDate"));
    let (judged, other) = if first.lesions > 0 { (0, 1) } else { (1, 0) };
    site.judge(judged, 1, LesionVerdict::Rejected, "A. Reader");
    site.work();
    let lesions = |cohort: &BTreeMap<ReportKey, Option<Counted>>, study| cohort[&key(study)].clone().unwrap().lesions;
    assert_eq!(lesions(&site.cohort(), judged), lesions(&before, judged) - 1);
    assert_eq!(lesions(&site.cohort(), other), lesions(&before, other));
    site.withdraw(Scope::Study(study_uid(1)));
    site.work();
    assert_eq!(site.cohort()[&key(1)], None);
}
