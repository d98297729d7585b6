//! The folding of versions, against what they mean said plainly.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use sulcus_operators::digest::Digest;

use super::*;

/// What happens to the rule of one pipeline.
#[derive(Clone, Debug)]
enum Step {
    /// The rules name it, with this model.
    State(u8, AppliesTo),
    /// The rules do not name it.
    Remove,
    /// An instance comes.
    Arrive,
}

fn rules(step: &Step) -> Option<Rules> {
    let pipelines = match step {
        Step::Arrive => return None,
        Step::Remove => Vec::new(),
        Step::State(model, applies_to) => vec![PipelineRule {
            name: "lesions".into(),
            when: "true".into(),
            model: Digest::of(&[*model]),
            model_path: String::new(),
            model_name: Default::default(),
            destinations: Vec::new(),
            applies_to: *applies_to,
            inputs: Vec::new(),
            alone: None,
        }],
    };
    Some(Rules { pipelines, ..Rules::default() })
}

fn read(steps: &[Step]) -> Rulings {
    let mut rulings = Rulings::default();
    for (index, step) in steps.iter().enumerate() {
        if let Some(rules) = rules(step) {
            rulings.read(index as Seq + 1, &rules);
        }
    }
    rulings
}

/// The model that governs a series, after all steps.
fn governs(rulings: &Rulings, first: Seq, day: u32) -> Option<Digest> {
    Some(rulings.of("lesions")?.at(first, || day)?.plan.model)
}

/// The same, said plainly: the newest statement that covers the series.
fn plainly(steps: &[Step], first: Seq, day: u32) -> Option<Digest> {
    let stated: Vec<(usize, &Step)> =
        steps.iter().enumerate().filter(|(_, step)| !matches!(step, Step::Arrive)).collect();
    if !matches!(stated.last(), Some((_, Step::State(..)))) {
        return None;
    }
    for (place, (index, step)) in stated.iter().enumerate().rev() {
        let later = place == 0 || first > *index as Seq + 1;
        match step {
            Step::State(model, AppliesTo::All) => return Some(Digest::of(&[*model])),
            Step::State(model, AppliesTo::Since(since)) if later || day >= *since => {
                return Some(Digest::of(&[*model]));
            }
            Step::State(model, AppliesTo::New) if later => return Some(Digest::of(&[*model])),
            Step::Remove if later => return None,
            _ => {}
        }
    }
    None
}

fn step() -> impl Strategy<Value = Step> {
    let applies_to = prop_oneof![
        3 => Just(AppliesTo::New),
        2 => (1..4u32).prop_map(AppliesTo::Since),
        1 => Just(AppliesTo::All),
    ];
    prop_oneof![
        4 => (0..3u8, applies_to).prop_map(|(model, applies_to)| Step::State(model, applies_to)),
        1 => Just(Step::Remove),
        3 => Just(Step::Arrive),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_newest_statement_that_covers_a_series_governs_it(steps in prop::collection::vec(step(), 0..20)) {
        let rulings = read(&steps);
        let arrivals = steps.iter().enumerate().filter(|(_, step)| matches!(step, Step::Arrive));
        for first in arrivals.map(|(index, _)| index as Seq + 1) {
            for day in 0..4 {
                prop_assert_eq!(governs(&rulings, first, day), plainly(&steps, first, day), "{} {}", first, day);
            }
        }
    }
}

fn versions(rulings: &Rulings) -> usize {
    rulings.of("lesions").unwrap().0.len()
}

#[test]
fn an_unchanged_rule_is_one_version_however_often_it_is_stated() {
    let mut steps = Vec::new();
    for day in 0..200 {
        steps.extend([Step::State(0, AppliesTo::New), Step::State(0, AppliesTo::Since(day + 1)), Step::Arrive]);
    }
    assert_eq!(versions(&read(&steps)), 1);
}

#[test]
fn what_applies_to_all_leaves_no_earlier_version() {
    let mut steps = Vec::new();
    for model in 0..20 {
        steps.extend([Step::State(model % 2, AppliesTo::New), Step::Arrive]);
    }
    let rulings = read(&steps);
    assert_eq!((versions(&rulings), rulings.conditions.len()), (20, 2), "each rule is held once");
    steps.push(Step::State(1, AppliesTo::All));
    let rulings = read(&steps);
    assert_eq!((versions(&rulings), rulings.conditions.len()), (1, 1));
}

#[test]
fn the_first_rules_of_a_ledger_count_from_its_beginning_and_later_ones_do_not() {
    let early = [Step::Arrive, Step::State(0, AppliesTo::New)];
    assert_eq!(governs(&read(&early), 1, 0), Some(Digest::of(&[0])));
    let added = [Step::Remove, Step::Arrive, Step::State(0, AppliesTo::New), Step::Arrive];
    assert_eq!(governs(&read(&added), 2, 0), None);
    assert_eq!(governs(&read(&added), 4, 0), Some(Digest::of(&[0])));
}

#[test]
fn a_rule_of_an_earlier_ledger_applies_to_all() {
    let old = r#"{"name":"lesions","when":"true","model":MODEL,"model_path":"m","destinations":[]}"#;
    let old = old.replace("MODEL", &serde_json::to_string(&Digest::of(b"model")).unwrap());
    let rule: PipelineRule = serde_json::from_str(&old).unwrap();
    assert_eq!((rule.applies_to, rule.model_name), (AppliesTo::All, Default::default()));
}
