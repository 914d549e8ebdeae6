//! TLS of the data listeners: certificate, key and client authorities from PEM files, replaced
//! while connections go on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::certificate::expiry;
use super::settings::TlsSettings;
use crate::units::UnixSeconds;

/// What is wrong with a listener's TLS files.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// A file cannot be read.
    #[error("{}: {cause}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// The system's words.
        cause: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: expected {expected}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// Certificate and key do not belong together.
    #[error("the key in {} does not belong to the certificate in {}", key.display(), certificate.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// rustls refuses them.
    #[error("{}: {cause}", path.display())]
    Refused {
        /// Which file it is about.
        path: PathBuf,
        /// rustls' words.
        cause: String,
    },
}

/// One listener's TLS in force.
#[derive(Debug)]
pub struct Terminator {
    files: TlsSettings,
    current: ArcSwap<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    /// Offers HTTP/2 and HTTP/1.1.
    both: Arc<ServerConfig>,
    /// Offers HTTP/1.1 only.
    http1: Arc<ServerConfig>,
    expiry: Option<UnixSeconds>,
}

impl Terminator {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsFault`] for the first thing that is wrong with them.
    pub fn load(files: &TlsSettings) -> Result<Self, TlsFault> {
        let loaded = load(files)?;
        Ok(Self { files: files.clone(), current: ArcSwap::from_pointee(loaded) })
    }

    /// Reads the files again and puts them in force for handshakes to come.
    ///
    /// # Errors
    /// [`TlsFault`]; what was in force stays in force.
    pub fn reload(&self) -> Result<(), TlsFault> {
        self.current.store(Arc::new(load(&self.files)?));
        Ok(())
    }

    /// The files, for whoever watches them.
    #[must_use]
    pub fn files(&self) -> &TlsSettings {
        &self.files
    }

    /// When the certificate in force ends to be valid; `None` where its date cannot be read.
    #[must_use]
    pub fn expiry(&self) -> Option<UnixSeconds> {
        self.current.load().expiry
    }

    /// What the next handshake offers.
    pub(super) fn server(&self, http2: bool) -> Arc<ServerConfig> {
        let current = self.current.load();
        Arc::clone(if http2 { &current.both } else { &current.http1 })
    }
}

fn load(files: &TlsSettings) -> Result<Loaded, TlsFault> {
    let chain = certificates(&files.certificate)?;
    let expiry = chain.first().and_then(|certificate| expiry(certificate));
    let key = private_key(&files.key)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|cause| refused(&files.certificate, &cause))?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots(path)?, provider)
                .build()
                .map_err(|cause| refused(path, &cause))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut server = builder.with_single_cert(chain, key).map_err(|cause| match cause {
        rustls::Error::InconsistentKeys(_) => {
            TlsFault::Mismatch { certificate: files.certificate.clone(), key: files.key.clone() }
        }
        cause => refused(&files.certificate, &cause),
    })?;
    server.ticketer =
        rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|cause| refused(&files.key, &cause))?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    let http1 = Arc::new(server.clone());
    server.alpn_protocols.insert(0, b"h2".to_vec());
    Ok(Loaded { both: Arc::new(server), http1, expiry })
}

fn refused(path: &Path, cause: &dyn std::fmt::Display) -> TlsFault {
    TlsFault::Refused { path: path.to_owned(), cause: cause.to_string() }
}

fn roots(path: &Path) -> Result<Arc<RootCertStore>, TlsFault> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store.add(certificate).map_err(|cause| refused(path, &cause))?;
    }
    Ok(Arc::new(store))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    let content = || TlsFault::Content { path: path.to_owned(), expected: "PEM certificates" };
    let text = read(path)?;
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(|_| content())?;
    if chain.is_empty() { Err(content()) } else { Ok(chain) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsFault> {
    let text = read(path)?;
    PrivateKeyDer::from_pem_slice(&text)
        .map_err(|_| TlsFault::Content { path: path.to_owned(), expected: "a PEM private key" })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsFault> {
    std::fs::read(path).map_err(|cause| TlsFault::Unreadable { path: path.to_owned(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::authority::Authority;

    fn files(folder: &Path) -> TlsSettings {
        TlsSettings { certificate: folder.join("tls.crt"), key: folder.join("tls.key"), client_ca: None }
    }

    #[test]
    fn a_key_of_another_certificate_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        let authority = Authority::new();
        let (certificate, _) = authority.issue("localhost");
        let (_, key) = authority.issue("localhost");
        std::fs::write(&files.certificate, certificate).unwrap();
        std::fs::write(&files.key, key).unwrap();
        assert!(matches!(Terminator::load(&files), Err(TlsFault::Mismatch { .. })));
    }

    #[test]
    fn missing_and_empty_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        assert!(
            matches!(Terminator::load(&files), Err(TlsFault::Unreadable { path, .. }) if path == files.certificate)
        );
        std::fs::write(&files.certificate, "no certificate").unwrap();
        assert!(
            matches!(Terminator::load(&files), Err(TlsFault::Content { path, .. }) if path == files.certificate)
        );
        let (certificate, _) = Authority::new().issue("localhost");
        std::fs::write(&files.certificate, &certificate).unwrap();
        std::fs::write(&files.key, &certificate).unwrap();
        assert!(matches!(Terminator::load(&files), Err(TlsFault::Content { path, .. }) if path == files.key));
    }

    #[test]
    fn a_bad_reload_keeps_what_was_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        let authority = Authority::new();
        let write = |(certificate, key): (String, String)| {
            std::fs::write(&files.certificate, certificate).unwrap();
            std::fs::write(&files.key, key).unwrap();
        };
        write(authority.issue("localhost"));
        let terminator = Terminator::load(&files).unwrap();
        let before = terminator.server(true);
        std::fs::write(&files.key, "half written").unwrap();
        assert!(terminator.reload().is_err());
        assert!(Arc::ptr_eq(&before, &terminator.server(true)));
        write(authority.issue("localhost"));
        terminator.reload().unwrap();
        assert!(!Arc::ptr_eq(&before, &terminator.server(true)));
    }
}
