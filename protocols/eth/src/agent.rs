//! `BTCAgent`: one connection for many miners, with binary frames between the lines from its login
//! on. Only sserver understands them, so they pass unread, and so do all lines.
//!
//! What the pool knows of the miners behind an agent is void at another pool, and nothing here knows
//! it: on a switch, and when its pool is lost, the agent is let go, as the original does. It comes
//! back within seconds and registers its miners again.

use stratum_common::miner;
use stratum_common::relay::holds_job;
use switcher_plugin::{Action, Cut, Fault, FaultKind, LegId, Outbox, Side};

use crate::login::Login;
use crate::session::EthSession;

/// First byte of a frame; a command, and the length of the whole in two bytes, lowest first, follow.
const MAGIC: u8 = 0x7f;

/// Length of what stands in front of a frame's content.
const HEAD: usize = 4;

impl EthSession {
    /// Whether the miner is an agent.
    pub(crate) fn is_agent(&self) -> bool {
        self.state.agent_starts_with("btccom-agent/")
    }

    /// The end of a binary frame; `None` if `bytes` do not begin with one, or none may come yet.
    pub(crate) fn cut_frame(&self, side: Side, bytes: &[u8]) -> Option<Cut> {
        if self.is_unseen(side) {
            return Some(if bytes.is_empty() { Cut::Partial } else { Cut::Frame(bytes.len()) });
        }
        if bytes.first() != Some(&MAGIC) || !self.is_agent() {
            return None;
        }
        let may_come = match side {
            Side::Downstream => self.state.login == Login::Done,
            Side::Upstream(id) => {
                self.state.legs.iter().any(|leg| leg.id == id && leg.flags.authorized)
            }
        };
        let length = || {
            let low = bytes.get(2).copied()?;
            Some(usize::from(u16::from_le_bytes([low, bytes.get(3).copied()?])).max(HEAD))
        };
        may_come.then(|| match length() {
            Some(length) if bytes.len() >= length => Cut::Frame(length),
            _ => Cut::Partial,
        })
    }

    /// Passes on what an agent or its pool says behind the login. False if it is to be read.
    pub(crate) fn relay(
        &mut self,
        side: Side,
        frame: &[u8],
        out: &mut Outbox,
    ) -> Result<bool, Fault> {
        if !self.is_agent() {
            return Ok(false);
        }
        let active = self.state.active;
        match side {
            Side::Downstream if self.state.login != Login::Done => return Ok(false),
            Side::Downstream => match active {
                Some(active) => out.push(Action::Forward(Side::Upstream(active))),
                None => Self::disregard(out, side, FaultKind::Unexpected),
            },
            Side::Upstream(leg) if active == Some(leg) => {
                Self::note_job(leg, frame, out);
                out.push(Action::Forward(Side::Downstream));
            }
            Side::Upstream(id) => {
                let is_in = self.leg(id).is_some_and(|leg| leg.flags.authorized);
                let is_first = matches!(self.state.login, Login::Held(_));
                if !is_in || !is_first {
                    // Another pool's frames; its lines tell whether it has work.
                    return Ok(frame.first() == Some(&MAGIC));
                }
                // Behind the answer to the login, which is still to go down.
                Self::note_job(id, frame, out);
                miner::hold(&mut self.state.held, |held| held.extend_from_slice(frame))
                    .map_err(|kind| Fault { side, kind })?;
            }
        }
        Ok(true)
    }

    /// The engine gives up pools that send no jobs.
    fn note_job(leg: LegId, frame: &[u8], out: &mut Outbox) {
        if holds_job(frame) {
            out.push(Action::Job(leg));
        }
    }

    /// Lets an agent go that cannot be served any longer by the pool it has.
    pub(crate) fn let_agent_go(out: &mut Outbox) {
        let why = "an agent comes back to another pool by itself".into();
        out.push(Action::Close { why });
    }
}
