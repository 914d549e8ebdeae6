//! Whom a head claims to come from, before anything of it is proven.

use super::found::{CredentialText, Found, Parts, locate};
use super::key::KeyRing;
use crate::head::Head;
use crate::names::ClientName;

/// The client whose key a head names, where the key is known. Nothing of it is proven: good for
/// refusing a request early that would be refused to that client, and for nothing else.
#[must_use]
pub fn claimed<'k>(head: &Head, keys: &'k KeyRing) -> Option<&'k ClientName> {
    let key = |text: &str| Some(&keys.find(CredentialText::parse(text).ok()?.access_key_id)?.client);
    match locate(head).ok()? {
        Found::Header(parts) => key(Parts::parse(parts).ok()?.credential),
        Found::Query(parameters) => key(parameters.credential.as_deref()?),
        Found::Nothing | Found::V2(_) | Found::V4A(_) => None,
    }
}
