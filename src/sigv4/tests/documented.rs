//! The examples of S3's documentation: verified as they stand there, and signed again.

use bytes::Bytes;

use super::{KEY, NOW, REGION, SECRET, at, head, verified, verified_at, with, without};
use crate::head::Head;
use crate::names::{AccessKeyId, Secret};
use crate::sigv4::chunks::{Decoder, Fault, Trailer, declared};
use crate::sigv4::{
    Credential, Destination, EMPTY_SHA256, KeyCache, PathForm, Payload, PayloadMark, Rejected, Signed,
    Verified, sha256, sign,
};
use crate::units::UnixSeconds;

const CREDENTIAL: &str = "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request";

fn documented(method: &str, target: &str, fields: &[(&str, &str)], signed: &str, signature: &str) -> Head {
    let mut head = head(method, target, fields);
    head.push("x-amz-date", b"20130524T000000Z");
    let authorization =
        format!("AWS4-HMAC-SHA256 Credential={CREDENTIAL},SignedHeaders={signed},Signature={signature}");
    head.push("authorization", authorization.as_bytes());
    head
}

fn signed(head: &Head) -> Signed {
    match verified(head) {
        Ok(Verified::Signed(signed)) => signed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn get_object() {
    let head = documented(
        "GET",
        "/test.txt",
        &[
            ("host", "examplebucket.s3.amazonaws.com"),
            ("range", "bytes=0-9"),
            ("x-amz-content-sha256", EMPTY_SHA256),
        ],
        "host;range;x-amz-content-sha256;x-amz-date",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    );
    let signed = signed(&head);
    assert_eq!(signed.client.as_str(), "reader");
    assert_eq!(signed.access_key_id.as_str(), KEY);
    assert_eq!(signed.region.as_deref(), Some(REGION));
    assert_eq!(signed.payload, Payload::Sha256(sha256(b"")));
    assert!(!signed.presigned && signed.framing.is_none());

    // and signing it ourselves gives the same header
    let mut ours = without(&without(&head, "authorization"), "x-amz-date");
    let credential = Credential {
        access_key_id: AccessKeyId::new(KEY),
        secret: Secret::from(SECRET),
        session_token: None,
    };
    sign(
        &mut ours,
        &credential,
        &Destination { region: REGION, path: PathForm::Reencoded },
        NOW,
        &PayloadMark::Empty,
        &mut KeyCache::new(),
    );
    let theirs = head.first_text("authorization").map(|text| text.replace(',', ", "));
    assert_eq!(ours.first_text("authorization"), theirs.as_deref());
}

#[test]
fn put_object() {
    let body = hex::encode(sha256(b"Welcome to Amazon S3."));
    let head = documented(
        "PUT",
        "/test%24file.text",
        &[
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("host", "examplebucket.s3.amazonaws.com"),
            ("x-amz-content-sha256", &body),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ],
        "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    );
    assert_eq!(signed(&head).payload, Payload::Sha256(sha256(b"Welcome to Amazon S3.")));
    // a client that leaves the `$` as it is signs the same path
    assert!(verified(&at(&head, "/test$file.text")).is_ok());
}

#[test]
fn bucket_requests() {
    for (target, signature) in [
        ("/?lifecycle", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("/?max-keys=2&prefix=J", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
        ("/?prefix=J&max-keys=2", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ] {
        let head = documented(
            "GET",
            target,
            &[("host", "examplebucket.s3.amazonaws.com"), ("x-amz-content-sha256", EMPTY_SHA256)],
            "host;x-amz-content-sha256;x-amz-date",
            signature,
        );
        assert!(verified(&head).is_ok(), "{target}");
        assert!(verified(&at(&head, &format!("{target}&x-id=ListObjects"))).is_err(), "{target}");
    }
}

#[test]
fn presigned_get() {
    let target = "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256\
        &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
        &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
        &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
    let head = head("GET", target, &[("host", "examplebucket.s3.amazonaws.com")]);
    let signed = signed(&head);
    assert!(signed.presigned);
    assert_eq!(signed.payload, Payload::Unsigned);
    // good to the last second, no longer
    assert!(verified_at(&head, UnixSeconds(NOW.0 + 86_400)).is_ok());
    let late = verified_at(&head, UnixSeconds(NOW.0 + 86_401));
    assert!(matches!(late, Err(Rejected::Expired { seconds: 86_400, .. })), "{late:?}");
    let early = verified_at(&head, UnixSeconds(NOW.0 - 901));
    assert!(matches!(early, Err(Rejected::NotValidYet { .. })), "{early:?}");
    assert!(verified_at(&head, UnixSeconds(NOW.0 - 900)).is_ok());
}

/// The head of the documented upload in signed chunks.
fn chunked_head() -> Head {
    documented(
        "PUT",
        "/examplebucket/chunkObject.txt",
        &[
            ("host", "s3.amazonaws.com"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
            ("content-encoding", "aws-chunked"),
            ("x-amz-decoded-content-length", "66560"),
            ("content-length", "66824"),
        ],
        "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;\
         x-amz-decoded-content-length;x-amz-storage-class",
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
    )
}

/// The head of the documented upload in signed chunks with a signed trailer.
fn trailer_head() -> Head {
    documented(
        "PUT",
        "/examplebucket/chunkObject.txt",
        &[
            ("host", "s3.amazonaws.com"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"),
            ("content-encoding", "aws-chunked"),
            ("x-amz-decoded-content-length", "66560"),
            ("x-amz-trailer", "x-amz-checksum-crc32c"),
            ("content-length", "66946"),
        ],
        "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;\
         x-amz-storage-class;x-amz-trailer",
        "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
    )
}

/// The documented body, 65,536 and 1,024 times `a`, with these signatures and what follows.
fn body(signatures: [&str; 3], rest: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for (size, signature) in [65_536_usize, 1_024, 0].into_iter().zip(signatures) {
        body.extend_from_slice(format!("{size:x};chunk-signature={signature}\r\n").as_bytes());
        body.extend_from_slice(&vec![b'a'; size]);
        if size > 0 {
            body.extend_from_slice(b"\r\n");
        }
    }
    body.extend_from_slice(rest.as_bytes());
    body
}

fn decode(head: &Head, body: Vec<u8>) -> Result<Vec<Trailer>, Fault> {
    let framing = signed(head).framing.expect("a framing");
    let mut decoder = Decoder::new(framing, 66_560, declared(head));
    let mut spans = Vec::new();
    decoder.push(&Bytes::from(body), &mut spans)?;
    let trailers = decoder.finish()?;
    assert_eq!(spans.concat(), vec![b'a'; 66_560]);
    Ok(trailers)
}

const CHUNKS: [&str; 3] = [
    "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
    "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
    "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
];

#[test]
fn signed_chunks() {
    let body = body(CHUNKS, "\r\n");
    assert_eq!(body.len(), 66_824);
    assert_eq!(decode(&chunked_head(), body), Ok(vec![]));
}

#[test]
fn a_wrong_signature_is_found_at_its_chunk() {
    for chunk in 0..3_usize {
        let mut signatures = CHUNKS;
        let wrong = signatures[chunk].replacen(|c: char| c.is_ascii_digit(), "a", 1);
        signatures[chunk] = &wrong;
        let expected = Fault::BadChunkSignature { chunk: u64::try_from(chunk).expect("small") };
        assert_eq!(decode(&chunked_head(), body(signatures, "\r\n")), Err(expected));
    }
}

#[test]
fn signed_chunks_with_a_signed_trailer() {
    let signatures = [
        "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
        "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
        "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
    ];
    let checksum = "x-amz-checksum-crc32c:sOO8/Q==\r\n";
    let good = "x-amz-trailer-signature:\
                d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n";
    let whole = body(signatures, &format!("{checksum}{good}\r\n"));
    assert_eq!(whole.len(), 66_946);
    let trailer = Trailer { name: "x-amz-checksum-crc32c".into(), value: "sOO8/Q==".into() };
    assert_eq!(decode(&trailer_head(), whole), Ok(vec![trailer]));

    let other = checksum.replace("sOO8", "sOO9");
    let changed = body(signatures, &format!("{other}{good}\r\n"));
    assert_eq!(decode(&trailer_head(), changed), Err(Fault::BadTrailerSignature));
    let bad = good.replace("d81f", "d81e");
    let changed = body(signatures, &format!("{checksum}{bad}\r\n"));
    assert_eq!(decode(&trailer_head(), changed), Err(Fault::BadTrailerSignature));
    let unsigned = body(signatures, &format!("{checksum}\r\n"));
    assert!(matches!(decode(&trailer_head(), unsigned), Err(Fault::BadTrailerSignature)));
}

/// The trailers of the CRT's test follow the chunks of the first example: three of them, sorted.
#[test]
fn three_signed_trailers() {
    let head = chunked_head();
    let Some(crate::sigv4::chunks::Framing::Signed { seed, .. }) = signed(&head).framing else {
        panic!("no seed")
    };
    let framing = crate::sigv4::chunks::Framing::Signed { seed, trailers: true };
    let names = ["first", "second", "third"].map(str::to_owned).to_vec();
    let mut decoder = Decoder::new(framing, 66_560, names);
    let body = body(
        CHUNKS,
        "third:3rd\r\nfirst:1st\r\nsecond:2nd\r\nx-amz-trailer-signature:\
         df5735bd9f3295cd9386572292562fefc93ba94e80a0a1ddcbd652c4e0a75e6c\r\n\r\n",
    );
    decoder.push(&Bytes::from(body), &mut Vec::new()).expect("a body that holds");
    let values: Vec<String> = decoder.finish().expect("the end").into_iter().map(|t| t.value).collect();
    assert_eq!(values, ["3rd", "1st", "2nd"]);
}

#[test]
fn a_seed_is_bound_to_its_head() {
    let forged = with(&chunked_head(), "x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER");
    assert!(matches!(verified(&forged), Err(Rejected::SignatureMismatch(_))));
}
