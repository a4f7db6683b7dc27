//! Stand-ins until the plug-in crates are merged; then this file goes.
#![allow(
    clippy::unused_self,
    clippy::unnecessary_wraps,
    missing_docs,
    dead_code,
    unreachable_pub,
    clippy::wildcard_imports,
    reason = "goes with the file"
)]

pub mod dialect_btc {
    use std::ops::RangeInclusive;
    use switcher_plugin::*;

    pub const DIALECT: Btc = Btc;

    #[derive(Debug)]
    pub struct Btc;

    impl StratumDialect for Btc {
        fn name(&self) -> &'static str {
            "btc"
        }
        fn family(&self) -> &'static str {
            "bitcoin"
        }
        fn recognise(&self, _: &[u8]) -> Recognition {
            Recognition::NotMine
        }
        fn profile(&self, _: &UpstreamSettings<'_>) -> Result<Profile, ProfileError> {
            Ok(Profile([].into()))
        }
        fn check_listener(&self, _: &serde_json::Value) -> Result<(), ProfileError> {
            Ok(())
        }
        fn state_versions(&self) -> RangeInclusive<u16> {
            1..=1
        }
        fn open(&self, _: Seat<'_>) -> Box<dyn DialectSession> {
            unreachable!("a stand-in recognises nobody")
        }
        fn resume(&self, _: Seat<'_>, _: &Saved) -> Result<Box<dyn DialectSession>, ResumeError> {
            Err(ResumeError::Damaged("stand-in".into()))
        }
    }
}

pub mod dialect_bch {
    pub use super::dialect_btc::DIALECT;
}

pub mod coin_source_file {
    use async_trait::async_trait;
    use std::path::PathBuf;
    use std::time::Duration;
    use switcher_plugin::*;

    #[derive(Debug, thiserror::Error)]
    #[error("wrong")]
    pub struct Wrong;

    #[derive(Debug)]
    pub struct FileSettings {
        pub path: PathBuf,
        pub settle: Duration,
        pub poll: Duration,
        pub case_insensitive: bool,
    }

    #[derive(Debug)]
    pub struct FileSource(FileSettings);

    impl FileSource {
        pub fn new(settings: FileSettings) -> Result<Self, Wrong> {
            Ok(Self(settings))
        }
        pub fn check(&self) -> Result<String, Wrong> {
            Ok("stand-in".into())
        }
    }

    #[async_trait]
    impl CoinSource for FileSource {
        fn name(&self) -> &'static str {
            "file"
        }
        async fn run(self: Box<Self>, _: SourceContext) -> Result<SourceState, SourceError> {
            Ok(SourceState::default())
        }
    }
}

pub mod engine {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use switcher_core::Settings;
    use switcher_plugin::*;

    #[derive(Debug)]
    pub struct Setup {
        pub settings: Settings,
        pub dialects: Vec<Arc<dyn StratumDialect>>,
        pub sources: Vec<Box<dyn CoinSource>>,
    }
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Stop {
        Drain,
        Freeze,
    }
    #[derive(Debug)]
    pub struct Control {
        pub stop: tokio::sync::watch::Receiver<Option<Stop>>,
        pub started: Option<tokio::sync::oneshot::Sender<Started>>,
    }
    #[derive(Debug)]
    pub struct Started {
        pub listeners: Vec<SocketAddr>,
        pub admin: Option<SocketAddr>,
    }
    #[derive(Debug, Default)]
    pub struct State(());
    #[derive(Debug, thiserror::Error)]
    #[error("stand-in")]
    pub struct RunError;

    pub fn run(_: Setup, state: State, control: Control) -> Result<State, RunError> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().build().map_err(|_| RunError)?;
        let mut stop = control.stop;
        if let Some(started) = control.started {
            let _ = started.send(Started { listeners: Vec::new(), admin: None });
        }
        let _ = runtime.block_on(stop.wait_for(Option::is_some));
        Ok(state)
    }
}
