//! Made-up instances for the tests of spool, ledger and receiver.

use sulcus_connectors::inbox::Incoming;
use sulcus_operators::{
    digest::Digest,
    rows::{InstanceFacts, Keywords, PatientKey},
};

/// Facts of instance `number` of series `series` with these bytes.
pub fn facts(series: u32, number: u32, data_set: &[u8]) -> InstanceFacts {
    let digest = Digest::of(data_set);
    InstanceFacts {
        sop_class_uid: "1.2.840.10008.5.1.4.1.1.4".into(),
        sop_instance_uid: format!("1.2.3.{series}.{number}"),
        study_uid: "1.2.3".into(),
        series_uid: format!("1.2.3.{series}"),
        transfer_syntax: "1.2.840.10008.1.2.1".into(),
        data_set_digest: digest,
        content_digest: digest,
        demographics_digest: Digest::of(b"somebody"),
        patient: PatientKey { issuer: "source:test".into(), id: "P1".into() },
        instance_number: Some(i64::from(number)),
        frame_of_reference_uid: String::new(),
        matrix: [16, 16],
        enhanced: false,
        mosaic: false,
        expected_instances: None,
        counted_by: String::new(),
        concatenation: None,
        frames: Vec::new(),
        acquisition: String::new(),
        keywords: Keywords::default(),
    }
}

/// An object as it comes in: its first bytes are `series number `, then filling.
pub fn incoming(series: u32, number: u32, filling: &[u8]) -> Incoming {
    let mut data_set = format!("{series} {number} ").into_bytes();
    data_set.extend_from_slice(filling);
    Incoming {
        source: "test".into(),
        transfer_syntax: "1.2.840.10008.1.2.1".into(),
        sop_class_uid: String::new(),
        sop_instance_uid: String::new(),
        data_set,
    }
}

/// Reads facts back from what [`incoming`] makes; anything else is not understood.
pub fn read(incoming: &Incoming) -> Result<InstanceFacts, String> {
    let mut words = incoming.data_set.splitn(3, |&byte| byte == b' ');
    let mut number = || std::str::from_utf8(words.next()?).ok()?.parse().ok();
    match (number(), number()) {
        (Some(series), Some(instance)) => Ok(facts(series, instance, &incoming.data_set)),
        _ => Err("it does not begin with two numbers".into()),
    }
}
