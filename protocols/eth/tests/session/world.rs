//! A session under test. Every input goes to two sessions: one lives on, the other is saved and
//! resumed before each input. They must ask for the same, so every test is one of resuming, too.

use dialect_eth::DIALECT;
use serde_json::{Value, json};
use switcher_plugin::{
    Action, Coin, Cut, DialectSession, Fault, HandBack, Input, LegId, ListenerView, Millis, Outbox,
    Past, Profile, Rung, Rungs, Saved, Seat, SessionId, SessionSeat, Side, StratumDialect,
    UpstreamSettings,
};

/// The profile of a pool with these options.
pub(crate) fn profile(options: &Value) -> Profile {
    let coin = Coin::new("eth");
    let settings =
        UpstreamSettings { name: "pool", coin: &coin, user: None, password: None, options };
    DIALECT.profile(&settings).expect("the options of the test are right")
}

/// A session, its twin, and the time.
#[derive(Debug)]
pub(crate) struct World {
    listener: ListenerView,
    session: Box<dyn DialectSession>,
    twin: Saved,
    out: Outbox,
    now: Millis,
}

impl World {
    pub(crate) fn new() -> Self {
        let listener = ListenerView::default();
        let session = DIALECT.open(seat(&listener));
        let twin = session.save(1);
        Self { listener, session, twin, out: Outbox::new(), now: Millis(1_000_000) }
    }

