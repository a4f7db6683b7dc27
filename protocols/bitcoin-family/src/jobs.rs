//! Job lines: reading what a pool sends and writing what the miner gets. Only the job id, the first
//! half of the coinbase and, on a switch, time and the clean flag differ; everything else is copied.

use jsonrpc::{elements, is_json, string};

use crate::extra_data::Later;

/// The parameters of a `mining.notify`, as spans of its line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Notify<'a> {
    job_id: &'a [u8],
    previous_hash: &'a [u8],
    coinbase1: &'a [u8],
    coinbase2: &'a [u8],
    branches: &'a [u8],
    version: &'a [u8],
    bits: &'a [u8],
    time: &'a [u8],
    clean_jobs: bool,
}

/// How many different tags there are.
pub(crate) const TAGS: u16 = 36 * 36;

/// Digits of a tag.
pub(crate) const TAG_LEN: usize = 2;

/// What a miner knows a job by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Label {
    /// The pool's id as it is.
    Plain,
    /// The pool's id behind a tag.
    Tag(u16),
    /// A number of our own; agents know jobs by one byte.
    Byte(u8),
}

/// What becomes of a job on its way down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Changes {
    /// What the miner knows the job by.
    pub(crate) label: Label,
    /// Tell the miner to drop older jobs, whatever the pool says.
    pub(crate) force_clean: bool,
    /// Seconds to add to the time.
    pub(crate) later: u32,
    /// The time is in `coinb1`, too.
    pub(crate) time_in_coinbase1: bool,
}

impl<'a> Notify<'a> {
    /// Reads the parameters. Whether the job makes sense is between the pool and the miner; what is
    /// made sure of is that the miner's parser can take what it gets.
    pub(crate) fn read(params: &'a [u8]) -> Option<Self> {
        let mut parts = elements(params);
        let job_id = string(parts.next()?)?;
        if !job_id.iter().all(|byte| matches!(byte, b' '..=b'~')) {
            return None;
        }
        let mut text = || string(parts.next()?).filter(|digits| is_hex(digits));
        let (previous_hash, coinbase1, coinbase2) = (text()?, text()?, text()?);
        let is_list = |branches: &&[u8]| branches.first() == Some(&b'[') && is_json(branches);
        let branches = parts.next().filter(is_list)?;
        let mut text = || string(parts.next()?).filter(|digits| is_hex(digits));
        let (version, bits, time) = (text()?, text()?, text()?);
        // Some pools write the flag as text and some leave it out; then it is safe to say yes.
        let clean_jobs =
            parts.next().is_none_or(|flag| flag == b"true" || string(flag) == Some(b"true"));
        Some(Self {
            job_id,
            previous_hash,
            coinbase1,
            coinbase2,
            branches,
            version,
            bits,
            time,
            clean_jobs,
        })
    }

    /// Appends the line for the miner. `insert` appends what comes behind the first half of the
    /// coinbase.
    pub(crate) fn write(
        &self,
        changes: Changes,
        insert: impl FnOnce(&mut Vec<u8>),
        out: &mut Vec<u8>,
    ) {
        out.extend_from_slice(b"{\"id\":null,\"method\":\"mining.notify\",\"params\":[\"");
        match changes.label {
            Label::Plain => out.extend_from_slice(self.job_id),
            Label::Tag(tag) => {
                write_tag(out, tag);
                out.extend_from_slice(self.job_id);
            }
            Label::Byte(byte) => out.extend_from_slice(byte.to_string().as_bytes()),
        }
        out.extend_from_slice(b"\",\"");
        out.extend_from_slice(self.previous_hash);
        out.extend_from_slice(b"\",\"");
        let later = self.seconds().filter(|_| changes.later > 0).map(|seconds| {
            let coinbase1 = if changes.time_in_coinbase1 { self.coinbase1 } else { &[] };
            Later::of(seconds, coinbase1, changes.later)
        });
        match later {
            Some(later) => later.write_coinbase1(self.coinbase1, out),
            None => out.extend_from_slice(self.coinbase1),
        }
        insert(out);
        out.extend_from_slice(b"\",\"");
        out.extend_from_slice(self.coinbase2);
        out.extend_from_slice(b"\",");
        out.extend_from_slice(self.branches);
        for field in [self.version, self.bits] {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(field);
            out.push(b'"');
        }
        out.extend_from_slice(b",\"");
        match later {
            Some(later) => out.extend_from_slice(format!("{:08x}", later.field).as_bytes()),
            None => out.extend_from_slice(self.time),
        }
        let clean = changes.force_clean || self.clean_jobs;
        out.extend_from_slice(if clean { b"\",true]}\n" } else { b"\",false]}\n" });
    }

