//! `ListBuckets`: a store's buckets and the access points, in one listing. Pure.
//!
//! The store is always asked for everything, and the pages are cut here: its own tokens would lead
//! past access points that were not listed yet, and may name buckets that clients do not see. A
//! token of ours says the last name listed.

use std::borrow::Cow;

use crate::s3::query::Query;
use crate::s3::xml::{self, element, walk};
use crate::s3::{Code, Malformed};

/// Most buckets of a page: S3's own bound, for clients and of stores.
const PAGE_MAX: usize = 10_000;

/// What the tokens given to clients begin with.
const TOKEN: &str = "np.";

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// `prefix`.
    prefix: Option<String>,
    /// `max-buckets`; without it there are no pages.
    most: Option<usize>,
    /// `bucket-region`.
    region: Option<String>,
    /// The last name listed, where the listing goes on.
    after: Option<String>,
}

/// One page, of a store or for a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// A store's may be in any order; a client's is in order of name.
    pub buckets: Vec<Bucket>,
    /// The token of the next page.
    pub next: Option<String>,
}

/// One bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// What it is called.
    pub name: String,
    /// When it was made (`2006-02-03T16:45:09.000Z`).
    pub created: String,
}

impl Asked {
    /// Reads it from a query.
    ///
    /// # Errors
    /// `InvalidArgument` for a `max-buckets` or a `continuation-token` that is none.
    pub fn of(query: Option<&str>) -> Result<Self, Malformed> {
        let query = Query::new(query.unwrap_or_default());
        let text = |name: &str| query.first(name).map(Cow::into_owned).filter(|text| !text.is_empty());
        let most = text("max-buckets").map(|text| match text.parse() {
            Ok(most) if (1..=PAGE_MAX).contains(&most) => Ok(most),
            _ => Err(Malformed::argument("max-buckets", &text, "max-buckets must be 1 to 10000")),
        });
        let after = text("continuation-token").map(|token| match token.strip_prefix(TOKEN) {
            Some(name) => Ok(name.to_owned()),
            None => {
                Err(Malformed::because(Code::InvalidArgument, "The continuation token provided is incorrect"))
            }
        });
        Ok(Self {
            prefix: text("prefix"),
            most: most.transpose()?,
            region: text("bucket-region"),
            after: after.transpose()?,
        })
    }

    /// Whether buckets of this region are asked for: all are in the one that clients see.
    #[must_use]
    pub fn is_of(&self, region: &str) -> bool {
        self.region.as_deref().is_none_or(|asked| asked == region)
    }

    /// The parameters that a store gets otherwise than the client sent them: as large a page as
    /// there is, where the client speaks of pages at all (older stores do not), the store's own
    /// token, and no region, since the client's is not the store's.
    #[must_use]
    pub fn of_store(&self, token: Option<String>) -> [(&'static str, Option<String>); 3] {
        let pages = self.most.is_some() || token.is_some();
        [
            ("max-buckets", pages.then(|| PAGE_MAX.to_string())),
            ("continuation-token", token),
            ("bucket-region", None),
        ]
    }

    /// The page: of two that are called the same, ours.
    #[must_use]
    pub fn page<'a>(&self, theirs: Vec<Bucket>, ours: impl IntoIterator<Item = (&'a str, &'a str)>) -> Page {
        let ours = ours.into_iter();
        let ours = ours.map(|(name, created)| Bucket { name: name.to_owned(), created: created.to_owned() });
        let mut buckets: Vec<Bucket> = ours.chain(theirs).collect();
        let (prefix, after) = (self.prefix.as_deref().unwrap_or_default(), self.after.as_deref());
        buckets.retain(|bucket| {
            bucket.name.starts_with(prefix) && after.is_none_or(|after| bucket.name.as_str() > after)
        });
        // Stable: ours stay before theirs.
        buckets.sort_by(|one, two| one.name.cmp(&two.name));
        buckets.dedup_by(|one, two| one.name == two.name);
        let most = self.most.unwrap_or(usize::MAX);
        let more = buckets.len() > most;
        buckets.truncate(most);
        let next = buckets.last().filter(|_| more).map(|last| format!("{TOKEN}{}", last.name));
        Page { buckets, next }
    }

    /// The document of a page.
    #[must_use]
    pub fn document(&self, page: &Page, owner: &str, region: &str) -> String {
        let namespace = xml::NAMESPACE;
        let mut out = format!("{}<ListAllMyBucketsResult xmlns=\"{namespace}\"><Owner>", xml::DECLARATION);
        element(&mut out, "ID", owner);
        out.push_str("</Owner><Buckets>");
        // As S3: told to whoever asks with any parameter.
        let tells_region =
            self.prefix.is_some() || self.most.is_some() || self.region.is_some() || self.after.is_some();
        for bucket in &page.buckets {
            out.push_str("<Bucket>");
            element(&mut out, "Name", &bucket.name);
            element(&mut out, "CreationDate", &bucket.created);
            if tells_region {
                element(&mut out, "BucketRegion", region);
            }
            out.push_str("</Bucket>");
        }
        out.push_str("</Buckets>");
        if let Some(next) = &page.next {
            element(&mut out, "ContinuationToken", next);
        }
        if let Some(prefix) = &self.prefix {
            element(&mut out, "Prefix", prefix);
        }
        out.push_str("</ListAllMyBucketsResult>");
        out
    }
}

