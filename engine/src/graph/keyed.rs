//! The few operators that the stages share. Those that hold rows hold them by key, sorted, and once an epoch is over they
//! look at the keys that it touched and at nothing else. Epochs are in order, so the rows of the newest are all that is held.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
};

use timely::{
    communication::Pull,
    container::CapacityContainerBuilder,
    dataflow::{
        channels::{
            Message,
            pact::{Exchange, Pipeline},
        },
        operators::{
            Capability, Concatenate as _,
            generic::{InputHandleCore, OutputBuilder, builder_rc::OperatorBuilder, operator::Operator as _},
        },
    },
    progress::operate::FrontierInterest,
};

use super::group::{Epoch, Key, Row, Rows, Update};

type EachLogic = Box<dyn FnMut(Key, Row, &mut Vec<(Key, Row)>)>;
type GatherLogic = Box<dyn FnMut(&[&Row], &Key, &[&Row], &mut Given)>;
/// Makes of the changes of an epoch what it gives to each output.
type EpochLogic = Box<dyn FnMut(Vec<Update>, &mut [Vec<Update>])>;

/// A number that is the same for equal values at each worker of each process.
fn spread(value: &impl Hash) -> u64 {
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
                    for ((key, row), diff) in updates.drain(..) {
                        logic(key, row, &mut out);
                        session.give_iterator(out.drain(..).map(|row| (row, diff)));
                    }
                });
            }
        })
    }
    made(rows, Box::new(logic))
}

/// The rows of all of them.
pub fn all<'scope, const N: usize>(rows: [Rows<'scope>; N]) -> Rows<'scope> {
    rows[0].scope().concatenate(rows)
}

/// The rows at each worker, as [`gather_by`] takes them.
pub fn shared(rows: Rows<'_>) -> Rows<'_> {
    let workers = rows.scope().peers() as u64;
    each(rows, move |_, row, out| out.extend((0..workers).map(|worker| (Key::Worker(worker), row.clone()))))
}

/// Rows that a judgement gives, each with the output that it is for, by its place, and with its key. No row twice.
pub type Given = Vec<(usize, Key, Row)>;

/// Gathers the rows of one key and gives what `judge` makes of them. `judge` sees each distinct row once, in order,
/// and is called only for keys that have rows.
pub fn gather<'scope, const N: usize, const M: usize>(
    from: [Rows<'scope>; N],
    name: &str,
    mut judge: impl FnMut(&Key, &[&Row], &mut Given) + 'static,
) -> [Rows<'scope>; M] {
    at_each_epoch(from.into(), name, gathered(Box::new(move |_, key, rows, out| judge(key, rows, out))))
}

/// The same where each judgement sees a few rows that are [`shared`] by all: where they change, all is judged anew.
pub fn gather_by<'scope, const N: usize, const M: usize>(
    by: Rows<'scope>,
    from: [Rows<'scope>; N],
    name: &str,
    judge: impl FnMut(&[&Row], &Key, &[&Row], &mut Given) + 'static,
) -> [Rows<'scope>; M] {
    at_each_epoch(from.into_iter().chain([by]).collect(), name, gathered(Box::new(judge)))
}

/// Each row once, however often it is there.
pub fn distinct<'scope>(rows: Rows<'scope>, name: &str) -> Rows<'scope> {
    let once = |key: &Key, rows: &[&Row], out: &mut Given| {
        out.extend(rows.iter().map(|row| (0, key.clone(), (*row).clone())));
    };
    let [rows] = gather([rows], name, once);
    rows
}

/// Rows with how many there are of each, sorted; none of which there are none.
type Counted = Vec<(Row, isize)>;

/// The rows of one key, and what was made of them.
#[derive(Default)]
struct Group {
    rows: Counted,
    given: Box<[(usize, Key, Row)]>,
}

