//! Values by DICOM keyword. The slices of a series have the same ones (`header::KEYWORDS` leaves out what changes from slice
//! to slice), so those that are read one after the other lie in memory once.

use std::{
    borrow::Cow,
    cell::RefCell,
    cmp::Ordering,
    collections::{BTreeMap, VecDeque},
    fmt,
    hash::{Hash, Hasher},
    ops::Deref,
    sync::Arc,
};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor},
};

/// Of how many series a thread remembers the keywords that it read: those that scanners of one site send at one time.
const REMEMBERED: usize = 16;

thread_local! {
    /// The last that were read, the newest first.
    static RECENT: RefCell<VecDeque<Keywords>> = const { RefCell::new(VecDeque::new()) };
}

/// Values by DICOM keyword, shared by the slices of a series.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Keywords(Arc<BTreeMap<String, String>>);

impl Keywords {
    /// To change them. Those that shared them before keep what they had.
    pub fn make_mut(&mut self) -> &mut BTreeMap<String, String> {
        Arc::make_mut(&mut self.0)
    }

    /// Finds them among those that were read before, or remembers them.
    fn of(pairs: Vec<(Text<'_>, Text<'_>)>) -> Self {
        RECENT.with_borrow_mut(|recent| {
            let same = |known: &Keywords| {
                let known = known.iter().map(|(keyword, value)| (keyword.as_str(), value.as_str()));
                known.eq(pairs.iter().map(|(keyword, value)| (keyword.0.as_ref(), value.0.as_ref())))
            };
            let found = recent.iter().position(same).and_then(|at| recent.remove(at));
            let keywords = found.unwrap_or_else(|| {
                recent.truncate(REMEMBERED - 1);
                pairs.into_iter().map(|(keyword, value)| (keyword.0.into_owned(), value.0.into_owned())).collect()
            });
            recent.push_front(keywords.clone());
            keywords
        })
    }
}

impl Deref for Keywords {
    type Target = BTreeMap<String, String>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl FromIterator<(String, String)> for Keywords {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Keywords(Arc::new(pairs.into_iter().collect()))
    }
}

impl From<BTreeMap<String, String>> for Keywords {
    fn from(pairs: BTreeMap<String, String>) -> Self {
        Keywords(Arc::new(pairs))
    }
}

impl PartialEq for Keywords {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for Keywords {}

impl PartialOrd for Keywords {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Keywords {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
    }
}

impl Hash for Keywords {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// Text that is copied only where it has to be.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Keywords;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("values by DICOM keyword")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keywords, A::Error> {
        let mut pairs = Vec::with_capacity(32);
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Keywords::of(pairs))
    }
}

impl<'de> Deserialize<'de> for Keywords {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Pairs)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(series: usize) -> Keywords {
        let json = format!(r#"{{"Modality":"MR","SeriesDescription":"a \"quoted\" one","SeriesNumber":"{series}"}}"#);
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn what_was_read_before_lies_in_memory_once() {
        let (one, other, again) = (read(1), read(2), read(1));
        assert!(Arc::ptr_eq(&one.0, &again.0));
        assert_eq!((one.clone(), one.cmp(&other)), (again, Ordering::Less));
        assert_eq!(one["SeriesDescription"], "a \"quoted\" one");
        let mut changed = one.clone();
        changed.make_mut().insert("SeriesNumber".to_owned(), "2".to_owned());
        assert_eq!((one["SeriesNumber"].as_str(), changed), ("1", other));
    }

    #[test]
    fn few_are_remembered() {
        let first = read(0);
        let some: Vec<Keywords> = (0..3 * REMEMBERED).map(read).collect();
        assert_eq!(RECENT.with_borrow(VecDeque::len), REMEMBERED);
        let anew = read(0);
        assert!(anew == first && !Arc::ptr_eq(&anew.0, &first.0));
        assert!(some.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn order_and_repetition_in_the_text_do_not_matter() {
        let read = |json: &str| serde_json::from_str::<Keywords>(json).unwrap();
        assert_eq!(read(r#"{"B":"1","A":"2"}"#), read(r#"{"A":"2","B":"1"}"#));
        assert_eq!(read(r#"{"A":"1","A":"2"}"#), read(r#"{"A":"2"}"#));
        assert!(serde_json::from_str::<Keywords>(r#"{"A":1}"#).is_err());
        assert_eq!(serde_json::to_string(&read(r#"{"B":"1","A":"2"}"#)).unwrap(), r#"{"A":"2","B":"1"}"#);
    }
}
