//! One answer out of several regions': uploads under way, and deletions. Pure.

use crate::s3::xml::{NAMESPACE, ObjectToDelete, UploadsPage, element};

impl UploadsPage {
    /// The last key that this page is complete up to; `None` where it is complete.
    fn bound(&self) -> Option<Vec<u8>> {
        self.truncated.then(|| self.next_key_marker.clone())
    }

    /// This page and another region's, by key in the order of bytes. Complete only as far as both are.
    #[must_use]
    pub fn merged(mut self, other: Self) -> Self {
        let bounds = [self.bound(), other.bound()];
        let nearer = match &bounds {
            [Some(ours), Some(theirs)] if theirs < ours => Some(&other),
            [None, Some(_)] => Some(&other),
            [Some(_) | None, None] | [Some(_), Some(_)] => None,
        };
        if let Some(nearer) = nearer {
            self.next_key_marker.clone_from(&nearer.next_key_marker);
            self.next_upload_id_marker.clone_from(&nearer.next_upload_id_marker);
        } else if bounds[0].is_some() && bounds[0] == bounds[1] {
            // Both have more of this very key, each by its own marker.
            self.next_upload_id_marker = joined(&self.next_upload_id_marker, &other.next_upload_id_marker);
        }
        self.truncated |= other.truncated;
        self.uploads.extend(other.uploads);
        self.prefixes.extend(other.prefixes);
        let bound = bounds.into_iter().flatten().min();
        let within = |key: &Vec<u8>| bound.as_ref().is_none_or(|bound| key <= bound);
        self.uploads.retain(|upload| within(&upload.key));
        self.prefixes.retain(within);
        // Stable: within a key the uploads of one region stay in its order.
        self.uploads.sort_by(|one, two| one.key.cmp(&two.key));
        self.prefixes.sort();
        self.prefixes.dedup();
        self
    }

    /// Ends the page after `most` uploads and prefixes, but never within a key: another region's
    /// uploads of that key could not be asked for again.
    pub fn cut(&mut self, most: usize) {
        if self.uploads.len() + self.prefixes.len() <= most || most == 0 {
            return;
        }
        let keys = self.uploads.iter().map(|upload| &upload.key);
        let mut order: Vec<&Vec<u8>> = keys.chain(&self.prefixes).collect();
        order.sort();
        let Some(last) = order.get(most - 1).map(|last| Vec::clone(last)) else { return };
        let before = self.uploads.len() + self.prefixes.len();
        self.uploads.retain(|upload| upload.key <= last);
        self.prefixes.retain(|prefix| *prefix <= last);
        if self.uploads.len() + self.prefixes.len() == before {
            return;
        }
        if self.bound().is_some_and(|bound| bound == last) {
            // A region has more of this very key: its own marker leads on.
            return;
        }
        self.truncated = true;
        let upload = self.uploads.iter().rev().find(|upload| upload.key == last);
        self.next_upload_id_marker = upload.map(|upload| upload.upload_id.clone()).unwrap_or_default();
        self.next_key_marker = last;
    }
}

/// What stands between the markers of several regions; no token of ours has it.
const BETWEEN_MARKERS: char = '.';

fn joined(one: &str, other: &str) -> String {
    let markers = [one, other].into_iter().filter(|marker| !marker.is_empty());
    markers.collect::<Vec<_>>().join(BETWEEN_MARKERS.encode_utf8(&mut [0; 4]))
}

/// The upload id markers in one of a merged page: one of each region whose page ended with its key.
pub fn markers(joined: &str) -> impl Iterator<Item = &str> {
    joined.split(BETWEEN_MARKERS)
}

/// A `DeleteObjects` result that says of each object that it may not have been deleted.
#[must_use]
pub fn failed_deletions(objects: &[ObjectToDelete], code: &str, message: &str) -> String {
    let mut out = "<DeleteResult xmlns=\"".to_owned() + NAMESPACE + "\">";
    for object in objects {
        out.push_str("<Error>");
        element(&mut out, "Key", &object.key);
        if let Some(version) = &object.version_id {
            element(&mut out, "VersionId", version);
        }
        element(&mut out, "Code", code);
        element(&mut out, "Message", message);
        out.push_str("</Error>");
    }
    out.push_str("</DeleteResult>");
    out
}

