//! Jobs: what all variants mean by one, read from and written in each of them.

use std::borrow::Cow;
use std::io::Write as _;

use jsonrpc::{elements, is_truthy, member, string, text, unsigned, write_string};

use crate::hex::{read_hex, strip_0x, write_hex};
use crate::target::Target;
use crate::variant::Variant;

/// Longest job id that is taken.
const MAX_JOB_ID: usize = 128;

/// Longest fourth item of an `ETHProxy` job that is passed on.
const MAX_FOURTH: usize = 20;

/// A hash of a header or a seed.
pub(crate) type Hash = [u8; 32];

/// One job, as its pool means it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Work<'a> {
    /// The pool's name for it; the digits of the header where jobs have no name.
    pub(crate) job_id: Cow<'a, str>,
    /// What is hashed with the nonce.
    pub(crate) header: Hash,
    /// Seed of the data set; `None` if the pool tells the epoch apart from the job.
    pub(crate) seed: Option<Hash>,
    /// The target, if it stands in the job …
    pub(crate) target: Option<Target>,
    /// … and its digits, which may lack leading zeros.
    pub(crate) target_digits: &'a [u8],
    /// Whether shares of earlier jobs are of no use any more, if the pool says so.
    pub(crate) clean: Option<bool>,
    /// Number of the block.
    pub(crate) height: Option<u64>,
    /// The fourth item of an `ETHProxy` job: a height, or a nonce prefix without `0x`.
    pub(crate) fourth: Option<&'a [u8]>,
}

impl<'a> Work<'a> {
    /// Reads a job; `None` if it is none. `span` holds the result of an `ETHProxy` job and the
    /// parameters of any other, `line` is all of it.
    pub(crate) fn read(variant: Variant, span: &'a [u8], line: &'a [u8]) -> Option<Self> {
        let mut items = elements(span);
        let first = items.next()?;
        let height = member(line, "height").and_then(unsigned);
        let mut work = Self {
            job_id: Cow::Borrowed(""),
            header: [0; 32],
            seed: None,
            target: None,
            target_digits: b"",
            clean: None,
            height,
            fourth: None,
        };
        if variant == Variant::EthProxy {
            let digits = string(first)?;
            work.header = read_hash(first)?;
            work.job_id = String::from_utf8_lossy(strip_0x(digits));
            work.seed = Some(read_hash(items.next()?)?);
            work.target_digits = string(items.next()?)?;
            work.target = Some(Target::read(work.target_digits)?);
            work.fourth = items.next().and_then(string).filter(|item| {
                item.len() <= MAX_FOURTH && item.iter().all(u8::is_ascii_alphanumeric)
            });
            let counted = work.fourth.filter(|item| item.starts_with(b"0x"));
            work.height = counted.and_then(read_hex).map(u64::from_be_bytes).or(height);
            return Some(work);
        }
        work.job_id = text(first).filter(|id| {
            (1..=MAX_JOB_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
        })?;
        match variant {
            Variant::Plain => {
                work.header = read_hash(items.next()?)?;
                work.seed = Some(read_hash(items.next()?)?);
                work.target_digits = string(items.next()?)?;
                work.target = Some(Target::read(work.target_digits)?);
                work.clean = items.next().map(is_yes);
            }
            Variant::NiceHash => {
                work.seed = Some(read_hash(items.next()?)?);
                work.header = read_hash(items.next()?)?;
                work.clean = items.next().map(is_yes);
            }
            Variant::Stratum2 => {
                work.height = Some(u64::from_be_bytes(read_hex(string(items.next()?)?)?));
                work.header = read_hash(items.next()?)?;
                work.clean = items.next().map(is_yes);
            }
            Variant::EthProxy => return None,
        }
        Some(work)
    }
}

/// How a job goes down.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Below<'a> {
    /// Epoch of the session that the job belongs to; stands in front of its name, if anything does.
    pub(crate) tag: Option<u8>,
    /// Earlier jobs are void.
    pub(crate) clean: bool,
    /// What counts for shares of it.
    pub(crate) target: Target,
    /// Seed of the data set.
    pub(crate) seed: Hash,
    /// The id of the request that it answers; `0` for a push. `ETHProxy` only.
    pub(crate) id: &'a [u8],
}

