//! Patterns with `*` (anything, also nothing) and `?` (one character). No other signs are special.

/// A pattern over whole names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glob(Vec<char>);

impl Glob {
    pub(crate) fn new(pattern: &str) -> Self {
        let mut signs: Vec<char> = pattern.chars().collect();
        signs.dedup_by(|one, other| *one == '*' && *other == '*');
        Self(signs)
    }

    /// Whether the whole name matches. Time is at most the product of both lengths.
    pub(crate) fn is_match(&self, name: &str) -> bool {
        let signs = &self.0;
        let name: Vec<char> = name.chars().collect();
        let (mut sign, mut at) = (0, 0);
        // Where to go on if what follows the last star does not fit: one character further.
        let mut retry = None;
        while let Some(&c) = name.get(at) {
            match signs.get(sign) {
                Some('*') => {
                    retry = Some((sign + 1, at + 1));
                    sign += 1;
                }
                Some(&s) if s == '?' || s == c => {
                    sign += 1;
                    at += 1;
                }
                _ => {
                    let Some((sign_again, at_again)) = retry else { return false };
                    (sign, at) = (sign_again, at_again);
                    retry = Some((sign_again, at_again + 1));
                }
            }
        }
        signs.get(sign..).is_some_and(|rest| rest.iter().all(|sign| *sign == '*'))
    }
}

#[cfg(test)]
mod tests {
    use super::Glob;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, expected) in [
            ("farm-*", "farm-1", true),
            ("farm-*", "farm-", true),
            ("farm-*", "a-farm-1", false),
            ("*", "", true),
            ("?", "", false),
            ("?", "é", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*-x", "a-x-x", true),
            ("*-x", "a-x-y", false),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1c2b", false),
            ("a**c", "abc", true),
            ("[a]", "a", false),
            ("exact", "exact", true),
            ("exact", "exactly", false),
        ] {
            assert_eq!(Glob::new(pattern).is_match(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_hostile_name_takes_no_exponential_time() {
        let glob = Glob::new(&"*a".repeat(50));

        assert!(!glob.is_match(&"a".repeat(10_000).replace("aa", "ab")[..40]));
        assert!(!glob.is_match(&("a".repeat(5_000) + "b")));
    }
}
