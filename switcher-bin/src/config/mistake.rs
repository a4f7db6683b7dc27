//! What is wrong with a configuration, collected so that all of it is told at once.
//!
//! A mistake never carries the value of a secret: whoever makes one decides what it quotes.

use std::fmt;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file, variable or flag it was read from.
    pub origin: String,
    /// The key, as a path (`coins.btc.pools[0].url`); empty if it is about the whole file.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What would be accepted.
    pub accepted: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}", self.problem)?;
        if self.accepted.is_empty() { Ok(()) } else { write!(f, "; {}", self.accepted) }
    }
}

/// Everything that is wrong with one configuration, never empty when it is an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// A single mistake.
    pub fn of(mistake: Mistake) -> Self {
        Self(vec![mistake])
    }

    /// A single mistake about a whole file.
    pub(super) fn of_file(origin: &str, problem: String, accepted: &str) -> Self {
        let (origin, accepted) = (origin.to_owned(), accepted.to_owned());
        Self::of(Mistake { origin, key: String::new(), problem, accepted })
    }

    /// Adds a mistake, unless something at, above or below its key is known to be wrong: what
    /// follows from one mistake is not told as another.
    pub fn add(&mut self, mistake: Mistake) {
        let related = |known: &Mistake| {
            !mistake.key.is_empty()
                && (lies_at_or_below(&known.key, &mistake.key)
                    || lies_at_or_below(&mistake.key, &known.key))
        };
        if !self.0.iter().any(related) {
            self.0.push(mistake);
        }
    }

    /// Whether anything at or below the key is wrong.
    pub fn touch(&self, key: &str) -> bool {
        self.0.iter().any(|known| lies_at_or_below(&known.key, key))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The mistakes in the order they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.0.iter()
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, mistake) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

fn lies_at_or_below(key: &str, above: &str) -> bool {
    key.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consequence_of_a_mistake_is_not_told_again() {
        let mut mistakes = Mistakes::default();

        for key in ["coins.btc.pools[0].url", "coins.btc.pools", "coins.btc", "coins.btc2"] {
            mistakes.add(mistake(key));
        }

        let keys: Vec<_> = mistakes.iter().map(|mistake| mistake.key.as_str()).collect();
        assert_eq!(keys, ["coins.btc.pools[0].url", "coins.btc2"]);
        assert!(mistakes.touch("coins.btc"));
        assert!(!mistakes.touch("coins.btc.pools[1]"));
    }

    fn mistake(key: &str) -> Mistake {
        Mistake {
            origin: "a.toml".into(),
            key: key.into(),
            problem: "wrong".into(),
            accepted: String::new(),
        }
    }
}
