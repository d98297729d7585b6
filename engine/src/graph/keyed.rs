//! The few operators that the stages share. Those that hold rows hold them by key, sorted, and once an epoch is over they
//! look at the keys that it touched and at nothing else. Epochs are in order, so the rows of the newest are all that is held.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
};

use timely::{
    dataflow::{
        channels::pact::{Exchange, Pipeline},
        operators::{
            Capability, Concatenate as _,
            generic::{OutputBuilder, builder_rc::OperatorBuilder, operator::Operator as _},
        },
    },
    progress::operate::FrontierInterest,
};

use super::group::{Epoch, Key, Row, Rows, Update};

type EachLogic = Box<dyn FnMut(Key, Row, &mut Vec<(Key, Row)>)>;
type GatherLogic = Box<dyn FnMut(&Key, &[&Row], &mut Vec<Row>)>;
type JoinLogic = Box<dyn FnMut(&Key, &Row, &Row) -> Option<(Key, Row)>>;
/// Makes of the changes of an epoch, those of each input by themselves, what it gives.
type EpochLogic = Box<dyn FnMut(Vec<Vec<Update>>, &mut Vec<Update>)>;

/// A number that is the same for equal values at each worker of each process.
pub fn spread(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Gives for each row what `logic` pushes.
pub fn each<'scope>(rows: Rows<'scope>, logic: impl FnMut(Key, Row, &mut Vec<(Key, Row)>) + 'static) -> Rows<'scope> {
    fn made<'scope>(rows: Rows<'scope>, mut logic: EachLogic) -> Rows<'scope> {
        rows.unary(Pipeline, "each", |_, _| {
            let mut out = Vec::new();
            move |input, output| {
                input.for_each(|capability, updates| {
                    let mut session = output.session(&capability);
                    for (key, row, diff) in updates.drain(..) {
                        logic(key, row, &mut out);
                        session.give_iterator(out.drain(..).map(|(key, row)| (key, row, diff)));
                    }
                });
            }
        })
    }
    made(rows, Box::new(logic))
}

/// The rows of all of them.
pub fn all<'scope, const N: usize>(rows: [Rows<'scope>; N]) -> Rows<'scope> {
    let scope = rows.each_ref().map(|rows| rows.scope());
    scope[0].concatenate(rows)
}

/// Gathers the rows of one key and gives what `judge` makes of them. `judge` sees each distinct row once, in order,
/// and is called only for keys that have rows; what it pushes must be free of repeats.
pub fn gather<'scope, const N: usize>(
    from: [Rows<'scope>; N],
    name: &str,
    judge: impl FnMut(&Key, &[&Row], &mut Vec<Row>) + 'static,
) -> Rows<'scope> {
    fn made<'scope>(from: Vec<Rows<'scope>>, name: &str, mut judge: GatherLogic) -> Rows<'scope> {
        let mut groups: HashMap<Key, Group> = HashMap::new();
        let mut judged = Vec::new();
        let logic = move |updates: Vec<Vec<Update>>, out: &mut Vec<Update>| {
            let mut updates = net(updates.into_iter().flatten().collect()).into_iter().peekable();
            while let Some((key, row, diff)) = updates.next() {
                let group = groups.entry(key.clone()).or_default();
                count(&mut group.rows, row, diff);
                while let Some((_, row, diff)) = updates.next_if(|(next, ..)| *next == key) {
                    count(&mut group.rows, row, diff);
                }
                let present = group.rows.iter().filter(|(_, count)| *count > 0).map(|(row, _)| row);
                let present: Vec<&Row> = present.collect();
                if !present.is_empty() {
                    judge(&key, &present, &mut judged);
                    judged.sort_unstable();
                }
                let given: Box<[Row]> = judged.drain(..).collect();
                changes(&key, &group.given, &given, out);
                group.given = given;
                if group.rows.is_empty() {
                    groups.remove(&key);
                }
            }
        };
        at_each_epoch(from, name, Box::new(logic))
    }
    made(from.into(), name, Box::new(judge))
}

/// Each row once, however often it is there.
pub fn distinct<'scope>(rows: Rows<'scope>, name: &str) -> Rows<'scope> {
    gather([rows], name, |_, rows, out| out.extend(rows.iter().map(|row| (*row).clone())))
}

