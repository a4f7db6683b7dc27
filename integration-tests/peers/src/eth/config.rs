//! What a pool of the ETH family is like.

use std::time::Duration;

/// One way of saying the same things.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Variant {
    /// `eth_submitLogin`, `eth_submitWork`, jobs as results.
    EthProxy,
    /// `mining.*` with whole nonces and the target in the job.
    Plain,
    /// `EthereumStratum/1.0.0`: a prefix of the nonce is the pool's.
    NiceHash,
    /// `EthereumStratum/2.0.0` (EIP-1571).
    Es2,
}

impl Variant {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::EthProxy, Self::Plain, Self::NiceHash, Self::Es2];

    /// Whether the pool gives a prefix of the nonce, and shares carry no mix digest.
    pub fn has_prefix(self) -> bool {
        matches!(self, Self::NiceHash | Self::Es2)
    }
}

/// What is done with a first request of a variant that the pool does not speak.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Stranger {
    /// An error, and the connection is closed, as open-ethereum-pool does.
    #[default]
    ErrorAndClose,
    /// An error; the connection stays.
    Error,
    /// Nothing at all, as `F2Pool` does.
    Silence,
}

/// Where the prefix of the nonce comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Extranonce {
    /// Adopted from the third parameter of subscribe, as `BTCPool`'s sserver does; a connection
    /// without it is refused with error 400, whatever its variant.
    Echo,
    /// The pool's own, of this many bytes: 0 to 3, with ES2 0 to 6.
    Own(usize),
}

/// The fourth item of an `ETHProxy` job.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Fourth {
    /// There is none.
    #[default]
    None,
    /// The height, `0x…`, as ethermine sends it.
    Height,
    /// The session id without `0x`, as sserver sends it.
    SessionId,
}

/// Settings of an [`EthPool`](super::EthPool).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "each is a habit a pool has or has not")]
pub struct EthPoolConfig {
    /// Shown in complaints.
    pub name: String,
    /// Second byte of its headers.
    pub tag: u8,
    /// What it speaks.
    pub variants: Vec<Variant>,
    /// What it does with the others.
    pub stranger: Stranger,
    /// Where the prefix of the nonce comes from.
    pub extranonce: Extranonce,
    /// Difficulty of each next job, in turn and round again.
    pub difficulties: Vec<f64>,
    /// Every how many jobs must be hashed in earnest; 0 for none, 1 for all.
    pub really_every: u64,
    /// New jobs by themselves at this interval.
    pub job_interval: Option<Duration>,
    /// How many jobs are kept before the oldest goes stale.
    pub jobs_kept: usize,
    /// Whether a wrong mix digest spoils a share.
    pub checks_mix: bool,
    /// Whether a whole nonce of 16 digits is taken for the rest of one, whatever its prefix.
    pub takes_whole_nonces: bool,
    /// Whether every error ends the connection.
    pub closes_after_errors: bool,
    /// The fourth item of an `ETHProxy` job.
    pub fourth: Fourth,
    /// Leaves out leading zeros of an `ETHProxy` target, as sserver does for Claymore.
    pub cuts_targets: bool,
    /// Refuses every login.
    pub refuses_logins: bool,
    /// Answers `mining.extranonce.subscribe` with this.
    pub extranonce_subscribe: bool,
    /// Lines remembered per connection.
    pub lines_kept: usize,
}

/// One nonce in four is a share.
const EASY: f64 = 9.3e-10;

impl EthPoolConfig {
    /// A well-behaved pool of this variant. One with prefixes gives two bytes.
    pub fn new(variant: Variant) -> Self {
        Self {
            name: format!("{variant:?}"),
            tag: 1,
            variants: vec![variant],
            stranger: Stranger::default(),
            extranonce: Extranonce::Own(2),
            difficulties: vec![EASY],
            really_every: 1,
            job_interval: None,
            jobs_kept: 8,
            checks_mix: true,
            takes_whole_nonces: false,
            closes_after_errors: false,
            fourth: Fourth::default(),
            cuts_targets: false,
            refuses_logins: false,
            extranonce_subscribe: true,
            lines_kept: 1_000,
        }
    }

    /// Like open-ethereum-pool: `ETHProxy`, verifies the mix digest, closes after every error.
    pub fn open_ethereum_pool() -> Self {
        Self { closes_after_errors: true, ..Self::new(Variant::EthProxy) }
    }

    /// Like ethermine: `ETHProxy` with the height as fourth item.
    pub fn ethermine() -> Self {
        Self { fourth: Fourth::Height, stranger: Stranger::Error, ..Self::new(Variant::EthProxy) }
    }

    /// Like `F2Pool`: `ETHProxy`, and not a word to anybody else.
    pub fn f2pool() -> Self {
        Self { stranger: Stranger::Silence, ..Self::new(Variant::EthProxy) }
    }

    /// Like `BTCPool`'s sserver behind its switcher: three variants, the id is the switcher's, mix
    /// digests do not matter, whole nonces are taken.
    pub fn sserver() -> Self {
        Self {
            name: "sserver".into(),
            variants: vec![Variant::EthProxy, Variant::Plain, Variant::NiceHash],
            stranger: Stranger::Silence,
            extranonce: Extranonce::Echo,
            checks_mix: false,
            takes_whole_nonces: true,
            fourth: Fourth::SessionId,
            cuts_targets: true,
            ..Self::new(Variant::NiceHash)
        }
    }

    /// Names the pool; its tag is the second byte of its headers.
    #[must_use]
    pub fn name(mut self, name: &str, tag: u8) -> Self {
        name.clone_into(&mut self.name);
        self.tag = tag;
        self
    }

    /// Gives prefixes of this many bytes.
    #[must_use]
    pub fn extranonce_size(mut self, bytes: usize) -> Self {
        self.extranonce = Extranonce::Own(bytes);
        self
    }

    /// A difficulty that changes with every job, round and round.
    #[must_use]
    pub fn moving_difficulty(mut self, difficulties: impl Into<Vec<f64>>) -> Self {
        self.difficulties = difficulties.into();
        self
    }

    /// Sends a new job at every `interval`.
    #[must_use]
    pub fn jobs_every(mut self, interval: Duration) -> Self {
        self.job_interval = Some(interval);
        self
    }

    /// Asks for real hashing in every so many jobs only; 0 for none.
    #[must_use]
    pub fn really_every(mut self, jobs: u64) -> Self {
        self.really_every = jobs;
        self
    }
}
