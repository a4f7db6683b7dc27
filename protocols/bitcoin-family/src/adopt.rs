//! Sessions that another program has relayed byte by byte, as BTC.com's Go `stratumSwitcher` does,
//! and the way back to such a program.
//!
//! A relay looks at no line behind the login. So when a session is adopted, both streams may stand in
//! the middle of one, the miner has jobs without a tag, and the pool owes answers under ids of the
//! miner's own. What is known of that is a [`Relay`], kept with the leg. A session that is to be handed
//! back is brought to the same state: jobs without a tag, ids as they are.

use jsonrpc::{elements, is_json, member, text, write_string};
use stratum_common::names::split;
use stratum_common::pool::{ECHO_AGENT, name_hash};
use stratum_common::relay::{FIRST_ID, Relay, holds_job, pass_rest};
use switcher_plugin::{
    Action, Adopted, HandBack, LegId, Millis, Outbox, Past, ResumeError, Rung, Seat, Side,
    SubAccount, WorkerName,
};

use crate::agent::is_agent;
use crate::extranonce::{Own, Theirs};
use crate::flavour::Flavour;
use crate::jobs::{TAGS, split_tag};
use crate::leg::{Epoch, Leg, unseen};
use crate::login::{Login, Worker, read_name, read_password};
use crate::options::{Known, Sizes};
use crate::profile::{Fact, PoolTerms};
use crate::session::{Agent, BitcoinSession, State};
use crate::version_rolling::Masks;

/// What the original tells every miner: `E` of 4 bytes, `s` of 8.
const SIZES: Sizes = Sizes { size1: 4, size2: 8 };

/// The first tag that begins with a letter. sserver's own job ids are decimal, so none of them reads
/// as one of these.
const FIRST_LETTER: u16 = 10 * 36;

impl BitcoinSession {
    /// A session of another program's.
    pub(crate) fn adopt(
        seat: Seat<'_>,
        past: &Past<'_>,
        flavour: &Flavour,
    ) -> Result<Adopted, ResumeError> {
        let foreign = |why: &str| ResumeError::Foreign(why.to_owned());
        let terms = PoolTerms::read(past.profile).map_err(ResumeError::Foreign)?;
        if !terms.echo && !terms.detect {
            return Err(foreign("its pool is not configured as sserver"));
        }
        let params = |request| member(request, "params").unwrap_or_default();
        let agent = match elements(params(past.subscribe.as_bytes())).next().map(text) {
            // What the relay says for a miner that says nothing.
            Some(Some(agent)) if agent == ECHO_AGENT => Agent::Silent,
            Some(Some(agent)) => Agent::Named(agent.into()),
            Some(None) => Agent::Odd,
            None => Agent::Silent,
        };
        let login = params(past.authorize.as_bytes());
        let name = read_name(login).map_err(|_| foreign("its login cannot be read"))?;
        let mut session = Self::open(seat, flavour);
        session.state.agent = agent;
        let own = session.relayed_own();
        let mut answer = b"[[],\"".to_vec();
        own.write_hex(&mut answer);
        answer.extend_from_slice(format!("\",{}]", own.size2()).as_bytes());
        let theirs = Theirs::of_subscribe(&answer).map_err(ResumeError::Foreign)?;
        let rung = theirs.fits(own).ok_or_else(|| foreign("it has an extranonce of its own"))?;
        let mask = past.version_mask & session.terms.version_mask;
        let (worker, sub_account) = (WorkerName::new(&name), SubAccount::new(split(&name).0));
        let (pool, echo) = (name_hash(&terms.pool), true);
        let fact = Fact { extranonce1_size: 4, extranonce2_size: 8, version_mask: None, echo };

        let mut leg = Leg::new(past.leg, past.profile.clone(), true, unseen());
        leg.flags.proposed = true;
        leg.flags.authorized = true;
        leg.flags.served = true;
        leg.next_id = FIRST_ID;
        leg.mask = mask;
        leg.patient_since = past.now;
        leg.job_at = past.now;
        leg.workers_sent = 1;
        // Where a frame begins cannot be known, nor which sub-miners there are.
        let is_unseen = is_agent(session.state.agent.name());
        let relay = if is_unseen { Relay::unseen(past.now) } else { Relay::adopted(past.now) };
        leg.rare().relay = Some(relay);

        let state = &mut session.state;
        state.own = Some(own);
        state.subscribed = true;
        state.masks =
            (mask != 0).then_some(Masks { asked: past.version_mask, told: mask, current: mask });
        state.login = Login::Done;
        state.workers = vec![Worker {
            name: worker.clone(),
            password: read_password(login),
            waiting: None,
            accepted: true,
        }];
        state.coin = Some(past.coin.clone());
        state.legs = vec![leg];
        state.active = Some(past.leg);
        state.cut_once = true;
        state.learnt = vec![Known { pool, fact }];
        let tag = session.new_tag();
        if let Some(leg) = session.leg(past.leg) {
            leg.start_epoch(Epoch::new(tag, theirs, false));
        }
        Ok(Adopted { session: Box::new(session), rung, sub_account, worker })
    }

