//! nnU-Net's `dataset.json`: channels and labels, as `LabelManager` understands them.

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::Value;

/// What a dataset's networks read and write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// Names of the channels, in order.
    pub channels: Vec<String>,
    /// Names of the labels, background first, without `ignore`; of the regions in their order, where there are such.
    pub labels: Vec<String>,
    /// The value that each region paints; empty where labels exclude each other.
    pub regions_class_order: Vec<u8>,
}

#[derive(Deserialize)]
struct File {
    #[serde(alias = "modality")]
    channel_names: Ordered,
    labels: Ordered,
    #[serde(default)]
    regions_class_order: Option<Vec<u8>>,
}

/// An object with its entries in the order of the file, which is that of regions.
struct Ordered(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Ordered;
            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Ordered(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

impl Dataset {
    /// Reads `dataset.json`.
    ///
    /// # Errors
    /// The field and what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let file: File = serde_json::from_slice(bytes).map_err(|error| format!("{error}; nnU-Net writes this file"))?;
        let mut channels = Vec::new();
        for place in 0..file.channel_names.0.len() {
            let name = file.channel_names.0.iter().find(|(key, _)| *key == place.to_string());
            let name = name.and_then(|(_, name)| name.as_str());
            channels.push(name.ok_or_else(|| format!("channel_names: channel {place} is missing"))?.to_owned());
        }
        let labels: Vec<(&str, Vec<u64>)> = file
            .labels
            .0
            .iter()
            .filter(|(name, _)| name != "ignore")
            .map(|(name, value)| {
                Ok((name.as_str(), values(value).ok_or_else(|| format!("labels: {name} is {value}"))?))
            })
            .collect::<Result<_, String>>()?;
        let background = |label: &(&str, Vec<u64>)| label.1.iter().all(|value| *value == 0);
        let zero = labels.iter().find(|label| label.0 == "background" && label.1 == [0]);
        zero.ok_or("labels: background must be there, with the value 0")?;
        let regions = labels.iter().any(|label| label.1.len() > 1);
        let mut named: Vec<String> = vec!["background".to_owned()];
        let mut regions_class_order = Vec::new();
        if regions {
            named.extend(labels.iter().filter(|label| !background(label)).map(|label| label.0.to_owned()));
            regions_class_order = file.regions_class_order.unwrap_or_default();
            if regions_class_order.len() + 1 != named.len() {
                let (values, regions) = (regions_class_order.len(), named.len() - 1);
                return Err(format!("regions_class_order: it has {values} values where there are {regions} regions"));
            }
        } else {
            for value in 1..labels.len() as u64 {
                let name = labels.iter().find(|label| label.1 == [value]).map(|label| label.0);
                named.push(name.ok_or_else(|| format!("labels: no label has the value {value}"))?.to_owned());
            }
        }
        Ok(Dataset { channels, labels: named, regions_class_order })
    }
}

/// The values of a label: one, or those of a region. Older files hold them as text.
fn values(value: &Value) -> Option<Vec<u64>> {
    match value {
        Value::Number(number) => Some(vec![number.as_u64()?]),
        Value::String(text) => Some(vec![text.parse().ok()?]),
        Value::Array(list) => list.iter().map(Value::as_u64).collect(),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_in_the_order_of_their_values_and_ignore_is_none() {
        let text = r#"{"channel_names": {"1": "FLAIR", "0": "T1w"},
            "labels": {"WML": 2, "background": 0, "CL": 1, "ignore": 3}, "file_ending": ".nii.gz"}"#;
        let found = Dataset::parse(text.as_bytes()).unwrap();
        assert_eq!(found.channels, ["T1w", "FLAIR"]);
        assert_eq!(found.labels, ["background", "CL", "WML"]);
        assert!(found.regions_class_order.is_empty());
    }

    #[test]
    fn regions_keep_the_order_of_the_file() {
        let text = r#"{"channel_names": {"0": "T1w"}, "regions_class_order": [1, 3],
            "labels": {"background": 0, "whole": [1, 2, 3], "core": [3]}}"#;
        let found = Dataset::parse(text.as_bytes()).unwrap();
        assert_eq!(
            (found.labels, found.regions_class_order),
            (vec!["background".into(), "whole".into(), "core".into()], vec![1, 3])
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, says) in [
            (r#"{"labels": {"background": 0}}"#, "channel_names"),
            (r#"{"channel_names": {"1": "T1w"}, "labels": {"background": 0, "CL": 1}}"#, "channel 0"),
            (r#"{"channel_names": {"0": "T1w"}, "labels": {"background": 1, "CL": 0}}"#, "background"),
            (r#"{"channel_names": {"0": "T1w"}, "labels": {"background": 0, "CL": 2}}"#, "value 1"),
            (r#"{"channel_names": {"0": "T1w"}, "labels": {"background": 0, "CL": [1, 2]}}"#, "regions_class_order"),
            (r#"{"channel_names": {"0": "T1w"}, "labels": {"background": 0, "CL": {}}}"#, "CL"),
        ] {
            let message = Dataset::parse(text.as_bytes()).unwrap_err();
            assert!(message.contains(says), "{message}");
        }
    }
}
