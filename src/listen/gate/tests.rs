use proptest::prelude::*;

use super::*;

const LIMITS: HeadLimits = HeadLimits { bytes: 32 << 10, fields: 100 };

fn verdict(input: &[u8]) -> (u64, Option<Violation>) {
    let mut scanner = Scanner::new(LIMITS);
    let violation = scanner.scan(input).violation;
    (scanner.heads(), violation)
}

fn refused(input: &str) -> Option<Violation> {
    verdict(input.as_bytes()).1
}

/// One row of the table in `reliability.md` C1 or E2 each.
#[test]
fn what_is_refused_and_why() {
    use Violation as V;
    for (input, expected) in [
        (
            "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            V::LengthAndTransfer,
        ),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
            V::LengthAndTransfer,
        ),
        ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", V::LengthRepeated),
        ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 003\r\n\r\n", V::LengthInvalid),
        ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\n", V::LengthInvalid),
        ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", V::LengthInvalid),
        ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 3\r\n\r\n", V::LengthInvalid),
        ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x3\r\n\r\n", V::LengthInvalid),
        ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n", V::LengthInvalid),
        ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551616\r\n\r\n", V::LengthInvalid),
        ("GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", V::Transfer),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            V::Transfer,
        ),
        ("GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity, chunked\r\n\r\n", V::Transfer),
        ("GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", V::Transfer),
        ("GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked;q=1\r\n\r\n", V::Transfer),
        ("GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n", V::Transfer),
        ("GET / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", V::Transfer),
        ("GET / HTTP/1.1\nHost: h\n\n", V::LineEnd),
        ("GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n", V::LineEnd),
        ("GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n", V::LineEnd),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", V::LineEnd),
        ("\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", V::LineEnd),
        ("GET / HTTP/1.1\r\nHost: h\r\nX: y\r\n z\r\n\r\n", V::Fold),
        ("GET / HTTP/1.1\r\n Host: h\r\n\r\n", V::Fold),
        ("GET / HTTP/1.1\r\nHost: h\r\nX : y\r\n\r\n", V::Field),
        ("GET / HTTP/1.1\r\nHost: h\r\n: y\r\n\r\n", V::Field),
        ("GET / HTTP/1.1\r\nHost: h\r\nX\r\n\r\n", V::Field),
        ("GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n", V::Field),
        ("GET / HTTP/1.1\r\nHost: h\r\nX: a\x1bb\r\n\r\n", V::Field),
        ("GET / HTTP/1.1\r\n\r\n", V::HostMissing),
        ("GET / HTTP/1.0\r\n\r\n", V::HostMissing),
        ("GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", V::HostRepeated),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", V::HostInvalid),
        ("GET / HTTP/1.1\r\nHost: a/b@c\r\n\r\n", V::HostInvalid),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", V::HostInvalid),
        ("GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", V::HostInvalid),
        ("GET / HTTP/1.1\r\nHost: a:\r\n\r\n", V::HostInvalid),
        ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", V::HostInvalid),
        ("GET / HTTP/1.1\r\nHost: [v]:80\r\n\r\n", V::HostInvalid),
        ("GET http://other/ HTTP/1.1\r\nHost: h\r\n\r\n", V::Authority),
        ("GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n", V::Target),
        ("GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", V::Target),
        ("GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", V::Target),
        ("GET /a\tb HTTP/1.1\r\nHost: h\r\n\r\n", V::Target),
        ("GET /a\x01b HTTP/1.1\r\nHost: h\r\n\r\n", V::Target),
        ("GET /a\\b HTTP/1.1\r\nHost: h\r\n\r\n", V::Target),
        ("GET * HTTP/1.1\r\nHost: h\r\n\r\n", V::Target),
        ("GET  HTTP/1.1\r\nHost: h\r\n\r\n", V::Target),
        ("GET /\r\nHost: h\r\n\r\n", V::RequestLine),
        ("GE(T / HTTP/1.1\r\nHost: h\r\n\r\n", V::RequestLine),
        (" GET / HTTP/1.1\r\nHost: h\r\n\r\n", V::RequestLine),
        ("GET / HTTP/1.2\r\nHost: h\r\n\r\n", V::Version),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", V::Version),
        ("GET / http/1.1\r\nHost: h\r\n\r\n", V::RequestLine),
        ("CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", V::Connect),
    ] {
        assert_eq!(refused(input), Some(expected), "{input:?}");
    }
}