fn gathered(mut judge: GatherLogic) -> EpochLogic {
    let mut groups: HashMap<Key, Group> = HashMap::new();
    let (mut by, mut judged) = (Counted::new(), Given::new());
    Box::new(move |mut updates, out| {
        net(&mut updates);
        let (mut touched, mut is_anew) = (Vec::new(), false);
        for ((key, row), diff) in updates {
            if let Key::Worker(_) = key {
                count(&mut by, row, diff);
                is_anew = true;
                continue;
            }
            count(&mut groups.entry(key.clone()).or_default().rows, row, diff);
            if touched.last() != Some(&key) {
                touched.push(key);
            }
        }
        if is_anew {
            touched = groups.keys().cloned().collect();
        }
        let by = present(&by);
        for key in touched {
            let Some(group) = groups.get_mut(&key) else { continue };
            let rows = present(&group.rows);
            if !rows.is_empty() {
                judge(&by, &key, &rows, &mut judged);
                judged.sort_unstable();
            }
            let given: Box<[_]> = judged.drain(..).collect();
            changes(&group.given, &given, out);
            group.given = given;
            if group.rows.is_empty() {
                groups.remove(&key);
            }
        }
    })
}

/// Takes out the changes that take one another back, and sorts the others.
pub fn net<R: Ord>(changes: &mut Vec<(R, isize)>) {
    changes.sort_unstable_by(|(row, _), (other, _)| row.cmp(other));
    changes.dedup_by(|(row, diff), (kept, sum)| {
        let is_same = row == kept;
        *sum += if is_same { *diff } else { 0 };
        is_same
    });
    changes.retain(|(_, diff)| *diff != 0);
}

fn present(rows: &Counted) -> Vec<&Row> {
    rows.iter().filter(|(_, count)| *count > 0).map(|(row, _)| row).collect()
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
fn changes(before: &[(usize, Key, Row)], now: &[(usize, Key, Row)], out: &mut [Vec<Update>]) {
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
            for ((port, key, row), diff) in gone.map(|row| (row, -1)).into_iter().chain(new.map(|row| (row, 1))) {
                out[*port].push(((key.clone(), row.clone()), diff));
            }
        }
    }
}

/// An operator that brings rows of one key together at one worker, and works once an epoch is over. It is not woken by
/// epochs in which nothing came to it.
fn at_each_epoch<'scope, const M: usize>(from: Vec<Rows<'scope>>, name: &str, logic: EpochLogic) -> [Rows<'scope>; M] {
    let mut builder = OperatorBuilder::new(name.to_owned(), from[0].scope());
    let by_key = |((key, _), _): &Update| if let Key::Worker(worker) = key { *worker } else { spread(key) };
    let inputs: Vec<_> = from.into_iter().map(|rows| builder.new_input(rows, Exchange::new(by_key))).collect();
    (0..inputs.len()).for_each(|input| builder.set_notify_for(input, FrontierInterest::IfCapability));
    let mut outputs = Vec::new();
    let given = std::array::from_fn(|_| {
        let (output, given) = builder.new_output();
        outputs.push(OutputBuilder::from(output));
        given
    });
    work(builder, inputs, outputs, logic);
    given
}

/// What came of an epoch that is not over, with the right to send at each output.
type Waiting = (Vec<Capability<Epoch>>, Vec<Update>);

fn work<P: Pull<Message<Epoch, Vec<Update>>> + 'static>(
    builder: OperatorBuilder<'_, Epoch>,
    mut inputs: Vec<InputHandleCore<Epoch, Vec<Update>, P>>,
    mut outputs: Vec<OutputBuilder<Epoch, CapacityContainerBuilder<Vec<Update>>>>,
    mut logic: EpochLogic,
) {
    builder.build(move |_| {
        let mut waiting: BTreeMap<Epoch, Waiting> = BTreeMap::new();
        let ports = outputs.len();
        let mut out: Vec<Vec<Update>> = vec![Vec::new(); ports];
        move |frontiers| {
            for input in &mut inputs {
                input.for_each(|capability, updates| {
                    let Some(epoch) = capability.least() else { return };
                    let (_, came) = waiting.entry(*epoch).or_insert_with(|| {
                        ((0..ports).map(|port| capability.delayed(epoch, port)).collect(), Vec::new())
                    });
                    came.append(updates);
                });
            }
            while let Some(first) = waiting.first_entry()
                && !frontiers.iter().any(|frontier| frontier.less_equal(first.key()))
            {
                let (capabilities, updates) = first.remove();
                logic(updates, &mut out);
                for ((output, capability), out) in outputs.iter_mut().zip(&capabilities).zip(&mut out) {
                    if !out.is_empty() {
                        output.activate().session(capability).give_iterator(out.drain(..));
                    }
                }
            }
        }
    });
}