/// Several `DeleteObjects` results as one: the children of each `DeleteResult`, one after the other.
/// `None` where one of them is no `DeleteResult`.
#[must_use]
pub fn delete_results(documents: &[String]) -> Option<String> {
    let mut merged = String::new();
    for document in documents {
        let (opening, rest) = document.split_once("<DeleteResult")?;
        let (tag, inner) = rest.split_once('>')?;
        if merged.is_empty() {
            merged.push_str(opening);
            merged.push_str("<DeleteResult");
            merged.push_str(tag.trim_end_matches('/'));
            merged.push('>');
        }
        // `<DeleteResult/>` has no children.
        if !tag.ends_with('/') {
            merged.push_str(inner.rsplit_once("</DeleteResult>")?.0);
        }
    }
    merged.push_str("</DeleteResult>");
    Some(merged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::xml::{Upload, list_uploads_result};

    fn page(keys: &[(&str, &str)], next: Option<&str>) -> UploadsPage {
        let uploads = keys.iter().map(|(key, id)| Upload {
            key: (*key).into(),
            upload_id: (*id).to_owned(),
            ..Upload::default()
        });
        UploadsPage {
            uploads: uploads.collect(),
            truncated: next.is_some(),
            next_key_marker: next.unwrap_or_default().into(),
            ..UploadsPage::default()
        }
    }

    fn ids(page: &UploadsPage) -> Vec<&str> {
        page.uploads.iter().map(|upload| upload.upload_id.as_str()).collect()
    }

    #[test]
    fn pages_merge_by_key_and_end_where_the_first_of_them_ends() {
        let merged = page(&[("a", "1"), ("c", "2")], None).merged(page(&[("a", "3"), ("b", "4")], Some("b")));
        assert_eq!(
            ids(&merged),
            ["1", "3", "4"],
            "c may come after keys that the second region did not list"
        );
        assert!(merged.truncated);
        assert_eq!(merged.next_key_marker, b"b");
        let whole = page(&[("b", "1")], None).merged(page(&[("a", "2")], None));
        assert_eq!(ids(&whole), ["2", "1"]);
        assert!(!whole.truncated);
    }

    #[test]
    fn a_prefix_of_two_regions_is_one_however_each_spells_it() {
        let page = |prefix: &str| {
            let document = format!(
                "<ListMultipartUploadsResult><EncodingType>url</EncodingType><CommonPrefixes><Prefix>{prefix}\
                 </Prefix></CommonPrefixes></ListMultipartUploadsResult>"
            );
            list_uploads_result(document.as_bytes(), true).unwrap()
        };
        let merged = page("my+dir/").merged(page("my%20dir/"));
        assert_eq!(merged.prefixes, [b"my dir/".to_vec()]);
    }

    #[test]
    fn a_cut_never_splits_a_key() {
        let mut merged = page(&[("a", "1"), ("b", "2"), ("b", "3"), ("c", "4")], None);
        merged.cut(2);
        assert_eq!(ids(&merged), ["1", "2", "3"]);
        assert_eq!((&*merged.next_key_marker, merged.next_upload_id_marker.as_str()), (&b"b"[..], "3"));
        let mut short = page(&[("a", "1")], None);
        short.cut(1);
        assert!(!short.truncated);
    }

    #[test]
    fn a_cut_at_a_key_of_which_a_region_has_more_keeps_that_regions_marker() {
        let mut more = page(&[("a", "1"), ("b", "2")], Some("b"));
        more.next_upload_id_marker = "2".to_owned();
        let mut merged = more.merged(page(&[("b", "3"), ("c", "4")], None));
        merged.cut(2);
        assert_eq!(ids(&merged), ["1", "2", "3"]);
        assert_eq!((&*merged.next_key_marker, merged.next_upload_id_marker.as_str()), (&b"b"[..], "2"));
    }

    #[test]
    fn of_a_key_at_which_two_regions_end_both_markers_are_kept() {
        let ended = |ids: [&str; 2], marker: &str| {
            let mut page = page(&[("a", ids[0]), ("b", ids[1])], Some("b"));
            page.next_upload_id_marker = marker.to_owned();
            page
        };
        let three =
            ended(["1", "2"], "np1_x").merged(ended(["3", "4"], "np1_y")).merged(ended(["5", "6"], ""));
        assert_eq!((three.truncated, &*three.next_key_marker), (true, &b"b"[..]));
        assert_eq!(markers(&three.next_upload_id_marker).collect::<Vec<_>>(), ["np1_x", "np1_y"]);
        let mut cut = three.clone();
        cut.cut(4);
        assert_eq!(cut, three, "a page is never cut within a key");
        let nearer = three.merged(page(&[("a", "7")], Some("a")));
        assert_eq!((&*nearer.next_key_marker, nearer.next_upload_id_marker.as_str()), (&b"a"[..], ""));
        assert_eq!(markers("np1_x").collect::<Vec<_>>(), ["np1_x"]);
    }

    #[test]
    fn failed_deletions_are_told_key_by_key() {
        let object = |version: Option<&str>| ObjectToDelete {
            key: "a&b".to_owned(),
            version_id: version.map(str::to_owned),
            ..ObjectToDelete::default()
        };
        let told = failed_deletions(&[object(None), object(Some("np1_v"))], "ServiceUnavailable", "later");
        let error = |version: &str| {
            format!(
                "<Error><Key>a&amp;b</Key>{version}<Code>ServiceUnavailable</Code><Message>later</Message></Error>"
            )
        };
        assert!(told.contains(&(error("") + &error("<VersionId>np1_v</VersionId>"))), "{told}");
        assert!(delete_results(&[told]).is_some());
    }

    #[test]
    fn results_of_deletions_become_one_document() {
        let one =
            "<?xml version=\"1.0\"?><DeleteResult xmlns=\"x\"><Deleted><Key>a</Key></Deleted></DeleteResult>";
        let two = "<DeleteResult/>";
        let three = "<DeleteResult><Error><Key>b</Key></Error></DeleteResult>";
        let merged = delete_results(&[one.to_owned(), two.to_owned(), three.to_owned()]);
        let expected = "<?xml version=\"1.0\"?><DeleteResult xmlns=\"x\"><Deleted><Key>a</Key></Deleted>\
                        <Error><Key>b</Key></Error></DeleteResult>";
        assert_eq!(merged.as_deref(), Some(expected));
        assert_eq!(delete_results(&["<Error/>".to_owned()]), None);
    }
}
