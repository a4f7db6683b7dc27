//! Sessions that another program has relayed byte by byte, as BTC.com's Go `stratumSwitcher` does,
//! and the way back to such a program.
//!
//! What a relay has not looked at is a [`Relay`], kept with the leg. What its miner has besides is
//! jobs without a tag and, with `NiceHash`'s variant, a difficulty that nobody has seen. A session
//! that is to be handed back is brought to the same state.

use jsonrpc::{elements, member, text, write_string};
use stratum_common::names::split;
use stratum_common::pool::{ECHO_AGENT, name_hash};
use stratum_common::relay::{FIRST_ID, Relay, pass_rest};
use switcher_plugin::{
    Adopted, HandBack, LegId, Millis, Outbox, Past, ResumeError, Rung, Rungs, Seat, Side,
    SubAccount, WorkerName,
};

use crate::downstream::{kept, variant_of};
use crate::extranonce::Extranonce;
use crate::handshake::ECHO_PROTOCOL;
use crate::leg::{Epoch, Leg};
use crate::login::{Login, Worker, read_name, read_rest};
use crate::profile::{Chooser, Fact, PoolTerms, Way};
use crate::session::{EthSession, Learnt, State};
use crate::variant::Variant;

/// What the original calls an `ETHProxy` miner, which does not subscribe, towards sserver.
const ETHPROXY: [&str; 2] = ["ETHProxy", "ETHProxy/1.0.0"];

/// Digits of a header, which is what sserver calls its jobs. With a tag there are two more.
const HEADER_DIGITS: usize = 64;

impl EthSession {
    /// A session of another program's.
    pub(crate) fn adopt(seat: Seat<'_>, past: &Past<'_>) -> Result<Adopted, ResumeError> {
        let foreign = |why: &str| ResumeError::Foreign(why.to_owned());
        let terms = PoolTerms::read(past.profile).map_err(ResumeError::Foreign)?;
        if terms.extranonce == Chooser::Own {
            return Err(foreign("its pool is not configured as sserver"));
        }
        let authorize = past.authorize.as_bytes();
        let params = |request| member(request, "params").unwrap_or_default();
        let subscribe = params(past.subscribe.as_bytes());
        let method = member(authorize, "method").and_then(text).unwrap_or_default();
        let variant = variant_of_past(subscribe, &method)
            .ok_or_else(|| foreign("its subscribe cannot be read"))?;
        let login = params(authorize);
        let name = read_name(authorize, login).map_err(|_| foreign("its login cannot be read"))?;
        let (worker, sub_account) = (WorkerName::new(&name), SubAccount::new(split(&name).0));

        let mut session = Self::open(seat);
        let state = &mut session.state;
        state.variant = Some(variant);
        if variant != Variant::EthProxy {
            let mut items = elements(subscribe);
            // What the relay says for a miner that says nothing.
            let said =
                |span: Option<&[u8]>, for_it| span.and_then(kept).filter(|text| &**text != for_it);
            state.agent = said(items.next(), ECHO_AGENT);
            state.protocol = said(items.next(), ECHO_PROTOCOL);
            state.subscribed = true;
        }
        state.login = Login::Done;
        state.worker = Some(Worker { name: worker.clone(), rest: read_rest(login) });
        state.coin = Some(past.coin.clone());
        state.active = Some(past.leg);
        state.cut_once = true;
        let way = Way { variant, echo: true };
        let mut leg =
            Leg::new(past.leg, past.profile.clone(), Rungs::NONE.with(Rung::Echo), way, 0);
        leg.flags.subscribed = true;
        leg.flags.authorized = true;
        leg.flags.served = true;
        leg.flags.spoken = true;
        leg.flags.prefix_ignored = terms.prefix_ignored;
        leg.next_id = FIRST_ID;
        leg.user = terms.user(&name, None, false).into();
        leg.patient_since = past.now;
        session.begin_relayed(leg, past.now);
        let fact = Some(Fact { variant, echo: true });
        session.remember(Learnt { pool: name_hash(&terms.pool), fact, silent: 0 });
        Ok(Adopted { session: Box::new(session), rung: Rung::Echo, sub_account, worker })
    }

