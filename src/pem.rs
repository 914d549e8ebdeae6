//! Room: pem. PEM files as they were read, and what is in them. Pure.
//!
//! A configuration holds what its certificate files said when it was read, so that a rotated file
//! makes another configuration, what `check` has passed is what is put in force, and nobody reads
//! files while requests wait. It refuses to decide whom a certificate speaks for: rustls does.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::names::{ExposeSecret, Secret};

/// A PEM file and its text. Equal where both are: touching a file changes nothing. Its text never
/// prints.
#[derive(Clone)]
pub struct PemFile {
    path: PathBuf,
    text: Secret,
}

impl PartialEq for PemFile {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path && self.text.expose_secret() == other.text.expose_secret()
    }
}

impl Eq for PemFile {}

impl fmt::Debug for PemFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.path, f)
    }
}

/// What is wrong with a file; never its text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {seen}; expected {expected}", file.display())]
pub struct PemFault {
    /// Which file.
    pub file: PathBuf,
    /// What was seen.
    pub seen: String,
    /// What should be in it.
    pub expected: &'static str,
}

impl PemFile {
    /// A file with this text.
    #[must_use]
    pub fn new(path: PathBuf, text: Secret) -> Self {
        Self { path, text }
    }

    /// Where it was read.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The certificates in it, at least one.
    ///
    /// # Errors
    /// [`PemFault`].
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, PemFault> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.bytes()).collect();
        match found {
            Ok(chain) if chain.is_empty() => Err(self.fault("no certificate is in it", CERTIFICATES)),
            Ok(chain) => Ok(chain),
            Err(_) => Err(self.fault("it is not well-formed PEM", CERTIFICATES)),
        }
    }

    /// The private key in it: PKCS#8, PKCS#1 or SEC1.
    ///
    /// # Errors
    /// [`PemFault`].
    pub fn private_key(&self) -> Result<PrivateKeyDer<'static>, PemFault> {
        let key = PrivateKeyDer::from_pem_slice(self.bytes());
        let key = key.map_err(|_| self.fault("no private key is in it", KEY))?;
        match aws_lc_rs::sign::any_supported_type(&key) {
            Ok(_) => Ok(key),
            Err(_) => Err(self.fault("its private key cannot be used", KEY)),
        }
    }

    /// The certificates in it as authorities.
    ///
    /// # Errors
    /// [`PemFault`].
    pub fn authorities(&self) -> Result<RootCertStore, PemFault> {
        let mut store = RootCertStore::empty();
        for certificate in self.certificates()? {
            store.add(certificate).map_err(|cause| self.refused(&cause))?;
        }
        Ok(store)
    }

    fn bytes(&self) -> &[u8] {
        self.text.expose_secret().as_bytes()
    }

    fn fault(&self, seen: impl Into<String>, expected: &'static str) -> PemFault {
        PemFault { file: self.path.clone(), seen: seen.into(), expected }
    }

    fn refused(&self, cause: &rustls::Error) -> PemFault {
        self.fault(format!("its certificate cannot be used: {cause}"), CERTIFICATES)
    }
}

const CERTIFICATES: &str = "PEM certificates";
const KEY: &str = "a PEM private key (PKCS#8, PKCS#1 or SEC1)";

/// A certificate chain and its key, as servers and clients show them.
///
/// # Errors
/// [`PemFault`] for the first file that is wrong, or where the two do not belong together.
pub fn identity(certificate: &PemFile, key: &PemFile) -> Result<Arc<SingleCertAndKey>, PemFault> {
    let (chain, secret) = (certificate.certificates()?, key.private_key()?);
    let pair = CertifiedKey::from_der(chain, secret, &aws_lc_rs::default_provider());
    match pair {
        Ok(pair) => Ok(Arc::new(SingleCertAndKey::from(pair))),
        Err(rustls::Error::InconsistentKeys(_)) => {
            let seen =
                format!("its key does not belong to the certificate in {}", certificate.path.display());
            Err(key.fault(seen, "the key of that certificate"))
        }
        Err(cause) => Err(certificate.refused(&cause)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> PemFile {
        PemFile::new(PathBuf::from(name), Secret::from(text.to_owned()))
    }

    fn issued() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn each_fault_names_its_file_and_nothing_of_its_text() {
        let ((certificate, key), (_, other)) = (issued(), issued());
        let (certificate, key, other) =
            (file("own.crt", &certificate), file("own.key", &key), file("other.key", &other));
        let text = file("text.pem", "SEKRIT");
        let garbled = "-----BEGIN CERTIFICATE-----\nU0VLUklU\n-----END CERTIFICATE-----\n";
        let garbled = file("garbled.crt", garbled);
        assert!(identity(&certificate, &key).is_ok() && certificate.authorities().is_ok());
        for (fault, culprit) in [
            (identity(&text, &key).map(drop), "text.pem"),
            (identity(&certificate, &text).map(drop), "text.pem"),
            (identity(&certificate, &other).map(drop), "other.key"),
            (identity(&certificate, &certificate).map(drop), "own.crt"),
            (identity(&garbled, &key).map(drop), "garbled.crt"),
            (garbled.authorities().map(drop), "garbled.crt"),
            (text.authorities().map(drop), "text.pem"),
            (key.certificates().map(drop), "own.key"),
        ] {
            let fault = fault.unwrap_err();
            assert_eq!(fault.file, Path::new(culprit), "{fault}");
            assert!(!fault.to_string().contains("SEKRIT") && !fault.to_string().contains("U0VL"), "{fault}");
        }
    }

    #[test]
    fn a_file_is_another_where_its_text_is() {
        assert_eq!(file("a", "x"), file("a", "x"));
        assert_ne!(file("a", "x"), file("a", "y"));
        assert_ne!(file("a", "x"), file("b", "x"));
        assert_eq!(format!("{:?}", file("a", "SEKRIT")), "\"a\"");
    }
}