    /// The job's time, seconds since 1970.
    fn seconds(&self) -> Option<u32> {
        u32::from_str_radix(std::str::from_utf8(self.time).ok()?, 16).ok()
    }

    /// The time of the job if it is sent so many seconds later, unless that is the pool's own.
    pub(crate) fn moved_time(&self, later: u32) -> Option<u32> {
        self.seconds().filter(|_| later > 0).map(|time| time.saturating_add(later))
    }

    /// The job id as sserver gives it to agents: a number from 0 to 255.
    pub(crate) fn byte_id(&self) -> Option<u8> {
        let is_number = self.job_id.iter().all(u8::is_ascii_digit);
        is_number.then(|| std::str::from_utf8(self.job_id).ok()?.parse().ok()).flatten()
    }
}

/// Whether all bytes are hex digits. Looks at every byte without a branch, as coinbases are long.
fn is_hex(digits: &[u8]) -> bool {
    digits.iter().fold(true, |all, byte| all & byte.is_ascii_hexdigit())
}

/// Appends the two digits of a tag.
fn write_tag(out: &mut Vec<u8>, tag: u16) {
    for digit in [tag / 36 % 36, tag % 36] {
        let digit = char::from_digit(u32::from(digit), 36).unwrap_or('0');
        out.push(u8::try_from(digit).unwrap_or(b'0'));
    }
}

/// The tag in front of a job id, and the id as its pool knows it.
pub(crate) fn split_tag(job_id: &str) -> Option<(u16, &str)> {
    let (tag, job_id) = job_id.split_at_checked(TAG_LEN)?;
    let mut value = 0;
    for digit in tag.chars() {
        if digit.is_ascii_uppercase() {
            return None;
        }
        value = value * 36 + u16::try_from(digit.to_digit(36)?).ok()?;
    }
    Some((value, job_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMS: &[u8] =
        br#"["4","aa","01","02",["bb", "cc"],"20000000","207fffff","5cb6dda8",false]"#;

    fn written(params: &[u8], changes: Changes, insert: &str) -> String {
        let mut out = Vec::new();
        let notify = Notify::read(params).unwrap();
        notify.write(changes, |out| out.extend_from_slice(insert.as_bytes()), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_job_goes_down_with_its_tag_and_the_pools_extranonce() {
        let changes = Changes {
            label: Label::Tag(37),
            force_clean: false,
            later: 0,
            time_in_coinbase1: false,
        };

        assert_eq!(
            written(PARAMS, changes, "ff"),
            "{\"id\":null,\"method\":\"mining.notify\",\"params\":[\"114\",\"aa\",\"01ff\",\"02\",\
             [\"bb\", \"cc\"],\"20000000\",\"207fffff\",\"5cb6dda8\",false]}\n"
        );
    }

    #[test]
    fn a_job_that_is_sent_again_is_clean_and_later() {
        let changes = Changes {
            label: Label::Tag(0),
            force_clean: true,
            later: 0x58,
            time_in_coinbase1: false,
        };

        assert!(written(PARAMS, changes, "").ends_with("\"5cb6de00\",true]}\n"));
    }

    #[test]
    fn a_job_without_the_clean_flag_is_clean() {
        let changes = Changes {
            label: Label::Tag(0),
            force_clean: false,
            later: 0,
            time_in_coinbase1: false,
        };
        for flag in ["", ",true", ",\"true\""] {
            let params =
                format!(r#"["4","aa","01","02",[],"20000000","207fffff","5cb6dda8"{flag}]"#);

            assert!(written(params.as_bytes(), changes, "").ends_with(",true]}\n"));
        }
    }

    #[test]
    fn lines_without_the_fields_of_a_job_are_refused() {
        for params in [
            "[]",
            "{}",
            r#"["bf"]"#,
            r#"["bf","zz","01","ff",[],"00000002","1d00ffff","68d36c5e",true]"#,
            r#"["4","aa","01","02",["bb" "cc"],"20000000","207fffff","5cb6dda8",true]"#,
            r#"["4","aa","01","02","bb","20000000","207fffff","5cb6dda8",true]"#,
            r#"[4,"aa","01","02",[],"20000000","207fffff","5cb6dda8",true]"#,
        ] {
            assert!(Notify::read(params.as_bytes()).is_none(), "{params}");
        }
    }

    #[test]
    fn a_tag_comes_back() {
        for tag in 0..TAGS {
            let mut id = Vec::new();
            write_tag(&mut id, tag);
            let id = String::from_utf8(id).unwrap() + "bf";

            assert_eq!(split_tag(&id), Some((tag, "bf")));
        }
        for id in ["", "1", "A0bf", "-1bf", "\u{e4}bf", "\u{fffd}"] {
            assert_eq!(split_tag(id), None);
        }
    }
}
