//! Whom the client takes for the owner of a bucket. An access point has no account of a store's; where
//! the operator has said which account clients are to know it by, that is what they are held to.

use super::copy_source;
use crate::head::Head;
use crate::refusal::{Blame, Refusal};
use crate::route::AccessPoint;
use crate::s3::hoist::hoisted;
use crate::s3::query::Query;
use crate::s3::{Call, Code};
use crate::view::View;

/// Whom every region's owner and grantees are shown as.
pub(super) const SHOWN: &str = "nearpoint";
/// Of the bucket that the request is of.
const EXPECTED: &str = "x-amz-expected-bucket-owner";
/// Of the bucket that a copy is made from.
const SOURCE_EXPECTED: &str = "x-amz-source-expected-bucket-owner";

/// Checks what the request expects. Under the wildcard the store does, whose own bucket it is.
///
/// # Errors
/// `403` for another account. `501` where nobody has said whose an access point is: who asks for this
/// check must not be let through without it.
pub(super) fn check(
    view: &View,
    head: &Head,
    call: &Call,
    access_point: Option<&AccessPoint>,
) -> Result<(), Refusal> {
    expect(head, EXPECTED, access_point)?;
    if call.copy_source.is_some() {
        expect(head, SOURCE_EXPECTED, copy_source(view, call).map(|point| &**point))?;
    }
    Ok(())
}

fn expect(head: &Head, name: &str, access_point: Option<&AccessPoint>) -> Result<(), Refusal> {
    let Some(point) = access_point.filter(|point| !point.is_wildcard()) else { return Ok(()) };
    let Some(expected) = expected(head, name)? else { return Ok(()) };
    match &point.owner {
        Some(owner) if *owner == expected => Ok(()),
        Some(_) => Err(Refusal::new(Code::AccessDenied, Blame::Client)
            .caused_by(format!("{name} is another account than `owner` of the access point"))),
        None => Err(Refusal::because(
            Code::NotImplemented,
            Blame::House,
            "The owner of this bucket is not known here, so that it cannot be expected.",
        )
        .caused_by(format!("{name}: set `owner` of the access point to the account that clients expect"))),
    }
}

fn expected(head: &Head, name: &str) -> Result<Option<String>, Refusal> {
    if let Some(value) = head.first(name) {
        return Ok(Some(String::from_utf8_lossy(value).into_owned()));
    }
    if !head.query().is_some_and(may_name_one) {
        return Ok(None);
    }
    Ok(hoisted(head)?.into_iter().find(|(own, _)| own == name).map(|(_, value)| value))
}

/// Whether a query may carry one of the headers: nearly none does, and nothing is decoded to see that.
fn may_name_one(query: &str) -> bool {
    let ends_so = |name: &str| {
        let end = name.len().checked_sub("owner".len()).and_then(|start| name.get(start..));
        end.is_some_and(|end| end.eq_ignore_ascii_case("owner"))
    };
    Query::new(query).pairs().any(|pair| pair.raw_name.contains('%') || ends_so(pair.raw_name))
}
