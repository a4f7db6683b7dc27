//! The load tool in small: that it measures, finds nothing wrong where nothing is, and says so
//! where something is.

mod stand_in;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Command, Output};

use stand_in::Manner;

fn swarm(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_swarm"))
        .args(["--runs", "1", "--jobs", "2", "--job-pause", "50", "--shares", "300"])
        .args(["--share-rate", "1000", "--sessions", "50"])
        .args(arguments)
        .output()
        .expect("the load tool starts")
}

fn figures<'a>(text: &'a str, row: &str) -> Vec<&'a str> {
    let line = text.lines().find(|line| line.starts_with(row)).expect("the row is printed");
    line[row.len()..].split_whitespace().collect()
}

#[test]
fn a_relay_and_no_proxy_at_all_are_measured_without_complaint() {
    for turns in [&[][..], &["--in-turn"]] {
        let output = swarm(&[&["--peers", "relay,direct"], turns].concat());

        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let wrong = figures(&text, "shares lost, refused, doubled (no switch)");
        assert_eq!(wrong, ["0.00", "0.00"], "{text}");
        let last = figures(&text, "one job to all: last ms");
        assert!(last[0].parse::<f64>().expect("a figure") > 0.0, "{text}");
        assert_eq!(figures(&text, "user memory per idle session, KiB")[1], "-");
    }
}

#[test]
fn peers_that_are_not_there_are_skipped_with_a_word() {
    let output = swarm(&["--peers", "direct,squid", "--switcher", "/nowhere/stratum-switcher"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("squid is no known peer") && said.contains("no /nowhere"), "{said}");
}

#[test]
fn a_proxy_that_nobody_listens_behind_is_a_failure() {
    let address = free_address();
    let (address, process) = (address.to_string(), std::process::id().to_string());

    let output = swarm(&[
        "--peers",
        "direct",
        "--target",
        &address,
        "--target-pid",
        &process,
        "--target-pool",
        "127.0.0.1:0",
    ]);

    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("does not listen"), "{text}");
}

fn free_address() -> SocketAddr {
    let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port can be had");
    held.local_addr().expect("a bound socket has an address")
}

fn switch_with(manner: Manner) -> Output {
    let folder = tempfile::tempdir().expect("a temporary folder can be had");
    let coin_file = folder.path().join("coins.toml");
    let pools = [free_address(), free_address()];
    let address = stand_in::start(pools, coin_file.clone(), manner);
    swarm(&[
        "--peers",
        "direct",
        "--target",
        &address.to_string(),
        "--target-pid",
        &std::process::id().to_string(),
        "--target-pool",
        &pools[0].to_string(),
        "--target-pool",
        &pools[1].to_string(),
        "--coin-file",
        &coin_file.display().to_string(),
    ])
}

#[test]
fn a_clean_switch_is_timed_and_found_clean() {
    let output = switch_with(Manner::Faithful);

    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(figures(&text, "switch: shares lost or refused"), ["0.00", "-"], "{text}");
    let last = figures(&text, "switch: last first new job, ms");
    assert!(last[0].parse::<f64>().expect("a figure") > 0.0, "{text}");
}

#[test]
fn swallowed_answers_are_counted_and_told() {
    let output = switch_with(Manner::SwallowsAnswers);

    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{text}");
    let bad = figures(&text, "switch: shares lost or refused");
    assert!(bad[0].parse::<f64>().expect("a figure") > 0.0, "{text}");
    assert!(text.contains("the switch was not clean"), "{text}");
}
