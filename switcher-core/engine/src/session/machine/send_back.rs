//! The rungs below all others: a miner that a pool cannot serve as it is goes away and comes back
//! as one that it can serve.
//!
//! The dialect says how the miner is told and what must be known when it comes back; here is when
//! it may be done, and how often.

use serde::{Deserialize, Serialize};
use switcher_plugin::{Coin, Input, LegId, Millis, Rung, Rungs};

use super::{Cx, Event, Machine};

/// How long the answers to shares that are under way are waited for before the miner is sent back.
pub(super) const ANSWERS_MS: u64 = 2_000;

/// A miner that is still there after so long does not do what it was told.
const OBEYS_MS: u64 = 30_000;

/// A miner is sent back at most so often on its way to a coin.
const MOST_TIMES: u8 = 2;

/// What is kept of a miner until it comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The dialect's part.
    pub text: Box<str>,
    /// The machine's part.
    pub sent: Option<Box<SentBack>>,
}

/// That a miner was sent back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentBack {
    /// On its way to this coin.
    coin: Coin,
    /// From this one, if it was served before.
    from: Option<Coin>,
    times: u8,
    /// Since when it is expected to leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<Millis>,
    /// It was told to leave and stayed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    stays: bool,
}

impl Machine {
    /// How often the miner was sent back on its way to where it shall be.
    pub fn sent_back(&self) -> u8 {
        let is_meant = |sent: &&SentBack| Some(&sent.coin) == self.coin.as_ref();
        self.sent.as_deref().filter(is_meant).map_or(0, |sent| sent.times)
    }

    /// The rungs that a leg to this coin may use.
    pub(super) fn rungs_to(&self, coin: &Coin, cx: &Cx<'_>) -> Rungs {
        let mut rungs = cx.rungs.and(cx.plan.rungs_of(coin));
        // Who is served by the coin's second pool is not sent away for the first.
        let is_there = self.active().is_some_and(|leg| leg.coin == *coin && !leg.replace);
        if is_there || self.sent_back() >= MOST_TIMES {
            rungs = rungs.without(Rung::Reconnect).without(Rung::Drop);
        }
        if self.sent.as_ref().is_some_and(|sent| sent.stays) {
            rungs = rungs.without(Rung::Reconnect);
        }
        rungs
    }

    /// Uses a leg that is ready: cuts over to it, or sends the miner back for it. False if that
    /// has to wait.
    pub(super) fn take_up(&mut self, id: LegId, cx: &mut Cx<'_>) -> bool {
        let Some(leg) = self.leg(id) else { return false };
        let Some(rung @ (Rung::Reconnect | Rung::Drop)) = leg.rung else {
            self.cut_over(id, cx);
            return true;
        };
        let waits = self.active().is_some_and(|active| active.outstanding > 0);
        if waits && cx.now.since(leg.since) < ANSWERS_MS {
            return false;
        }
        self.send_back(id, rung, cx);
        true
    }

    fn send_back(&mut self, id: LegId, rung: Rung, cx: &mut Cx<'_>) {
        let Some((coin, pool)) = self.leg(id).map(|leg| (leg.coin.clone(), leg.pool)) else {
            return;
        };
        let from = self.active().map(|leg| leg.coin.clone()).filter(|from| *from != coin);
        let before = self.sent.take().filter(|sent| sent.coin == coin);
        let times = before.as_ref().map_or(0, |sent| sent.times).saturating_add(1);
        let mut sent = SentBack {
            coin: coin.clone(),
            from: from.or(before.and_then(|sent| sent.from)),
            times,
            since: None,
            stays: false,
        };
        self.sent = Some(Box::new(sent.clone()));
        self.feed(Input::CutOver(id), &[], cx);
        if let Some(pool) = pool {
            cx.host.tell(Event::SentBack { pool, coin: &coin, rung, times });
        }
        self.give_up(id, cx);
        if rung == Rung::Drop || self.active.is_none() {
            self.close("sent back", rung == Rung::Drop);
            return;
        }
        sent.since = Some(cx.now);
        self.sent = Some(Box::new(sent));
    }

    /// Until when the miner is expected to leave, if it was told to.
    pub(super) fn leaves_until(&self) -> Option<Millis> {
        self.sent.as_ref()?.since.map(|since| since.plus(OBEYS_MS))
    }

    /// The miner was told to leave. Without a pool there is nothing it could stay for.
    pub(super) fn await_leave(&mut self) -> bool {
        if self.active.is_none() {
            self.close("sent back, and its pool is gone", true);
            return true;
        }
        false
    }

    pub(super) fn check_leaving(&mut self, cx: &mut Cx<'_>) {
        if self.leaves_until().is_none_or(|until| cx.now < until) {
            return;
        }
        if let Some(sent) = &mut self.sent {
            sent.since = None;
            sent.stays = true;
            let why = "the miner was told to reconnect and stays";
            cx.host.tell(Event::CannotMove(why));
            self.trouble = Some(why.into());
            self.retry.at = cx.now;
        }
    }

    /// The way to the coin has ended well.
    pub(super) fn has_arrived(&mut self) {
        self.sent = self.sent.take().filter(|sent| sent.stays);
    }

    /// The session shall be elsewhere than before; a newcomer goes where it was sent back for.
    pub(super) fn is_redirected(&mut self) {
        if self.coin.is_none() {
            return;
        }
        if let Some(sent) = &mut self.sent {
            (sent.times, sent.since) = (0, None);
        }
        self.has_arrived();
    }

    /// The miner was sent back as often as it may be and cannot be served: it goes back to where it
    /// came from. True if there is such a place.
    pub(super) fn stay_home(&mut self, cx: &mut Cx<'_>) -> bool {
        if self.active.is_some() || self.was_served || self.sent_back() < MOST_TIMES {
            return false;
        }
        let home = self.sent.as_mut().and_then(|sent| sent.from.take());
        let Some(home) = home.filter(|home| cx.plan.may_move(&self.family, None, home).is_ok())
        else {
            return false;
        };
        let why = self.trouble.take().unwrap_or_else(|| "no pool can serve the miner".into());
        cx.host.tell(Event::CannotMove(&why));
        self.head_for(&home, cx);
        self.retry.reported = true;
        self.trouble = Some(why);
        true
    }

    /// No pool of the coin can serve the miner, which stays where it is. Said once.
    pub(super) fn report_stuck(&mut self, cx: &mut Cx<'_>) {
        let is_elsewhere = self.active().is_some_and(|leg| Some(&leg.coin) != self.coin.as_ref());
        if is_elsewhere && !std::mem::replace(&mut self.retry.reported, true) {
            let why = self.trouble.as_deref().unwrap_or("no pool can serve the miner");
            cx.host.tell(Event::CannotMove(why));
        }
    }

    /// Keys are told apart by family, so that a dialect finds its own notes only.
    fn memory_key(&self, key: &str) -> String {
        format!("{}/{key}", self.family)
    }

    pub(super) fn remember(&mut self, key: &str, text: Box<str>, cx: &mut Cx<'_>) {
        let note = Note { text, sent: self.sent.clone() };
        cx.host.remember(&self.memory_key(key), note);
    }

    pub(super) fn recall(&mut self, key: &str, cx: &mut Cx<'_>) -> Option<Box<str>> {
        let Note { text, sent } = cx.host.recall(&self.memory_key(key))?;
        if self.sent.is_none() {
            self.sent = sent;
        }
        Some(text)
    }
}
