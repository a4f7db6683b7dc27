//! One miner's session: the pure machine on one side, its sockets on the other.
//!
//! A session is a plain value in its shard's slab; its task only calls `Session::poll`. Between
//! polls it is at rest: every byte that was read and not handled, or written and not sent, is a
//! field of it. That is what makes the freeze possible at any time.

pub(crate) mod frozen;
mod io;
pub mod machine;
pub(crate) mod pipe;

pub(crate) use io::tune;

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use switcher_plugin::{
    Fault, FaultKind, LegId, Millis, Recognition, Seat, SessionId, SessionSeat, Side,
    StratumDialect,
};
use tokio::net::TcpStream;

use crate::clock::{self, millis};
use crate::session::io::{IoHost, LegIo, LegState, SessionIo};
use crate::session::machine::{Cx, DialError, Event, Host, Machine};
use crate::session::pipe::{Filled, Pipe};
use crate::shard::{Poke, Scratch, Shard};

/// Reads of one poll; a session with more to do lets others have their turn.
const READS_PER_POLL: usize = 16;

/// How long an ended session may take to write what it still has to say.
const FAREWELL_MS: u64 = 5_000;

/// A miner's connection and all that belongs to it.
#[derive(Debug)]
pub(crate) struct Session {
    id: SessionId,
    /// Its place among the short ids of its dialect, unless its number is that.
    index: Option<u32>,
    stage: Stage,
    io: SessionIo,
    /// Since when it only writes what is left.
    ending: Option<Millis>,
    why: Option<Box<str>>,
}

/// How far a session has got.
#[derive(Debug)]
enum Stage {
    /// It is not known which dialect the miner speaks.
    Greeting { opened: Millis },
    /// The dialect's session has it.
    Speaking { machine: Box<Machine>, dialect: Arc<dyn StratumDialect> },
}

/// Why a session ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) why: Box<str>,
}

