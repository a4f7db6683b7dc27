//! The real binary: what it prints, how it exits, how it takes signals.

#![expect(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use switcher_plugin_abi::testing::Library;

const GOOD: &str = r#"
[[listeners]]
listen = "127.0.0.1:0"
[[coins.btc.pools]]
url = "127.0.0.1:9"
password = "hunter2"
[admin]
enabled = false
"#;

#[test]
fn config_prints_the_commented_defaults() {
    let output = run(&["config"]);

    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stdout(&output), include_str!("../config/switcher.toml"));
}

#[test]
fn plugins_lists_what_is_built_in() {
    let output = run(&["plugins"]);

    let rows: Vec<Vec<_>> = stdout(&output)
        .lines()
        .map(|line| line.split_whitespace().take(2).map(str::to_owned).collect())
        .collect();
    let expected = [
        ["NAME", "KIND"],
        ["btc", "dialect"],
        ["bch", "dialect"],
        ["eth", "dialect"],
        ["dcr", "dialect"],
        ["file", "source"],
        ["zookeeper", "source"],
        ["static", "source"],
    ];
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(rows, expected);
}

#[test]
fn plug_in_takes_a_name_that_is_taken_only_if_it_may() {
    let folder = tempfile::tempdir().unwrap();
    let library = Library::built("btc");
    let entry = |more: &str| format!("[[plugins.load]]\npath = {:?}\n{more}\n", library.path());
    let check = |entries: &[String]| {
        let file = write(folder.path(), &format!("{GOOD}{}", entries.concat()));
        let output = run(&["check", "--config", file.to_str().unwrap()]);
        (output.status.code(), stderr(&output))
    };

    let (code, text) = check(&[entry("")]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("there is another dialect \"btc\"; `override = true`"), "{text}");
    let (code, text) = check(&[entry("override = true"), entry("override = true")]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("there is another plug-in of the name"), "{text}");
    let (code, text) = check(&[entry("override = true")]);
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn check_prints_the_values_in_force_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), GOOD);

    let output = run(&["check", "--config", file.to_str().unwrap(), "--set", "timing.dial=3s"]);

    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text.contains("dial = \"3s\"  # --set timing.dial"), "{text}");
    assert!(text.contains("password = \"***\"  # "), "{text}");
    assert!(!format!("{output:?}").contains("hunter2"), "{output:?}");
    assert!(stderr(&output).ends_with("nothing wrong found\n"), "{output:?}");
}

#[test]
fn check_tells_all_mistakes_and_exits_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "shard = 1\n[[listeners]]\nlisten = 1\n[coins.btc]");

    let output = run(&["-c", file.to_str().unwrap(), "check"]);

    let name = file.display();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        stderr(&output),
        format!(
            "{name}: shard: unknown key; did you mean \"shards\"?\n\
             {name}: listeners[0].listen: 1 does not fit; accepted: an address with a port, \
             such as \"0.0.0.0:3333\" or \"[::]:3333\"\n\
             {name}: coins.btc.pools: none given; every coin needs at least one pool\n\
             3 to be put right; `stratum-switcher config` prints a commented configuration\n"
        )
    );
    assert_eq!(stdout(&output), "");
}

#[test]
fn file_and_keys_come_from_variables_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), GOOD);

    let output = program()
        .arg("check")
        .env("SWITCHER_CONFIG", &file)
        .env("SWITCHER_LIMITS__SESSIONS", "7")
        .output()
        .unwrap();

    let text = stdout(&output);
    assert!(text.contains("sessions = 7  # SWITCHER_LIMITS__SESSIONS"), "{output:?}");
}

#[test]
fn default_file_passes_the_check_with_the_built_in_plug_ins() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), include_str!("../config/switcher.toml"));
    std::fs::write(folder.path().join("coins.toml"), "default = \"btc\"").unwrap();

    let output = run(&["check", "-c", file.to_str().unwrap()]);

    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn files_of_the_readme_pass_the_check() {
    let folder = tempfile::tempdir().unwrap();
    let readme = include_str!("../../README.md");
    let mut blocks =
        readme.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let file = write(folder.path(), blocks.next().unwrap());
    std::fs::write(folder.path().join("coins.toml"), blocks.next().unwrap()).unwrap();

    let output = run(&["check", "-c", file.to_str().unwrap()]);

    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn what_a_dialect_or_source_does_not_accept_is_told_like_any_other_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = format!("{GOOD}[sources.file]\npath = \"coins\"");
    let file = write(folder.path(), &wrong);
    let pool = "coins.btc.pools[0].options.extranonce=ecko";
    let listener = "listeners[0].options.version_mask=all";

    let output = run(&["check", "-c", file.to_str().unwrap(), "--set", pool, "--set", listener]);

    let told: Vec<_> = stderr(&output)
        .lines()
        .map(|line| line.splitn(3, ": ").take(2).collect::<Vec<_>>().join(": "))
        .collect();
    let source = format!("{}: sources.file", file.display());
    let expected = [
        "--set coins.btc.pools[0].options.extranonce: coins.btc.pools[0].options.extranonce",
        "--set listeners[0].options.version_mask: listeners[0].options.version_mask",
        &source,
    ];
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(told.get(..3).unwrap(), expected, "{output:?}");
}

