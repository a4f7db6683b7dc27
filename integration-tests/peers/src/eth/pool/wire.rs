//! The tasks of a pool: one that accepts, one per connection, one clock.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::conversation::hear;
use super::state::State;
use crate::lines::{End, LineReader};
use crate::shared::Shared;

/// How exactly the clock keeps its interval.
const TICK: Duration = Duration::from_millis(5);

/// Accepts connections until aborted; all connections end with it.
pub(super) async fn serve(shared: Shared<State>, listener: TcpListener) {
    let mut tasks = JoinSet::new();
    tasks.spawn(keep_time(shared.clone()));
    loop {
        while tasks.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                tasks.spawn(attend(shared.clone(), stream));
            }
            // Out of descriptors: closing connections give some back.
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn keep_time(shared: Shared<State>) {
    let mut last = Instant::now();
    loop {
        sleep(TICK).await;
        let mut state = shared.lock();
        if state.config.job_interval.is_some_and(|interval| last.elapsed() >= interval) {
            last = Instant::now();
            state.new_job(false);
        }
    }
}

/// Serves one connection to its end.
async fn attend(shared: Shared<State>, stream: TcpStream) {
    // A peer that is gone already is found out by the first read.
    let _ = stream.set_nodelay(true);
    let (outbox, mut orders) = mpsc::unbounded_channel::<Option<String>>();
    let number = shared.lock().open(outbox);
    let (read, mut write) = stream.into_split();
    let mut lines = LineReader::new(read);
    let breach = loop {
        tokio::select! {
            biased;
            order = orders.recv() => {
                let Some(line) = order.flatten() else {
                    // The reader sees the same end, as it does below.
                    let _ = write.shutdown().await;
                    break None;
                };
                let _ = write.write_all(format!("{line}\n").as_bytes()).await;
            }
            line = lines.next() => match line {
                Ok(line) => hear(&mut shared.lock(), number, &line),
                Err(End::ClosedInLine) => break Some("closed in the middle of a line"),
                Err(End::TooLong) => break Some("a line without end"),
                Err(_) => break None,
            },
        }
    };
    let mut state = shared.lock();
    if let Some(connection) = state.connections.get_mut(number) {
        connection.report.violations.extend(breach.map(str::to_owned));
        connection.end();
    }
}
