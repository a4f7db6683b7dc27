//! The machine's state as it travels through a freeze.

use serde::{Deserialize, Serialize};
use switcher_plugin::{
    Coin, DialectSession, LegId, Millis, Rung, Saved, SessionId, SubAccount, WorkerName,
};

use super::{Leg, Machine, RetryState, Role, SentBack, Who};
use crate::board::Standing;
use crate::plan::Plan;

/// A machine at rest. Pools go by name, as their numbers differ from one configuration to another.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SavedMachine {
    id: SessionId,
    family: Box<str>,
    opened: Millis,
    who: Option<(SubAccount, WorkerName)>,
    waiting: Option<Millis>,
    coin: Option<Coin>,
    canonical: Option<Box<str>>,
    legs: Vec<SavedLeg>,
    next_leg: u32,
    poolless: Option<Millis>,
    was_served: bool,
    wake: Option<Millis>,
    faults: u32,
    last_share: Option<Millis>,
    accepted: u32,
    rejected: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sent: Option<Box<SentBack>>,
    dialect: Saved,
}

/// A leg at rest. Legs that were still being dialled are not saved: they are dialled anew.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SavedLeg {
    /// Its number.
    pub id: LegId,
    /// Its coin.
    pub coin: Coin,
    /// Its pool.
    pub pool: String,
    /// What it is for.
    pub role: Role,
    rung: Option<Rung>,
    outstanding: u32,
    form: u8,
    since: Millis,
    last_line: Millis,
    last_job: Millis,
    oldest_submit: Millis,
    can_serve: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    jobless: bool,
    replace: bool,
}

/// What a machine begins with whose session another program has relayed.
pub(crate) struct Foundling<'a> {
    pub(crate) id: SessionId,
    pub(crate) now: Millis,
    pub(crate) family: &'a str,
    pub(crate) coin: Coin,
    pub(crate) leg: LegId,
    pub(crate) pool: &'a str,
    pub(crate) dialect: Saved,
    pub(crate) rung: Rung,
    pub(crate) who: (SubAccount, WorkerName),
}

impl SavedMachine {
    /// That of a session whose leg serves it.
    pub(crate) fn adopted(found: Foundling<'_>) -> Self {
        let Foundling { id, now, family, coin, leg, pool, dialect, rung, who } = found;
        let saved = SavedLeg {
            id: leg,
            coin: coin.clone(),
            pool: pool.to_owned(),
            role: Role::Active,
            rung: Some(rung),
            outstanding: 0,
            form: 0,
            since: now,
            last_line: now,
            last_job: now,
            oldest_submit: now,
            can_serve: false,
            jobless: true,
            replace: false,
        };
        Self {
            id,
            family: family.into(),
            opened: now,
            who: Some(who),
            waiting: None,
            coin: Some(coin),
            canonical: None,
            legs: vec![saved],
            next_leg: leg.0.wrapping_add(1),
            poolless: None,
            was_served: true,
            wake: None,
            faults: 0,
            last_share: None,
            accepted: 0,
            rejected: 0,
            sent: None,
            dialect,
        }
    }

    /// The state of the dialect's session.
    pub fn dialect(&self) -> &Saved {
        &self.dialect
    }

    /// The state of the dialect's session, to be written by another text.
    pub(crate) fn dialect_mut(&mut self) -> &mut Saved {
        &mut self.dialect
    }

    /// The session's number.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The legs, in the order their sockets are to be given back.
    pub fn legs(&self) -> &[SavedLeg] {
        &self.legs
    }

    /// The sub-account and the worker, if the miner has said who it is.
    pub fn who(&self) -> Option<(&SubAccount, &WorkerName)> {
        self.who.as_ref().map(|(sub_account, worker)| (sub_account, worker))
    }
}

impl Machine {
    /// The state, with the dialect's in the version given.
    pub fn save(&self, plan: &Plan, version: u16) -> SavedMachine {
        let saved_leg = |leg: &Leg| {
            let pool = plan.pool(leg.pool?).name.clone();
            (leg.role != Role::Dialling).then(|| SavedLeg {
                id: leg.id,
                coin: leg.coin.clone(),
                pool,
                role: leg.role,
                rung: leg.rung,
                outstanding: leg.outstanding,
                form: leg.form,
                since: leg.since,
                last_line: leg.last_line,
                last_job: leg.last_job,
                oldest_submit: leg.oldest_submit,
                can_serve: leg.can_serve,
                jobless: !leg.has_job,
                replace: leg.replace,
            })
        };
        SavedMachine {
            id: self.id,
            family: self.family.clone(),
            opened: self.opened,
            who: self.who.as_ref().map(|who| (who.sub_account.clone(), who.worker.clone())),
            waiting: self.waiting,
            coin: self.coin.clone(),
            canonical: self.canonical.clone(),
            legs: self.legs.iter().filter_map(saved_leg).collect(),
            next_leg: self.next_leg,
            poolless: self.poolless,
            was_served: self.was_served,
            wake: self.wake,
            faults: self.faults,
            last_share: self.last_share,
            accepted: self.accepted,
            rejected: self.rejected,
            sent: self.sent.clone(),
            dialect: self.dialect.save(version),
        }
    }

    /// The machine as it was. `standing` is what the board knows by now; a leg whose pool is no
    /// longer configured is to be reported lost by the caller.
    pub fn resume(
        saved: SavedMachine,
        dialect: Box<dyn DialectSession>,
        standing: Option<Standing>,
        plan: &Plan,
    ) -> Self {
        let leg = |leg: &SavedLeg| Leg {
            pool: plan.pool_named(&leg.pool),
            role: leg.role,
            rung: leg.rung,
            outstanding: leg.outstanding,
            since: leg.since,
            last_line: leg.last_line,
            last_job: leg.last_job,
            oldest_submit: leg.oldest_submit,
            can_serve: leg.can_serve,
            has_job: !leg.jobless,
            replace: leg.replace,
            ..Leg::new(leg.id, leg.coin.clone(), leg.form, leg.since)
        };
        let active = saved.legs.iter().find(|leg| leg.role == Role::Active).map(|leg| leg.id);
        Self {
            id: saved.id,
            dialect,
            family: saved.family,
            opened: saved.opened,
            who: saved.who.map(|(sub_account, worker)| Who { sub_account, worker }),
            waiting: saved.waiting,
            news: standing,
            coin: saved.coin,
            canonical: saved.canonical,
            legs: saved.legs.iter().map(leg).collect(),
            next_leg: saved.next_leg,
            active,
            poolless: saved.poolless,
            was_served: saved.was_served,
            retry: RetryState::default(),
            wake: saved.wake,
            faults: saved.faults,
            closing: None,
            handing_back: false,
            trouble: None,
            last_share: saved.last_share,
            accepted: saved.accepted,
            rejected: saved.rejected,
            sent: saved.sent,
        }
    }
}
