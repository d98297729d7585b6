//! Stage `matches`: which pipeline applies to which series, by a CEL expression over DICOM keywords.
//!
//! Of a pipeline's rule, the version that governs the series counts: see [`versions`](super::versions).
//! Each keyword is a variable: a double for those of [`NUMBERS`] whose value is one number, a string otherwise. A
//! keyword that a series lacks is an empty string. An expression that fails on a series which lacks one of its
//! keywords does not apply to it; one that fails otherwise is a fault.

mod expression;
mod plan;

use std::{
    collections::{BTreeMap, HashMap},
    hash::{Hash, Hasher},
    sync::{Arc, LazyLock},
};

use cel::{Context, Env, ExecutionError, Program, Value};
use serde::{Deserialize, Serialize};
use sulcus_operators::{
    digest::Digest,
    header::KEYWORDS,
    rows::{Fault, Millis, Seq, SeriesState},
};

use sulcus_config::nearest;

pub use self::plan::{Alone, Applied, Condition, Place, Plan};
use super::{
    group::{Row, Rows},
    keyed::{all, each, gather_by, shared},
    rows::Output,
    versions::{Ruling, Rulings, Scan},
};

/// Keywords whose value is a number, where it is one.
pub const NUMBERS: [&str; 13] = [
    "Columns",
    "EchoTime",
    "EchoTrainLength",
    "FlipAngle",
    "ImagingFrequency",
    "InversionTime",
    "MagneticFieldStrength",
    "PixelBandwidth",
    "RepetitionTime",
    "Rows",
    "SeriesNumber",
    "SliceThickness",
    "SpacingBetweenSlices",
];

/// A series by its keywords and first member alone: two states that share them are one row, so that a slice changes
/// nothing here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Described(Arc<SeriesState>);

impl Described {
    /// What rules read of a series.
    pub(super) fn of(state: &Arc<SeriesState>) -> Self {
        Described(Arc::clone(state))
    }

    fn key(&self) -> (&str, Seq, Millis, &BTreeMap<String, String>) {
        (&self.0.series_uid, self.0.first_member(), self.0.received, &self.0.keywords)
    }
}

