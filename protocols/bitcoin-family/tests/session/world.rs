//! A session under test. Every input goes to two sessions: one lives on, the other is saved and
//! resumed before each input. They must ask for the same, so every test is one of resuming, too.

use std::fmt::Write as _;

use bitcoin_family::{BitcoinDialect, Flavour};
use serde_json::{Value, json};
use switcher_plugin::{
    Action, Coin, Cut, DialectSession, Fault, HandBack, Input, LegId, ListenerView, Millis, Outbox,
    Past, PoolView, Profile, Rung, Rungs, Saved, Seat, SessionId, SessionSeat, Side,
    StratumDialect, UpstreamSettings,
};

const FLAVOUR: Flavour = Flavour { name: "btc", address_prefixes: &["bitcoincash:"] };

/// The dialect under test.
pub(crate) const DIALECT: BitcoinDialect = BitcoinDialect::new(&FLAVOUR);

/// The job that pools of the tests send, by its id.
pub(crate) fn job(id: &str) -> String {
    format!(
        r#"{{"id":null,"method":"mining.notify","params":["{id}","aa","c1","c2",["b1"],"20000000","207fffff","5cb6dda8",false]}}"#
    )
}

/// How the miner sees it, folded in with `insert` and tagged.
pub(crate) fn job_below(id: &str, insert: &str, time: &str, clean: bool) -> String {
    format!(
        r#"down {{"id":null,"method":"mining.notify","params":["{id}","aa","c1{insert}","c2",["b1"],"20000000","207fffff","{time}",{clean}]}}"#
    )
}

/// What a session is opened with.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) listener: ListenerView,
    pub(crate) short_id: u32,
    pub(crate) probe: bool,
}

impl Default for Setting {
    fn default() -> Self {
        Self { listener: ListenerView::default(), short_id: 0x0100_0080, probe: false }
    }
}

impl Setting {
    /// With a pool of this configuration and, if any, a fact about it.
    pub(crate) fn pool(mut self, name: &str, options: &Value, fact: Option<&str>) -> Self {
        let profile = profile(name, options);
        let fact = fact.map(Into::into);
        self.listener.pools.push(PoolView { name: name.into(), coin: "btc".into(), profile, fact });
        self
    }

    /// With these options of the listener.
    pub(crate) fn options(mut self, options: Value) -> Self {
        self.listener.options = options;
        self
    }

    fn seat(&self) -> Seat<'_> {
        let seat = SessionSeat {
            session: SessionId(1),
            short_id: self.short_id,
            entropy: [0xab; 16],
            peer: Some([192, 168, 1, 10].into()),
            listener: &self.listener,
        };
        if self.probe { Seat::Probe(seat) } else { Seat::Miner(seat) }
    }
}

/// The profile of a pool with these options.
pub(crate) fn profile(name: &str, options: &Value) -> Profile {
    profile_with(name, None, None, options)
}

/// The profile of a pool with templates.
pub(crate) fn profile_with(
    name: &str,
    user: Option<&str>,
    password: Option<&str>,
    options: &Value,
) -> Profile {
    let coin = Coin::new("btc");
    let settings = UpstreamSettings { name, coin: &coin, user, password, options };
    DIALECT.profile(&settings).expect("the options of the test are right")
}

