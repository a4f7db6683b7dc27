//! The scan against `serde_json`: on every JSON object both find the same members, and on any bytes
//! the scan ends without a panic.

use proptest::prelude::*;
use serde_json::{Map, Value};
use stratum_jsonrpc::{elements, is_json, number, scan, text, write_string};

/// Any JSON value of a few levels.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        // Quarters, as serde_json reads back exactly; it rounds others by default.
        any::<i16>().prop_map(|quarters| Value::from(f64::from(quarters) / 4.0)),
        any::<String>().prop_map(Value::from),
        "[\\\\\"{}\\[\\],: ]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..4)
                .prop_map(|pairs| Value::from(pairs.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// An object with members that the scan knows and others.
fn object() -> impl Strategy<Value = Map<String, Value>> {
    let name = prop_oneof![
        Just("id".to_owned()),
        Just("method".to_owned()),
        Just("params".to_owned()),
        Just("result".to_owned()),
        Just("error".to_owned()),
        // Neither of the five in another case nor a part of them.
        "[f-h\\\\\"{}: ]{1,6}",
    ];
    prop::collection::vec((name, value()), 0..8).prop_map(|pairs| pairs.into_iter().collect())
}

fn parsed(span: Option<&[u8]>) -> Option<Value> {
    span.map(|span| serde_json::from_slice(span).expect("a span is JSON if the line is"))
}

proptest! {
    #[test]
    fn both_find_the_same_members(object in object(), pretty: bool) {
        let line = if pretty {
            serde_json::to_vec_pretty(&object)
        } else {
            serde_json::to_vec(&object)
        }
        .unwrap();

        let message = scan(&line).expect("an object can be split");

        prop_assert_eq!(parsed(message.id), object.get("id").cloned());
        prop_assert_eq!(parsed(message.method), object.get("method").cloned());
        prop_assert_eq!(parsed(message.params), object.get("params").cloned());
        prop_assert_eq!(parsed(message.result), object.get("result").cloned());
        prop_assert_eq!(parsed(message.error), object.get("error").cloned());
        prop_assert!(message.garbage.is_empty());
        prop_assert!(message.id.is_none_or(is_json));
    }

    #[test]
    fn both_find_the_same_elements(array in prop::collection::vec(value(), 0..8), pretty: bool) {
        let span = if pretty {
            serde_json::to_vec_pretty(&array)
        } else {
            serde_json::to_vec(&array)
        }
        .unwrap();

        let found: Vec<Value> = elements(&span).filter_map(|span| parsed(Some(span))).collect();

        prop_assert_eq!(found, array);
    }

    #[test]
    fn strings_come_back_as_they_were_written(string: String) {
        let mut out = Vec::new();

        write_string(&mut out, &string);

        prop_assert_eq!(text(&out).unwrap(), string.as_str());
        prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), string);
    }

    #[test]
    fn numbers_come_back_as_they_were_written(value in -1e12_f64..1e12) {
        let span = serde_json::to_vec(&value).unwrap();

        prop_assert_eq!(number(&span), Some(value));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = scan(&bytes);
        let _ = elements(&bytes).count();
        let _ = text(&bytes);
    }

    #[test]
    fn no_broken_line_makes_it_panic_or_read_past_its_spans(
        object in object(), cut in any::<prop::sample::Index>(), to: u8,
    ) {
        let mut line = serde_json::to_vec(&object).unwrap();
        let at = cut.index(line.len());
        line[at] = to;

        if let Ok(message) = scan(&line) {
            for span in [message.id, message.params, message.result].into_iter().flatten() {
                prop_assert!(!span.is_empty());
                prop_assert!(elements(span).all(|element| !element.is_empty()));
            }
        }
    }
}
