//! The tutorials for authors, followed word for word: every file they show is written, every command
//! they give is run, and what they promise to be printed must be printed. What comes out must be the
//! templates that lie beside them.
//!
//! A block of a tutorial is told by the words behind its fence: a file's language and name, `sh`, or
//! `output` for lines that the commands before it print. A file that comes again is continued.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::build::{BINARY, CARGO_ENV, root, run, target};

/// What a reader of a tutorial has: the sources beside the folder of the work, and the program.
struct Reader {
    folder: TempDir,
    /// Where the commands so far have led to.
    place: PathBuf,
    printed: String,
    /// Ports of the tutorial, and free ones that stand in for them.
    ports: Vec<(String, String)>,
}

#[test]
fn the_tutorial_of_a_dialect_leads_to_the_template() {
    let mut reader = Reader::new();
    reader.follow("docs/plugins/dialect.md", "dialect-template");

    let files = [
        "Cargo.toml",
        "src/lib.rs",
        "src/session.rs",
        "tests/conformance.rs",
        "tests/transcripts/moved.txt",
        "tests/transcripts/refused.txt",
        "examples/pool.rs",
    ];
    reader.has_made("pickaxe", "dialect-template", &files);
}

#[test]
fn the_tutorial_of_a_coin_source_leads_to_the_templates() {
    let mut reader = Reader::new();
    reader.follow("docs/plugins/coin-source.md", "source-template");

    reader.has_made("suffix-in-c", "source-in-c", &["suffix_source.c"]);
    reader.has_made("suffix", "source-template", &["Cargo.toml", "src/lib.rs"]);
}

/// The crates that have a workspace of their own.
const CRATES: [&str; 3] = [
    "docs/plugins/dialect-template",
    "docs/plugins/source-template",
    "integration-tests/plugins/kaspa",
];

#[test]
fn crates_of_their_own_are_formatted() {
    for folder in CRATES {
        let mut cargo = Command::new(env!("CARGO"));
        run(cargo.current_dir(root().join(folder)).args(["fmt", "--check"]));
    }
}

/// So that building them needs nothing that building the project has not fetched.
#[test]
fn lock_files_name_nothing_that_the_projects_does_not() {
    let packages = |folder: &Path| {
        let text = std::fs::read_to_string(folder.join("Cargo.lock")).unwrap();
        let package = |text: &str| {
            let checksum = text.lines().find(|line| line.starts_with("checksum = "))?;
            Some((text.lines().next()?.to_owned(), checksum.to_owned()))
        };
        text.split("[[package]]\n").filter_map(package).collect::<BTreeSet<_>>()
    };
    let known = packages(&root());
    for folder in CRATES {
        let own = packages(&root().join(folder));
        let news: Vec<_> = own.difference(&known).collect();
        assert!(!own.is_empty() && news.is_empty(), "{folder}: {news:#?}");
    }
}

impl Reader {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("work");
        std::fs::create_dir(&place).unwrap();
        std::os::unix::fs::symlink(root(), folder.path().join("work/stratum-switcher")).unwrap();
        let listeners: Vec<_> =
            (0..3).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let free = listeners.iter().map(|free| free.local_addr().unwrap().port().to_string());
        let ports = ["13333", "14444", "19332"].map(str::to_owned).into_iter().zip(free).collect();
        Self { folder, place, printed: String::new(), ports }
    }

    fn follow(&mut self, page: &str, template: &str) {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        let mut lines = text.lines();
        let mut commands = 0;
        while let Some(line) = lines.next() {
            let Some(fence) = line.strip_prefix("```") else { continue };
            let body: String = lines.by_ref().take_while(|line| *line != "```").fold(
                String::new(),
                |mut body, line| {
                    writeln!(body, "{line}").unwrap();
                    body
                },
            );
            match fence.split_once(' ') {
                Some((_, file)) => self.write(file, &body),
                None if fence == "sh" => {
                    commands += 1;
                    self.run(&body, template);
                }
                None if fence == "output" => self.has_printed(&body),
                None => assert_eq!(fence, "", "{page} has a block of an unknown kind"),
            }
        }
        assert!(commands > 3, "{page} was followed");
    }

    fn translated(&self, text: &str) -> String {
        self.ports.iter().fold(text.to_owned(), |text, (old, new)| text.replace(old, new))
    }

    fn write(&self, file: &str, body: &str) {
        let path = self.place.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let made_by_cargo =
            ["Cargo.toml", "src/lib.rs"].contains(&file) && is_as_cargo_made_it(&path);
        let before = match std::fs::read_to_string(&path) {
            Ok(before) if !made_by_cargo => before + "\n",
            _ => String::new(),
        };
        std::fs::write(path, before + &self.translated(body)).unwrap();
    }

    fn run(&mut self, commands: &str, template: &str) {
        // Crates share what was built of others before, and the versions of the project.
        let end = self.folder.path().join("end");
        let script = format!("set -eu\n{}\npwd > '{}'", self.translated(commands), end.display());
        let path = std::env::var("PATH").unwrap();
        let program = Path::new(BINARY).parent().unwrap().display();
        let child = Command::new("bash")
            .args(["-c", &script])
            .current_dir(&self.place)
            .env("PATH", format!("{program}:{path}"))
            .envs(CARGO_ENV)
            .env_remove("CARGO_TARGET_DIR")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let group = Pid::from_raw(child.id().try_into().unwrap());
        let output = child.wait_with_output().unwrap();
        // Whatever a block that failed has left behind.
        let _ = killpg(group, Signal::SIGKILL);
        self.printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{commands}: {}\n{}{errors}", output.status, self.printed);
        self.place = std::fs::read_to_string(end).unwrap().trim_end().into();
        if self.place.join("Cargo.toml").exists() && !self.place.join("target").exists() {
            std::os::unix::fs::symlink(target(), self.place.join("target")).unwrap();
            let lock = root().join("docs/plugins").join(template).join("Cargo.lock");
            std::fs::copy(lock, self.place.join("Cargo.lock")).unwrap();
        }
    }

    fn has_printed(&self, promised: &str) {
        let mut rest = self.printed.as_str();
        for line in promised.lines() {
            let at = rest.find(line);
            assert!(at.is_some(), "{line:?} is not printed: {}", self.printed);
            rest = &rest[at.unwrap() + line.len()..];
        }
    }

    /// Whether what was made is the template, but for where the switcher's sources lie.
    fn has_made(&self, made: &str, template: &str, files: &[&str]) {
        for file in files {
            let path = self.folder.path().join("work").join(made).join(file);
            let made = std::fs::read_to_string(path).unwrap();
            let made = made.replace("../stratum-switcher/", "../../../");
            let there = root().join("docs/plugins").join(template).join(file);
            let there = std::fs::read_to_string(there).unwrap();
            assert_eq!(made, self.translated(&there), "{file}");
        }
    }
}

/// Whether a file is still as `cargo new` has made it.
fn is_as_cargo_made_it(path: &Path) -> bool {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.contains("pub fn add(") || text.ends_with("[dependencies]\n")
}
