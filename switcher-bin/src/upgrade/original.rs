//! The way back: the Go original lies at the program's path again, and takes over what it can carry.
//!
//! It is known by what it says to the preflight's argument, which it does not know. It wants a file of
//! its own form beside it in its folder, and sockets without close-on-exec.

use std::io::Write as _;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use nix::sys::signal::{SigSet, Signal};
use serde_json::Value;
use switcher_core::{Returned, State, hand_back};
use switcher_upgrade::handover;
use switcher_upgrade::program::{Identity, Program};
use tracing::info;

use super::{LOG_PATIENCE, faults, trial::Trial};
use crate::config::Config;
use crate::go_flags;
use crate::inherited::{Runtime, SessionData, UPGRADE};
use crate::logging::Log;
use crate::setup;

/// Where the original looks for its state: in the folder it was started in.
const RUNTIME: &str = "./runtime.json";

/// What the log and the report call it.
pub(super) const NAME: &str = "the Go stratumSwitcher";

/// Whether this is what the original says to an argument that it does not know.
pub(super) fn is_said_by_original(text: &str) -> bool {
    text.contains("-runtime") && text.contains("zero downtime upgrade")
}

/// Becomes the original. Returns, with the reason, only if that is not possible.
pub(super) fn leave(
    state: &mut State,
    program: &Program,
    trial: &Trial,
    config: &Config,
    log: &Log,
) -> anyhow::Error {
    let result = (|| {
        faults::point("frozen")?;
        let arguments = go_flags::of_original(&program.arguments, Path::new(RUNTIME))
            .map_err(|problem| anyhow!(problem))?;
        // Before anything is written to a peer.
        let file = || {
            // One that was left lying about might be open to others.
            let _ = std::fs::remove_file(RUNTIME);
            std::fs::File::options().write(true).create_new(true).mode(0o600).open(RUNTIME)
        };
        let mut file = file().with_context(|| format!("{RUNTIME} cannot be written"))?;
        anyhow::ensure!(
            Identity::of(&program.path)? == trial.identity,
            "the program was replaced again after its preflight"
        );
        let returned = hand_back(&setup(config, crate::plugins::BUILT_IN)?, state)?;
        file.write_all(&runtime(&returned, state)?)?;
        let socket = |at: usize| state.sockets.get(at);
        let sockets: Vec<&OwnedFd> = returned
            .iter()
            .flat_map(|one| [socket(one.miner), socket(one.pool)])
            .flatten()
            .collect();
        info!(sessions = returned.len(), "handing back to {NAME}");
        log.flush(LOG_PATIENCE);
        let program = Program { arguments, ..program.clone() };
        // The original hears what it was born deaf to only if it asks for it, and it asks for one.
        let deaf: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect();
        deaf.thread_unblock()?;
        let executed = handover::execute_other(&program, &sockets);
        deaf.thread_block()?;
        executed.with_context(|| format!("{} cannot be executed", program.path.display()))
    })();
    match result {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

/// The file as the original reads it.
fn runtime(returned: &[Returned], state: &State) -> anyhow::Result<Vec<u8>> {
    let number = |at: usize| state.sockets.get(at).map_or(-1, AsRawFd::as_raw_fd);
    let mut sessions = Vec::with_capacity(returned.len());
    for one in returned {
        let session = &one.session;
        sessions.push(SessionData {
            session_id: session.short_id,
            mining_coin: one.coin.as_str().to_owned(),
            client: number(one.miner),
            server: number(one.pool),
            stratum_subscribe_request: serde_json::from_str::<Value>(&session.subscribe)?,
            stratum_authorize_request: serde_json::from_str::<Value>(&session.authorize)?,
            version_mask: session.version_mask,
        });
    }
    let newest = returned.iter().max_by_key(|one| one.session.short_id);
    let server_id = newest.map_or(0, |one| one.server_id);
    let (action, session_datas) = (UPGRADE.to_owned(), Some(sessions));
    Ok(serde_json::to_vec(&Runtime { action, server_id, session_datas })?)
}
