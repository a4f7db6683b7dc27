//! Conversation files: reading them and writing them back. Runs nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

use super::render::unescape;
use crate::dialect::Refusal;
use crate::types::{LegId, Rung, Rungs, Side};

/// A conversation: who sits there, what happens, and what the session is to do about it.
#[derive(Debug, Clone)]
pub struct Script {
    /// File name, for reports.
    pub name: String,
    pub(super) header: Header,
    pub(super) steps: Vec<Step>,
    /// Comments, blank lines and header lines as they stand, each in front of the step of that
    /// index.
    prose: Vec<(usize, String)>,
}

/// A file that does not read as a conversation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {problem}")]
pub struct ScriptError {
    /// File name.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: String,
}

#[derive(Debug, Clone)]
pub(super) struct Header {
    pub(super) dialect: Option<String>,
    pub(super) entropy: [u8; 16],
    pub(super) listener: String,
    /// What earlier sessions have left to be recalled, by key.
    pub(super) notes: BTreeMap<String, String>,
    pub(super) options: Value,
    pub(super) peer: Option<IpAddr>,
    pub(super) pools: Vec<(String, PoolHeader)>,
    /// What every leg may use.
    pub(super) rungs: Rungs,
    pub(super) session: u64,
    pub(super) short_id: u32,
}

/// The JSON object behind `pool NAME:`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PoolHeader {
    pub(super) coin: String,
    pub(super) dialect: Option<String>,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    #[serde(default)]
    pub(super) options: Value,
    pub(super) fact: Option<Value>,
}

#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) line: usize,
    /// The input as written.
    pub(super) text: String,
    pub(super) event: Event,
    /// Indented comments, kept when the file is rewritten.
    remarks: Vec<String>,
    pub(super) expected: Vec<String>,
}

/// What a line of a script makes happen.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Event {
    Assigned {
        coin: String,
        canonical_name: Option<String>,
    },
    Bytes(Side, Vec<u8>),
    CutOver(LegId),
    LegDown(LegId),
    LegGone(LegId),
    LegUp {
        leg: LegId,
        pool: Option<String>,
        form: u8,
    },
    Probe,
    Refused(Refusal),
    /// Milliseconds after the start.
    TimeIs(u64),
    /// Milliseconds.
    TimePasses(u64),
}

impl Script {
    /// Reads a conversation.
    ///
    /// # Errors
    ///
    /// The text is not in the format described at [`crate::testing`].
    pub fn parse(name: impl Into<String>, text: &str) -> Result<Self, ScriptError> {
        let name = name.into();
        let mut script =
            Self { name, header: Header::default(), steps: Vec::new(), prose: Vec::new() };
        for (at, line) in text.lines().enumerate() {
            script.take(at + 1, line).map_err(|problem| ScriptError {
                file: script.name.clone(),
                line: at + 1,
                problem,
            })?;
        }
        if script.steps.is_empty() {
            let line = text.lines().count();
            let problem = "nothing happens in this file".to_owned();
            return Err(ScriptError { file: script.name, line, problem });
        }
        Ok(script)
    }

    /// The file again, with other actions below the inputs.
    pub(super) fn rewrite(&self, actions: &[Vec<String>]) -> String {
        let mut text = String::new();
        let mut prose = self.prose.iter().peekable();
        for (index, step) in self.steps.iter().enumerate() {
            while let Some((_, line)) = prose.next_if(|(before, _)| *before <= index) {
                let _ = writeln!(text, "{line}");
            }
            let _ = writeln!(text, "{}", step.text);
            let lines = actions.get(index).map_or(&[][..], Vec::as_slice);
            for line in step.remarks.iter().chain(lines) {
                let _ = writeln!(text, "    {line}");
            }
        }
        for (_, line) in prose {
            let _ = writeln!(text, "{line}");
        }
        text
    }

    /// The frames of the script with their sides, as material for made-up ones.
    pub(super) fn frames(&self) -> impl Iterator<Item = (usize, Side, &[u8])> {
        self.steps.iter().enumerate().filter_map(|(index, step)| match &step.event {
            Event::Bytes(side, bytes) => Some((index, *side, bytes.as_slice())),
            _ => None,
        })
    }

    /// Whether the session is a probe.
    pub(super) fn is_probe(&self) -> bool {
        self.steps.first().is_some_and(|step| step.event == Event::Probe)
    }

    fn take(&mut self, number: usize, line: &str) -> Result<(), String> {
        let indented = line.starts_with([' ', '\t']);
        let content = line.trim();
        if content.is_empty() || (content.starts_with('#') && !indented) {
            self.prose.push((self.steps.len(), line.trim_end().to_owned()));
            return Ok(());
        }
        if indented {
            let step = self.steps.last_mut().ok_or("an action stands before the first input")?;
            let list =
                if content.starts_with('#') { &mut step.remarks } else { &mut step.expected };
            list.push(content.to_owned());
            return Ok(());
        }
        if let Some(event) = Event::parse(line)? {
            if event == Event::Probe && !self.steps.is_empty() {
                return Err("`! probe` must be the first input".to_owned());
            }
            let text = line.to_owned();
            let (remarks, expected) = (Vec::new(), Vec::new());
            self.steps.push(Step { line: number, text, event, remarks, expected });
            return Ok(());
        }
        if !self.steps.is_empty() {
            return Err(format!("`{line}` is no input; inputs start with <, >, ! or @"));
        }
        self.prose.push((0, line.to_owned()));
        self.header.take(line)
    }
}