impl PartialEq for Described {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Described {}

impl PartialOrd for Described {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Described {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl Hash for Described {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

/// Tells whether an expression can be used as a rule.
///
/// # Errors
/// What is wrong with it: it does not parse, is costly, names a keyword or a function that does not exist, or gives no
/// yes or no.
pub fn check(expression: &str) -> Result<(), String> {
    let program = compile(expression)?;
    let sample = |name: &str| if NUMBERS.contains(&name) { Value::Float(1.0) } else { Value::from("") };
    let names = expression::free_names(program.expression());
    let known: Vec<&str> = KEYWORDS.iter().map(|(keyword, _)| *keyword).chain(["ImageType", "ImageTypeText"]).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        let near = nearest(unknown, &known).map_or(String::new(), |near| format!("; did you mean {near}?"));
        return Err(format!("there is no keyword '{unknown}' that a rule may use{near}"));
    }
    let values = names.into_iter().map(|name| (name.to_owned(), sample(name))).collect::<Vec<_>>();
    match evaluate(&program, values) {
        Err(ExecutionError::UndeclaredReference(name)) => Err(format!("there is no function or keyword '{name}'")),
        Ok(Value::Bool(_)) | Err(_) => Ok(()),
        Ok(_) => Err("gives no yes or no; compare something, as in Modality == \"MR\"".to_owned()),
    }
}

/// Longest expression that is read, in bytes. The parser panics when it reports a column above 65,535.
const LONGEST_EXPRESSION: usize = 4096;

/// Loops that may lie in each other. An expression is the only source of lists, so one loop goes through some thousand
/// steps of some thousand operations at most; two in each other would take minutes for each series.
const DEEPEST_LOOP: usize = 1;

fn compile(expression: &str) -> Result<Program, String> {
    if expression.len() > LONGEST_EXPRESSION {
        return Err(format!("the expression is longer than {LONGEST_EXPRESSION} bytes"));
    }
    let program = Program::compile(expression).map_err(|error| error.to_string())?;
    if expression::loops(program.expression()) > DEEPEST_LOOP {
        return Err(
            "one of all, exists, exists_one, map and filter lies in another, which may take too long; use one \
                    list, or matches() with a pattern"
                .to_owned(),
        );
    }
    Ok(program)
}

/// The functions that expressions may use. To list them takes longer than to evaluate an expression.
static FUNCTIONS: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

fn evaluate(program: &Program, values: Vec<(String, Value)>) -> Result<Value, ExecutionError> {
    let mut context = Context::with_env(Arc::clone(&FUNCTIONS));
    for (name, value) in values {
        context.add_variable_from_value(name, value);
    }
    program.execute(&context)
}

/// Whether a rule applies to a series with these keywords.
fn applies(program: &Program, keywords: &BTreeMap<String, String>) -> Result<bool, String> {
    let mut lacking = false;
    let mut values = Vec::new();
    for name in expression::free_names(program.expression()) {
        let text = keywords.get(name).map(String::as_str).unwrap_or_default();
        lacking |= text.is_empty();
        let number = text.trim().parse::<f64>().ok().filter(|number| NUMBERS.contains(&name) && number.is_finite());
        values.push((name.to_owned(), number.map_or_else(|| Value::from(text), Value::Float)));
    }
    match evaluate(program, values) {
        Ok(Value::Bool(applies)) => Ok(applies),
        Ok(_) => Err("the expression gives no yes or no".to_owned()),
        Err(_) if lacking => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

/// Expressions compiled so far. A cache only: what it holds is decided by the expressions alone.
#[derive(Default)]
struct Programs(HashMap<String, Option<Program>>);

/// How many compiled expressions are kept.
const MOST_PROGRAMS: usize = 256;

impl Programs {
    /// As what a pipeline takes a series; none where it does not.
    fn answer(&mut self, ruling: &Ruling, scan: Scan<'_>) -> Option<Applied> {
        let governing = ruling.of(scan);
        let pipeline = governing.map(|condition| condition.plan.pipeline.clone());
        let (mut first, mut places, mut fault) = (None, Vec::new(), None);
        if let Some(Condition { plan, when }) = governing.map(AsRef::as_ref) {
            match self.holds(when, scan) {
                Some(Ok(true)) => first = Some(Arc::clone(plan)),
                Some(Err(reason)) => fault = Some(unfit(format!("rule of pipeline {}", plan.pipeline), &reason, scan)),
                Some(Ok(false)) | None => {}
            }
        }
        for plan in ruling.plans() {
            for (input, rule) in plan.inputs.iter().enumerate() {
                let what = || format!("rule of input {} of pipeline {}", rule.name, plan.pipeline);
                let fault = match self.holds(&rule.when, scan) {
                    Some(Ok(true)) => None,
                    Some(Err(reason)) => Some(unfit(what(), &reason, scan)),
                    Some(Ok(false)) | None => continue,
                };
                places.push(Place { plan: Arc::clone(plan), input, fault });
            }
        }
        let pipeline = pipeline.or_else(|| Some(places.first()?.plan.pipeline.clone()))?;
        let says = first.is_some() || fault.is_some() || !places.is_empty();
        says.then_some(Applied { pipeline, first, places, fault })
    }

    /// Whether an expression holds for a series; none where it cannot be read.
    fn holds(&mut self, when: &str, scan: Scan<'_>) -> Option<Result<bool, String>> {
        if self.0.len() >= MOST_PROGRAMS && !self.0.contains_key(when) {
            self.0.clear();
        }
        let compiled = self.0.entry(when.to_owned()).or_insert_with(|| compile(when).ok());
        Some(applies(compiled.as_ref()?, scan.keywords))
    }
}

/// A rule that fails on a series.
fn unfit(what: String, reason: &str, scan: Scan<'_>) -> Fault {
    Fault {
        stage: "matches".to_owned(),
        key: scan.series_uid.to_owned(),
        reason: format!("{what} cannot be evaluated: {reason}"),
        hint: "correct the expression; `sulcus config check` tells whether it can be used".to_owned(),
    }
}

/// Expressions of a rule that cannot be read.
fn broken(condition: &Condition) -> Vec<Fault> {
    let Plan { pipeline, inputs, .. } = condition.plan.as_ref();
    let of_inputs = inputs.iter().map(|input| (format!("rule of input {}", input.name), &input.when));
    let all = std::iter::once(("rule".to_owned(), &condition.when)).chain(of_inputs);
    let fault = |(what, when): (String, &String)| {
        let error = compile(when).err()?;
        Some(Fault {
            stage: "matches".to_owned(),
            key: pipeline.clone(),
            reason: format!("{what} cannot be read: {}", error.trim()),
            hint: "correct the expression; the pipeline applies to nothing until then".to_owned(),
        })
    };
    all.filter_map(fault).collect()
}

/// The pipelines that take series, asked of one series at a time.
#[derive(Default)]
pub struct Taking(Programs);

impl Taking {
    /// The pipelines that take a series as the first of a run, each with what its plan is told by (`Plan::identity`); in
    /// place of one whose rule fails on it, the reason: no study is at rest with such a fault. As which further inputs a
    /// series is taken follows from the plan of the first.
    pub fn of(&mut self, scan: Scan<'_>, rulings: &Rulings) -> Vec<(String, Digest)> {
        let mut taken = Vec::new();
        for ruling in rulings.in_force() {
            let Some(Applied { pipeline, first, fault, .. }) = self.0.answer(ruling, scan) else { continue };
            taken.extend(first.map(|plan| (pipeline, plan.identity())));
            taken.extend(fault.map(|fault| (fault.reason, Digest::default())));
        }
        taken
    }
}

/// The pipelines that apply, by series; rules that cannot be read or evaluated are faults.
pub fn stage<'scope>(described: Rows<'scope>, rulings: Rows<'scope>) -> (Rows<'scope>, Rows<'scope>) {
    const APPLIED: usize = 0;
    const TOLD: usize = 1;
    let unreadable = each(rulings.clone(), |key, row, out| {
        if let Row::Ruling(ruling) = row {
            let faults = ruling.conditions().into_iter().flat_map(|condition| broken(condition));
            out.extend(faults.map(|fault| (key.clone(), Output::Fault(fault).into())));
        }
    });
    let mut programs = Programs::default();
    let [applied, told] = gather_by(shared(rulings), [described], "matches", move |rulings, key, rows, out| {
        let described =
            rows.iter().filter_map(|row| if let Row::Described(Described(of)) = row { Some(of) } else { None });
        for state in described {
            let rulings =
                rulings.iter().filter_map(|row| if let Row::Ruling(ruling) = row { Some(ruling) } else { None });
            for applied in rulings.filter_map(|ruling| programs.answer(ruling, Scan::from(state.as_ref()))) {
                let fault = applied.fault.clone();
                out.extend(fault.map(|fault| (TOLD, key.clone(), Output::Fault(fault).into())));
                out.push((APPLIED, key.clone(), Row::Applied(Arc::new(applied))));
            }
        }
    });
    (applied, all([unreadable, told]))
}

/// The same from the whole log.
pub fn batch<'a>(
    candidates: impl Iterator<Item = &'a SeriesState>,
    rulings: &[Arc<Ruling>],
) -> (Vec<(String, Applied)>, Vec<Fault>) {
    let conditions = rulings.iter().flat_map(|ruling| ruling.conditions());
    let (mut applied, mut faults) = (Vec::new(), conditions.flat_map(|one| broken(one)).collect::<Vec<_>>());
    for state in candidates {
        for answer in rulings.iter().filter_map(|ruling| Programs::default().answer(ruling, Scan::from(state))) {
            faults.extend(answer.fault.clone());
            applied.push((state.series_uid.clone(), answer));
        }
    }
    (applied, faults)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn keywords(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_rule_reads_text_and_numbers() {
        let rule = "Modality == \"MR\" && SeriesDescription.contains(\"MPRAGE\") && MagneticFieldStrength > 2.0";
        assert_eq!(check(rule), Ok(()));
        let program = compile(rule).unwrap();
        let series = [("Modality", "MR"), ("SeriesDescription", "t1 MPRAGE sag"), ("MagneticFieldStrength", "3")];
        assert_eq!(applies(&program, &keywords(&series)), Ok(true));
        let weaker = [("Modality", "MR"), ("SeriesDescription", "t1 MPRAGE sag"), ("MagneticFieldStrength", "1.5")];
        assert_eq!(applies(&program, &keywords(&weaker)), Ok(false));
    }

    #[test]
    fn a_misspelt_keyword_is_refused_and_the_nearest_is_named() {
        let said = check("Modality == \"MR\" && SeriesDescripton.contains(\"MPRAGE\")").unwrap_err();
        assert!(said.contains("'SeriesDescripton'") && said.ends_with("did you mean SeriesDescription?"), "{said}");
        assert!(check("xyzzy == \"1\"").unwrap_err().contains("'xyzzy'"));
        assert!(check("[\"A\"].exists(n, SeriesDescription.contains(m))").unwrap_err().contains("'m'"));
        assert!(check("n == \"\" || [\"A\"].exists(n, n == Modality)").unwrap_err().contains("'n'"));
        for good in ["ImageType.contains(\"NORM\")", "ImageTypeText == \"M\"", "EchoTime in [1.0, 2.0]", "true"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn a_loop_in_a_loop_is_refused() {
        assert_eq!(check("[\"MPRAGE\", \"UNI\"].exists(n, SeriesDescription.contains(n))"), Ok(()));
        assert_eq!(check("[1].all(a, a > 0) && [2].exists(a, a > 0)"), Ok(()));
        for nested in [
            "[1, 2].all(a, [1, 2].all(b, a + b > 0))",
            "[1].map(a, a + a).map(a, a + a) == [4]",
            "{1: [[1].map(a, a)].map(b, b)} == {}",
        ] {
            assert!(check(nested).unwrap_err().contains("lies in another"), "{nested}");
        }
    }

    #[test]
    fn a_missing_keyword_is_no_error() {
        let program = compile("MagneticFieldStrength > 2.0").unwrap();
        assert_eq!(applies(&program, &keywords(&[])), Ok(false));
        let program = compile("!SeriesDescription.contains(\"scout\")").unwrap();
        assert_eq!(applies(&program, &keywords(&[])), Ok(true));
    }

    #[test]
    fn a_bad_rule_is_an_error_and_no_panic() {
        assert!(check("Modality ==").is_err());
        assert!(check("SeriesDescription").is_err());
        assert!(check("nosuchfunction(Modality)").is_err());
        assert!(check(&"(".repeat(100_000)).is_err());
        assert!(check(&"(".repeat(LONGEST_EXPRESSION)).is_err());
        assert!(check(&format!("Modality == {}", "!".repeat(LONGEST_EXPRESSION - 20))).is_err());
        let program = compile("Modality > 2.0").unwrap();
        assert!(applies(&program, &keywords(&[("Modality", "MR")])).is_err());
        let program = compile("Modality.matches(\"(\")").unwrap();
        assert!(applies(&program, &keywords(&[("Modality", "MR")])).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_expression_panics(
            words in proptest::collection::vec("[a-z0-9(){}\\[\\]?:.,!<>=&|+*/%-]|Modality|\"MR\"|true|2\\.0|-1|[0-9]{19}| |.", 0..40),
        ) {
            let expression = words.concat();
            if check(&expression).is_ok() {
                let program = compile(&expression).unwrap();
                let _ = applies(&program, &keywords(&[("Modality", "MR"), ("EchoTime", "3")]));
            }
        }
    }
}
