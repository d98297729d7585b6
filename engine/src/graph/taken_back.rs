//! Stage `taken back`: what the kind of reason of a withdrawal says of reports, beyond what follows from the instances
//! that are gone. A report must not stand for a moment longer once instances that it was made from are said to be another
//! patient's; and where the kind is said only after the instances are gone, it is to be told all the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sulcus_operators::rows::Seq;

use super::{
    group::{Key, Row, Rows},
    inputs::{Issued, ReportKey},
    instances::Arrived,
    keyed::{each, gather},
};
use crate::ledger::event::{Because, Scope};

/// The series of what was withdrawn, by study and by the UIDs of its instances, series and studies.
#[derive(Default)]
pub struct Gone(HashMap<String, BTreeMap<String, BTreeSet<String>>>);

/// Studies that a withdrawal concerns, each with the series of what it names that was withdrawn before.
pub type Concerned = BTreeMap<String, BTreeSet<String>>;

impl Gone {
    /// Notes what a withdrawal covers, and gives the studies that it concerns: those of what it covers, and those of which
    /// the same was withdrawn before. `study_uid` is the study as part of which it is fed, nothing where it is fed whole.
    pub fn note<'a>(
        &mut self,
        scope: &Scope,
        study_uid: Option<&str>,
        covered: impl Iterator<Item = &'a Arrived>,
    ) -> Concerned {
        let (Scope::Instance(uid) | Scope::Series(uid) | Scope::Study(uid)) = scope;
        let again = self.0.iter().filter(|(study, _)| study_uid.is_none_or(|of| of == *study));
        let again = again.filter_map(|(study, uids)| Some((study.clone(), uids.get(uid)?.clone())));
        let mut studies: Concerned = again.collect();
        // A second copy that was refused is no part of its study.
        for arrived in covered.filter(|arrived| !arrived.is_refused()) {
            studies.entry(arrived.study_uid().to_owned()).or_default();
            let of_study = self.0.entry(arrived.study_uid().to_owned()).or_default();
            for uid in [arrived.instance_uid(), &arrived.series_uid, arrived.study_uid()] {
                of_study.entry(uid.to_owned()).or_default().insert(arrived.series_uid.to_string());
            }
        }
        studies
    }

    /// Forgets a study.
    pub fn forget(&mut self, study_uid: &str) {
        self.0.remove(study_uid);
    }
}

/// What a withdrawal `seq` of a kind says, by study: of the series that lost members which are another patient's, and of
/// those of which it covered nothing any more.
pub fn rows<'a>(
    seq: Seq,
    because: Because,
    studies: &Concerned,
    covered: impl Iterator<Item = &'a Arrived> + Clone,
) -> Vec<(String, Row)> {
    let mut rows = Vec::new();
    for (study_uid, gone) in studies {
        let is_member = |arrived: &&Arrived| arrived.study_uid() == study_uid && !arrived.is_refused();
        let mut of_study = covered.clone().filter(is_member).peekable();
        if of_study.peek().is_none() {
            rows.extend(gone.iter().map(|series| (study_uid.clone(), Row::Amended(series.clone(), seq))));
        } else if because.disowns() {
            let series: BTreeSet<&str> = of_study.map(|arrived| arrived.series_uid.as_ref()).collect();
            rows.extend(series.into_iter().map(|series| (study_uid.clone(), Row::Disowned(series.to_owned(), seq))));
        }
    }
    rows
}

/// What was said of the studies of reports that were issued, by report.
pub fn stage<'scope>(issued: Rows<'scope>, taken_back: Rows<'scope>) -> Rows<'scope> {
    let of_study = each(issued, |key, _, out| {
        if let Key::Report(report) = key {
            out.push((Key::Study(report.0.clone()), Row::Of(report)));
        }
    });
    let [said] = gather([of_study, taken_back], "kinds of withdrawals", |_, rows, out| {
        for row in rows {
            if let Row::Of(report) = row {
                let kinds = rows.iter().filter(|row| !matches!(row, Row::Of(_)));
                out.extend(kinds.map(|kind| (0, Key::Report(report.clone()), (*kind).clone())));
            }
        }
    });
    said
}

/// The same from the whole log.
pub fn batch(
    issued: &BTreeMap<ReportKey, BTreeSet<Issued>>,
    taken_back: &[(String, Row)],
) -> BTreeMap<ReportKey, BTreeSet<Row>> {
    let of_report = |report: &ReportKey| {
        let said = taken_back.iter().filter(|(study, _)| *study == report.0);
        (report.clone(), said.map(|(_, row)| row.clone()).collect())
    };
    issued.keys().map(of_report).collect()
}

/// True where instances that the last result was made from were said since to be another patient's.
pub fn is_disowned<'a>(issued: impl Iterator<Item = &'a Issued>, rows: &[&Row]) -> bool {
    let last = issued.filter(|issued| !issued.series.is_empty()).max_by_key(|issued| issued.revision);
    last.is_some_and(|last| {
        rows.iter().any(|row| match row {
            Row::Disowned(series, seq) => last.series.contains(series) && *seq > last.seq,
            _ => false,
        })
    })
}

/// How often a kind of reason was said of what was gone already, of a series that a revision was made from before: the
/// same in every ledger that holds these events, whatever else it holds.
pub fn amended<'a>(issued: impl Iterator<Item = &'a Issued>, rows: &[&Row]) -> usize {
    let mut made_from: BTreeMap<&str, Seq> = BTreeMap::new();
    for issued in issued {
        for series in &issued.series {
            let first = made_from.entry(series).or_insert(issued.seq);
            *first = issued.seq.min(*first);
        }
    }
    let is_told = |series: &str, seq: Seq| made_from.get(series).is_some_and(|first| *first < seq);
    let said: BTreeSet<Seq> = rows
        .iter()
        .filter_map(|row| match row {
            Row::Amended(series, seq) if is_told(series, *seq) => Some(*seq),
            _ => None,
        })
        .collect();
    said.len()
}
