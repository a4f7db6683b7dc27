//! Who is wanted, what was said about them last, and what is to be said next. No file, no clock:
//! maps and wishes go in, notices come out.

use std::collections::HashMap;
use std::path::Path;

use switcher_plugin::{Assignment, BoardWriter, Coin, Notice, SubAccount, Wanted};

use crate::map::{CoinMap, Decision, Said};

/// What the board was told last about a sub-account.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Posted {
    Assign(Coin),
    Default(Coin),
    Nothing,
    Unknown,
}

/// Answers for the sub-accounts that have sessions.
#[derive(Debug)]
pub(crate) struct Answers {
    /// The file as it is named in the configuration, for origins.
    path: String,
    map: Option<CoinMap>,
    wanted: HashMap<SubAccount, Posted>,
}

impl Answers {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.display().to_string(), map: None, wanted: HashMap::new() }
    }

    pub(crate) fn map(&self) -> Option<&CoinMap> {
        self.map.as_ref()
    }

    /// A change of interest. A name is answered at once if there is a map.
    pub(crate) fn want(&mut self, wanted: Wanted, board: &BoardWriter) {
        match wanted {
            Wanted::Acquire { sub_account, .. } => {
                let posted = match &self.map {
                    Some(map) => answer(&self.path, map, &sub_account, board),
                    None => Posted::Nothing,
                };
                self.wanted.insert(sub_account, posted);
            }
            Wanted::Release(sub_account) => {
                self.wanted.remove(&sub_account);
            }
        }
    }

    /// Uses another map, and tells what it changes for those who are wanted.
    pub(crate) fn apply(&mut self, map: CoinMap, board: &BoardWriter) {
        for (sub_account, posted) in &mut self.wanted {
            if is_news(posted, map.find(sub_account.as_str())) {
                *posted = answer(&self.path, &map, sub_account, board);
            }
        }
        self.map = Some(map);
    }
}

/// Whether a decision is to be told to somebody who was told something before. Absence is never
/// news: a name or default that vanished leaves everything as it was.
fn is_news(posted: &Posted, decision: Decision<'_>) -> bool {
    match (posted, decision) {
        (Posted::Assign(coin), Decision::Assign(said))
        | (Posted::Default(coin), Decision::Default(said)) => *coin != said.coin,
        (Posted::Assign(_), Decision::Default(_)) => false,
        (_, Decision::Assign(_) | Decision::Default(_)) => true,
        (posted, Decision::Unknown) => *posted == Posted::Nothing,
    }
}

