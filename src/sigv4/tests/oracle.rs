//! Against an implementation that is not ours: what the crate `aws-sigv4` signs holds here, what
//! is signed here is what it would have signed, and no signed byte can be changed.

use aws_sigv4::http_request::SignableBody;
use proptest::prelude::*;

use super::{KEY, NOW, Oracle, REGION, SECRET, at, encoded, head, key, rules, verified, with};
use crate::head::Head;
use crate::names::{AccessKeyId, Secret};
use crate::sigv4::{
    Credential, Destination, KeyCache, KeyRing, PathForm, PayloadMark, Rejected, Verified, sign, verify,
};

/// A path of one to four encoded parts, some of them empty or dots.
fn path() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just(String::new()),
        Just("..".to_owned()),
        Just(".".to_owned()),
        "[a-zA-Z0-9._~-]{1,12}",
        "[ -~é☃𝄞]{1,8}".prop_map(|text| encoded(&text)),
    ];
    prop::collection::vec(part, 1..5).prop_map(|parts| format!("/bucket/{}", parts.join("/")))
}

/// A query of up to five encoded parameters; some without `=`.
fn query() -> impl Strategy<Value = Option<String>> {
    let pair = ("[a-z]{1,6}", prop::option::of("[ -~é]{0,8}")).prop_map(|(name, value)| match value {
        Some(value) => format!("{name}={}", encoded(&value)),
        None => name,
    });
    prop::option::of(prop::collection::vec(pair, 1..6).prop_map(|pairs| pairs.join("&")))
}

/// Metadata headers with inner white space, and headers that we sign too.
fn fields() -> impl Strategy<Value = Vec<(String, String)>> {
    let meta = ("x-amz-meta-[a-z]{1,6}", "[!-~]( {0,3}[!-~]){0,10}");
    let other = prop_oneof![
        Just(("content-type".to_owned(), "text/plain;  charset=utf-8".to_owned())),
        Just(("range".to_owned(), "bytes=0-9".to_owned())),
        Just(("content-md5".to_owned(), "1B2M2Y8AsgTpgAmY7PhCfg==".to_owned())),
    ];
    (prop::collection::vec(meta, 0..4), prop::option::of(other)).prop_map(|(mut meta, other)| {
        meta.extend(other);
        meta
    })
}

fn method() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["GET", "PUT", "POST", "HEAD", "DELETE"])
}

fn unsigned() -> impl Strategy<Value = Head> {
    (method(), path(), query(), fields()).prop_map(|(method, path, query, fields)| {
        let target = query.map_or(path.clone(), |query| format!("{path}?{query}"));
        let mut head = head(method, &target, &[("host", "localhost:9000")]);
        for (name, value) in fields {
            head.push(&name, value.as_bytes());
        }
        head
    })
}

fn payload() -> impl Strategy<Value = (PayloadMark, SignableBody<'static>)> {
    prop_oneof![
        Just((PayloadMark::Empty, SignableBody::Bytes(b""))),
        Just((PayloadMark::Unsigned, SignableBody::UnsignedPayload)),
        Just((PayloadMark::UnsignedTrailer, SignableBody::StreamingUnsignedPayloadTrailer)),
        any::<[u8; 32]>()
            .prop_map(|digest| (PayloadMark::Sha256(digest), SignableBody::Precomputed(hex::encode(digest)))),
    ]
}