#[test]
fn coin_file_that_would_not_be_applied_fails_the_check() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), &format!("{GOOD}[sources.file]\npath = \"coins.toml\""));
    std::fs::write(folder.path().join("coins.toml"), "defualt = \"btc\"").unwrap();

    let output = run(&["check", "-c", file.to_str().unwrap()]);

    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(stderr(&output).contains("sources.file: "), "{output:?}");
}

#[cfg(feature = "demo")]
#[test]
fn demo_moves_miners_there_and_back_without_a_fault() {
    let output = run(&["demo", "--auto"]);

    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    assert!(
        text.contains("alice.rig2 mines bch, on the connection it has had all along"),
        "{text}"
    );
    assert_eq!(stderr(&output), "");
}

#[test]
fn check_host_reports_each_limit() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), GOOD);
    let config = file.to_str().unwrap();

    let content = run(&["check", "--host", "--config", config]);
    let too_much = run(&["check", "--host", "-c", config, "--set", "limits.sessions=4000000000"]);

    assert!(stderr(&content).contains("host: ok: open files: "), "{content:?}");
    assert!(stderr(&too_much).contains("host: no: open files: "), "{too_much:?}");
    assert_eq!(too_much.status.code(), Some(3));
}

#[test]
fn wrong_command_line_exits_with_2_and_help_with_0() {
    assert_eq!(run(&["--nonsense"]).status.code(), Some(2));
    assert_eq!(run(&["--help"]).status.code(), Some(0));
    assert_eq!(run(&[]).status.code(), Some(2));
}

#[test]
fn sigterm_ends_it_in_good_order_and_other_signals_are_survived() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), GOOD);
    let mut running = Running::start(&file);

    running.wait_for("starting");
    running.signal(Signal::SIGHUP);
    running.wait_for("SIGHUP");
    running.signal(Signal::SIGUSR2);
    running.wait_for("SIGUSR2");
    running.signal(Signal::SIGTERM);
    running.wait_for("stopping");
    running.wait_for("stopped");

    assert_eq!(running.child.wait().unwrap().code(), Some(0));
    let errors: Vec<_> = running.seen.iter().filter(|line| line.contains("ERROR")).collect();
    assert!(errors.is_empty(), "{errors:?}");
    assert!(!running.seen.concat().contains("hunter2"));
}

/// The options come from `.cargo/config.toml`, which a build from elsewhere would not see.
#[cfg(feature = "jemalloc")]
#[test]
fn options_of_the_allocator_are_built_in() {
    let options = b"narenas_ratio:1,background_thread:true";

    let binary = std::fs::read(env!("CARGO_BIN_EXE_stratum-switcher")).unwrap();

    assert!(binary.windows(options.len()).any(|bytes| bytes == options));
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stratum-switcher"));
    // Variables of whoever runs the tests must not configure the program.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SWITCHER_") {
            command.env_remove(name);
        }
    }
    command
}

fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn write(folder: &Path, text: &str) -> PathBuf {
    let file = folder.join("switcher.toml");
    std::fs::write(&file, text).unwrap();
    file
}

/// A running program whose log is read.
struct Running {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
    seen: Vec<String>,
}

impl Running {
    fn start(config: &Path) -> Self {
        let mut child =
            program().arg("--config").arg(config).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Self { child, log, seen: Vec::new() }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Reads the log up to a line with this text; the end of the log is the end of waiting.
    fn wait_for(&mut self, text: &str) {
        loop {
            let mut line = String::new();
            let read = self.log.read_line(&mut line).unwrap();
            assert!(read > 0, "no {text:?} in the log: {:#?}", self.seen);
            let found = line.contains(text);
            self.seen.push(line);
            if found {
                return;
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that failed must leave nothing behind; one that passed has nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
