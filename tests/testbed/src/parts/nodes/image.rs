//! Writing one container image as a tar of the OCI layout, which containerd imports: no registry, no image builder. Owns the
//! format; what is in an image is `images.rs`'s.

use std::fs::{self, File};
use std::iter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// An image of one layer.
pub(super) struct Image {
    name: String,
    more_names: Vec<String>,
    layer: Builder<Vec<u8>>,
    config: Value,
}

impl Image {
    /// An image that pods name `name`, such as `memcached:1.6.45`. `config` is the image's own: `Entrypoint`, `User`, `Env`.
    pub(super) fn new(name: &str, config: Value) -> Self {
        Self { name: name.to_owned(), more_names: Vec::new(), layer: Builder::new(Vec::new()), config }
    }

    /// Gives it another name as well.
    pub(super) fn also_called(&mut self, name: &str) {
        self.more_names.push(name.to_owned());
    }

    /// Adds an executable file.
    pub(super) fn add_file(&mut self, path: &Path, content: &[u8]) -> Result<()> {
        self.add(path, EntryType::Regular, content, None)
    }

    /// Adds a symbolic link to `target`.
    pub(super) fn add_link(&mut self, path: &Path, target: &Path) -> Result<()> {
        self.add(path, EntryType::Symlink, &[], Some(target))
    }

    /// Adds an empty folder that everyone may write to.
    pub(super) fn add_folder(&mut self, path: &Path) -> Result<()> {
        self.add(path, EntryType::Directory, &[], None)
    }

    fn add(&mut self, path: &Path, kind: EntryType, content: &[u8], target: Option<&Path>) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Directory { 0o1777 } else { 0o755 });
        header.set_size(content.len() as u64);
        let inside = path.strip_prefix("/").unwrap_or(path);
        match target {
            Some(target) => self.layer.append_link(&mut header, inside, target),
            None => self.layer.append_data(&mut header, inside, content),
        }
        .with_context(|| format!("add {} to the image {}", path.display(), self.name))
    }

    /// Writes the image as `<folder>/<name>.tar` and returns the path.
    pub(super) fn write(self, folder: &Path) -> Result<PathBuf> {
        let layer = self.layer.into_inner().context("end the layer")?;
        let config = json!({
            "architecture": architecture(), "os": "linux", "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
        })
        .to_string();
        let kind = |name: &str| format!("application/vnd.oci.image.{name}");
        let blob =
            |media: &str, bytes: &[u8]| json!({"mediaType": kind(media), "digest": digest(bytes), "size": bytes.len()});
        let manifest = json!({
            "schemaVersion": 2, "mediaType": kind("manifest.v1+json"),
            "config": blob("config.v1+json", config.as_bytes()), "layers": [blob("layer.v1.tar", &layer)],
        })
        .to_string();
        let entry = |name: &String| {
            let mut entry = blob("manifest.v1+json", manifest.as_bytes());
            entry["annotations"] = json!({"io.containerd.image.name": full_name(name)});
            entry
        };
        let entries: Vec<Value> = iter::once(&self.name).chain(&self.more_names).map(entry).collect();
        let index = json!({"schemaVersion": 2, "mediaType": kind("index.v1+json"), "manifests": entries}).to_string();

        let path = folder.join(format!("{}.tar", self.name.replace(['/', ':'], "-")));
        let mut out = Builder::new(File::create(&path).with_context(|| format!("make {}", path.display()))?);
        let mut add = |name: String, bytes: &[u8]| {
            let mut header = Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(bytes.len() as u64);
            out.append_data(&mut header, name, bytes)
        };
        let written = add("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#)
            .and_then(|()| add("index.json".to_owned(), index.as_bytes()))
            .and_then(|()| {
                [&layer[..], config.as_bytes(), manifest.as_bytes()]
                    .iter()
                    .try_for_each(|bytes| add(format!("blobs/{}", digest(bytes).replace(':', "/")), bytes))
            });
        written.and_then(|()| out.finish()).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

/// The name under which a kubelet looks for an image: without a registry it means the default one, which is never asked
/// when the image is there.
fn full_name(name: &str) -> String {
    ["docker", ".io/library/", name].concat()
}

fn digest(bytes: &[u8]) -> String {
    let hash: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hash}")
}

/// This machine's, in Go's words.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A file's content.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}
