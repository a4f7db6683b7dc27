//! The binary frames that agents and sserver put between their lines: `7F`, a command, the length of
//! the whole frame, and a body. Every integer is little-endian (btccom/btcpool, docs/AGENT.md; where
//! its examples and its layouts disagree, the layouts are right).

use switcher_plugin::Cut;

/// The first byte of a frame; no JSON line begins with it.
pub(crate) const MAGIC: u8 = 0x7f;

/// Bytes of magic, command and length.
const HEADER: usize = 4;

/// The highest number a sub-miner may have.
pub(crate) const MAX_SID: u16 = 0xfffe;

/// sserver drops registrations of other sizes.
const REGISTER_SIZES: std::ops::RangeInclusive<usize> = 8..=100;

const REGISTER: u8 = 0x01;
const SUBMIT: u8 = 0x02;
const SUBMIT_TIME: u8 = 0x03;
const UNREGISTER: u8 = 0x04;
const SET_DIFFICULTY: u8 = 0x05;
const RESPONSE: u8 = 0x10;
const SUBMIT_VERSION: u8 = 0x12;
const SUBMIT_TIME_VERSION: u8 = 0x13;

/// Most sub-miners that fit into one frame with a difficulty.
const MAX_DIFFICULTY_SIDS: usize = 32_764;

/// What an agent says in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FromAgent<'a> {
    /// A sub-miner has come; the body behind its number holds its agent and its name.
    Register(u16, &'a [u8]),
    /// A sub-miner has gone.
    Unregister(u16),
    Submit(Submit),
    /// A registration that sserver would drop without a word.
    BadRegister,
    /// A share that sserver would drop without a word. The agent has counted it.
    BadSubmit,
    /// Of a known command and the wrong size.
    WrongSize,
    Unknown,
}

/// What sserver says in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FromPool<'a> {
    /// The sub-miners in the list shall mine at 2 to the power of this.
    Difficulty(u8, Sids<'a>),
    /// What became of the share with this index.
    Response(u16, i32),
    WrongSize,
    Unknown,
}

/// Numbers of sub-miners, as they stand in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sids<'a>(&'a [u8]);

/// A share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Submit {
    pub(crate) job: u8,
    pub(crate) sid: u16,
    pub(crate) extranonce2: u32,
    pub(crate) nonce: u32,
    /// Absent or 0 if it is the job's.
    pub(crate) time: Option<u32>,
    pub(crate) version: Option<u32>,
}

/// Finds the end of a frame; `None` if the bytes begin a line. A header with a length that cannot be
/// is a frame of its own, so that its reader sees it.
pub(crate) fn cut(bytes: &[u8]) -> Option<Cut> {
    if bytes.first() != Some(&MAGIC) {
        return None;
    }
    let Some(length) = word(bytes, 2) else { return Some(Cut::Partial) };
    let length = usize::from(length).max(HEADER);
    Some(if bytes.len() < length { Cut::Partial } else { Cut::Frame(length) })
}

/// Whether the length in the header is that of the frame. Nothing behind one that is not can be
/// made sense of.
pub(crate) fn is_whole(frame: &[u8]) -> bool {
    frame.len() >= HEADER && word(frame, 2).is_some_and(|len| usize::from(len) == frame.len())
}

impl<'a> FromAgent<'a> {
    pub(crate) fn read(frame: &'a [u8]) -> Self {
        match frame.get(1) {
            Some(&REGISTER) => {
                let sid = word(frame, 4).filter(|sid| *sid <= MAX_SID);
                match (REGISTER_SIZES.contains(&frame.len()), sid, frame.get(6..)) {
                    (true, Some(sid), Some(body)) => Self::Register(sid, body),
                    _ => Self::BadRegister,
                }
            }
            Some(&UNREGISTER) => match word(frame, 4) {
                Some(sid) if frame.len() == 6 => Self::Unregister(sid),
                _ => Self::WrongSize,
            },
            Some(&(SUBMIT | SUBMIT_TIME | SUBMIT_VERSION | SUBMIT_TIME_VERSION)) => {
                Submit::read(frame).map_or(Self::BadSubmit, Self::Submit)
            }
            _ => Self::Unknown,
        }
    }
}

