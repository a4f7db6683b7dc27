//! A dialect that fails ends its session and nothing else. What a sound one does is played by the
//! simulation.

use std::fmt;

use switcher_plugin::{Cut, Saved};

use super::*;
use crate::board::Known;

/// Does on every input what a faulty dialect might do.
#[derive(Debug)]
struct Faulty(Action);

impl DialectSession for Faulty {
    fn cut(&self, _: Side, bytes: &[u8]) -> Cut {
        Cut::line(bytes)
    }

    fn handle(&mut self, _: Millis, _: Input<'_>, out: &mut Outbox) -> Result<(), Fault> {
        out.push(self.0.clone());
        Ok(())
    }

    fn save(&self, version: u16) -> Saved {
        Saved { version, state: String::new() }
    }

    fn describe(&self, _: &mut dyn FnMut(&str, fmt::Arguments<'_>)) {}
}

/// Knows no sub-account and keeps count of what concerns these tests.
#[derive(Debug, Default)]
struct Counting {
    failed: Vec<String>,
    identified: usize,
    recalled: usize,
}

impl Host for Counting {
    fn write(&mut self, _: Side, _: &[u8]) {}

    fn dial(&mut self, _: LegId, _: &DialWish<'_>) {}

    fn close_leg(&mut self, _: LegId, _: bool) {}

    fn identify(&mut self, _: &SubAccount, _: &WorkerName) -> Standing {
        self.identified += 1;
        Standing { verdict: Known::Nothing, canonical: None }
    }

    fn forget(&mut self, _: &SubAccount) {}

    fn remember(&mut self, _: &str, _: Note) {}

    fn recall(&mut self, _: &str) -> Option<Note> {
        self.recalled += 1;
        None
    }

    fn better_pool(&mut self, _: PoolId) -> bool {
        false
    }

    fn descriptors_short(&self) -> bool {
        false
    }

    fn tell(&mut self, event: Event<'_>) {
        if let Event::PluginFailed(what) = event {
            self.failed.push(what.to_owned());
        }
    }
}

/// Gives two frames to a session that answers each input with this action.
fn play(action: Action) -> (Counting, Machine) {
    let (mut host, mut outbox) = (Counting::default(), Outbox::new());
    let plan = Plan::empty();
    let mut machine = Machine::new(SessionId(1), "faulty", Box::new(Faulty(action)), Millis(1));
    let mut cx = Cx {
        now: Millis(1),
        plan: &plan,
        rungs: Rungs::NONE,
        outbox: &mut outbox,
        host: &mut host,
    };
    machine.frame(Side::Downstream, b"one\n", &mut cx);
    machine.frame(Side::Downstream, b"two\n", &mut cx);
    (host, machine)
}

#[test]
fn a_dialect_that_recalls_for_ever_ends_its_session() {
    let (host, machine) = play(Action::Recall { key: "me".into() });

    assert_eq!(host.recalled, MOST_RECALLS);
    assert_eq!(host.failed, ["recalls again and again"]);
    assert_eq!(&*machine.closing().unwrap().why, "the dialect recalls again and again");
}

#[test]
fn a_dialect_that_identifies_again_ends_its_session() {
    let (sub_account, worker) = (SubAccount::new("alice"), WorkerName::new("alice.rig"));
    let (host, machine) = play(Action::Identify { sub_account, worker });

    assert_eq!(host.identified, 1);
    assert_eq!(host.failed, ["identifies a second time"]);
    assert!(machine.closing().is_some());
}
