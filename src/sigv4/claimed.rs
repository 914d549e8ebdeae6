//! Whom a head claims to come from, before anything of it is proven.

use super::found::{CredentialText, Found, Parts, locate};
use super::key::KeyRing;
use crate::head::Head;
use crate::names::ClientName;

/// The client whose key a head names, where the key is known. Nothing of it is proven: good for
/// refusing a request early that would be refused to that client, and for nothing else.
#[must_use]
pub fn claimed<'k>(head: &Head, keys: &'k KeyRing) -> Option<&'k ClientName> {
    let key = |algorithm, text: &str| {
        Some(&keys.find(CredentialText::parse(algorithm, text).ok()?.access_key_id)?.client)
    };
    match locate(head).ok()? {
        Found::Header(algorithm, parts) => key(algorithm, Parts::parse(parts).ok()?.credential),
        Found::Query(algorithm, parameters) => key(algorithm, parameters.credential.as_deref()?),
        Found::Nothing | Found::V2(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::names::{AccessKeyId, Secret};
    use crate::sigv4::Key;

    #[test]
    fn a_claim_is_read_wherever_it_stands_and_believed_nowhere() {
        let keys = KeyRing::new(vec![Key {
            access_key_id: AccessKeyId::new("NPAPP"),
            secret: Secret::from("secret"),
            session_token: None,
            client: ClientName::new("app"),
            allowances: crate::sigv4::Allowances::default(),
        }]);
        let signed = |id: &str| {
            let scope = "20260101/r/s3/aws4_request";
            format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders=host, Signature=00")
        };
        let query =
            "/b/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=NPAPP%2F20260101%2Fr%2Fs3%2Faws4_request";
        for (target, authorization, expected) in [
            ("/b/k", Some(signed("NPAPP")), Some("app")),
            ("/b/k", Some(signed("NPOTHER")), None),
            ("/b/k", Some(signed("NPAPP").replace("HMAC", "ECDSA-P256").replace("/r/", "/")), Some("app")),
            ("/b/k", Some("AWS NPAPP:signature".to_owned()), None),
            ("/b/k", Some("Credential=NPAPP/".to_owned()), None),
            ("/b/k", None, None),
            (query, None, Some("app")),
            (query, Some(signed("NPAPP")), None),
        ] {
            let mut head = Head::new(Method::GET, target);
            if let Some(text) = &authorization {
                head.push("authorization", text.as_bytes());
            }
            let found = claimed(&head, &keys).map(ClientName::as_str);
            assert_eq!(found, expected, "{target} {authorization:?}");
        }
    }
}
