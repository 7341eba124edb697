//! Certificates that somebody else makes: cert-manager, or an operator. Read from a folder, and again when they change.
//!
//! The caBundle is theirs too; nothing is written here.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use axum_server::tls_rustls::RustlsConfig;

use super::super::trouble::Trouble;
use crate::certificate::facts;
use crate::webhook::metrics::Metrics;
use crate::webhook::tls;

/// Pause between two looks at the files. A kubelet takes a minute to bring a changed Secret, so this is no delay.
const EVERY: Duration = Duration::from_secs(1);

/// tls.crt and tls.key of a folder.
pub struct Files {
    folder: PathBuf,
    served: Pair,
    tls: RustlsConfig,
    metrics: Metrics,
}

#[derive(PartialEq, Eq)]
struct Pair {
    cert: String,
    key: String,
}

impl Files {
    /// Reads them.
    ///
    /// # Errors
    /// When one can't be read, or the pair can't be served with.
    pub fn open(folder: &Path, metrics: Metrics) -> anyhow::Result<Files> {
        let served = read(folder)?;
        let tls = RustlsConfig::from_config(tls::server_config(&served.cert, &served.key)?);
        let files = Files { folder: folder.to_owned(), served, tls, metrics };
        files.tell_expiry();
        Ok(files)
    }

    /// What to serve with. Follows the files while [`Files::keep`] runs.
    pub fn tls(&self) -> RustlsConfig {
        self.tls.clone()
    }

    /// Looks for ever.
    pub async fn keep(mut self) {
        let mut trouble = Trouble::of("certificate", self.metrics.clone());
        loop {
            tokio::time::sleep(EVERY).await;
            trouble.note("the last good certificate goes on serving", self.look());
        }
    }

    fn look(&mut self) -> anyhow::Result<()> {
        let found = read(&self.folder)?;
        if found != self.served {
            let config = tls::server_config(&found.cert, &found.key)
                .with_context(|| format!("new certificate in {}", self.folder.display()))?;
            self.tls.reload_from_config(config);
            self.served = found;
            self.tell_expiry();
            self.metrics.certificate_reloads.inc();
            tracing::info!(folder = %self.folder.display(), "serving with a new certificate");
        }
        Ok(())
    }

    fn tell_expiry(&self) {
        if let Some(first) = facts::read(&self.served.cert).ok().and_then(|facts| facts.into_iter().next()) {
            self.metrics.certificate_expiry.set(first.not_after.unix_timestamp() as f64);
        }
    }
}

/// Both files through one resolved `..data`: a kubelet swaps that link, and between two reads it may lead elsewhere.
fn read(folder: &Path) -> anyhow::Result<Pair> {
    let resolved = std::fs::canonicalize(folder.join("..data")).unwrap_or_else(|_| folder.to_owned());
    let read = |name: &str| {
        std::fs::read_to_string(resolved.join(name))
            .with_context(|| format!("can't read {}; `memcached-injector certs` makes it", folder.join(name).display()))
    };
    Ok(Pair { cert: read("tls.crt")?, key: read("tls.key")? })
}
