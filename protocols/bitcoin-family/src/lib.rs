//! The `mining.*` family of Stratum dialects: everything that coins with a Bitcoin coinbase share.
//!
//! A coin is this crate plus a [`Flavour`], which is data. One [`BitcoinDialect`] opens one session
//! value per miner; the session owns all protocol state of the miner and of its pool connections and
//! is driven by inputs alone. It opens no sockets, knows no clock and decides nothing about where a
//! miner goes.
//!
//! # Map
//!
//! * `session` – the state and the entry point; `downstream` – what a miner may ask; `login` – its
//!   names; `upstream` – what a pool may say; `handshake` – from a new connection to a leg that can
//!   serve; `switching` – the cut, losses and refusals; `submits` – shares and their answers;
//!   `adopt` – sessions that another program has relayed, and the way back
//! * `leg` – what is known about one pool connection; `extranonce` – folding; `extra_data` – where
//!   nothing can be folded; `jobs` – job lines
//! * `options`, `profile` – settings of listener and pool; `names` – worker names;
//!   `returning` – miners that are sent back and come again; `version_rolling` – BIP 310;
//!   `quirks` – what is known about miners; `raw` – bytes that are saved
//! * `agent` – `BTCAgent`, where it differs from other miners

mod adopt;
mod agent;
mod dialect;
mod downstream;
mod extra_data;
mod extranonce;
mod flavour;
mod handshake;
mod jobs;
mod leg;
mod login;
mod names;
mod options;
mod profile;
mod quirks;
mod raw;
mod returning;
mod session;
mod submits;
mod switching;
mod upstream;
mod version_rolling;

pub use dialect::BitcoinDialect;
pub use flavour::{Extranonce, Flavour};
