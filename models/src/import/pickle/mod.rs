//! Python pickles, read without Python and without calling anything.
//!
//! A pickle is a program; here it only builds a graph of inert [`Node`]s. What it would import, call or construct is
//! noted and never done, so that an unknown global does no harm. Shared and circular references cost nothing, since
//! nodes refer to each other by [`Id`]. Opcodes are those of `pickletools` (protocols 0 to 5) but for extensions and
//! out-of-band buffers.

mod machine;

use thiserror::Error;

/// Why a pickle cannot be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the pickle is broken or hostile at byte {at}: {reason}; save the checkpoint again with nnU-Net's trainer")]
pub struct PickleError {
    /// Offset of the opcode.
    pub at: usize,
    /// What is wrong.
    pub reason: String,
}

/// A node's place in its [`Pickle`].
pub type Id = usize;

/// What a pickle would have built.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// `None`.
    None,
    /// A truth value.
    Bool(bool),
    /// An integer of at most 64 bits.
    Int(i64),
    /// A float.
    Float(f64),
    /// A string.
    Text(String),
    /// Bytes, or an integer too long for [`Node::Int`].
    Bytes(Vec<u8>),
    /// A list or set.
    List(Vec<Id>),
    /// A tuple.
    Tuple(Vec<Id>),
    /// A dictionary, in the order of its entries.
    Dict(Vec<(Id, Id)>),
    /// What would have been imported.
    Global {
        /// The module.
        module: String,
        /// The name in it.
        name: String,
    },
    /// What would have come of a call.
    Made {
        /// What would have been called.
        callee: Id,
        /// Its arguments: a tuple.
        arguments: Id,
        /// Entries set on it afterwards.
        entries: Vec<(Id, Id)>,
    },
    /// A reference out of the pickle: torch's storages.
    Persistent(Id),
}

/// A pickle's nodes.
#[derive(Clone, Debug)]
pub struct Pickle {
    nodes: Vec<Node>,
    root: Id,
}

impl Pickle {
    /// Reads the one object of a pickle.
    pub fn parse(bytes: &[u8]) -> Result<Self, PickleError> {
        machine::parse(bytes)
    }

    /// The outermost object.
    pub fn root(&self) -> Id {
        self.root
    }

    /// A node.
    pub fn node(&self, id: Id) -> &Node {
        self.nodes.get(id).unwrap_or(&Node::None)
    }

    /// The value under a text key of a dictionary (or of an object that was filled like one).
    pub fn get(&self, dictionary: Id, key: &str) -> Option<Id> {
        self.entries(dictionary).iter().rev().find(|(found, _)| self.text(*found) == Some(key)).map(|(_, value)| *value)
    }

    /// The entries of a dictionary, or of an object that was filled like one.
    pub fn entries(&self, dictionary: Id) -> &[(Id, Id)] {
        match self.node(dictionary) {
            Node::Dict(entries) | Node::Made { entries, .. } => entries,
            _ => &[],
        }
    }

    /// The members of a list or tuple.
    pub fn members(&self, list: Id) -> Option<&[Id]> {
        match self.node(list) {
            Node::List(members) | Node::Tuple(members) => Some(members),
            _ => None,
        }
    }

    /// A text.
    pub fn text(&self, id: Id) -> Option<&str> {
        if let Node::Text(text) = self.node(id) { Some(text) } else { None }
    }

    /// A number that counts something.
    pub fn count(&self, id: Id) -> Option<usize> {
        if let Node::Int(value) = self.node(id) { usize::try_from(*value).ok() } else { None }
    }

    /// Module and name of a global.
    pub fn global(&self, id: Id) -> Option<(&str, &str)> {
        if let Node::Global { module, name } = self.node(id) { Some((module, name)) } else { None }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
