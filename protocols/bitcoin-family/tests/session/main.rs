//! The dialect driven by its inputs alone: what it asks for, line by line.

mod corpus;
mod fold;
mod handshake;
mod miners;
mod pools;
mod shares;
mod switching;
mod world;
