//! What a pool is like: sizes, order of its messages, and its bad habits.
//!
//! Everything here may be changed while the pool runs, through `Pool::reconfigure`.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::agent::UNIT;
use crate::chain::Chain;
use crate::decred::Form;

/// A bad habit of a pool. Several may be combined.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Quirk {
    /// Accepts connections and never sends a byte.
    AcceptsAndNeverAnswers,
    /// Leaves `mining.configure` unanswered, as `ViaBTC` does for extensions it does not know.
    AnswersNoConfigure,
    /// Answers without an `error` member, as Miningcore does.
    AnswersWithoutErrorMember,
    /// Closes right behind the answer to `mining.subscribe`.
    ClosesAfterSubscribe,
    /// Sends its lines in two writes with this pause between them.
    CutsLines(Duration),
    /// Leaves every submit unanswered; jobs go on.
    IgnoresSubmits,
    /// Sends `mining.ping` requests at this interval, and no job ever.
    PingsWithoutJobs(Duration),
    /// Answers subscribe with the string "proxy full" and no error, as ckpool does.
    ProxyFull,
    /// Asks for `client.reconnect` to this host and port right after the authorize answer.
    ReconnectsElsewhere(String, u16),
    /// Refuses every authorize with error 24.
    RefusesAuthorize,
    /// Refuses every authorize with `result: false` and no error.
    RefusesAuthorizeWithFalse,
    /// Answers authorize, then sends nothing more: no difficulty, no job, no answer.
    SilentAfterLogin,
    /// Reads nothing more from its connections, for as long as it has this habit.
    StopsReading,
}

/// When the first difficulty and job are sent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum FirstJob {
    /// Behind the authorize answer, as sserver does.
    #[default]
    AfterAuthorize,
    /// Straight after the subscribe answer, as Miningcore does.
    AfterSubscribe,
    /// Before the authorize answer, as ckpool and OCEAN do.
    BeforeAuthorizeAnswer,
}

/// When submits are answered.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Answers {
    /// At once and in order.
    #[default]
    AtOnce,
    /// This much later, in order.
    Delayed(Duration),
    /// In groups of this many, the last first. A group that does not fill within a second is sent
    /// as it is, so no submit stays unanswered.
    Reversed(usize),
}

/// Where extranonce1 comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Extranonce1 {
    /// The pool adopts the hex id proposed as the second parameter of subscribe and refuses
    /// connections without one (error 400), as BTCPool's sserver in switcher mode.
    Echo,
    /// The pool makes a unique one of this many bytes, 0 to 8.
    Own(usize),
}

/// How `mining.configure` is answered.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Configure {
    /// By BIP 310: the miner's mask cut by the pool's.
    #[default]
    Bip310,
    /// The pool's whole mask whatever the miner can do, as ckpool does.
    FullMask,
    /// Error -3, as pools without the method do.
    Unknown,
    /// By BIP 310, with `mining.set_version_mask` right behind it, as sserver and Braiins do.
    WithMaskPush,
}

/// Which names may log in.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Names {
    /// Any.
    #[default]
    Any,
    /// Only those whose part before the first dot is in the set.
    SubAccounts(BTreeSet<String>),
}

/// How a pool serves `BTCAgent`s.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentTerms {
    /// The difficulty that 2 to the power of 0 stands for, so that a test need not mine for hours.
    pub unit: f64,
    /// Difficulties of sub-miners as powers of 2, for each next job in turn and round again.
    pub exponents: Vec<u8>,
}

