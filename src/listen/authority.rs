//! A certificate authority for tests.

use std::sync::OnceLock;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};

pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        Self::of(CertificateParams::default())
    }

    pub(crate) fn valid_until(year: i32, month: u8, day: u8) -> Self {
        let mut params = CertificateParams::default();
        params.not_after = date_time_ymd(year, month, day);
        Self::of(params)
    }

    fn of(mut params: CertificateParams) -> Self {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its own certificate.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn der(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    /// One certificate made once, for properties.
    pub(crate) fn fixed() -> Vec<u8> {
        static FIXED: OnceLock<Vec<u8>> = OnceLock::new();
        FIXED.get_or_init(|| Self::new().der()).clone()
    }

    /// A certificate and its key, both PEM.
    pub(crate) fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}
