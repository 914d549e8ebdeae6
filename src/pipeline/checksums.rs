//! Checksums that we ask a store for although the client did not: they prove that the rest of a reply,
//! from another region, is of the same object.

use http::HeaderMap;

use super::Visit;
use crate::head::Head;
use crate::route::{Etags, Versions};
use crate::s3::hoist::hoisted;
use crate::s3::operation::Kind;

/// Asks a store for checksums.
const MODE: &str = "x-amz-checksum-mode";

/// Whether we ask for checksums although the client did not: where replies may move to another
/// region and nothing else would prove that it has the same version. Stores that honour checksums
/// give them to any GET for the asking; they compute nothing for it. The client does not see them.
pub(super) fn adds(visit: &Visit<'_>) -> bool {
    let point = &visit.access_point;
    visit.call.facts().resumable
        && visit.view.limits.resumes > 0
        && point.members.len() > 1
        && point.may_move(Kind::Read)
        && point.versions != Versions::Shared
        && point.etags != Etags::Stable
        && visit.call.version_id.is_none()
        && visit.head.count(MODE) == 0
        && hoisted(&visit.head).is_ok_and(|hoisted| hoisted.iter().all(|(name, _)| name != MODE))
}

/// Asks for checksums.
pub(super) fn ask(head: &mut Head) {
    head.set(MODE, b"ENABLED");
}

/// Takes out the checksums that the client did not ask for.
pub(super) fn hide(headers: &mut HeaderMap) {
    let theirs: Vec<_> =
        headers.keys().filter(|name| name.as_str().starts_with("x-amz-checksum-")).cloned().collect();
    for name in theirs {
        headers.remove(name);
    }
}
