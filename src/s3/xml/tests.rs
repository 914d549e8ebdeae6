use proptest::prelude::*;

use super::*;

fn refused<T: std::fmt::Debug>(result: Result<T, Malformed>) -> bool {
    result.is_err_and(|fault| fault.code == Code::MalformedXML)
}

fn delete(inner: &str) -> Result<DeleteRequest, Malformed> {
    delete_request(format!("<Delete xmlns=\"x\">{inner}</Delete>").as_bytes())
}

#[test]
fn error_documents_are_read_as_they_are_written() {
    let document = error_document(
        "NoSuchKey",
        "The <key> & \"it\"",
        "/photos/a\r\nb",
        "0000000000000001",
        &[("Key", "a\u{1}]]>")],
    );
    assert!(
        document.starts_with(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NoSuchKey</Code><Message>"
        )
    );
    assert!(document.contains("<Key>a\u{fffd}]]&gt;</Key><Resource>/photos/a&#13;&#10;b</Resource>"));
    assert!(
        document
            .ends_with("<RequestId>0000000000000001</RequestId><HostId>0000000000000001</HostId></Error>")
    );
    let error = read_error(document.as_bytes()).unwrap();
    assert_eq!((error.code.as_str(), error.message.as_str()), ("NoSuchKey", "The <key> & \"it\""));
}

#[test]
fn of_an_error_what_names_nothing_is_kept() {
    let document = "<Error><Code>InvalidRange</Code><Message>m</Message><ActualObjectSize>3</ActualObjectSize>\
                    <RangeRequested>bytes=9-</RangeRequested><BucketName>photos-home</BucketName><Key>k</Key>\
                    <Condition></Condition><Inner><PartNumber>1</PartNumber></Inner></Error>";
    let details = read_error(document.as_bytes()).unwrap().details;
    let told = [("ActualObjectSize", "3".to_owned()), ("RangeRequested", "bytes=9-".to_owned())];
    assert_eq!(details, told);
}

#[test]
fn errors_of_stores_are_read() {
    let garage = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>\n  <Code>AuthorizationHeaderMalformed</Code>\n  \
                  <Message>m</Message><Region>eu-west-1</Region></Error>";
    let error = read_error(garage.as_bytes()).unwrap();
    assert_eq!(error.region.as_deref(), Some("eu-west-1"));
    let spaced = read_error(b"   \n<s3:Error xmlns:s3=\"x\"><s3:Code>SlowDown</s3:Code></s3:Error>").unwrap();
    assert_eq!(spaced.code, "SlowDown");
    assert_eq!(read_error(b"<Error><Code>InternalError</Code><Message>cut").unwrap().code, "InternalError");
    for none in
        ["", "<html><body>502<br></body></html>", "{}", "<Error/>", "<ListBucketResult/>", "<Error><Code>x"]
    {
        assert_eq!(read_error(none.as_bytes()), None, "{none}");
    }
}

#[test]
fn delete_requests_are_read_and_written() {
    let request = delete(
        "\n <Object><Key>a&amp;b&#13;&#xe9; <![CDATA[<c>]]></Key><VersionId>v</VersionId><ETag>e</ETag></Object>\n\
         <Object><VersionId></VersionId><Key>/</Key></Object><Quiet>true</Quiet>",
    )
    .unwrap();
    assert!(request.quiet);
    assert_eq!(request.objects[0].key, "a&b\r\u{e9} <c>");
    assert_eq!(request.objects[0].version_id.as_deref(), Some("v"));
    assert_eq!(request.objects[0].conditions, [("ETag", "e".to_owned())]);
    assert_eq!((request.objects[1].key.as_str(), &request.objects[1].version_id), ("/", &None));
    assert_eq!(delete_request(request.document().as_bytes()).unwrap(), request);
}

#[test]
fn a_thousand_keys_are_the_most() {
    let object = "<Object><Key>k</Key></Object>";
    assert_eq!(delete(&object.repeat(1000)).unwrap().objects.len(), 1000);
    assert!(refused(delete(&object.repeat(1001))));
    assert!(refused(delete("")));
    assert!(refused(delete("<Object><VersionId>v</VersionId></Object>")));
}