    /// A session that another program has relayed on leg 1, with the id `010080`.
    pub(crate) fn adopted(subscribe: &str, authorize: &str) -> Result<Self, String> {
        let mut world = Self::new();
        let profile = profile(&json!({ "extranonce": "detect" }));
        let coin = Coin::new("eth");
        let past = Past {
            now: world.now,
            leg: LegId(1),
            profile: &profile,
            coin: &coin,
            subscribe,
            authorize,
            version_mask: 0,
        };
        let adopted = DIALECT.adopt(seat(&world.listener), &past);
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

    /// Time passes.
    pub(crate) fn wait(&mut self, ms: u64) {
        self.now = self.now.plus(ms);
    }

    /// A piece of a stream, cut as the session wants it.
    pub(crate) fn bytes(&mut self, side: Side, bytes: &[u8]) -> Vec<String> {
        let (mut asked, mut rest) = (Vec::new(), bytes.to_vec());
        while let Cut::Frame(end) = self.session.cut(side, &rest) {
            let frame: Vec<u8> = rest.drain(..end).collect();
            asked.extend(self.input(Input::Frame(side, &frame)));
            if rest.is_empty() {
                break;
            }
        }
        asked
    }

    /// A session of a miner that speaks a variant and waits for its first leg.
    pub(crate) fn logged_in(variant: &str) -> Self {
        let mut world = Self::new();
        let lines: &[&str] = match variant {
            "ethproxy" => &[r#"{"id":1,"method":"eth_submitLogin","params":["alice","x"]}"#],
            "stratum" => &[
                r#"{"id":1,"method":"mining.subscribe","params":["ethminer"]}"#,
                r#"{"id":2,"method":"mining.authorize","params":["alice.rig","x"]}"#,
            ],
            "nicehash" => &[
                r#"{"id":1,"method":"mining.subscribe","params":["ethminer","EthereumStratum/1.0.0"]}"#,
                r#"{"id":2,"method":"mining.extranonce.subscribe","params":[]}"#,
                r#"{"id":3,"method":"mining.authorize","params":["alice.rig","x"]}"#,
            ],
            _ => &[
                r#"{"id":1,"method":"mining.hello","params":{"agent":"ethminer","proto":"EthereumStratum/2.0.0"}}"#,
                r#"{"id":2,"method":"mining.subscribe"}"#,
                r#"{"id":3,"method":"mining.authorize","params":["alice.rig","x"]}"#,
            ],
        };
        for line in lines {
            world.miner(line);
        }
        world.assigned();
        world
    }

    /// A session that mines on leg 1, at a pool of its own variant.
    pub(crate) fn mining(variant: &str) -> Self {
        let mut world = Self::logged_in(variant);
        world.serve(1, variant);
        world.cut_over(1);
        world
    }

    /// Brings a leg to a pool of this variant up, with a job.
    pub(crate) fn serve(&mut self, leg: u32, variant: &str) {
        self.leg_up(leg, &json!({"variant": variant}));
        let lines: &[&str] = match variant {
            "ethproxy" => &[
                r#"{"id":1,"jsonrpc":"2.0","result":true}"#,
                r#"{"id":0,"jsonrpc":"2.0","result":["0x11","0x22","0x00ff00000000000000000000000000000000000000000000000000000000","0x1"]}"#,
            ],
            "stratum" => &[
                r#"{"id":1,"result":true,"error":null}"#,
                r#"{"id":2,"result":true,"error":null}"#,
                r#"{"id":null,"method":"mining.notify","params":["j1","11","22","ff00000000000000000000000000000000000000000000000000",true]}"#,
            ],
            "nicehash" => &[
                r#"{"id":1,"result":[["mining.notify","ab","EthereumStratum/1.0.0"],"c502"],"error":null}"#,
                r#"{"id":3,"result":true,"error":null}"#,
                r#"{"id":null,"method":"mining.set_difficulty","params":[2]}"#,
                r#"{"id":null,"method":"mining.notify","params":["j1","22","11",true]}"#,
            ],
            _ => &[
                r#"{"id":1,"result":{"proto":"EthereumStratum/2.0.0","encoding":"plain"}}"#,
                r#"{"id":2,"result":"s-1"}"#,
                r#"{"id":3,"result":"w-1"}"#,
                r#"{"method":"mining.set","params":{"epoch":"1","target":"ff00","algo":"ethash","extranonce":"af4c"}}"#,
                r#"{"method":"mining.notify","params":["j1","1","11","1"]}"#,
            ],
        };
        for line in lines {
            self.pool(leg, line);
        }
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
        let profile = profile(options);
        // What operators allow if they say nothing.
        let (leg, rungs) = (LegId(leg), Rungs::ALL.without(Rung::Drop));
        self.input(Input::LegUp { leg, profile: &profile, form: 0, rungs })
    }

    pub(crate) fn cut_over(&mut self, leg: u32) -> Vec<String> {
        self.input(Input::CutOver(LegId(leg)))
    }

    pub(crate) fn assigned(&mut self) -> Vec<String> {
        let coin = Coin::new("eth");
        self.input(Input::Assigned { coin: &coin, canonical_name: "alice" })
    }

    /// Gives one input to both sessions and returns what they ask for, one text per line or action.
    pub(crate) fn input(&mut self, input: Input<'_>) -> Vec<String> {
        let mut twin =
            DIALECT.resume(seat(&self.listener), &self.twin).expect("saved state can be resumed");
        let mut twin_out = Outbox::new();
        self.out.clear();

        let outcome = self.session.handle(self.now, input, &mut self.out);
        let twin_outcome = twin.handle(self.now, input, &mut twin_out);

        let mut asked = render(&self.out, outcome);
        assert_eq!(render(&twin_out, twin_outcome), asked, "the resumed session differs");
        self.twin = twin.save(1);
        assert_eq!(self.twin, self.session.save(1), "the resumed session is in another state");
        if self.out.actions().iter().any(|action| matches!(action, Action::Recall { .. })) {
            asked.extend(self.input(Input::Recalled(None)));
        }
        asked
    }

    /// What the session says about itself.
    pub(crate) fn described(&self) -> Value {
        let mut all = json!({});
        self.session.describe(&mut |name, value| all[name] = json!(value.to_string()));
        all
    }
}

fn seat(listener: &ListenerView) -> Seat<'_> {
    Seat::Miner(SessionSeat {
        session: SessionId(1),
        short_id: 0x01_0080,
        entropy: [0xab; 16],
        peer: Some([192, 168, 1, 10].into()),
        listener,
    })
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
                        asked.push(format!("end of line to {side:?}"));
                        continue;
                    }
                    serde_json::from_str::<Value>(line).expect("what is sent is JSON");
                    asked.push(match side {
                        Side::Downstream => format!("down {line}"),
                        Side::Upstream(leg) => format!("up{leg} {line}"),
                    });
                }
            }
            Action::Share { verdict, .. } => asked.push(format!("share {verdict:?}")),
            Action::Submitted(_) => asked.push("submitted".into()),
            Action::Job(_) => asked.push("job".into()),
            Action::Disregard(fault) => asked.push(format!("disregard {fault}")),
            Action::Identify { worker, .. } => asked.push(format!("identify {worker}")),
            Action::LegRefused { retry, why, .. } => asked.push(format!("refuse {retry:?} {why}")),
            Action::Close { why } => asked.push(format!("close {why}")),
            other => asked.push(format!("{other:?}")),
        }
    }
    if let Err(fault) = outcome {
        asked.push(format!("fault {fault}"));
    }
    asked
}