impl Header {
    fn take(&mut self, line: &str) -> Result<(), String> {
        let (key, value) = line
            .split_once(": ")
            .ok_or_else(|| format!("`{line}` is neither an input nor `key: value`"))?;
        let value = value.trim();
        match key {
            "dialect" => self.dialect = Some(value.to_owned()),
            "entropy" => self.entropy = entropy(value)?,
            "listener" => value.clone_into(&mut self.listener),
            "options" => self.options = json(value)?,
            "peer" => self.peer = Some(value.parse().map_err(|e| format!("peer: {e}"))?),
            "rungs" => self.rungs = rungs(value)?,
            "session" => self.session = number(value)?,
            "short_id" => {
                self.short_id = number(value)?.try_into().map_err(|e| format!("short_id: {e}"))?;
            }
            _ => {
                if let Some(name) = key.strip_prefix("pool ") {
                    self.pools.push((name.trim().to_owned(), json(value)?));
                } else if let Some(of) = key.strip_prefix("note ") {
                    self.notes.insert(of.trim().to_owned(), value.to_owned());
                } else {
                    return Err(format!(
                        "no header `{key}`; there are dialect, entropy, listener, note KEY, \
                         options, peer, pool NAME, rungs, session and short_id"
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Default for Header {
    fn default() -> Self {
        Self {
            dialect: None,
            entropy: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
            listener: "main".to_owned(),
            notes: BTreeMap::new(),
            options: Value::Null,
            peer: None,
            pools: Vec::new(),
            rungs: Rungs::ALL,
            session: 1,
            short_id: 0x0100_0001,
        }
    }
}

fn rungs(text: &str) -> Result<Rungs, String> {
    text.split_whitespace().try_fold(Rungs::NONE, |all, name| {
        let known = Rung::ALL.into_iter().find(|rung| rung.label() == name);
        known.map(|rung| all.with(rung)).ok_or_else(|| format!("rungs: there is no `{name}`"))
    })
}

impl Event {
    /// The event of an unindented line; `None` if the line is none.
    fn parse(line: &str) -> Result<Option<Self>, String> {
        let Some(kind) = line.chars().next() else { return Ok(None) };
        let rest = line.get(1..).unwrap_or_default();
        match kind {
            '<' => bytes_of(Side::Downstream, rest).map(Some),
            '>' => from_pool(rest).map(Some),
            '!' => event(rest.trim()).map(Some),
            '@' => time(rest.trim()).map(Some),
            _ => Ok(None),
        }
    }
}

fn bytes_of(side: Side, rest: &str) -> Result<Event, String> {
    if let Some(escaped) = rest.strip_prefix('~') {
        let escaped = escaped.strip_prefix(' ').unwrap_or(escaped);
        return Ok(Event::Bytes(side, unescape(escaped)?));
    }
    let mut bytes = rest.strip_prefix(' ').unwrap_or(rest).as_bytes().to_vec();
    bytes.push(b'\n');
    Ok(Event::Bytes(side, bytes))
}

/// `1 text`, ` leg1 text` or `~1 escaped`, behind the `>`.
fn from_pool(rest: &str) -> Result<Event, String> {
    let (raw, rest) = rest.strip_prefix('~').map_or(("", rest), |rest| ("~", rest));
    let rest = rest.trim_start();
    let (name, text) = rest.split_once(' ').unwrap_or((rest, ""));
    let side = Side::Upstream(leg(name)?);
    bytes_of(side, &format!("{raw} {text}"))
}

fn event(rest: &str) -> Result<Event, String> {
    let words: Vec<&str> = rest.split_whitespace().collect();
    Ok(match words.as_slice() {
        ["assigned", coin] => Event::Assigned { coin: (*coin).to_owned(), canonical_name: None },
        ["assigned", coin, name] => {
            Event::Assigned { coin: (*coin).to_owned(), canonical_name: Some((*name).to_owned()) }
        }
        ["cutover", id] => Event::CutOver(leg(id)?),
        ["down", id] => Event::LegDown(leg(id)?),
        ["gone", id] => Event::LegGone(leg(id)?),
        ["probe"] => Event::Probe,
        ["refused", why] => Event::Refused(
            serde_json::from_value(Value::String((*why).to_owned())).map_err(|e| e.to_string())?,
        ),
        ["up", id, rest @ ..] => {
            let (pool, rest) = match rest {
                [pool, rest @ ..] if *pool != "form" => (Some((*pool).to_owned()), rest),
                rest => (None, rest),
            };
            let form = match rest {
                [] => 0,
                ["form", form] => form.parse().map_err(|e| format!("form: {e}"))?,
                _ => return Err("`! up` takes a leg, a pool and `form N`".to_owned()),
            };
            Event::LegUp { leg: leg(id)?, pool, form }
        }
        _ => {
            return Err(format!(
                "no event `{rest}`; there are assigned COIN [NAME], cutover LEG, down LEG, gone \
                 LEG, probe, refused WHY and up LEG [POOL] [form N]"
            ));
        }
    })
}

fn time(rest: &str) -> Result<Event, String> {
    let (make, digits): (fn(u64) -> Event, &str) = match rest.strip_prefix('+') {
        Some(digits) => (Event::TimePasses, digits),
        None => (Event::TimeIs, rest),
    };
    digits.parse().map(make).map_err(|e| format!("milliseconds: {e}"))
}

fn leg(text: &str) -> Result<LegId, String> {
    let digits = text.strip_prefix("leg").unwrap_or(text);
    digits.parse().map(LegId).map_err(|_| format!("`{text}` is no leg; say 1 or leg1"))
}

fn number(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|e| format!("`{text}`: {e}"))
}

fn entropy(text: &str) -> Result<[u8; 16], String> {
    let problem = || format!("`{text}` is not 32 hex digits");
    if text.len() != 32 {
        return Err(problem());
    }
    u128::from_str_radix(text, 16).map(u128::to_be_bytes).map_err(|_| problem())
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(text: &str) -> Vec<Event> {
        Script::parse("t", text).unwrap().steps.into_iter().map(|step| step.event).collect()
    }

    #[test]
    fn every_input_reads() {
        let text = "< a b\n<~ a\\x00\\n\n>1 x\n> leg2 y\n>~1 z\n! assigned btc\n! assigned btc al\n\
                    ! up 1\n! up 2 a form 3\n! up 2 form 3\n! cutover 1\n! down 1\n! gone 2\n\
                    ! refused no_pool\n@ 20\n@ +5";
        let (one, two) = (Side::Upstream(LegId(1)), Side::Upstream(LegId(2)));
        let assigned = |name: Option<&str>| Event::Assigned {
            coin: "btc".to_owned(),
            canonical_name: name.map(str::to_owned),
        };
        let up = |leg, pool: Option<&str>, form| Event::LegUp {
            leg: LegId(leg),
            pool: pool.map(str::to_owned),
            form,
        };

        assert_eq!(
            events(text),
            [
                Event::Bytes(Side::Downstream, b"a b\n".to_vec()),
                Event::Bytes(Side::Downstream, b"a\0\n".to_vec()),
                Event::Bytes(one, b"x\n".to_vec()),
                Event::Bytes(two, b"y\n".to_vec()),
                Event::Bytes(one, b"z".to_vec()),
                assigned(None),
                assigned(Some("al")),
                up(1, None, 0),
                up(2, Some("a"), 3),
                up(2, None, 3),
                Event::CutOver(LegId(1)),
                Event::LegDown(LegId(1)),
                Event::LegGone(LegId(2)),
                Event::Refused(Refusal::NoPool),
                Event::TimeIs(20),
                Event::TimePasses(5),
            ]
        );
    }

    #[test]
    fn the_header_reads() {
        let text = "dialect: btc\nentropy: ff0102030405060708090a0b0c0d0e0f\noptions: {\"a\":1}\n\
                    pool p: {\"coin\":\"btc\",\"fact\":[1]}\nshort_id: 0xff\nsession: 9\n\
                    peer: 192.0.2.7\n< x";

        let header = Script::parse("t", text).unwrap().header;

        assert_eq!(header.dialect.as_deref(), Some("btc"));
        assert_eq!(header.entropy[0], 0xff);
        assert_eq!(header.options["a"], 1);
        assert_eq!(header.pools[0].0, "p");
        assert_eq!(header.pools[0].1.fact, Some(serde_json::json!([1])));
        assert_eq!((header.short_id, header.session), (0xff, 9));
        assert!(header.peer.is_some());
    }

    #[test]
    fn a_mistake_is_told_with_its_line() {
        for (text, line, part) in [
            ("# x\n! jump", 2, "no event `jump`"),
            ("    send miner x", 1, "before the first input"),
            ("color: red\n< x", 1, "no header `color`"),
            ("< x\nentropy: 00", 2, "is no input"),
            ("< x\n! probe", 2, "must be the first"),
            ("! refused tuesday", 1, "unknown variant"),
            ("pool a: {\"coin\":\"btc\",\"x\":1}\n< x", 1, "unknown field"),
            (">one x", 1, "no leg"),
            ("# only prose", 1, "nothing happens"),
        ] {
            let error = Script::parse("f.txt", text).unwrap_err();

            assert_eq!(error.line, line, "{text}");
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn rewriting_keeps_prose_and_replaces_actions() {
        let text =
            "# Title\npool a: {\"coin\":\"btc\"}\n\n< x\n    # why\n    old\n\n# next\n< y\n";
        let script = Script::parse("t", text).unwrap();

        let new = script.rewrite(&[vec!["new".to_owned()], vec!["more".to_owned()]]);

        assert_eq!(
            new,
            "# Title\npool a: {\"coin\":\"btc\"}\n\n< x\n    # why\n    new\n\n# next\n< y\n    more\n"
        );
    }
}
