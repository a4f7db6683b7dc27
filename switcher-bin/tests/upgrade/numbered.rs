//! Numbered lines both ways through one upgrade after the other, and the count of their bytes.
//!
//! What is read and not handled, and queued and not written, is in the state of an upgrade. A byte that
//! were lost or doubled there would spoil a line or the count.

use std::collections::VecDeque;
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;
use stratum_peers::{eventually, eventually_some};

use crate::running::{Start, Switcher};
use crate::wire::{self, Wire, Work, counter};

/// Shares without an answer at most, well below the most that a leg takes.
const AHEAD: u64 = 200;

/// Id and nonce of the first share.
const FIRST: u64 = 10;

/// Writes so many bytes at a time: of a length that no line has, so that lines are cut anywhere.
const PIECE: usize = 1009;

/// Lines on their way into a connection, from several threads.
#[derive(Default)]
struct Queue(Mutex<(VecDeque<u8>, bool)>, Condvar);

impl Queue {
    fn push(&self, line: &str) {
        self.0.lock().unwrap().0.extend(line.as_bytes());
        self.1.notify_one();
    }

    fn end(&self) {
        self.0.lock().unwrap().1 = true;
        self.1.notify_one();
    }

    /// Writes them in pieces until the end; how many bytes they were.
    fn write(&self, mut stream: &TcpStream) -> u64 {
        let mut sent = 0;
        loop {
            let mut queue = self.0.lock().unwrap();
            while queue.0.is_empty() && !queue.1 {
                queue = self.1.wait(queue).unwrap();
            }
            let length = queue.0.len().min(PIECE);
            let piece: Vec<u8> = queue.0.drain(..length).collect();
            drop(queue);
            if piece.is_empty() {
                return sent;
            }
            stream.write_all(&piece).unwrap();
            sent += piece.len() as u64;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The conversation: who sends what, and how far it has come.
#[derive(Default)]
struct Talk {
    /// From the miner.
    up: Queue,
    /// From the pool.
    down: Queue,
    is_over: AtomicBool,
    /// Answers and jobs that the miner has got.
    answers: AtomicU64,
    jobs: AtomicU64,
}

impl Talk {
    /// Sends shares until it is over; how many.
    fn send_shares(&self, work: &Work) -> u64 {
        let mut sent = 0;
        while !self.is_over.load(Ordering::Relaxed) {
            if sent < self.answers.load(Ordering::Relaxed) + AHEAD {
                self.up.push(&work.share(FIRST + sent, "0"));
                sent += 1;
            } else {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        self.up.end();
        sent
    }

    /// Sends jobs until it is over; how many.
    fn send_jobs(&self) -> u64 {
        let mut sent = 0;
        while !self.is_over.load(Ordering::Relaxed) {
            sent += 1;
            self.down.push(&wire::job(sent));
            std::thread::sleep(Duration::from_millis(1));
        }
        sent
    }

    /// Answers what comes to the pool until the connection is closed; how much.
    fn answer_shares(&self, pool: &mut Wire) -> u64 {
        let mut came = 0;
        while let Some(line) = pool.next_unless_closed() {
            assert_eq!(line["method"], "mining.submit");
            let nonce = format!("{:08x}", FIRST + came);
            assert_eq!(line["params"][4], nonce, "lost, doubled or out of order");
            self.down.push(&wire::answer(&line["id"], &json!(true)));
            came += 1;
        }
        came
    }

    /// Checks what comes to the miner until the connection is closed.
    fn check(&self, miner: &mut Wire) {
        while let Some(line) = miner.next_unless_closed() {
            if line["method"] == "mining.notify" {
                let number = self.jobs.fetch_add(1, Ordering::Relaxed) + 1;
                let id = line["params"][0].as_str().unwrap();
                assert!(id.ends_with(&format!("{number:06}")), "{number}: {line}");
            } else {
                let number = FIRST + self.answers.fetch_add(1, Ordering::Relaxed);
                assert_eq!(line, json!({ "id": number, "result": true, "error": null }));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbered_lines_both_ways_arrive_complete_through_a_storm_of_upgrades() {
    let listener = wire::pool(false);
    let address = listener.local_addr().unwrap();
    let switcher = Start::new([("btc", address)]).go().await;
    let mut miner = Wire::connect(switcher.address);
    let pool = std::thread::spawn(move || Wire::accept(&listener));
    let work = miner.log_in();
    let (mut pool, greeted) = pool.join().unwrap();
    let (before, from_pools) = bytes_read(&switcher).unwrap();
    assert_eq!(from_pools, greeted as u64);

    let talk = Arc::new(Talk::default());
    let run = |part: Box<dyn FnOnce(&Talk) -> u64 + Send>| {
        let talk = Arc::clone(&talk);
        std::thread::spawn(move || part(&talk))
    };
    let (to_pool, to_miner) = (pool.stream.try_clone().unwrap(), miner.stream.try_clone().unwrap());
    let miner_writes = run(Box::new(move |talk| talk.up.write(&to_miner)));
    let pool_writes = run(Box::new(move |talk| talk.down.write(&to_pool)));
    let shares = run(Box::new(move |talk| talk.send_shares(&work)));
    let jobs = run(Box::new(Talk::send_jobs));
    let pool_reads = run(Box::new(move |talk| talk.answer_shares(&mut pool)));
    let miner_reads = run(Box::new(move |talk| {
        talk.check(&mut miner);
        0
    }));

    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        switcher.signal(Signal::SIGUSR2);
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    talk.is_over.store(true, Ordering::Relaxed);
    let (shares, jobs) = (shares.join().unwrap(), jobs.join().unwrap());
    let sent_up = miner_writes.join().unwrap();
    eventually("all have come", || {
        let came = |count: &AtomicU64| count.load(Ordering::Relaxed);
        came(&talk.answers) == shares && came(&talk.jobs) == jobs
    })
    .await;
    talk.down.end();
    let sent_down = pool_writes.join().unwrap();
    // A last upgrade may still be under way.
    let sent = (before + sent_up, greeted as u64 + sent_down);
    eventually("what was sent was read", || bytes_read(&switcher) == Some(sent)).await;

    let (attempts, last) = eventually_some("an outcome is told", || {
        Some(switcher.told()).filter(|(attempts, _)| *attempts > 0)
    })
    .await;
    assert_eq!(last["generation"], attempts, "all of them succeeded");
    assert!(attempts >= 5, "{attempts}");
    eprintln!("{attempts} upgrades, {shares} shares up, as many answers and {jobs} jobs down");
    switcher.has_logged_no_error();
    drop(switcher);
    assert_eq!(pool_reads.join().unwrap(), shares);
    miner_reads.join().unwrap();
}

/// Bytes that the switcher has read of miners and of pools, in all generations.
fn bytes_read(switcher: &Switcher) -> Option<(u64, u64)> {
    let text = switcher.try_get("/metrics")?;
    let read = |side: &str| counter(&text, &format!("switcher_bytes_from_{side}_total"));
    Some((read("miners")?, read("pools")?))
}