impl<'a> FromPool<'a> {
    pub(crate) fn read(frame: &'a [u8]) -> Self {
        match frame.get(1) {
            Some(&SET_DIFFICULTY) => {
                let count = word(frame, 5).map(usize::from);
                match (frame.get(4), frame.get(7..)) {
                    // No difficulty is larger than 64 bits on either side.
                    (Some(&exponent @ 0..=63), Some(list)) if Some(list.len() / 2) == count => {
                        if list.len() % 2 == 0 {
                            Self::Difficulty(exponent, Sids(list))
                        } else {
                            Self::WrongSize
                        }
                    }
                    _ => Self::WrongSize,
                }
            }
            Some(&RESPONSE) => match (word(frame, 4), long(frame, 6)) {
                (Some(index), Some(status)) if frame.len() == 10 => {
                    Self::Response(index, status.cast_signed())
                }
                _ => Self::WrongSize,
            },
            _ => Self::Unknown,
        }
    }
}

impl Sids<'_> {
    pub(crate) fn iter(self) -> impl Iterator<Item = u16> {
        self.0.chunks_exact(2).filter_map(|pair| word(pair, 0))
    }
}

impl Submit {
    fn read(frame: &[u8]) -> Option<Self> {
        let command = frame.get(1)?;
        let has_time = matches!(*command, SUBMIT_TIME | SUBMIT_TIME_VERSION);
        let has_version = matches!(*command, SUBMIT_VERSION | SUBMIT_TIME_VERSION);
        let version_at = if has_time { 19 } else { 15 };
        let size = version_at + if has_version { 4 } else { 0 };
        if frame.len() != size {
            return None;
        }
        Some(Self {
            job: *frame.get(4)?,
            sid: word(frame, 5)?,
            extranonce2: long(frame, 7)?,
            nonce: long(frame, 11)?,
            time: if has_time { Some(long(frame, 15)?) } else { None },
            version: if has_version { Some(long(frame, version_at)?) } else { None },
        })
    }

    pub(crate) fn write(self, out: &mut Vec<u8>) {
        let command = match (self.time, self.version) {
            (None, None) => SUBMIT,
            (Some(_), None) => SUBMIT_TIME,
            (None, Some(_)) => SUBMIT_VERSION,
            (Some(_), Some(_)) => SUBMIT_TIME_VERSION,
        };
        let longs = [Some(self.extranonce2), Some(self.nonce), self.time, self.version];
        let size = 7 + 4 * longs.iter().flatten().count();
        write_header(out, command, size);
        out.push(self.job);
        out.extend_from_slice(&self.sid.to_le_bytes());
        for long in longs.into_iter().flatten() {
            out.extend_from_slice(&long.to_le_bytes());
        }
    }
}

/// Appends the registration of a sub-miner, with the body that it had.
pub(crate) fn write_register(out: &mut Vec<u8>, sid: u16, body: &[u8]) {
    write_header(out, REGISTER, HEADER + 2 + body.len());
    out.extend_from_slice(&sid.to_le_bytes());
    out.extend_from_slice(body);
}

/// Appends what became of the share with this index.
pub(crate) fn write_response(out: &mut Vec<u8>, index: u16, status: i32) {
    write_header(out, RESPONSE, 10);
    out.extend_from_slice(&index.to_le_bytes());
    out.extend_from_slice(&status.to_le_bytes());
}

/// Appends a difficulty for sub-miners, in as many frames as it takes.
pub(crate) fn write_difficulty(out: &mut Vec<u8>, exponent: u8, sids: &[u16]) {
    for part in sids.chunks(MAX_DIFFICULTY_SIDS) {
        write_header(out, SET_DIFFICULTY, 7 + 2 * part.len());
        out.push(exponent);
        out.extend_from_slice(&u16::try_from(part.len()).unwrap_or(u16::MAX).to_le_bytes());
        for sid in part {
            out.extend_from_slice(&sid.to_le_bytes());
        }
    }
}

fn write_header(out: &mut Vec<u8>, command: u8, size: usize) {
    out.extend_from_slice(&[MAGIC, command]);
    out.extend_from_slice(&u16::try_from(size).unwrap_or(u16::MAX).to_le_bytes());
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests;
