//! Miners that are sent away so that a pool without room can serve them, and miners that come back:
//! what is remembered of the first for the second.
//!
//! A note is the sizes of the extranonces that the pool has room for, such as `1+2`. It is kept twice:
//! under the session id that the miner was given, which many bring along as the second parameter of
//! subscribe, and under its address and agent, for those that do not. Foreign and constant session
//! ids are common, so only one that was ours, which nobody can guess, finds a note.

use jsonrpc::{elements, text, write_notification};
use serde::{Deserialize, Serialize};
use switcher_plugin::{Action, Fault, LegId, Outbox, Rung, Side};

use crate::extranonce::{Own, sizes_for};
use crate::login::Login;
use crate::options::Sizes;
use crate::raw::Raw;
use crate::session::BitcoinSession;

/// A subscribe whose answer waits for what is remembered of the miner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recalling {
    /// The miner's id of the subscribe.
    id: Raw,
    /// What is asked for next.
    then: Option<Box<str>>,
    /// A note was found.
    #[serde(default)]
    found: bool,
}

impl BitcoinSession {
    /// Asks what is remembered of a miner that subscribes. False if nothing can be.
    pub(crate) fn recall(&mut self, id: &[u8], params: &[u8], out: &mut Outbox) -> bool {
        if self.terms.form.is_some() {
            // Notes are of sizes, and its own are always the same.
            return false;
        }
        let session = elements(params).nth(1).and_then(text);
        let is_ours = |id: &str| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
        let by_id = session.filter(|id| is_ours(id)).map(|id| id_key(&id));
        let by_place = self.place_key();
        let (first, then) = match by_id {
            Some(by_id) => (Some(by_id), by_place),
            None => (by_place, None),
        };
        let Some(key) = first else { return false };
        self.state.recalling = Some(Box::new(Recalling { id: Raw::of(id), then, found: false }));
        out.push(Action::Recall { key });
        true
    }

    /// `Input::Recalled`. The second note of a miner is of no use beside the first; it is asked for
    /// so that nobody else finds it.
    pub(crate) fn recalled(&mut self, note: Option<&str>, out: &mut Outbox) -> Result<(), Fault> {
        let Some(mut recalling) = self.state.recalling.take() else { return Ok(()) };
        // Who logs in before it subscribes has sizes by now, but has not been told them.
        if !self.state.cut_once
            && !recalling.found
            && let Some(sizes) = note.and_then(read_note)
        {
            self.state.own = Some(Own::new(self.state.short_id, sizes));
            recalling.found = true;
        }
        if let Some(key) = recalling.then.take() {
            self.state.recalling = Some(recalling);
            out.push(Action::Recall { key });
            return Ok(());
        }
        self.answer_subscribe(&recalling.id.0, out)
    }

    /// `Input::CutOver` to a leg that the miner must come back for.
    pub(crate) fn send_back(&mut self, leg_id: LegId, rung: Rung, out: &mut Outbox) {
        let Some(leg) = self.leg(leg_id) else { return };
        let (room, welcome) =
            (leg.latest_theirs().map(|theirs| theirs.size2()), leg.take_welcome());
        let sizes = room.and_then(|room| sizes_for(room, self.quirks()));
        let Some(Sizes { size1, size2 }) = sizes else { return };
        let keys = [Some(id_key(&self.state.session_id())), self.place_key()];
        for key in keys.into_iter().flatten() {
            out.push(Action::Remember { key, note: format!("{size1}+{size2}").into() });
        }
        // cgminer takes the next line for the answer to its authorize.
        self.welcome(welcome, out);
        if rung == Rung::Reconnect {
            // Without a host, as cgminer follows none of another domain and we do not know by which
            // name it knows us.
            out.send_with(Side::Downstream, |arena| {
                write_notification(arena, "client.reconnect", b"[]");
            });
        }
    }

    /// Gives a miner that was told nothing yet an extranonce that fits the first pool it meets.
    pub(crate) fn refit(&mut self, room: u8) {
        let is_free = !self.state.subscribed && !self.state.cut_once && self.state.legs.len() == 1;
        let fits = self.state.own.is_some_and(|own| usize::from(room) >= own.len() + own.size2());
        if let Some(sizes) = sizes_for(room, self.quirks())
            && is_free
            && self.terms.form.is_none()
            && !fits
            && self.state.login != Login::Done
        {
            self.state.own = Some(Own::new(self.state.short_id, sizes));
        }
    }

    /// Where a miner that brings no id along is looked for.
    fn place_key(&self) -> Option<Box<str>> {
        let peer = self.peer?.to_canonical();
        Some(format!("at:{peer}/{}", self.state.agent.name()).into())
    }
}

fn id_key(session_id: &str) -> Box<str> {
    format!("id:{}", session_id.to_ascii_lowercase()).into()
}

/// The sizes of a note; notes come from earlier programs as well.
fn read_note(note: &str) -> Option<Sizes> {
    let (size1, size2) = note.split_once('+')?;
    let size = |text: &str| text.parse().ok().filter(|size| (1..=8).contains(size));
    Some(Sizes { size1: size(size1)?, size2: size(size2)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sizes_that_a_session_can_have_are_taken_from_a_note() {
        assert_eq!(read_note("1+2"), Some(Sizes { size1: 1, size2: 2 }));
        for note in ["", "1", "1+", "0+2", "1+9", "1+2+3", "-1+2", "a+b"] {
            assert_eq!(read_note(note), None, "{note}");
        }
    }
}