#[test]
fn what_is_let_through() {
    for input in [
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /b//a/./..%2F+/%zz?x=1?2&y HTTP/1.1\r\nhost: my_service:9000\r\n\r\n",
        "GET /b/\u{e9}\u{1f4a9} HTTP/1.1\r\nHost: [2001:db8::1]:9000\r\n\r\n",
        "GET http://H:80/x HTTP/1.1\r\nHost: h:80\r\n\r\n",
        "GET https://h HTTP/1.1\r\nHost: h\r\n\r\n",
        "get / HTTP/1.1\r\nHost: h\r\n\r\n",
        "TRACE / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: h\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: h\r\nX: a\tb\u{e9}\r\nContent-Length: 3\r\n\r\nabc",
        "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n3;a;b=c;d=\"e\\\"\"\r\nabc\r\n0\r\nx-amz-checksum-crc32: AAAA\r\n\r\n",
    ] {
        assert_eq!(verdict(input.as_bytes()), (1, None), "{input:?}");
    }
}

#[test]
fn chunked_framing_is_strict() {
    use Violation as V;
    for (body, expected) in [
        ("3;\r\nabc\r\n0\r\n\r\n", V::ChunkSize),
        ("3;\0\r\nabc\r\n0\r\n\r\n", V::ChunkSize),
        ("3 \r\nabc\r\n0\r\n\r\n", V::ChunkSize),
        ("3;a=\"b\r\nabc\r\n0\r\n\r\n", V::ChunkSize),
        ("0x3\r\nabc\r\n0\r\n\r\n", V::ChunkSize),
        ("\r\nabc\r\n0\r\n\r\n", V::ChunkSize),
        ("-1\r\nabc\r\n0\r\n\r\n", V::ChunkSize),
        ("00000000000000003\r\nabc\r\n0\r\n\r\n", V::ChunkSize),
        ("3\nabc\r\n0\r\n\r\n", V::ChunkSize),
        ("3\r\nabcd\r\n0\r\n\r\n", V::ChunkEnd),
        ("3\r\nabc\n0\r\n\r\n", V::ChunkEnd),
        ("3\r\nabc0\r\n\r\n", V::ChunkEnd),
        ("0\r\nno colon\r\n\r\n", V::Trailers),
        ("0\r\na: b\n\r\n", V::Trailers),
        ("0\r\n a: b\r\n\r\n", V::Trailers),
    ] {
        let input = format!("PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        assert_eq!(refused(&input), Some(expected), "{body:?}");
    }
}

#[test]
fn limits_hold_at_the_limit_and_one_above() {
    let head = |fill: usize| format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "y".repeat(fill));
    let exact = LIMITS.bytes - head(0).len();
    assert_eq!(refused(&head(exact)), None);
    assert_eq!(refused(&head(exact + 1)), Some(Violation::HeadTooLarge));
    let target = |fill: usize| format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "y".repeat(fill));
    assert_eq!(refused(&target(LIMITS.bytes)), Some(Violation::TargetTooLong));
    let fields = |count: usize| format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(count - 1));
    assert_eq!(refused(&fields(100)), None);
    assert_eq!(refused(&fields(101)), Some(Violation::TooManyFields));
    let chunked = "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let trailers = |count: usize| format!("{chunked}0\r\n{}\r\n", "X: y\r\n".repeat(count));
    assert_eq!(refused(&trailers(32)), None);
    assert_eq!(refused(&trailers(33)), Some(Violation::Trailers));
    let extensions = |count: usize| format!("{chunked}{}0\r\n\r\n", "1;eeeeee\r\nx\r\n".repeat(count));
    assert_eq!(refused(&extensions(1170)), None);
    assert_eq!(refused(&extensions(1171)), Some(Violation::ChunkSize));
}