impl Session {
    pub(crate) fn new(id: SessionId, listener: usize, peer: SocketAddr, stream: TcpStream) -> Self {
        Self {
            id,
            index: None,
            stage: Stage::Greeting { opened: clock::now() },
            io: SessionIo { listener, peer, down: Pipe::new(stream), legs: Vec::new(), permits: 0 },
            ending: None,
            why: None,
        }
    }

    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.io.peer
    }

    pub(crate) fn listener(&self) -> usize {
        self.io.listener
    }

    pub(crate) fn machine(&self) -> Option<&Machine> {
        match &self.stage {
            Stage::Greeting { .. } => None,
            Stage::Speaking { machine, .. } => Some(machine),
        }
    }

    pub(crate) fn dialect(&self) -> Option<&Arc<dyn StratumDialect>> {
        match &self.stage {
            Stage::Greeting { .. } => None,
            Stage::Speaking { dialect, .. } => Some(dialect),
        }
    }

    /// When the session has to be polled even if no socket is ready.
    pub(crate) fn next_deadline(&self, now: Millis, shard: &Shard) -> Millis {
        let mut earliest = match (&self.stage, self.ending) {
            (_, Some(since)) => since.plus(FAREWELL_MS),
            (Stage::Greeting { opened }, None) => opened.plus(millis(shard.plan.timing.first_byte)),
            (Stage::Speaking { machine, .. }, None) => machine.next_deadline(now, &shard.plan),
        };
        for leg in &self.io.legs {
            if let LegState::Dialling { deadline, .. } = &leg.state {
                earliest = earliest.min(*deadline);
            }
        }
        earliest.max(now.plus(1))
    }

    /// Does all there is to do. Ready when the session is over.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        shard: &Shard,
        key: usize,
        poke: Poke,
    ) -> Poll<Ended> {
        let mut scratch = shard.scratch.borrow_mut();
        let mut turn = Turn { now: clock::now(), shard, key, scratch: &mut scratch };
        if poke.any() && self.ending.is_none() {
            self.lose_unknown_legs(&mut turn);
            self.on_poke(poke, &mut turn);
        }
        let mut reads = 0;
        loop {
            let mut progress = self.poll_dials(cx, &mut turn);
            if let Err(why) = self.flush(cx, &mut turn) {
                return Poll::Ready(Ended { why: why.into() });
            }
            if self.ending.is_some() {
                return self.poll_farewell(&turn);
            }
            progress |= self.poll_reads(cx, &mut turn);
            if self.ending.is_none() {
                self.begin_ending(turn.now);
            }
            if !progress && self.ending.is_none() {
                return Poll::Pending;
            }
            reads += 1;
            if reads >= READS_PER_POLL {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    /// Another program shall relay the session soon. True if it can.
    pub(crate) fn hand_back(&mut self, turn: &mut Turn<'_>) -> bool {
        let Stage::Speaking { machine, .. } = &mut self.stage else { return false };
        let mut is_fit = false;
        if self.ending.is_none() {
            turn.run(self.id, &mut self.io, machine, |machine, cx| is_fit = machine.hand_back(cx));
        }
        is_fit
    }

    fn on_poke(&mut self, poke: Poke, turn: &mut Turn<'_>) {
        if poke.has(Poke::CLOSE) {
            self.end("the switcher stops", true);
            return;
        }
        let id = self.id;
        let Self { stage, io, .. } = self;
        match stage {
            Stage::Greeting { opened } => {
                let limit = if io.down.rx.is_empty() {
                    turn.shard.plan.timing.first_byte
                } else {
                    turn.shard.plan.timing.login
                };
                if turn.now.since(*opened) >= millis(limit) {
                    turn.shard.counters.fault(true, FaultKind::Deadline);
                    self.end("no first line in time", false);
                }
            }
            Stage::Speaking { machine, .. } => {
                if poke.has(Poke::BOARD)
                    && let Some(who) = machine.who()
                {
                    let standing = turn.shard.board.standing(&who.sub_account);
                    turn.run(id, io, machine, |machine, cx| machine.news(standing, cx));
                }
                if poke.has(Poke::DIAL) {
                    io.start_dials(id, turn);
                }
                turn.run(id, io, machine, Machine::tick);
            }
        }
    }

    /// Connects in progress. True if one came to an end.
    fn poll_dials(&mut self, cx: &mut Context<'_>, turn: &mut Turn<'_>) -> bool {
        if self.io.legs.iter().all(LegIo::is_up) {
            return false;
        }
        let Stage::Speaking { machine, .. } = &mut self.stage else { return false };
        let mut progress = false;
        while let Some((leg, result)) = self.io.poll_dial(cx, self.id, turn) {
            progress = true;
            match result {
                Ok(pool) => {
                    let profile = &turn.shard.plan.pool(pool).profile;
                    turn.run(self.id, &mut self.io, machine, |machine, cx| {
                        machine.leg_up(leg, pool, profile, cx);
                    });
                }
                Err(error) => turn.run(self.id, &mut self.io, machine, |machine, cx| {
                    machine.leg_failed(leg, &error, cx);
                }),
            }
        }
        progress
    }

    fn flush(&mut self, cx: &mut Context<'_>, turn: &mut Turn<'_>) -> Result<(), String> {
        let limit = turn.shard.plan.limits.unsent;
        match self.io.down.poll_flush(cx, &mut turn.scratch.stock) {
            Poll::Ready(Err(error)) => return Err(format!("writing to the miner: {error}")),
            Poll::Pending if self.io.down.unsent() > limit => {
                turn.shard.counters.fault(true, FaultKind::SlowReader);
                return Err("the miner does not read".to_owned());
            }
            Poll::Pending | Poll::Ready(Ok(())) => {}
        }
        let mut lost = None;
        for leg in &mut self.io.legs {
            let Some(pipe) = leg.pipe() else { continue };
            match pipe.poll_flush(cx, &mut turn.scratch.stock) {
                Poll::Ready(Err(error)) => lost = Some((leg.id, error.to_string())),
                Poll::Pending if pipe.unsent() > limit => {
                    lost = Some((leg.id, "the pool does not read".to_owned()));
                }
                Poll::Pending | Poll::Ready(Ok(())) => {}
            }
        }
        if let Some((leg, why)) = lost {
            self.lose_leg(leg, &why, turn);
        }
        Ok(())
    }

    /// Reads from every side that may be read. True if anything came.
    fn poll_reads(&mut self, cx: &mut Context<'_>, turn: &mut Turn<'_>) -> bool {
        let mut progress = false;
        if self.io.down.unsent() == 0 {
            for at in 0..self.io.legs.len() {
                progress |= self.read_leg(at, cx, turn);
                if self.io.down.unsent() > 0 {
                    // What came goes out before more is read: one write per read at most.
                    break;
                }
            }
        }
        // A pool that does not read holds up its own miner only.
        if self.io.legs.iter().all(|leg| leg.unsent() == 0) && self.ending.is_none() {
            progress |= self.read_down(cx, turn);
        }
        progress
    }

    fn read_leg(&mut self, at: usize, cx: &mut Context<'_>, turn: &mut Turn<'_>) -> bool {
        let Some(leg) = self.io.legs.get_mut(at) else { return false };
        let id = leg.id;
        let Some(pipe) = leg.pipe() else { return false };
        let filled = match pipe.poll_fill(cx, &mut turn.scratch.read, &mut turn.scratch.stock) {
            Poll::Pending => return false,
            Poll::Ready(Ok(filled)) => filled,
            Poll::Ready(Err(error)) => {
                self.lose_leg(id, &error.to_string(), turn);
                return true;
            }
        };
        turn.shard.counters.bytes_from_pools.add(filled.fresh as u64);
        let side = Side::Upstream(id);
        let rest = self.take_frames(side, filled, turn);
        if filled.fresh == 0 {
            self.lose_leg(id, "the pool closed the connection", turn);
        } else if rest > turn.shard.plan.limits.upstream_frame {
            turn.shard.counters.fault(false, FaultKind::TooLong);
            let most = turn.shard.plan.limits.upstream_frame;
            let why =
                format!("the pool sent a line of more than {most} bytes (limits.upstream_frame)");
            self.lose_leg(id, &why, turn);
        }
        true
    }

    fn read_down(&mut self, cx: &mut Context<'_>, turn: &mut Turn<'_>) -> bool {
        let (read, stock) = (&mut turn.scratch.read, &mut turn.scratch.stock);
        let filled = match self.io.down.poll_fill(cx, read, stock) {
            Poll::Pending => return false,
            Poll::Ready(Ok(filled)) => filled,
            Poll::Ready(Err(error)) => {
                self.end(&format!("reading from the miner: {error}"), false);
                return true;
            }
        };
        turn.shard.counters.bytes_from_miners.add(filled.fresh as u64);
        if filled.fresh == 0 {
            self.end("the miner closed the connection", false);
            return true;
        }
        if !self.recognise(filled, turn) {
            return true;
        }
        let rest = self.take_frames(Side::Downstream, filled, turn);
        if rest > turn.shard.plan.limits.downstream_frame {
            turn.shard.counters.fault(true, FaultKind::TooLong);
            let most = turn.shard.plan.limits.downstream_frame;
            let why = format!("the miner sent a line of more than {most} bytes");
            self.end(&format!("{why} (limits.downstream_frame)"), false);
        }
        true
    }

    /// Finds the dialect of the first bytes. True if it is known.
    fn recognise(&mut self, filled: Filled, turn: &mut Turn<'_>) -> bool {
        let Stage::Greeting { opened } = self.stage else { return true };
        let first = turn.scratch.read.get(..filled.len).unwrap_or_default();
        let listener = turn.shard.listener(self.io.listener);
        let mut undecided = false;
        for dialect in &listener.dialects {
            match dialect.recognise(first) {
                Recognition::Mine => {
                    let form = dialect.short_ids();
                    let Ok(index) = turn.shard.ids.take_index(form) else {
                        turn.shard.counters.short_ids_exhausted.add(1);
                        self.end("all short ids of its dialect are taken", false);
                        return false;
                    };
                    self.index = index;
                    let view = listener.view();
                    let seat = Seat::Miner(SessionSeat {
                        session: self.id,
                        short_id: turn.shard.short_id(form, self.id, index),
                        entropy: turn.shard.ids.entropy(),
                        peer: Some(self.io.peer.ip()),
                        listener: &view,
                    });
                    let protocol = dialect.open(seat);
                    let machine =
                        Box::new(Machine::new(self.id, dialect.family(), protocol, opened));
                    self.stage = Stage::Speaking { machine, dialect: Arc::clone(dialect) };
                    return true;
                }
                Recognition::NeedMore => undecided = true,
                Recognition::NotMine => {}
            }
        }
        if undecided && filled.len <= turn.shard.plan.limits.downstream_frame {
            let Turn { scratch, .. } = turn;
            self.io
                .down
                .keep(scratch.read.get(..filled.len).unwrap_or_default(), &mut scratch.stock);
        } else {
            turn.shard.counters.fault(true, FaultKind::UnknownDialect);
            let (peer, kind) = (self.io.peer, kind_of_stranger(first));
            let view = listener.view();
            let listener = view.name.as_str();
            tracing::info!(listener, kind, %peer, "connection speaks no enabled dialect");
            self.end("no enabled dialect speaks like this", false);
        }
        false
    }

    /// Gives whole frames to the machine, keeps the rest. Returns the length of the rest.
    fn take_frames(&mut self, side: Side, filled: Filled, turn: &mut Turn<'_>) -> usize {
        let Stage::Speaking { machine, .. } = &mut self.stage else { return 0 };
        let mut read = std::mem::take(&mut turn.scratch.read);
        let mut bytes = read.get(..filled.len).unwrap_or_default();
        let mut frames = 0;
        while machine.closing().is_none() && self.io.is_open(side) {
            let switcher_plugin::Cut::Frame(n) = machine.dialect().cut(side, bytes) else { break };
            let Some((frame, rest)) = bytes.split_at_checked(n).filter(|_| n > 0) else {
                let what = "cut a frame that is not there";
                turn.run(self.id, &mut self.io, machine, |machine, cx| {
                    machine.plugin_failed(what, cx);
                });
                break;
            };
            frames += 1;
            turn.run(self.id, &mut self.io, machine, |machine, cx| machine.frame(side, frame, cx));
            bytes = rest;
        }
        let rest = bytes.len();
        if let Some(pipe) = self.io.pipe(side) {
            pipe.keep(bytes, &mut turn.scratch.stock);
        }
        std::mem::swap(&mut turn.scratch.read, &mut read);
        let counters = &turn.shard.counters;
        match side {
            Side::Downstream => counters.frames_from_miners.add(frames),
            Side::Upstream(_) => counters.frames_from_pools.add(frames),
        }
        rest
    }

    fn lose_leg(&mut self, leg: LegId, why: &str, turn: &mut Turn<'_>) {
        let Stage::Speaking { machine, .. } = &mut self.stage else { return };
        // The machine is told while the leg is still there, so that its permits are given back.
        turn.run(self.id, &mut self.io, machine, |machine, cx| machine.leg_lost(leg, why, cx));
        self.io.drop_leg(leg, false, self.id, turn.shard, turn.key);
    }

    fn end(&mut self, why: &str, reset: bool) {
        if self.ending.is_none() {
            self.ending = Some(clock::now());
            self.why = Some(why.into());
            if reset {
                self.io.down.reset_on_close();
            }
        }
    }

    fn begin_ending(&mut self, now: Millis) {
        let Stage::Speaking { machine, .. } = &self.stage else { return };
        if let Some(closing) = machine.closing() {
            self.ending = Some(now);
            self.why = Some(closing.why.clone());
            if closing.reset {
                self.io.down.reset_on_close();
            }
        }
    }

    /// A share that was read shall reach its pool and an answer its miner, if they take them.
    fn poll_farewell(&mut self, turn: &Turn<'_>) -> Poll<Ended> {
        let overdue = self.ending.is_some_and(|since| turn.now.since(since) >= FAREWELL_MS);
        let all_sent =
            self.io.down.unsent() == 0 && self.io.legs.iter().all(|leg| leg.unsent() == 0);
        if all_sent || overdue {
            return Poll::Ready(Ended { why: self.why.take().unwrap_or_default() });
        }
        Poll::Pending
    }

    /// Gives back all that the session holds of its shard's.
    pub(crate) fn release(&mut self, shard: &Shard, key: usize) {
        let mut unanswered = Vec::new();
        if let Stage::Speaking { machine, dialect } = &self.stage {
            if let Some(index) = self.index {
                shard.ids.release_index(dialect.short_ids(), index);
            }
            if let Some(who) = machine.who() {
                shard.forget(&who.sub_account, key);
            }
            if let Some(pool) = machine.active().and_then(|leg| leg.pool) {
                shard.counters.pool(pool).active.sub(1);
            }
            let legs = machine.legs().iter().filter(|leg| leg.outstanding > 0);
            unanswered.extend(legs.map(|leg| leg.id));
        }
        while let Some(leg) = self.io.legs.last().map(|leg| leg.id) {
            self.io.drop_leg(leg, !unanswered.contains(&leg), self.id, shard, key);
        }
    }
}

/// What one poll of a session works with.
pub(crate) struct Turn<'a> {
    pub(crate) now: Millis,
    pub(crate) shard: &'a Shard,
    pub(crate) key: usize,
    pub(crate) scratch: &'a mut Scratch,
}

impl Turn<'_> {
    /// Calls the machine with the outside as it is here.
    fn run(
        &mut self,
        id: SessionId,
        io: &mut SessionIo,
        machine: &mut Machine,
        call: impl FnOnce(&mut Machine, &mut Cx<'_>),
    ) {
        let Scratch { outbox, stock, .. } = &mut *self.scratch;
        let active_before = machine.active().and_then(|leg| leg.pool);
        let rungs = self.shard.listener(io.listener).rungs;
        let mut host = IoHost { io, shard: self.shard, key: self.key, id, now: self.now, stock };
        let mut cx = Cx {
            now: self.now,
            plan: &self.shard.plan,
            rungs,
            outbox,
            host: &mut host as &mut dyn Host,
        };
        call(machine, &mut cx);
        let active = machine.active().and_then(|leg| leg.pool);
        if active != active_before {
            if let Some(pool) = active_before {
                self.shard.counters.pool(pool).active.sub(1);
            }
            if let Some(pool) = active {
                self.shard.counters.pool(pool).active.add(1);
            }
        }
    }
}

/// A fault that a socket's bytes made, for counting.
pub(crate) fn count_event(shard: &Shard, event: &Event<'_>) {
    let counters = &shard.counters;
    match *event {
        Event::CannotMove(_) => counters.cannot_move.add(1),
        Event::CutOver { from, pool, coin, rung, took } => {
            counters.rung(rung);
            match from {
                Some((_, before)) if before != coin => {
                    counters.switches.add(1);
                    counters.switch_ms.add(took);
                    counters.pool(pool).switched_here.add(1);
                }
                Some(_) => counters.failovers.add(1),
                None => {}
            }
        }
        Event::Disregarded(Fault { side, kind }) => {
            counters.fault(side == Side::Downstream, kind);
        }
        Event::Job(pool) => counters.pool(pool).jobs.add(1),
        Event::Learnt(..) => {}
        Event::LegLost(pool, ..) => counters.pool(pool).legs_lost.add(1),
        Event::LegReady(pool) => counters.pool(pool).legs_ready.add(1),
        Event::LegRefused(pool, ..) => counters.pool(pool).legs_refused.add(1),
        Event::PluginFailed(_) => counters.fault(true, FaultKind::PluginFailed),
        Event::Refused(_) => counters.refused.add(1),
        Event::SentBack { rung, .. } => counters.rung(rung),
        Event::Share { pool, verdict, difficulty } => counters.share(pool, verdict, difficulty),
        Event::Submitted(pool) => counters.pool(pool).submitted.add(1),
    }
}

/// What the first bytes of a connection that no dialect knows look like.
fn kind_of_stranger(first: &[u8]) -> &'static str {
    match first {
        [0x16, 3, ..] => "TLS, which is not spoken here",
        [b'P', b'R', b'O', b'X', b'Y', b' ', ..] | [b'\r', b'\n', b'\r', b'\n', 0, ..] => {
            "a PROXY protocol header, which a balancer in front must not send"
        }
        [b'G', b'E', b'T', b' ', ..] | [b'P', b'O', b'S', b'T', b' ', ..] => "HTTP",
        _ => "something else",
    }
}

