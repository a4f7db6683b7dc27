//! For the tests of dialects: golden conversations and a conformance suite (feature `testing`).
//!
//! Both read [`Script`]s, text files that look like the wire, and drive a session as the engine
//! does. [`transcripts`] compares what the session does with what the file says; [`conform`] needs
//! no expectations, it checks what holds for every dialect. Nothing here opens a socket, reads a
//! clock to decide anything, or is random without a seed that is printed.
//!
//! A protocol crate has one `tests/transcripts.rs`:
//!
//! ```text
//! use switcher_plugin::testing;
//!
//! #[test]
//! fn conversations_go_as_written() {
//!     testing::transcripts(&[&Btc], "tests/transcripts");
//! }
//!
//! #[test]
//! fn the_dialect_conforms() {
//!     testing::conform(&[&Btc], &testing::scripts("tests/transcripts"));
//! }
//! ```
//!
//! # The format
//!
//! ```text
//! # Comments start with a hash; a header of `key: value` lines comes first, all of it optional.
//! dialect: btc                  (who opens the session; the first one given if left out)
//! pool a: {"coin":"btc","user":"{sub_account}.{rig}","options":{},"fact":{"extranonce2_size":8}}
//! pool b: {"coin":"bch","dialect":"bch"}
//! listener: main
//! options: {"version_mask":"1fffe000"}
//! short_id: 0x01000002
//! entropy: 000102030405060708090a0b0c0d0e0f
//! peer: 192.0.2.7
//! session: 1
//! rungs: echo fold              (what legs may use; all of them if left out)
//! note id:00ab: {"coin":"bch"}  (what an earlier session has left to be recalled)
//!
//! < {"id":1,"method":"mining.subscribe","params":[]}      a line from the miner, LF added
//!     send miner {"id":1,"result":[…],"error":null}       what the session must do, in order
//! <~ {"id":2}{"id":3}\r\n                                 bytes with escapes, no LF added
//! ! assigned btc alice                                    name: the last identified if left out
//! ! up 1 a form 1                                         pool: the first of the coin; form: 0
//! >1 {"id":1,"result":true,"error":null}                  a line from the pool of leg 1
//! >~1 \x00                                                bytes from there
//! ! cutover 1
//! ! down 1
//! ! gone 1
//! ! refused no_pool
//! @ 2000                                                  time passes to 2 s after the start
//! @ +500                                                  time passes by half a second
//! ```
//!
//! The engine follows a `fault 1 …` or `refused 1 …` by `! gone 1`, or by `! down 1` if the leg has
//! served the miner; write it.
//! `! probe` as the first input seats the session as a [probe](crate::Seat::Probe). A wish to be
//! woken is granted while an `@` passes its time, and shows as `woken 1500` before what the session
//! does about it. Comments may be indented between the actions. With `UPDATE=1` in the environment
//! a file is rewritten with what happened; read the difference before you commit it.

mod conformance;
mod driver;
mod fuzz;
mod garbage;
mod render;
mod script;
mod transcript;
mod world;

pub use conformance::{Limits, check_conformance, conform};
pub use fuzz::{fuzz, fuzz_seeded};
pub use garbage::SplitMix64;
pub use script::{Script, ScriptError};
pub use transcript::{check_transcripts, scripts, transcripts};
