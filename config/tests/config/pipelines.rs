//! What a site may write of a pipeline, beside its rule.

use sulcus_config::{AppliesTo, Urgency};

use crate::parse;

#[test]
fn what_a_changed_rule_applies_to_is_said_or_new() {
    let pipeline = "[[pipeline]]\nname = \"p\"\nwhen = \"true\"\nmodel = \"m\"\n";
    let read = |more: &str| parse(&format!("{pipeline}{more}")).unwrap().pipelines[0].applies_to;
    assert_eq!(read(""), AppliesTo::New);
    assert_eq!(read("applies_to = \"all\""), AppliesTo::All);
    assert_eq!(read("applies_to = \"since 2026-01-31\""), AppliesTo::Since(20_260_131));
    for wrong in ["everything", "since 2026-02-30"] {
        let expected = format!(
            "5: applies_to is \"{wrong}\"; write \"new\", \"all\" or \"since YYYY-MM-DD\" with a day of the calendar"
        );
        let error = parse(&format!("{pipeline}applies_to = \"{wrong}\"\n")).unwrap_err().to_string();
        assert!(error.contains(&expected), "{error}");
    }
}

#[test]
fn a_pipeline_is_urgent_normal_or_background_and_nothing_else() {
    let pipeline = "[[pipeline]]\nname = \"p\"\nwhen = \"true\"\nmodel = \"m\"\n";
    let read = |more: &str| parse(&format!("{pipeline}{more}")).unwrap().pipelines[0].urgency;
    assert_eq!(read(""), Urgency::Normal);
    assert_eq!(read("urgency = \"urgent\""), Urgency::Urgent);
    assert_eq!(read("urgency = \"background\""), Urgency::Background);
    let error = parse(&format!("{pipeline}urgency = \"urgnt\"\n")).unwrap_err().to_string();
    assert!(error.contains("urgnt") && error.contains("\"urgent\""), "{error}");
}
