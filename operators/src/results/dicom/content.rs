//! Content items of structured reports and key object selections (PS3.3 C.17.3), and lists of references to objects
//! (PS3.3 C.17.2.1).
//!
//! What a document says with them is its builder's (`results::sr`, `results::kos`).

use std::collections::BTreeMap;

use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use super::{
    Equipment, Reference,
    codes::Code,
    elements::{Element, coded, element, sequence, short, single, text as text_element},
    text::{ascii, decimal, written, written_long},
};
use crate::results::uid::device_uid;

/// The scheme of the codes that PS3.16 has none for.
pub(crate) const PRIVATE_SCHEME: &str = "99SULCUS";

const LANGUAGE: Code = Code("121049", "DCM", "Language of Content Item and Descendants");
const ENGLISH: Code = Code("en", "RFC5646", "English");
const OBSERVER_TYPE: Code = Code("121005", "DCM", "Observer Type");
const DEVICE: Code = Code("121007", "DCM", "Device");
const DEVICE_UID: Code = Code("121012", "DCM", "Device Observer UID");
const DEVICE_NAME: Code = Code("121013", "DCM", "Device Observer Name");
const DEVICE_MANUFACTURER: Code = Code("121014", "DCM", "Device Observer Manufacturer");
const DEVICE_MODEL: Code = Code("121015", "DCM", "Device Observer Model Name");
const DEVICE_SERIAL: Code = Code("121016", "DCM", "Device Observer Serial Number");
const PERSON: Code = Code("121006", "DCM", "Person");
const PERSON_NAME: Code = Code("121008", "DCM", "Person Observer Name");

/// How an item stands to the one that holds it (PS3.3 C.17.3.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    /// It is a part of it.
    Contains,
    /// It says more exactly what the other's name means.
    ConceptMod,
    /// It says who observed, or what.
    ObsContext,
    /// It describes it.
    Properties,
    /// It is what the other was found from.
    InferredFrom,
}

impl Relation {
    fn term(self) -> &'static str {
        match self {
            Self::Contains => "CONTAINS",
            Self::ConceptMod => "HAS CONCEPT MOD",
            Self::ObsContext => "HAS OBS CONTEXT",
            Self::Properties => "HAS PROPERTIES",
            Self::InferredFrom => "INFERRED FROM",
        }
    }
}

/// The content sequence of a document or an item.
pub(crate) type Items = Vec<InMemDicomObject>;

/// The root container's elements; `template` is of the DCMR (PS3.16).
pub(crate) fn root(title: Code, template: &str, items: Items) -> [Element; 5] {
    [
        text_element(tags::VALUE_TYPE, VR::CS, "CONTAINER"),
        coded(tags::CONCEPT_NAME_CODE_SEQUENCE, title),
        text_element(tags::CONTINUITY_OF_CONTENT, VR::CS, "SEPARATE"),
        template_sequence(template),
        sequence(tags::CONTENT_SEQUENCE, items),
    ]
}

/// A container within the root; `template` where it follows one of its own.
pub(crate) fn container(name: Code, template: Option<&str>, items: Items) -> InMemDicomObject {
    let mut item = begin(Relation::Contains, "CONTAINER", Some(name));
    item.put(text_element(tags::CONTINUITY_OF_CONTENT, VR::CS, "SEPARATE"));
    if let Some(template) = template {
        item.put(template_sequence(template));
    }
    with(item, items)
}

/// An item and what it holds.
pub(crate) fn with(mut item: InMemDicomObject, items: Items) -> InMemDicomObject {
    if !items.is_empty() {
        item.put(sequence(tags::CONTENT_SEQUENCE, items));
    }
    item
}

/// A TEXT item; `value` is encoded already and not empty.
pub(crate) fn text(relation: Relation, name: Code, value: impl Into<Vec<u8>>) -> InMemDicomObject {
    let mut item = begin(relation, "TEXT", Some(name));
    item.put(element(tags::TEXT_VALUE, VR::UT, value.into()));
    item
}

/// A CODE item.
pub(crate) fn code(relation: Relation, name: Code, value: Code) -> InMemDicomObject {
    let mut item = begin(relation, "CODE", Some(name));
    item.put(coded(tags::CONCEPT_CODE_SEQUENCE, value));
    item
}

