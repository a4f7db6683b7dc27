//! A plug-in that misbehaves as it is told: `naughty`, a dialect whose miners say what it shall do
//! wrong, and `flighty`, a coin source whose configuration says it.
//!
//! A line of a miner is `login <name>`, an echo, or a misdeed; a line of a pool goes to the miner.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use async_trait::async_trait;
use switcher_plugin::{
    Action, Assignment, Coin, CoinSource, Cut, DialectSession, Fault, FaultKind, Input, LegId,
    Millis, Notice, Outbox, Profile, ProfileError, Recognition, ResumeError, Rung, Saved, Seat,
    Side, SourceContext, SourceError, SourceState, StratumDialect, SubAccount, UpstreamSettings,
    Wanted, WorkerName,
};
use switcher_plugin_abi::sdk::{Dialect, Source};

switcher_plugin_abi::export_plugin! {
    dialects: [Dialect::new(Naughty, "none").about("misbehaves")],
    sources: [Source::new("flighty", make).about("misbehaves")],
}

/// The dialect.
#[derive(Debug, Clone, Copy)]
pub struct Naughty;

/// A session of it: who the miner is, where it mines, and whether it can be saved.
#[derive(Debug, Default)]
struct Session {
    name: String,
    leg: Option<LegId>,
    lines: u64,
    unsavable: bool,
    cuts_too_much: bool,
}

impl StratumDialect for Naughty {
    fn name(&self) -> &str {
        "naughty"
    }

    fn family(&self) -> &str {
        "naughty"
    }

    fn recognise(&self, first: &[u8]) -> Recognition {
        assert!(!first.starts_with(b"?!"), "recognise was told to panic");
        if first.starts_with(b"{") { Recognition::NotMine } else { Recognition::Mine }
    }

    fn profile(&self, _: &UpstreamSettings<'_>) -> Result<Profile, ProfileError> {
        Ok(Profile(b"{}".as_slice().into()))
    }

    fn check_listener(&self, _: &serde_json::Value) -> Result<(), ProfileError> {
        Ok(())
    }

    fn state_versions(&self) -> RangeInclusive<u16> {
        1..=1
    }

    fn open(&self, _: Seat<'_>) -> Box<dyn DialectSession> {
        Box::new(Session::default())
    }

    fn resume(&self, _: Seat<'_>, saved: &Saved) -> Result<Box<dyn DialectSession>, ResumeError> {
        let mut words = saved.state.split(' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let (name, leg, lines) = (word(), word(), word());
        let lines = lines.parse().map_err(|_| ResumeError::Damaged("no number".to_owned()))?;
        let leg = leg.parse().ok().map(LegId);
        Ok(Box::new(Session { name, leg, lines, ..Session::default() }))
    }
}

impl DialectSession for Session {
    fn cut(&self, _: Side, bytes: &[u8]) -> Cut {
        match Cut::line(bytes) {
            Cut::Frame(_) if self.cuts_too_much => Cut::Frame(bytes.len() + 1),
            cut => cut,
        }
    }

    fn handle(&mut self, _: Millis, input: Input<'_>, out: &mut Outbox) -> Result<(), Fault> {
        match input {
            Input::Frame(Side::Downstream, line) => {
                self.lines += 1;
                return self.line(String::from_utf8_lossy(line).trim_end(), out);
            }
            Input::Frame(_, _) => out.push(Action::Forward(Side::Downstream)),
            Input::LegUp { leg, .. } => out.push(Action::LegReady(leg, Rung::Echo)),
            Input::CutOver(leg) => {
                self.leg = Some(leg);
                out.send(Side::Downstream, b"mining\n");
            }
            Input::Recalled(_) => out.push(Action::Recall { key: "more".into() }),
            Input::Refused(why) => {
                out.send(Side::Downstream, format!("refused {}\n", why.label()).as_bytes());
            }
            _ => {}
        }
        Ok(())
    }

    fn save(&self, version: u16) -> Saved {
        assert!(!self.unsavable, "save was told to panic");
        let leg = self.leg.map_or_else(|| "-".to_owned(), |leg| leg.to_string());
        Saved { version, state: format!("{} {leg} {}", self.name, self.lines) }
    }

    fn describe(&self, field: &mut dyn FnMut(&str, fmt::Arguments<'_>)) {
        field("lines", format_args!("{}", self.lines));
    }
}

impl Session {
    fn line(&mut self, line: &str, out: &mut Outbox) -> Result<(), Fault> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let number = rest.parse().unwrap_or(0);
        match word {
            "login" => {
                self.name = rest.to_owned();
                out.push(Action::Identify {
                    sub_account: SubAccount::new(rest),
                    worker: WorkerName::new(rest),
                });
            }
            "log" => tracing::warn!(lines = self.lines, "said {rest}"),
            "panic" => panic!("handle was told to panic"),
            "fault" => return Err(Fault::downstream(FaultKind::BadParams)),
            "overcut" => self.cuts_too_much = true,
            "flood" => {
                for _ in 0..100_000 {
                    out.send(Side::Downstream, &[b'x'; 1_000]);
                }
            }
            "recall" => out.push(Action::Recall { key: rest.into() }),
            "sleep" => std::thread::sleep(Duration::from_millis(number)),
            "unsavable" => self.unsavable = true,
            _ => {}
        }
        out.send(Side::Downstream, format!("{} {line}\n", self.lines).as_bytes());
        Ok(())
    }
}

/// The source: gives everybody the coin it is told, and posts again after it was stopped if it is
/// told so.
#[derive(Debug)]
struct Flighty {
    coin: Coin,
    gives_up: bool,
    posts_after_stop: bool,
}

fn make(config: &serde_json::Value) -> Result<Box<dyn CoinSource>, ProfileError> {
    let flag = |name: &str| config.get(name).and_then(serde_json::Value::as_bool) == Some(true);
    let Some(coin) = config.get("coin").and_then(serde_json::Value::as_str) else {
        return Err(ProfileError {
            key: "coin".to_owned(),
            problem: "is missing".to_owned(),
            accepted: "write coin = \"btc\"".to_owned(),
        });
    };
    let coin = Coin::new(coin);
    let (gives_up, posts_after_stop) = (flag("gives_up"), flag("posts_after_stop"));
    Ok(Box::new(Flighty { coin, gives_up, posts_after_stop }))
}

#[async_trait]
impl CoinSource for Flighty {
    fn name(&self) -> &str {
        "flighty"
    }

    async fn run(self: Box<Self>, mut context: SourceContext) -> Result<SourceState, SourceError> {
        let board = context.board.clone();
        board.post(Notice::Health { healthy: true, detail: "flies".to_owned() });
        if self.gives_up {
            let problem = "was told to give up".to_owned();
            return Err(SourceError { name: "flighty".to_owned(), problem });
        }
        let runs = context.saved.0.parse::<u64>().unwrap_or(0) + 1;
        while let Some(wanted) = tokio::select! {
            wanted = context.wanted.recv() => wanted,
            _ = context.stop.wait_for(|stop| *stop) => None,
        } {
            if let Wanted::Acquire { sub_account, .. } = wanted {
                let to = Assignment::to(self.coin.clone(), format!("run {runs}"));
                board.post(Notice::Assign(sub_account, to));
            }
        }
        if self.posts_after_stop {
            std::thread::spawn(move || {
                for _ in 0..20 {
                    std::thread::sleep(Duration::from_millis(50));
                    board.post(Notice::Unknown(SubAccount::new("alice")));
                }
            });
        }
        Ok(SourceState(runs.to_string()))
    }
}
