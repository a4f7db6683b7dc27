//! Reading a long list on all cores: miners wait while the sessions of a state are read.
//!
//! One pass finds where each element begins and ends, which is quick; what is between is then read
//! by several threads, each a part of its own.

use std::thread::{Builder, available_parallelism, scope};

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error};
use serde_json::value::RawValue;

/// Elements for which a thread of their own is worth its while.
const PART: usize = 128;

/// Reads a list whose text outlives the reading.
pub(super) fn deserialize<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Send,
{
    let elements = Vec::<&RawValue>::deserialize(deserializer)?;
    let threads = available_parallelism().map_or(1, usize::from);
    read(&elements, elements.len().div_ceil(threads).max(PART)).map_err(D::Error::custom)
}

/// Reads the first `part` elements here, and each further part in a thread of its own.
fn read<T: DeserializeOwned + Send>(
    elements: &[&RawValue],
    part: usize,
) -> serde_json::Result<Vec<T>> {
    let (here, elsewhere) = elements.split_at(part.min(elements.len()));
    scope(|scope| {
        let begin = |part| (part, Builder::new().spawn_scoped(scope, move || read_part(part)));
        // All of them, before any is waited for.
        let begun: Vec<_> = elsewhere.chunks(part).map(begin).collect();
        let mut read = read_part(here)?;
        read.reserve_exact(elsewhere.len());
        for (part, thread) in begun {
            let further = match thread.map(std::thread::ScopedJoinHandle::join) {
                Ok(Ok(further)) => further,
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                // The system has no thread to give.
                Err(_) => read_part(part),
            };
            read.extend(further?);
        }
        Ok(read)
    })
}

fn read_part<T: DeserializeOwned>(part: &[&RawValue]) -> serde_json::Result<Vec<T>> {
    part.iter().map(|element| serde_json::from_str(element.get())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(text: &str) -> Vec<&RawValue> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn elements_keep_their_order_however_they_are_parted() {
        let numbers: Vec<u32> = (0..1_000).collect();
        let text = serde_json::to_string(&numbers).unwrap();

        for part in [50, 70, 999, 1_000, 5_000] {
            assert_eq!(read::<u32>(&elements(&text), part).unwrap(), numbers, "{part}");
        }
        assert_eq!(read::<u32>(&[], 1).unwrap(), []);
    }

    #[test]
    fn one_bad_element_in_any_part_spoils_the_list() {
        for text in ["[true,1,2]", "[1,true,2]", "[1,2,true]"] {
            assert!(read::<u32>(&elements(text), 1).is_err(), "{text}");
        }
    }
}
