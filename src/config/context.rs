//! What compiling a configuration reads besides its text, and what it writes down on the way.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::fault::{Fault, Position, nearest};

/// What is outside: the environment and other files. Injected, so that compiling is pure.
#[derive(Clone, Copy)]
pub struct Outside<'a> {
    /// The value of an environment variable.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The text of a file.
    pub read_file: &'a dyn Fn(&Path) -> io::Result<String>,
}

/// What positions mean.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// A file: lines and columns of it.
    File(PathBuf),
    /// Command-line flags: line n is the n-th of these, counted from 1.
    Flags(Vec<String>),
}

/// One compilation.
pub(super) struct Context<'a> {
    source: Source,
    outside: Outside<'a>,
    faults: RefCell<Vec<(Position, Fault)>>,
    warnings: RefCell<Vec<(Position, Fault)>>,
    depends_on: RefCell<BTreeSet<PathBuf>>,
}

/// What was written down, in the order of the file, or of the flags.
pub(super) struct Notes {
    pub(super) faults: Vec<Fault>,
    pub(super) warnings: Vec<Fault>,
    pub(super) depends_on: BTreeSet<PathBuf>,
}

impl<'a> Context<'a> {
    pub(super) fn new(source: Source, outside: Outside<'a>) -> Self {
        Self {
            source,
            outside,
            faults: RefCell::default(),
            warnings: RefCell::default(),
            depends_on: RefCell::default(),
        }
    }

    /// How a setting of an access point is written here: as a key of the file, or as a flag.
    pub(super) fn written(&self, key: &str, value: &str) -> String {
        match self.source {
            Source::File(_) => format!("`{key}: {value}`"),
            Source::Flags(_) => format!("`--{key} {value}`"),
        }
    }

    /// Whether no fault was written down.
    pub(super) fn is_sound(&self) -> bool {
        self.faults.borrow().is_empty()
    }

    /// What was written down.
    pub(super) fn into_notes(self) -> Notes {
        Notes {
            faults: in_order(self.faults),
            warnings: in_order(self.warnings),
            depends_on: self.depends_on.into_inner(),
        }
    }

    pub(super) fn env(&self, name: &str) -> Option<String> {
        (self.outside.env)(name)
    }

    /// A path of the configuration: relative ones begin at its file.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        match &self.source {
            Source::File(file) => file.parent().unwrap_or(Path::new("")).join(path),
            Source::Flags(_) => PathBuf::from(path),
        }
    }

    /// The text of a file that the configuration depends on.
    pub(super) fn read(&self, path: &Path) -> io::Result<String> {
        self.depends_on.borrow_mut().insert(path.to_owned());
        (self.outside.read_file)(path)
    }

    /// Where something stands that is there once more, for faults.
    pub(super) fn first(&self, at: Position) -> String {
        match &self.source {
            Source::File(_) => format!(", first on line {}", at.line),
            Source::Flags(_) => String::new(),
        }
    }

    /// Writes down that `what` is wrong at `at`.
    pub(super) fn fault(&self, at: Position, what: impl Into<String>, expected: impl Into<String>) {
        self.record(at, what.into(), Some(expected.into()), None);
    }

    /// The same, suggesting the candidate nearest to `word`.
    pub(super) fn fault_near<'c>(
        &self,
        at: Position,
        what: impl Into<String>,
        expected: impl Into<String>,
        word: &str,
        candidates: impl IntoIterator<Item = &'c str>,
    ) {
        let suggestion = nearest(word, candidates).map(str::to_owned);
        self.record(at, what.into(), Some(expected.into()), suggestion);
    }

    /// The same, where there is nothing to say about what would be right.
    pub(super) fn plain_fault(&self, at: Position, what: impl Into<String>) {
        self.record(at, what.into(), None, None);
    }

    /// Writes down a warning: what works, but hardly as meant.
    pub(super) fn warn(&self, at: Position, what: impl Into<String>) {
        let warning = self.complaint(at, what.into(), None, None);
        self.warnings.borrow_mut().push((at, warning));
    }

    fn record(&self, at: Position, what: String, expected: Option<String>, suggestion: Option<String>) {
        let fault = self.complaint(at, what, expected, suggestion);
        self.faults.borrow_mut().push((at, fault));
    }

    fn complaint(
        &self,
        at: Position,
        what: String,
        expected: Option<String>,
        suggestion: Option<String>,
    ) -> Fault {
        let (file, position) = match &self.source {
            Source::File(file) => (file.display().to_string(), Some(at)),
            Source::Flags(flags) => {
                let flag = usize::try_from(at.line).ok().and_then(|line| flags.get(line.checked_sub(1)?));
                (flag.map_or("command line", String::as_str).to_owned(), None)
            }
        };
        Fault { file, position, what, expected, suggestion }
    }
}

fn in_order(notes: RefCell<Vec<(Position, Fault)>>) -> Vec<Fault> {
    let mut notes = notes.into_inner();
    notes.sort_by_key(|(at, _)| *at);
    notes.into_iter().map(|(_, fault)| fault).collect()
}
