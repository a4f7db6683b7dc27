//! Sessions of the dialect, driven input by input.

mod corpus;
mod replays;
mod world;
