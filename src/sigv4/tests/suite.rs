//! AWS's signing test suite: canonical request, string to sign and signature of each case, signed
//! by header and by query, with SigV4 and with SigV4A (whose signatures differ each time: theirs must
//! hold under the key that is derived here).

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{encoded, stamp};
use crate::head::Head;
use crate::names::Secret;
use crate::sigv4::asymmetric::VerifyingKey;
use crate::sigv4::canonical::{Canonical, Coverage, Names, PathForm, Scope, Sorted, string_to_sign};
use crate::sigv4::{Algorithm, SigningKey, Stamp, hex32, sha256};

struct Case {
    folder: PathBuf,
    algorithm: Algorithm,
    context: Value,
}

impl Case {
    fn read(&self, file: &str) -> String {
        let path = self.folder.join(file);
        fs::read_to_string(&path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()))
    }

    fn context(&self, name: &str) -> &str {
        self.context[name].as_str().expect("a text in context.json")
    }

    fn stamp(&self) -> Stamp {
        stamp(&self.context("timestamp").replace(['-', ':'], ""))
    }

    fn scope<'s>(&'s self, stamp: &'s Stamp) -> Scope<'s> {
        let region = (self.algorithm == Algorithm::Hmac).then(|| self.context("region"));
        Scope { day: stamp.day(), region, service: self.context("service") }
    }

    /// What SigV4A names in a field, as SigV4 does in its scope.
    fn region_set(&self) -> Option<&str> {
        (self.algorithm == Algorithm::Ecdsa).then(|| self.context("region"))
    }

    fn token(&self) -> Option<&str> {
        let omitted = self.context["omit_session_token"].as_bool().unwrap_or_default();
        self.context["credentials"]["token"].as_str().filter(|_| !omitted)
    }

    /// The request of `request.txt` and the SHA-256 of its body.
    fn request(&self) -> (Head, String) {
        let text = self.read("request.txt");
        let (top, body) = text.split_once("\n\n").unwrap_or((&text, ""));
        let top = unfolded(top);
        let mut lines = top.lines();
        let line = lines.next().expect("a request line").trim_end_matches(" HTTP/1.1");
        let (method, target) = line.split_once(' ').expect("a method and a target");
        let mut head = Head::new(method.parse().expect("a method"), target);
        for line in lines {
            let (name, value) = line.split_once(':').expect("a header");
            head.push(name, value.as_bytes());
        }
        let body = String::from_utf8(hex32(&sha256(body.as_bytes())).to_vec()).expect("hex");
        (head, body)
    }

    /// Compares what is made of `head`, all of whose headers are signed, with the files.
    fn compare(&self, kind: &str, head: &Head, body: &str) {
        let name = self.folder.display();
        let fields = Sorted::of(head);
        let signed: Names<'_> = fields.names().collect();
        let request = Canonical { head, fields: &fields, signed: &signed, payload: body.as_bytes() };
        let mut canonical = Vec::new();
        assert_eq!(request.write(&mut canonical, PathForm::Reencoded), Coverage::All);
        let expected = self.read(&format!("{kind}-canonical-request.txt"));
        assert_eq!(String::from_utf8_lossy(&canonical), expected, "{name} {kind}");

        let stamp = self.stamp();
        let scope = self.scope(&stamp);
        let mut to_sign = Vec::new();
        string_to_sign(&mut to_sign, self.algorithm, &stamp, &scope, &sha256(&canonical));
        let expected = self.read(&format!("{kind}-string-to-sign.txt"));
        assert_eq!(String::from_utf8_lossy(&to_sign), expected, "{name} {kind}");

        let credential = |name: &str| self.context["credentials"][name].as_str().expect("a credential");
        let secret = Secret::from(credential("secret_access_key"));
        let expected = self.read(&format!("{kind}-signature.txt"));
        let holds = match self.algorithm {
            Algorithm::Hmac => {
                let key = SigningKey::derive_for(&secret, scope.day, self.context("region"), scope.service);
                hex::encode(key.sign(&to_sign)) == expected.trim()
            }
            Algorithm::Ecdsa => VerifyingKey::derive(credential("access_key_id"), &secret)
                .holds(&to_sign, expected.trim().as_bytes()),
        };
        assert!(holds, "{name} {kind}");
    }

    fn by_header(&self) {
        let (mut head, body) = self.request();
        head.push("x-amz-date", self.stamp().text().as_bytes());
        if self.context["sign_body"].as_bool() == Some(true) {
            head.push("x-amz-content-sha256", body.as_bytes());
        }
        if let Some(token) = self.token() {
            head.push("x-amz-security-token", token.as_bytes());
        }
        if let Some(regions) = self.region_set() {
            head.push("x-amz-region-set", regions.as_bytes());
        }
        self.compare("header", &head, &body);
    }

    fn by_query(&self) {
        let (mut head, body) = self.request();
        let stamp = self.stamp();
        let mut scope = Vec::new();
        self.scope(&stamp).write(&mut scope);
        let key = self.context["credentials"]["access_key_id"].as_str().expect("a key");
        let credential = format!("{key}/{}", String::from_utf8_lossy(&scope));
        let signed = Sorted::of(&head).names().collect::<Vec<_>>().join(";");
        let mut query = head.query().unwrap_or_default().to_owned();
        let parameters = [
            ("X-Amz-Algorithm", self.algorithm.name()),
            ("X-Amz-Credential", &credential),
            ("X-Amz-Date", stamp.text()),
            ("X-Amz-SignedHeaders", &signed),
            ("X-Amz-Expires", &self.context["expiration_in_seconds"].to_string()),
        ];
        let token = self.token().map(|token| ("X-Amz-Security-Token", token));
        let regions = self.region_set().map(|regions| ("X-Amz-Region-Set", regions));
        for (name, value) in parameters.into_iter().chain(token).chain(regions) {
            query.extend(["&", name, "=", &encoded(value)]);
        }
        query.push_str("&X-Amz-Signature=not-part-of-it");
        let path = head.path().to_owned();
        head.set_target(&path, Some(&query));
        self.compare("query", &head, &body);
    }
}

/// Joins folded header lines.
fn unfolded(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        if line.starts_with(' ') {
            out.push_str(line);
        } else {
            out.push('\n');
            out.push_str(line);
        }
    }
    out.trim_start().to_owned()
}

fn cases(suite: &str, algorithm: Algorithm) -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/sigv4").join(suite);
    fs::read_dir(root)
        .expect("the suite")
        .map(|entry| {
            let folder = entry.expect("a folder").path();
            let context = fs::read_to_string(folder.join("context.json")).expect("a context");
            Case { folder, algorithm, context: serde_json::from_str(&context).expect("JSON") }
        })
        .collect()
}

#[test]
fn each_case_of_the_suite_is_reproduced() {
    for (suite, algorithm) in
        [("aws-signing-test-suite", Algorithm::Hmac), ("aws-signing-test-suite-v4a", Algorithm::Ecdsa)]
    {
        let cases = cases(suite, algorithm);
        assert_eq!(cases.len(), 32, "a case was lost");
        for case in cases {
            case.by_header();
            case.by_query();
        }
    }
}
