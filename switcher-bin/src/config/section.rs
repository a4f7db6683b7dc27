//! Reading the merged layers by the table of keys, keeping note of every mistake and of every value
//! that is in force.
//!
//! It knows how keys are read, not what they mean; that is `resolve`.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use figment::value::{Dict, Value};
use figment::{Figment, Profile, Provider as _};

use super::form::{Checked, Form, bare, kind_of, quoted, sounds_secret};
use super::keys::{self, Fallback, Key, Section};
use super::mistake::{Mistake, Mistakes};

/// A path into the configuration; entries of lists are numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Place(Vec<String>);

impl Place {
    /// A path of names.
    pub(super) fn of(names: &[&str]) -> Self {
        Self(names.iter().map(|&name| name.to_owned()).collect())
    }

    /// One step further.
    pub(super) fn at(&self, name: &str) -> Self {
        let mut names = self.0.clone();
        names.push(name.to_owned());
        Self(names)
    }

    /// The last name.
    pub(super) fn name(&self) -> &str {
        self.0.last().map_or("", String::as_str)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, name) in self.0.iter().enumerate() {
            match (at, is_number(name)) {
                (_, true) => write!(f, "[{name}]")?,
                (0, false) => f.write_str(name)?,
                (_, false) => write!(f, ".{name}")?,
            }
        }
        Ok(())
    }
}

/// All that is read, and what was found out about it.
#[derive(Debug)]
pub(super) struct Reader {
    figment: Figment,
    root: Value,
    /// The origin of what is missing: the file, or words for its absence.
    missing: String,
    /// What is wrong so far.
    pub(super) mistakes: Mistakes,
    /// The values in force, as TOML, without secrets.
    pub(super) effective: String,
}

impl Reader {
    /// A reader of merged layers.
    pub(super) fn new(figment: Figment, missing: String, mistakes: Mistakes) -> Self {
        let data = figment.data().unwrap_or_default();
        let root = data.get(&Profile::Default).cloned().unwrap_or_default();
        Self { figment, root: root.into(), missing, mistakes, effective: String::new() }
    }

    fn value(&self, place: &Place) -> Option<&Value> {
        place.0.iter().try_fold(&self.root, |value, name| value.as_dict()?.get(name))
    }

    /// The file, variable or flag that gave a value; of the nearest thing above it if it is missing.
    pub(super) fn origin(&self, place: &Place) -> String {
        (1..=place.0.len())
            .rev()
            .filter_map(|len| self.value(&Place(place.0.get(..len)?.to_vec())))
            .find_map(|value| self.name_of(value))
            .unwrap_or_else(|| self.missing.clone())
    }

    /// A table that was merged has no origin of its own: its first value tells.
    fn name_of(&self, value: &Value) -> Option<String> {
        match self.figment.get_metadata(value.tag()) {
            Some(metadata) => Some(metadata.name.to_string()),
            None => value.as_dict()?.values().find_map(|value| self.name_of(value)),
        }
    }

    /// Notes a mistake.
    pub(super) fn wrong(&mut self, place: &Place, problem: impl Into<String>, accepted: &str) {
        self.mistakes.add(Mistake {
            origin: self.origin(place),
            key: place.to_string(),
            problem: problem.into(),
            accepted: accepted.into(),
        });
    }

    /// Whether there is anything at a path.
    pub(super) fn has(&self, place: &Place) -> bool {
        self.value(place).is_some()
    }

    /// The entries of a list of tables.
    pub(super) fn list(&mut self, place: &Place) -> Vec<Place> {
        let dict = match self.value(place) {
            None => return Vec::new(),
            Some(Value::Array(_, items)) if items.is_empty() => return Vec::new(),
            Some(Value::Dict(_, dict)) if dict.keys().all(|key| is_number(key)) => dict,
            Some(_) => {
                let accepted = format!("write [[{place}]] above the keys of each entry");
                self.wrong(place, "is no list of tables", &accepted);
                return Vec::new();
            }
        };
        let mut numbers: Vec<usize> = dict.keys().filter_map(|key| key.parse().ok()).collect();
        numbers.sort_unstable();
        if let Some((at, _)) = numbers.iter().enumerate().find(|&(at, &number)| at != number) {
            let gap = place.at(&numbers.get(at).copied().unwrap_or_default().to_string());
            self.wrong(&gap, format!("there is no entry {at}"), "number the entries 0, 1, 2, …");
        }
        numbers.iter().map(|number| place.at(&number.to_string())).collect()
    }

