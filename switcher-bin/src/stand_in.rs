//! Stand-ins until the plug-in crates are merged; then this file goes.
#![allow(
    missing_docs,
    dead_code,
    unreachable_pub,
    clippy::wildcard_imports,
    reason = "goes with the file"
)]

pub mod dialect_btc {
    use std::ops::RangeInclusive;
    use switcher_plugin::*;

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
    pub use super::dialect_btc::Btc as Bch;
}

pub mod coin_source_file {
    use async_trait::async_trait;
    use std::path::PathBuf;
    use std::time::Duration;
    use switcher_plugin::*;

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
        pub fn new(settings: FileSettings) -> Self {
            Self(settings)
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
