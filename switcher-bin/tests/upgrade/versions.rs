//! To a newer version of the program and back to the older one, as far as their states allow.

use std::time::Duration;

use serde_json::Value;
use stratum_peers::Pool;

use crate::running::{BINARY, Start, Switcher, books_agree, plain, shares_at};

/// Puts the program in its place as a version whose saved sessions are newer in this way, or as it is.
fn place(switcher: &Switcher, newer: &str) {
    let set = match newer {
        "" => "unset STRATUM_SWITCHER_NEWER".to_owned(),
        way => format!("export STRATUM_SWITCHER_NEWER={way}"),
    };
    let script = format!("#!/bin/sh\n{set}\nexec {BINARY} \"$@\"\n");
    switcher.replace(script.as_bytes(), 0o755);
}

/// The document that was carried over last.
async fn carried(switcher: &Switcher) -> Value {
    let path = switcher.folder().join("runtime.json");
    let generation = switcher.told().1["generation"].as_u64().unwrap();
    stratum_peers::eventually_some("the file is of the last upgrade", || {
        let state: Value = serde_json::from_str(&std::fs::read_to_string(&path).ok()?).ok()?;
        let document = state["document"].clone();
        (document["upgrades"]["generation"].as_u64()? + 1 == generation).then_some(document)
    })
    .await
}

/// The version in which the first session was carried over last.
async fn version(switcher: &Switcher) -> u64 {
    let session = &carried(switcher).await["sessions"][0]["stage"]["speaking"];
    session["machine"]["dialect"]["version"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_written_in_a_version_that_the_next_program_reads() {
    let pool = Pool::start(plain("pool")).await;
    let more = "[upgrade]\nruntime_file = \"runtime.json\"\n";
    let switcher = Start::one(&pool).more(more).go().await;
    let miner = switcher.miner("rig1").await;
    shares_at(&pool, 5).await;

    // From old to new, from new to new, back to the old one, and once more. The newer one adds a third
    // version; the old one writes the first of its two for a session that needs no more.
    for (newer, written) in [("write", 1), ("write", 3), ("", 1), ("", 1), ("write", 1)] {
        place(&switcher, newer);
        switcher.upgrade_well().await;
        assert_eq!(version(&switcher).await, written, "{newer:?}");
        shares_at(&pool, 5).await;
    }

    assert_eq!(pool.report().connections, 1);
    books_agree(&[miner], &[&pool]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn version_that_reads_none_of_ours_is_refused_before_anything_is_touched() {
    let pool = Pool::start(plain("pool")).await;
    let switcher = Start::one(&pool).go().await;
    let miner = switcher.miner("rig1").await;
    shares_at(&pool, 5).await;

    place(&switcher, "only");
    let last = switcher.upgrade().await;

    assert_eq!(last["result"], "refused", "{last}");
    let why = last["why"].as_str().unwrap();
    assert!(why.contains("in versions 3 to 3") && why.contains("writes 1 to 2"), "{why}");
    // What was tried leaves no trace.
    place(&switcher, "");
    switcher.upgrade_well().await;
    tokio::time::timeout(Duration::from_secs(30), shares_at(&pool, 5)).await.unwrap();
    books_agree(&[miner], &[&pool]).await;
}

/// Puts the program in its place as one of the time when states had no other schema than 1.
fn place_first(switcher: &Switcher) {
    let sample = switcher.folder().join("sample");
    let sample = sample.display();
    // The major version is the thirteenth byte.
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *--preflight*) ;; *) exec {BINARY} \"$@\";; esac\n\
         cat > {sample}\nmajor=$(head -c 13 {sample} | tail -c 1 | od -An -tu1 | tr -d ' ')\n\
         [ $major = 1 ] && exec {BINARY} \"$@\" < {sample}\n\
         echo \"error: the sample of the state: its schema is $major.0, and only 1.x can be read\" >&2\n\
         exit 1\n"
    );
    switcher.replace(script.as_bytes(), 0o755);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_sessions_share_is_written_once_for_a_program_that_knows_how() {
    let pool = Pool::start(plain("pool")).await;
    let more = "[upgrade]\nruntime_file = \"runtime.json\"\n";
    let switcher = Start::one(&pool).more(more).go().await;
    let miners = [switcher.miner("rig1").await, switcher.miner("rig2").await];
    shares_at(&pool, 10).await;

    for knows_how in [true, false, true] {
        if knows_how {
            place(&switcher, "");
        } else {
            place_first(&switcher);
        }
        switcher.upgrade_well().await;
        let document = carried(&switcher).await;
        assert_eq!(document["sessions"].as_array().unwrap().len(), 2);
        assert_eq!(document["texts"].is_string(), knows_how, "{document}");
        shares_at(&pool, 10).await;
    }

    assert_eq!(pool.report().connections, 2);
    books_agree(&miners, &[&pool]).await;
}
