//! Python pickles, read without Python and without calling anything.
//!
//! A pickle is a program; here it only builds a graph of inert [`Node`]s. What it would import, call or construct is
//! noted and never done, so that an unknown global does no harm. Shared and circular references cost nothing, since
//! nodes refer to each other by [`Id`]. Opcodes are those of `pickletools` (protocols 0 to 5) but for extensions and
//! out-of-band buffers.

use std::collections::HashMap;

use thiserror::Error;

/// Most nodes of one pickle; a checkpoint of nnU-Net with its optimiser and logs has some tens of thousands.
const MOST_NODES: usize = 4_000_000;

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
        let mut machine =
            Machine { bytes, at: 0, nodes: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
        loop {
            let at = machine.at;
            match machine.step() {
                Ok(None) => {}
                Ok(Some(root)) => return Ok(Pickle { nodes: machine.nodes, root }),
                Err(reason) => return Err(PickleError { at, reason }),
            }
        }
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

struct Machine<'b> {
    bytes: &'b [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

type Step<T> = Result<T, String>;

impl<'b> Machine<'b> {
    fn take(&mut self, count: u64) -> Step<&'b [u8]> {
        let end = usize::try_from(count).ok().and_then(|count| self.at.checked_add(count));
        let bytes = end.and_then(|end| self.bytes.get(self.at..end)).ok_or("it ends too early")?;
        self.at += bytes.len();
        Ok(bytes)
    }

    /// An unsigned little-endian number of so many bytes.
    fn number(&mut self, bytes: u64) -> Step<u64> {
        Ok(self.take(bytes)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn line(&mut self) -> Step<&'b str> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|byte| *byte == b'\n').ok_or("a line has no end")?;
        let line = self.take(length as u64 + 1)?;
        std::str::from_utf8(&line[..length]).map_err(|_| "a line is not text".to_owned())
    }

    fn push(&mut self, node: Node) -> Step<()> {
        if self.nodes.len() >= MOST_NODES {
            return Err(format!("it builds more than {MOST_NODES} objects"));
        }
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
        Ok(())
    }

    fn pop(&mut self) -> Step<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("it takes from an empty stack".to_owned());
        }
        self.stack.pop().ok_or_else(|| "it takes from an empty stack".to_owned())
    }

    fn top(&self) -> Step<Id> {
        self.stack.last().copied().ok_or_else(|| "it looks at an empty stack".to_owned())
    }

    fn popped_to_mark(&mut self) -> Step<Vec<Id>> {
        let mark = self.marks.pop().ok_or("it looks for a mark that is not there")?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn pairs(members: &[Id]) -> Step<Vec<(Id, Id)>> {
        match members.as_chunks() {
            (pairs, []) => Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect()),
            _ => Err("a key has no value".to_owned()),
        }
    }

    fn add_entries(&mut self, to: Id, mut new: Vec<(Id, Id)>) -> Step<()> {
        match self.nodes.get_mut(to) {
            Some(Node::Dict(entries) | Node::Made { entries, .. }) => entries.append(&mut new),
            _ => return Err("it sets entries of what has none".to_owned()),
        }
        Ok(())
    }

    fn add_members(&mut self, to: Id, mut new: Vec<Id>) -> Step<()> {
        match self.nodes.get_mut(to) {
            Some(Node::List(members)) => members.append(&mut new),
            // A subclass of a list: what it holds is not looked at.
            Some(Node::Made { .. }) => {}
            _ => return Err("it appends to what is no list".to_owned()),
        }
        Ok(())
    }

    fn made(&mut self, callee: Id, arguments: Id) -> Step<()> {
        self.push(Node::Made { callee, arguments, entries: Vec::new() })
    }

    fn tuple(&mut self, count: usize) -> Step<()> {
        let mut members = (0..count).map(|_| self.pop()).collect::<Step<Vec<_>>>()?;
        members.reverse();
        self.push(Node::Tuple(members))
    }

    fn text(&mut self, length: u64) -> Step<()> {
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.push(Node::Text(text))
    }

    fn bytes(&mut self, length: u64) -> Step<()> {
        let bytes = self.take(length)?.to_vec();
        self.push(Node::Bytes(bytes))
    }

    /// A little-endian two's complement integer of any length.
    fn long(&mut self, length: u64) -> Step<()> {
        let bytes = self.take(length)?;
        let node = if bytes.len() > 8 {
            Node::Bytes(bytes.to_vec())
        } else {
            let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
            let mut word = [if negative { 0xff } else { 0 }; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            Node::Int(i64::from_le_bytes(word))
        };
        self.push(node)
    }

    fn remember(&mut self, key: u64) -> Step<()> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u64) -> Step<()> {
        let id = self.memo.get(&key).copied().ok_or("it recalls what it never noted")?;
        self.stack.push(id);
        Ok(())
    }

    fn decimal<T: std::str::FromStr>(line: &str) -> Step<T> {
        line.trim_end_matches('L').parse().map_err(|_| format!("{line:?} is no number"))
    }

    /// Does one opcode; gives the root at the end.
    fn step(&mut self) -> Step<Option<Id>> {
        let opcode = self.number(1)? as u8;
        match opcode {
            b'.' => return self.pop().map(Some),
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.popped_to_mark()?),
            b'2' => self.stack.push(self.top()?),
            b'N' => self.push(Node::None)?,
            0x88 => self.push(Node::Bool(true))?,
            0x89 => self.push(Node::Bool(false))?,
            b'I' => {
                let node = match self.line()? {
                    "00" => Node::Bool(false),
                    "01" => Node::Bool(true),
                    line => Node::Int(Self::decimal(line)?),
                };
                self.push(node)?;
            }
            b'L' => {
                let value = Self::decimal(self.line()?)?;
                self.push(Node::Int(value))?;
            }
            b'J' => {
                let value = self.number(4)? as u32 as i32;
                self.push(Node::Int(value.into()))?;
            }
            b'K' => {
                let value = self.number(1)?;
                self.push(Node::Int(value as i64))?;
            }
            b'M' => {
                let value = self.number(2)?;
                self.push(Node::Int(value as i64))?;
            }
            0x8a => {
                let length = self.number(1)?;
                self.long(length)?;
            }
            0x8b => {
                let length = self.number(4)?;
                self.long(length)?;
            }
            b'F' => {
                let value = Self::decimal(self.line()?)?;
                self.push(Node::Float(value))?;
            }
            b'G' => {
                let bits = self.number(8)?.swap_bytes();
                self.push(Node::Float(f64::from_bits(bits)))?;
            }
            b'S' => {
                let text = self.line()?.trim_matches(['\'', '"']).to_owned();
                self.push(Node::Text(text))?;
            }
            b'V' => {
                let text = self.line()?.to_owned();
                self.push(Node::Text(text))?;
            }
            b'T' | b'X' => {
                let length = self.number(4)?;
                self.text(length)?;
            }
            b'U' | 0x8c => {
                let length = self.number(1)?;
                self.text(length)?;
            }
            0x8d => {
                let length = self.number(8)?;
                self.text(length)?;
            }
            b'B' => {
                let length = self.number(4)?;
                self.bytes(length)?;
            }
            b'C' => {
                let length = self.number(1)?;
                self.bytes(length)?;
            }
            0x8e | 0x96 => {
                let length = self.number(8)?;
                self.bytes(length)?;
            }
            b']' | 0x8f => self.push(Node::List(Vec::new()))?,
            b')' => self.push(Node::Tuple(Vec::new()))?,
            b'}' => self.push(Node::Dict(Vec::new()))?,
            b'l' | 0x91 => {
                let members = self.popped_to_mark()?;
                self.push(Node::List(members))?;
            }
            b't' => {
                let members = self.popped_to_mark()?;
                self.push(Node::Tuple(members))?;
            }
            b'd' => {
                let entries = Self::pairs(&self.popped_to_mark()?)?;
                self.push(Node::Dict(entries))?;
            }
            0x85..=0x87 => self.tuple(usize::from(opcode) - 0x84)?,
            b'a' => {
                let member = self.pop()?;
                self.add_members(self.top()?, vec![member])?;
            }
            b'e' | 0x90 => {
                let members = self.popped_to_mark()?;
                self.add_members(self.top()?, members)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.add_entries(self.top()?, vec![(key, value)])?;
            }
            b'u' => {
                let entries = Self::pairs(&self.popped_to_mark()?)?;
                self.add_entries(self.top()?, entries)?;
            }
            b'c' => {
                let (module, name) = (self.line()?.to_owned(), self.line()?.to_owned());
                self.push(Node::Global { module, name })?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |id: Id| match self.nodes.get(id) {
                    Some(Node::Text(text)) => Ok(text.clone()),
                    _ => Err("a global has no name"),
                };
                let (module, name) = (text(module)?, text(name)?);
                self.push(Node::Global { module, name })?;
            }
            b'R' | 0x81 => {
                let (arguments, callee) = (self.pop()?, self.pop()?);
                self.made(callee, arguments)?;
            }
            0x92 => {
                let (_keywords, arguments, callee) = (self.pop()?, self.pop()?, self.pop()?);
                self.made(callee, arguments)?;
            }
            b'o' => {
                let mut members = self.popped_to_mark()?;
                if members.is_empty() {
                    return Err("an object has no class".to_owned());
                }
                let callee = members.remove(0);
                self.push(Node::Tuple(members))?;
                let arguments = self.pop()?;
                self.made(callee, arguments)?;
            }
            b'i' => {
                let (module, name) = (self.line()?.to_owned(), self.line()?.to_owned());
                let members = self.popped_to_mark()?;
                self.push(Node::Global { module, name })?;
                self.push(Node::Tuple(members))?;
                let (arguments, callee) = (self.pop()?, self.pop()?);
                self.made(callee, arguments)?;
            }
            // The state of an object is not looked at.
            b'b' => drop(self.pop()?),
            b'Q' => {
                let key = self.pop()?;
                self.push(Node::Persistent(key))?;
            }
            b'P' => {
                let key = self.line()?.to_owned();
                self.push(Node::Text(key))?;
                let key = self.pop()?;
                self.push(Node::Persistent(key))?;
            }
            b'p' => {
                let key = Self::decimal(self.line()?)?;
                self.remember(key)?;
            }
            b'q' => {
                let key = self.number(1)?;
                self.remember(key)?;
            }
            b'r' => {
                let key = self.number(4)?;
                self.remember(key)?;
            }
            0x94 => self.remember(self.memo.len() as u64)?,
            b'g' => {
                let key = Self::decimal(self.line()?)?;
                self.recall(key)?;
            }
            b'h' => {
                let key = self.number(1)?;
                self.recall(key)?;
            }
            b'j' => {
                let key = self.number(4)?;
                self.recall(key)?;
            }
            other => return Err(format!("opcode {other:#04x} is not known")),
        }
        if self.stack.len() + self.memo.len() > 2 * MOST_NODES {
            return Err("its stack is too deep".to_owned());
        }
        Ok(None)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // pickle.dumps({'a': [1, -2, 2.5, True, None], 'b': ('x', b'y'), 'c': 1 << 40}, protocol=2)
    const PLAIN: &[u8] = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffG@\x04\x00\x00\x00\x00\x00\x00\x88NeX\x01\x00\x00\x00bq\x03X\x01\x00\x00\x00xq\x04c_codecs\nencode\nq\x05X\x01\x00\x00\x00yq\x06X\x06\x00\x00\x00latin1q\x07\x86q\x08Rq\t\x86q\nX\x01\x00\x00\x00cq\x0b\x8a\x06\x00\x00\x00\x00\x00\x01u.";

    #[test]
    fn values_come_out_as_python_put_them_in() {
        let pickle = Pickle::parse(PLAIN).unwrap();
        let list = pickle.members(pickle.get(pickle.root(), "a").unwrap()).unwrap();
        let list: Vec<&Node> = list.iter().map(|id| pickle.node(*id)).collect();
        assert_eq!(list, [&Node::Int(1), &Node::Int(-2), &Node::Float(2.5), &Node::Bool(true), &Node::None]);
        let tuple = pickle.members(pickle.get(pickle.root(), "b").unwrap()).unwrap();
        assert_eq!(pickle.text(tuple[0]), Some("x"));
        let Node::Made { callee, .. } = pickle.node(tuple[1]) else { panic!("bytes are made by a call") };
        assert_eq!(pickle.global(*callee), Some(("_codecs", "encode")));
        assert_eq!(pickle.count(pickle.get(pickle.root(), "c").unwrap()), Some(1 << 40));
    }

    #[test]
    fn a_call_is_noted_and_not_made() {
        // What pickle would run as os.system("touch /tmp/owned").
        let pickle = Pickle::parse(b"cos\nsystem\n(S'touch /tmp/owned'\ntR.").unwrap();
        let Node::Made { callee, .. } = pickle.node(pickle.root()) else { panic!("a call") };
        assert_eq!(pickle.global(*callee), Some(("os", "system")));
    }

    #[test]
    fn a_list_may_hold_itself() {
        let pickle = Pickle::parse(b"]q\x00h\x00a.").unwrap();
        assert_eq!(pickle.members(pickle.root()), Some(&[pickle.root()][..]));
    }

    #[test]
    fn what_is_broken_says_where() {
        for (bytes, says) in [
            (&b"\x80\x02"[..], "too early"),
            (b"R.", "empty stack"),
            (b"h\x07.", "never noted"),
            (b"\x82\x01.", "not known"),
            (b"(K\x01d.", "no value"),
            (b"X\xff\xff\xff\xffa.", "too early"),
            (b"e.", "mark"),
            (b"K\x01(0.", "empty stack"),
        ] {
            let error = Pickle::parse(bytes).unwrap_err();
            assert!(error.reason.contains(says), "{error}");
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        // 0x32 (DUP) makes no nodes; a loop of tuples does.
        let mut bomb = b")".repeat(MOST_NODES + 1);
        bomb.push(b'.');
        assert!(Pickle::parse(&bomb).unwrap_err().reason.contains("more than"));
        let mut deep = b")".to_vec();
        deep.extend(b"2".repeat(2 * MOST_NODES + 1));
        assert!(Pickle::parse(&deep).unwrap_err().reason.contains("deep"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Pickle::parse(&bytes);
        }

        #[test]
        fn a_changed_byte_never_panics(at in 0..PLAIN.len(), byte in any::<u8>()) {
            let mut bytes = PLAIN.to_vec();
            bytes[at] = byte;
            let _ = Pickle::parse(&bytes);
        }
    }
}
