//! The state as bytes: a fixed header that tells whether the rest can be believed, then JSON.
//!
//! ```text
//! magic 8 · header length 4 · schema major 2 · schema minor 2 · body length 8 · sockets 4 ·
//! sessions 4 · created 8 (ns of CLOCK_MONOTONIC) · generation 8 · SHA-256 of all before and of the
//! body 32
//! ```
//!
//! Numbers are little-endian. A minor version only adds fields to the body; a reader refuses major
//! versions that it does not know. In version 1 each session's state is whole; in version 2 what
//! sessions have in common may be written once for all of them.

use std::collections::BTreeSet;
use std::os::fd::RawFd;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::sockets::SocketRecord;

/// Begins every state.
pub const MAGIC: [u8; 8] = *b"STRATSWI";

/// Oldest major version that is read, and written for programs that read no other.
pub const OLDEST: u16 = 1;

/// Newest major version that is read and written.
pub const MAJOR: u16 = 2;

/// Minor version written.
pub const MINOR: u16 = 0;

/// Bytes of the header.
pub const HEADER: usize = 80;

/// Room for the record of a socket.
const PER_SOCKET: usize = 128;

/// Room for a session, more than most take: what is not written costs no memory, and a buffer that
/// has to grow is copied while miners wait.
const PER_SESSION: usize = 12 * 1024;

/// Bytes of the header that the checksum covers.
const COVERED: usize = HEADER - 32;

/// What the header says beside the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Schema of the writer: major, minor.
    pub schema: (u16, u16),
    /// Number of sockets.
    pub sockets: u32,
    /// Number of sessions.
    pub sessions: u32,
    /// When sessions were told to freeze, in nanoseconds of `CLOCK_MONOTONIC`.
    pub created: u64,
    /// Times the program has been replaced, this time included.
    pub generation: u64,
}

/// The body. `D` is the engine's document, or a reference to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Body<D> {
    /// Version of the program that wrote it.
    pub writer: String,
    /// Where the program is, for the next upgrade.
    pub program: std::path::PathBuf,
    /// The configuration file as the writer has read it, should it go on after all.
    #[serde(default)]
    pub configuration: Option<String>,
    /// Descriptors without close-on-exec that were there before the program: a lock, a pipe of a
    /// supervisor. They stay open.
    #[serde(default)]
    pub kept: BTreeSet<RawFd>,
    /// When all sessions were at rest, in nanoseconds of `CLOCK_MONOTONIC`.
    #[serde(default)]
    pub frozen: u64,
    /// The sockets, in the order of the document.
    pub sockets: Vec<SocketRecord>,
    /// The engine's state.
    pub document: D,
}

/// Why bytes are no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Shorter than what the header says, or than a header.
    #[error("it has {found} bytes and should have {wanted}")]
    Length {
        /// Bytes there should be.
        wanted: u64,
        /// Bytes there are.
        found: u64,
    },
    /// It does not begin as a state does.
    #[error("it does not begin as a state does")]
    Magic,
    /// Another major version.
    #[error("its schema is {major}.{minor}, and only {OLDEST}.x to {MAJOR}.x can be read")]
    Schema {
        /// Its major version.
        major: u16,
        /// Its minor version.
        minor: u16,
    },
    /// Some bit is not as it was written.
    #[error("its checksum is wrong")]
    Checksum,
    /// The body is not what the document wants.
    #[error("its body does not read: {0}")]
    Body(String),
    /// Header and body disagree.
    #[error("its header counts {header} sockets, its body {body}")]
    Sockets {
        /// In the header.
        header: u32,
        /// In the body.
        body: usize,
    },
}

/// Writes a state, in this major version.
///
/// # Errors
///
/// The document cannot be written as JSON.
pub fn encode<D: Serialize>(
    major: u16,
    body: &Body<D>,
    sessions: usize,
    created: u64,
    generation: u64,
) -> Result<Vec<u8>, EnvelopeError> {
    let guess = HEADER + body.sockets.len() * PER_SOCKET + sessions * PER_SESSION;
    let mut bytes = Vec::with_capacity(guess);
    bytes.resize(HEADER, 0);
    serde_json::to_writer(&mut bytes, body)
        .map_err(|error| EnvelopeError::Body(error.to_string()))?;
    let length = (bytes.len() - HEADER) as u64;
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let mut header = Vec::with_capacity(HEADER);
    header.extend(MAGIC);
    header.extend(count(HEADER).to_le_bytes());
    header.extend(major.to_le_bytes());
    header.extend(MINOR.to_le_bytes());
    header.extend(length.to_le_bytes());
    header.extend(count(body.sockets.len()).to_le_bytes());
    header.extend(count(sessions).to_le_bytes());
    header.extend(created.to_le_bytes());
    header.extend(generation.to_le_bytes());
    let (front, json) = bytes.split_at_mut(HEADER);
    header.extend(checksum(&header, json));
    front.copy_from_slice(&header);
    Ok(bytes)
}

/// Reads a state.
///
/// # Errors
///
/// What is wrong with it.
pub fn decode<D: for<'a> Deserialize<'a>>(
    bytes: &[u8],
) -> Result<(Header, Body<D>), EnvelopeError> {
    let found = bytes.len() as u64;
    let short = EnvelopeError::Length { wanted: HEADER as u64, found };
    let (header, rest) = bytes.split_at_checked(HEADER).ok_or(short.clone())?;
    let mut fields = Fields(header);
    if fields.take()? != MAGIC {
        return Err(EnvelopeError::Magic);
    }
    let header_length = u32::from_le_bytes(fields.take()?);
    let (major, minor) = (u16::from_le_bytes(fields.take()?), u16::from_le_bytes(fields.take()?));
    if !(OLDEST..=MAJOR).contains(&major) || header_length != 80 {
        return Err(EnvelopeError::Schema { major, minor });
    }
    let length = u64::from_le_bytes(fields.take()?);
    let wanted = length.saturating_add(HEADER as u64);
    if found != wanted {
        return Err(EnvelopeError::Length { wanted, found });
    }
    let read = Header {
        schema: (major, minor),
        sockets: u32::from_le_bytes(fields.take()?),
        sessions: u32::from_le_bytes(fields.take()?),
        created: u64::from_le_bytes(fields.take()?),
        generation: u64::from_le_bytes(fields.take()?),
    };
    let covered = header.get(..COVERED).ok_or(short)?;
    if fields.0 != checksum(covered, rest) {
        return Err(EnvelopeError::Checksum);
    }
    let body: Body<D> =
        serde_json::from_slice(rest).map_err(|error| EnvelopeError::Body(error.to_string()))?;
    if usize::try_from(read.sockets) != Ok(body.sockets.len()) {
        let (header, body) = (read.sockets, body.sockets.len());
        return Err(EnvelopeError::Sockets { header, body });
    }
    Ok((read, body))
}

fn checksum(header: &[u8], body: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(header).chain_update(body).finalize().into()
}

/// What is left of the header.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], EnvelopeError> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(EnvelopeError::Magic)?;
        self.0 = rest;
        Ok(*field)
    }
}

#[cfg(test)]
mod tests;