    /// The leg of an adopted session, with what its miner was told there.
    fn begin_relayed(&mut self, mut leg: Leg, now: Millis) {
        let told = self.relayed_extranonce();
        self.state.told.extranonce = told;
        let told = told.unwrap_or_default();
        leg.next.extranonce = told;
        let is_agent = self.is_agent();
        leg.relay = Some(if is_agent { Relay::unseen(now) } else { Relay::adopted(now) });
        let tag = self.new_tag();
        leg.start_epoch(Epoch { tag, told, theirs: told, difficulty: 0.0 });
        self.state.legs = vec![leg];
    }

    /// The extranonce that the original tells a miner; none where there is no such thing.
    fn relayed_extranonce(&self) -> Option<Extranonce> {
        (self.state.variant == Some(Variant::NiceHash)).then(|| self.own_extranonce())
    }

    /// Passes the rest of a line on the way its beginning went. True if the frame was one.
    pub(crate) fn pass_rest(&mut self, side: Side, frame: &[u8], out: &mut Outbox) -> bool {
        let relays = self.state.legs.iter_mut();
        let relays = relays.filter_map(|leg| Some((leg.id, leg.relay.as_mut()?)));
        let relays = relays.filter(|(_, relay)| !relay.is_unseen());
        pass_rest(relays, self.state.active, side, frame, out)
    }

    /// The miner leaves this leg. If the pool's line was not seen to its end, it is ended here.
    pub(crate) fn end_torn_line(&mut self, leg: LegId, out: &mut Outbox) {
        let relay = self.leg(leg).and_then(|leg| leg.relay.as_mut());
        if relay.is_some_and(Relay::leave) {
            out.send(Side::Downstream, b"\n");
        }
    }

    /// Whether an answer to what we have not asked is for the miner, who has asked through a relay.
    pub(crate) fn is_of_relay(&mut self, now: Millis, leg: LegId) -> bool {
        let relay = self.leg(leg).and_then(|leg| leg.relay);
        relay.is_some_and(|relay| relay.expects_answers(now))
    }

    /// Whether what this side says is not looked at, and cannot be.
    pub(crate) fn is_unseen(&self, side: Side) -> bool {
        let leg = match side {
            Side::Downstream => self.state.active,
            Side::Upstream(leg) => Some(leg),
        };
        let leg = self.state.legs.iter().find(|other| Some(other.id) == leg);
        leg.and_then(|leg| leg.relay).is_some_and(|relay| relay.is_unseen())
    }

    /// Whether a share for a job of this leg, which the miner calls so, goes up as it is.
    pub(crate) fn goes_up_plain(&self, miner: Variant, leg: LegId, told: &str) -> bool {
        let leg = self.state.legs.iter().find(|other| other.id == leg);
        leg.and_then(|leg| leg.relay).is_some_and(|relay| relay.is_plain())
            && (miner == Variant::EthProxy || self.state.untagged(told).is_some())
    }

    /// `Input::HandBack`: the miner gets its work anew, without a tag. An agent's lines and frames
    /// go as they are in any case, and are not told apart any more.
    pub(crate) fn prepare_hand_back(&mut self, now: Millis, out: &mut Outbox) {
        let Some(id) = self.relayable() else { return };
        let (is_agent, variant) = (self.is_agent(), self.state.variant);
        let Some(leg) = self.leg(id) else { return };
        leg.relay =
            Some(if is_agent { Relay::unseen(now) } else { Relay::returning(now, leg.relay) });
        // Work of ETHProxy bears no name that could have a tag.
        if !is_agent && variant != Some(Variant::EthProxy) {
            self.push_work(id, true, b"0", out);
        }
    }