/// A NUM item; `value` is finite.
pub(crate) fn number(relation: Relation, name: Code, value: f64, unit: Code) -> InMemDicomObject {
    let mut item = begin(relation, "NUM", Some(name));
    item.put(single(
        tags::MEASURED_VALUE_SEQUENCE,
        [coded(tags::MEASUREMENT_UNITS_CODE_SEQUENCE, unit), text_element(tags::NUMERIC_VALUE, VR::DS, decimal(value))],
    ));
    item
}

/// A UIDREF item.
pub(crate) fn uid(relation: Relation, name: Code, value: &str) -> InMemDicomObject {
    let mut item = begin(relation, "UIDREF", Some(name));
    item.put(text_element(tags::UID, VR::UI, value));
    item
}

/// An IMAGE or COMPOSITE item; `segment` is a number of a segmentation's segment.
pub(crate) fn object(
    value_type: &str,
    name: Option<Code>,
    (class, instance): (&str, &str),
    segment: Option<u16>,
) -> InMemDicomObject {
    let mut item = begin(Relation::Contains, value_type, name);
    let mut referenced = referenced(class, instance);
    if let Some(number) = segment {
        referenced.put(short(tags::REFERENCED_SEGMENT_NUMBER, number));
    }
    item.put(sequence(tags::REFERENCED_SOP_SEQUENCE, vec![referenced]));
    item
}

/// An SCOORD3D item of one point, LPS mm.
pub(crate) fn point(relation: Relation, name: Code, at: [f64; 3], frame_of_reference_uid: &str) -> InMemDicomObject {
    let mut item = begin(relation, "SCOORD3D", Some(name));
    let at = at.map(|mm| mm as f32);
    item.put(DataElement::new(tags::GRAPHIC_DATA, VR::FL, PrimitiveValue::F32(at.as_slice().into())));
    item.put(text_element(tags::GRAPHIC_TYPE, VR::CS, "POINT"));
    item.put(text_element(tags::REFERENCED_FRAME_OF_REFERENCE_UID, VR::UI, frame_of_reference_uid));
    item
}

/// Language and device observer of a document (PS3.16 TID 1204, 1002 and 1004).
pub(crate) fn context(equipment: &Equipment<'_>) -> Items {
    let device = |name, value: &str| text(Relation::ObsContext, name, value);
    let serial = ascii(equipment.serial_number, 64);
    let mut items = vec![
        code(Relation::ConceptMod, LANGUAGE, ENGLISH),
        code(Relation::ObsContext, OBSERVER_TYPE, DEVICE),
        uid(Relation::ObsContext, DEVICE_UID, &device_uid(equipment.serial_number)),
        device(DEVICE_NAME, "Sulcus"),
        device(DEVICE_MANUFACTURER, "Sulcus"),
        device(DEVICE_MODEL, "Sulcus"),
    ];
    if !serial.is_empty() {
        items.push(device(DEVICE_SERIAL, &serial));
    }
    items
}

/// A person as the observer of one item (PS3.16 TID 1003); `name` is an encoded PN.
pub(crate) fn person(name: Vec<u8>) -> [InMemDicomObject; 2] {
    let mut item = begin(Relation::ObsContext, "PNAME", Some(PERSON_NAME));
    item.put(element(tags::PERSON_NAME, VR::PN, name));
    [code(Relation::ObsContext, OBSERVER_TYPE, PERSON), item]
}

