//! Decred's side of a pool or miner: headers of 180 bytes, where extranonces stand in them, and the
//! proof of work, which is BLAKE3 since DCP-0011.
//!
//! Checked against the header of a recorded session in the tests below.

use crate::header::{Hash, reversed_words};
use crate::notify::{Choice, Notify};

/// Bytes of a header.
pub const HEADER: usize = 180;

/// Where the nonce stands in it.
const NONCE_AT: usize = 140;

/// Bytes of `coinb1` that stand in the header; time and nonce may follow in the line.
const COINB1: usize = 100;

/// Bytes at the front of a template that its miner rolls.
pub const ROLLED: usize = 8;

/// Where extranonces stand in `ExtraData`, and what a miner submits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Form {
    /// Extranonce2 behind extranonce1, submitted alone, as `NiceHash` has it.
    Appended,
    /// The same, with extranonce1 in front in submits, as Antminer DR3 has it.
    AppendedWhole,
    /// Extranonce1 is a template of 12 bytes, the first 8 of which are rolled; all are submitted.
    Template,
}

impl Form {
    /// What sserver says for a session id that it has adopted.
    pub fn told(self, id: [u8; 4]) -> Vec<u8> {
        let id = id.into_iter().rev();
        match self {
            Self::Appended | Self::AppendedWhole => id.collect(),
            Self::Template => [0; ROLLED].into_iter().chain(id).collect(),
        }
    }

    /// How many bytes a miner rolls that was told this size.
    pub fn rolled(self, extranonce2_size: usize) -> usize {
        match self {
            Self::Appended | Self::AppendedWhole => extranonce2_size,
            Self::Template => ROLLED,
        }
    }

    /// The start of `ExtraData`; zeros follow.
    fn extra_data(self, extranonce1: &[u8], rolled: &[u8]) -> Vec<u8> {
        match self {
            Self::Appended | Self::AppendedWhole => [extranonce1, rolled].concat(),
            Self::Template => {
                let fixed = extranonce1.get(ROLLED..).unwrap_or_default();
                [rolled, fixed].concat()
            }
        }
    }

    /// What a miner submits for the bytes it has rolled.
    pub fn submitted(self, extranonce1: &[u8], rolled: &[u8]) -> Vec<u8> {
        match self {
            Self::Appended => rolled.to_vec(),
            Self::AppendedWhole | Self::Template => self.extra_data(extranonce1, rolled),
        }
    }

    /// The bytes that were rolled, as sserver takes them from a submit: the first of what it gets.
    ///
    /// # Errors
    ///
    /// It has a length that sserver refuses, or the end of another template.
    pub fn taken(
        self,
        extranonce1: &[u8],
        extranonce2_size: usize,
        submitted: &[u8],
    ) -> Result<Vec<u8>, String> {
        let size = self.rolled(extranonce2_size);
        let (rolled, rest) = submitted.split_at_checked(size).unwrap_or((&[], submitted));
        if rolled.is_empty() || !matches!(submitted.len(), 12 | ROLLED) && !rest.is_empty() {
            return Err(format!("extranonce2 has {} bytes instead of {size}", submitted.len()));
        }
        let is_other =
            self == Self::Template && !rest.is_empty() && Some(rest) != extranonce1.get(ROLLED..);
        if is_other {
            return Err(format!("{} is another session's template", hex::encode(submitted)));
        }
        Ok(rolled.to_vec())
    }
}

/// Lays out the 180 bytes of a header.
pub fn header(form: Form, notify: &Notify, choice: &Choice<'_>) -> [u8; HEADER] {
    let extra_data = form.extra_data(choice.extranonce1, choice.extranonce2);
    let mut bytes = [0; HEADER];
    // Decred's line has the version as its bytes stand in the header.
    bytes[..4].copy_from_slice(&notify.version.to_be_bytes());
    bytes[4..36].copy_from_slice(&reversed_words(&notify.prevhash));
    for (to, from) in bytes[36..36 + COINB1].iter_mut().zip(&notify.coinb1) {
        *to = *from;
    }
    bytes[136..NONCE_AT].copy_from_slice(&choice.ntime.to_le_bytes());
    bytes[NONCE_AT..144].copy_from_slice(&choice.nonce.to_le_bytes());
    for (to, from) in bytes[144..176].iter_mut().zip(&extra_data) {
        *to = *from;
    }
    for (to, from) in bytes[176..].iter_mut().zip(&notify.coinb2) {
        *to = *from;
    }
    bytes
}