fn token() -> impl Strategy<Value = Option<String>> {
    prop::option::of("[A-Za-z0-9+/=]{1,80}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_the_oracle_signs_holds(
        unsigned in unsigned(), (_, body) in payload(), token in token(),
        presigned in prop::option::of(1_u64..604_800),
    ) {
        let oracle = Oracle { token: token.as_deref(), body, presigned, ..Oracle::default() };
        if presigned.is_some() && !matches!(oracle.body, SignableBody::UnsignedPayload) {
            return Ok(());
        }
        let signed = oracle.sign(&unsigned);
        let ring = KeyRing::new(vec![key(token.as_deref())]);
        let result = verify(&signed, &ring, &rules(), NOW, &mut KeyCache::new());
        match &result {
            Ok(Verified::Signed(found)) => prop_assert_eq!(found.presigned, presigned.is_some()),
            _ => prop_assert!(false, "{result:?}\n{signed:?}"),
        }
    }

    #[test]
    fn what_is_signed_here_is_what_the_oracle_signs(
        unsigned in unsigned(), (mark, body) in payload(), token in token(),
    ) {
        // stores differ on `%2F`; most read it as `/`, as is signed here, the oracle as it stands
        prop_assume!(!unsigned.path().contains("%2F"));
        let mut ours = unsigned.clone();
        let credential = Credential {
            access_key_id: AccessKeyId::new(KEY),
            secret: Secret::from(SECRET),
            session_token: token.as_deref().map(Secret::from),
        };
        sign(&mut ours, &credential, &Destination { region: REGION, path: PathForm::Reencoded }, NOW, &mark, &mut KeyCache::new());
        let theirs = Oracle { token: token.as_deref(), body, ..Oracle::default() }.sign(&unsigned);
        for name in ["authorization", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"] {
            prop_assert_eq!(ours.first_text(name), theirs.first_text(name));
        }
    }

    #[test]
    fn no_signed_byte_can_be_changed(
        unsigned in unsigned(), presigned in prop::option::of(Just(60_u64)),
        which in any::<prop::sample::Index>(), bit in 0_u8..7,
    ) {
        let signed = Oracle { presigned, ..Oracle::default() }.sign(&unsigned);
        prop_assert!(verified(&signed).is_ok());
        if let Some(changed) = flipped(&signed, which, bit) {
            // one that loses its `?` has no credential left
            let result = verified(&changed);
            prop_assert!(!matches!(result, Ok(Verified::Signed(_))), "{}", changed.target());
        }
    }

    #[test]
    fn nothing_makes_it_panic(
        method in "[A-Z]{1,8}", target in "/[ -~é%+&=/?]{0,60}",
        authorization in prop::option::of("(AWS4-HMAC-SHA256 )?[ -~]{0,80}"),
        date in prop::option::of("[0-9TZ]{14,18}"), content in prop::option::of("[ -~]{0,70}"),
    ) {
        let mut head = head(&method, &target, &[("host", "h")]);
        for (name, value) in
            [("authorization", authorization), ("x-amz-date", date), ("x-amz-content-sha256", content)]
        {
            if let Some(value) = value {
                head.push(name, value.as_bytes());
            }
        }
        let result = verified(&head);
        prop_assert!(!matches!(result, Ok(Verified::Signed(_))));
        if head.count("authorization") > 0 {
            prop_assert!(result.is_err(), "a credential is never anonymous");
        }
    }
}

/// The head with one bit of one signed byte flipped: in the target or in the value of a signed
/// header. `None` where the change means nothing by SigV4's rules.
fn flipped(signed: &Head, which: prop::sample::Index, bit: u8) -> Option<Head> {
    let target = signed.target();
    let fields: Vec<(String, Vec<u8>)> =
        signed.fields().map(|field| (field.name.to_owned(), field.value.to_vec())).collect();
    let total = target.len() + fields.iter().map(|(_, value)| value.len()).sum::<usize>();
    let mut index = which.index(total);
    if index < target.len() {
        let mut bytes = target.as_bytes().to_vec();
        bytes[index] ^= 1 << bit;
        let changed = String::from_utf8(bytes).ok()?;
        return (meaning(&changed) != meaning(target)).then(|| at(signed, &changed));
    }
    index -= target.len();
    for (name, value) in fields {
        if index < value.len() {
            let mut changed = value.clone();
            changed[index] ^= 1 << bit;
            let text = String::from_utf8(changed).ok()?;
            // white space is squeezed, and what is between the parts of the header is free
            let means_something =
                squeezed(&text) != squeezed(&String::from_utf8(value).ok()?) && name != "authorization";
            let signature =
                name == "authorization" && text.contains("Signature=") && text.len() - 64 <= index;
            return (means_something || signature).then(|| with(signed, &name, &text));
        }
        index -= value.len();
    }
    None
}

fn squeezed(text: &str) -> Vec<String> {
    text.split([' ', '\t']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// A decoded parameter.
type Pair = (Vec<u8>, Vec<u8>);

/// What a target means by SigV4's rules: the decoded path, and the decoded parameters in order.
fn meaning(target: &str) -> (Vec<u8>, Vec<Pair>) {
    let decode = |text: &str, plus: bool| {
        let text = if plus { text.replace('+', " ") } else { text.to_owned() };
        let bytes = text.as_bytes();
        let mut out = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let pair = bytes.get(at + 1..at + 3).and_then(|pair| std::str::from_utf8(pair).ok());
            let pair = pair.filter(|pair| bytes[at] == b'%' && pair.bytes().all(|b| b.is_ascii_hexdigit()));
            out.push(pair.map_or(bytes[at], |pair| u8::from_str_radix(pair, 16).expect("hex")));
            at += if pair.is_some() { 3 } else { 1 };
        }
        out
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut pairs: Vec<_> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let mut name = decode(name, true);
            // the one parameter that is not signed itself: its name is read in any case
            if name.eq_ignore_ascii_case(b"x-amz-signature") {
                name.make_ascii_lowercase();
            }
            (name, decode(value, true))
        })
        .collect();
    pairs.sort();
    (decode(path, false), pairs)
}

#[test]
fn a_name_of_a_signed_header_cannot_be_exchanged() {
    let unsigned = head("PUT", "/b/k", &[("host", "h"), ("x-amz-meta-a", "1"), ("x-amz-acl", "private")]);
    let signed = Oracle::default().sign(&unsigned);
    let mut renamed = signed.clone();
    renamed.remove("x-amz-meta-a");
    renamed.push("x-amz-meta-b", b"1");
    assert!(matches!(verified(&renamed), Err(Rejected::HeadersNotSigned { .. })));
}
