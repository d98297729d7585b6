//! The machine that a pickle is a program for: a stack, marks and a memo.

use std::collections::HashMap;

use super::{Id, Node, Pickle, PickleError};

/// Most nodes of one pickle; a checkpoint of nnU-Net with its optimiser and logs has some tens of thousands.
pub(super) const MOST_NODES: usize = 4_000_000;

/// Runs a pickle to its end.
pub(super) fn parse(bytes: &[u8]) -> Result<Pickle, PickleError> {
    let (nodes, stack, marks, memo) = Default::default();
    let mut machine = Machine { bytes, at: 0, nodes, stack, marks, memo };
    loop {
        let at = machine.at;
        match machine.step() {
            Ok(None) => {}
            Ok(Some(root)) => return Ok(Pickle { nodes: machine.nodes, root }),
            Err(reason) => return Err(PickleError { at, reason }),
        }
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
