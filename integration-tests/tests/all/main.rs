//! End-to-end tests with real sockets: judging pools, the engine, judging miners.

mod switching;