/// Settings of a [`Pool`](super::Pool). The defaults are those of a plain, well-behaved pool.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PoolConfig {
    /// Shown in complaints.
    pub name: String,
    /// Whose headers it judges.
    pub chain: Chain,
    /// Where extranonce1 comes from.
    pub extranonce1: Extranonce1,
    /// Bytes of extranonce2, 0 to 16.
    pub extranonce2_size: usize,
    /// Difficulty of each next job, in turn and round again; one entry means a fixed one.
    pub difficulties: Vec<f64>,
    /// Bits a miner may roll; 0 for none.
    pub version_mask: u32,
    /// How `mining.configure` is answered.
    pub configure: Configure,
    /// When the first difficulty and job are sent.
    pub first_job: FirstJob,
    /// When submits are answered.
    pub answers: Answers,
    /// New jobs by themselves at this interval.
    pub job_interval: Option<Duration>,
    /// Every how many of those are clean; 0 for none.
    pub clean_every: u64,
    /// Merkle branches of each next job, in turn and round again.
    pub branch_counts: Vec<usize>,
    /// How many jobs are kept before the oldest goes stale without a clean one.
    pub jobs_kept: usize,
    /// Which names may log in.
    pub names: Names,
    /// Whether a submit's name must be an authorized one (error 24 otherwise).
    pub checks_names: bool,
    /// Whether `mining.suggest_difficulty` is obeyed from the next job on.
    pub obeys_suggestions: bool,
    /// Answers `mining.extranonce.subscribe` with this, or not at all.
    pub extranonce_subscribe: Option<bool>,
    /// Seconds a share's time may lie after its job's.
    pub ntime_window: u32,
    /// How agents are served; their frames are breaches if they are not.
    pub agents: Option<AgentTerms>,
    /// Bad habits.
    pub quirks: BTreeSet<Quirk>,
    /// Lines remembered per connection and direction.
    pub lines_kept: usize,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            name: "pool".into(),
            chain: Chain::default(),
            extranonce1: Extranonce1::Own(4),
            extranonce2_size: 8,
            difficulties: vec![1e-9],
            version_mask: 0x1fff_e000,
            configure: Configure::default(),
            first_job: FirstJob::default(),
            answers: Answers::default(),
            job_interval: None,
            clean_every: 0,
            branch_counts: vec![1, 0, 5, 13],
            jobs_kept: 8,
            names: Names::default(),
            checks_names: true,
            obeys_suggestions: false,
            extranonce_subscribe: Some(true),
            ntime_window: 7_200,
            agents: None,
            quirks: BTreeSet::new(),
            lines_kept: 2_000,
        }
    }
}

impl PoolConfig {
    /// A well-behaved pool: extranonce1 of 4 bytes, extranonce2 of 8, difficulty 1e-9.
    pub fn new() -> Self {
        Self::default()
    }

    /// A pool like BTCPool's sserver: adopts the proposed id, ignores the names in submits, pushes
    /// the mask behind configure, does not answer `mining.extranonce.subscribe`.
    pub fn sserver() -> Self {
        Self {
            extranonce1: Extranonce1::Echo,
            configure: Configure::WithMaskPush,
            checks_names: false,
            extranonce_subscribe: None,
            ..Self::default()
        }
    }

    /// The same for Decred.
    pub fn decred_sserver(form: Form) -> Self {
        Self { chain: Chain::Decred(form), ..Self::sserver() }
    }

    /// A pool like sserver for agents, with difficulties in [`UNIT`]s. Every job has the same small
    /// ids at all such pools.
    pub fn agents_sserver(exponents: impl Into<Vec<u8>>) -> Self {
        let config = Self::sserver().difficulty(3e-10).agents(UNIT, exponents);
        let mut config = config.jobs_every(Duration::from_millis(150), 0);
        // Long enough for a share that is under way, short enough for ids of one byte.
        config.jobs_kept = 100;
        config
    }

    /// A pool like dcrpool: extranonces of its own, 4 bytes each, and no changing them.
    pub fn dcrpool() -> Self {
        Self {
            chain: Chain::Decred(Form::Appended),
            extranonce2_size: 4,
            extranonce_subscribe: Some(false),
            ..Self::default()
        }
    }

    /// A pool that orders its messages as ckpool does.
    pub fn ckpool() -> Self {
        Self {
            configure: Configure::FullMask,
            first_job: FirstJob::BeforeAuthorizeAnswer,
            extranonce_subscribe: None,
            ..Self::default()
        }
    }

    /// A pool that orders and forms its messages as Miningcore does.
    pub fn miningcore() -> Self {
        Self { extranonce2_size: 4, first_job: FirstJob::AfterSubscribe, ..Self::default() }
            .quirk(Quirk::AnswersWithoutErrorMember)
    }

