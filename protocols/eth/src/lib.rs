//! The ETH-style dialects: one family with four variants, the variant found from a miner's first
//! request, and towards pools from what they are configured to speak or found to.
//!
//! A session owns all protocol state of the miner and of its pool connections and is driven by
//! inputs alone. It opens no sockets, knows no clock and decides nothing about where a miner goes.
//!
//! # Map
//!
//! * `session` – the state and the entry point; `downstream` – what a miner may ask; `login` – its
//!   name; `replies` – answers in the miner's own form; `handshake` – from a new connection to a leg
//!   that can serve; `upstream` – what a pool may say; `switching` – the cut, work, lost legs;
//!   `submits` – shares and their answers; `returning` – miners that come
//!   back to be served; `agent` – `BTCAgent`, which is relayed; `adopt` – sessions that come from
//!   another program or go to one
//! * `leg` – what is known about one pool connection; `work` – jobs in every variant; `extranonce`,
//!   `target`, `seed` – the values in them; `variant` – who is who
//! * `options`, `profile` – settings of listener and pool; `names` – names

mod adopt;
mod agent;
mod dialect;
mod downstream;
mod extranonce;
mod handshake;
mod hex;
mod leg;
mod login;
mod names;
mod options;
mod profile;
mod replies;
mod returning;
mod seed;
mod session;
mod submits;
mod switching;
mod target;
mod upstream;
mod variant;
mod work;

pub use dialect::{DIALECT, EthDialect};
