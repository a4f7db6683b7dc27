//! A coin source: whoever is called `alice_kas` mines `kas`.

use async_trait::async_trait;
use serde_json::Value;
use switcher_plugin::{
    Assignment, Coin, CoinSource, Notice, ProfileError, SourceContext, SourceError, SourceState,
    Wanted,
};
use switcher_plugin_abi::sdk::Source;

#[derive(Debug)]
struct Suffix;

#[async_trait]
impl CoinSource for Suffix {
    fn name(&self) -> &str {
        "suffix"
    }

    async fn run(self: Box<Self>, context: SourceContext) -> Result<SourceState, SourceError> {
        let SourceContext { board, mut wanted, mut stop, .. } = context;
        board.post(Notice::Health { healthy: true, detail: "asks nobody".to_owned() });
        let answers = async {
            while let Some(wanted) = wanted.recv().await {
                // The first session of a sub-account has come: an answer is due.
                let Wanted::Acquire { sub_account, .. } = wanted else { continue };
                let suffix = sub_account.as_str().rsplit_once('_');
                let coin = suffix.filter(|(name, coin)| !name.is_empty() && !coin.is_empty());
                let assignment = coin.map(|(_, coin)| Assignment::to(Coin::new(coin), "its name"));
                board.post(match assignment {
                    Some(assignment) => Notice::Assign(sub_account, assignment),
                    None => Notice::Unknown(sub_account),
                });
            }
        };
        tokio::select! {
            () = answers => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        // What is returned here is `context.saved` of the next run.
        Ok(SourceState::default())
    }
}

/// Makes the source of its table in the configuration.
fn make(config: &Value) -> Result<Box<dyn CoinSource>, ProfileError> {
    match config.as_object().and_then(|table| table.keys().next()) {
        None => Ok(Box::new(Suffix)),
        Some(key) => Err(ProfileError {
            key: key.clone(),
            problem: "is not known".to_owned(),
            accepted: "there is nothing to configure".to_owned(),
        }),
    }
}

switcher_plugin_abi::export_plugin! {
    dialects: [],
    sources: [Source::new("suffix", make).about("the coin stands in the name")],
}
