//! What surrounds the session of a script: its dialect, listener, pools and seat. Drives nothing.

use std::sync::Arc;

use super::script::{Header, Script};
use crate::dialect::{ListenerView, PoolView, Seat, SessionSeat, StratumDialect, UpstreamSettings};
use crate::types::{Coin, SessionId};

/// What surrounds a session: made once per script from its header.
#[derive(Debug)]
pub(super) struct World<'a> {
    pub(super) dialect: &'a dyn StratumDialect,
    view: ListenerView,
    pub(super) header: &'a Header,
    pub(super) is_probe: bool,
}

/// Why a step could not be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    /// The dialect broke a rule of the trait.
    #[error("{0}")]
    Rule(String),
    /// The engine would not do this.
    #[error("the engine would not do this: {0}")]
    Script(String),
}

impl<'a> World<'a> {
    pub(super) fn of(
        script: &'a Script,
        dialects: &[&'a dyn StratumDialect],
    ) -> Result<Self, Broken> {
        let header = &script.header;
        let find = |name: Option<&String>| match name {
            None => dialects.first().copied().ok_or_else(|| "no dialect was given".to_owned()),
            Some(name) => dialects
                .iter()
                .copied()
                .find(|dialect| dialect.name() == name)
                .ok_or_else(|| format!("dialect `{name}` was not given")),
        };
        let dialect = find(header.dialect.as_ref()).map_err(Broken::Script)?;
        dialect
            .check_listener(&header.options)
            .map_err(|error| Broken::Script(format!("options: {error}")))?;
        let mut view = ListenerView {
            name: header.listener.clone(),
            options: header.options.clone(),
            pools: Vec::new(),
        };
        for (name, pool) in &header.pools {
            let coin = Coin::new(&pool.coin);
            let owner = match &pool.dialect {
                Some(_) => find(pool.dialect.as_ref()).map_err(Broken::Script)?,
                None => dialect,
            };
            let settings = UpstreamSettings {
                name,
                coin: &coin,
                user: pool.user.as_deref(),
                password: pool.password.as_deref(),
                options: &pool.options,
            };
            let profile = owner
                .profile(&settings)
                .map_err(|error| Broken::Script(format!("pool {name}: {error}")))?;
            let fact = pool.fact.as_ref().map(|fact| Arc::from(fact.to_string()));
            view.pools.push(PoolView { name: name.clone(), coin, profile, fact });
        }
        Ok(Self { dialect, view, header, is_probe: script.is_probe() })
    }

    pub(super) fn seat(&self) -> Seat<'_> {
        let seat = SessionSeat {
            session: SessionId(self.header.session),
            short_id: self.header.short_id,
            entropy: self.header.entropy,
            peer: self.header.peer,
            listener: &self.view,
        };
        if self.is_probe { Seat::Probe(seat) } else { Seat::Miner(seat) }
    }

    pub(super) fn pool(
        &self,
        name: Option<&str>,
        coin: Option<&Coin>,
    ) -> Result<&PoolView, Broken> {
        let pools = &self.view.pools;
        match name {
            Some(name) => pools
                .iter()
                .find(|pool| pool.name == name)
                .ok_or_else(|| Broken::Script(format!("the header has no pool {name}"))),
            None => pools
                .iter()
                .find(|pool| Some(&pool.coin) == coin)
                .or(pools.first().filter(|_| self.is_probe))
                .ok_or_else(|| Broken::Script("the header has no pool of the coin".to_owned())),
        }
    }
}