    /// Passes the rest of a line on the way its beginning went. True if the frame was one.
    pub(crate) fn pass_rest(&mut self, side: Side, frame: &[u8], out: &mut Outbox) -> bool {
        let active = self.state.active;
        let legs = self.state.legs.iter_mut();
        let relays = legs.filter_map(|leg| Some((leg.id, leg.relay_mut()?)));
        let relays = relays.filter(|(_, relay)| !relay.is_unseen());
        pass_rest(relays, active, side, frame, out)
    }

    /// Passes on what is not looked at. True if it was something such.
    pub(crate) fn pass_unseen(&self, side: Side, bytes: &[u8], out: &mut Outbox) -> bool {
        if !self.state.is_unseen(side) {
            return false;
        }
        match (side, self.state.active) {
            (Side::Downstream, Some(active)) => out.push(Action::Forward(Side::Upstream(active))),
            (Side::Downstream, None) => {}
            (Side::Upstream(leg), _) => {
                if holds_job(bytes) {
                    out.push(Action::Job(leg));
                }
                out.push(Action::Forward(Side::Downstream));
            }
        }
        true
    }

    /// Lets an agent go whose sub-miners nobody knows, so that no other pool can be told of them.
    /// True if the miner is one.
    pub(crate) fn lets_unseen_go(&self, out: &mut Outbox) -> bool {
        let Some(active) = self.state.active else { return false };
        let is_unseen = self.state.is_unseen(Side::Upstream(active));
        if is_unseen {
            let why = "an agent whose sub-miners are not known comes back by itself".into();
            out.push(Action::Close { why });
        }
        is_unseen
    }

    /// The miner leaves this leg. If the pool's line was not seen to its end, it is ended here.
    pub(crate) fn end_torn_line(&mut self, leg: LegId, out: &mut Outbox) {
        if self.leg(leg).and_then(Leg::relay_mut).is_some_and(Relay::leave) {
            out.send(Side::Downstream, b"\n");
        }
    }

    /// Whether an answer to what we have not asked is for the miner, who has asked through a relay.
    pub(crate) fn is_of_relay(&mut self, now: Millis, leg: LegId) -> bool {
        let relay = self.leg(leg).and_then(|leg| leg.relay().copied());
        relay.is_some_and(|relay| relay.expects_answers(now))
    }

    /// `Input::HandBack`: the miner gets its work anew, without a tag.
    pub(crate) fn prepare_hand_back(&mut self, now: Millis, out: &mut Outbox) {
        let Some(id) = self.relayable() else { return };
        if self.state.is_unseen(Side::Upstream(id)) {
            return;
        }
        if self.state.btcagent.is_some() {
            let needs_nobody = self.active_leg().is_some_and(|leg| self.agent_needs_nobody(leg));
            if let Some(leg) = self.leg(id).filter(|_| needs_nobody) {
                leg.rare().relay = Some(Relay::unseen(now));
            }
            return;
        }
        self.return_to(now, id);
        let Some(leg) = self.leg(id) else { return };
        let before = leg.relay().copied();
        leg.rare().relay = Some(Relay::returning(now, before));
        self.push_work(id, true, out);
    }

