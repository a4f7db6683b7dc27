//! The flags of the Go original, in the spelling of Go's `flag` and with the names of its log
//! library: `-config=FILE`, `-log_dir DIR`, `-v 2`, `-logtostderr`. They are taken out of the command
//! line before ours are read, and say the same in our keys. Does nothing by itself.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The file the original reads if it is told none.
pub const USUAL_FILE: &str = "config.json";

/// Our log in the original's folder for logs.
const LOG_FILE: &str = "stratum-switcher.log";

/// From so loud on, the original tells of every session and every node.
const LOUD: u32 = 3;

/// What the flags of the original say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GoFlags {
    /// Whether there are any.
    pub given: bool,
    /// What they set, each `key=value`.
    pub set: Vec<String>,
    /// The state of a running original that is to be carried on.
    pub runtime: Option<PathBuf>,
}

/// What is known so far.
#[derive(Debug, Default)]
struct Seen {
    log_dir: Option<String>,
    to_stderr: bool,
    also_to_stderr: bool,
    threshold: Option<&'static str>,
    loudness: u32,
}

/// Takes the original's flags out of the arguments; what is left is ours.
///
/// # Errors
///
/// A flag has no value or one that it cannot have.
pub fn take(arguments: &[OsString]) -> Result<(Vec<OsString>, GoFlags), String> {
    let mut rest = Vec::new();
    let mut flags = GoFlags::default();
    let mut seen = Seen::default();
    let mut arguments = arguments.iter();
    rest.extend(arguments.next().cloned());
    while let Some(argument) = arguments.next() {
        let Some((name, value)) = read(argument) else {
            rest.push(argument.clone());
            continue;
        };
        flags.given = true;
        let mut value = || {
            let next = || arguments.next().cloned();
            value.map(OsString::from).or_else(next).ok_or(format!("-{name} needs a value"))
        };
        match name {
            "config" => rest.extend(["--config".into(), value()?]),
            "runtime" => {
                flags.runtime =
                    Some(PathBuf::from(value()?)).filter(|path| *path != OsStr::new(""));
            }
            "log_dir" => seen.log_dir = Some(text(value()?)?).filter(|dir| !dir.is_empty()),
            "stderrthreshold" => seen.threshold = Some(threshold(&text(value()?)?)?),
            "v" => {
                let text = text(value()?)?;
                let wrong = |_| format!("-v {text:?}: a whole number is accepted");
                seen.loudness = text.parse().map_err(wrong)?;
            }
            "logtostderr" => seen.to_stderr = truth(argument)?,
            "alsologtostderr" => seen.also_to_stderr = truth(argument)?,
            // How loud single files of its source are, and where it prints its stack.
            _ => drop(value()?),
        }
    }
    flags.set = seen.settings();
    Ok((rest, flags))
}

/// The arguments that the original understands too, with the state it is to carry on behind them.
///
/// # Errors
///
/// As for [`take`].
pub fn of_original(arguments: &[OsString], runtime: &Path) -> Result<Vec<OsString>, String> {
    let mut kept: Vec<OsString> = arguments.first().cloned().into_iter().collect();
    let mut arguments = arguments.iter().skip(1);
    while let Some(argument) = arguments.next() {
        let ours = argument.to_str().filter(|text| ["-c", "--config"].contains(text));
        if ours.is_some() {
            kept.extend(["-config".into(), arguments.next().cloned().unwrap_or_default()]);
            continue;
        }
        let Some((name, value)) = read(argument) else {
            if let Some(file) = argument.to_str().and_then(|text| text.strip_prefix("--config=")) {
                kept.push(format!("-config={file}").into());
            }
            continue;
        };
        let is_flag = ["logtostderr", "alsologtostderr"].contains(&name);
        let value = match value {
            Some(_) => None,
            None if is_flag => None,
            None => Some(arguments.next().cloned().ok_or(format!("-{name} needs a value"))?),
        };
        if name != "runtime" {
            kept.push(argument.clone());
            kept.extend(value);
        }
    }
    let mut last = OsString::from("-runtime=");
    last.push(runtime);
    kept.push(last);
    Ok(kept)
}

impl Seen {
    fn settings(self) -> Vec<String> {
        let mut set = Vec::new();
        if let Some(dir) = self.log_dir.filter(|_| !self.to_stderr) {
            set.push(format!("log.file={}/{LOG_FILE}", dir.trim_end_matches('/')));
            let threshold = if self.also_to_stderr { Some("all") } else { self.threshold };
            set.push(format!("log.stderr={}", threshold.unwrap_or("error")));
        }
        if self.loudness >= LOUD {
            let filter = "info,switcher_core=debug,zookeeper_async=error";
            set.push(format!("log.filter={filter}"));
        }
        set
    }
}

