//! The door: reads the configuration file, those it refers to, and the environment.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::expand::cause;
use super::{Fault, Loaded, Outside, Refused, compile, from_flags};

/// Reads and compiles a configuration file.
///
/// # Errors
/// [`Refused`] with every fault at once; a file that cannot be read is one.
pub fn load(file: &Path) -> Result<Loaded, Refused> {
    match read_file(file) {
        Ok(text) => compile(&text, file, outside()),
        Err(error) => {
            let fault = Fault {
                file: file.display().to_string(),
                position: None,
                what: format!("cannot read the configuration: {}", cause(&error)),
                expected: Some("a readable YAML file".to_owned()),
                suggestion: None,
            };
            let depends_on = BTreeSet::from([file.to_owned()]);
            Err(Refused { faults: vec![fault], warnings: Vec::new(), depends_on })
        }
    }
}

/// Compiles `serve --access-point … --region …` with this process's environment.
///
/// # Errors
/// [`Refused`] with every fault at once.
pub fn load_flags(
    access_point: &str,
    regions: &[String],
    replication: Option<&str>,
) -> Result<Loaded, Refused> {
    from_flags(access_point, regions, replication, outside())
}

fn outside() -> Outside<'static> {
    Outside { env: &env, read_file: &read_file }
}

#[expect(clippy::disallowed_methods, reason = "this is the configuration's reader of the environment")]
fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The text of a file, [`LARGEST_FILE`] at most, so that a device or a log named by mistake does
/// not fill the memory.
///
/// # Errors
/// The system's; a file that is larger, or no UTF-8.
pub fn read_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(LARGEST_FILE + 1).read_to_string(&mut text)?;
    if u64::try_from(read).is_ok_and(|read| read > LARGEST_FILE) {
        return Err(io::Error::other("it is larger than 4 MiB"));
    }
    Ok(text)
}

/// Bytes. Configurations and policies take kilobytes; bundles of authorities some hundred.
const LARGEST_FILE: u64 = 4 << 20;