/// Appends a job for a miner of this variant.
pub(crate) fn write_work(out: &mut Vec<u8>, miner: Variant, work: &Work<'_>, below: &Below<'_>) {
    match miner {
        Variant::EthProxy => write_ethproxy(out, work, below),
        Variant::Plain | Variant::NiceHash => {
            out.extend_from_slice(b"{\"id\":null,\"method\":\"mining.notify\",\"params\":[");
            write_tagged(out, work, below.tag);
            let mut hash = |bytes: &[u8]| {
                out.extend_from_slice(b",\"");
                write_hex(out, bytes);
                out.push(b'"');
            };
            if miner == Variant::Plain {
                hash(&work.header);
                hash(&below.seed);
                out.extend_from_slice(b",\"");
                below.target.write(out);
                out.push(b'"');
            } else {
                hash(&below.seed);
                hash(&work.header);
            }
            append(out, format_args!(",{}]", below.clean));
            if let Some(height) = work.height {
                append(out, format_args!(",\"height\":{height}"));
            }
            out.extend_from_slice(b"}\n");
        }
        Variant::Stratum2 => {
            out.extend_from_slice(b"{\"method\":\"mining.notify\",\"params\":[");
            write_tagged(out, work, below.tag);
            append(out, format_args!(",\"{:x}\",\"", work.height.unwrap_or(0)));
            write_hex(out, &work.header);
            append(out, format_args!("\",\"{}\"]}}\n", u8::from(below.clean)));
        }
    }
}

fn write_ethproxy(out: &mut Vec<u8>, work: &Work<'_>, below: &Below<'_>) {
    out.extend_from_slice(b"{\"id\":");
    out.extend_from_slice(below.id);
    out.extend_from_slice(b",\"jsonrpc\":\"2.0\",\"result\":[\"0x");
    write_hex(out, &work.header);
    out.extend_from_slice(b"\",\"0x");
    write_hex(out, &below.seed);
    out.extend_from_slice(b"\",\"0x");
    if work.target == Some(below.target) {
        // As short as the pool has it: it may know miners that want it so.
        let digits = strip_0x(work.target_digits);
        out.extend_from_slice(digits);
    } else {
        below.target.write(out);
    }
    out.push(b'"');
    if let Some(fourth) = work.fourth {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(fourth);
        out.push(b'"');
    } else if let Some(height) = work.height {
        append(out, format_args!(",\"0x{height:x}\""));
    }
    out.push(b']');
    // Where a prefix takes the height's place, sserver adds it as a member.
    let prefix = work.fourth.filter(|fourth| !fourth.starts_with(b"0x"));
    if let (Some(_), Some(height)) = (prefix, work.height) {
        append(out, format_args!(",\"height\":{height}"));
    }
    out.extend_from_slice(b"}\n");
}

fn write_tagged(out: &mut Vec<u8>, work: &Work<'_>, tag: Option<u8>) {
    match tag {
        Some(tag) => write_string(out, &format!("{tag:02x}{}", work.job_id)),
        None => write_string(out, &work.job_id),
    }
}

/// Splits what a miner calls a job into the tag and the pool's name for it. Claymore puts `0x` in
/// front of job ids that look like a hash.
pub(crate) fn split_tag(told: &str) -> Option<(u8, &str)> {
    let told = told.strip_prefix("0x").unwrap_or(told);
    let (tag, job_id) = told.split_at_checked(2)?;
    Some((u8::from_str_radix(tag, 16).ok()?, job_id))
}

/// A hash, which may lack leading zeros.
pub(crate) fn read_hash(span: &[u8]) -> Option<Hash> {
    read_hex(string(span)?)
}

fn is_yes(span: &[u8]) -> bool {
    is_truthy(span) && span != b"\"0\""
}

fn append(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a vector cannot fail.
    let _ = out.write_fmt(text);
}