/// The name and the value behind `=` of a flag of the original's.
fn read(argument: &OsStr) -> Option<(&str, Option<&str>)> {
    const NAMES: [&str; 9] = [
        "config",
        "runtime",
        "log_dir",
        "stderrthreshold",
        "v",
        "logtostderr",
        "alsologtostderr",
        "vmodule",
        "log_backtrace_at",
    ];
    let whole = argument.to_str()?;
    let once = whole.strip_prefix('-')?;
    let twice = once.strip_prefix('-');
    let flag = twice.unwrap_or(once);
    let (name, value) = match flag.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (flag, None),
    };
    // `--config` is ours as well, and we know best what to do with it.
    let is_ours = name == "config" && twice.is_some();
    (NAMES.contains(&name) && !is_ours).then_some((name, value))
}

fn text(value: OsString) -> Result<String, String> {
    value.into_string().map_err(|value| format!("{}: is no text", value.display()))
}

/// A flag that is true by being there.
fn truth(argument: &OsStr) -> Result<bool, String> {
    let shown = argument.to_string_lossy();
    match shown.split_once('=').map(|(_, value)| value) {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(_) => Err(format!("{shown}: true and false are accepted")),
    }
}

fn threshold(text: &str) -> Result<&'static str, String> {
    match text.to_ascii_uppercase().as_str() {
        "INFO" | "0" => Ok("all"),
        "WARNING" | "1" => Ok("warn"),
        "ERROR" | "2" => Ok("error"),
        "FATAL" | "3" => Ok("off"),
        _ => Err(format!("-stderrthreshold {text:?}: INFO, WARNING, ERROR and FATAL are accepted")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(line: &str) -> Result<(Vec<String>, GoFlags), String> {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let (rest, flags) = take(&arguments)?;
        Ok((rest.into_iter().map(|rest| rest.into_string().unwrap()).collect(), flags))
    }

    #[test]
    fn the_command_line_of_the_originals_readme_is_understood() {
        let line = "/usr/bin/x -config=/work/config.json -log_dir=/work/log -v 2";

        let (rest, flags) = taken(line).unwrap();

        assert_eq!(rest, ["/usr/bin/x", "--config", "/work/config.json"]);
        let set = ["log.file=/work/log/stratum-switcher.log", "log.stderr=error"];
        assert_eq!(flags.set, set);
        assert!(flags.given && flags.runtime.is_none());
    }

    #[test]
    fn every_spelling_of_go_is_the_same() {
        for line in ["x -config a.json", "x -config=a.json", "x --config a.json"] {
            assert_eq!(taken(line).unwrap().0, ["x", "--config", "a.json"], "{line}");
        }
        for line in ["x -v=3", "x --v=3", "x -v 3", "x --v 3"] {
            assert_eq!(taken(line).unwrap().1.set.len(), 1, "{line}");
        }
        let runtime = taken("x -runtime=./runtime.json").unwrap().1.runtime;
        assert_eq!(runtime, Some(PathBuf::from("./runtime.json")));
        assert_eq!(taken("x -runtime=").unwrap().1.runtime, None);
    }

    #[test]
    fn where_the_log_goes_is_what_glog_would_do() {
        for (line, set) in [
            ("x -logtostderr -log_dir /l", &[][..]),
            (
                "x -logtostderr=false -log_dir /l/",
                &["log.file=/l/stratum-switcher.log", "log.stderr=error"],
            ),
            (
                "x -alsologtostderr -log_dir /l",
                &["log.file=/l/stratum-switcher.log", "log.stderr=all"],
            ),
            (
                "x -stderrthreshold=FATAL -log_dir /l",
                &["log.file=/l/stratum-switcher.log", "log.stderr=off"],
            ),
            ("x -alsologtostderr -v 2 -vmodule a=1 -log_backtrace_at b:1", &[]),
        ] {
            assert_eq!(taken(line).unwrap().1.set, set, "{line}");
        }
    }

    #[test]
    fn flags_of_ours_are_left_alone() {
        for line in ["x -c a.toml check --host", "x --config=a --set a.b=c", "x -V", "x --version"]
        {
            let (rest, flags) = taken(line).unwrap();
            assert_eq!(rest.join(" "), line);
            assert_eq!(flags, GoFlags::default());
        }
    }

    #[test]
    fn a_flag_without_a_value_or_with_a_wrong_one_is_told() {
        for line in ["x -log_dir", "x -v two", "x -logtostderr=maybe", "x -stderrthreshold LOUD"] {
            assert!(taken(line).is_err(), "{line}");
        }
    }
}
