//! The binary `sulcus`.

fn main() {}
