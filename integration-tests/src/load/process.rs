//! What the kernel says of a program: its memory and the processor time it used, children
//! included.

use std::fs;

/// Clock ticks per second in `/proc/PID/stat`; the kernel's interface fixes it at 100.
const TICKS: f64 = 100.0;

/// A program's processes, seen from outside.
#[derive(Clone, Copy, Debug)]
pub struct Watched(pub u32);

impl Watched {
    /// Resident memory in KiB, summed over the processes. Meant for differences: what they share
    /// is in it more than once.
    pub fn memory_kib(self) -> f64 {
        self.tree().into_iter().filter_map(memory_of).sum()
    }

    /// Seconds of processor time, user and system.
    pub fn cpu_seconds(self) -> f64 {
        self.tree().into_iter().filter_map(cpu_of).sum()
    }

    fn tree(self) -> Vec<u32> {
        let mut found = vec![self.0];
        let mut next = 0;
        while let Some(&parent) = found.get(next) {
            next += 1;
            let path = format!("/proc/{parent}/task/{parent}/children");
            let children = fs::read_to_string(path).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|word| word.parse::<u32>().ok()));
        }
        found
    }
}

fn memory_of(process: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
    let line = text.lines().find(|line| line.starts_with("Rss:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn cpu_of(process: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    cpu_in(&text)
}

/// utime and stime are the 12th and 13th field behind the name, which may itself hold anything.
fn cpu_in(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_confuse_the_fields() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20";
        assert_eq!(cpu_in(stat), Some(2.0));
    }

    #[test]
    fn this_process_has_memory_and_is_its_own_tree() {
        let own = Watched(std::process::id());
        assert!(own.memory_kib() > 100.0);
        assert!(own.cpu_seconds() >= 0.0);
        assert_eq!(own.tree().first(), Some(&std::process::id()));
    }
}