    /// The entries of a table whose keys are names.
    pub(super) fn map(&mut self, place: &Place) -> Vec<Place> {
        match self.value(place) {
            None => Vec::new(),
            Some(Value::Dict(_, dict)) => dict.keys().map(|name| place.at(name)).collect(),
            Some(value) => {
                let problem = format!("is {}, not a table", kind_of(value));
                self.wrong(place, problem, &format!("write [{place}.name]"));
                Vec::new()
            }
        }
    }

    /// Begins with a table of keys: finds the unknown ones.
    pub(super) fn section(&mut self, spec: &'static Section, place: Place) -> Open<'_> {
        let dict = match self.value(&place) {
            Some(Value::Dict(_, dict)) => dict.clone(),
            None => Dict::new(),
            Some(value) => {
                let problem = format!("is {}, not a table", kind_of(value));
                self.wrong(&place, problem, &format!("write [{place}] above its keys"));
                Dict::new()
            }
        };
        self.refuse_unknown(&place, &dict, &spec.known());
        self.head(spec, &place);
        Open { reader: self, spec, place, dict }
    }

    /// Finds unknown keys in a table that holds only other tables: those of the table of keys,
    /// and some more.
    pub(super) fn folder(&mut self, place: &Place, more: &[&str]) {
        if let Some(dict) = self.value(place).and_then(Value::as_dict).cloned() {
            let known = [&keys::below(&place.to_string()), more].concat();
            self.refuse_unknown(place, &dict, &known);
        }
    }

    /// A table whose keys are a plug-in's own; none if there is none.
    pub(super) fn foreign(&mut self, place: &Place) -> Option<serde_json::Value> {
        let value = self.value(place)?;
        let options = match Form::Options.read(value) {
            Ok(Checked::Options(options)) => options,
            Ok(_) => return None,
            Err(problem) => {
                self.wrong(place, problem, &format!("write [{place}] above its keys"));
                return None;
            }
        };
        let _ = writeln!(self.effective, "\n[{place}]");
        for (name, value) in options.as_object().into_iter().flatten() {
            let origin = self.origin(&place.at(name));
            let shown = if sounds_secret(name) {
                quoted("***")
            } else {
                Checked::Options(value.clone()).toml()
            };
            self.show(&bare(name), &shown, &format!("  # {origin}"));
        }
        Some(options)
    }

    fn refuse_unknown(&mut self, place: &Place, dict: &Dict, known: &[&str]) {
        for name in dict.keys().filter(|name| !known.contains(&name.as_str())) {
            let near = known
                .iter()
                .map(|known| (strsim::damerau_levenshtein(known, name), known))
                .min()
                .filter(|&(distance, known)| distance <= 1 + known.len() / 4);
            let accepted = match near {
                Some((_, known)) => format!("did you mean {}?", quoted(known)),
                None => format!("known here: {}", known.join(", ")),
            };
            self.wrong(&place.at(name), "unknown key", &accepted);
        }
    }

    /// Writes a value in force below the section opened last.
    pub(super) fn show(&mut self, name: &str, value: &str, remark: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.effective, "{name} = {value}{remark}");
    }

    fn head(&mut self, spec: &Section, place: &Place) {
        if spec.path.is_empty() {
            return;
        }
        let names: Vec<_> =
            place.0.iter().filter(|name| !is_number(name)).map(|name| bare(name)).collect();
        let path = names.join(".");
        let line = if spec.path.ends_with("[]") {
            format!("\n[[{path}]]\n")
        } else {
            format!("\n[{path}]\n")
        };
        self.effective.push_str(&line);
    }
}

/// A table that is being read.
#[derive(Debug)]
pub(super) struct Open<'a> {
    reader: &'a mut Reader,
    spec: &'static Section,
    place: Place,
    dict: Dict,
}

