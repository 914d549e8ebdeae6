//! TLS towards regions: whom we trust, and who we say we are. A door only in that it reads the
//! machine's trust store.
//!
//! Roots are the region's `ca_file`, else the machine's, else Mozilla's as compiled in (an image
//! from scratch has no store). There is no way to switch verification off: a private authority is
//! named by its file.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};

use crate::pem::{PemFault, identity};
use crate::view::{UpstreamIdentity, UpstreamTls};

/// The only application protocol offered: what S3 speaks.
const ALPN: &[u8] = b"http/1.1";

/// Why a region's TLS cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsFault {
    /// A file is at fault.
    #[error(transparent)]
    File(#[from] PemFault),
    /// rustls refuses what it was told.
    #[error("TLS cannot be set up: {0}")]
    Refused(String),
}

/// The authorities that this machine trusts, loaded once for all regions.
#[derive(Clone, Debug)]
pub struct MachineRoots(Arc<RootCertStore>);

/// Everything a TLS dial needs of one region. Cheap to clone, shared by all workers, so that they
/// share sessions to resume.
#[derive(Clone, Debug)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
}

impl MachineRoots {
    /// Reads the machine's store (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured); where that
    /// holds nothing usable, Mozilla's roots as compiled in.
    #[must_use]
    pub fn load() -> Self {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (usable, broken) = roots.add_parsable_certificates(found.certs);
        if usable == 0 {
            tracing::info!("the machine has no trust store; using the compiled-in roots");
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        } else if broken > 0 || !found.errors.is_empty() {
            tracing::debug!(usable, broken, errors = found.errors.len(), "some trust roots were not read");
        }
        Self(Arc::new(roots))
    }

    /// How many authorities there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never, after [`Self::load`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TlsClient {
    /// Prepares dials.
    ///
    /// # Errors
    /// [`TlsFault`] names the file that holds nothing of its kind, or a key that does not belong
    /// to its certificate.
    pub fn new(files: &UpstreamTls, machine: &MachineRoots) -> Result<Self, TlsFault> {
        let roots = match &files.ca_file {
            Some(file) => Arc::new(file.authorities()?),
            None => Arc::clone(&machine.0),
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsFault::Refused(error.to_string()))?
            .with_root_certificates(roots);
        let mut config = match &files.identity {
            None => builder.with_no_client_auth(),
            Some(UpstreamIdentity { certificate, key }) => {
                builder.with_client_cert_resolver(identity(certificate, key)?)
            }
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self { config: Arc::new(config) })
    }

    /// For one handshake.
    pub(super) fn connector(&self) -> tokio_rustls::TlsConnector {
        tokio_rustls::TlsConnector::from(Arc::clone(&self.config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_always_trusts_somebody() {
        assert!(!MachineRoots::load().is_empty());
    }
}
