//! Whose headers a pool or miner builds and hashes. All that they do besides is the same.

use sha2::{Digest, Sha256};

use crate::decred::{self, Form};
use crate::header::Hash;
use crate::notify::{Choice, Notify};

/// A kind of header.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Chain {
    /// 80 bytes with a merkle root over a coinbase, hashed twice with SHA-256.
    #[default]
    Bitcoin,
    /// 180 bytes with the extranonces in them, hashed with BLAKE3.
    Decred(Form),
}

/// A header whose nonce is looked for.
#[derive(Clone, Debug)]
pub struct Search(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Bitcoin { midstate: Sha256, rest: [u8; 12] },
    Decred([u8; decred::HEADER]),
}

impl Chain {
    /// The hash of the header that `choice` makes of a job.
    pub fn hash(self, notify: &Notify, choice: &Choice<'_>) -> Hash {
        match self {
            Self::Bitcoin => notify.hash(choice),
            Self::Decred(form) => decred::proof(&decred::header(form, notify, choice)),
        }
    }

    /// The same for many nonces.
    pub fn search(self, notify: &Notify, choice: &Choice<'_>) -> Search {
        Search(match self {
            Self::Bitcoin => {
                let header = notify.header(choice);
                let mut rest = [0; 12];
                rest.copy_from_slice(&header[64..76]);
                Kind::Bitcoin { midstate: Sha256::new_with_prefix(&header[..64]), rest }
            }
            Self::Decred(form) => Kind::Decred(decred::header(form, notify, choice)),
        })
    }

    /// The time that a miner starts from.
    ///
    /// # Errors
    ///
    /// The job does not say one and the same time wherever it says one.
    pub fn time_of(self, notify: &Notify) -> Result<u32, String> {
        match self {
            Self::Bitcoin => Ok(notify.ntime),
            Self::Decred(_) => decred::time_of(notify),
        }
    }

    /// How many bytes a miner varies that was told this extranonce2 size.
    pub fn rolled(self, extranonce2_size: usize) -> usize {
        match self {
            Self::Bitcoin => extranonce2_size,
            Self::Decred(form) => form.rolled(extranonce2_size),
        }
    }

    /// What a miner submits as its extranonce2 for the bytes it has varied.
    pub fn submitted(self, extranonce1: &[u8], rolled: &[u8]) -> Vec<u8> {
        match self {
            Self::Bitcoin => rolled.to_vec(),
            Self::Decred(form) => form.submitted(extranonce1, rolled),
        }
    }

    /// What a pool takes from that.
    ///
    /// # Errors
    ///
    /// It is not of a length that the pool can use.
    pub fn taken(
        self,
        extranonce1: &[u8],
        extranonce2_size: usize,
        submitted: &[u8],
    ) -> Result<Vec<u8>, String> {
        match self {
            Self::Bitcoin if submitted.len() == extranonce2_size => Ok(submitted.to_vec()),
            Self::Bitcoin => {
                let got = submitted.len();
                Err(format!("extranonce2 has {got} bytes instead of {extranonce2_size}"))
            }
            Self::Decred(form) => form.taken(extranonce1, extranonce2_size, submitted),
        }
    }

    /// The extranonce1 that sserver makes of an id proposed to it.
    pub fn adopted(self, id: [u8; 4]) -> Vec<u8> {
        match self {
            Self::Bitcoin => id.to_vec(),
            Self::Decred(form) => form.told(id),
        }
    }
}

impl Search {
    /// The hash with this nonce.
    pub fn hash(&mut self, nonce: u32) -> Hash {
        match &mut self.0 {
            Kind::Bitcoin { midstate, rest } => {
                let first = midstate.clone().chain_update(*rest).chain_update(nonce.to_le_bytes());
                Sha256::digest(first.finalize()).into()
            }
            Kind::Decred(header) => {
                decred::set_nonce(header, nonce);
                decred::proof(header)
            }
        }
    }
}
