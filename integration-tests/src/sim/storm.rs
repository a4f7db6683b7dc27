//! The plot of a case: storms, in which anything may happen, and calms, after which everything must
//! be in its place.

use std::rc::Rc;

use serde_json::json;
use switcher_core::board::Known;
use switcher_core::session::machine::Machine;
use switcher_plugin::Coin;

use super::Manner;
use super::outside::{LinkState, Parcel};
use super::pool::Health;
use super::scene::COINS;
use super::stage::Stage;

/// How long a calm lasts: longer than every pause and deadline of the machine's together.
const CALM_MS: u64 = 200_000;

impl Stage {
    /// So many things happen, one after the other.
    pub(crate) fn storm(&mut self, steps: u32) {
        for _ in 0..steps {
            if self.books.broken.is_some() {
                return;
            }
            self.begin();
            self.step();
            let pause = match self.dice.below(100) {
                0 => self.dice.below(700_000),
                1..=9 => self.dice.below(40_000),
                10..=49 => self.dice.below(2_000),
                _ => self.dice.below(60),
            };
            self.advance(pause);
        }
    }

    fn step(&mut self) {
        match self.dice.below(100) {
            0..=7 => self.assign(),
            8..=15 => self.pool_changes(),
            16..=35 => self.pool_acts(),
            36..=41 => self.freeze(),
            42..=47 => {
                let mut dice = self.dice.clone();
                self.miner.anything(&mut dice);
                self.dice = dice;
            }
            48..=52 => {
                let mut dice = self.dice.clone();
                self.miner.want_work(&mut dice);
                self.dice = dice;
            }
            53 => self.outside.short = self.dice.chance(50),
            54 => self.outside.extra_limit = self.dice.index(3),
            _ => self.finds_share(false),
        }
        let len = if self.dice.chance(25) { self.dice.index(200) } else { usize::MAX };
        self.deliver_miner(len);
    }

    fn finds_share(&mut self, latest: bool) {
        let mut dice = self.dice.clone();
        self.miner.share(latest, &mut dice, &mut self.books);
        self.dice = dice;
    }

    fn assign(&mut self) {
        let coin = Coin::new(*self.dice.pick(&COINS));
        let usual = Coin::new(*self.dice.pick(&["btc", "bch"]));
        let verdict = match self.dice.below(12) {
            0 => Known::Unknown,
            1 => Known::Nothing,
            2 => Known::Registering,
            3 => Known::RegistrationRefused,
            4 => Known::Default(coin),
            5 => Known::Assigned(coin),
            _ => Known::Assigned(usual),
        };
        self.news(verdict);
    }

    fn set_health(&mut self, pool: usize, health: Health) {
        let now = self.now();
        self.books.note(|| format!("{} pool {pool} {health:?}", now.0));
        if let Some(place) = self.outside.health.get_mut(pool) {
            *place = health;
        }
        self.disturb(pool);
    }

    /// A pool has done something that a session may suffer from.
    fn disturb(&mut self, pool: usize) {
        let is_well = self.outside.health_of(pool) == Health::Well;
        let since = is_well.then_some(self.now());
        if let Some(place) = self.well_since.get_mut(pool) {
            *place = since;
        }
    }

    fn pool_changes(&mut self) {
        let pool = self.dice.index(self.scene.pools.len());
        let health = *self.dice.pick(&[
            Health::Well,
            Health::Well,
            Health::Well,
            Health::Mute,
            Health::Denies,
            Health::Hangs,
            Health::Odd,
            Health::Refuses,
        ]);
        self.set_health(pool, health);
    }

    /// A pool says something on one of its connections.
    fn pool_acts(&mut self) {
        let at = self.dice.index(self.outside.links.len());
        let mut dice = self.dice.clone();
        let scene = Rc::clone(&self.scene);
        let Some(link) = self.outside.links.get_mut(at) else { return };
        let (number, pool) = (link.number, link.pool.unwrap_or_default());
        let LinkState::Up(connection) = &mut link.state else { return };
        let spec = scene.spec(pool);
        let frame = |value: serde_json::Value| format!("{value}\n").into_bytes();
        let choice = dice.below(20);
        let ready = connection.subscribed;
        let parcel = match choice {
            0..=5 if ready => Parcel::Bytes(connection.job(dice.chance(50), &mut self.books)),
            6..=8 => Parcel::Bytes(connection.difficulty()),
            9..=10 if ready => {
                let mut bytes = connection.extranonce(spec, spec.extranonce2_size, &mut dice);
                if dice.chance(70) {
                    bytes.extend(connection.job(true, &mut self.books));
                }
                Parcel::Bytes(bytes)
            }
            11 if ready => {
                let size = 2 + dice.index(2);
                let mut bytes = connection.extranonce(spec, size, &mut dice);
                bytes.extend(connection.job(true, &mut self.books));
                Parcel::Bytes(bytes)
            }
            12 => {
                let params = json!([]);
                Parcel::Bytes(frame(
                    json!({"id": null, "method": "client.reconnect", "params": params}),
                ))
            }
            13 => {
                Parcel::Bytes(b"{\"id\":77777,\"result\":true,\"error\":null}\nnonsense\n".to_vec())
            }
            14 => {
                Parcel::Bytes(frame(json!({"id": 5, "method": "client.get_version", "params": []})))
            }
            15 => {
                let params = json!(["1fffe000"]);
                Parcel::Bytes(frame(
                    json!({"id": null, "method": "mining.set_version_mask", "params": params}),
                ))
            }
            16 => Parcel::Bytes(frame(
                json!({"id": null, "method": "client.show_message", "params": ["hello"]}),
            )),
            17..=18 => Parcel::Close,
            _ => return,
        };
        if matches!(choice, 9..=12 | 17..=18) {
            self.disturb(pool);
        }
        let after = if dice.chance(70) { 0 } else { dice.below(3_000) };
        self.dice = dice;
        self.outside.post(number, after, parcel);
    }

