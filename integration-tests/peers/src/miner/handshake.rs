//! How known miners introduce themselves, as data.
//!
//! The orders, ids and parameters follow the programs' sources and published logs. A step's
//! parameters may hold `$agent`, `$worker`, `$password` and `$session`; a `$session` the miner does
//! not have is left out.

use serde_json::{Value, json};

/// One thing a miner does while it introduces itself.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Step {
    /// A request that must be answered, in order with the others of this kind.
    Ask {
        /// Method of the request.
        method: &'static str,
        /// Its parameters, with placeholders.
        params: Value,
        /// An id of its own instead of the next number.
        id: Option<Value>,
    },
    /// Waits until everything asked so far is answered.
    Await,
    /// A request that pools may leave unanswered.
    Tell {
        /// Method of the request.
        method: &'static str,
        /// Its parameters, with placeholders.
        params: Value,
        /// An id of its own instead of the next number; null for none.
        id: Option<Value>,
    },
}

/// The way a miner program introduces itself.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Handshake {
    /// What it calls itself in subscribe.
    pub agent: String,
    /// What it does, in order. Steps between two [`Step::Await`] go out in one write.
    pub steps: Vec<Step>,
    /// Id of its first numbered request.
    pub first_id: u64,
    /// One id for all submits, as in pooler's cpuminer.
    pub submit_id: Option<u64>,
    /// Whether an answer must have both a `result` and an `error` member.
    pub needs_error_member: bool,
    /// Whether it answers `mining.ping` with a method, as AxeOS does.
    pub pongs_with_method: bool,
}

fn ask(method: &'static str, params: Value) -> Step {
    Step::Ask { method, params, id: None }
}

fn tell(method: &'static str, params: Value) -> Step {
    Step::Tell { method, params, id: None }
}

fn configure(options: &Value) -> Step {
    ask("mining.configure", json!([["version-rolling"], options]))
}

fn subscribe() -> Step {
    ask("mining.subscribe", json!(["$agent", "$session"]))
}

fn authorize() -> Step {
    ask("mining.authorize", json!(["$worker", "$password"]))
}

fn extranonce_subscribe() -> Step {
    tell("mining.extranonce.subscribe", json!([]))
}

impl Handshake {
    /// A handshake of these steps, with ids from 1.
    pub fn new(agent: impl Into<String>, steps: Vec<Step>) -> Self {
        Self {
            agent: agent.into(),
            steps,
            first_id: 1,
            submit_id: None,
            needs_error_member: false,
            pongs_with_method: false,
        }
    }

    /// cgminer with a driver that rolls versions: one request after the other, ids from 0.
    pub fn cgminer() -> Self {
        let steps = vec![
            configure(&json!({"version-rolling.mask": "ffffffff"})),
            Step::Await,
            subscribe(),
            Step::Await,
            authorize(),
            Step::Await,
        ];
        Self { first_id: 0, ..Self::new("cgminer/4.10.0", steps) }
    }

    /// cgminer with a driver that does not roll versions, as on old hardware.
    pub fn cgminer_without_rolling() -> Self {
        let steps = vec![subscribe(), Step::Await, authorize(), Step::Await];
        Self { first_id: 0, ..Self::new("cgminer/4.2.0", steps) }
    }

    /// Antminer's bmminer with `#xnsub` in the URL: high ids, extranonce subscription between
    /// subscribe and authorize, `mining.multi_version` behind it.
    pub fn bmminer() -> Self {
        let steps = vec![
            configure(
                &json!({"version-rolling.mask": "1fffe000", "version-rolling.min-bit-count": 2}),
            ),
            Step::Await,
            subscribe(),
            Step::Await,
            extranonce_subscribe(),
            authorize(),
            Step::Await,
            tell("mining.multi_version", json!([4])),
        ];
        Self { first_id: 2_941_000, ..Self::new("bmminer/2.0.0/Antminer S19/13050", steps) }
    }

    /// AxeOS from 2.9 on: everything in one write, extranonce subscription after authorize. Needs
    /// the `error` member in answers.
    pub fn axeos() -> Self {
        let steps = vec![
            configure(&json!({"version-rolling.mask": "ffffffff"})),
            ask("mining.subscribe", json!(["$agent"])),
            authorize(),
            tell("mining.suggest_difficulty", json!([1000])),
            Step::Await,
            extranonce_subscribe(),
        ];
        Self {
            needs_error_member: true,
            pongs_with_method: true,
            ..Self::new("bitaxe/BM1370/v2.9.0", steps)
        }
    }

    /// AxeOS up to 2.1 and `NerdQAxe`: subscribe before configure.
    pub fn nerdqaxe() -> Self {
        let steps = vec![
            ask("mining.subscribe", json!(["$agent"])),
            Step::Await,
            configure(&json!({"version-rolling.mask": "1fffe000"})),
            authorize(),
            tell("mining.suggest_difficulty", json!([1000])),
            extranonce_subscribe(),
            Step::Await,
        ];
        Self { pongs_with_method: true, ..Self::new("nerdqaxe/BM1368/v1.0.10", steps) }
    }

    /// `NerdMiner`: no rolling, a fractional suggestion behind authorize.
    pub fn nerdminer() -> Self {
        let steps = vec![
            ask("mining.subscribe", json!(["$agent"])),
            Step::Await,
            authorize(),
            tell("mining.suggest_difficulty", json!([0.0001])),
            Step::Await,
        ];
        Self::new("NerdMinerV2", steps)
    }

