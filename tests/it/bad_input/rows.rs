//! The rows: how each bad request is built and what it must come to.

use std::fmt::Write;

use super::Bench;
use crate::house::client::{Client, Draft, Framing, Payload, Request, Signed, http_chunked};
use crate::house::digest::{self, Algorithm};
use crate::house::moment;
use crate::house::text;

/// What goes out.
#[derive(Clone, Debug)]
pub enum Shot {
    /// A request, signed and perhaps tampered with.
    Signed(Signed),
    /// Bytes that no client library would send.
    Bytes(Vec<u8>),
    /// A hundred GETs at once.
    Pipelined,
    /// A GET whose body is a request.
    BodyOnGet,
    /// This head with a gigabyte behind it.
    Gigabyte(Vec<u8>),
}

/// What it must come to.
#[derive(Clone, Debug)]
pub enum Want {
    /// This status and S3 code; no region saw anything.
    Refused(u16, &'static str),
    /// This status and S3 code; a region may have seen a beginning or have refused it.
    RefusedLate(u16, &'static str),
    /// One of these statuses, with or without a document, and the connection closes.
    Closed(&'static [u16]),
    /// One of these statuses, whoever gives it.
    Status(&'static [u16]),
    /// A region saw `/BUCKET` and this behind it, byte for byte.
    Passed(String),
}

/// One case.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its number in the list.
    pub number: u32,
    pub what: String,
    pub shot: Shot,
    pub want: Want,
    /// An S3 of its own judges it alike.
    pub at_store: bool,
    /// Succeeds in writing.
    pub writes: bool,
    /// The connection ends after the answer.
    pub closes: bool,
}

impl Row {
    fn at_store(mut self) -> Self {
        self.at_store = true;
        self
    }

    fn closes(mut self) -> Self {
        self.closes = true;
        self
    }

    fn writes(mut self) -> Self {
        self.writes = true;
        self
    }
}

fn row(number: u32, what: &str, shot: impl Into<Shot>, want: Want) -> Row {
    let closes = matches!(want, Want::Closed(_));
    Row { number, what: what.to_owned(), shot: shot.into(), want, at_store: false, writes: false, closes }
}

impl From<Signed> for Shot {
    fn from(signed: Signed) -> Self {
        Self::Signed(signed)
    }
}

impl From<Vec<u8>> for Shot {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

/// Every case, in the list's order.
pub fn all(bench: &Bench) -> Vec<Row> {
    let mut rows = authorization(bench);
    rows.extend(signed_headers(bench));
    rows.extend(presigned(bench));
    rows.extend(payload_marks(bench));
    rows.extend(frames(bench));
    rows.extend(trailers(bench));
    rows.extend(sizes(bench));
    rows.extend(documents(bench));
    rows.extend(names(bench));
    rows.extend(copies_and_tokens(bench));
    rows.extend(wire(bench));
    rows.extend(methods_and_connections(bench));
    rows
}

const MALFORMED: Want = Want::Refused(400, "AuthorizationHeaderMalformed");
const MALFORMED_QUERY: Want = Want::Refused(400, "AuthorizationQueryParametersError");
const NO_MATCH: Want = Want::Refused(403, "SignatureDoesNotMatch");
const NO_MATCH_LATE: Want = Want::RefusedLate(403, "SignatureDoesNotMatch");
const DENIED: Want = Want::Refused(403, "AccessDenied");
const INVALID_ARGUMENT: Want = Want::Refused(400, "InvalidArgument");
const INVALID_REQUEST: Want = Want::Refused(400, "InvalidRequest");
const MALFORMED_XML: Want = Want::Refused(400, "MalformedXML");

fn get() -> Request {
    Request::get("/photos/k")
}

fn put(length: usize, payload: Payload) -> Request {
    let body: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
    Request::put("/photos/new", body).payload(payload)
}

/// The signed GET with its Authorization edited.
fn edited(bench: &Bench, from: &str, to: &str) -> Signed {
    bench.client.sign(&get()).edit("authorization", |value| {
        assert!(value.contains(from), "{value} has no {from}");
        value.replacen(from, to, 1)
    })
}

/// The value of `Signature=` in a signed GET, replaced.
fn resigned(bench: &Bench, change: impl FnOnce(&str) -> String) -> Signed {
    bench.client.sign(&get()).edit("authorization", |value| {
        let (head, signature) = value.split_once("Signature=").expect("a signature");
        format!("{head}Signature={}", change(signature))
    })
}

/// Signed by SigV4A with another secret.
fn forged_for_all_regions(bench: &Bench) -> Signed {
    let mut client = Client { region_set: Some("*".to_owned()), ..bench.client.clone() };
    "not the secret of this key id".clone_into(&mut client.settings.secret);
    client.sign(&get())
}

fn flipped(signature: &str) -> String {
    let last = if signature.ends_with('0') { '1' } else { '0' };
    format!("{}{last}", &signature[..signature.len() - 1])
}

/// Rows 1 to 14 and 18 to 21: who asks.
fn authorization(bench: &Bench) -> Vec<Row> {
    let client = &bench.client;
    let sign = || client.sign(&get());
    let set = |value: &str| sign().set("authorization", value);
    let id = &client.settings.access_key_id;
    let today = &moment::amz(client.now())[..8];
    let region = client.settings.signing_region.as_str();
    let mut elsewhere = client.clone();
    "elsewhere-9".clone_into(&mut elsewhere.settings.signing_region);
    let mut unknown = client.clone();
    "NPNOBODY".clone_into(&mut unknown.settings.access_key_id);
    let v2 = format!("/photos/k?AWSAccessKeyId={id}&Signature=c2ln&Expires=4102444800");
    let query_and_header = client.presign(&get(), 60);
    vec![
        row(1, "no authorization", client.unsigned(&get()), DENIED).at_store(),
        row(1, "no authorization on a PUT", client.unsigned(&put(5, Payload::Hex)), DENIED).at_store(),
        row(2, "empty authorization", set(""), INVALID_ARGUMENT).at_store(),
        row(3, "unknown scheme", set("Bearer abc"), INVALID_ARGUMENT).at_store(),
        row(3, "scheme alone", set("AWS4-HMAC-SHA257"), INVALID_ARGUMENT).at_store(),
        row(3, "another store's scheme", set("GOOG4-RSA-SHA256 Credential=a"), INVALID_ARGUMENT).at_store(),
        row(4, "SigV2 header", set(&format!("AWS {id}:c2ln")), INVALID_REQUEST).at_store(),
        row(4, "SigV2 query", client.unsigned(&Request::get(&v2)), INVALID_REQUEST),
        row(
            5,
            "SigV4A for no region",
            edited(bench, "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
            MALFORMED,
        ),
        row(5, "SigV4A, forged", forged_for_all_regions(bench), NO_MATCH),
        row(6, "no Credential", edited(bench, "Credential=", "Credentia="), MALFORMED).at_store(),
        row(6, "no SignedHeaders", edited(bench, "SignedHeaders=", "Headers="), MALFORMED).at_store(),
        row(6, "no Signature", edited(bench, "Signature=", "Sig="), MALFORMED).at_store(),
        row(6, "Credential of two parts", edited(bench, &format!("/{today}/{region}/s3"), ""), MALFORMED)
            .at_store(),
        row(7, "unknown key", unknown.sign(&get()), Want::Refused(403, "InvalidAccessKeyId")).at_store(),
        row(8, "one bit of the signature", resigned(bench, flipped), NO_MATCH).at_store(),
        row(9, "short signature", resigned(bench, |text| text[..63].to_owned()), NO_MATCH).at_store(),
        row(9, "long signature", resigned(bench, |text| format!("{text}0")), NO_MATCH).at_store(),
        row(9, "signature that is no hex", resigned(bench, |text| text.replace(|_| true, "g")), NO_MATCH)
            .at_store(),
        row(9, "signature in upper case", resigned(bench, |_| "F".repeat(64)), NO_MATCH).at_store(),
        row(10, "wrong region", elsewhere.sign(&get()), MALFORMED).at_store(),
        row(10, "wrong service", edited(bench, "/s3/", "/ec2/"), MALFORMED).at_store(),
        row(10, "wrong terminator", edited(bench, "aws4_request", "aws5_request"), MALFORMED).at_store(),
        row(11, "scope of another day", edited(bench, today, "20200101"), MALFORMED).at_store(),
        row(12, "16 minutes late", client.clone().skewed(-960).sign(&get()), too_skewed()).at_store(),
        row(12, "16 minutes early", client.clone().skewed(960).sign(&get()), too_skewed()).at_store(),
        row(13, "no date", sign().without("x-amz-date"), DENIED).at_store(),
        row(14, "bad date", sign().set("x-amz-date", "yesterday"), DENIED).at_store(),
        row(14, "date without its zone", sign().edit("x-amz-date", |date| date.replace('Z', "")), DENIED)
            .at_store(),
        row(18, "header and query", sign().aim(&query_and_header), INVALID_ARGUMENT).at_store(),
        row(
            19,
            "two Authorization headers",
            sign().add("authorization", "AWS4-HMAC-SHA256 x"),
            INVALID_ARGUMENT,
        ),
        row(19, "one Authorization header twice", doubled(sign(), "authorization"), INVALID_ARGUMENT),
        row(20, "token of a client without one", with_token(bench, "t"), Want::Refused(400, "InvalidToken"))
            .at_store(),
        row(20, "wrong token", wrong_token(bench), Want::Refused(400, "InvalidToken")),
        row(21, "another tenant's bucket", client.sign(&Request::get("/invoices/secret")), DENIED),
        row(21, "a listing of another tenant", client.sign(&Request::get("/invoices?list-type=2")), DENIED),
        row(21, "a write to another tenant", client.sign(&Request::put("/invoices/new", "x")), DENIED),
    ]
}

fn too_skewed() -> Want {
    Want::Refused(403, "RequestTimeTooSkewed")
}

fn with_token(bench: &Bench, token: &str) -> Signed {
    bench.client.clone().with_token(token).sign(&get())
}

fn wrong_token(bench: &Bench) -> Signed {
    bench.stranger.clone().with_token("not-the-token").sign(&Request::get("/invoices/secret"))
}

/// A header sent twice with the same value.
fn doubled(signed: Signed, name: &str) -> Signed {
    let value = text::header(&signed.headers, name).expect("the header is there").to_owned();
    signed.add(name, &value)
}

/// Rows 15 to 17: what is signed.
fn signed_headers(bench: &Bench) -> Vec<Row> {
    let client = &bench.client;
    let put = || Request::put("/photos/new", "x").with("x-amz-meta-a", "1");
    let with_md5 = put().with("content-md5", &digest::md5_base64(b"x"));
    let framed = Payload::UnsignedTrailer(8192, Algorithm::Crc32, Framing::Length);
    let twice = put().with("x-amz-meta-a", "2");
    vec![
        row(15, "host unsigned", edited(bench, "host;", ""), DENIED).at_store(),
        row(16, "unsigned x-amz header", client.sign(&put()).add("x-amz-meta-b", "2"), DENIED).at_store(),
        row(16, "unsigned x-amz-acl", client.sign(&put()).add("x-amz-acl", "public-read"), DENIED).at_store(),
        row(17, "signed header missing", client.sign(&put()).without("x-amz-meta-a"), NO_MATCH).at_store(),
        row(17, "signed header twice is joined", client.sign(&twice), Want::Passed("/new".to_owned()))
            .writes(),
        row(17, "signed header added twice", doubled(client.sign(&put()), "x-amz-meta-a"), NO_MATCH)
            .at_store(),
        row(17, "x-amz-date twice", doubled(client.sign(&put()), "x-amz-date"), INVALID_REQUEST),
        row(17, "content hash twice", doubled(client.sign(&put()), "x-amz-content-sha256"), INVALID_REQUEST),
        row(17, "Content-MD5 twice", doubled(client.sign(&with_md5), "content-md5"), INVALID_REQUEST),
        row(
            17,
            "decoded length twice",
            doubled(client.sign(&put().payload(framed)), "x-amz-decoded-content-length"),
            INVALID_REQUEST,
        ),
    ]
}

/// Rows 22 to 27: presigned URLs.
fn presigned(bench: &Bench) -> Vec<Row> {
    let client = &bench.client;
    let target = client.presign(&get(), 60);
    let shot = |target: &str| client.unsigned(&Request::get(target));
    let expires = |to: &str| shot(&target.replace("X-Amz-Expires=60", &format!("X-Amz-Expires={to}")));
    let at = |seconds: i64| client.presigned_at(&get(), 60, moment::shifted(moment::now(), seconds));
    let (path, query) = target.split_once('?').expect("a query");
    let without: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with("X-Amz-Expires")).collect();
    let signature = query.split('&').find(|pair| pair.starts_with("X-Amz-Signature")).expect("a signature");
    vec![
        row(22, "Expires 604801", expires("604801"), MALFORMED_QUERY).at_store(),
        row(22, "Expires -1", expires("-1"), MALFORMED_QUERY).at_store(),
        row(22, "Expires abc", expires("abc"), MALFORMED_QUERY).at_store(),
        row(22, "Expires of 30 digits", expires(&"9".repeat(30)), MALFORMED_QUERY).at_store(),
        row(22, "no Expires", shot(&format!("{path}?{}", without.join("&"))), MALFORMED_QUERY).at_store(),
        row(23, "expired", shot(&at(-61)), DENIED).at_store(),
        row(24, "dated ahead", shot(&at(16 * 60)), DENIED).at_store(),
        row(25, "Signature twice", shot(&format!("{target}&{signature}")), MALFORMED_QUERY).at_store(),
        row(25, "Expires twice", shot(&format!("{target}&X-Amz-Expires=60")), MALFORMED_QUERY).at_store(),
        row(26, "extra parameter", shot(&format!("{target}&versionId=1")), NO_MATCH).at_store(),
        row(27, "method swapped", client.unsigned(&Request::delete(&target)), NO_MATCH).at_store(),
        row(27, "GET swapped for PUT", client.unsigned(&Request::put(&target, "x")), NO_MATCH).at_store(),
    ]
}

/// Rows 28 to 30, 35, 36, 40: the payload's mark.
fn payload_marks(bench: &Bench) -> Vec<Row> {
    let client = &bench.client;
    let marked = |mark: Option<&str>| {
        let mark = mark.map(str::to_owned);
        client.sign_with(&put(5, Payload::Hex), |draft| draft.mark = mark)
    };
    let bent = |length: usize| {
        client.sign(&put(length, Payload::Hex)).edit_body(|mut body| {
            let last = body.len() - 1;
            body[last] ^= 1;
            body
        })
    };
    let mismatch = || Want::RefusedLate(400, "XAmzContentSHA256Mismatch");
    let emptied =
        |request: Request| client.sign(&request).edit_body(|_| Vec::new()).set("content-length", "0");
    let tagging = Request::put("/photos/k?tagging", "<Tagging><TagSet></TagSet></Tagging>");
    let trailer = |framing| put(20_000, Payload::UnsignedTrailer(8192, Algorithm::Crc32, framing));
    let forge = |signed: Signed| signed.edit("authorization", flipped);
    let framed = trailer(Framing::Length);
    let body = client.sign(&framed);
    let mut by_query = Request::put("/photos/new", "");
    for name in ["x-amz-content-sha256", "x-amz-decoded-content-length", "x-amz-trailer", "content-encoding"]
    {
        let value = text::header(&body.headers, name).expect("a framing header");
        by_query = by_query.with(name, value);
    }
    let aimed = client.presign(&by_query, 60);
    let mut forged_query = client.unsigned(&by_query).aim(&flipped(&aimed));
    forged_query = forged_query.set("content-length", &body.body.len().to_string());
    forged_query.body.clone_from(&body.body);
    let md5 = |value: &str| client.sign(&put(5, Payload::Hex).with("content-md5", value));
    let other_md5 = digest::md5_base64(b"other");
    let empty_md5 = client.sign(&put(0, Payload::Hex).with("content-md5", &other_md5));
    let deletion = Request::post("/photos?delete", "<Delete><Object><Key>k</Key></Object></Delete>");
    let deletion = client.sign(&deletion.payload(Payload::Unsigned).with("content-md5", &other_md5));
    vec![
        row(28, "no content hash", marked(None), INVALID_REQUEST).at_store(),
        row(29, "junk content hash", marked(Some("junk")), INVALID_ARGUMENT).at_store(),
        row(29, "63 digits", marked(Some(&"a".repeat(63))), INVALID_ARGUMENT).at_store(),
        row(29, "a mode that is none", marked(Some("STREAMING-UNSIGNED-PAYLOAD")), INVALID_ARGUMENT)
            .at_store(),
        row(30, "small body of another hash", bent(5), mismatch()).at_store(),
        row(30, "large body of another hash", bent(300_000), mismatch()).at_store(),
        row(30, "empty body of another hash", emptied(put(5, Payload::Hex)), mismatch()).at_store(),
        row(30, "empty document of another hash", emptied(tagging), mismatch()),
        row(35, "unsigned trailer, forged", forge(client.sign(&trailer(Framing::Length))), NO_MATCH)
            .at_store(),
        row(35, "the same over HTTP chunks", forge(client.sign(&trailer(Framing::Chunked))), NO_MATCH)
            .at_store(),
        row(35, "unsigned trailer, unsigned head", body.clone().without("authorization"), DENIED).at_store(),
        row(36, "unsigned trailer, forged query", forged_query, NO_MATCH),
        row(40, "Content-MD5 malformed", md5("abc"), Want::RefusedLate(400, "InvalidDigest")).at_store(),
        row(
            40,
            "Content-MD5 of 15 bytes",
            md5("AAAAAAAAAAAAAAAAAAAA"),
            Want::RefusedLate(400, "InvalidDigest"),
        )
        .at_store(),
        row(40, "Content-MD5 wrong", md5(&digest::md5_base64(b"other")), Want::RefusedLate(400, "BadDigest"))
            .at_store(),
        row(40, "Content-MD5 of an empty body wrong", empty_md5, Want::RefusedLate(400, "BadDigest"))
            .at_store(),
        row(40, "Content-MD5 of a deletion wrong", deletion, Want::Refused(400, "BadDigest")),
    ]
}

const CRC: Algorithm = Algorithm::Crc32;

/// A signed upload whose encoded body is replaced, lengths made to fit.
fn replaced(signed: Signed, body: Vec<u8>) -> Signed {
    let length = body.len().to_string();
    let signed = signed.edit_body(|_| body);
    signed.set("content-length", &length)
}

/// Rows 31 to 34: frames.
fn frames(bench: &Bench) -> Vec<Row> {
    let client = &bench.client;
    let chunks = || put(40_000, Payload::SignedChunks(8192));
    let signed_trailer = || put(40_000, Payload::SignedChunksTrailer(8192, CRC));
    let plain = || put(10, Payload::UnsignedTrailer(8192, CRC, Framing::Length));
    let bent = |request: &Request, at: usize| {
        client.sign(request).edit_body(|mut body| {
            body[at] ^= 1;
            body
        })
    };
    let without_length =
        |request: &Request| client.sign_with(request, |draft| draft.remove("x-amz-decoded-content-length"));
    let length = |request: &Request, value: &str| {
        client.sign_with(request, |draft: &mut Draft| draft.set("x-amz-decoded-content-length", value))
    };
    let sized = |size: &str| {
        let trailer = format!("{}:{}", CRC.header(), CRC.base64(b"0123456789"));
        replaced(
            client.sign(&plain()),
            format!("{size}\r\n0123456789\r\n0\r\n{trailer}\r\n\r\n").into_bytes(),
        )
    };
    let missing = || Want::Refused(411, "MissingContentLength");
    let incomplete = || Want::RefusedLate(400, "IncompleteBody");
    let invalid = || Want::RefusedLate(400, "InvalidRequest");
    vec![
        row(31, "chunk 0 bent", bent(&chunks(), 200), NO_MATCH_LATE).at_store(),
        row(31, "chunk 3 bent", bent(&chunks(), 3 * 8192 + 600), NO_MATCH_LATE).at_store(),
        row(31, "chunk signature bent", bent(&chunks(), 40), NO_MATCH_LATE).at_store(),
        row(31, "chunk bent before a signed trailer", bent(&signed_trailer(), 9000), NO_MATCH_LATE)
            .at_store(),
        row(32, "no decoded length, signed", without_length(&chunks()), missing()).at_store(),
        row(32, "no decoded length, unsigned", without_length(&plain()), missing()).at_store(),
        row(33, "decoded length one short", length(&chunks(), "39999"), incomplete()).at_store(),
        row(33, "decoded length one long", length(&chunks(), "40001"), incomplete()).at_store(),
        row(33, "decoded length one long, unsigned", length(&plain(), "11"), incomplete()).at_store(),
        row(34, "chunk of 2^64-1 bytes", sized("ffffffffffffffff"), invalid()).closes(),
        row(34, "chunk of more than 2^64 bytes", sized("fffffffffffffffff"), invalid()).closes(),
        row(34, "chunk of 1 GiB", sized("40000000"), invalid()).closes(),
        row(34, "chunk size that is no hex", sized("xyz"), invalid()).at_store().closes(),
        row(34, "chunk size with a sign", sized("+a"), invalid()).at_store().closes(),
        row(34, "empty chunk size", sized(""), invalid()).at_store().closes(),
    ]
}

/// Rows 37 to 39: trailers.
fn trailers(bench: &Bench) -> Vec<Row> {
    let client = &bench.client;
    let plain = || client.sign(&put(10, Payload::UnsignedTrailer(8192, CRC, Framing::Length)));
    let body: Vec<u8> = (0..10).collect();
    let with = |trailer: &str| {
        let mut bytes = b"a\r\n".to_vec();
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(format!("\r\n0\r\n{trailer}\r\n\r\n").as_bytes());
        replaced(plain(), bytes)
    };
    let malformed = || Want::RefusedLate(400, "MalformedTrailerError");
    let right = format!("{}:{}", CRC.header(), CRC.base64(&body));
    let bent_signature =
        client.sign(&put(10, Payload::SignedChunksTrailer(8192, CRC))).edit_body(|mut body| {
            let at = body.len() - 6;
            body[at] = if body[at] == b'0' { b'1' } else { b'0' };
            body
        });
    let no_signature = client.sign(&put(10, Payload::SignedChunksTrailer(8192, CRC)));
    let at =
        memchr::memmem::find(&no_signature.body, b"x-amz-trailer-signature").expect("a trailer signature");
    let cut = [&no_signature.body[..at], b"\r\n"].concat();
    let wrong = format!("{}:{}", CRC.header(), CRC.base64(b"other"));
    let empty = client.sign(&put(0, Payload::UnsignedTrailer(8192, CRC, Framing::Length)));
    let empty = replaced(empty, format!("0\r\n{wrong}\r\n\r\n").into_bytes());
    vec![
        row(37, "undeclared trailer", with("x-amz-checksum-sha1:AAAA"), malformed()).at_store(),
        row(37, "one trailer too many", with(&format!("{right}\r\nx-amz-meta-a:1")), malformed()).at_store(),
        row(37, "trailer without a colon", with("x-amz-checksum-crc32"), malformed()).at_store(),
        row(38, "trailer checksum wrong", with(&wrong), Want::RefusedLate(400, "BadDigest")).at_store(),
        row(38, "trailer checksum of an empty body wrong", empty, Want::RefusedLate(400, "BadDigest")),
        row(39, "trailer signature bent", bent_signature, NO_MATCH_LATE).at_store(),
        row(
            39,
            "no trailer signature",
            replaced(no_signature, cut),
            Want::RefusedLate(403, "SignatureDoesNotMatch"),
        )
        .at_store(),
    ]
}

/// Rows 41 to 47: sizes.
fn sizes(bench: &Bench) -> Vec<Row> {
    let client = &bench.client;
    let no_length = client.sign(&put(0, Payload::Hex)).without("content-length");
    let chunked = client.sign(&put(0, Payload::Unsigned)).without("content-length");
    let chunked = chunked.add("transfer-encoding", "chunked").edit_body(|_| http_chunked(b"hello", 3));
    let huge = client.sign(&put(0, Payload::Unsigned)).set("content-length", "5368709121");
    let said_short = client.sign(&put(0, Payload::Unsigned).with("x-amz-decoded-content-length", "1"));
    let said_short = said_short.set("content-length", "5368709121");
    let key = |length: usize| format!("/photos/{}", "k".repeat(length));
    let metadata = put(1, Payload::Hex).with("x-amz-meta-a", &"m".repeat(2049));
    let many_metadata = (0..30).fold(put(1, Payload::Hex), |request, number| {
        request.with(&format!("x-amz-meta-{number}"), &"m".repeat(70))
    });
    let wide = client.sign(&get()).add("x-padding", &"p".repeat(33 << 10));
    let many = (0..101).fold(client.sign(&get()), |signed, number| signed.add(&format!("x-p-{number}"), "1"));
    let delete = |body: String| {
        let md5 = digest::md5_base64(body.as_bytes());
        client.sign(&Request::post("/photos?delete", body).with("content-md5", &md5))
    };
    let large_document = format!("<Delete><Object><Key>{}</Key></Object></Delete>", "k".repeat(3 << 20));
    let too_large = || Want::Refused(400, "MetadataTooLarge");
    vec![
        row(41, "no length at all", no_length, Want::Refused(411, "MissingContentLength")),
        row(42, "plain PUT over HTTP chunks", chunked, Want::Refused(501, "NotImplemented")),
        row(43, "5 GiB and a byte", huge, Want::Refused(400, "EntityTooLarge")),
        row(
            43,
            "5 GiB and a byte, said to be decoded to one",
            said_short,
            Want::Refused(400, "EntityTooLarge"),
        ),
        row(
            44,
            "key of 1025 bytes",
            client.sign(&Request::get(&key(1025))),
            Want::Refused(400, "KeyTooLongError"),
        ),
        row(
            44,
            "key of 1024 bytes passes",
            client.sign(&Request::get(&key(1024))),
            Want::Passed(key(1024)[7..].into()),
        ),
        row(45, "metadata above 2 KiB", client.sign(&metadata), too_large()),
        row(45, "metadata above 2 KiB in pieces", client.sign(&many_metadata), too_large()),
        row(46, "head above 32 KiB", wide, Want::Refused(431, "RequestHeaderSectionTooLarge")).closes(),
        row(46, "more than 100 headers", many, Want::Refused(400, "RequestHeaderSectionTooLarge")).closes(),
        row(47, "document of 3 MiB", delete(large_document), Want::Refused(400, "MaxMessageLengthExceeded")),
    ]
}

/// Rows 48 to 50: documents.
fn documents(bench: &Bench) -> Vec<Row> {
    let client = &bench.client;
    let delete = |body: &str| {
        let md5 = digest::md5_base64(body.as_bytes());
        client.sign(&Request::post("/photos?delete", body).with("content-md5", &md5))
    };
    let target = format!("/photos/upload?uploadId={}", text::encoded(&bench.upload_id, ""));
    let complete = |inner: &str| {
        let xml = format!("<CompleteMultipartUpload>{inner}</CompleteMultipartUpload>");
        client.sign(&Request::post(&target, xml))
    };
    let part = |number: u32| format!("<Part><PartNumber>{number}</PartNumber><ETag>\"a\"</ETag></Part>");
    let dtd = "<!DOCTYPE d [<!ENTITY e \"k\">]><Delete><Object><Key>&e;</Key></Object></Delete>";
    let external = "<!DOCTYPE d SYSTEM \"file:///etc/passwd\"><Delete><Object><Key>k</Key></Object></Delete>";
    let deep = format!("{}{}", "<Delete>".repeat(1000), "</Delete>".repeat(1000));
    let mut attributes = "<Delete".to_owned();
    for number in 0..100_000 {
        write!(attributes, " a{number}=\"1\"").expect("a string takes it");
    }
    attributes.push_str("><Object><Key>k</Key></Object></Delete>");
    let object = "<Object><Key>nothing-here</Key></Object>";
    let many = format!("<Delete>{}</Delete>", object.repeat(1001));
    vec![
        row(48, "document type with an entity", delete(dtd), MALFORMED_XML),
        row(48, "document type from a file", delete(external), MALFORMED_XML),
        row(
            48,
            "entity never declared",
            delete("<Delete><Object><Key>&e;</Key></Object></Delete>"),
            MALFORMED_XML,
        ),
        row(48, "1000 levels", delete(&deep), MALFORMED_XML),
        row(48, "100000 attributes", delete(&attributes), MALFORMED_XML),
        row(48, "truncated", delete("<Delete><Object><Key>k</Key></Obj"), MALFORMED_XML),
        row(48, "another document", delete("<Erase/>"), MALFORMED_XML),
        row(48, "no document", delete(""), MALFORMED_XML).at_store(),
        row(
            48,
            "key that no document can name",
            delete("<Delete><Object><Key>a&#1;b</Key></Object></Delete>"),
            MALFORMED_XML,
        ),
        row(49, "1001 objects", delete(&many), MALFORMED_XML).at_store(),
        row(
            50,
            "parts out of order",
            complete(&format!("{}{}", part(2), part(1))),
            Want::RefusedLate(400, "InvalidPartOrder"),
        ),
        row(50, "no parts", complete(""), Want::RefusedLate(400, "MalformedXML")).at_store(),
    ]
}

/// Rows 51 to 57: names and paths.
fn names(bench: &Bench) -> Vec<Row> {
    let client = &bench.client;
    let signed = |target: &str| client.sign(&Request::get(target));
    let invalid = || Want::Refused(400, "InvalidURI");
    let bucket = || Want::Refused(400, "InvalidBucketName");
    let raw = |target: &str| {
        let mut bytes = client.sign(&get()).bytes();
        let end = memchr::memmem::find(&bytes, b" HTTP/1.1").expect("a request line");
        bytes.splice(4..end, target.bytes());
        bytes
    };
    let host = |lines: &str| {
        let head = client.sign(&get()).without("host").head_bytes();
        let head = String::from_utf8(head).expect("a head is text");
        head.replacen("\r\n", &format!("\r\n{lines}"), 1).into_bytes()
    };
    let mut rows = vec![
        row(51, "upper case in a bucket name", signed("/Photos_A/k"), bucket()),
        row(51, "bucket name of two letters", signed("/ab/k"), bucket()),
        row(51, "bucket name of 64 letters", signed(&format!("/{}/k", "b".repeat(64))), bucket()),
        row(52, "unknown bucket", signed("/nowhere/k"), Want::Refused(404, "NoSuchBucket")).at_store(),
        row(53, "escape that is none", signed("/photos/a%zz"), invalid()).at_store(),
        row(53, "escape cut short", signed("/photos/a%"), invalid()).at_store(),
        row(53, "escape of one digit", signed("/photos/a%2"), invalid()).at_store(),
        row(53, "escape that is no UTF-8", signed("/photos/a%ff"), invalid()).at_store(),
        row(53, "escape of an overlong NUL", signed("/photos/a%c0%80"), invalid()).at_store(),
        row(55, "fragment", raw("/photos/k#part"), Want::Closed(&[400])),
        row(55, "raw space", raw("/photos/k k"), Want::Closed(&[400])),
        row(55, "control character", raw("/photos/k\u{1}"), Want::Closed(&[400])),
        row(55, "NUL in the target", raw("/photos/k\0"), Want::Closed(&[400])),
        row(55, "backslash", raw("/photos\\k"), Want::Closed(&[400])),
        row(55, "raw UTF-8", raw("/photos/é"), Want::Closed(&[400])),
        row(
            56,
            "absolute form, another host",
            raw("http://elsewhere.example/photos/k"),
            Want::Status(&[400]),
        ),
        row(
            56,
            "absolute form, another scheme",
            raw("ftp://elsewhere.example/photos/k"),
            Want::Status(&[400]),
        ),
        row(57, "no Host", host(""), INVALID_REQUEST),
        row(57, "two Hosts", host("host: a.example\r\nhost: b.example\r\n"), INVALID_REQUEST),
        row(57, "one Host twice", doubled(client.sign(&get()), "host"), INVALID_REQUEST),
        row(57, "empty Host", host("host: \r\n"), INVALID_REQUEST),
        row(57, "Host with a path", host("host: a/b@c\r\n"), INVALID_REQUEST),
    ];
    let odd = [
        "/a/../b",
        "/../b",
        "/a//b",
        "//b",
        "/./c",
        "/c/.",
        "/a%2Fb",
        "/%2e%2e/x",
        "/%2E%2E%2Fetc",
        "/a+b",
        "/a%2Bb",
        "/%F0%9F%A6%80",
        "/a%20b",
        "/trailing/",
        "/tilde~",
        "/q%3Fx%23y",
        "/a%25zz",
        "/(a)!*'",
        "/a=b&c;d,e:f@g$h",
    ];
    for suffix in odd {
        let what = format!("odd key {suffix}");
        rows.push(row(54, &what, signed(&format!("/photos{suffix}")), Want::Passed(suffix.to_owned())));
    }
    rows
}

/// Rows 58 to 62: copies, tokens, ranges, part numbers, internal headers.
fn copies_and_tokens(bench: &Bench) -> Vec<Row> {
    let client = &bench.client;
    let copy =
        |source: &str| client.sign(&Request::put("/photos/copy", "").with("x-amz-copy-source", source));
    let legal = |suffix: &str| Want::Passed(suffix.to_owned());
    let bent = |token: &str| {
        let at = token.len() - 5;
        let swap = if token[at..].starts_with('A') { "B" } else { "A" };
        text::encoded(&format!("{}{swap}{}", &token[..at], &token[at + 1..]), "")
    };
    let forged_upload = format!("/photos/upload?uploadId={}", bent(&bench.upload_id));
    let other_key = format!("/photos/another?uploadId={}", text::encoded(&bench.upload_id, ""));
    let forged_list = format!("/photos?list-type=2&continuation-token={}", bent(&bench.continuation));
    let no_upload = || Want::Refused(404, "NoSuchUpload");
    let range = |value: &str| client.sign(&get().with("range", value));
    let ranges: Vec<String> = (0..1000).map(|number| format!("{number}-{number}")).collect();
    let part = |number: &str| {
        let id = text::encoded(&bench.upload_id, "");
        client.sign(&Request::put(&format!("/photos/upload?partNumber={number}&uploadId={id}"), "p"))
    };
    let internal = |name: &str| client.sign(&put(1, Payload::Hex).with(name, "1"));
    let any = Want::Status(&[200, 206, 416]);
    let no_range = || Want::RefusedLate(416, "InvalidRange");
    let mut rows = vec![
        row(58, "empty copy source", copy(""), INVALID_ARGUMENT).at_store(),
        row(58, "copy source without a key", copy("/photos"), INVALID_ARGUMENT).at_store(),
        row(58, "copy source is a URL", copy("http://elsewhere.example/photos/k"), INVALID_ARGUMENT),
        row(58, "copy source of another tenant", copy("/invoices/secret"), DENIED),
        row(58, "copy source of another tenant, escaped", copy("%2Finvoices%2Fsecret"), DENIED),
        row(58, "copy source with dots is legal", copy("/photos/a/../b"), legal("/copy")),
        row(58, "copy source escaped twice is legal", copy("/photos/a%252Fb"), legal("/copy")),
        row(59, "forged upload id", client.sign(&Request::get(&forged_upload)), no_upload()),
        row(59, "upload id of another key", client.sign(&Request::get(&other_key)), no_upload()).at_store(),
        row(
            59,
            "part to a forged upload",
            client.sign(&Request::put(&format!("{forged_upload}&partNumber=1"), "p")),
            no_upload(),
        ),
        row(59, "forged listing token", client.sign(&Request::get(&forged_list)), INVALID_ARGUMENT),
        row(60, "range backwards", range("bytes=9-1"), any.clone()),
        row(60, "range of 2^64", range("bytes=0-18446744073709551616"), any.clone()),
        row(60, "range from 2^64", range("bytes=18446744073709551616-"), any.clone()),
        row(60, "1000 ranges", range(&format!("bytes={}", ranges.join(","))), any.clone()),
        row(60, "range in another unit", range("lines=1-2"), any),
        row(60, "range behind the end", range("bytes=100-200"), no_range()),
        row(61, "part 0", part("0"), INVALID_ARGUMENT).at_store(),
        row(61, "part 10001", part("10001"), INVALID_ARGUMENT).at_store(),
        row(61, "part -1", part("-1"), INVALID_ARGUMENT).at_store(),
        row(61, "part that is no number", part("one"), INVALID_ARGUMENT).at_store(),
    ];
    let families = [
        "x-minio-source-etag",
        "x-amz-meta-snowball-auto-extract",
        "x-amz-meta-minio-snowball-prefix",
        "x-minio-replication-server-side-encryption-iv",
        "x-rgw-auth",
        "x-amz-replication-status",
        "x-emc-namespace",
        "x-rustfs-internal",
    ];
    rows.extend(families.map(|name| row(62, name, internal(name), DENIED)));
    rows
}

/// Row 63: bytes that two parsers might read differently.
fn wire(bench: &Bench) -> Vec<Row> {
    let client = &bench.client;
    let body = |lines: &str, body: &str| {
        let signed = client.sign(&put(0, Payload::Unsigned)).without("content-length");
        let head = String::from_utf8(signed.head_bytes()).expect("a head is text");
        let head = head.strip_suffix("\r\n").expect("an empty line");
        format!("{head}{lines}\r\n{body}").into_bytes()
    };
    let head = |lines: &str| {
        let signed = String::from_utf8(client.sign(&get()).head_bytes()).expect("a head is text");
        let head = signed.strip_suffix("\r\n").expect("an empty line");
        format!("{head}{lines}\r\n").into_bytes()
    };
    let line = |from: &str, to: &str| {
        let signed = String::from_utf8(client.sign(&get()).head_bytes()).expect("a head is text");
        signed.replacen(from, to, 1).into_bytes()
    };
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    let framed = put(5, Payload::UnsignedTrailer(8192, CRC, Framing::Chunked));
    let inner = client
        .sign(&Request { payload: Payload::UnsignedTrailer(8192, CRC, Framing::Length), ..framed.clone() })
        .body;
    let outer = |first: &str, end: &str| {
        let mut signed = client.sign(&framed);
        signed.body = [first.as_bytes(), &inner, end.as_bytes()].concat();
        signed.bytes()
    };
    let size = format!("{:x}", inner.len());
    let end = "\r\n0\r\n\r\n";
    let closed = || Want::Closed(&[400]);
    let closed_or = || Want::Closed(&[400, 501]);
    let lengths = [
        ("length and chunks", "content-length: 15\r\ntransfer-encoding: chunked\r\n", chunks),
        ("chunks and length", "transfer-encoding: chunked\r\ncontent-length: 15\r\n", chunks),
        ("length twice alike", "content-length: 5\r\ncontent-length: 5\r\n", "hello"),
        ("length twice unlike", "content-length: 5\r\ncontent-length: 6\r\n", "hello"),
        ("length in a list", "content-length: 5, 5\r\n", "hello"),
        ("length with zeros in front", "content-length: 005\r\n", "hello"),
        ("length with a plus", "content-length: +5\r\n", "hello"),
        ("negative length", "content-length: -5\r\n", "hello"),
        ("empty length", "content-length: \r\n", "hello"),
        ("hexadecimal length", "content-length: 0x5\r\n", "hello"),
        ("length of 2^64", "content-length: 18446744073709551616\r\n", "hello"),
        ("length with a space before the colon", "content-length : 5\r\n", "hello"),
    ];
    let codings = [
        ("chunked, chunked", "transfer-encoding: chunked, chunked\r\n"),
        ("chunked twice", "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n"),
        ("identity, chunked", "transfer-encoding: identity, chunked\r\n"),
        ("gzip, chunked", "transfer-encoding: gzip, chunked\r\n"),
        ("gzip", "transfer-encoding: gzip\r\n"),
        ("chunked with a parameter", "transfer-encoding: chunked;q=1\r\n"),
        ("xchunked", "transfer-encoding: xchunked\r\n"),
        ("coding folded", "transfer-encoding:\r\n chunked\r\n"),
    ];
    let mut rows: Vec<Row> = Vec::new();
    rows.extend(lengths.map(|(what, lines, rest)| row(63, what, body(lines, rest), closed())));
    rows.extend(codings.map(|(what, lines)| row(63, what, body(lines, chunks), closed_or())));
    rows.extend([
        row(63, "bare LF between headers", head("x-a: 1\nx-b: 2\r\n"), closed()),
        row(63, "bare LF everywhere", line("\r\n", "\n"), closed()),
        row(63, "CR in a value", head("x-a: 1\rx-b: 2\r\n"), closed()),
        row(63, "NUL in a value", head("x-a: 1\0\r\n"), closed()),
        row(63, "header without a colon", head("x-a\r\n"), closed()),
        row(63, "empty header name", head(": 1\r\n"), closed()),
        row(63, "folded header", head("x-a: 1\r\n 2\r\n"), closed()),
        row(63, "space in a header name", head("x a: 1\r\n"), closed()),
        row(63, "underscore in a header name", head("x_a: 1\r\n"), Want::Status(&[400])),
        row(63, "two spaces in the request line", line(" /photos", "  /photos"), closed()),
        row(63, "tab in the request line", line(" /photos", "\t/photos"), closed()),
        row(63, "HTTP/0.9", b"GET /photos/k\r\n\r\n".to_vec(), closed()),
        row(63, "HTTP/1.2", line("HTTP/1.1", "HTTP/1.2"), Want::Closed(&[400, 505])),
        row(63, "no HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), closed()),
        row(
            63,
            "empty line in front passes",
            [b"\r\n".as_slice(), &head("")].concat(),
            Want::Passed("/k".to_owned()),
        ),
        row(63, "chunk size with a space behind", outer(&format!("{size} \r\n"), end), closed()),
        row(63, "chunk extension without a name", outer(&format!("{size};\r\n"), end), closed()),
        row(63, "chunk extension of NUL", outer(&format!("{size};\0\r\n"), end), closed()),
        row(63, "chunk size after bare LF", outer(&format!("{size}\n"), end), closed()),
        row(63, "chunk size that is no number", outer("zz\r\n", end), closed()),
        row(63, "chunk without its end", outer(&format!("{size}\r\n"), "x\r\n0\r\n\r\n"), closed()),
    ]);
    for row in rows.iter_mut().filter(|row| row.what.starts_with("chunk ")) {
        // the head was fine: a region may have seen a beginning
        row.want = Want::RefusedLate(400, "InvalidRequest");
        row.closes = true;
    }
    rows
}

/// Rows 64 to 70: methods and connections.
fn methods_and_connections(bench: &Bench) -> Vec<Row> {
    let client = &bench.client;
    let method = |name: &str| client.sign(&Request { method: name.to_owned(), ..get() });
    let with = |name: &str, value: &str| client.sign(&get().with(name, value));
    let host = client.host.clone();
    let not_allowed = || Want::Refused(405, "MethodNotAllowed");
    let naming = |name: &str| {
        let request = put(1, Payload::Hex).with("connection", name);
        row(66, &format!("Connection names {name}"), client.sign(&request), Want::Status(&[400]))
    };
    let forged = client.sign(&put(1, Payload::Unsigned)).edit("authorization", flipped);
    let pending = forged.set("content-length", &(1_u64 << 30).to_string()).head_bytes();
    let mut rows = vec![
        row(64, "TRACE", method("TRACE"), not_allowed()),
        row(64, "PATCH", method("PATCH"), not_allowed()),
        row(64, "get in lower case", method("get"), not_allowed()),
        row(
            64,
            "CONNECT",
            format!("CONNECT {host} HTTP/1.1\r\nhost: {host}\r\n\r\n").into_bytes(),
            not_allowed(),
        )
        .closes(),
        row(65, "another Expect", with("expect", "200-ok"), Want::Status(&[417])),
        row(65, "Expect hidden behind text", with("expect", "y 100-continue"), Want::Status(&[417])),
        row(
            67,
            "Upgrade is ignored",
            with("upgrade", "h2c").set("connection", "upgrade"),
            Want::Passed("/k".to_owned()),
        ),
        row(68, "pipelined", Shot::Pipelined, Want::Status(&[])),
        row(69, "GET with a body", Shot::BodyOnGet, Want::Status(&[])),
        row(
            70,
            "a gigabyte behind a refused head",
            Shot::Gigabyte(pending),
            Want::Refused(403, "SignatureDoesNotMatch"),
        ),
    ];
    rows.extend(["host", "x-amz-date", "x-amz-content-sha256", "content-length", "close, Host"].map(naming));
    rows
}
