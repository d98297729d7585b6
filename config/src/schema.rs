//! The JSON Schema of a site's file, for editors and for `sulcus config schema`.

use crate::site::Site;

impl Site {
    /// The JSON Schema (draft 2020-12) that a site's file follows.
    pub fn schema() -> serde_json::Value {
        let mut schema = schemars::schema_for!(Site);
        schema.insert("title".to_owned(), "A Sulcus site".into());
        schema.to_value()
    }
}
