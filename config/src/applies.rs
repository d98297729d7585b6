//! What a changed rule or model applies to: new scans, scans since a day, or all that the site has.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// `applies_to` of a pipeline: which series its rule governs once it is recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum AppliesTo {
    /// Series that come after it.
    #[default]
    New,
    /// Those, and series scanned on this day or later, written as the number YYYYMMDD.
    Since(u32),
    /// Every series.
    All,
}

impl AppliesTo {
    /// What governs whatever either of the two does.
    pub fn widest(self, other: AppliesTo) -> AppliesTo {
        match (self, other) {
            (AppliesTo::All, _) | (_, AppliesTo::All) => AppliesTo::All,
            (AppliesTo::Since(a), AppliesTo::Since(b)) => AppliesTo::Since(a.min(b)),
            (AppliesTo::New, other) | (other, AppliesTo::New) => other,
        }
    }
}

impl From<AppliesTo> for String {
    fn from(applies_to: AppliesTo) -> Self {
        match applies_to {
            AppliesTo::New => "new".to_owned(),
            AppliesTo::Since(day) => {
                format!("since {:04}-{:02}-{:02}", day / 10_000, day / 100 % 100, day % 100)
            }
            AppliesTo::All => "all".to_owned(),
        }
    }
}

impl TryFrom<String> for AppliesTo {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "new" => return Ok(AppliesTo::New),
            "all" => return Ok(AppliesTo::All),
            _ => {}
        }
        text.strip_prefix("since ").and_then(day).map(AppliesTo::Since).ok_or_else(|| {
            format!(
                "applies_to is \"{text}\"; write \"new\", \"all\" or \"since YYYY-MM-DD\" with a day of the calendar"
            )
        })
    }
}

/// YYYY-MM-DD as the number YYYYMMDD; none where the calendar has no such day.
fn day(text: &str) -> Option<u32> {
    let mut parts = text.split('-');
    let mut next = |length: usize| {
        let part = parts.next().filter(|part| part.len() == length && part.bytes().all(|b| b.is_ascii_digit()))?;
        part.parse::<u32>().ok()
    };
    let (year, month, day) = (next(4)?, next(2)?, next(2)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap),
        _ => return None,
    };
    ((1..=days).contains(&day) && parts.next().is_none()).then_some(year * 10_000 + month * 100 + day)
}

impl JsonSchema for AppliesTo {
    fn schema_name() -> Cow<'static, str> {
        "AppliesTo".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Which series a changed rule or model governs: those that come after it, also those \
                            scanned on a day or later, or every series.",
            "type": "string",
            "pattern": "^(new|all|since [0-9]{4}-[0-9]{2}-[0-9]{2})$",
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::AppliesTo;

    #[test]
    fn what_is_written_is_read_again() {
        let all = [AppliesTo::New, AppliesTo::All, AppliesTo::Since(20_240_229), AppliesTo::Since(19_991_231)];
        for applies_to in all {
            assert_eq!(AppliesTo::try_from(String::from(applies_to)), Ok(applies_to));
        }
    }

    #[test]
    fn a_day_that_no_calendar_has_is_refused() {
        for text in [
            "since 2026-02-29",
            "since 1900-02-29",
            "since 2026-13-01",
            "since 2026-00-01",
            "since 2026-04-31",
            "since 2026-01-00",
            "since 2026-1-1",
            "since 26-01-01",
            "since 2026-01-01-01",
            "since +026-01-01",
            "since 2026-01-01 ",
            "since",
            "since tomorrow",
            "since  2026-01-01",
            "New",
            "",
        ] {
            let said = AppliesTo::try_from(text.to_owned()).unwrap_err();
            assert!(said.contains(&format!("\"{text}\"")) && said.contains("since YYYY-MM-DD"), "{said}");
        }
    }
}