    /// pooler's cpuminer: ids 1 and 2, then 4 for every submit.
    pub fn cpuminer() -> Self {
        let steps = vec![subscribe(), Step::Await, authorize(), Step::Await];
        Self { submit_id: Some(4), ..Self::new("cpuminer/2.5.1", steps) }
    }

    /// cpuminer-multi: ids 1 and 2, extranonce subscription behind them, then 4 for every submit.
    pub fn cpuminer_multi() -> Self {
        let steps =
            vec![subscribe(), Step::Await, authorize(), extranonce_subscribe(), Step::Await];
        Self { submit_id: Some(4), ..Self::new("cpuminer-multi/1.3.7", steps) }
    }

    /// Antminer DR3 and DR5 for Decred: cgminer that has no version to roll.
    pub fn antminer_dr3() -> Self {
        Self { agent: "cgminer/4.9.0".into(), ..Self::cgminer_without_rolling() }
    }

    /// cpuminer-opt: a suggestion that is a string, extranonce subscription after authorize.
    pub fn cpuminer_opt() -> Self {
        let steps = vec![
            subscribe(),
            Step::Await,
            authorize(),
            Step::Await,
            tell("mining.suggest_difficulty", json!(["0.001"])),
            extranonce_subscribe(),
        ];
        Self::new("cpuminer-opt/3.23.4", steps)
    }

    /// bfgminer: messages without an id before subscribe, ids that are words.
    pub fn bfgminer() -> Self {
        let named = |step: Step, name: &str| match step {
            Step::Ask { method, params, .. } => Step::Ask { method, params, id: Some(json!(name)) },
            Step::Tell { method, params, .. } => {
                Step::Tell { method, params, id: Some(json!(name)) }
            }
            Step::Await => Step::Await,
        };
        let unnamed = |method, params| Step::Tell { method, params, id: Some(Value::Null) };
        let target = format!("00000000ffff{}", "0".repeat(52));
        let steps = vec![
            unnamed("mining.suggest_target", json!([target])),
            unnamed("mining.capabilities", json!([{"notify": [], "set_difficulty": {}}])),
            ask("mining.subscribe", json!(["$agent", "$session"])),
            Step::Await,
            named(extranonce_subscribe(), "xnsub"),
            named(authorize(), "auth"),
            Step::Await,
        ];
        Self { first_id: 0, ..Self::new("bfgminer/5.5.0", steps) }
    }

    /// Whatsminer's btminer: a session id when it has one, ids that go on over reconnects.
    pub fn whatsminer() -> Self {
        let steps = vec![
            configure(
                &json!({"version-rolling.mask": "1fffe000", "version-rolling.min-bit-count": 2}),
            ),
            Step::Await,
            subscribe(),
            Step::Await,
            authorize(),
            Step::Await,
        ];
        Self { first_id: 87, ..Self::new("whatsminer/v1.1", steps) }
    }

    /// `LuxOS`: three requests at once, extranonce subscription asked through configure.
    pub fn luxos() -> Self {
        let extensions = json!([
            ["version-rolling", "minimum-difficulty", "subscribe-extranonce"],
            {"version-rolling.mask": "1fffe000", "version-rolling.min-bit-count": 2,
             "minimum-difficulty.value": 1}
        ]);
        let steps = vec![
            ask("mining.configure", extensions),
            ask("mining.subscribe", json!(["$agent"])),
            authorize(),
            Step::Await,
        ];
        Self::new("LUXminer/2024.1.1", steps)
    }

    /// Braiins OS: a null session id and the pool's address in subscribe.
    pub fn bosminer() -> Self {
        let steps = vec![
            configure(&json!({"version-rolling.mask": "ffffffff"})),
            Step::Await,
            ask("mining.subscribe", json!(["$agent", null, "127.0.0.1:3333", null])),
            authorize(),
            Step::Await,
        ];
        Self { first_id: 0, ..Self::new("bosminer-plus-tuner 0.9.0", steps) }
    }

    /// Every handshake above, for tests that must hold for all.
    pub fn all() -> Vec<Self> {
        vec![
            Self::axeos(),
            Self::bfgminer(),
            Self::bmminer(),
            Self::bosminer(),
            Self::cgminer(),
            Self::cgminer_without_rolling(),
            Self::cpuminer(),
            Self::cpuminer_multi(),
            Self::cpuminer_opt(),
            Self::luxos(),
            Self::nerdminer(),
            Self::nerdqaxe(),
            Self::whatsminer(),
        ]
    }
}

/// Fills the placeholders of a step's parameters in.
pub(super) fn fill(params: &Value, value_of: impl Fn(&str) -> Option<String>) -> Value {
    let Value::Array(items) = params else { return params.clone() };
    let filled = items.iter().filter_map(|item| match item.as_str() {
        Some(name) if name.starts_with('$') => value_of(name).map(Value::String),
        _ => Some(item.clone()),
    });
    Value::Array(filled.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_and_a_missing_session_is_left_out() {
        let params = json!(["$agent", "$session", 1]);
        let known = |name: &str| (name == "$agent").then(|| "cgminer".to_owned());
        assert_eq!(fill(&params, known), json!(["cgminer", 1]));
    }

    #[test]
    fn every_miner_subscribes_and_authorizes() {
        for handshake in Handshake::all() {
            for wanted in ["mining.subscribe", "mining.authorize"] {
                let asks =
                    |step: &Step| matches!(step, Step::Ask { method, .. } if *method == wanted);
                assert!(handshake.steps.iter().any(asks), "{}: {wanted}", handshake.agent);
            }
        }
    }
}