    /// The leg by which a relay could serve the miner, if there is one.
    fn relayable(&self) -> Option<LegId> {
        let (state, leg) = (&self.state, self.active_leg()?);
        let theirs = leg.latest_theirs()?;
        let own = self.relayed_own();
        let is_echo = theirs.is_proposal(own) && usize::from(theirs.size2()) == own.size2();
        let fits = state.own == Some(own) && is_echo;
        let is_served = self.may_push() && !leg.flags.unfit && leg.epoch?.rung(own)? == Rung::Echo;
        (fits && is_served).then_some(leg.id)
    }

    /// The extranonce that the original tells a miner.
    fn relayed_own(&self) -> Own {
        let short_id = self.state.short_id;
        match self.terms.form {
            Some(form) => Own::in_header(short_id, form.for_miner(self.quirks())),
            None => Own::new(short_id, SIZES),
        }
    }

    /// What a relay has to know.
    pub(crate) fn to_hand_back(&self) -> Option<HandBack> {
        let state = &self.state;
        let id = self.relayable()?;
        let leg = state.legs.iter().find(|leg| leg.id == id)?;
        leg.relay().filter(|relay| relay.is_plain())?;
        let first = state.workers.first()?;
        let agent = match &state.agent {
            Agent::Named(agent) => agent,
            Agent::Odd => "",
            Agent::Silent => ECHO_AGENT,
        };
        let request = |method: &str, name: &str, password: &[u8]| {
            // The relay answers a login anew when it moves the miner. Nobody waits for that, so it
            // shall bear no id of the miner's.
            let mut text =
                format!("{{\"id\":null,\"method\":\"{method}\",\"params\":[").into_bytes();
            write_string(&mut text, name);
            if is_json(password) {
                text.push(b',');
                text.extend_from_slice(password);
            }
            text.extend_from_slice(b"]}");
            String::from_utf8(text).ok()
        };
        Some(HandBack {
            leg: id,
            short_id: state.short_id,
            subscribe: request("mining.subscribe", agent, b"")?,
            authorize: request("mining.authorize", first.name.as_str(), &first.password.0)?,
            version_mask: state.masks.map_or(0, |masks| masks.told),
        })
    }
}

impl State {
    /// Whether what this side says is not looked at, and cannot be.
    pub(crate) fn is_unseen(&self, side: Side) -> bool {
        let leg = match side {
            Side::Downstream => self.active,
            Side::Upstream(leg) => Some(leg),
        };
        let leg = self.legs.iter().find(|other| Some(other.id) == leg);
        leg.and_then(Leg::relay).is_some_and(Relay::is_unseen)
    }

    /// Which leg has issued a job, under which extranonce, and what it calls it.
    pub(crate) fn issuer<'a>(&self, job_id: &'a str) -> Option<(usize, Epoch, &'a str)> {
        let tagged = split_tag(job_id).and_then(|(tag, job_id)| {
            let mut legs = self.legs.iter().enumerate();
            legs.find_map(|(at, leg)| Some((at, *leg.epoch(tag)?, job_id)))
        });
        tagged.or_else(|| {
            // One that was left may have relayed once, too.
            let relays = self.legs.iter().enumerate().filter(|(_, leg)| leg.relay().is_some());
            let (at, leg) = relays.max_by_key(|(_, leg)| leg.relay().map(Relay::is_plain))?;
            Some((at, leg.epoch?, job_id))
        })
    }

    /// The tags that new epochs may have.
    pub(crate) fn tags(&self) -> std::ops::Range<u16> {
        let is_relayed = self.legs.iter().any(|leg| leg.relay().is_some());
        (if is_relayed { FIRST_LETTER } else { 0 })..TAGS
    }
}
