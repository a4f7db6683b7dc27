//! At the limit of descriptors.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use integration_tests::SwitcherConfig;
use nix::sys::resource::{Resource, getrlimit};
use socket2::{SockFilter, SockRef};
use stratum_peers::{Miner, MinerConfig, Pool, eventually_within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{has_noticed_nothing, plain};

/// Descriptors to reserve so that just `sessions` fit beside `switches` spare ones.
fn reserve_for(sessions: usize, switches: usize) -> usize {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is a limit");
    usize::try_from(soft).expect("it fits") - 2 * sessions - switches
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_descriptor_cap_all_sessions_are_switched_and_nothing_is_lost() {
    const SESSIONS: usize = 120;
    const SWITCHES: usize = 12;
    let (pool, other) = (Pool::start(plain("btc")).await, Pool::start(plain("bch")).await);
    let switcher = SwitcherConfig::new()
        .pool("btc", &pool)
        .pool("bch", &other)
        .with(|settings| {
            settings.limits.reserved_descriptors = reserve_for(SESSIONS, SWITCHES);
            settings.limits.switch_descriptors = SWITCHES;
            settings.timing.linger_min = Duration::from_secs(10);
            settings.timing.linger_max = Duration::from_secs(30);
        })
        .start()
        .await;
    switcher.assign("alice", "btc");
    let mut miners = Vec::new();
    for n in 0..SESSIONS {
        let config = MinerConfig::new(format!("alice.rig{n}"));
        let config = config.share_every(Duration::from_millis(300));
        miners.push(Miner::connect(switcher.address(), config).await);
    }
    let patience = Duration::from_mins(1);
    eventually_within("all mine", patience, || {
        miners.iter().all(|miner| miner.report().accepted > 0)
    })
    .await;
    assert_eq!(switcher.get("/readyz").await.0, 503, "it is full");

    let begin = Instant::now();
    switcher.assign("alice", "bch");
    eventually_within("all mine at the other pool", patience, || {
        other.report().accepted_by_name.len() == SESSIONS
    })
    .await;
    // 12 spare descriptors, each held for a second at least, move 120 sessions in some 10 s.
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(40), "it took {took:?}");

    for miner in &miners {
        has_noticed_nothing(miner);
    }
}

/// A miner that says what is needed and then acknowledges nothing: its socket drops all that
/// comes, as if its power was cut.
struct Ghost(TcpStream);

impl Ghost {
    async fn connect(address: SocketAddr, rig: usize) -> Self {
        let mut stream = TcpStream::connect(address).await.expect("the switcher listens");
        let lines = format!(
            "{{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}}\n\
             {{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"alice.rig{rig}\",\"x\"]}}\n"
        );
        stream.write_all(lines.as_bytes()).await.expect("it takes the lines");
        let mut heard = String::new();
        while !heard.contains("mining.notify\",\"params")
            && !heard.contains("\"mining.notify\", \"params")
        {
            let mut buffer = [0; 4096];
            let n = stream.read(&mut buffer).await.expect("it answers");
            assert!(n > 0, "closed after {heard}");
            heard.push_str(&String::from_utf8_lossy(buffer.get(..n).unwrap_or_default()));
        }
        Self(stream)
    }

    fn vanish(&self) {
        // One instruction: accept nothing of any packet.
        const RETURN: u16 = 0x06;
        SockRef::from(&self.0)
            .attach_filter(&[SockFilter::new(RETURN, 0, 0, 0)])
            .expect("a filter can be set on one's own socket");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn miners_that_vanish_without_a_fin_make_room_when_they_come_back() {
    const SESSIONS: usize = 60;
    const GHOSTS: usize = 54;
    let pool = Pool::start(plain("btc")).await;
    let switcher = SwitcherConfig::new()
        .pool("btc", &pool)
        .with(|settings| {
            settings.limits.reserved_descriptors = reserve_for(SESSIONS, 8);
            settings.limits.switch_descriptors = 8;
        })
        .start()
        .await;
    switcher.assign("alice", "btc");
    let mut ghosts = Vec::new();
    for n in 0..GHOSTS {
        ghosts.push(Box::pin(Ghost::connect(switcher.address(), n)).await);
    }
    let mut staying = Vec::new();
    for n in GHOSTS..SESSIONS {
        let config = MinerConfig::new(format!("alice.rig{n}"));
        let config = config.share_every(Duration::from_millis(100));
        staying.push(Miner::connect(switcher.address(), config).await);
    }

    for ghost in &ghosts {
        ghost.vanish();
    }
    let begin = Instant::now();
    let mut back = Vec::new();
    for n in 0..GHOSTS {
        let config = MinerConfig::new(format!("alice.rig{n}"));
        let config = config.share_every(Duration::from_millis(100));
        back.push(Miner::connect(switcher.address(), config).await);
    }
    eventually_within("all who came back mine", Duration::from_mins(1), || {
        back.iter().all(|miner| miner.report().accepted > 0)
    })
    .await;

    assert!(begin.elapsed() < Duration::from_mins(1));
    for miner in staying.iter().chain(&back) {
        has_noticed_nothing(miner);
    }
}
