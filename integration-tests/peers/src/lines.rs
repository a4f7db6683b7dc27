//! Cutting a byte stream into lines, and into the frames of agents between them, and remembering the
//! last of the lines.
//!
//! Knows nothing of JSON except that several objects may share a line.

use std::collections::VecDeque;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest line anybody may send; real ones stay under 8 KiB.
pub const LONGEST_LINE: usize = 64 * 1024;

/// The first byte of a frame; no line begins with it.
pub const FRAME: u8 = 0x7f;

/// What a stream is made of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Piece {
    /// A line without its line feed.
    Line(String),
    /// A whole frame of an agent or for one. Only the header if the length in it is below 4.
    Frame(Vec<u8>),
}

/// How a stream ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum End {
    /// The peer closed in good order, after a whole line.
    Closed,
    /// The peer closed behind the first part of a line.
    ClosedInLine,
    /// The connection was reset or failed otherwise.
    Failed(String),
    /// A line grew beyond [`LONGEST_LINE`].
    TooLong,
}

/// Reads lines from a stream.
#[derive(Debug)]
pub struct LineReader<R> {
    stream: R,
    pending: Vec<u8>,
    searched: usize,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// Starts reading `stream`.
    pub fn new(stream: R) -> Self {
        Self { stream, pending: Vec::new(), searched: 0 }
    }

    /// The next line without its line feed; empty lines are skipped. Cancel safe.
    ///
    /// # Errors
    ///
    /// The way the stream ended.
    pub async fn next(&mut self) -> Result<String, End> {
        loop {
            if let Piece::Line(line) = self.piece().await? {
                return Ok(line);
            }
        }
    }

    /// The next line or frame; empty lines are skipped. Cancel safe.
    ///
    /// # Errors
    ///
    /// The way the stream ended.
    pub async fn piece(&mut self) -> Result<Piece, End> {
        loop {
            match self.cut() {
                Some(Piece::Line(line)) if line.trim().is_empty() => continue,
                Some(piece) => return Ok(piece),
                None => {}
            }
            if self.pending.len() > LONGEST_LINE {
                return Err(End::TooLong);
            }
            match self.stream.read_buf(&mut self.pending).await {
                Ok(0) if self.pending.is_empty() => return Err(End::Closed),
                Ok(0) => return Err(End::ClosedInLine),
                Ok(_) => {}
                Err(error) => return Err(End::Failed(error.to_string())),
            }
        }
    }

    fn cut(&mut self) -> Option<Piece> {
        if self.pending.first() == Some(&FRAME) {
            let length = self.pending.get(2..4)?.try_into().map(u16::from_le_bytes).ok()?;
            let length = usize::from(length).max(4);
            let is_whole = self.pending.len() >= length;
            return is_whole.then(|| Piece::Frame(self.pending.drain(..length).collect()));
        }
        let fresh = self.pending.get(self.searched..)?;
        let Some(place) = fresh.iter().position(|&byte| byte == b'\n') else {
            self.searched = self.pending.len();
            return None;
        };
        let mut line: Vec<u8> = self.pending.drain(..=self.searched + place).collect();
        line.pop();
        self.searched = 0;
        Some(Piece::Line(String::from_utf8_lossy(&line).into_owned()))
    }
}

/// The JSON values that stand on one line, one after the other.
pub fn values_on(line: &str) -> Vec<Result<Value, String>> {
    serde_json::Deserializer::from_str(line)
        .into_iter::<Value>()
        .map(|value| value.map_err(|error| error.to_string()))
        .collect()
}

/// The last lines of a conversation; older ones are forgotten.
#[derive(Clone, Debug)]
pub struct Ring {
    lines: VecDeque<String>,
    capacity: usize,
}

impl Ring {
    /// Keeps at most `capacity` lines.
    pub fn new(capacity: usize) -> Self {
        Self { lines: VecDeque::new(), capacity }
    }

    /// Adds a line, and drops the oldest one when full.
    pub fn push(&mut self, line: impl Into<String>) {
        if self.lines.len() >= self.capacity {
            self.lines.pop_front();
        }
        self.lines.push_back(line.into());
    }

    /// The lines kept, oldest first.
    pub fn to_vec(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_whole_whatever_the_segments() {
        let mut reader = LineReader::new(&b"one\n\n  \ntwo\r\nthr"[..]);

        assert_eq!(reader.next().await, Ok("one".into()));
        assert_eq!(reader.next().await, Ok("two\r".into()));
        assert_eq!(reader.next().await, Err(End::ClosedInLine));
    }

    #[tokio::test]
    async fn frames_and_lines_share_a_stream() {
        let mut reader = LineReader::new(&b"one\n\x7f\x04\x06\x00\n\n\ntwo\n\x7f\x02\x00\x00"[..]);

        assert_eq!(reader.piece().await, Ok(Piece::Line("one".into())));
        assert_eq!(reader.piece().await, Ok(Piece::Frame(b"\x7f\x04\x06\x00\n\n".to_vec())));
        assert_eq!(reader.piece().await, Ok(Piece::Line("two".into())));
        assert_eq!(reader.piece().await, Ok(Piece::Frame(b"\x7f\x02\x00\x00".to_vec())));
        assert_eq!(reader.piece().await, Err(End::Closed));
    }

    #[tokio::test]
    async fn a_line_without_end_is_given_up() {
        let endless = vec![b'x'; LONGEST_LINE * 2];
        let mut reader = LineReader::new(endless.as_slice());
        assert_eq!(reader.next().await, Err(End::TooLong));
    }

    #[test]
    fn objects_may_share_a_line_and_junk_is_named() {
        let values = values_on(r#"{"id":1}{"id":2} nonsense"#);
        assert_eq!(values.len(), 3);
        assert!(values[0].is_ok() && values[1].is_ok() && values[2].is_err());
    }

    #[test]
    fn a_ring_forgets_the_oldest() {
        let mut ring = Ring::new(2);
        for line in ["a", "b", "c"] {
            ring.push(line);
        }
        assert_eq!(ring.to_vec(), ["b", "c"]);
    }
}