/// References by study and series, each object once (PS3.3 C.17.2.1).
pub(crate) fn hierarchy<'a>(tag: Tag, objects: impl IntoIterator<Item = Reference<'a>>) -> Element {
    let mut studies: BTreeMap<&str, BTreeMap<&str, BTreeMap<&str, &str>>> = BTreeMap::new();
    for object in objects {
        let series = studies.entry(object.study_instance_uid).or_default();
        series.entry(object.series_instance_uid).or_default().insert(object.sop_instance_uid, object.sop_class_uid);
    }
    let of_series = |(series, objects): (&str, BTreeMap<&str, &str>)| {
        let objects = objects.into_iter().map(|(instance, class)| referenced(class, instance)).collect();
        InMemDicomObject::from_element_iter([
            sequence(tags::REFERENCED_SOP_SEQUENCE, objects),
            text_element(tags::SERIES_INSTANCE_UID, VR::UI, series),
        ])
    };
    let of_study = |(study, series): (&str, BTreeMap<&str, BTreeMap<&str, &str>>)| {
        InMemDicomObject::from_element_iter([
            sequence(tags::REFERENCED_SERIES_SEQUENCE, series.into_iter().map(of_series).collect()),
            text_element(tags::STUDY_INSTANCE_UID, VR::UI, study),
        ])
    };
    sequence(tag, studies.into_iter().map(of_study).collect())
}

/// What [`PRIVATE_SCHEME`] is (PS3.3 C.12.1.1.9).
pub(crate) fn coding_scheme() -> Element {
    single(
        tags::CODING_SCHEME_IDENTIFICATION_SEQUENCE,
        [
            text_element(tags::CODING_SCHEME_DESIGNATOR, VR::SH, PRIVATE_SCHEME),
            text_element(tags::CODING_SCHEME_NAME, VR::ST, "Codes of Sulcus"),
            text_element(tags::CODING_SCHEME_RESPONSIBLE_ORGANIZATION, VR::ST, "Sulcus"),
        ],
    )
}

/// People's words as values of a data set with the source's character set.
pub(crate) struct Words<'a> {
    /// SpecificCharacterSet.
    pub(crate) charset: &'a str,
    /// What could not be written as it was; never the words themselves.
    pub(crate) notes: &'a mut Vec<String>,
}

impl Words<'_> {
    /// As UT. None where there are none; `whose` names them in a note.
    pub(crate) fn long(&mut self, whose: &str, words: &str) -> Option<Vec<u8>> {
        if words.trim().is_empty() {
            return None;
        }
        Some(written_long(words, self.charset).unwrap_or_else(|| {
            self.replaced(whose);
            ascii(words, usize::MAX).into_bytes()
        }))
    }

    /// As PN: without a caret it is taken for a family name. None where there is none.
    pub(crate) fn name(&mut self, whose: &str, name: &str) -> Option<Vec<u8>> {
        let name = name.trim();
        if name.is_empty() {
            return None;
        }
        let components = name.matches('^').count();
        let mut plain = name.replace('=', "_");
        if components > 4 {
            plain = plain.replace('^', " ");
        }
        let longest = if (1..=4).contains(&components) { 64 } else { 63 };
        if plain.chars().count() > longest {
            self.notes.push(format!("{whose}: a name of more than {longest} characters was cut"));
            plain = plain.chars().take(longest).collect();
        }
        if !plain.contains('^') {
            plain.push('^');
        }
        Some(written(&plain, self.charset).unwrap_or_else(|| {
            self.replaced(whose);
            ascii(&plain, 64).into_bytes()
        }))
    }

    fn replaced(&mut self, whose: &str) {
        self.notes.push(format!("{whose}: characters that the source's character set lacks are written as _"));
    }
}

fn begin(relation: Relation, value_type: &str, name: Option<Code>) -> InMemDicomObject {
    let mut item = InMemDicomObject::from_element_iter([
        text_element(tags::RELATIONSHIP_TYPE, VR::CS, relation.term()),
        text_element(tags::VALUE_TYPE, VR::CS, value_type),
    ]);
    if let Some(name) = name {
        item.put(coded(tags::CONCEPT_NAME_CODE_SEQUENCE, name));
    }
    item
}

fn template_sequence(template: &str) -> Element {
    single(
        tags::CONTENT_TEMPLATE_SEQUENCE,
        [
            text_element(tags::MAPPING_RESOURCE, VR::CS, "DCMR"),
            text_element(tags::TEMPLATE_IDENTIFIER, VR::CS, template),
        ],
    )
}

fn referenced(class: &str, instance: &str) -> InMemDicomObject {
    InMemDicomObject::from_element_iter([
        text_element(tags::REFERENCED_SOP_CLASS_UID, VR::UI, class),
        text_element(tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, instance),
    ])
}