/// Puts another nonce into a header.
pub fn set_nonce(header: &mut [u8; HEADER], nonce: u32) {
    header[NONCE_AT..144].copy_from_slice(&nonce.to_le_bytes());
}

/// The proof of work of a header.
pub fn proof(header: &[u8; HEADER]) -> Hash {
    blake3::hash(header).into()
}

/// The time of a job as cpuminer-multi and ccminer have it: the one in `coinb1`.
///
/// # Errors
///
/// It is not the job's, or is not there.
pub fn time_of(notify: &Notify) -> Result<u32, String> {
    let bytes = notify.coinb1.get(COINB1..COINB1 + 4).and_then(|bytes| bytes.try_into().ok());
    let time = bytes.map(u32::from_le_bytes).ok_or("coinb1 is too short for a header")?;
    if time != notify.ntime {
        return Err(format!("coinb1 has the time {time:08x}, the job {:08x}", notify.ntime));
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The job of a pool of yiimp's kind that gominer's own tests replay.
    fn recorded() -> Notify {
        let params = json!([
            "76df",
            "7c3b9a506a98f865820e4c46aaa65cec37f18cf1bf7c508700000ac200000000",
            "a455f69725e9c8623baa3c9c5a708aefb947702dc2b620b4c10129977e104c0275571a5ca5b1308b075fe74224504c9e6b1153f3de97235e7a8c7e58ea8f1c55010086a1d41fb3ee05000000fda400004a33121a2db33e1101000000abae0000260800008ec783570000000000000000",
            "",
            [],
            "01000000",
            "1a12334a",
            "5783c78e",
            true
        ]);
        let Value::Array(params) = params else { panic!("no array") };
        Notify::of_params(&params).unwrap()
    }

    #[test]
    fn a_recorded_job_becomes_the_recorded_header() {
        let notify = recorded();
        let choice = Choice {
            extranonce1: &hex::decode("0000000000000000e3014335").unwrap(),
            extranonce2: &hex::decode("00000000009c152d").unwrap(),
            version: notify.version,
            ntime: time_of(&notify).unwrap(),
            nonce: 0,
        };

        let header = header(Form::Template, &notify, &choice);

        assert_eq!(
            hex::encode(header),
            "01000000509a3b7c65f8986a464c0e82ec5ca6aaf18cf13787507cbfc20a000000000000a455f69725e9c8623baa3c9c5a708aefb947702dc2b620b4c10129977e104c0275571a5ca5b1308b075fe74224504c9e6b1153f3de97235e7a8c7e58ea8f1c55010086a1d41fb3ee05000000fda400004a33121a2db33e1101000000abae0000260800008ec783570000000000000000009c152de3014335000000000000000000000000000000000000000000000000"
        );
    }

    #[test]
    fn a_job_with_two_times_is_found_out() {
        let other = Notify { ntime: 0x5783_c78f, ..recorded() };
        let short = Notify { coinb1: vec![0; 100], ..recorded() };

        assert!(time_of(&other).is_err() && time_of(&short).is_err());
    }

    #[test]
    fn what_is_submitted_is_taken_as_it_was_rolled() {
        for form in [Form::Appended, Form::Template] {
            let extranonce1 = form.told([1, 0, 0, 0x80]);
            let submitted = form.submitted(&extranonce1, &[1, 2, 3, 4, 5, 6, 7, 8]);

            assert_eq!(form.taken(&extranonce1, 8, &submitted), Ok(vec![1, 2, 3, 4, 5, 6, 7, 8]));
            assert_eq!(form.taken(&extranonce1, 8, &[9; 8]), Ok(vec![9; 8]));
            assert!(form.taken(&extranonce1, 8, &[9; 11]).is_err());
            assert!(form.taken(&extranonce1, 8, &[9; 7]).is_err());
        }
        assert!(Form::Template.taken(&Form::Template.told([1; 4]), 8, &[9; 12]).is_err());
    }

    /// sserver takes the first 8 bytes in this form as well, which are not those that were rolled.
    #[test]
    fn a_whole_block_is_misread_where_extranonce2_is_appended() {
        let told = Form::AppendedWhole.told([1, 0, 0, 0x80]);
        let submitted = Form::AppendedWhole.submitted(&told, &[1, 2, 3, 4, 5, 6, 7, 8]);

        assert_eq!(Form::Appended.taken(&told, 8, &submitted), Ok(vec![0x80, 0, 0, 1, 1, 2, 3, 4]));
    }
}