/// Gives for each pair of rows with equal keys what `logic` makes of it.
pub fn join<'scope>(
    left: Rows<'scope>,
    right: Rows<'scope>,
    name: &str,
    logic: impl FnMut(&Key, &Row, &Row) -> Option<(Key, Row)> + 'static,
) -> Rows<'scope> {
    fn made<'scope>(from: Vec<Rows<'scope>>, name: &str, mut logic: JoinLogic) -> Rows<'scope> {
        let mut pairs: HashMap<Key, [Counted; 2]> = HashMap::new();
        let logic = move |updates: Vec<Vec<Update>>, out: &mut Vec<Update>| {
            for (is_right, updates) in [false, true].into_iter().zip(updates) {
                for (key, row, diff) in net(updates) {
                    let [left, right] = pairs.entry(key.clone()).or_default();
                    let (own, other) = if is_right { (right, left) } else { (left, right) };
                    for (other, count) in other.iter() {
                        let (left, right) = if is_right { (other, &row) } else { (&row, other) };
                        out.extend(logic(&key, left, right).map(|(key, row)| (key, row, diff * count)));
                    }
                    count(own, row, diff);
                    if own.is_empty() && other.is_empty() {
                        pairs.remove(&key);
                    }
                }
            }
        };
        at_each_epoch(from, name, Box::new(logic))
    }
    made(vec![left, right], name, Box::new(logic))
}

/// Rows with how many there are of each, sorted; none of which there are none.
type Counted = Vec<(Row, isize)>;

/// The rows of one key, and what was made of them.
#[derive(Default)]
struct Group {
    rows: Counted,
    given: Box<[Row]>,
}

/// The changes without those that take one another back, sorted.
fn net(mut updates: Vec<Update>) -> Vec<Update> {
    updates.sort_unstable_by(|(key, row, _), (other_key, other_row, _)| (key, row).cmp(&(other_key, other_row)));
    updates.dedup_by(|(key, row, diff), (kept_key, kept_row, kept)| {
        let is_same = key == kept_key && row == kept_row;
        *kept += if is_same { *diff } else { 0 };
        is_same
    });
    updates.retain(|(.., diff)| *diff != 0);
    updates
}

/// Most groups hold few rows: room is made for few.
const FEW: usize = 4;

fn count(rows: &mut Counted, row: Row, diff: isize) {
    match rows.binary_search_by(|(held, _)| held.cmp(&row)) {
        Ok(at) => {
            if let Some((_, count)) = rows.get_mut(at) {
                *count += diff;
                if *count == 0 {
                    rows.remove(at);
                }
            }
        }
        Err(at) => {
            if rows.len() < FEW {
                rows.reserve_exact(1);
            }
            rows.insert(at, (row, diff));
        }
    }
}

/// What is no longer given, and what is now. Both are sorted.
fn changes(key: &Key, before: &[Row], now: &[Row], out: &mut Vec<Update>) {
    let (mut before, mut now) = (before.iter().peekable(), now.iter().peekable());
    loop {
        let order = match (before.peek(), now.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(before), Some(now)) => before.cmp(now),
        };
        let gone = if order.is_le() { before.next() } else { None };
        let new = if order.is_ge() { now.next() } else { None };
        if order.is_ne() {
            out.extend(gone.map(|row| (key.clone(), row.clone(), -1)));
            out.extend(new.map(|row| (key.clone(), row.clone(), 1)));
        }
    }
}

/// An operator that brings rows of one key together at one worker, and works once an epoch is over. It is not woken by
/// epochs in which nothing came to it.
fn at_each_epoch<'scope>(from: Vec<Rows<'scope>>, name: &str, mut logic: EpochLogic) -> Rows<'scope> {
    let mut builder = OperatorBuilder::new(name.to_owned(), from[0].scope());
    let by_key = || Exchange::new(|(key, ..): &Update| spread(key));
    let mut inputs: Vec<_> = from.into_iter().map(|rows| builder.new_input(rows, by_key())).collect();
    (0..inputs.len()).for_each(|input| builder.set_notify_for(input, FrontierInterest::IfCapability));
    let (output, rows) = builder.new_output();
    builder.build(move |_| {
        let mut output = OutputBuilder::from(output);
        let mut waiting: BTreeMap<Epoch, (Capability<Epoch>, Vec<Vec<Update>>)> = BTreeMap::new();
        let mut out = Vec::new();
        move |frontiers| {
            let lanes = inputs.len();
            for (lane, input) in inputs.iter_mut().enumerate() {
                input.for_each(|capability, updates| {
                    let Some(capability) = capability.retain_least(0) else { return };
                    let waits = waiting.entry(*capability.time());
                    let (_, by_lane) = waits.or_insert_with(|| (capability, vec![Vec::new(); lanes]));
                    if let Some(of_lane) = by_lane.get_mut(lane) {
                        of_lane.append(updates);
                    }
                });
            }
            let mut output = output.activate();
            while let Some(first) = waiting.first_entry()
                && !frontiers.iter().any(|frontier| frontier.less_equal(first.key()))
            {
                let (capability, updates) = first.remove();
                logic(updates, &mut out);
                output.session(&capability).give_iterator(out.drain(..));
            }
        }
    });
    rows
}