/// A session, its twin, and the time.
#[derive(Debug)]
pub(crate) struct World {
    setting: Setting,
    session: Box<dyn DialectSession>,
    twin: Saved,
    out: Outbox,
    pub(crate) now: Millis,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Setting::default())
    }

    pub(crate) fn with(setting: Setting) -> Self {
        let session = DIALECT.open(setting.seat());
        let twin = session.save(1);
        Self { setting, session, twin, out: Outbox::new(), now: Millis(1_000_000) }
    }

    /// A session that another program has relayed on leg 1, with E = `01000080`, s = 8.
    pub(crate) fn adopted(authorize: &str, subscribe: &str) -> Result<Self, String> {
        let mut world = Self::new();
        let profile = profile("pool1", &json!({ "extranonce": "detect" }));
        let coin = Coin::new("btc");
        let past = Past {
            now: world.now,
            leg: LegId(1),
            profile: &profile,
            coin: &coin,
            subscribe,
            authorize,
            version_mask: 0xffff_ffff,
        };
        let adopted = DIALECT.adopt(world.setting.seat(), &past);
        let adopted = adopted.map_err(|error| error.to_string())?;
        assert_eq!(adopted.rung, Rung::Echo);
        assert_eq!(adopted.worker.as_str().split('.').next(), Some(adopted.sub_account.as_str()));
        world.session = adopted.session;
        world.twin = world.session.save(1);
        Ok(world)
    }

    /// What a program that relays is told.
    pub(crate) fn hand_back(&self) -> Option<HandBack> {
        self.session.hand_back()
    }

    /// A session whose miner mines on leg 1 with fold, E = `80`, s = 3, P = `aabbccdd`, b = 8. Its
    /// first job has the id `00j1`.
    pub(crate) fn mining() -> Self {
        let mut world = Self::new();
        world.subscribe_and_authorize("cgminer/4.11.1");
        world.leg_up(1, &Value::Null);
        world.serve(1, "aabbccdd", 8);
        world.cut_over(1);
        world.pool(1, r#"{"id":null,"method":"mining.set_difficulty","params":[1024]}"#);
        world.pool(1, &job("j1"));
        world
    }

    /// The miner's side of a login.
    pub(crate) fn subscribe_and_authorize(&mut self, agent: &str) {
        self.miner(&format!(r#"{{"id":1,"method":"mining.subscribe","params":["{agent}"]}}"#));
        self.miner(r#"{"id":2,"method":"mining.authorize","params":["alice.rig","x"]}"#);
        self.assigned("btc", "alice");
    }

    /// The pool's side of a handshake without configure, in the order of an ordinary pool.
    pub(crate) fn serve(&mut self, leg: u32, extranonce1: &str, size: u8) -> Vec<String> {
        let first = format!(
            r#"{{"id":1,"result":[[["mining.notify","x"]],"{extranonce1}",{size}],"error":null}}"#
        );
        let mut asked = self.pool(leg, &first);
        asked.extend(self.pool(leg, r#"{"id":2,"result":true,"error":null}"#));
        asked
    }

    /// A leg brought up to where the miner can be cut over: with difficulty and job.
    pub(crate) fn prepare(&mut self, leg: u32, extranonce1: &str, difficulty: u32, id: &str) {
        self.leg_up(leg, &Value::Null);
        self.serve(leg, extranonce1, 8);
        self.pool(
            leg,
            &format!(r#"{{"id":null,"method":"mining.set_difficulty","params":[{difficulty}]}}"#),
        );
        self.pool(leg, &job(id));
    }

    pub(crate) fn miner(&mut self, line: &str) -> Vec<String> {
        let mut asked = Vec::new();
        let mut rest = [line.as_bytes(), b"\n"].concat();
        while let Cut::Frame(end) = self.session.cut(Side::Downstream, &rest) {
            let frame: Vec<u8> = rest.drain(..end).collect();
            asked.extend(self.input(Input::Frame(Side::Downstream, &frame)));
        }
        asked
    }

    pub(crate) fn pool(&mut self, leg: u32, line: &str) -> Vec<String> {
        let frame = [line.as_bytes(), b"\n"].concat();
        self.input(Input::Frame(Side::Upstream(LegId(leg)), &frame))
    }

    pub(crate) fn leg_up(&mut self, leg: u32, options: &Value) -> Vec<String> {
        let profile = profile(&format!("pool{leg}"), options);
        self.leg_up_with(leg, &profile)
    }

    pub(crate) fn leg_up_with(&mut self, leg: u32, profile: &Profile) -> Vec<String> {
        self.leg_up_in(leg, profile, 0)
    }

    /// With a form of handshake behind the first.
    pub(crate) fn leg_up_in(&mut self, leg: u32, profile: &Profile, form: u8) -> Vec<String> {
        self.input(Input::LegUp { leg: LegId(leg), profile, form, rungs: Rungs::ALL })
    }

    pub(crate) fn cut_over(&mut self, leg: u32) -> Vec<String> {
        self.input(Input::CutOver(LegId(leg)))
    }

    pub(crate) fn assigned(&mut self, coin: &str, canonical_name: &str) -> Vec<String> {
        let coin = Coin::new(coin);
        self.input(Input::Assigned { coin: &coin, canonical_name })
    }

    /// Gives one input to both sessions and returns what they ask for, one text per line or action.
    pub(crate) fn input(&mut self, input: Input<'_>) -> Vec<String> {
        let mut twin =
            DIALECT.resume(self.setting.seat(), &self.twin).expect("saved state can be resumed");
        let mut twin_out = Outbox::new();
        self.out.clear();

        let outcome = self.session.handle(self.now, input, &mut self.out);
        let twin_outcome = twin.handle(self.now, input, &mut twin_out);

        let asked = render(&self.out, outcome);
        assert_eq!(render(&twin_out, twin_outcome), asked, "the resumed session differs");
        self.twin = twin.save(1);
        assert_eq!(self.twin, self.session.save(1), "the resumed session is in another state");
        asked
    }

    /// The saved state as JSON.
    pub(crate) fn state(&self) -> Value {
        serde_json::from_str(&self.session.save(1).state).expect("saved state is JSON")
    }

    /// What the session says about itself.
    pub(crate) fn described(&self) -> Value {
        let mut all = json!({});
        self.session.describe(&mut |name, value| all[name] = json!(value.to_string()));
        all
    }
}

fn render(out: &Outbox, outcome: Result<(), Fault>) -> Vec<String> {
    let mut asked = Vec::new();
    for action in out.actions() {
        match action {
            Action::Send(side, range) => {
                let sent = std::str::from_utf8(out.sent(range)).expect("tests speak UTF-8");
                assert!(sent.ends_with('\n'), "whole lines are sent: {sent:?}");
                for line in sent.lines() {
                    if line.is_empty() {
                        asked.push(format!("line end to {side:?}"));
                        continue;
                    }
                    serde_json::from_str::<Value>(line).expect("what is sent is JSON");
                    asked.push(match side {
                        Side::Downstream => format!("down {line}"),
                        Side::Upstream(leg) => format!("up{leg} {line}"),
                    });
                }
            }
            Action::Identify { sub_account, worker } => {
                asked.push(format!("identify {sub_account} {worker}"));
            }
            Action::LegReady(leg, rung) => asked.push(format!("ready {leg} {}", rung.label())),
            Action::LegRefused { leg, retry, why } => {
                asked.push(format!("refuse {leg} {retry:?} {why}"));
            }
            Action::Forward(Side::Downstream) => asked.push("forward down".into()),
            Action::Forward(Side::Upstream(leg)) => asked.push(format!("forward up{leg}")),
            Action::Submitted(leg) => asked.push(format!("submitted {leg}")),
            Action::Share { leg, verdict, difficulty } => {
                let leg = leg.map_or("-".into(), |leg| leg.to_string());
                asked.push(format!("share {leg} {verdict:?} {difficulty}"));
            }
            Action::Disregard(fault) => asked.push(format!("disregard {fault}")),
            Action::WakeAt(time) => asked.push(format!("wake {}", time.0)),
            Action::Learn { leg, fact } => asked.push(format!("learn {leg} {fact}")),
            Action::Close { why } => asked.push(format!("close {why}")),
            Action::ReplaceLeg { leg, why, hint } => {
                let mut text = format!("replace {leg} {why}");
                if let Some(hint) = hint {
                    let _ = write!(text, " {}:{}", hint.host, hint.port);
                }
                asked.push(text);
            }
            // What the engine is told for its own books is not looked at here.
            _ => {}
        }
    }
    if let Err(fault) = outcome {
        asked.push(format!("fault {fault}"));
    }
    asked
}
