use proptest::prelude::*;

use super::*;
use crate::s3::xml::element;

/// Edits that show what they were asked: `slot:text@key`.
#[expect(clippy::unnecessary_wraps, reason = "the shape of an edit")]
fn shown(slot: Slot, near: Near<'_>) -> Option<String> {
    let key = near.key.map(|key| String::from_utf8_lossy(key).into_owned());
    Some(format!("{slot:?}:{}@{}", near.text, key.as_deref().unwrap_or("-")))
}

fn rewritten(document: &[u8], splits: &[usize], url_keys: bool) -> Result<Vec<u8>, NotRewritable> {
    let mut rewriter = Rewriter::new(Edits { url_keys, without_prefix: None, edit: shown });
    let mut out = Vec::new();
    let mut rest = document;
    for at in splits {
        let (now, later) = rest.split_at((*at).min(rest.len()));
        rewriter.push(now, &mut out)?;
        rest = later;
    }
    rewriter.push(rest, &mut out)?;
    rewriter.finish()?;
    Ok(out)
}

fn text(document: &str) -> String {
    String::from_utf8(rewritten(document.as_bytes(), &[], false).unwrap()).unwrap()
}

const LIST: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
    <ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>photos-fra</Name><Prefix>Name</Prefix>\
    <ContinuationToken>mine</ContinuationToken><NextContinuationToken>a&amp;b</NextContinuationToken>\
    <KeyCount>2</KeyCount><Contents><Key>a&amp;b&#13; é/../%2F</Key><ETag>&quot;x&quot;</ETag>\
    <Owner><ID>1234</ID><DisplayName/></Owner></Contents><Contents><Key>b</Key></Contents>\
    <CommonPrefixes><Prefix>c/</Prefix></CommonPrefixes></ListBucketResult>";

#[test]
fn listings_are_edited_and_keys_are_not() {
    let expected = LIST
        .replace(">photos-fra<", ">Bucket:photos-fra@-<")
        .replace(">mine<", ">Continuation:mine@-<")
        .replace("<NextContinuationToken>a&amp;b</NextContinuationToken>", "")
        .replace(">1234<", ">Owner:1234@-<")
        .replace("<DisplayName/>", "<DisplayName></DisplayName>")
        .replace(
            "</ListBucketResult>",
            "<NextContinuationToken>NextContinuation:a&amp;b@c/</NextContinuationToken></ListBucketResult>",
        );
    assert_eq!(text(LIST), expected);
}

#[test]
fn the_next_page_begins_after_the_greater_of_key_and_prefix() {
    let next = |contents: &str, prefixes: &str| {
        let document = format!(
            "<ListBucketResult><NextContinuationToken>t</NextContinuationToken>{contents}{prefixes}</ListBucketResult>"
        );
        let out = rewritten(document.as_bytes(), &[], true).unwrap();
        let out = String::from_utf8(out).unwrap();
        out.split_once("t@").unwrap().1.split_once('<').unwrap().0.to_owned()
    };
    let key = "<Contents><Key>z%2B%20+</Key></Contents>";
    let prefix = "<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes>";
    assert_eq!(next(key, prefix), "z+  ");
    assert_eq!(next("", prefix), "a/");
    assert_eq!(next("", ""), "-");
}

#[test]
fn the_last_page_has_no_token() {
    let document =
        "<ListBucketResult><NextContinuationToken/><IsTruncated>false</IsTruncated></ListBucketResult>";
    assert!(!text(document).contains("NextContinuation:"));
}

