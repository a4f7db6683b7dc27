//! Ethash of epoch 0 from its light cache, after the specification: what pools judge shares with.
//!
//! The crate of that name has not been kept since 2020 and takes ten times as long; the algorithm
//! itself will not change any more. Its parts are Keccak, from a crate, and what is below.

#![expect(clippy::indexing_slicing, reason = "every index is cut to the length of its array")]

use std::sync::LazyLock;

use sha3::{Digest, Keccak256, Keccak512};

/// 64-byte items of the cache of epoch 0.
const CACHE_ITEMS: u32 = 16_776_896 / 64;

/// 128-byte pages of the dataset of epoch 0.
const PAGES: u32 = 1_073_739_904 / 128;

const CACHE_ROUNDS: usize = 3;
const PARENTS: u32 = 256;
const ACCESSES: u32 = 64;

/// The seed of epoch 0.
pub const SEED: [u8; 32] = [0; 32];

/// Made once in a process, in about a second.
static CACHE: LazyLock<Vec<Item>> = LazyLock::new(make_cache);

type Item = [u32; 16];

/// What hashing a nonce gives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hashed {
    /// The mix digest, which some dialects submit.
    pub mix: [u8; 32],
    /// The number that must not exceed the target.
    pub result: [u8; 32],
}

/// Hashes a header and a nonce.
pub fn ethash(header: &[u8; 32], nonce: u64) -> Hashed {
    let cache = &*CACHE;
    let seed = Keccak512::new().chain_update(header).chain_update(nonce.to_le_bytes()).finalize();
    let seed_words: Item = words(&seed);
    let mut mix: [u32; 32] = std::array::from_fn(|at| seed_words[at % 16]);
    for access in 0..ACCESSES {
        let word = mix[access as usize % 32];
        let page = fnv(access ^ seed_words[0], word) % PAGES;
        let halves = [dataset_item(cache, page * 2), dataset_item(cache, page * 2 + 1)];
        for (word, data) in mix.iter_mut().zip(halves.iter().flatten()) {
            *word = fnv(*word, *data);
        }
    }
    let mut digest = [0; 32];
    for (bytes, four) in digest.chunks_exact_mut(4).zip(mix.chunks_exact(4)) {
        let word = fnv(fnv(fnv(four[0], four[1]), four[2]), four[3]);
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    let result = Keccak256::new().chain_update(seed).chain_update(digest).finalize().into();
    Hashed { mix: digest, result }
}

/// A stand-in that costs a thousandth and covers header and nonce just as well: for tests with
/// more shares than a machine can hash in earnest. Its mix digest is another function of both.
pub fn stand_in(header: &[u8; 32], nonce: u64) -> Hashed {
    let mix: [u8; 32] =
        Keccak256::new().chain_update(header).chain_update(nonce.to_be_bytes()).finalize().into();
    Hashed { mix, result: Keccak256::digest(mix).into() }
}

fn dataset_item(cache: &[Item], number: u32) -> Item {
    let mut mix = cache[(number % CACHE_ITEMS) as usize];
    mix[0] ^= number;
    mix = keccak(&mix);
    for parent in 0..PARENTS {
        let index = fnv(number ^ parent, mix[parent as usize % 16]) % CACHE_ITEMS;
        let item = &cache[index as usize];
        for (word, data) in mix.iter_mut().zip(item) {
            *word = fnv(*word, *data);
        }
    }
    keccak(&mix)
}

fn make_cache() -> Vec<Item> {
    let count = CACHE_ITEMS as usize;
    let mut cache = Vec::with_capacity(count);
    let mut item = words(&Keccak512::digest(SEED));
    for _ in 0..count {
        cache.push(item);
        item = keccak(&item);
    }
    for _ in 0..CACHE_ROUNDS {
        for at in 0..count {
            let other = cache[at][0] as usize % count;
            let before = cache[(at + count - 1) % count];
            let mixed = std::array::from_fn(|word| before[word] ^ cache[other][word]);
            cache[at] = keccak(&mixed);
        }
    }
    cache
}

fn keccak(item: &Item) -> Item {
    let mut bytes = [0; 64];
    for (four, word) in bytes.chunks_exact_mut(4).zip(item) {
        four.copy_from_slice(&word.to_le_bytes());
    }
    words(&Keccak512::digest(bytes))
}

fn words(bytes: &[u8]) -> Item {
    std::array::from_fn(|at| u32::from_le_bytes(std::array::from_fn(|byte| bytes[at * 4 + byte])))
}

fn fnv(one: u32, other: u32) -> u32 {
    one.wrapping_mul(0x0100_0193) ^ other
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Published test vectors of epoch 0.
    #[test]
    fn hashes_are_those_of_the_chain() {
        for (header, nonce, mix, result) in [
            (
                "2a8de2adf89af77358250bf908bf04ba94a6e8c3ba87775564a41d269a05e4ce",
                0x4242_4242_4242_4242,
                "58f759ede17a706c93f13030328bcea40c1d1341fb26f2facd21ceb0dae57017",
                "dd47fd2d98db51078356852d7c4014e6a5d6c387c35f40e2875b74a256ed7906",
            ),
            (
                "100cbec5e5ef82991290d0d93d758f19082e71f234cf479192a8b94df6da6bfe",
                0x3076_92cf_71b1_2f6d,
                "e55d02c555a7969361cf74a9ec6211d8c14e4517930a00442f171bdb1698d175",
                "ab9b13423cface72cbec8424221651bc2e384ef0f7a560e038fc68c8d8684829",
            ),
        ] {
            let header = hex::decode(header).unwrap().try_into().unwrap();

            let hashed = ethash(&header, nonce);

            assert_eq!(
                (hex::encode(hashed.mix).as_str(), hex::encode(hashed.result).as_str()),
                (mix, result)
            );
        }
    }
}
