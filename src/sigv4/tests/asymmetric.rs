//! SigV4A: what the crate `aws-sigv4` signs holds here, for the regions that it names, and no signed
//! byte can be changed.

use aws_sigv4::http_request::SignableBody;
use proptest::prelude::*;

use super::{KEY, NOW, Oracle, encoded, head, key, ring, verified, with, without};
use crate::head::Head;
use crate::names::{AccessKeyId, Secret};
use crate::sigv4::{
    Credential, Destination, KeyCache, KeyRing, Malformed, PathForm, Payload, PayloadMark, Place, Region,
    Rejected, Rules, Signed, Verified, sign, verify,
};
use crate::units::UnixSeconds;

const ALL: Oracle<'static> = Oracle {
    key: KEY,
    secret: super::SECRET,
    token: None,
    region: "",
    at: NOW,
    region_set: Some("*"),
    presigned: None,
    body: SignableBody::UnsignedPayload,
};

fn get() -> Head {
    head("GET", "/bucket/a%20b//..?x=1&y", &[("host", "photos.example.com"), ("range", "bytes=0-9")])
}

fn signed(head: &Head, rules: &Rules) -> Signed {
    match verify(head, &ring(), rules, NOW, &mut KeyCache::new()) {
        Ok(Verified::Signed(signed)) => signed,
        other => panic!("{other:?}"),
    }
}

fn eu() -> Rules {
    Rules::new(Region::Exactly("eu-west-1".to_owned()))
}

#[test]
fn what_the_oracle_signs_holds_by_header_and_by_url() {
    for presigned in [None, Some(60)] {
        let oracle = Oracle { presigned, ..ALL };
        let found = signed(&oracle.sign(&get()), &eu());
        assert_eq!((found.client.as_str(), found.presigned), ("reader", presigned.is_some()));
        assert_eq!(found.region, None, "it is good for all of them");
    }
    let put = head("PUT", "/b/k", &[("host", "h")]);
    let hash = Oracle { body: SignableBody::Precomputed("ab".repeat(32)), ..ALL };
    assert_eq!(signed(&hash.sign(&put), &eu()).payload, Payload::Sha256([0xab; 32]));
    let trailer = Oracle { body: SignableBody::StreamingUnsignedPayloadTrailer, ..ALL };
    assert_eq!(signed(&trailer.sign(&put), &eu()).payload, Payload::UnsignedTrailer);
}

#[test]
fn a_session_token_is_asked_for_here_too() {
    let keys = KeyRing::new(vec![key(Some("token"))]);
    let judged =
        |oracle: &Oracle<'_>| verify(&oracle.sign(&get()), &keys, &eu(), NOW, &mut KeyCache::new()).err();
    assert_eq!(judged(&Oracle { token: Some("token"), ..ALL }), None);
    assert_eq!(judged(&Oracle { token: Some("other"), ..ALL }), Some(Rejected::TokenWrong));
    assert_eq!(judged(&ALL), Some(Rejected::TokenMissing));
}

#[test]
fn it_is_good_for_the_regions_that_it_names() {
    for (regions, fits, only) in [
        ("*", true, None),
        ("eu-*", true, None),
        ("*-1", true, None),
        ("eu-west-1", true, Some("eu-west-1")),
        ("us-east-1,eu-west-1", true, None),
        ("us-east-1, eu-*", true, None),
        ("us-east-1", false, None),
        ("us-*,ap-*", false, None),
        ("eu-west-10", false, None),
        ("eu-west-1*1", false, None),
        (",", false, None),
    ] {
        let head = Oracle { region_set: Some(regions), ..ALL }.sign(&get());
        let judged = verify(&head, &ring(), &eu(), NOW, &mut KeyCache::new());
        if fits {
            let Ok(Verified::Signed(signed)) = judged else { panic!("{regions}: {judged:?}") };
            assert_eq!(signed.region.as_deref(), only, "{regions}");
        } else {
            let (presented, expected) = (regions.to_owned(), "eu-west-1".to_owned());
            let place = Place::Header;
            assert_eq!(judged.err(), Some(Rejected::WrongRegion { place, presented, expected }));
        }
        // who takes any region takes these
        signed(&head, &Rules::new(Region::Any));
    }
}

#[test]
fn what_belongs_to_it_is_missed_and_what_belongs_to_the_other_is_refused() {
    let good = ALL.sign(&get());
    let rejected = |head: &Head| verified(head).expect_err("it must not hold");
    let missing = Malformed::Missing("X-Amz-Region-Set");
    let place = Place::Header;
    assert_eq!(rejected(&without(&good, "x-amz-region-set")), Rejected::Malformed { place, fault: missing });
    let authorization = good.first_text("authorization").unwrap();
    for (from, to) in [
        ("ECDSA-P256-SHA256", "HMAC-SHA256"),
        ("/20130524/s3/", "/20130524/us-east-1/s3/"),
        ("/20130524/", "/20130525/"),
        ("/s3/", "/sqs/"),
        ("x-amz-region-set", "x-amz-region-sex"),
        ("Signature=3", "Signature=2"),
        ("Signature=", "Signature=A"),
        ("Signature=", "Signature=*"),
    ] {
        let changed = authorization.replacen(from, to, 1);
        assert_ne!(changed, authorization, "{from}");
        rejected(&with(&good, "authorization", &changed));
    }
    rejected(&with(&good, "x-amz-region-set", "us-*"));
    let mut twice = good.clone();
    twice.push("x-amz-region-set", b"*");
    assert_eq!(rejected(&twice), Rejected::RepeatedHeader { name: "x-amz-region-set" });
    for mode in ["STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"] {
        assert_eq!(rejected(&with(&good, "x-amz-content-sha256", mode)), Rejected::ForeignChunks);
    }
    let url = Oracle { presigned: Some(60), ..ALL }.sign(&get());
    for mode in
        ["STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER"]
    {
        assert_eq!(rejected(&with(&url, "x-amz-content-sha256", mode)), Rejected::SignedChunksPresigned);
    }
    let late = verify(&url, &ring(), &eu(), UnixSeconds(NOW.0 + 61), &mut KeyCache::new());
    assert!(matches!(late, Err(Rejected::Expired { .. })), "{late:?}");
}

