//! What is wrong with a configuration, where, and what would be right.

use std::fmt;

/// Where something stands in a text. Lines and columns count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

/// One fault, or one warning. Prints as one line: `file:line:column: what; expected …; did you
/// mean …?`. Quotes values as they are written (`${env:NAME}`), never what they stand for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The file as it was named, or the command-line flag.
    pub file: String,
    /// `None` for flags, and for files that could not be read.
    pub position: Option<Position>,
    /// What is there.
    pub what: String,
    /// What should be.
    pub expected: Option<String>,
    /// The nearest right spelling.
    pub suggestion: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(Position { line, column }) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.what)?;
        if let Some(expected) = &self.expected {
            write!(f, "; expected {expected}")?;
        }
        match &self.suggestion {
            Some(suggestion) => write!(f, "; did you mean `{suggestion}`?"),
            None => Ok(()),
        }
    }
}

/// The right word nearest to a wrong one, where one is near enough: the same but for case and
/// `-` for `_`, or a third of its letters wrong at most.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    let folded = plain(word);
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&folded, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_one_line() {
        let mut fault = Fault {
            file: "np.yaml".into(),
            position: Some(Position { line: 3, column: 7 }),
            what: "unknown key `endpiont`".into(),
            expected: Some("one of endpoint, profile".into()),
            suggestion: Some("endpoint".into()),
        };
        assert_eq!(
            fault.to_string(),
            "np.yaml:3:7: unknown key `endpiont`; expected one of endpoint, profile; did you mean `endpoint`?"
        );
        fault.position = None;
        fault.expected = None;
        fault.suggestion = None;
        assert_eq!(fault.to_string(), "np.yaml: unknown key `endpiont`");
    }

    #[test]
    fn only_near_words_are_suggested() {
        let words = ["nearest", "home", "off", "access_point"];
        assert_eq!(nearest("neerest", words), Some("nearest"));
        assert_eq!(nearest("Home", words), Some("home"));
        assert_eq!(nearest("access-points", words), Some("access_point"));
        assert_eq!(nearest("of", words), Some("off"));
        assert_eq!(nearest("frankfurt", words), None);
    }
}