fn answer(path: &str, map: &CoinMap, sub_account: &SubAccount, board: &BoardWriter) -> Posted {
    let assignment = |said: &Said| {
        let origin = format!("{path}:{} sha256 {}", said.line, map.hash());
        Assignment::to(said.coin.clone(), origin)
    };
    let (notice, posted) = match map.find(sub_account.as_str()) {
        Decision::Assign(said) => (
            Notice::Assign(sub_account.clone(), assignment(said)),
            Posted::Assign(said.coin.clone()),
        ),
        Decision::Default(said) => (
            Notice::Default(sub_account.clone(), assignment(said)),
            Posted::Default(said.coin.clone()),
        ),
        Decision::Unknown => (Notice::Unknown(sub_account.clone()), Posted::Unknown),
    };
    board.post(notice);
    posted
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use switcher_plugin::{SessionId, WorkerName};

    use super::*;
    use crate::tree::Format;

    struct World {
        answers: Answers,
        board: BoardWriter,
        posted: Arc<Mutex<Vec<String>>>,
    }

    impl World {
        fn new() -> Self {
            let posted = Arc::new(Mutex::new(Vec::new()));
            let list = Arc::clone(&posted);
            let board = BoardWriter::new(move |notice| list.lock().unwrap().push(brief(&notice)));
            Self { answers: Answers::new(Path::new("m.toml")), board, posted }
        }

        fn want(&mut self, name: &str) -> Vec<String> {
            let wanted = Wanted::Acquire {
                sub_account: SubAccount::new(name),
                session: SessionId(1),
                worker: WorkerName::new(name),
            };
            self.answers.want(wanted, &self.board);
            self.take()
        }

        fn release(&mut self, name: &str) {
            self.answers.want(Wanted::Release(SubAccount::new(name)), &self.board);
        }

        fn apply(&mut self, text: &str) -> Vec<String> {
            let map = CoinMap::parse(Format::Toml, text, false).unwrap();
            self.answers.apply(map, &self.board);
            self.take()
        }

        fn take(&self) -> Vec<String> {
            let mut list = std::mem::take(&mut *self.posted.lock().unwrap());
            list.sort();
            list
        }
    }

    fn brief(notice: &Notice) -> String {
        match notice {
            Notice::Assign(who, what) => format!("{who} shall {}", what.coin().unwrap()),
            Notice::Default(who, what) => format!("{who} may {}", what.coin().unwrap()),
            Notice::Unknown(who) => format!("{who} unknown"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn the_wanted_wait_for_the_first_map() {
        let mut world = World::new();

        assert!(world.want("alice").is_empty());
        assert!(world.want("bob").is_empty());

        assert_eq!(world.apply("[accounts]\nalice = 'btc'"), ["alice shall btc", "bob unknown"]);
    }

    #[test]
    fn only_the_wanted_are_told() {
        let mut world = World::new();
        world.want("alice");
        world.apply("[accounts]\nalice = 'btc'\nbob = 'btc'");
        world.want("bob");
        world.release("bob");

        assert_eq!(world.apply("[accounts]\nalice = 'bch'\nbob = 'bch'"), ["alice shall bch"]);
    }

    #[test]
    fn what_does_not_change_is_not_told_again() {
        let mut world = World::new();
        world.want("alice");
        world.apply("[accounts]\nalice = 'btc'");

        assert!(world.apply("# Moved a line.\n[accounts]\nalice = 'btc'").is_empty());
    }

    #[test]
    fn a_name_that_vanishes_moves_nobody_and_is_asked_anew_after_release() {
        let mut world = World::new();
        world.want("alice");
        world.apply("default = 'bch'\n[accounts]\nalice = 'btc'");

        assert!(world.apply("default = 'bch'").is_empty());
        assert!(world.apply("default = 'ltc'").is_empty());

        world.release("alice");
        assert_eq!(world.want("alice"), ["alice may ltc"]);
    }

    #[test]
    fn a_changed_default_is_told_as_a_default() {
        let mut world = World::new();
        world.apply("default = 'btc'\n[accounts]\nalice = 'btc'");
        assert_eq!(world.want("bob"), ["bob may btc"]);
        assert_eq!(world.want("alice"), ["alice shall btc"]);

        assert_eq!(world.apply("default = 'bch'\n[accounts]\nalice = 'btc'"), ["bob may bch"]);
    }

    #[test]
    fn a_default_that_vanishes_turns_nobody_away() {
        let mut world = World::new();
        world.apply("default = 'btc'");
        world.want("bob");

        assert!(world.apply("[accounts]\nalice = 'btc'").is_empty());
    }

    #[test]
    fn who_was_unknown_or_on_the_default_is_told_of_a_name_or_pattern() {
        let mut world = World::new();
        world.apply("[accounts]\nalice = 'btc'");
        assert_eq!(world.want("farm-1"), ["farm-1 unknown"]);
        assert_eq!(world.apply("default = 'btc'"), ["farm-1 may btc"]);

        let text = "default = 'btc'\n[[patterns]]\nmatch = 'farm-*'\ncoin = 'btc'";
        assert_eq!(world.apply(text), ["farm-1 shall btc"]);
    }

    #[test]
    fn an_assignment_names_file_line_and_content() {
        let mut world = World::new();
        let kept = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&kept);
        world.board = BoardWriter::new(move |notice| list.lock().unwrap().push(notice));
        world.want("alice");

        world.apply("[accounts]\nalice = 'btc'\n");

        let Notice::Assign(_, assignment) = kept.lock().unwrap()[0].clone() else { panic!() };
        assert_eq!(&*assignment.origin, "m.toml:2 sha256 7ad3dbca453c");
    }
}
