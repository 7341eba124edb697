//! What a control plane needs before it starts: an authority, the API server's certificate, the key that signs service
//! account tokens, the administrator's token, kubeconfigs. All of it lives and dies with one control plane.

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::json;

use crate::folder::RunFolder;

/// The first address of the Services' range: what pods call the API server by.
const SERVICE_ADDRESS: &str = "10.96.0.1";

/// Paths of the files made, and the one secret that code presents.
#[derive(Debug)]
pub(super) struct Secrets {
    pub ca: PathBuf,
    pub server_certificate: PathBuf,
    pub server_key: PathBuf,
    pub account_key: PathBuf,
    pub account_public_key: PathBuf,
    pub tokens: PathBuf,
    pub admin_token: String,
    pub kubeconfig: PathBuf,
}

impl Secrets {
    /// Makes everything for an API server on `api` that also answers on `advertised`.
    pub(super) fn make(folder: &RunFolder, api: SocketAddr, advertised: IpAddr) -> Result<Self> {
        let (ca_pem, certificate_pem, key_pem) =
            certificates(&[api.ip(), advertised]).context("make the API server's certificate")?;
        // ECDSA P-256: the API server signs tokens with it as ES256, and it takes no time to make.
        let account = KeyPair::generate().context("make the service account key")?;
        let admin_token = random_token()?;
        let mut secrets = Self {
            ca: folder.write("pki/ca.crt", ca_pem)?,
            server_certificate: folder.write("pki/apiserver.crt", certificate_pem)?,
            server_key: folder.write("pki/apiserver.key", key_pem)?,
            account_key: folder.write("pki/sa.key", account.serialize_pem())?,
            account_public_key: folder.write("pki/sa.pub", account.public_key_pem())?,
            tokens: folder.write("pki/tokens.csv", format!("{admin_token},admin,1,system:masters\n"))?,
            admin_token: admin_token.clone(),
            kubeconfig: PathBuf::new(),
        };
        secrets.kubeconfig = secrets.write_kubeconfig(folder, "admin", &format!("https://{api}"), &admin_token)?;
        Ok(secrets)
    }

    /// Writes `<name>.kubeconfig`; JSON, which every reader of YAML accepts.
    pub(super) fn write_kubeconfig(&self, folder: &RunFolder, name: &str, url: &str, token: &str) -> Result<PathBuf> {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "testbed", "cluster": {"server": url, "certificate-authority": self.ca}}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": name}}],
            "current-context": "testbed",
        });
        folder.write(&format!("{name}.kubeconfig"), format!("{config:#}\n"))
    }
}

/// Authority, server certificate and server key, in PEM form.
fn certificates(addresses: &[IpAddr]) -> Result<(String, String, String)> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority.distinguished_name.push(DnType::CommonName, "testbed");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", SERVICE_ADDRESS];
    let mut names: Vec<String> = names.map(str::to_owned).to_vec();
    names.extend(addresses.iter().map(IpAddr::to_string));
    let mut server = CertificateParams::new(names)?;
    server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &authority)?;
    Ok((authority.pem(), certificate.pem(), key.serialize_pem()))
}

/// 128 random bits in hexadecimal.
fn random_token() -> Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes)).context("read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
