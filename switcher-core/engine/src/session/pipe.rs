//! One socket of a session with the bytes that are neither read nor written yet.
//!
//! An idle pipe owns no buffer: incomplete frames and unsent bytes are the only things kept, in
//! buffers borrowed from the shard's stock.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Buffers that no pipe needs at the moment.
#[derive(Debug, Default)]
pub(crate) struct Stock(Vec<Vec<u8>>);

impl Stock {
    /// Buffers kept at most, and the largest kept.
    const MOST: usize = 64;
    const LARGEST: usize = 8 * 1024;

    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    pub(crate) fn give_back(&mut self, mut buffer: Vec<u8>) {
        if self.0.len() < Self::MOST && (1..=Self::LARGEST).contains(&buffer.capacity()) {
            buffer.clear();
            self.0.push(buffer);
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Pipe {
    stream: TcpStream,
    /// The beginning of a frame that is not whole yet.
    pub(crate) rx: Vec<u8>,
    /// What could not be written yet, from `tx_at` on.
    tx: Vec<u8>,
    tx_at: usize,
}

impl Pipe {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, rx: Vec::new(), tx: Vec::new(), tx_at: 0 }
    }

    /// A pipe as it was when it was frozen.
    pub(crate) fn resume(stream: TcpStream, rx: Vec<u8>, tx: Vec<u8>) -> Self {
        Self { stream, rx, tx, tx_at: 0 }
    }

    /// The incomplete frame and the unsent bytes.
    pub(crate) fn residue(&self) -> (&[u8], &[u8]) {
        (&self.rx, self.tx.get(self.tx_at..).unwrap_or_default())
    }

    /// The socket alone.
    pub(crate) fn into_socket(self) -> io::Result<OwnedFd> {
        Ok(self.stream.into_std()?.into())
    }

    pub(crate) fn unsent(&self) -> usize {
        self.tx.len() - self.tx_at
    }

    /// Adds bytes to be written by the next [`Pipe::poll_flush`].
    pub(crate) fn queue(&mut self, bytes: &[u8], stock: &mut Stock) {
        if self.tx.capacity() == 0 {
            self.tx = stock.take();
        }
        self.tx.extend_from_slice(bytes);
    }

    /// Writes what is queued. Ready when all is written.
    pub(crate) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        stock: &mut Stock,
    ) -> Poll<io::Result<()>> {
        while let Some(rest) = self.tx.get(self.tx_at..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => self.tx_at += n,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.drop_written();
                    return Poll::Pending;
                }
            }
        }
        self.tx_at = 0;
        if self.tx.capacity() > 0 {
            stock.give_back(std::mem::take(&mut self.tx));
        }
        Poll::Ready(Ok(()))
    }

    /// A slow reader's queue must not grow by what it has read.
    fn drop_written(&mut self) {
        if self.tx_at >= 16 * 1024 {
            self.tx.drain(..self.tx_at);
            self.tx_at = 0;
        }
    }

    /// Reads into `scratch` behind the incomplete frame, which is put in front. Ready with the
    /// number of bytes there, of which `fresh` are new; none are new at the end of the stream.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        stock: &mut Stock,
    ) -> Poll<io::Result<Filled>> {
        let kept = self.rx.len();
        let Some(space) = scratch.get_mut(kept..) else {
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        };
        let mut buffer = ReadBuf::new(space);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => {
                let fresh = buffer.filled().len();
                if kept > 0
                    && let Some(front) = scratch.get_mut(..kept)
                {
                    front.copy_from_slice(&self.rx);
                    stock.give_back(std::mem::take(&mut self.rx));
                }
                Poll::Ready(Ok(Filled { len: kept + fresh, fresh }))
            }
        }
    }

    /// Keeps the beginning of a frame for the next read.
    pub(crate) fn keep(&mut self, rest: &[u8], stock: &mut Stock) {
        if !rest.is_empty() {
            self.rx = stock.take();
            self.rx.extend_from_slice(rest);
        }
    }

    /// Makes the close a reset: the peer comes back at once, and the local port is free at once.
    pub(crate) fn reset_on_close(&self) {
        // It fails on a dead socket only, which needs no reset.
        let _ = self.stream.set_zero_linger();
    }
}

/// What [`Pipe::poll_fill`] has put into the scratch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filled {
    pub(crate) len: usize,
    pub(crate) fresh: usize,
}
