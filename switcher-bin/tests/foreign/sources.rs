//! Coin sources by themselves, under the host in C that authors are given.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::build::{cc, fifo, root, run};
use crate::fifo::Fifo;

/// The host in C.
fn conform_source(into: &Path) -> PathBuf {
    let program = into.join("conform_source");
    let source = root().join("docs/plugins/source-in-c/conform_source.c");
    // No source of these tests asks anybody, so one second is long.
    run(cc().args(["-DPATIENCE_S=1", "-o"]).arg(&program).arg(source).arg("-ldl"));
    program
}

#[test]
fn the_source_in_c_conforms_and_takes_no_memory_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (host, library) = (conform_source(folder.path()), fifo("1.0.0", folder.path()));
    let coins = Fifo::make(folder.path().join("coins"));
    let long = "x".repeat(600);
    let odd = format!("bob\n{long} kas\nbob kls x\n\u{e9}ve kas\n");
    coins.say(&format!("alice kas\n# hello\n{odd}carol\tkls\r\n\ndave ka"));
    let config = format!("{{\"path\":{:?}}}", coins.path().to_str().unwrap());

    let has_valgrind = Command::new("valgrind").arg("--version").output().is_ok();
    let mut command = Command::new(if has_valgrind { Path::new("valgrind") } else { &host });
    if has_valgrind {
        command.args(["-q", "--error-exitcode=9", "--leak-check=full"]).arg(&host).env("SLOW", "1");
    }
    let told = run(command.arg(&library).arg(&config).args(["alice", "bob", "carol", "dave"]));

    for line in ["alice: assign kas", "bob: unknown", "carol: assign kls", "dave: unknown"] {
        assert!(told.contains(line), "{line} in {told}");
    }
    assert_eq!(told.matches("ignored").count(), 4, "{told}");
    assert!(told.ends_with("conforms\n"), "{told}");
}

#[test]
fn the_source_in_c_says_what_is_wrong_with_its_settings() {
    let folder = tempfile::tempdir().unwrap();
    let (host, library) = (conform_source(folder.path()), fifo("1.0.0", folder.path()));
    std::fs::write(folder.path().join("file"), "").unwrap();
    let file = format!("{{\"path\":{:?}}}", folder.path().join("file").to_str().unwrap());

    for (config, told) in [
        ("{}", "path must be there and absolute"),
        ("{\"path\":\"coins\"}", "path must be there and absolute"),
        ("{\"path\":7}", "path is no path"),
        ("{\"pat\":\"/x\"}", "pat is not known"),
        (&file, "path is there and no FIFO"),
    ] {
        let output = Command::new(&host).arg(&library).arg(config).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains(told), "{config}: {said}");
        assert_eq!(output.status.code(), Some(1), "{config}");
    }
}

#[test]
fn the_host_in_c_finds_what_is_wrong_with_a_source() {
    let folder = tempfile::tempdir().unwrap();
    let host = conform_source(folder.path());
    let good =
        std::fs::read_to_string(root().join("docs/plugins/source-in-c/suffix_source.c")).unwrap();
    let verdict = |edits: &[(&str, &str)]| {
        let mut text = good.clone();
        for (old, new) in edits {
            assert!(text.contains(old), "{old}");
            text = text.replace(old, new);
        }
        let (source, library) = (folder.path().join("broken.c"), folder.path().join("broken.so"));
        std::fs::write(&source, text).unwrap();
        run(cc().args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source));
        let output = Command::new(&host).arg(&library).args(["{}", "alice_kas"]).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let include = "#include <string.h>";
    let begin = "    *running = sink;\n";
    let ends = "(void)running, (void)state, (void)error;\n";

    assert_eq!(verdict(&[]).0, Some(0));
    for (told, edits) in [
        ("never said how it is", &[("host->post(sink, &well)", "(void)well")][..]),
        ("an assignment without a coin", &[("answer.n_coins = 1", "answer.n_coins = 0")]),
        ("without weight", &[(".weight = 1.0", ".weight = -1.0")]),
        (
            "has no answer for alice_kas",
            &[("host->post(running, &a", "if (!running) host->post(0, &a")],
        ),
        ("which there is not", &[(".kind = SW_UNKNOWN", ".kind = 77"), ("SW_ASSIGN", "77")]),
        ("does not stop", &[(ends, "(void)running, (void)state, (void)error;\n    return 4;\n")]),
        (
            "would live through an upgrade",
            &[(include, "#include <fcntl.h>"), (begin, "*running = (open(\"/\", 0), sink);\n")],
        ),
        (
            "leaves descriptors behind",
            &[
                (include, "#define _GNU_SOURCE\n#include <fcntl.h>"),
                (begin, "    *running = sink;\n    (void)!open(\"/\", O_CLOEXEC);\n"),
            ],
        ),
        (
            "once it was stopped and started again",
            &[("size_t at = ", "static int n; size_t at = ++n > 501 ? 0 : ")],
        ),
    ] {
        let (code, said) = verdict(edits);
        assert!(said.contains(told), "{told}: {said}");
        assert_eq!(code, Some(1), "{told}");
    }
}
