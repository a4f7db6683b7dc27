//! `mining.notify` as a value: a job, to and from the wire.
//!
//! The pool prints it and the miner parses it; the miner is strict, because what it reads has been
//! through the switcher.

use serde_json::{Value, json};

use crate::header::{Fields, Hash, double_sha256, header, merkle_root};

/// One unit of work, as a notify line carries it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Notify {
    /// Opaque name of the job.
    pub job_id: String,
    /// Previous block's hash in the word-reversed order of the wire.
    pub prevhash: Hash,
    /// Coinbase up to extranonce1.
    pub coinb1: Vec<u8>,
    /// Coinbase after extranonce2.
    pub coinb2: Vec<u8>,
    /// Merkle branches, 0 to 13 or so.
    pub branches: Vec<Hash>,
    /// Block version before rolling.
    pub version: u32,
    /// Compact network target.
    pub nbits: u32,
    /// The pool's clock, in seconds.
    pub ntime: u32,
    /// Whether older jobs are void.
    pub clean_jobs: bool,
}

/// What a miner varies within a job.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Choice<'a> {
    /// Prefix that the pool gave.
    pub extranonce1: &'a [u8],
    /// The miner's own part of the coinbase.
    pub extranonce2: &'a [u8],
    /// Version after rolling.
    pub version: u32,
    /// Header time.
    pub ntime: u32,
    /// Header nonce.
    pub nonce: u32,
}

impl Notify {
    /// The header that `choice` makes of this job.
    pub fn header(&self, choice: &Choice<'_>) -> [u8; 80] {
        let coinbase =
            [self.coinb1.as_slice(), choice.extranonce1, choice.extranonce2, &self.coinb2].concat();
        let fields = Fields {
            version: choice.version,
            prevhash: self.prevhash,
            ntime: choice.ntime,
            nbits: self.nbits,
            nonce: choice.nonce,
        };
        header(&fields, &merkle_root(&coinbase, &self.branches))
    }

    /// The hash of that header.
    pub fn hash(&self, choice: &Choice<'_>) -> Hash {
        double_sha256(&self.header(choice))
    }

    /// The parameters of the notify line.
    pub fn to_params(&self) -> Value {
        let branches: Vec<String> = self.branches.iter().map(hex::encode).collect();
        json!([
            self.job_id,
            hex::encode(self.prevhash),
            hex::encode(&self.coinb1),
            hex::encode(&self.coinb2),
            branches,
            format!("{:08x}", self.version),
            format!("{:08x}", self.nbits),
            format!("{:08x}", self.ntime),
            self.clean_jobs,
        ])
    }

    /// Reads the parameters of a notify line.
    ///
    /// # Errors
    ///
    /// A sentence that names the part which is not as it should be.
    pub fn of_params(params: &[Value]) -> Result<Self, String> {
        let [job_id, prevhash, coinb1, coinb2, branches, version, nbits, ntime, clean_jobs] =
            params
        else {
            return Err(format!("notify has {} parameters instead of 9", params.len()));
        };
        let branches = branches.as_array().ok_or("branches are no array")?;
        Ok(Self {
            job_id: job_id.as_str().ok_or("job id is no string")?.to_owned(),
            prevhash: hash_of(prevhash)?,
            coinb1: bytes_of(coinb1)?,
            coinb2: bytes_of(coinb2)?,
            branches: branches.iter().map(hash_of).collect::<Result<_, _>>()?,
            version: word_of(version)?,
            nbits: word_of(nbits)?,
            ntime: word_of(ntime)?,
            clean_jobs: clean_jobs.as_bool().ok_or("clean_jobs is no boolean")?,
        })
    }
}

/// Reads a hex string of any even length.
///
/// # Errors
///
/// A sentence that quotes the value.
pub fn bytes_of(value: &Value) -> Result<Vec<u8>, String> {
    let text = value.as_str().ok_or_else(|| format!("{value} is no hex string"))?;
    hex::decode(text).map_err(|error| format!("{text:?} is not hex: {error}"))
}

/// Reads exactly eight hex digits, most significant first.
///
/// # Errors
///
/// A sentence that quotes the value.
pub fn word_of(value: &Value) -> Result<u32, String> {
    let bytes: [u8; 4] =
        bytes_of(value)?.try_into().map_err(|_| format!("{value} is not 8 hex digits"))?;
    Ok(u32::from_be_bytes(bytes))
}

fn hash_of(value: &Value) -> Result<Hash, String> {
    bytes_of(value)?.try_into().map_err(|_| format!("{value} is not 64 hex digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Notify {
        Notify {
            job_id: "1f".into(),
            prevhash: [3; 32],
            coinb1: vec![1, 2],
            coinb2: vec![3],
            branches: vec![[9; 32], [8; 32]],
            version: 0x2000_0000,
            nbits: 0x1703_4219,
            ntime: 0x6650_0000,
            clean_jobs: true,
        }
    }

    #[test]
    fn printing_and_reading_agree() {
        let Value::Array(params) = sample().to_params() else { panic!("no array") };
        assert_eq!(Notify::of_params(&params), Ok(sample()));
    }

    #[test]
    fn a_line_that_is_not_a_job_is_refused() {
        let Value::Array(good) = sample().to_params() else { panic!("no array") };
        assert!(Notify::of_params(&good[..8]).is_err());
        for (place, bad) in [
            (0, json!(1)),
            (1, json!("00")),
            (2, json!("0")),
            (4, json!(["00"])),
            (5, json!("2000000")),
            (8, json!("true")),
        ] {
            let mut params = good.clone();
            params[place] = bad;
            assert!(Notify::of_params(&params).is_err(), "{place}");
        }
    }

    #[test]
    fn extranonces_stand_between_the_halves_of_the_coinbase() {
        let job = sample();
        let folded = Notify { coinb1: vec![1, 2, 0xaa], ..job.clone() };
        let choice = Choice {
            extranonce1: &[0xaa, 0xbb],
            extranonce2: &[1, 2, 3],
            version: 0x2000_0000,
            ntime: 5,
            nonce: 6,
        };
        assert_eq!(job.hash(&choice), folded.hash(&Choice { extranonce1: &[0xbb], ..choice }));
    }
}
