//! From PEM to what rustls serves with.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate or key that can't be served with.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not PEM, or nothing in it.
    #[error("the serving certificate or its key is no PEM: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// The pair does not fit, or is of a kind that rustls does not serve.
    #[error("the serving certificate can't be used: {0}")]
    Rustls(#[from] rustls::Error),
}

/// TLS 1.2 and 1.3 with that certificate, no client certificates. HTTP/1.1 only, which is what API servers speak to
/// webhooks: `Connection: close` (see pace.rs) has no counterpart in HTTP/2.
///
/// # Errors
/// What is wrong with the pair.
pub fn server_config(cert_pem: &str, key_pem: &str) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = CertificateDer::pem_slice_iter(cert_pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())?;
    let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