    /// All is well for a while. Then everything must be in its place.
    pub(crate) fn calm(&mut self) {
        for pool in 0..self.scene.pools.len() {
            self.set_health(pool, Health::Well);
        }
        self.outside.short = false;
        self.outside.extra_limit = 2;
        if self.dice.chance(80) {
            let coin = Coin::new(*self.dice.pick(&["btc", "bch"]));
            self.news(Known::Assigned(coin));
        }
        let (dials, sent_back) = (self.outside.dials, self.sent_back);
        let end = self.now().plus(CALM_MS);
        while self.now() < end && self.books.broken.is_none() {
            self.begin();
            let mut dice = self.dice.clone();
            self.miner.want_work(&mut dice);
            self.dice = dice;
            self.deliver_miner(usize::MAX);
            self.finds_share(false);
            self.deliver_miner(usize::MAX);
            self.advance(7_000);
        }
        let dials = self.outside.dials - dials;
        self.books.hold(dials < 150, || format!("{dials} dials while all is well"));
        let times = self.sent_back - sent_back;
        self.books.hold(times <= 2, || format!("sent back {times} times while all is well"));
        self.check_rest();
    }

    /// Whether the miner can be served by a pool of the coin, if need be after it was sent back.
    fn comes_back_for(&self, coin: &str) -> bool {
        self.scene.manner == Manner::SentBack
            && self.miner.is_agile()
            && self.outside.board.verdict == Known::Assigned(Coin::new(coin))
            && self.scene.servable_anew(self.outside.plan, coin)
    }

    fn check_rest(&mut self) {
        let Some(target) = self.model.target.clone() else { return };
        let lasted = match self.machine {
            Some(_) => self.now().since(self.model.opened),
            None => 0,
        };
        let comes_back = self.comes_back_for(&target);
        if lasted < CALM_MS - 20_000 {
            return self.books.hold(lasted > CALM_MS / 2 || !comes_back, || {
                format!("a miner that comes back for {target} is not kept")
            });
        }
        let unanswered = self.miner.unanswered();
        self.books.hold(unanswered.is_empty() && !self.miner.is_waiting(), || {
            format!("without an answer: {unanswered:?}")
        });
        let Some(own) = self.own() else { return };
        let (plan, can) = (self.outside.plan, self.miner.can_be_told());
        let servable = self.scene.servable(plan, &target, &own, can, &self.proposal());
        if servable.is_empty() && !comes_back {
            return;
        }
        let Some(active) = self.machine.as_ref().and_then(Machine::active) else {
            return self.books.broken(|| "no leg, though all pools are well".to_owned());
        };
        let coin = active.coin.as_str().to_owned();
        let link = self.outside.link_of(active.id);
        let (number, pool) = link.map_or((0, None), |link| (link.number, link.pool));
        self.books.hold(coin == target, || format!("it is on {coin}, not on {target}"));
        // A small extranonce may be the pool's by chance, so that there is room where none was seen.
        let best = servable.first().copied();
        let is_best = best.is_none_or(|best| pool.is_some_and(|pool| pool <= best));
        self.books.hold(is_best, || format!("it is at pool {pool:?}, not at {best:?}"));
        if !self.miner.subscribed {
            return;
        }
        let key = self.miner.work.back().map(|work| work.key);
        let jobs = link.map_or(0, |link| match &link.state {
            LinkState::Up(connection) => connection.jobs,
            LinkState::Dialling(_) => 0,
        });
        // The very last job may still be on its way.
        let is_fresh = key.is_some_and(|(of, no)| of == number && no + 1 >= jobs);
        self.books.hold(is_fresh, || {
            format!("the miner works on {key:?}, its pool is at job {jobs} of {number}")
        });
        let accepted = self.miner.accepted;
        for _ in 0..12 {
            self.finds_share(true);
            self.deliver_miner(usize::MAX);
            self.advance(500);
        }
        self.advance(5_000);
        let is_served = self.machine.is_none() || self.miner.accepted > accepted;
        self.books.hold(is_served, || "no share is accepted, though all is well".to_owned());
    }
}