#[test]
fn heads_follow_bodies() {
    let one = "PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 25\r\n\r\nGET /b HTTP/1.1\r\nHost: \r\n\r\n";
    let two = "PUT /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n\r\n0\r\n\r\n0\r\n\r\n";
    let input = [one.get(..one.len() - 2).unwrap(), two, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
    assert_eq!(verdict(input.as_bytes()), (3, None));
}

/// hyper parses targets with `http::Uri`: what the gate lets through must reach us whole.
#[test]
fn every_target_that_passes_is_one_that_hyper_keeps() {
    for byte in 0..=0x7f_u8 {
        for target in [format!("/a{}b", char::from(byte)), format!("/a?x{}b", char::from(byte))] {
            let passes = refused(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")).is_none();
            let kept = target
                .parse::<http::Uri>()
                .is_ok_and(|uri| uri.path_and_query().map(http::uri::PathAndQuery::as_str) == Some(&*target));
            assert_eq!(passes, kept && byte != b'\\', "{target:?}");
        }
    }
}

#[test]
fn an_answer_is_a_whole_response() {
    let id = crate::names::RequestId(7);
    let answer = String::from_utf8(Violation::HostMissing.answer(id)).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"));
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
    assert!(head.contains("x-amz-request-id: 0000000000000007"));
    assert!(body.contains("<Code>InvalidRequest</Code>"));
}

/// Pieces that make and break requests, so that arbitrary sequences are interesting.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let fixed = prop::sample::select(vec![
        "GET / HTTP/1.1\r\n",
        "PUT /b/k HTTP/1.1\r\n",
        "POST http://h/ HTTP/1.0\r\n",
        "Host: h\r\n",
        "host: other\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: 0\r\n",
        "Transfer-Encoding: chunked\r\n",
        "X-Y: z\r\n",
        "Expect: 100-continue\r\n",
        "Connection: close\r\n",
        "\r\n",
        "\r",
        "\n",
        "5\r\nabcde\r\n",
        "5;e=f\r\nabcde\r\n",
        "0\r\n\r\n",
        "0\r\nt: u\r\n\r\n",
        "abcde",
        " ",
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde",
        "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
    ])
    .prop_map(|text| text.as_bytes().to_vec());
    prop_oneof![20 => fixed, 1 => prop::collection::vec(any::<u8>(), 0..6)]
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(piece(), 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_split_gives_the_same_verdict(input in stream(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
        let whole = verdict(&input);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.extend([0, input.len()]);
        cuts.sort_unstable();
        let mut scanner = Scanner::new(LIMITS);
        let mut violation = None;
        for pair in cuts.windows(2) {
            violation = violation.or(scanner.scan(&input[pair[0]..pair[1]]).violation);
        }
        prop_assert_eq!((scanner.heads(), violation), whole);
        let mut scanner = Scanner::new(LIMITS);
        for byte in &input {
            violation = scanner.scan(std::slice::from_ref(byte)).violation;
        }
        prop_assert_eq!((scanner.heads(), violation), whole);
    }

    #[test]
    fn a_small_limit_gives_the_same_verdict_too(input in stream(), bytes in 0_usize..80) {
        let limits = HeadLimits { bytes, fields: 2 };
        let mut whole = Scanner::new(limits);
        let expected = whole.scan(&input).violation;
        let mut split = Scanner::new(limits);
        let mut violation = None;
        for byte in &input {
            violation = split.scan(std::slice::from_ref(byte)).violation;
        }
        prop_assert_eq!(violation, expected);
        prop_assert_eq!(split.heads(), whole.heads());
    }

    #[test]
    fn nothing_passes_that_was_not_judged(input in stream()) {
        let mut scanner = Scanner::new(LIMITS);
        let scan = scanner.scan(&input);
        prop_assert!(scan.passed <= input.len());
        prop_assert_eq!(scan.violation.is_none(), scan.passed == input.len());
    }
}
