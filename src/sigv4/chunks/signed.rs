//! Framing with signatures: what clients do that sign their chunks and trailers. Our own traffic never
//! does; `check --online` asks stores whether they take it.

use bytes::Bytes;

use super::{Claimed, Seed};
use crate::head::Head;
use crate::sigv4::canonical::Scope;
use crate::sigv4::key::{Credential, Judge, SigningKey};
use crate::sigv4::{EMPTY_SHA256, SERVICE, Stamp, hex32, sha256};

/// Writes `STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER` framing around a short body: one chunk and one
/// trailer. `head` is the signed one that goes ahead of it, signed for `region` with `credential`. `None`
/// where its signature is no HMAC: SigV4A's frames are signed otherwise.
#[must_use]
pub fn signed_body(
    head: &Head,
    credential: &Credential,
    region: &str,
    body: &[u8],
    (name, value): (&str, &str),
) -> Option<Bytes> {
    let authorization = head.first_text("authorization")?.strip_prefix("AWS4-HMAC-SHA256 ")?;
    let (_, signature) = authorization.rsplit_once("Signature=")?;
    let stamp = Stamp::parse(head.first_text("x-amz-date")?)?;
    let key = SigningKey::derive(&credential.secret, stamp.day(), region);
    let scope = Scope { day: stamp.day(), region: Some(region), service: SERVICE };
    let mut seed = Seed::new(Judge::Hmac(&key), stamp, scope, signature);
    let mut framed = Vec::with_capacity(body.len() + 512);
    for chunk in [body, &[]] {
        let text = seed.to_sign("PAYLOAD", Some(EMPTY_SHA256.as_bytes()), &sha256(chunk));
        let signature = hex32(&key.sign(&text));
        framed.extend_from_slice(format!("{:x};chunk-signature=", chunk.len()).as_bytes());
        framed.extend_from_slice(&signature);
        framed.extend_from_slice(b"\r\n");
        if !chunk.is_empty() {
            framed.extend_from_slice(chunk);
            framed.extend_from_slice(b"\r\n");
        }
        seed.previous = Claimed::from_slice(&signature);
    }
    let text = seed.to_sign("TRAILER", None, &sha256(format!("{name}:{value}\n").as_bytes()));
    framed.extend_from_slice(format!("{name}:{value}\r\nx-amz-trailer-signature:").as_bytes());
    framed.extend_from_slice(&hex32(&key.sign(&text)));
    framed.extend_from_slice(b"\r\n\r\n");
    Some(framed.into())
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::names::{AccessKeyId, Secret};
    use crate::sigv4::chunks::{Decoder, Framing};
    use crate::sigv4::{Destination, KeyCache, PathForm, PayloadMark, sign};
    use crate::units::UnixSeconds;

    const TRAILER: (&str, &str) = ("x-amz-checksum-crc32", "AAAAAA==");

    fn framed(region: &str) -> (Head, Option<Bytes>) {
        let secret = Secret::from("s");
        let credential = Credential { access_key_id: AccessKeyId::new("A"), secret, session_token: None };
        let mut head = Head::new(Method::PUT, "/b/k");
        head.push("host", b"store.test");
        let to = Destination { region, path: PathForm::Raw };
        let mut keys = KeyCache::holding(1);
        sign(&mut head, &credential, &to, UnixSeconds(1_369_353_600), &PayloadMark::SignedTrailer, &mut keys);
        let body = signed_body(&head, &credential, region, b"the body", TRAILER);
        (head, body)
    }

    #[test]
    fn what_is_framed_is_what_a_verifier_takes_and_nothing_else() {
        let (head, body) = framed("eu");
        let body = body.unwrap();
        let authorization = head.first_text("authorization").unwrap();
        let (_, signature) = authorization.rsplit_once("Signature=").unwrap();
        let key = SigningKey::derive(&Secret::from("s"), "20130524", "eu");
        let read = |body: Bytes| {
            let stamp = Stamp::parse("20130524T000000Z").unwrap();
            let scope = Scope { day: "20130524", region: Some("eu"), service: SERVICE };
            let seed = Box::new(Seed::new(Judge::Hmac(&key), stamp, scope, signature));
            let framing = Framing::Signed { seed, trailers: true };
            let mut decoder = Decoder::new(framing, 8, vec![TRAILER.0.to_owned()]);
            let mut spans = Vec::new();
            decoder.push(&body, &mut spans)?;
            decoder.finish().map(|trailers| (spans.concat(), trailers))
        };
        let (object, trailers) = read(body.clone()).unwrap();
        assert_eq!((object.as_slice(), trailers.len()), (&b"the body"[..], 1));
        let text = String::from_utf8(body.to_vec()).unwrap();
        for (was, is) in [("the body", "THE body"), ("AAAAAA==", "BAAAAA==")] {
            assert!(read(text.replace(was, is).into()).is_err(), "{was}");
        }
    }

    #[test]
    fn a_set_of_regions_is_signed_otherwise() {
        assert_eq!(framed("*").1, None);
    }
}
