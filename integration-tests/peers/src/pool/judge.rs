//! What becomes of a submit: every share is rebuilt and hashed.
//!
//! Changes nothing but the record of duplicates; sending the answer and keeping the books is the
//! caller's.

use serde_json::Value;

use super::config::PoolConfig;
use super::state::{Connection, Issued};
use crate::header::{Hash, Target, rolled_version};
use crate::notify::{Choice, bytes_of, word_of};
use std::collections::{HashMap, HashSet};

/// Why a share is refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Refused {
    pub(super) code: i64,
    pub(super) reason: String,
    /// Whether an honest client can never be refused so, whatever it finds and however late.
    pub(super) is_violation: bool,
}

/// A good share.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Share {
    pub(super) name: String,
    pub(super) difficulty: f64,
}

/// Texts of the standard codes.
pub(super) fn text_of(code: i64) -> &'static str {
    match code {
        21 => "Job not found",
        22 => "Duplicate share",
        23 => "Low difficulty share",
        24 => "Unauthorized worker",
        25 => "Not subscribed",
        _ => "Other/Unknown",
    }
}

/// Judges the parameters of one submit.
pub(super) fn judge(
    config: &PoolConfig,
    connection: &Connection,
    seen: &mut HashMap<u64, HashSet<Hash>>,
    params: &[Value],
) -> Result<Share, Refused> {
    if !connection.subscribed {
        return Err(breach(25, "submit before subscribe"));
    }
    if connection.book.report.authorized.is_empty() {
        return Err(breach(24, "submit before authorize"));
    }
    let (required, bits) = match params {
        [name, job, extranonce2, ntime, nonce] => ([name, job, extranonce2, ntime, nonce], None),
        [name, job, extranonce2, ntime, nonce, bits] => {
            ([name, job, extranonce2, ntime, nonce], Some(bits))
        }
        _ => return Err(breach(20, format!("submit has {} parameters", params.len()))),
    };
    let [name, job, extranonce2, ntime, nonce] = required;
    let name = name_of(config, connection, name)?;
    let id = job.as_str().ok_or_else(|| breach(20, "the job id is no string"))?;
    let issued = job_of(connection, id)?;
    let claim = Claim {
        extranonce2: bytes_of(extranonce2).map_err(|why| breach(20, why))?,
        ntime: word_of(ntime).map_err(|why| breach(20, why))?,
        nonce: word_of(nonce).map_err(|why| breach(20, why))?,
        bits: bits.map(word_of).transpose().map_err(|why| breach(20, why))?,
    };
    weigh(config, connection, issued, seen, &claim, issued.difficulty)?;
    Ok(Share { name, difficulty: issued.difficulty })
}

/// What a share says of the header that it found.
pub(super) struct Claim {
    pub(super) extranonce2: Vec<u8>,
    pub(super) ntime: u32,
    pub(super) nonce: u32,
    pub(super) bits: Option<u32>,
}

/// Rebuilds the header and hashes it.
pub(super) fn weigh(
    config: &PoolConfig,
    connection: &Connection,
    issued: &Issued,
    seen: &mut HashMap<u64, HashSet<Hash>>,
    claim: &Claim,
    difficulty: f64,
) -> Result<(), Refused> {
    let (extranonce1, size) = (&issued.extranonce1, issued.extranonce2_size);
    let extranonce2 = config.chain.taken(extranonce1, size, &claim.extranonce2);
    let extranonce2 = extranonce2.map_err(|why| breach(20, why))?;
    let notify = &issued.work.notify;
    if !(notify.ntime..=notify.ntime.saturating_add(config.ntime_window)).contains(&claim.ntime) {
        return Err(honest(20, format!("time {:08x} is outside the window", claim.ntime)));
    }
    let choice = Choice {
        extranonce1,
        extranonce2: &extranonce2,
        version: version_of(connection, notify.version, claim.bits)?,
        ntime: claim.ntime,
        nonce: claim.nonce,
    };
    let hash = config.chain.hash(notify, &choice);
    if !Target::of_difficulty(difficulty).is_met_by(&hash) {
        return Err(honest(23, format!("hash misses difficulty {difficulty}")));
    }
    if !seen.entry(issued.work.serial).or_default().insert(hash) {
        return Err(honest(22, "the same header was accepted before"));
    }
    Ok(())
}

fn name_of(config: &PoolConfig, connection: &Connection, name: &Value) -> Result<String, Refused> {
    let name = name.as_str().ok_or_else(|| breach(20, "the name is no string"))?;
    if config.checks_names && !connection.book.report.authorized.contains_key(name) {
        return Err(breach(24, format!("{name:?} is not authorized on this connection")));
    }
    Ok(name.to_owned())
}

/// The job that the connection knows by this id.
pub(super) fn job_of<'a>(connection: &'a Connection, id: &str) -> Result<&'a Issued, Refused> {
    let found = connection.jobs.iter().rev().find(|issued| issued.id == id);
    found.ok_or_else(|| {
        if connection.ids_issued.contains(id) {
            honest(21, format!("job {id:?} is stale"))
        } else {
            breach(21, format!("job {id:?} was never sent on this connection"))
        }
    })
}

fn version_of(connection: &Connection, job: u32, bits: Option<u32>) -> Result<u32, Refused> {
    let Some(bits) = bits else { return Ok(job) };
    let Some(mask) = connection.book.report.version_mask else {
        return Err(breach(20, "version bits without mining.configure"));
    };
    if bits & !mask != 0 {
        return Err(honest(20, format!("version bits {bits:08x} leave the mask {mask:08x}")));
    }
    Ok(rolled_version(job, mask, bits))
}

pub(super) fn breach(code: i64, reason: impl Into<String>) -> Refused {
    Refused { code, reason: reason.into(), is_violation: true }
}

pub(super) fn honest(code: i64, reason: impl Into<String>) -> Refused {
    Refused { code, reason: reason.into(), is_violation: false }
}
