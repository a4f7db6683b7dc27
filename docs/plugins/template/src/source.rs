//! A coin source: whoever is called `alice_kas` mines `kas`.

use async_trait::async_trait;
use switcher_plugin::{
    Assignment, Coin, CoinSource, Notice, ProfileError, SourceContext, SourceError, SourceState,
    Wanted,
};

/// Makes the source of its table in the configuration. It has no settings.
pub(crate) fn make(_config: &serde_json::Value) -> Result<Box<dyn CoinSource>, ProfileError> {
    Ok(Box::new(Suffix))
}

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
        // Until told to stop; what it returns is given to the next run as `context.saved`.
        let work = async {
            while let Some(wanted) = wanted.recv().await {
                let Wanted::Acquire { sub_account, .. } = wanted else { continue };
                let suffix = sub_account.as_str().rsplit_once('_');
                let coin = suffix.map(|(_, coin)| coin).filter(|coin| !coin.is_empty());
                let assignment = coin.map(|coin| Assignment::to(Coin::new(coin), "its name"));
                board.post(match assignment {
                    Some(assignment) => Notice::Assign(sub_account, assignment),
                    None => Notice::Unknown(sub_account),
                });
            }
        };
        tokio::select! {
            () = work => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        Ok(SourceState::default())
    }
}