    /// The leg by which a relay could serve the miner, if there is one.
    fn relayable(&self) -> Option<LegId> {
        let (state, leg) = (&self.state, self.active_leg()?);
        let extranonce = self.relayed_extranonce();
        let is_told = state.told.extranonce == extranonce;
        let is_echo = leg.way.echo
            && Some(leg.way.variant) == state.variant
            && leg.next.extranonce == extranonce.unwrap_or_default();
        let is_served = state.login == Login::Done && leg.flags.authorized && !leg.flags.unfit;
        (is_told && is_echo && is_served).then_some(leg.id)
    }

    /// What a relay has to know.
    pub(crate) fn to_hand_back(&self) -> Option<HandBack> {
        let state = &self.state;
        let id = self.relayable()?;
        let leg = state.legs.iter().find(|leg| leg.id == id)?;
        leg.relay.filter(Relay::is_plain)?;
        let worker = state.worker.as_ref()?;
        let is_ethproxy = state.variant == Some(Variant::EthProxy);
        let subscribe = if is_ethproxy {
            // It makes one of the login, as it did at first.
            "null".to_owned()
        } else {
            let protocol = if state.variant == Some(Variant::NiceHash) {
                "EthereumStratum/1.0.0"
            } else {
                ECHO_PROTOCOL
            };
            let mut params = Vec::new();
            write_string(&mut params, state.agent.as_deref().unwrap_or(ECHO_AGENT));
            params.push(b',');
            write_string(&mut params, state.protocol.as_deref().unwrap_or(protocol));
            request("mining.subscribe", &params)?
        };
        let mut params = Vec::new();
        write_string(&mut params, worker.name.as_str());
        if !worker.rest.is_empty() {
            params.push(b',');
            params.extend_from_slice(&worker.rest.0);
        }
        let method = if is_ethproxy { "eth_submitLogin" } else { "mining.authorize" };
        let authorize = request(method, &params)?;
        let short_id = state.short_id;
        Some(HandBack { leg: id, short_id, subscribe, authorize, version_mask: 0 })
    }
}

impl State {
    /// The leg whose job a miner means by a name without a tag, its epoch, and the name; `None` if
    /// it is one with a tag, or if no job can be without.
    pub(crate) fn untagged(&self, told: &str) -> Option<(LegId, Epoch, String)> {
        let name = told.strip_prefix("0x").unwrap_or(told);
        let is_header =
            name.len() == HEADER_DIGITS && name.bytes().all(|digit| digit.is_ascii_hexdigit());
        // One that was left may have relayed once, too.
        let relays = self.legs.iter().filter(|leg| leg.relay.is_some());
        let leg = relays.max_by_key(|leg| leg.relay.map(|relay| relay.is_plain()))?;
        is_header.then_some((leg.id, leg.latest_epoch()?, name.to_owned()))
    }
}

/// What a miner speaks whose subscribe has these parameters, as the relay has sent them on, and that
/// has logged in so.
fn variant_of_past(subscribe: &[u8], login: &str) -> Option<Variant> {
    let mut items = elements(subscribe).map(text);
    let said = [items.next().flatten(), items.next().flatten()];
    let is_of_relay = said.iter().zip(ETHPROXY).all(|(said, name)| said.as_deref() == Some(name));
    match login {
        "eth_submitLogin" if is_of_relay || subscribe.is_empty() => Some(Variant::EthProxy),
        "eth_submitLogin" | "mining.authorize" if !subscribe.is_empty() => {
            variant_of("mining.subscribe", subscribe)
        }
        _ => None,
    }
}

/// A request of the miner's for a relay. It answers a login anew when it moves the miner. Nobody
/// waits for that, so it shall bear no id of the miner's.
fn request(method: &str, params: &[u8]) -> Option<String> {
    let mut text = format!("{{\"id\":null,\"method\":\"{method}\",\"params\":[").into_bytes();
    text.extend_from_slice(params);
    text.extend_from_slice(b"]}");
    String::from_utf8(text).ok()
}
