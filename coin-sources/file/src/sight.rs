//! One look at the file: is it there, has it changed, what does it say. Blocking; knows nothing of
//! maps and keeps no time.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::tree::Format;

/// A map larger than this is taken for a mistake.
const LARGEST: u64 = 64 * 1024 * 1024;

/// What tells one state of a file from another. The time of the last status change is in it, as it
/// cannot be set back: a file put in place with an old modification time is seen too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What was seen at the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sight {
    Nothing { why: String },
    Text { stamp: Stamp, text: String },
}

impl Sight {
    /// Looks. `None` if the file is as it was at `known`; then it is not read again.
    pub(crate) fn of(path: &Path, known: Option<Stamp>) -> Option<Self> {
        match read(path, known) {
            Ok(None) => None,
            Ok(Some((stamp, text))) => Some(Self::Text { stamp, text }),
            Err(why) => Some(Self::Nothing { why }),
        }
    }

    pub(crate) fn stamp(&self) -> Option<Stamp> {
        match self {
            Self::Nothing { .. } => None,
            Self::Text { stamp, .. } => Some(*stamp),
        }
    }
}

fn read(path: &Path, known: Option<Stamp>) -> Result<Option<(Stamp, String)>, String> {
    let problem = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => "the file is not there".to_owned(),
        io::ErrorKind::InvalidData => "the file is not UTF-8 text".to_owned(),
        _ => error.to_string(),
    };
    let before = fs::metadata(path).map_err(problem)?;
    if !before.is_file() {
        // Opening a pipe would wait for its writer.
        return Err("it is not a regular file".to_owned());
    }
    if before.len() > LARGEST {
        return Err(format!("the file has {} bytes, more than {LARGEST}", before.len()));
    }
    if known == Some(Stamp::of(&before)) {
        return Ok(None);
    }
    let file = File::open(path).map_err(problem)?;
    // Of the file that is open, as another may be at the path by now, and from before the reading,
    // so that what is written meanwhile shows at the next look.
    let stamp = Stamp::of(&file.metadata().map_err(problem)?);
    let mut text = String::new();
    (&file).take(LARGEST).read_to_string(&mut text).map_err(problem)?;
    Ok(Some((stamp, text)))
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// The format that a file's extension stands for.
pub(crate) fn format_of(path: &Path) -> Option<Format> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "json" => Some(Format::Json),
        "toml" => Some(Format::Toml),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_did_not_change_is_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.toml");
        fs::write(&path, "one").unwrap();

        let sight = Sight::of(&path, None).unwrap();

        assert!(matches!(&sight, Sight::Text { text, .. } if text == "one"));
        assert_eq!(Sight::of(&path, sight.stamp()), None);
    }

    #[test]
    fn another_file_of_the_same_size_and_time_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("m.toml"), folder.path().join("n.toml"));
        fs::write(&path, "one").unwrap();
        fs::write(&other, "two").unwrap();
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        File::options().write(true).open(&other).unwrap().set_modified(time).unwrap();
        let known = Sight::of(&path, None).unwrap().stamp();

        fs::rename(&other, &path).unwrap();

        let sight = Sight::of(&path, known).unwrap();
        assert!(matches!(sight, Sight::Text { text, .. } if text == "two"));
    }

    #[test]
    fn what_is_no_text_file_says_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.toml");
        let why = || match Sight::of(&path, None) {
            Some(Sight::Nothing { why }) => why,
            other => panic!("{other:?}"),
        };

        assert_eq!(why(), "the file is not there");
        fs::write(&path, b"\xff").unwrap();
        assert_eq!(why(), "the file is not UTF-8 text");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(why(), "it is not a regular file");
    }
}
