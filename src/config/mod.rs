//! Room: the configuration, from YAML to the rooms' own settings.
//!
//! Decides whether a configuration can be put in force, and says everything that is wrong with it
//! at once: each fault with file, line, column, what was expected and the nearest right spelling.
//! A key that this version does not act on is a fault and never ignored. It refuses to decide what
//! settings do (the rooms) and when they change (`gateway`). Pure but for [`load()`]: the environment
//! and other files are injected.

mod access_points;
mod clients;
mod compile;
mod context;
#[cfg(feature = "demo")]
mod demo;
mod diff;
mod endpoint;
mod expand;
mod fault;
mod flags;
mod keys;
mod listeners;
mod load;
mod regions;
mod rules;
mod section;
mod settings;
mod yaml;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

pub use context::Outside;
#[cfg(feature = "demo")]
pub use demo::from_demo;
pub use diff::{Change, How, diff};
pub use fault::{Fault, Position};
pub use flags::from_flags;
pub use listeners::{ADMIN as DEFAULT_ADMIN, DATA as DEFAULT_DATA};
pub use load::{load, load_flags, read_file};
pub use settings::Settings;

use context::{Context, Source};
use yaml::Node;

/// A configuration that can be put in force.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub settings: Settings,
    /// What works, but hardly as meant; in the order of the file.
    pub warnings: Vec<Fault>,
    /// Every file that was read for it, itself included: when one changes, so may the settings.
    pub depends_on: BTreeSet<PathBuf>,
}

/// A configuration that cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// All that is wrong, at least one; in the order of the file.
    pub faults: Vec<Fault>,
    /// What would work, but hardly as meant.
    pub warnings: Vec<Fault>,
    /// Every file that was read for it, itself included: when one changes, it may be right.
    pub depends_on: BTreeSet<PathBuf>,
}

impl fmt::Display for Refused {
    /// The faults, one a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, fault) in self.faults.iter().enumerate() {
            write!(f, "{}{fault}", if n == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Refused {}

/// Compiles the text of a configuration file. `file` names it in faults, and relative paths in it
/// begin at its directory.
///
/// # Errors
/// [`Refused`] with every fault at once; a text that is no YAML is one fault.
pub fn compile(text: &str, file: &Path, outside: Outside<'_>) -> Result<Loaded, Refused> {
    let context = Context::new(Source::File(file.to_owned()), outside);
    let mut result = match yaml::parse(text) {
        Ok(root) => judge(context, &root),
        Err(fault) => {
            context.plain_fault(fault.at, format!("no YAML: {}", fault.what));
            Err(refused(context))
        }
    };
    match &mut result {
        Ok(Loaded { depends_on, .. }) | Err(Refused { depends_on, .. }) => depends_on.insert(file.to_owned()),
    };
    result
}

/// Compiles a tree, from whatever it came.
fn judge(context: Context<'_>, root: &Node) -> Result<Loaded, Refused> {
    let settings = compile::compile(&context, root);
    match settings {
        Some(settings) if context.is_sound() => {
            let notes = context.into_notes();
            Ok(Loaded { settings, warnings: notes.warnings, depends_on: notes.depends_on })
        }
        _ => Err(refused(context)),
    }
}

fn refused(context: Context<'_>) -> Refused {
    let notes = context.into_notes();
    debug_assert!(!notes.faults.is_empty(), "refused for no fault");
    Refused { faults: notes.faults, warnings: notes.warnings, depends_on: notes.depends_on }
}
