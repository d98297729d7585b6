//! Promises of reading pickles.
#![allow(clippy::unwrap_used)]

use super::machine::MOST_NODES;
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