impl Open<'_> {
    /// The value of a key, or its fixed default; notes a mistake if it is wrong or missing.
    fn checked(&mut self, name: &'static str) -> Option<Checked> {
        let key = self.spec.key(name);
        debug_assert!(key.is_some(), "{name} is not in the table of keys");
        let key = key?;
        let Some(value) = self.dict.get(name) else {
            return self.missing(key);
        };
        match key.form.read(value) {
            Ok(checked) => {
                let origin = self.reader.origin(&self.place.at(name));
                let shown = if key.form.is_secret() { quoted("***") } else { checked.toml() };
                self.reader.show(name, &shown, &format!("  # {origin}"));
                Some(checked)
            }
            Err(problem) => {
                let accepted = format!("accepted: {}", key.form.accepted());
                self.reader.wrong(&self.place.at(name), problem, &accepted);
                default_of(key)
            }
        }
    }

    fn missing(&mut self, key: &'static Key) -> Option<Checked> {
        match key.fallback {
            Fallback::Must(example) => {
                let accepted = format!("write {} = {example}", key.name);
                self.reader.wrong(&self.place.at(key.name), "is missing", &accepted);
                None
            }
            Fallback::Is(literal) => {
                self.reader.show(key.name, literal, "");
                default_of(key)
            }
            Fallback::Derived(..) | Fallback::Unset(..) => None,
        }
    }

    /// Shows what a key came to that is worked out.
    pub(super) fn derived(&mut self, name: &'static str, value: &Checked) {
        if !self.dict.contains_key(name) {
            self.reader.show(name, &value.toml(), "");
        }
    }

    /// A text.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        match self.checked(name)? {
            Checked::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A path; one that a file gives starts at the folder of that file.
    pub(super) fn path(&mut self, name: &'static str) -> Option<PathBuf> {
        let path = PathBuf::from(self.text(name)?);
        let tag = self.dict.get(name)?.tag();
        let file = self
            .reader
            .figment
            .get_metadata(tag)
            .and_then(|data| data.source.as_ref()?.file_path());
        Some(match file.and_then(std::path::Path::parent) {
            Some(folder) => folder.join(path),
            None => path,
        })
    }

    /// The content of a file that a key names, without the line end.
    pub(super) fn content(&mut self, name: &'static str) -> Option<String> {
        let path = self.path(name)?;
        match std::fs::read_to_string(&path) {
            Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_owned()),
            Err(error) => {
                let problem =
                    format!("{} cannot be read: {error}", quoted(&path.to_string_lossy()));
                self.reader.wrong(&self.place.at(name), problem, "name a readable file");
                None
            }
        }
    }

    /// A list of texts.
    pub(super) fn names(&mut self, name: &'static str) -> Option<Vec<String>> {
        match self.checked(name)? {
            Checked::Names(names) => Some(names),
            _ => None,
        }
    }

    /// A list of pairs.
    pub(super) fn pairs(&mut self, name: &'static str) -> Vec<(String, String)> {
        match self.checked(name) {
            Some(Checked::Pairs(pairs)) => pairs,
            _ => Vec::new(),
        }
    }

    /// Options of a plug-in; null if there are none.
    pub(super) fn options(&mut self, name: &'static str) -> serde_json::Value {
        match self.checked(name) {
            Some(Checked::Options(options)) => options,
            _ => serde_json::Value::Null,
        }
    }

    /// An address with its port.
    pub(super) fn address(&mut self, name: &'static str) -> Option<SocketAddr> {
        match self.checked(name)? {
            Checked::Address(address) => Some(address),
            _ => None,
        }
    }

    /// Host and port.
    pub(super) fn url(&mut self, name: &'static str) -> Option<(String, u16)> {
        match self.checked(name)? {
            Checked::Url(host, port) => Some((host, port)),
            _ => None,
        }
    }

    /// True or false.
    pub(super) fn flag(&mut self, name: &'static str) -> bool {
        matches!(self.checked(name), Some(Checked::Flag(true)))
    }

    /// A time.
    pub(super) fn time(&mut self, name: &'static str) -> Duration {
        match self.checked(name) {
            Some(Checked::Time(time)) => time,
            _ => Duration::ZERO,
        }
    }

    /// A whole number; the form of the key must keep it within the type.
    pub(super) fn whole<N: TryFrom<u64> + Default>(&mut self, name: &'static str) -> N {
        match self.checked(name) {
            Some(Checked::Whole(number)) => N::try_from(number).unwrap_or_default(),
            _ => N::default(),
        }
    }

    /// A whole number that may be absent.
    pub(super) fn whole_if_given<N: TryFrom<u64>>(&mut self, name: &'static str) -> Option<N> {
        match self.checked(name)? {
            Checked::Whole(number) => N::try_from(number).ok(),
            _ => None,
        }
    }

    /// Notes a mistake about a key of this table.
    pub(super) fn wrong(&mut self, name: &str, problem: impl Into<String>, accepted: &str) {
        self.reader.wrong(&self.place.at(name), problem, accepted);
    }
}

/// The fixed default of a key.
fn default_of(key: &Key) -> Option<Checked> {
    let Fallback::Is(literal) = key.fallback else {
        return None;
    };
    let mut table = toml::from_str::<toml::Table>(&format!("value = {literal}")).ok()?;
    let value = Value::serialize(table.remove("value")?).ok()?;
    key.form.read(&value).ok()
}

fn is_number(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_digit())
}
