//! The log: where it goes, in which form, how loud.
//!
//! A caller never waits for the log: lines go to a thread of their own through a bounded queue, and
//! what does not fit is dropped and counted. Repeated events are summed up (`aggregate`), names can
//! be replaced by hashes (`names`). What is worth logging is decided where it happens.

pub mod aggregate;
mod format;
pub mod names;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::Subscriber;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::{BoxMakeWriter, MakeWriterExt as _};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::config::LogSettings;
use aggregate::Aggregate;
use format::Lines;
use names::Names;

/// Lines that may wait for the thread that writes them.
const QUEUE: usize = 8192;

/// How often sums are looked at; they are written when their window has ended.
const TICK: Duration = Duration::from_millis(500);

/// A log that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file does not open.
    #[error("log file {path}")]
    File {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The filter does not read.
    #[error("log filter")]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    /// There is a log in this process already.
    #[error("log")]
    Taken(#[source] tracing::subscriber::SetGlobalDefaultError),
}

/// The log of the process; writes out what is left when it is dropped.
#[derive(Debug)]
pub struct Log {
    // Dropped in this order: the last sums come before the writers' threads end.
    _ticker: Ticker,
    _writers: Vec<WorkerGuard>,
    aggregate: Aggregate,
    lines: Arc<Lag>,
    dropped: ErrorCounter,
}

/// Starts the log of the process.
///
/// # Errors
///
/// The file does not open, the filter does not read, or the process has a log.
pub fn start(settings: &LogSettings) -> Result<Log, LogError> {
    let sink: Box<dyn Write + Send> =
        match &settings.file {
            None => Box::new(io::stderr()),
            Some(path) => {
                Box::new(std::fs::File::options().create(true).append(true).open(path).map_err(
                    |source| LogError::File { path: path.display().to_string(), source },
                )?)
            }
        };
    let lines = Arc::<Lag>::default();
    let sink = Box::new(Counting { sink, lines: Arc::clone(&lines) });
    let (writer, guard) = in_the_background(sink);
    let dropped = writer.error_counter();
    let writer = Counted { writer, lines: Arc::clone(&lines) };
    let aggregate = Aggregate::default();
    // What goes to standard error as well has its own thread, and its own queue to drop from.
    let also = settings.stderr.filter(|_| settings.file.is_some());
    let also = also.map(|level| (level, in_the_background(Box::new(io::stderr()))));
    let mut guards = vec![guard];
    let writer = match also {
        Some((level, (stderr, guard))) => {
            guards.push(guard);
            BoxMakeWriter::new(writer.and(stderr.with_max_level(level)))
        }
        None => BoxMakeWriter::new(writer),
    };
    let subscriber = subscriber(settings, aggregate.clone(), writer)?;
    tracing::subscriber::set_global_default(subscriber).map_err(LogError::Taken)?;
    let ticker = Ticker::start(aggregate.clone(), dropped.clone());
    Ok(Log { _ticker: ticker, _writers: guards, aggregate, lines, dropped })
}

fn in_the_background(sink: Box<dyn Write + Send>) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUE).finish(sink)
}

impl Log {
    /// Writes out what waits, before the process becomes another program. Gives up after
    /// `patience`: a log that cannot be written holds nobody up.
    pub fn flush(&self, patience: Duration) {
        self.aggregate.tell(true);
        let began = Instant::now();
        let waits = || {
            let done = self.lines.written.load(Ordering::Acquire);
            let dropped = self.dropped.dropped_lines() as u64;
            done + dropped < self.lines.sent.load(Ordering::Acquire)
        };
        while waits() && began.elapsed() < patience {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// Lines given to the thread that writes, and lines it has written.
#[derive(Debug, Default)]
struct Lag {
    sent: AtomicU64,
    written: AtomicU64,
}

/// Counts lines on their way in.
#[derive(Debug, Clone)]
struct Counted {
    writer: NonBlocking,
    lines: Arc<Lag>,
}

impl<'a> MakeWriter<'a> for Counted {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Counted {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.sent.fetch_add(1, Ordering::Release);
        self.writer.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Counts lines on their way out.
struct Counting {
    sink: Box<dyn Write + Send>,
    lines: Arc<Lag>,
}

impl Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sink.write(bytes)
    }

    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        let result = self.sink.write_all(line);
        self.lines.written.fetch_add(1, Ordering::Release);
        result
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// The log without a thread and without being the process's own, so that tests can have several.
///
/// # Errors
///
/// The filter does not read.
pub fn subscriber<W>(
    settings: &LogSettings,
    aggregate: Aggregate,
    writer: W,
) -> Result<impl Subscriber + Send + Sync, LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&settings.filter).map_err(LogError::Filter)?;
    let names = if settings.hash_names {
        Names::hashed(settings.names_key.as_deref())
    } else {
        Names::Full
    };
    let lines = Lines { json: settings.json, names: Arc::new(names) };
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .fmt_fields(lines.clone())
        .event_format(lines)
        .with_writer(writer)
        .with_filter(aggregate);
    Ok(tracing_subscriber::registry().with(filter).with(layer))
}

/// The thread that writes sums and tells of dropped lines.
#[derive(Debug)]
struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(aggregate: Aggregate, dropped: ErrorCounter) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let run = move || {
            let mut told = 0;
            while !stopped.load(Ordering::Relaxed) {
                std::thread::park_timeout(TICK);
                aggregate.tell(false);
                let lines = dropped.dropped_lines();
                if lines > told {
                    tracing::warn!(target: aggregate::TARGET, lines = lines - told, "log lines dropped");
                    told = lines;
                }
            }
            aggregate.tell(true);
        };
        // Without the thread the log works; only sums are missing.
        let thread = std::thread::Builder::new().name("log-sums".into()).spawn(run).ok();
        Self { stop, thread }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic there has been told by the panic hook.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
