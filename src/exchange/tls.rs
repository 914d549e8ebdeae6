//! TLS towards regions: whom we trust, and who we say we are. A door only in that it reads files.
//!
//! Roots are the region's `ca_file`, else the machine's, else Mozilla's as compiled in (an image
//! from scratch has no store). There is no way to switch verification off: a private authority is
//! named by its file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::view::{UpstreamIdentity, UpstreamTls};

/// The only application protocol offered: what S3 speaks.
const ALPN: &[u8] = b"http/1.1";

/// Why a region's TLS cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {cause}", file.display())]
pub struct TlsFault {
    /// The file at fault.
    pub file: PathBuf,
    /// What was seen; never the file's text.
    pub cause: String,
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
    /// Reads `files` and prepares dials.
    ///
    /// # Errors
    /// [`TlsFault`] names the file that cannot be read, holds nothing of its kind, or a key that
    /// does not belong to its certificate.
    pub fn new(files: &UpstreamTls, machine: &MachineRoots) -> Result<Self, TlsFault> {
        let roots = match &files.ca_file {
            Some(file) => Arc::new(private_roots(file)?),
            None => Arc::clone(&machine.0),
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| fault(Path::new("tls"), error))?
            .with_root_certificates(roots);
        let mut config = match &files.identity {
            None => builder.with_no_client_auth(),
            Some(UpstreamIdentity { certificate, key }) => builder
                .with_client_auth_cert(
                    certificates(certificate)?,
                    PrivateKeyDer::from_pem_file(key).map_err(|error| fault(key, error))?,
                )
                .map_err(|error| fault(key, error))?,
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self { config: Arc::new(config) })
    }

    /// For one handshake.
    pub(super) fn connector(&self) -> tokio_rustls::TlsConnector {
        tokio_rustls::TlsConnector::from(Arc::clone(&self.config))
    }
}

fn private_roots(file: &Path) -> Result<RootCertStore, TlsFault> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| fault(file, error))?;
    }
    Ok(roots)
}

/// At least one.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    let found = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| fault(file, error))?;
    if found.is_empty() { Err(fault(file, "no PEM certificate in it")) } else { Ok(found) }
}

fn fault(file: &Path, cause: impl std::fmt::Display) -> TlsFault {
    TlsFault { file: file.to_owned(), cause: cause.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    }

    #[test]
    fn a_machine_always_trusts_somebody() {
        assert!(!MachineRoots::load().is_empty());
    }

    #[test]
    fn each_fault_names_its_file_and_nothing_of_its_text() {
        let folder = tempfile::tempdir().unwrap();
        let machine = MachineRoots::load();
        let own = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["b.test".to_owned()]).unwrap();
        let certificate = written(&folder, "own.crt", &own.cert.pem());
        let key = written(&folder, "own.key", &own.signing_key.serialize_pem());
        let wrong_key = written(&folder, "other.key", &other.signing_key.serialize_pem());
        let text = written(&folder, "text.pem", "SEKRIT");
        let absent = folder.path().join("absent.pem");
        let files = |ca: Option<&PathBuf>, identity: Option<(&PathBuf, &PathBuf)>| UpstreamTls {
            ca_file: ca.cloned(),
            identity: identity.map(|(certificate, key)| UpstreamIdentity {
                certificate: certificate.clone(),
                key: key.clone(),
            }),
        };

        assert!(TlsClient::new(&files(Some(&certificate), Some((&certificate, &key))), &machine).is_ok());
        for (files, culprit) in [
            (files(Some(&absent), None), &absent),
            (files(Some(&text), None), &text),
            (files(None, Some((&text, &key))), &text),
            (files(None, Some((&certificate, &text))), &text),
            (files(None, Some((&certificate, &wrong_key))), &wrong_key),
        ] {
            let fault = TlsClient::new(&files, &machine).unwrap_err();
            assert_eq!(&fault.file, culprit, "{fault}");
            assert!(!fault.to_string().contains("SEKRIT"), "{fault}");
        }
    }
}
