//! One reading of one sub-account: resolves its spelling, reads its coin, and leaves a watch
//! behind. Keeps no state; what a reading means is decided in [`crate::accounts`].

use std::sync::Arc;

use switcher_plugin::SubAccount;

use crate::layout::{Layout, name_of};
use crate::ops::{ZkFault, ZkOps};

/// Longer values, in bytes, are not fetched a second time.
pub(crate) const BULKY: usize = 4096;
/// A node may come and go between two calls; this often it may do so within one reading.
const ROUNDS: usize = 4;

/// Why a reading is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    Audit,
    Rearm,
    Later,
    Newcomer,
    Event,
    /// Its registration has been answered.
    Registered,
}

/// What is to be read, and how.
#[derive(Debug, Clone)]
pub(crate) struct ReadOrder {
    pub(crate) sub_account: SubAccount,
    /// Tells this stay of the sub-account from earlier ones.
    pub(crate) stay: u64,
    pub(crate) cause: Cause,
    /// Its canonical spelling, if settled.
    pub(crate) name: Option<Arc<str>>,
    /// The last transaction seen.
    pub(crate) seen: Option<i64>,
    /// Ask for the node's state before its value: there is probably nothing new, or too much.
    pub(crate) look_first: bool,
    /// Leave a watch if there is no node. Not for newcomers: they are often turned away, and
    /// nothing takes a watch back.
    pub(crate) watch_absent: bool,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Absent,
    /// Too long to be the name of a coin.
    Bulky {
        length: usize,
        mzxid: i64,
    },
    Unchanged,
    Value {
        data: Vec<u8>,
        mzxid: i64,
    },
}

/// A finished reading.
#[derive(Debug)]
pub(crate) struct ReadDone {
    pub(crate) order: ReadOrder,
    /// The spelling from the index, if it was found there in this reading.
    pub(crate) indexed: Option<Arc<str>>,
    /// Its index node names nothing.
    pub(crate) bad_index: bool,
    pub(crate) result: Result<Found, Trouble>,
}

/// A reading that came to nothing, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) path: String,
    pub(crate) fault: ZkFault,
}

/// Carries out an order.
pub(crate) async fn carry_out(
    ops: Arc<dyn ZkOps>,
    layout: Arc<Layout>,
    order: ReadOrder,
) -> ReadDone {
    let mut done = ReadDone { order, indexed: None, bad_index: false, result: Ok(Found::Absent) };
    let index = match done.order.name {
        Some(_) => None,
        None => layout.index_path(&done.order.sub_account),
    };
    for _ in 0..ROUNDS {
        if let (Some(path), None) = (&index, &done.indexed) {
            match look_up(&*ops, path, done.order.watch_absent).await {
                Ok(Indexed::Absent) => {}
                Ok(Indexed::Name(name)) => done.indexed = Some(name),
                Ok(Indexed::Useless) => done.bad_index = true,
                Err(fault) => {
                    done.result = Err(Trouble { path: path.clone(), fault });
                    return done;
                }
            }
        }
        let name = done.order.name.as_ref().or(done.indexed.as_ref());
        let path = layout.coin_path(name.map_or(done.order.sub_account.as_str(), |name| name));
        match read_coin(&*ops, &path, &done.order).await {
            Ok(Some(found)) => {
                done.result = Ok(found);
                return done;
            }
            Ok(None) => {}
            Err(fault) => {
                done.result = Err(Trouble { path, fault });
                return done;
            }
        }
    }
    // It comes and goes faster than we can look. Later is soon enough.
    let path = layout.coin_path(done.order.sub_account.as_str());
    done.result = Err(Trouble { path, fault: ZkFault::Late });
    done
}

enum Indexed {
    Absent,
    Name(Arc<str>),
    Useless,
}

async fn look_up(ops: &dyn ZkOps, path: &str, watch_absent: bool) -> Result<Indexed, ZkFault> {
    match ops.read(path, true).await {
        Ok((data, _)) => {
            Ok(name_of(&data).map_or(Indexed::Useless, |name| Indexed::Name(Arc::from(name))))
        }
        Err(ZkFault::NoNode) => {
            if watch_absent && ops.exists(path, true).await?.is_some() {
                let (data, _) = ops.read(path, true).await?;
                return Ok(name_of(&data).map_or(Indexed::Useless, |n| Indexed::Name(Arc::from(n))));
            }
            Ok(Indexed::Absent)
        }
        Err(fault) => Err(fault),
    }
}

/// None if the node appeared or vanished between two calls.
async fn read_coin(
    ops: &dyn ZkOps,
    path: &str,
    order: &ReadOrder,
) -> Result<Option<Found>, ZkFault> {
    if order.look_first {
        match ops.exists(path, true).await? {
            None => return Ok(Some(Found::Absent)),
            Some(stat) if order.seen == Some(stat.mzxid) => return Ok(Some(Found::Unchanged)),
            Some(stat) if stat.length > BULKY => {
                return Ok(Some(Found::Bulky { length: stat.length, mzxid: stat.mzxid }));
            }
            Some(_) => {}
        }
    }
    match ops.read(path, true).await {
        Ok((data, stat)) if data.len() > BULKY => {
            Ok(Some(Found::Bulky { length: data.len(), mzxid: stat.mzxid }))
        }
        Ok((data, stat)) => Ok(Some(Found::Value { data, mzxid: stat.mzxid })),
        Err(ZkFault::NoNode) if order.watch_absent => {
            Ok(ops.exists(path, true).await?.is_none().then_some(Found::Absent))
        }
        Err(ZkFault::NoNode) => Ok(Some(Found::Absent)),
        Err(fault) => Err(fault),
    }
}