#[test]
fn a_prefix_that_the_client_has_is_left_out() {
    let document = LIST.replace(
        "<CommonPrefixes>",
        "<CommonPrefixes><Prefix>b&amp;/</Prefix></CommonPrefixes><CommonPrefixes>",
    );
    let mut out = Vec::new();
    let edits = Edits { url_keys: false, without_prefix: Some(b"b&/".to_vec()), edit: |_, _: Near<'_>| None };
    let mut rewriter = Rewriter::new(edits);
    for byte in document.as_bytes() {
        rewriter.push(&[*byte], &mut out).unwrap();
    }
    rewriter.finish().unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(!out.contains("b&amp;/") && out.contains("<CommonPrefixes><Prefix>c/</Prefix></CommonPrefixes>"));
}

#[test]
fn versions_are_wrapped_with_their_keys() {
    let document = "<ListVersionsResult><Name>b</Name><KeyMarker>k0</KeyMarker><VersionIdMarker>v0</VersionIdMarker>\
        <NextKeyMarker>k9</NextKeyMarker><NextVersionIdMarker>v9</NextVersionIdMarker>\
        <Version><Key>k%201</Key><VersionId>v1</VersionId></Version>\
        <Version><Key>k+1%2B</Key><VersionId>v1</VersionId></Version>\
        <DeleteMarker><Key>k2</Key><VersionId>null</VersionId></DeleteMarker>\
        <Version><VersionId>v3</VersionId><Key>k3</Key></Version></ListVersionsResult>";
    let out = String::from_utf8(rewritten(document.as_bytes(), &[], true).unwrap()).unwrap();
    for expected in [
        "<KeyMarker>KeyMarker:k0@-<",
        "<VersionIdMarker>VersionIdMarker:v0@-<",
        "<NextVersionIdMarker>NextVersionIdMarker:v9@k9<",
        "<Key>k%201</Key><VersionId>VersionId:v1@k 1<",
        "<Key>k+1%2B</Key><VersionId>VersionId:v1@k 1+<",
        "<VersionId>VersionId:null@k2<",
        // Also where it stands before its key.
        "<Version><VersionId>VersionId:v3@k3</VersionId><Key>k3</Key></Version>",
    ] {
        assert!(out.contains(expected), "{expected}\n{out}");
    }
}

#[test]
fn uploads_are_wrapped() {
    let out = text(
        "<ListMultipartUploadsResult><Bucket>b</Bucket><KeyMarker/><UploadIdMarker/>\
         <NextKeyMarker>k</NextKeyMarker><NextUploadIdMarker>u</NextUploadIdMarker>\
         <Upload><Key>k</Key><UploadId>u</UploadId><Initiator><ID>arn:aws:iam::1:user/x</ID></Initiator></Upload>\
         </ListMultipartUploadsResult>",
    );
    assert!(out.contains("<UploadIdMarker></UploadIdMarker>"), "an empty id is no id: {out}");
    assert!(
        out.contains("NextUploadIdMarker:u@k<") && out.contains("UploadId:u@k<") && out.contains("Owner:arn")
    );
    let out = text(
        "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>u</UploadId></InitiateMultipartUploadResult>",
    );
    assert!(out.contains("<Bucket>Bucket:b@-<") && out.contains("<UploadId>UploadId:u@k<"));
    let out = text(
        "<ListPartsResult><Bucket>b</Bucket><Key>k</Key><UploadId>u</UploadId><Part><ETag>e</ETag></Part></ListPartsResult>",
    );
    assert!(out.contains("<UploadId>UploadId:u@k<") && out.contains("<ETag>e</ETag>"));
}

#[test]
fn completes_and_copies_name_no_store() {
    let out = text(
        "  \n <CompleteMultipartUploadResult><Location>http://store/b/k</Location><Bucket>b</Bucket><Key>k</Key>\
         <ETag>&quot;e-2&quot;</ETag></CompleteMultipartUploadResult>",
    );
    assert!(out.starts_with("  \n <Complete"));
    assert!(out.contains(">Location:http://store/b/k@-<") && out.contains("<ETag>&quot;e-2&quot;</ETag>"));
    let copy = "<CopyObjectResult><ETag>e</ETag></CopyObjectResult>";
    assert_eq!(text(copy), copy);
}

#[test]
fn delete_results_are_wrapped_and_their_messages_are_ours() {
    let out = text(
        "<DeleteResult><Deleted><Key>k1</Key><VersionId>v1</VersionId><DeleteMarkerVersionId>m</DeleteMarkerVersionId>\
         </Deleted><Error><Key>k2</Key><VersionId>v2</VersionId><Code>AccessDenied</Code>\
         <Message>User: arn:aws:iam::111122223333:user/x</Message></Error></DeleteResult>",
    );
    assert!(
        out.contains("VersionId:v1@k1<")
            && out.contains("VersionId:m@k1<")
            && out.contains("VersionId:v2@k2<")
    );
    assert!(out.contains("<Message>Access Denied</Message>") && !out.contains("arn:aws"));
}

#[test]
fn ids_that_stand_before_their_key_wait_for_it() {
    let document = "<DeleteResult><Deleted><DeleteMarker>true</DeleteMarker>\
        <DeleteMarkerVersionId>m&amp;1</DeleteMarkerVersionId><Key>k1</Key><VersionId>v1</VersionId></Deleted>\
        <Deleted><VersionId>v2</VersionId><Odd>x</Odd><DeleteMarkerVersionId>m2</DeleteMarkerVersionId></Deleted>\
        <Error><VersionId>v3</VersionId><Code>AccessDenied</Code><Key>k3</Key></Error></DeleteResult>";
    let expected = document
        .replace(">m&amp;1<", ">VersionId:m&amp;1@k1<")
        .replace(">v1<", ">VersionId:v1@k1<")
        .replace(">v2<", ">VersionId:v2@-<")
        .replace(">m2<", ">VersionId:m2@-<")
        .replace(">v3<", ">VersionId:v3@k3<");
    let whole = rewritten(document.as_bytes(), &[], false).unwrap();
    assert_eq!(String::from_utf8(whole.clone()).unwrap(), expected);
    let bytes: Vec<usize> = vec![1; document.len()];
    assert_eq!(rewritten(document.as_bytes(), &bytes, false).unwrap(), whole);
    let endless = format!("<DeleteResult><Deleted><VersionId>v</VersionId><X>{}", "x".repeat(HELD_MAX));
    assert_eq!(rewritten(endless.as_bytes(), &[], false).unwrap_err(), NotRewritable::TooLong);
}

#[test]
fn settings_name_no_account() {
    let out = text(
        "<AccessControlPolicy><Owner><ID>1</ID><DisplayName>1</DisplayName></Owner><AccessControlList><Grant>\
         <Grantee xmlns:xsi=\"x\" xsi:type=\"CanonicalUser\"><ID>1</ID><DisplayName>1</DisplayName></Grantee>\
         <Permission>READ</Permission></Grant><Grant><Grantee><EmailAddress>1</EmailAddress></Grantee></Grant>\
         <Grant><Grantee><URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee></Grant>\
         </AccessControlList></AccessControlPolicy>",
    );
    assert_eq!(out.matches(">Owner:1@-<").count(), 5, "{out}");
    assert!(!out.contains(">1<") && out.contains("/AllUsers</URI>") && out.contains(">READ<"));
    let out = text(
        "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms\
         </SSEAlgorithm><KMSMasterKeyID>arn:k</KMSMasterKeyID></ApplyServerSideEncryptionByDefault></Rule>\
         </ServerSideEncryptionConfiguration>",
    );
    assert!(out.contains(">Arn:arn:k@-<") && out.contains(">aws:kms<"));
    let out = text(
        "<Tagging><TagSet><Tag><Key>aws:cloudformation:stack-id</Key><Value>arn:x</Value></Tag></TagSet></Tagging>",
    );
    assert!(out.contains("<Value>Arn:arn:x@-<"));
}

#[test]
fn errors_say_nothing_of_the_store() {
    let out = text(
        "<Error><Code>SignatureDoesNotMatch</Code><Message>secret host</Message><AWSAccessKeyId>AKIA</AWSAccessKeyId>\
         <Detail>secret<Inner>secret</Inner>secret</Detail><BucketName>b</BucketName><Key>k</Key><Region>r</Region>\
         <HostId>h</HostId></Error>",
    );
    assert!(!out.contains("secret") && !out.contains("AKIA"), "{out}");
    assert!(out.contains("<Key>k</Key>") && out.contains(">Bucket:b@-<") && out.contains(">HostId:h@k<"));
    assert!(out.contains(Code::SignatureDoesNotMatch.message()));
}

#[test]
fn locations_are_logical_even_where_empty() {
    for document in [
        "<LocationConstraint xmlns=\"x\">r</LocationConstraint>",
        "<LocationConstraint xmlns=\"x\"/>",
        "<LocationConstraint xmlns=\"x\"></LocationConstraint>",
    ] {
        let region = if document.contains(">r<") { "r" } else { "" };
        let expected = format!("<LocationConstraint xmlns=\"x\">Constraint:{region}@-</LocationConstraint>");
        assert_eq!(text(document), expected, "{document}");
    }
}

#[test]
fn odd_but_legal_xml_goes_through() {
    let document = "\u{feff}<!-- > --><?pi > ?><s:ListBucketResult xmlns:s='>\"'><s:Name ><![CDATA[a<b]]></s:Name >\
        <s:X y=\"/>\"/><s:Z><![CDATA[<Name>]]></s:Z></s:ListBucketResult>\n<!-- end -->\n";
    let expected = document.replace("<![CDATA[a<b]]>", "Bucket:a&lt;b@-");
    assert_eq!(text(document), expected);
    let unknown = "<VersioningConfiguration><Owner><ID>1</ID></Owner></VersioningConfiguration>";
    assert_eq!(text(unknown), unknown);
    assert_eq!(text(""), "");
}

#[test]
fn what_is_no_xml_is_not_passed_on() {
    let refused = |document: &str| rewritten(document.as_bytes(), &[], false).unwrap_err();
    for document in [
        "{}",
        "<a></b>",
        "<a/><b/>",
        "</a>",
        "<a/>x",
        "<>",
        "</>",
        "<!DOCTYPE a><a/>",
        "<ListBucketResult><Name>&lol;</Name></ListBucketResult>",
        "<ListBucketResult><Name><b/></Name></ListBucketResult>",
    ] {
        assert_eq!(refused(document), NotRewritable::NotXml, "{document}");
    }
    for document in
        ["<a", "<a>", "<a></a", "<a><!-- ", "<ListBucketResult><Name>x", " ", " \n<?xml version=\"1.0\"?> "]
    {
        assert_eq!(refused(document), NotRewritable::Truncated, "{document}");
    }
    assert_eq!(refused(&"<a>".repeat(17)), NotRewritable::TooDeep);
    let long = "x".repeat(HELD_MAX + 1);
    assert_eq!(refused(&format!("<a b=\"{long}\"/>")), NotRewritable::TooLong);
    assert_eq!(refused(&format!("<ListBucketResult><Name>{long}")), NotRewritable::TooLong);
    assert_eq!(
        text(&format!("<a>{long}</a>")).len(),
        long.len() + 7,
        "other texts may be as long as they like"
    );
}

fn documents() -> impl Strategy<Value = String> {
    let key = "[a-zé<&\"%+/.]{1,8}";
    prop::collection::vec((key, "[a-z0-9]{1,6}", any::<bool>()), 0..4).prop_map(|entries| {
        let mut out = "<?xml version=\"1.0\"?>\n<ListVersionsResult><Name>b</Name><!-- > -->".to_owned();
        for (key, id, id_first) in entries {
            out.push_str("<Version>");
            if id_first {
                element(&mut out, "VersionId", &id);
            }
            element(&mut out, "Key", &key);
            if !id_first {
                element(&mut out, "VersionId", &id);
            }
            out.push_str("</Version>\n");
        }
        out + "</ListVersionsResult>"
    })
}

proptest! {
    #[test]
    fn any_split_has_the_same_output(document in documents(), splits in prop::collection::vec(0usize..20, 0..20)) {
        let whole = rewritten(document.as_bytes(), &[], false);
        prop_assert!(whole.is_ok());
        prop_assert_eq!(rewritten(document.as_bytes(), &splits, false), whole);
    }

    #[test]
    fn without_edits_every_byte_stays(document in documents(), splits in prop::collection::vec(0usize..9, 0..20)) {
        let mut rewriter =
            Rewriter::new(Edits { url_keys: false, without_prefix: None, edit: |_, _: Near<'_>| None });
        let (mut out, mut rest) = (Vec::new(), document.as_bytes());
        for at in splits {
            let (now, later) = rest.split_at(at.min(rest.len()));
            rewriter.push(now, &mut out).unwrap();
            rest = later;
        }
        rewriter.push(rest, &mut out).unwrap();
        rewriter.finish().unwrap();
        prop_assert_eq!(out, document.as_bytes());
    }

    #[test]
    fn any_bytes_are_edited_or_refused_whatever_the_split(
        document in prop_oneof![
            "[<>/!a\\[\\]\"' -]{0,40}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..60),
            documents().prop_map(|document| document.replace('y', "<").into_bytes()),
        ],
        splits in prop::collection::vec(0usize..9, 0..20),
    ) {
        let whole = rewritten(&document, &[], true);
        prop_assert_eq!(rewritten(&document, &splits, true), whole);
    }
}