/// The error of a dial for which no descriptor or address is free.
pub(crate) fn try_later(now: Millis) -> DialError {
    DialError::NoneBefore(now.plus(200))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_told_apart() {
        for (first, kind) in [
            (&b"\x16\x03\x01\x02\x00"[..], "TLS"),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "a PROXY"),
            (b"\r\n\r\n\0\r\nQUIT\n", "a PROXY"),
            (b"GET / HTTP/1.1\r\n", "HTTP"),
            (b"POST / HTTP/1.1\r\n", "HTTP"),
            (b"{\"id\":1}\n", "something"),
            (b"", "something"),
        ] {
            assert!(kind_of_stranger(first).starts_with(kind), "{first:?}");
        }
    }

    /// What every idle session costs besides its dialect's state, its task and its sockets. A
    /// growth here is multiplied by ten thousand.
    #[test]
    fn the_fixed_parts_of_a_session_stay_small() {
        let sizes = [
            ("session", size_of::<Session>()),
            ("machine", size_of::<Machine>()),
            ("leg", size_of::<machine::Leg>()),
            ("socket of a leg", size_of::<LegIo>()),
        ];
        let sum: usize = sizes.iter().map(|(_, size)| size).sum();

        assert!(sum <= 850, "{sum} bytes: {sizes:?}");
    }
}
