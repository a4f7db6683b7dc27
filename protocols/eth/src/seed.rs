//! The seed of a data set and the number of its epoch: some variants tell one, some the other.

use serde::{Deserialize, Serialize};
use sha3::{Digest, Keccak256};

/// Epochs that are looked through for a seed. The chain that has mined for longest was at about 800
/// in 2025.
const MOST_EPOCHS: u32 = 2_048;

/// An epoch as `mining.set` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seed {
    /// Its number.
    pub(crate) epoch: u32,
    /// Epochs are twice as long as Ethereum's (etchash), and the seed is hashed on twice for each.
    pub(crate) is_long: bool,
}

/// An epoch and its seed, kept since it takes long to find one from the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    seed: Seed,
    hash: [u8; 32],
}

impl Known {
    /// From the epoch.
    pub(crate) fn of_epoch(seed: Seed) -> Self {
        Self { seed, hash: seed_of_epoch(seed) }
    }

    /// From the seed; `None` if it is none of any epoch soon to come.
    pub(crate) fn of_hash(hash: [u8; 32]) -> Option<Self> {
        let seed = Seed { epoch: epoch_of_seed(&hash)?, is_long: false };
        Some(Self { seed, hash })
    }

    /// The epoch.
    pub(crate) fn seed(&self) -> Seed {
        self.seed
    }

    /// The seed.
    pub(crate) fn hash(&self) -> [u8; 32] {
        self.hash
    }
}

/// The seed of an epoch: as many times the Keccak-256 of 32 zero bytes.
fn seed_of_epoch(seed: Seed) -> [u8; 32] {
    let times = seed.epoch.min(MOST_EPOCHS) * if seed.is_long { 2 } else { 1 };
    (0..times).fold([0; 32], |hash, _| Keccak256::digest(hash).into())
}

/// The epoch of a seed, counted as Ethereum does.
fn epoch_of_seed(seed: &[u8; 32]) -> Option<u32> {
    let mut hash = [0; 32];
    for epoch in 0..=MOST_EPOCHS {
        if hash == *seed {
            return Some(epoch);
        }
        hash = Keccak256::digest(hash).into();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex::hex;

    #[test]
    fn seeds_and_epochs_are_found_from_each_other() {
        let seed = |epoch| seed_of_epoch(Seed { epoch, is_long: false });

        assert_eq!(
            hex(&seed(1)),
            "290decd9548b62a8d60345a988386fc84ba6bc95484008f6362f93160ef3e563"
        );
        for epoch in [0, 1, 2, 431, 2_048] {
            assert_eq!(epoch_of_seed(&seed(epoch)), Some(epoch));
        }
        assert_eq!(epoch_of_seed(&[7; 32]), None);
        assert_eq!(seed_of_epoch(Seed { epoch: 7, is_long: true }), seed(14));
    }
}
