//! ONNX models, written by hand: the protobuf wire format and as much of `onnx.proto` as a feed-forward graph needs.
//!
//! Field numbers are those of onnx.proto (IR version 8). ONNX Runtime reads; `steady` reads as much as it rewrites.

mod steady;

pub use steady::{external, steady};

/// The opset that graphs are written for.
const OPSET: i64 = 13;
const IR_VERSION: i64 = 8;
/// Who wrote a model.
const PRODUCER: &[u8] = b"sulcus";
/// `TensorProto.DataType.FLOAT`.
pub const FLOAT: i64 = 1;
/// `TensorProto.DataType.INT64`.
const INT64: i64 = 7;
/// `TensorProto.DataType.FLOAT16`.
pub const FLOAT16: i64 = 10;

/// A protobuf message in the making.
#[derive(Clone, Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn int(&mut self, field: u64, value: i64) {
        self.varint(field << 3);
        self.varint(value as u64);
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn float(&mut self, field: u64, value: f32) {
        self.varint(field << 3 | 5);
        self.0.extend(value.to_le_bytes());
    }

    fn message(&mut self, field: u64, message: &Message) {
        self.bytes(field, &message.0);
    }
}

/// An attribute of a node.
#[derive(Clone, Debug)]
pub enum Attribute {
    /// One integer.
    Int(i64),
    /// One number.
    Float(f32),
    /// A list of integers.
    Ints(Vec<i64>),
    /// A word.
    Text(String),
}

/// Length of an axis that is only known at run time: the batch.
pub const FREE: i64 = -1;
/// What a free axis is called.
pub const BATCH: &str = "batch";
/// Length of an axis that may have any length at run time, whatever others have.
pub const ANY: i64 = -2;

/// A graph with one input; inputs and outputs are f32, and of fixed shape but for [`FREE`] and [`ANY`] axes.
#[derive(Clone, Debug)]
pub struct Graph {
    name: String,
    input: (String, Vec<i64>),
    half: bool,
    nodes: Vec<Message>,
    initializers: Vec<Message>,
}

impl Graph {
    /// A graph that reads `input`, of the given shape (batch, channel, z, y, x).
    pub fn new(name: &str, input: &str, shape: &[i64]) -> Self {
        let input = (input.to_owned(), shape.to_vec());
        Graph { name: name.to_owned(), input, half: false, nodes: Vec::new(), initializers: Vec::new() }
    }

    /// Keeps all weights that are added from now on in fp16.
    pub fn in_half_precision(mut self) -> Self {
        self.half = true;
        self
    }

    /// Adds constant weights under a name.
    pub fn weights(&mut self, name: &str, shape: &[i64], values: &[f32]) {
        let bytes: Vec<u8> = if self.half {
            values.iter().flat_map(|value| half::f16::from_f32(*value).to_le_bytes()).collect()
        } else {
            values.iter().flat_map(|value| value.to_le_bytes()).collect()
        };
        self.initializers.push(tensor(name, if self.half { FLOAT16 } else { FLOAT }, shape, &bytes));
    }

    /// Adds a node that computes `output`; nodes come after what they read.
    pub fn node(&mut self, operator: &str, inputs: &[&str], output: &str, attributes: &[(&str, Attribute)]) {
        self.nodes.push(node(operator, inputs, output, attributes));
    }

    /// The model's bytes, with its outputs and their shapes.
    pub fn finish(self, outputs: &[(&str, &[i64])], doc: &str) -> Vec<u8> {
        let mut graph = Message::default();
        self.nodes.iter().for_each(|node| graph.message(1, node));
        graph.bytes(2, self.name.as_bytes());
        self.initializers.iter().for_each(|tensor| graph.message(5, tensor));
        graph.message(11, &value_info(&self.input.0, &self.input.1));
        outputs.iter().for_each(|(name, shape)| graph.message(12, &value_info(name, shape)));
        let mut opset = Message::default();
        opset.bytes(1, b"");
        opset.int(2, OPSET);
        let mut model = Message::default();
        model.int(1, IR_VERSION);
        model.bytes(2, PRODUCER);
        model.bytes(6, doc.as_bytes());
        model.message(7, &graph);
        model.message(8, &opset);
        model.0
    }
}

/// A constant of a type, its numbers in little-endian.
fn tensor(name: &str, kind: i64, shape: &[i64], bytes: &[u8]) -> Message {
    let mut tensor = Message::default();
    for &length in shape {
        tensor.int(1, length);
    }
    tensor.int(2, kind);
    tensor.bytes(8, name.as_bytes());
    tensor.bytes(9, bytes);
    tensor
}

/// A node that computes `output`.
fn node(operator: &str, inputs: &[&str], output: &str, attributes: &[(&str, Attribute)]) -> Message {
    let mut node = Message::default();
    for input in inputs {
        node.bytes(1, input.as_bytes());
    }
    node.bytes(2, output.as_bytes());
    node.bytes(3, output.as_bytes());
    node.bytes(4, operator.as_bytes());
    for (name, value) in attributes {
        let mut attribute = Message::default();
        attribute.bytes(1, name.as_bytes());
        match value {
            Attribute::Int(value) => {
                attribute.int(3, *value);
                attribute.int(20, 2);
            }
            Attribute::Float(value) => {
                attribute.float(2, *value);
                attribute.int(20, 1);
            }
            Attribute::Text(text) => {
                attribute.bytes(4, text.as_bytes());
                attribute.int(20, 3);
            }
            Attribute::Ints(values) => {
                values.iter().for_each(|value| attribute.int(8, *value));
                attribute.int(20, 7);
            }
        }
        node.message(5, &attribute);
    }
    node
}

fn value_info(name: &str, shape: &[i64]) -> Message {
    let mut dimensions = Message::default();
    for &length in shape {
        let mut dimension = Message::default();
        match length {
            FREE => dimension.bytes(2, BATCH.as_bytes()),
            // No value and no name: unknown.
            ANY => {}
            length => dimension.int(1, length),
        }
        dimensions.message(1, &dimension);
    }
    let mut tensor = Message::default();
    tensor.int(1, FLOAT);
    tensor.message(2, &dimensions);
    let mut kind = Message::default();
    kind.message(1, &tensor);
    let mut info = Message::default();
    info.bytes(1, name.as_bytes());
    info.message(2, &kind);
    info
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_protobuf_says() {
        // From the protobuf encoding guide: field 1, 150 is 08 96 01; field 2, "testing" is 12 07 ...
        let mut message = Message::default();
        message.int(1, 150);
        message.bytes(2, b"testing");
        assert_eq!(message.0, b"\x08\x96\x01\x12\x07testing");
        let mut negative = Message::default();
        negative.int(1, -1);
        assert_eq!(negative.0.len(), 11);
    }
}
