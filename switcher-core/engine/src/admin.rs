//! The admin listener: metrics, health and a JSON API, on a thread of its own.
//!
//! A stuck data plane can still be asked what is wrong; nothing here is on the data path.

mod metrics;
pub(crate) mod view;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use switcher_plugin::Millis;
use tokio::sync::oneshot;

use crate::admin::view::{CoinView, PoolView, SessionView};
use crate::board::{AccountView, Board, SourceHealth};
use crate::budget::Budget;
use crate::memory::Memory;
use crate::plan::Plan;
use crate::plugins::{PluginBook, PluginReport};
use crate::shard::Command;
use crate::shards::Shards;
use crate::upgrades::{UpgradeReport, Upgrades};

/// Longest page of a list.
const PAGE: usize = 1_000;

/// A shard that does not answer for so long is left out.
const SHARD_PATIENCE: Duration = Duration::from_secs(2);

/// What a browser or a tired operator is shown first.
const INDEX: &str = "\
Stratum Switcher

/healthz            the process answers
/readyz             newcomers are taken
/metrics            counters, OpenMetrics text
/api/v1/status      version, uptime, coin sources, the last upgrade
/api/v1/sessions    every miner: where it mines, by which rung, what is in its way
/api/v1/accounts    every sub-account and its coin
/api/v1/coins       every coin
/api/v1/pools       every pool: up or down, what was learnt, counters
/api/v1/plugins     every plug-in: version, origin, how it behaves
";

/// What the admin listener can look at.
#[derive(Debug, Clone)]
pub(crate) struct AdminContext {
    pub(crate) plan: Arc<Plan>,
    pub(crate) shards: Shards,
    pub(crate) board: Arc<Board>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) started: Millis,
    /// Set when the switcher does not take newcomers any more.
    pub(crate) draining: Arc<AtomicBool>,
    pub(crate) upgrades: Upgrades,
    pub(crate) plugins: PluginBook,
}

/// A running admin listener.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Admin {
    pub(crate) fn stop(self) {
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("the admin thread has panicked");
        }
    }
}

/// Starts the thread of the listener.
pub(crate) fn start(listener: TcpListener, context: AdminContext) -> io::Result<Admin> {
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
        runtime.block_on(async move {
            let listener = match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => listener,
                Err(error) => {
                    tracing::error!(%error, "the admin listener could not be registered");
                    return;
                }
            };
            tokio::select! {
                result = axum::serve(listener, routes(context)) => {
                    if let Err(error) = result {
                        tracing::error!(%error, "the admin listener has failed");
                    }
                }
                _ = stopped => {}
            }
        });
    })?;
    Ok(Admin { address, stop, thread })
}

fn routes(context: AdminContext) -> Router {
    Router::new()
        .route("/", get(|| async { INDEX }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_text))
        .route("/api/v1/sessions", get(sessions))
        .route("/api/v1/accounts", get(accounts))
        .route("/api/v1/coins", get(coins))
        .route("/api/v1/pools", get(pools))
        .route("/api/v1/plugins", get(plugins))
        .route("/api/v1/status", get(status))
        .with_state(context)
}

async fn ready(State(context): State<AdminContext>) -> Response {
    if context.draining.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response();
    }
    if !context.budget.has_room() {
        return (StatusCode::SERVICE_UNAVAILABLE, "no room for more sessions\n").into_response();
    }
    "ready\n".into_response()
}

async fn metrics_text(State(context): State<AdminContext>) -> Response {
    match metrics::text(&context) {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Which page of a list.
#[derive(Debug, Deserialize)]
struct Page {
    /// The last entry of the page before.
    after: Option<String>,
    limit: Option<usize>,
}

impl Page {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(100).clamp(1, PAGE)
    }
}

/// A page of a list.
#[derive(Debug, Serialize)]
struct Listed<T> {
    items: Vec<T>,
    /// To be given as `after` for the next page; absent on the last.
    next: Option<String>,
}

async fn sessions(
    State(context): State<AdminContext>,
    Query(page): Query<Page>,
) -> Result<Json<Listed<SessionView>>, (StatusCode, String)> {
    let after = match page.after.as_deref().map(|after| u64::from_str_radix(after, 16)) {
        None => 0,
        Some(Ok(after)) => after,
        Some(Err(_)) => {
            return Err((StatusCode::BAD_REQUEST, "after: not a session number\n".to_owned()));
        }
    };
    let limit = page.limit();
    let answers = context.shards.ask(|answer| Command::Sessions { after, limit, answer });
    let mut items = Vec::new();
    for answer in answers {
        if let Ok(Ok(views)) = tokio::time::timeout(SHARD_PATIENCE, answer).await {
            items.extend(views);
        }
    }
    items.sort_unstable_by_key(|view: &SessionView| view.number);
    items.truncate(limit);
    let next = (items.len() == limit).then(|| items.last().map(|view| view.session.clone()));
    Ok(Json(Listed { items, next: next.flatten() }))
}

async fn accounts(
    State(context): State<AdminContext>,
    Query(page): Query<Page>,
) -> Json<Listed<AccountView>> {
    let limit = page.limit();
    let items = context.board.accounts(page.after.as_deref(), limit);
    let next =
        (items.len() == limit).then(|| items.last().map(|view| view.sub_account.to_string()));
    Json(Listed { items, next: next.flatten() })
}

async fn coins(State(context): State<AdminContext>) -> Json<Vec<CoinView>> {
    Json(view::coins(&context))
}

async fn pools(State(context): State<AdminContext>) -> Json<Vec<PoolView>> {
    let mut health = Vec::new();
    for answer in context.shards.ask(Command::PoolHealth) {
        if let Ok(Ok(views)) = tokio::time::timeout(SHARD_PATIENCE, answer).await {
            health.push(views);
        }
    }
    Json(view::pools(&context, &health))
}

async fn plugins(State(context): State<AdminContext>) -> Json<Vec<PluginReport>> {
    Json(context.plugins.read())
}

/// The whole in a few lines.
#[derive(Debug, Serialize)]
struct Status {
    version: &'static str,
    uptime_ms: u64,
    sessions: usize,
    most_sessions: usize,
    draining: bool,
    sources: Vec<SourceHealth>,
    /// Times the program was replaced since it was first started.
    generation: u64,
    last_upgrade: Option<UpgradeReport>,
}

async fn status(State(context): State<AdminContext>) -> Json<Status> {
    let upgrades = context.upgrades.book();
    Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        uptime_ms: crate::clock::now().since(context.started),
        sessions: context.budget.sessions(),
        most_sessions: context.budget.most_sessions(),
        draining: context.draining.load(Ordering::Relaxed),
        sources: context.board.health(),
        generation: upgrades.generation,
        last_upgrade: upgrades.last,
    })
}
