//! TLS of the data listeners: what certificate, key and client authorities make together.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;

use super::settings::TlsSettings;
use crate::certificate::expiry;
use crate::pem::{PemFault, identity};
use crate::units::UnixSeconds;

/// Why a listener's TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// A file is at fault.
    #[error(transparent)]
    File(#[from] PemFault),
    /// rustls refuses what it was told.
    #[error("TLS cannot be set up: {0}")]
    Refused(String),
}

/// One listener's TLS, ready for handshakes. Session tickets are its own: they end with it.
#[derive(Debug)]
pub struct Terminator {
    /// Offers HTTP/2 and HTTP/1.1.
    both: Arc<ServerConfig>,
    /// Offers HTTP/1.1 only.
    http1: Arc<ServerConfig>,
    expiry: Option<UnixSeconds>,
}

impl Terminator {
    /// Prepares handshakes.
    ///
    /// # Errors
    /// [`TlsFault`] for the first thing that is wrong with the files.
    pub fn new(files: &TlsSettings) -> Result<Self, TlsFault> {
        let expiry = files.certificate.certificates()?.first().and_then(|certificate| expiry(certificate));
        let refused = |cause: &dyn std::fmt::Display| TlsFault::Refused(cause.to_string());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|cause| refused(&cause))?;
        let builder = match &files.client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let roots = Arc::new(file.authorities()?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.with_client_cert_verifier(verifier.build().map_err(|cause| refused(&cause))?)
            }
        };
        let mut server = builder.with_cert_resolver(identity(&files.certificate, &files.key)?);
        server.ticketer = aws_lc_rs::Ticketer::new().map_err(|cause| refused(&cause))?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        let http1 = Arc::new(server.clone());
        server.alpn_protocols.insert(0, b"h2".to_vec());
        Ok(Self { both: Arc::new(server), http1, expiry })
    }

    /// When the certificate ends to be valid; `None` where its date cannot be read.
    #[must_use]
    pub fn expiry(&self) -> Option<UnixSeconds> {
        self.expiry
    }

    /// What the next handshake offers.
    pub(super) fn server(&self, http2: bool) -> Arc<ServerConfig> {
        Arc::clone(if http2 { &self.both } else { &self.http1 })
    }
}
