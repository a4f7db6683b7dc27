//! The header as C and C++ compilers see it, beside what Rust makes of it.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use switcher_plugin_abi::raw::*;

const HEADER: &str = include_str!("../../include/switcher_plugin.h");

/// Members of a struct with their offsets.
type Members = &'static [(&'static str, usize)];

/// Name, size and members of every struct.
fn structs() -> Vec<(&'static str, usize, Members)> {
    macro_rules! all {
        ($($name:ident),* $(,)?) => {
            vec![$((stringify!($name), size_of::<$name>(), $name::OFFSETS)),*]
        };
    }
    all!(
        SwError, SwHost, SwUpstream, SwPool, SwListener, SwSeat, SwInput, SwAction, SwDialect,
        SwWeight, SwNotice, SwWanted, SwSource, SwPlugin,
    )
}

/// A program that prints what a compiler makes of the header, and what we expect of it.
fn program() -> (String, String) {
    let mut code =
        String::from("#include \"switcher_plugin.h\"\n#include <stdio.h>\nint main(void) {\n");
    let mut expected = String::new();
    let mut line = |name: &str, expression: &str, value: i64| {
        writeln!(code, "    printf(\"{name} %lld\\n\", (long long)({expression}));").unwrap();
        writeln!(expected, "{name} {value}").unwrap();
    };
    let number = |value: usize| i64::try_from(value).unwrap();
    for (name, size, members) in structs() {
        line(name, &format!("sizeof({name})"), number(size));
        for (member, offset) in members {
            let place = format!("offsetof({name}, {member})");
            line(&format!("{name}.{member}"), &place, number(*offset));
        }
    }
    line("SwStr", "sizeof(SwStr)", number(size_of::<SwStr>()));
    line("SwSide", "sizeof(SwSide)", 4);
    line("SW_MINER", "SW_MINER", i64::from(SW_MINER));
    line("SW_NO_LEG", "SW_NO_LEG", i64::from(SW_NO_LEG));
    for (name, value) in NUMBERS {
        line(name, name, *value);
    }
    code.push_str("    return 0;\n}\n");
    (code, expected)
}

/// Compiles the program without a warning and runs it.
fn run(compiler: &str, standard: &str, suffix: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (source, binary) = (folder.path().join(format!("a.{suffix}")), folder.path().join("a"));
    std::fs::write(&source, program().0).unwrap();
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");

    let outcome = Command::new(compiler)
        .args([standard, "-Wall", "-Wextra", "-Wpadded", "-Werror", "-pedantic"])
        .arg("-I")
        .args([&include, &source])
        .arg("-o")
        .arg(&binary)
        .output()
        .unwrap_or_else(|error| panic!("{compiler}: {error}"));
    assert!(outcome.status.success(), "{}", String::from_utf8_lossy(&outcome.stderr));
    let printed = Command::new(&binary).output().unwrap();
    String::from_utf8(printed.stdout).unwrap()
}

#[test]
fn c_sees_the_same_sizes_offsets_and_numbers() {
    assert_eq!(run("cc", "-std=c99", "c"), program().1);
}

#[test]
fn cpp_sees_the_same_sizes_offsets_and_numbers() {
    assert_eq!(run("c++", "-std=c++11", "cc"), program().1);
}

/// A struct or number that only the header has would be compared with nothing.
#[test]
fn nothing_of_the_header_is_left_out() {
    let known: Vec<_> = NUMBERS.iter().map(|(name, _)| *name).collect();
    for line in HEADER.lines().filter_map(|line| line.strip_prefix("#define SW_")) {
        let name = format!("SW_{}", line.split(' ').next().unwrap());
        let is_known = known.contains(&&*name) || ["SW_MINER", "SW_NO_LEG"].contains(&&*name);
        assert!(is_known, "{name} is not compared");
    }
    let known: Vec<_> = structs().into_iter().map(|(name, ..)| name).chain(["SwStr"]).collect();
    for line in HEADER.lines().filter(|line| line.ends_with(" {")) {
        let name = line.trim_start_matches("typedef ").strip_prefix("struct ");
        if let Some(name) = name.and_then(|rest| rest.strip_suffix(" {")) {
            assert!(known.contains(&name), "{name} is not compared");
        }
    }
}
