//! Builds the plug-ins as their authors would: with cargo in a workspace of their own, and with cc.
//!
//! What cargo builds lies below the workspace's own target folder, so it is built once. Cargo is kept
//! from the network: a lock file here names nothing that the workspace's does not.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_stratum-switcher");

/// The root of the project.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Where cargo puts what it builds here.
pub(crate) fn target() -> PathBuf {
    Path::new(BINARY).parent().unwrap().parent().unwrap().join("plugins")
}

/// Runs a command, which must succeed; what it has printed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{text}{errors}", output.status);
    text
}

/// How cargo is to behave in all tests: without the network, and without what only debuggers need.
pub(crate) const CARGO_ENV: [(&str, &str); 3] =
    [("CARGO_NET_OFFLINE", "true"), ("CARGO_PROFILE_DEV_DEBUG", "0"), ("CARGO_INCREMENTAL", "0")];

/// Cargo in the folder of a crate.
pub(crate) fn cargo(folder: &Path) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(folder).env("CARGO_TARGET_DIR", target()).envs(CARGO_ENV);
    cargo
}

/// The folder of the Kaspa dialect.
pub(crate) fn kaspa_crate() -> PathBuf {
    root().join("integration-tests/plugins/kaspa")
}

/// The Kaspa dialect as a library, copied into this folder.
pub(crate) fn kaspa(into: &Path) -> PathBuf {
    run(cargo(&kaspa_crate()).args(["build", "--lib", "--locked"]));
    copied("libswitcher_kaspa.so", into)
}

/// A later version of it, in the place of the other one.
pub(crate) fn kaspa_2(into: &Path) -> PathBuf {
    let (from, to) = (kaspa_crate(), into.join("kaspa-2"));
    std::fs::create_dir_all(to.join("src")).unwrap();
    for file in std::fs::read_dir(from.join("src")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join("src").join(file.file_name())).unwrap();
    }
    let edit = |name: &str, edits: &[(&str, &str)]| {
        let mut text = std::fs::read_to_string(from.join(name)).unwrap();
        for (old, new) in edits {
            assert!(text.contains(old), "{old} in {name}");
            text = text.replace(old, new);
        }
        std::fs::write(to.join(name), text).unwrap();
    };
    let core = format!("path = \"{}/", root().display());
    let version = ("version = \"1.0.0\"\n", "version = \"2.0.0\"\n");
    // Another name of the file, so that the first version's is not overwritten.
    let library = ("[lib]\n", "[lib]\nname = \"switcher_kaspa_2\"\n");
    edit("Cargo.toml", &[version, library, ("path = \"../../../", &core)]);
    let name = "name = \"switcher-kaspa\"\n";
    let (old, new) = (format!("{name}{}", version.0), format!("{name}{}", version.1));
    edit("Cargo.lock", &[(&old, &new)]);
    run(cargo(&to).args(["build", "--lib", "--locked"]));
    copied("libswitcher_kaspa_2.so", into)
}

/// Copies a library that cargo has built. The copy appears whole.
fn copied(name: &str, into: &Path) -> PathBuf {
    let (new, to) = (into.join("new.so"), into.join("libswitcher_kaspa.so"));
    std::fs::copy(target().join("debug").join(name), &new).unwrap();
    std::fs::rename(&new, &to).unwrap();
    to
}

/// The C compiler, as strict as we are.
pub(crate) fn cc() -> Command {
    let mut cc = Command::new("cc");
    cc.args(["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g", "-pthread", "-I"]);
    cc.arg(root().join("switcher-core/abi/include"));
    cc
}

/// The coin source that follows a FIFO, of this version.
pub(crate) fn fifo(version: &str, into: &Path) -> PathBuf {
    let (new, library) = (into.join("new.so"), into.join("libswitcher_fifo.so"));
    let source = root().join("integration-tests/plugins/fifo-source/fifo_source.c");
    let version = format!("-DFIFO_SOURCE_VERSION=\"{version}\"");
    run(cc().args(["-shared", "-fPIC", &version, "-o"]).arg(&new).arg(source));
    std::fs::rename(&new, &library).unwrap();
    library
}
