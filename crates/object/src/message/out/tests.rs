//! A destination against a vector that does the same.

use serde::{Deserialize, Serialize};

use super::*;
use crate::message::{Checked, Json, Message, Raw};
use crate::{ErrorKind, Result};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Job {
    id: u64,
    path: Option<String>,
}

fn job() -> Job {
    Job { id: u64::MAX, path: Some("a/b".into()) }
}

/// Values of several kinds one after the other, as they come back.
fn write(out: &mut Out<'_>) -> Result<()> {
    7_u64.put(out)?;
    job().put(out)?;
    Raw([1_u32, 2, 3]).put(out)?;
    Json(job()).put(out)?;
    Checked([true, false]).put(out)?;
    ().put(out)?;
    i32::MIN.put(out)
}

fn read(mut bytes: &[u8]) {
    let bytes = &mut bytes;
    assert_eq!(u64::take(bytes).expect("postcard"), 7);
    assert_eq!(Job::take(bytes).expect("postcard"), job());
    assert_eq!(Raw::<[u32; 3]>::take(bytes).expect("plain"), Raw([1, 2, 3]));
    assert_eq!(Json::<Job>::take(bytes).expect("json"), Json(job()));
    assert_eq!(Checked::<[bool; 2]>::take(bytes).expect("checked"), Checked([true, false]));
    <()>::take(bytes).expect("nothing");
    assert_eq!(i32::take(bytes).expect("postcard"), i32::MIN);
    assert!(bytes.is_empty());
}

#[test]
fn take_reads_what_put_wrote_one_after_the_other() {
    let mut bytes = Vec::new();
    write(&mut Out::vec(&mut bytes)).expect("writes");
    read(&bytes);
    let mut room = [0; 128];
    let mut out = Out::stack(&mut room);
    write(&mut out).expect("writes");
    assert!(!out.is_spilled());
    let len = out.len();
    drop(out);
    assert_eq!(&room[..len], bytes);
}

#[test]
fn what_does_not_fit_spills_whole() {
    let mut whole = Vec::new();
    write(&mut Out::vec(&mut whole)).expect("writes");
    for room in 0..whole.len() {
        let mut room = vec![0; room];
        let mut out = Out::stack(&mut room);
        write(&mut out).expect("writes");
        assert_eq!((out.len(), out.is_spilled()), (whole.len(), true));
        assert_eq!(out.spilled().as_deref(), Some(&whole[..]));
        assert_eq!((out.len(), out.spilled()), (0, None));
    }
}

#[test]
fn bytes_before_the_mark_stay_in_the_place() {
    let mut room = [0; 16];
    let mut out = Out::stack(&mut room);
    out.extend(b"stays");
    out.mark();
    out.extend(&[1; 8]);
    out.extend(&[2; 8]);
    assert_eq!((out.len(), out.is_spilled()), (21, true));
    assert_eq!(out.spilled().expect("spilled"), [[1; 8], [2; 8]].concat());
    assert_eq!(out.len(), 5);
    out.extend(&[3; 11]);
    assert_eq!((out.is_spilled(), out.room()), (false, 0));
    drop(out);
    assert_eq!(&room, b"stays\x03\x03\x03\x03\x03\x03\x03\x03\x03\x03\x03");
}

#[test]
fn a_value_that_failed_half_way_is_cut_off() {
    let mut room = [0; 8];
    let mut out = Out::stack(&mut room);
    out.extend(&[1; 6]);
    out.mark();
    out.extend(&[2; 2]);
    out.truncate(6);
    assert_eq!((out.len(), out.is_spilled()), (6, false));
    out.extend(&[2; 9]);
    out.truncate(8);
    assert_eq!((out.len(), out.is_spilled()), (8, true));
    out.truncate(6);
    assert_eq!((out.len(), out.is_spilled()), (6, false));
    out.extend(&[3; 9]);
    out.truncate(2);
    assert_eq!((out.len(), out.is_spilled()), (2, false));
    out.truncate(100);
    assert_eq!(out.len(), 2);
}

#[test]
fn random_writes_are_those_of_a_vector() {
    let mut seed = 1_u64;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    for _ in 0..2_000 {
        let mut room = vec![0; random(120)];
        let (mut reference, mut mark) = (Vec::new(), 0);
        let mut own = Vec::new();
        let is_vector = random(3) == 0;
        let mut out = if is_vector { Out::vec(&mut own) } else { Out::stack(&mut room) };
        for step in 0..random(60) {
            match random(12) {
                0 => {
                    // A value that has spilled is taken before the next begins.
                    if let Some(bytes) = out.spilled() {
                        assert_eq!(bytes, reference[mark..]);
                        reference.truncate(mark);
                    }
                    out.mark();
                    mark = reference.len();
                }
                1 => {
                    let to = mark + random(reference.len() - mark + 1);
                    out.truncate(to);
                    reference.truncate(to);
                }
                2..6 => {
                    out.push(step as u8);
                    reference.push(step as u8);
                }
                _ => {
                    let data = vec![step as u8; random(20)];
                    out.extend(&data);
                    reference.extend(&data);
                }
            }
            assert_eq!(out.len(), reference.len());
        }
        if let Some(bytes) = out.spilled() {
            assert_eq!(bytes, reference[mark..]);
            reference.truncate(mark);
        }
        let len = out.len();
        drop(out);
        assert_eq!(if is_vector { &own[..] } else { &room[..len] }, reference);
    }
}

#[test]
fn bytes_that_are_no_value_are_an_error_and_no_panic() {
    let refused = |kind: ErrorKind| assert_eq!(kind, ErrorKind::Decode);
    refused(u64::take(&mut &[][..]).expect_err("nothing").kind());
    refused(Job::take(&mut &[1][..]).expect_err("too short").kind());
    refused(Raw::<u64>::take(&mut &[1, 2][..]).expect_err("too short").kind());
    refused(Checked::<bool>::take(&mut &[2][..]).expect_err("no bool").kind());
    refused(Json::<u8>::take(&mut &[1, 0][..]).expect_err("no length").kind());
    refused(Json::<u8>::take(&mut &[9, 0, 0, 0, b'1'][..]).expect_err("too short").kind());
    refused(Json::<u8>::take(&mut &[1, 0, 0, 0, b'x'][..]).expect_err("no number").kind());
}
