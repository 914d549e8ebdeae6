//! `${env:NAME}` and `${file:PATH}` in texts. `$${` stands for `${` itself.

use std::io;

use super::context::Context;
use super::fault::Position;

/// The text with its references replaced by what they stand for. What is put in is not searched
/// again. `None` after a fault, which names the reference and never quotes a value.
pub(super) fn expand(context: &Context<'_>, at: Position, written: &str) -> Option<String> {
    let mut text = String::with_capacity(written.len());
    let mut rest = written;
    let mut whole = true;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            text.push_str(before);
            text.push_str("${");
            rest = after;
            continue;
        }
        text.push_str(before);
        let Some((reference, after)) = after.split_once('}') else {
            context.fault(
                at,
                "`${` is never closed",
                "${env:NAME}, ${file:PATH}, or $${ for the characters themselves",
            );
            return None;
        };
        match resolve(context, at, reference) {
            Some(value) => text.push_str(&value),
            None => whole = false,
        }
        rest = after;
    }
    text.push_str(rest);
    whole.then_some(text)
}

fn resolve(context: &Context<'_>, at: Position, reference: &str) -> Option<String> {
    match reference.split_once(':') {
        Some(("env", name)) if is_name(name) => {
            let value = context.env(name);
            if value.is_none() {
                context.fault(at, format!("the environment variable {name} is not set"), "a value for it");
            }
            value
        }
        Some(("file", path)) if !path.is_empty() => match context.read(&context.resolve(path)) {
            Ok(mut text) => {
                if text.ends_with('\n') {
                    text.pop();
                    if text.ends_with('\r') {
                        text.pop();
                    }
                }
                Some(text)
            }
            Err(error) => {
                context.fault(at, format!("cannot read {path}: {}", cause(&error)), "a readable text file");
                None
            }
        },
        _ => {
            // Not quoted: it may be a piece of a secret that was written down as it is.
            let expected = "${env:NAME}, ${file:PATH}, or $${ for the characters themselves";
            context.fault(at, "`${…}` is no reference", expected);
            None
        }
    }
}

/// Why a file cannot be read, in words that do not differ from system to system.
pub(super) fn cause(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::InvalidData => "not UTF-8 text".to_owned(),
        io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        _ => error.to_string(),
    }
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