/// Reads a store's page.
///
/// # Errors
/// `MalformedXML`.
pub fn read(document: &[u8]) -> Result<Page, Malformed> {
    let mut page = Page::default();
    let mut bucket = Bucket::default();
    walk(document, &mut |path, text| {
        let (root, rest) = path.split_once('/').unwrap_or((path, ""));
        if root != "ListAllMyBucketsResult" {
            return Err(xml::malformed());
        }
        match rest {
            "Buckets/Bucket/Name" => text.clone_into(&mut bucket.name),
            "Buckets/Bucket/CreationDate" => text.clone_into(&mut bucket.created),
            "Buckets/Bucket" => page.buckets.push(std::mem::take(&mut bucket)),
            "ContinuationToken" => page.next = Some(text.to_owned()).filter(|token| !token.is_empty()),
            _ => {}
        }
        Ok(())
    })?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::s3::query::encode_into;

    const CREATED: &str = "2020-01-01T00:00:00.000Z";

    fn asked(query: &str) -> Asked {
        Asked::of(Some(query)).unwrap()
    }

    fn bucket(name: &str) -> Bucket {
        Bucket { name: name.to_owned(), created: "theirs".to_owned() }
    }

    fn names(page: &Page) -> Vec<&str> {
        page.buckets.iter().map(|bucket| bucket.name.as_str()).collect()
    }

    proptest! {
        #[test]
        fn pages_are_in_order_without_a_gap_or_a_repeat(
            theirs in prop::collection::btree_set("[a-e]{3,4}", 0..12),
            ours in prop::collection::btree_set("[a-e]{3,4}", 0..6),
            most in 1usize..5,
        ) {
            let all: Vec<String> = theirs.union(&ours).cloned().collect();
            let (mut found, mut token) = (Vec::new(), String::new());
            loop {
                let query = asked(&format!("max-buckets={most}{token}"));
                let page = query.page(
                    theirs.iter().rev().map(|name| bucket(name)).collect(),
                    ours.iter().map(|name| (name.as_str(), CREATED)),
                );
                prop_assert!(page.buckets.len() <= most);
                for bucket in &page.buckets {
                    prop_assert_eq!(ours.contains(&bucket.name), bucket.created == CREATED);
                }
                found.extend(page.buckets.into_iter().map(|bucket| bucket.name));
                let Some(next) = page.next else { break };
                token = "&continuation-token=".to_owned();
                encode_into(next.as_bytes(), b"", &mut token);
            }
            prop_assert_eq!(found, all);
        }
    }

    #[test]
    fn a_page_is_read_and_written() {
        let theirs = read(
            b"<?xml version=\"1.0\"?><ListAllMyBucketsResult xmlns=\"x\"><Owner><ID>1</ID></Owner><Buckets>\
              <Bucket><Name>b</Name><CreationDate>d</CreationDate><BucketRegion>eu</BucketRegion></Bucket></Buckets>\
              <ContinuationToken>t/1</ContinuationToken><Prefix/></ListAllMyBucketsResult>",
        );
        let theirs = theirs.unwrap();
        assert_eq!((names(&theirs), theirs.next.as_deref()), (vec!["b"], Some("t/1")));
        let query = asked("prefix=&max-buckets=2");
        let page = query.page(theirs.buckets, [("a", CREATED), ("c", CREATED)]);
        assert_eq!(names(&page), ["a", "b"]);
        let document = query.document(&page, "me", "anywhere");
        assert!(document.contains("<Owner><ID>me</ID></Owner>"), "{document}");
        assert_eq!(document.matches("<BucketRegion>anywhere</BucketRegion>").count(), 2, "{document}");
        assert!(document.contains("<ContinuationToken>np.b</ContinuationToken>"), "{document}");
        let plain = asked("").document(&Page::default(), "me", "anywhere");
        assert!(!plain.contains("BucketRegion") && !plain.contains("ContinuationToken"));
        assert!(read(plain.as_bytes()).unwrap().buckets.is_empty());
        assert!(read(b"<Error><Code>AccessDenied</Code></Error>").is_err() && read(b"<Lis").is_err());
    }

    #[test]
    fn what_is_asked_holds_for_all_and_is_said_in_the_stores_words() {
        let query = asked("prefix=p&bucket-region=anywhere");
        let page = query.page(vec![bucket("qa"), bucket("pa")], [("pb", CREATED), ("qb", CREATED)]);
        assert_eq!(names(&page), ["pa", "pb"]);
        assert!(query.document(&page, "me", "anywhere").contains("<Prefix>p</Prefix>"));
        assert!(query.is_of("anywhere") && !query.is_of("eu-1") && asked("").is_of("eu-1"));
        let [most, token, region] = query.of_store(None);
        assert_eq!((most.1, token.1, region.1), (None, None, None), "as stores without pages know it");
        let [most, token, _] = asked("max-buckets=5").of_store(Some("t".to_owned()));
        assert_eq!((most.1.as_deref(), token.1.as_deref()), (Some("10000"), Some("t")));
        let refused = |query: &str| Asked::of(Some(query)).unwrap_err().code == Code::InvalidArgument;
        assert!(
            ["max-buckets=0", "max-buckets=10001", "max-buckets=x", "continuation-token=x"]
                .map(refused)
                .iter()
                .all(|refused| *refused)
        );
        assert!(asked("max-buckets=10000").most == Some(10_000));
    }
}
