//! What a pool does for `BTCAgent`s, as sserver does it: sub-miners are registered in frames, have a
//! difficulty on the jobs that come after that and on no other, and their shares are counted.

use std::collections::BTreeMap;

use super::config::AgentTerms;
use super::judge::{Claim, Refused, Share, breach, honest, job_of, weigh};
use super::record::Refusal;
use super::state::{Connection, State, Work, in_turn};
use crate::frames::{ACCEPT, Frame, FrameShare};

/// What a pool knows about an agent.
#[derive(Debug, Default)]
pub(super) struct AgentSide {
    /// Shares are answered.
    pub(super) answers: bool,
    sub_miners: BTreeMap<u16, SubMiner>,
    next_share: u16,
    next_job: u8,
}

#[derive(Debug)]
struct SubMiner {
    name: String,
    told: Option<u8>,
}

/// What is special about a job for an agent.
pub(super) struct AgentJob {
    pub(super) id: String,
    /// For the agent as a whole.
    pub(super) difficulty: f64,
    pub(super) exponents: BTreeMap<u16, u8>,
    /// Difficulties that are news.
    pub(super) frames: Vec<u8>,
}

impl AgentSide {
    /// The next job: sserver counts a byte per connection.
    pub(super) fn job(&mut self, work: &Work, terms: &AgentTerms) -> AgentJob {
        let exponent = in_turn(&terms.exponents, work.serial).copied().unwrap_or(0);
        let id = self.next_job.to_string();
        self.next_job = self.next_job.wrapping_add(1);
        let mut news = Vec::new();
        for (sid, sub_miner) in &mut self.sub_miners {
            if sub_miner.told.replace(exponent) != Some(exponent) {
                news.push(*sid);
            }
        }
        let frames =
            if news.is_empty() { Vec::new() } else { Frame::Difficulty(exponent, news).to_bytes() };
        let exponents = self.sub_miners.keys().map(|sid| (*sid, exponent)).collect();
        AgentJob { id, difficulty: f64::from(exponent).exp2(), exponents, frames }
    }
}

impl Connection {
    /// After login the frames of an agent are understood.
    pub(super) fn begin_agent(&mut self) {
        let params = self.book.report.subscribe_params.as_deref().unwrap_or_default();
        let name = params.first().and_then(serde_json::Value::as_str).unwrap_or_default();
        if self.agent.is_none() && name.to_lowercase().starts_with("btccom-agent/") {
            self.agent = Some(AgentSide::default());
        }
    }
}

/// Takes one frame from connection `number`.
pub(super) fn hear_frame(state: &mut State, number: usize, bytes: &[u8]) {
    let State { config, connections, seen, .. } = state;
    let Some(connection) = connections.get_mut(number) else { return };
    connection.book.lines.push(format!("< frame {}", hex::encode(bytes)));
    let (Some(terms), Some(agent)) = (&config.agents, &mut connection.agent) else {
        return connection.book.violation("a frame, though no agent has logged in");
    };
    match Frame::read(bytes) {
        Ok(Frame::Register(sid, _, name)) if sid <= 0xfffe => {
            agent.sub_miners.entry(sid).or_insert(SubMiner { name, told: None });
        }
        Ok(Frame::Unregister(sid)) => {
            if agent.sub_miners.remove(&sid).is_none() {
                connection.book.violation(format!("sub-miner {sid} leaves and was not there"));
            }
        }
        Ok(Frame::Share(share)) => {
            if !agent.sub_miners.contains_key(&share.sid) {
                let what = format!("a share of sub-miner {}, who is not registered", share.sid);
                return connection.book.violation(what);
            }
            let index = agent.next_share;
            agent.next_share = index.wrapping_add(1);
            let answers = agent.answers;
            let verdict = judge_frame(config, connection, seen, terms, share);
            let status = match verdict {
                Ok(share) => {
                    connection.book.accept(&share.name, share.difficulty);
                    ACCEPT
                }
                Err(refused) => {
                    if refused.is_violation {
                        connection.book.violation(refused.reason.clone());
                    }
                    let (code, reason) = (refused.code, refused.reason);
                    let line = hex::encode(bytes);
                    connection.book.refuse(Refusal { code, reason, line });
                    i32::try_from(code).unwrap_or(0)
                }
            };
            if answers {
                connection.send_raw(&Frame::Answer(index, status).to_bytes());
            }
        }
        Ok(other) => connection.book.violation(format!("not for a pool: {other:?}")),
        Err(what) => connection.book.violation(what),
    }
}

fn judge_frame(
    config: &super::config::PoolConfig,
    connection: &Connection,
    seen: &mut std::collections::HashMap<u64, std::collections::HashSet<crate::header::Hash>>,
    terms: &AgentTerms,
    share: FrameShare,
) -> Result<Share, Refused> {
    let issued = job_of(connection, &share.job.to_string())?;
    // sserver has no difficulty for those who came after the job, and calls it not found.
    let exponent = issued.exponents.get(&share.sid);
    let exponent = *exponent.ok_or_else(|| honest(21, "the sub-miner came after the job"))?;
    let power = f64::from(exponent).exp2();
    let claim = Claim {
        extranonce2: [u32::from(share.sid).to_be_bytes(), share.extranonce2.to_be_bytes()].concat(),
        ntime: share.ntime.filter(|time| *time != 0).unwrap_or(issued.work.notify.ntime),
        nonce: share.nonce,
        bits: share.bits,
    };
    if issued.extranonce2_size != claim.extranonce2.len() {
        return Err(breach(20, "agents need an extranonce2 of 8 bytes"));
    }
    weigh(config, connection, issued, seen, &claim, terms.unit * power)?;
    let sub_miner = connection.agent.as_ref().and_then(|agent| agent.sub_miners.get(&share.sid));
    let name = sub_miner.map(|sub_miner| sub_miner.name.clone()).unwrap_or_default();
    Ok(Share { name, difficulty: power })
}
