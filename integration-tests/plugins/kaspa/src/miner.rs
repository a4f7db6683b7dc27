//! What a miner may ask.

use serde_json::value::RawValue;
use switcher_plugin::{Action, FaultKind, Outbox, Side, SubAccount, Verdict, WorkerName};

use crate::profile::split;
use crate::session::{Ask, Login, Session};
use crate::wire::{MAX_KEPT, Message, answer, deny, list, quoted, request, text};

/// Longest worker name that is taken; an address has some 70 characters.
const MAX_NAME: usize = 256;

/// Longest list of subscribe's parameters, and longest password, that is taken.
const MAX_SHORT: usize = 512;

/// Digits of a nonce.
const NONCE_DIGITS: usize = 16;

impl Session {
    /// One line from the miner.
    pub(crate) fn miner_said(&mut self, message: &Message<'_>, out: &mut Outbox) {
        let id = message.id.map(RawValue::get);
        let granted = |out: &mut Outbox| answer(out, Side::Downstream, id, "true", "null");
        match message.method.as_deref() {
            Some("mining.subscribe") => self.subscribe(id, message.params(), out),
            Some("mining.authorize") => self.authorize(id, message, out),
            Some("mining.submit") => self.submit(id, message, out),
            Some("mining.extranonce.subscribe") => {
                self.extranonce_subscribed = true;
                granted(out);
            }
            // Reports of the hash rate. Nobody depends on them.
            Some("mining.hashrate" | "mining.submit_hashrate" | "eth_submitHashrate") => {
                granted(out);
            }
            Some("mining.ping") => answer(out, Side::Downstream, id, "\"pong\"", "null"),
            Some(_) => {
                Self::disregard(Side::Downstream, FaultKind::Unexpected, out);
                deny(out, id, 20, "Not supported");
            }
            // The answer to something that was not asked.
            None => Self::disregard(Side::Downstream, FaultKind::UnknownId, out),
        }
    }

    /// Answered at once: who the miner is, and so its pool, is not known yet. The extranonce comes
    /// with the first job.
    fn subscribe(&mut self, id: Option<&str>, params: &str, out: &mut Outbox) {
        let is_fine = params.len() <= MAX_SHORT && !list(params).is_empty();
        self.subscribe = is_fine.then(|| params.into());
        let result = if self.wants_size() {
            let told = self.told.as_deref().unwrap_or_default();
            format!("[null,\"{told}\",{}]", size2(told))
        } else {
            "[true,\"EthereumStratum/1.0.0\"]".to_owned()
        };
        answer(out, Side::Downstream, id, &result, "null");
    }

    /// Bitmain's firmware wants to know how many bytes of the nonce are its own.
    fn wants_size(&self) -> bool {
        let agent = self.subscribe.as_deref().unwrap_or_default().to_ascii_lowercase();
        ["godminer", "bitmain", "antminer"].iter().any(|name| agent.contains(name))
    }

    /// Tells the miner an extranonce that its pool has told otherwise than by a notification.
    pub(crate) fn announce(&self, extranonce: &str, out: &mut Outbox) {
        let params = if self.wants_size() {
            format!("[\"{extranonce}\",{}]", size2(extranonce))
        } else {
            format!("[\"{extranonce}\"]")
        };
        request(out, Side::Downstream, "null", "mining.set_extranonce", &params);
    }

    fn authorize(&mut self, id: Option<&str>, message: &Message<'_>, out: &mut Outbox) {
        let items = message.items();
        let name = items.first().and_then(|item| text(item)).filter(|name| {
            !split(name).0.is_empty() && name.len() <= MAX_NAME && !name.contains(char::is_control)
        });
        let Some(name) = name else {
            Self::disregard(Side::Downstream, FaultKind::BadParams, out);
            return deny(out, id, 24, "Unauthorized worker");
        };
        match self.login {
            Login::None => {
                let password = items.get(1).filter(|password| password.len() <= MAX_SHORT);
                self.password.0 = password.copied().unwrap_or("\"x\"").into();
                self.worker = name.into();
                self.login = Login::Asked(id.map(Box::from));
                out.push(Action::Identify {
                    sub_account: SubAccount::new(split(&self.worker).0),
                    worker: WorkerName::new(&self.worker),
                });
            }
            // Said again: the pool has said yes to it.
            Login::Done if *self.worker == *name => {
                answer(out, Side::Downstream, id, "true", "null");
            }
            Login::Asked(_) | Login::Done => {
                Self::disregard(Side::Downstream, FaultKind::Unexpected, out);
                deny(out, id, 24, "One worker per connection");
            }
        }
    }

    /// A share goes to the leg whose job it is of, wherever the miner is by now.
    fn submit(&mut self, id: Option<&str>, message: &Message<'_>, out: &mut Outbox) {
        if self.login != Login::Done {
            Self::disregard(Side::Downstream, FaultKind::Unexpected, out);
            return deny(out, id, 24, "Unauthorized worker");
        }
        let Some((job, rest)) = read_share(message) else {
            Self::disregard(Side::Downstream, FaultKind::BadParams, out);
            return deny(out, id, 20, "Malformed share");
        };
        let has_pool = self.active.is_some();
        let tagged = job.split_at_checked(2).and_then(|(tag, job)| {
            let tag: u8 = tag.parse().ok()?;
            Some((job, self.legs.iter_mut().find(|leg| leg.tag == tag)?))
        });
        let Some((job, leg)) = tagged else {
            let (verdict, code, why) = if has_pool {
                (Verdict::Orphan, 21, "Job not found")
            } else {
                (Verdict::Poolless, 20, "No pool at the moment")
            };
            out.push(Action::Share { leg: None, verdict, difficulty: 0.0 });
            return deny(out, id, code, why);
        };
        if !leg.has_room() {
            Self::disregard(Side::Downstream, FaultKind::Excess, out);
            return deny(out, id, 20, "Too many requests");
        }
        let params = format!("[{},{},{rest}]", leg.user, quoted(job));
        leg.ask(Ask::Share, id, "mining.submit", &params, out);
        out.push(Action::Submitted(leg.id));
    }
}

/// The job id of a share, and its nonce and what follows as they stand.
fn read_share(message: &Message<'_>) -> Option<(String, String)> {
    let items = message.items();
    let (_worker, rest) = items.split_first()?;
    let (job, rest) = rest.split_first()?;
    let nonce = text(rest.first()?)?;
    let digits = nonce.strip_prefix("0x").unwrap_or(&nonce);
    let is_nonce = (1..=NONCE_DIGITS).contains(&digits.len())
        && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let rest = rest.join(",");
    (is_nonce && rest.len() <= MAX_KEPT).then_some(())?;
    Some((text(job)?, rest))
}

/// Bytes of the nonce behind an extranonce.
fn size2(extranonce: &str) -> usize {
    NONCE_DIGITS.saturating_sub(extranonce.len()) / 2
}
