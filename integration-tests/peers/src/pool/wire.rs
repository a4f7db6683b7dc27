//! The tasks of a pool: one that accepts, two per connection, one clock.
//!
//! They move bytes and keep time; what is said is decided in `conversation`.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use super::agents::hear_frame;
use super::config::{Answers, Quirk};
use super::conversation::{PING_ID, hear};
use super::state::{Outgoing, State};
use crate::lines::{End, LineReader, Piece};
use crate::shared::Shared;

/// A group of reversed answers that does not fill is sent after this long.
const GROUP_PATIENCE: Duration = Duration::from_secs(1);

/// How exactly the clock keeps its intervals.
const TICK: Duration = Duration::from_millis(5);

/// Accepts connections until aborted; all connections end with it.
pub(super) async fn serve(shared: Shared<State>, listener: TcpListener) {
    let mut tasks = JoinSet::new();
    tasks.spawn(keep_time(shared.clone()));
    loop {
        while tasks.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                tasks.spawn(attend(shared.clone(), stream, peer));
            }
            // Out of descriptors: closing connections give some back.
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Sends jobs and pings when their time has come.
async fn keep_time(shared: Shared<State>) {
    let (mut last_job, mut last_ping, mut jobs) = (Instant::now(), Instant::now(), 0_u64);
    loop {
        sleep(TICK).await;
        let mut state = shared.lock();
        let now = Instant::now();
        if let Some(interval) = state.config.job_interval
            && now - last_job >= interval
        {
            last_job = now;
            jobs += 1;
            let clean = state.config.clean_every != 0 && jobs % state.config.clean_every == 0;
            state.new_job(clean);
        }
        if let Some(interval) = state.config.ping_interval()
            && now - last_ping >= interval
        {
            last_ping = now;
            for connection in state.connections.iter_mut().filter(|one| one.subscribed) {
                connection.asked.insert(PING_ID);
                connection
                    .send(format!(r#"{{"id":{PING_ID},"method":"mining.ping","params":[]}}"#));
            }
        }
    }
}

/// Serves one connection to its end.
async fn attend(shared: Shared<State>, stream: TcpStream, peer: SocketAddr) {
    let (outbox, orders) = mpsc::unbounded_channel();
    let number = shared.lock().open(peer, outbox);
    let (read, write) = stream.into_split();
    let mut reader = JoinSet::new();
    let listening = reader.spawn(listen(shared.clone(), number, read));
    let closed_by_us = Writer { shared: shared.clone(), write, orders }.run(&listening).await;
    if closed_by_us {
        reader.shutdown().await;
        let mut state = shared.lock();
        if let Some(connection) = state.connections.get_mut(number) {
            connection.end("closed by the pool");
        }
    }
    // A reader that panicked has poisoned the lock, which every later look at the pool reports.
    while reader.join_next().await.is_some() {}
}

async fn listen(shared: Shared<State>, number: usize, read: OwnedReadHalf) {
    let mut lines = LineReader::new(read);
    let end = loop {
        while shared.lock().config.has(&Quirk::StopsReading) {
            sleep(TICK).await;
        }
        match lines.piece().await {
            Ok(Piece::Line(line)) => hear(&mut shared.lock(), number, &line),
            Ok(Piece::Frame(frame)) => hear_frame(&mut shared.lock(), number, &frame),
            Err(end) => break end,
        }
    };
    let mut state = shared.lock();
    let Some(connection) = state.connections.get_mut(number) else { return };
    let how = match end {
        End::Closed => "closed by the peer".to_owned(),
        End::ClosedInLine => {
            connection.book.violation("closed in the middle of a line");
            "closed by the peer".to_owned()
        }
        End::Failed(error) => format!("failed: {error}"),
        End::TooLong => {
            connection.book.violation("a line without end");
            "closed by the pool".to_owned()
        }
    };
    connection.end(&how);
}

/// Writes a connection's lines at the time the pool's manners demand.
struct Writer {
    shared: Shared<State>,
    write: OwnedWriteHalf,
    orders: mpsc::UnboundedReceiver<Outgoing>,
}

impl Writer {
    /// Returns whether the pool closed the connection, after ending `listening`.
    async fn run(mut self, listening: &AbortHandle) -> bool {
        let mut later: VecDeque<(Instant, String)> = VecDeque::new();
        loop {
            let due = later.front().map(|(due, _)| *due);
            let order = tokio::select! {
                order = self.orders.recv() => order,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    if let Some((_, line)) = later.pop_front() {
                        self.write(&line).await;
                    }
                    continue;
                }
            };
            match order {
                None => return false,
                Some(Outgoing::Line(line)) => self.write(&line).await,
                Some(Outgoing::Raw(bytes)) => {
                    // The reader sees the same end and records it.
                    let _ = self.write.write_all(&bytes).await;
                }
                Some(Outgoing::Answer(line)) => self.answer(line, &mut later).await,
                Some(Outgoing::Close { reset }) => {
                    listening.abort();
                    if reset {
                        let _ = self.write.as_ref().set_zero_linger();
                        self.write.forget();
                    } else {
                        let _ = self.write.shutdown().await;
                    }
                    return true;
                }
            }
        }
    }

    async fn answer(&mut self, line: String, later: &mut VecDeque<(Instant, String)>) {
        let manners = self.shared.lock().config.answers;
        match manners {
            Answers::AtOnce => self.write(&line).await,
            Answers::Delayed(delay) => later.push_back((Instant::now() + delay, line)),
            Answers::Reversed(group) => {
                later.push_front((Instant::now() + GROUP_PATIENCE, line));
                if later.len() >= group {
                    for (_, line) in later.drain(..).collect::<Vec<_>>() {
                        self.write(&line).await;
                    }
                }
            }
        }
    }

    /// Errors are left to the reader, which sees the same end and records it.
    async fn write(&mut self, line: &str) {
        let pause = self.shared.lock().config.pause_in_lines();
        let whole = format!("{line}\n");
        match pause {
            Some(pause) if whole.len() > 2 => {
                let (first, second) = whole.as_bytes().split_at(whole.len() / 2);
                let _ = self.write.write_all(first).await;
                sleep(pause).await;
                let _ = self.write.write_all(second).await;
            }
            _ => {
                let _ = self.write.write_all(whole.as_bytes()).await;
            }
        }
    }
}