    /// Names the pool in complaints.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Makes extranonce1 of `bytes` bytes of the pool's own.
    #[must_use]
    pub fn extranonce1_size(mut self, bytes: usize) -> Self {
        self.extranonce1 = Extranonce1::Own(bytes);
        self
    }

    /// Adopts the id proposed in subscribe.
    #[must_use]
    pub fn echo(mut self) -> Self {
        self.extranonce1 = Extranonce1::Echo;
        self
    }

    /// Gives miners `bytes` bytes of extranonce2.
    #[must_use]
    pub fn extranonce2_size(mut self, bytes: usize) -> Self {
        self.extranonce2_size = bytes;
        self
    }

    /// A fixed difficulty.
    #[must_use]
    pub fn difficulty(mut self, difficulty: f64) -> Self {
        self.difficulties = vec![difficulty];
        self
    }

    /// A difficulty that changes with every job, round and round.
    #[must_use]
    pub fn moving_difficulty(mut self, difficulties: impl Into<Vec<f64>>) -> Self {
        self.difficulties = difficulties.into();
        self
    }

    /// Bits a miner may roll; 0 for none.
    #[must_use]
    pub fn version_mask(mut self, mask: u32) -> Self {
        self.version_mask = mask;
        self
    }

    /// How `mining.configure` is answered.
    #[must_use]
    pub fn configure(mut self, configure: Configure) -> Self {
        self.configure = configure;
        self
    }

    /// When the first difficulty and job are sent.
    #[must_use]
    pub fn first_job(mut self, when: FirstJob) -> Self {
        self.first_job = when;
        self
    }

    /// When submits are answered.
    #[must_use]
    pub fn answers(mut self, answers: Answers) -> Self {
        self.answers = answers;
        self
    }

    /// Sends a new job at every `interval`; every `clean_every`-th is clean (0: none).
    #[must_use]
    pub fn jobs_every(mut self, interval: Duration, clean_every: u64) -> Self {
        self.job_interval = Some(interval);
        self.clean_every = clean_every;
        self
    }

    /// Lets only these sub-accounts log in.
    #[must_use]
    pub fn only_sub_accounts<S: Into<String>>(
        mut self,
        names: impl IntoIterator<Item = S>,
    ) -> Self {
        self.names = Names::SubAccounts(names.into_iter().map(Into::into).collect());
        self
    }

    /// Obeys `mining.suggest_difficulty`.
    #[must_use]
    pub fn obeying_suggestions(mut self) -> Self {
        self.obeys_suggestions = true;
        self
    }

    /// Serves agents: sub-miners get 2 to the power of each of these in turn, times `unit`.
    #[must_use]
    pub fn agents(mut self, unit: f64, exponents: impl Into<Vec<u8>>) -> Self {
        self.agents = Some(AgentTerms { unit, exponents: exponents.into() });
        self
    }

    /// Adds a bad habit.
    #[must_use]
    pub fn quirk(mut self, quirk: Quirk) -> Self {
        self.quirks.insert(quirk);
        self
    }

    pub(super) fn has(&self, quirk: &Quirk) -> bool {
        self.quirks.contains(quirk)
    }

    pub(super) fn pause_in_lines(&self) -> Option<Duration> {
        self.quirks.iter().find_map(|quirk| match quirk {
            Quirk::CutsLines(pause) => Some(*pause),
            _ => None,
        })
    }

    pub(super) fn ping_interval(&self) -> Option<Duration> {
        self.quirks.iter().find_map(|quirk| match quirk {
            Quirk::PingsWithoutJobs(interval) => Some(*interval),
            _ => None,
        })
    }

    pub(super) fn foreign_host(&self) -> Option<(&str, u16)> {
        self.quirks.iter().find_map(|quirk| match quirk {
            Quirk::ReconnectsElsewhere(host, port) => Some((host.as_str(), *port)),
            _ => None,
        })
    }

    /// Whether this pool ever sends jobs.
    pub(super) fn sends_jobs(&self) -> bool {
        !self.has(&Quirk::SilentAfterLogin) && self.ping_interval().is_none()
    }
}