#[test]
fn conditions_that_we_do_not_know_are_not_dropped() {
    assert!(refused(delete("<Object><Key>k</Key><IfNew>1</IfNew></Object>")));
    assert!(refused(delete("<Object><Key>k<b/></Key></Object>")));
    assert!(refused(delete_request(b"<Other><Object><Key>k</Key></Object></Other>")));
}

#[test]
fn completes_are_read_in_the_clients_order() {
    let parts = complete_request(
        b"<CompleteMultipartUpload><Part><ETag>\"b\"</ETag><PartNumber> 2 </PartNumber></Part>\
          <Part><PartNumber>1</PartNumber><ETag>&quot;a&quot;</ETag><ChecksumCRC32>AAAAAA==</ChecksumCRC32>\
          <ChecksumXXHASH3>x</ChecksumXXHASH3></Part></CompleteMultipartUpload>",
    )
    .unwrap();
    assert_eq!(parts.iter().map(|part| part.number).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(parts[1].etag, "\"a\"");
    assert_eq!(parts[1].checksums, [(Algorithm::Crc32, "AAAAAA==".to_owned())]);
    for bad in [
        "<CompleteMultipartUpload/>",
        "<CompleteMultipartUpload><Part><ETag>a</ETag></Part></CompleteMultipartUpload>",
        "<CompleteMultipartUpload><Part><PartNumber>-1</PartNumber></Part></CompleteMultipartUpload>",
        "<Complete><Part><PartNumber>1</PartNumber></Part></Complete>",
    ] {
        assert!(refused(complete_request(bad.as_bytes())), "{bad}");
    }
}

#[test]
fn a_complete_result_is_well_formed_and_says_the_tag() {
    let written = complete_result("a&b", "\"e-2\"", &[(Algorithm::Crc64Nvme, "AAAAAAAAAAA=")]);
    let mut seen = Vec::new();
    walk(written.as_bytes(), &mut |path, text| {
        seen.push((path.rsplit('/').next().unwrap_or_default().to_owned(), text.to_owned()));
        Ok(())
    })
    .unwrap();
    for (name, value) in [("Key", "a&b"), ("ETag", "\"e-2\""), ("ChecksumCRC64NVME", "AAAAAAAAAAA=")] {
        assert!(seen.contains(&(name.to_owned(), value.to_owned())), "{name}: {seen:?}");
    }
}

#[test]
fn keys_that_were_not_deleted_are_read() {
    let result = "<DeleteResult><Deleted><Key>a</Key></Deleted>\
                  <Error><Key>b</Key><Code>InternalError</Code></Error>\
                  <Error><Key>c</Key><Code>AccessDenied</Code></Error></DeleteResult>";
    assert_eq!(failed_deletions(result.as_bytes()), ["InternalError", "AccessDenied"]);
    let versions =
        "<DeleteResult><Error><Key>k</Key><VersionId>v</VersionId><Code>C</Code></Error></DeleteResult>";
    for (document, key, version, is) in [
        (result, "b", None, true),
        (result, "b", Some("v"), true),
        (result, "a", None, false),
        (versions, "k", Some("v"), true),
        (versions, "k", Some("w"), false),
        (versions, "k", None, false),
    ] {
        let version_id = version.map(str::to_owned);
        let asked = ObjectToDelete { key: key.to_owned(), version_id, conditions: Vec::new() };
        let failed = not_deleted(document.as_bytes());
        assert_eq!(failed.iter().any(|failed| failed.is(&asked)), is, "{key} {version:?}");
    }
    for none in ["<DeleteResult/>", "<Error><Code>InternalError</Code></Error>", "", "<DeleteResult><Error>"]
    {
        assert!(failed_deletions(none.as_bytes()).is_empty(), "{none}");
    }
}

#[test]
fn uploads_are_read_and_merged_pages_written() {
    let page = list_uploads_result(
        b"<ListMultipartUploadsResult><Bucket>b</Bucket><KeyMarker/><Prefix>p&#10;</Prefix><MaxUploads>2</MaxUploads>\
          <NextKeyMarker>k+</NextKeyMarker><NextUploadIdMarker>u</NextUploadIdMarker><IsTruncated>true</IsTruncated>\
          <Upload><Initiator><ID>arn:aws:iam::1:user/x</ID></Initiator><Key>k+%20</Key><UploadId>u</UploadId>\
          <Initiated>2026-01-01T00:00:00.000Z</Initiated><StorageClass>STANDARD</StorageClass></Upload>\
          <CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes></ListMultipartUploadsResult>",
        false,
    )
    .unwrap();
    assert_eq!((page.truncated, page.prefixes.as_slice()), (true, &[b"p/".to_vec()][..]));
    assert_eq!((&*page.next_key_marker, &*page.uploads[0].key), (&b"k+"[..], &b"k+%20"[..]));
    assert_eq!(page.uploads[0].attributes, [("StorageClass", "STANDARD".to_owned())]);
    for encoded in [false, true] {
        let asked = UploadsAsked {
            bucket: "photos".to_owned(),
            prefix: Some("p +\n".to_owned()),
            delimiter: Some("/".to_owned()),
            key_marker: "j k".to_owned(),
            max_uploads: 2,
            encoded,
            ..UploadsAsked::default()
        };
        let written = page.document(&asked);
        assert!(!written.contains("arn:aws"));
        let echoed = if encoded {
            "<Prefix>p%20%2B%0A</Prefix><Delimiter>/</Delimiter><KeyMarker>j%20k</KeyMarker>"
        } else {
            "<Prefix>p +&#10;</Prefix><Delimiter>/</Delimiter><KeyMarker>j k</KeyMarker>"
        };
        assert!(written.contains(&format!("<Bucket>photos</Bucket>{echoed}")), "{written}");
        assert!(written.contains("<MaxUploads>2</MaxUploads>"), "{written}");
        assert_eq!(written.contains("<EncodingType>url</EncodingType>"), encoded);
        assert_eq!(list_uploads_result(written.as_bytes(), encoded).unwrap(), page);
    }
}

#[test]
fn names_of_uploads_are_read_as_their_document_spells_them() {
    let keys = |key: &str, said: &str, asked: bool| {
        let document = format!(
            "<ListMultipartUploadsResult><Upload><Key>{key}</Key></Upload>{said}\
             <CommonPrefixes><Prefix>{key}</Prefix></CommonPrefixes></ListMultipartUploadsResult>"
        );
        let page = list_uploads_result(document.as_bytes(), asked).unwrap();
        assert_eq!(page.prefixes[0], page.uploads[0].key);
        String::from_utf8(page.uploads[0].key.clone()).unwrap()
    };
    let said = "<EncodingType>url</EncodingType>";
    assert_eq!(keys("a+b%2B%20", said, true), "a b+ ", "AWS, MinIO, Garage");
    assert_eq!(keys("a%20b%2B", "", true), "a b+", "Ceph RGW says nothing of it");
    assert_eq!(keys("a+b", "", true), "a+b", "nothing is encoded where nothing is said of it");
    assert_eq!(keys("a+b%20", "", false), "a+b%20");
}

#[test]
fn answers_of_our_own_are_well_formed() {
    let mut seen = Vec::new();
    walk(location_document("eu-west-1").as_bytes(), &mut |path, text| {
        seen.push((path.to_owned(), text.to_owned()));
        Ok(())
    })
    .unwrap();
    assert_eq!(seen, [("LocationConstraint".to_owned(), "eu-west-1".to_owned())]);
    assert!(location_document("eu-west-1").contains(">eu-west-1</LocationConstraint>"));
    assert!(location_document("us-east-1").contains("></LocationConstraint>"));
}

#[test]
fn attacks_are_refused() {
    let object = "<Object><Key>k</Key></Object>";
    let deep = format!("{}{}", "<a>".repeat(1000), "</a>".repeat(1000));
    let lol = "<!DOCTYPE lolz [<!ENTITY lol \"lol\"><!ENTITY lol2 \"&lol;&lol;\">]>";
    for bad in [
        format!("{lol}<Delete>{object}</Delete>"),
        format!("<!DOCTYPE Delete SYSTEM \"file:///etc/passwd\"><Delete>{object}</Delete>"),
        format!("<Delete>{object}<Object><Key>&lol;</Key></Object></Delete>"),
        format!("<Delete>{object}<Object><Key>&#0;&#x110000;</Key></Object></Delete>"),
        format!("<Delete>{deep}</Delete>"),
        format!("<Delete>{object}"),
        format!("<Delete>{object}</Delete"),
        format!("<Delete>{object}</Delet>"),
        format!("<Delete>{object}</Delete><Delete>{object}</Delete>"),
        format!("<Delete>{object}</Delete>trailing"),
        format!("leading<Delete>{object}</Delete>"),
        format!("<Delete>{object}<!-- </Delete>"),
        String::new(),
    ] {
        assert!(refused(delete_request(bad.as_bytes())), "{bad:.80}");
    }
    assert!(refused(delete_request(b"<Delete><Object><Key>\xff</Key></Object></Delete>")));
}

#[test]
fn a_hundred_thousand_attributes_are_refused() {
    let attributes: String = " a=\"v\"".repeat(100_000);
    let document = format!("<Delete{attributes}><Object><Key>k</Key></Object></Delete>");
    assert!(refused(delete_request(document.as_bytes())));
}

proptest! {
    #[test]
    fn keys_survive_writing_and_reading(keys in prop::collection::vec(".{1,20}", 1..5)) {
        let objects: Vec<_> = keys
            .iter()
            .map(|key| ObjectToDelete { key: key.clone(), ..ObjectToDelete::default() })
            .collect();
        let request = DeleteRequest { quiet: false, objects };
        let representable = |c: char| !matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}');
        if keys.iter().all(|key| key.chars().all(representable)) {
            prop_assert_eq!(delete_request(request.document().as_bytes()).unwrap(), request);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[<>/a-cKey&;!\\[\\]\" -]{0,60}") {
        for document in [bytes.as_slice(), text.as_bytes()] {
            drop(read_error(document));
            drop(delete_request(document));
            drop(complete_request(document));
            drop(list_uploads_result(document, text.len() % 2 == 0));
            drop(not_deleted(document));
        }
    }
}

#[test]
fn an_acl_that_names_nobody_but_its_owner_is_a_canned_one() {
    let acl = |owner: &str, grants: &str| {
        format!(
            "<AccessControlPolicy><Owner><ID>{owner}</ID></Owner><AccessControlList>{grants}</AccessControlList></AccessControlPolicy>"
        )
    };
    let grant = |grantee: &str, permission: &str| {
        format!("<Grant><Grantee>{grantee}</Grantee><Permission>{permission}</Permission></Grant>")
    };
    let full = grant("<ID>me</ID><DisplayName>Me</DisplayName>", "FULL_CONTROL");
    let all = |permission| grant(&format!("<URI>{ALL_USERS}</URI>"), permission);
    let known = grant(&format!("<URI>{AUTHENTICATED_USERS}</URI>"), "READ");
    for (grants, canned) in [
        (full.clone(), "private"),
        (format!("{full}{}", all("READ")), "public-read"),
        (format!("{}{full}", all("READ")), "public-read"),
        (format!("{full}{}{}", all("WRITE"), all("READ")), "public-read-write"),
        (format!("{full}{known}"), "authenticated-read"),
    ] {
        assert_eq!(canned_acl(acl("me", &grants).as_bytes(), "me"), Some(canned));
    }
    for other in [
        acl("you", &full),
        acl("me", ""),
        acl("me", &grant("<ID>you</ID>", "FULL_CONTROL")),
        acl("me", &grant("<ID>me</ID>", "READ")),
        acl("me", &format!("{full}{full}")),
        acl("me", &all("FULL_CONTROL")),
        acl("me", &all("READ")),
        acl("me", &format!("{full}{}", all("WRITE"))),
        acl("me", &format!("{full}{}{known}", all("READ"))),
        acl("me", &format!("{full}{}", grant("<EmailAddress>a@b</EmailAddress>", "READ"))),
        "<AccessControlPolicy>".to_owned(),
    ] {
        assert_eq!(canned_acl(other.as_bytes(), "me"), None, "{other}");
    }
}
