//! The coin source `static`: one coin for every newcomer. It never moves anybody.

use async_trait::async_trait;
use switcher_plugin::{
    Assignment, Coin, CoinSource, Notice, SourceContext, SourceError, SourceState, Wanted,
};

/// A source that knows one coin.
#[derive(Debug)]
pub(crate) struct StaticSource {
    coin: Coin,
}

impl StaticSource {
    /// A source of this coin.
    pub(crate) fn new(coin: Coin) -> Self {
        Self { coin }
    }
}

#[async_trait]
impl CoinSource for StaticSource {
    fn name(&self) -> &'static str {
        "static"
    }

    async fn run(self: Box<Self>, mut context: SourceContext) -> Result<SourceState, SourceError> {
        loop {
            tokio::select! {
                // A stop whose sender is gone is a stop as well.
                _ = context.stop.wait_for(|&stop| stop) => break,
                wanted = context.wanted.recv() => match wanted {
                    Some(Wanted::Acquire { sub_account, .. }) => {
                        let assignment = Assignment::to(self.coin.clone(), "sources.static");
                        context.board.post(Notice::Default(sub_account, assignment));
                    }
                    Some(Wanted::Release(_)) => {}
                    None => break,
                },
            }
        }
        Ok(SourceState::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switcher_plugin::{BoardWriter, SessionId, SubAccount, WorkerName};
    use tokio::sync::{mpsc, watch};

    #[tokio::test]
    async fn newcomers_get_the_coin_and_a_stop_ends_it() {
        let (posted, mut notices) = mpsc::unbounded_channel();
        let (want, wanted) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(false);
        let context = SourceContext {
            board: BoardWriter::new(move |notice| posted.send(notice).unwrap()),
            wanted,
            stop: stopped,
            saved: SourceState::default(),
        };
        let run = tokio::spawn(Box::new(StaticSource::new(Coin::from("btc"))).run(context));

        want.send(Wanted::Acquire {
            sub_account: SubAccount::from("alice"),
            session: SessionId(1),
            worker: WorkerName::from("alice.rig"),
        })
        .unwrap();

        let expected = Assignment::to(Coin::from("btc"), "sources.static");
        let notice = notices.recv().await;
        assert_eq!(notice, Some(Notice::Default(SubAccount::from("alice"), expected)));
        stop.send(true).unwrap();
        assert_eq!(run.await.unwrap(), Ok(SourceState::default()));
    }
}
