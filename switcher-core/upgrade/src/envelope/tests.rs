//! Envelopes that are whole, and envelopes that are damaged in every way there is.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn body() -> Body<Value> {
    let socket = SocketRecord { fd: 7, inode: 4711, cookie: Some(9), role: "miner 1".into() };
    Body {
        writer: "0.1.0".into(),
        program: "/usr/bin/stratum-switcher".into(),
        configuration: Some("shards = 2".into()),
        kept: BTreeSet::from([4]),
        frozen: 7,
        sockets: vec![socket],
        document: json!({ "next_session": 5 }),
    }
}

fn bytes() -> Vec<u8> {
    encode(MAJOR, &body(), 3, 12, 4).unwrap()
}

fn refusal(bytes: &[u8]) -> EnvelopeError {
    decode::<Value>(bytes).unwrap_err()
}

#[test]
fn what_was_written_is_read() {
    let (header, read) = decode::<Value>(&bytes()).unwrap();

    let expected =
        Header { schema: (MAJOR, MINOR), sockets: 1, sessions: 3, created: 12, generation: 4 };
    assert_eq!(header, expected);
    assert_eq!(read, body());
}

#[test]
fn state_cut_short_anywhere_is_refused() {
    let bytes = bytes();
    for length in 0..bytes.len() {
        let error = refusal(&bytes[..length]);
        assert!(matches!(error, EnvelopeError::Length { .. }), "{length}: {error}");
    }
}

#[test]
fn state_with_more_behind_it_is_refused() {
    let mut bytes = bytes();
    bytes.push(b' ');

    assert!(matches!(refusal(&bytes), EnvelopeError::Length { .. }));
}

#[test]
fn another_major_version_is_refused_whatever_the_rest_is() {
    let mut bytes = bytes();
    for major in [0, 3] {
        bytes[12] = major;

        let major = u16::from(major);
        assert_eq!(refusal(&bytes), EnvelopeError::Schema { major, minor: 0 });
    }
}

#[test]
fn what_was_written_in_the_oldest_version_is_read() {
    let bytes = encode(OLDEST, &body(), 3, 12, 4).unwrap();

    let (header, read) = decode::<Value>(&bytes).unwrap();

    assert_eq!((header.schema, read), ((OLDEST, MINOR), body()));
}

#[test]
fn another_file_is_refused() {
    assert_eq!(refusal(&[b'x'; 200]), EnvelopeError::Magic);
}

#[test]
fn fewer_sockets_in_the_body_than_in_the_header_are_refused() {
    let mut without = body();
    without.sockets.clear();
    let mut bytes = encode(MAJOR, &without, 0, 0, 0).unwrap();
    bytes[24] = 1;
    let (front, json) = bytes.split_at_mut(HEADER);
    let sum = checksum(&front[..COVERED], json);
    front[COVERED..].copy_from_slice(&sum);

    assert_eq!(refusal(&bytes), EnvelopeError::Sockets { header: 1, body: 0 });
}

#[test]
fn body_that_is_no_document_is_refused() {
    let bytes = bytes();

    let error = decode::<Vec<u8>>(&bytes).unwrap_err();

    assert!(matches!(error, EnvelopeError::Body(_)), "{error}");
}

#[test]
fn fields_of_a_later_minor_version_are_passed_over() {
    let mut value = serde_json::to_value(body()).unwrap();
    value["later"] = json!({ "a": 1 });
    let text = value.to_string();

    assert_eq!(serde_json::from_str::<Body<Value>>(&text).unwrap(), body());
}

proptest! {
    #[test]
    fn any_bit_that_flips_is_noticed(at in 0_usize..10_000, bit in 0_u8..8) {
        let mut bytes = bytes();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;

        prop_assert!(decode::<Value>(&bytes).is_err());
    }

    #[test]
    fn garbage_is_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(decode::<Value>(&bytes).is_err());
    }
}