/// Signs for a store that is in these regions.
fn sent(unsigned: &Head, regions: &str, token: Option<&str>, mark: &PayloadMark) -> Head {
    let credential = Credential {
        access_key_id: AccessKeyId::new(KEY),
        secret: Secret::from(super::SECRET),
        session_token: token.map(Secret::from),
    };
    let mut head = unsigned.clone();
    let to = Destination { region: regions, path: PathForm::Reencoded };
    sign(&mut head, &credential, &to, NOW, mark, &mut KeyCache::new());
    head
}

/// Without its signature, of which there are as many as one likes.
fn up_to_its_signature(head: &Head) -> Option<String> {
    let (before, signature) = head.first_text("authorization")?.split_once("Signature=")?;
    let der = signature.len() % 2 == 0 && signature.starts_with("30");
    der.then(|| before.to_owned())
}

#[test]
fn a_store_in_several_regions_is_asked_as_the_oracle_asks_it() {
    let stale = with(&get(), "x-amz-region-set", "eu-west-9");
    for (regions, token) in [("*", None), ("us-east-1,eu-west-1", Some("token"))] {
        for (mark, body) in [
            (PayloadMark::Empty, SignableBody::Bytes(b"")),
            (PayloadMark::UnsignedTrailer, SignableBody::StreamingUnsignedPayloadTrailer),
        ] {
            let ours = sent(&stale, regions, token, &mark);
            let theirs = Oracle { region_set: Some(regions), token, body, ..ALL }.sign(&get());
            for name in ["x-amz-date", "x-amz-content-sha256", "x-amz-region-set", "x-amz-security-token"] {
                assert_eq!(ours.first_text(name), theirs.first_text(name), "{name}");
                assert!(ours.count(name) < 2, "{name}");
            }
            assert_eq!(up_to_its_signature(&ours), up_to_its_signature(&theirs));
            let keys = KeyRing::new(vec![key(token)]);
            let held = verify(&ours, &keys, &eu(), NOW, &mut KeyCache::new());
            assert!(matches!(held, Ok(Verified::Signed(_))), "{held:?}");
        }
    }
    let one = sent(&stale, "eu-west-1", None, &PayloadMark::Empty);
    assert!(one.first_text("authorization").unwrap().starts_with("AWS4-HMAC-SHA256 "));
    assert_eq!(one.first_text("x-amz-region-set"), None, "one region is no set");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_signed_here_for_several_regions_holds(
        part in "[ -~é]{1,12}", meta in "[!-~]{1,20}", token in prop::option::of("[A-Za-z0-9+/=]{1,40}"),
    ) {
        let target = format!("/bucket/{}?prefix={}", encoded(&part), encoded(&meta));
        let unsigned = head("PUT", &target, &[("host", "h"), ("x-amz-meta-a", &meta)]);
        let signed = sent(&unsigned, "*", token.as_deref(), &PayloadMark::Unsigned);
        let keys = KeyRing::new(vec![key(token.as_deref())]);
        let held = verify(&signed, &keys, &eu(), NOW, &mut KeyCache::new());
        prop_assert!(matches!(held, Ok(Verified::Signed(_))), "{held:?}");
        let other = with(&signed, "x-amz-meta-a", &format!("{meta}x"));
        prop_assert!(verify(&other, &keys, &eu(), NOW, &mut KeyCache::new()).is_err());
    }

    #[test]
    fn no_signed_byte_of_it_can_be_changed(
        part in "[ -~é]{1,12}", meta in "[!-~]{1,20}", presigned in prop::option::of(Just(60_u64)),
        at in any::<prop::sample::Index>(), flip in 1_u8..=255,
    ) {
        let target = format!("/bucket/{}?prefix={}", encoded(&part), encoded(&meta));
        let unsigned = head("PUT", &target, &[("host", "h"), ("x-amz-meta-a", &meta)]);
        let good = Oracle { presigned, ..ALL }.sign(&unsigned);
        prop_assert!(verified(&good).is_ok());
        let mut bytes = meta.clone().into_bytes();
        let place = at.index(bytes.len());
        bytes[place] ^= flip;
        let Ok(other) = String::from_utf8(bytes) else { return Ok(()) };
        prop_assume!(other.bytes().all(|byte| byte.is_ascii_graphic()));
        prop_assert!(verified(&with(&good, "x-amz-meta-a", &other)).is_err());
        let moved = super::at(&good, &good.target().replacen("/bucket/", "/bucked/", 1));
        prop_assert!(verified(&moved).is_err());
    }
}
