//! A pod's volume as files, written the way a kubelet's atomic writer does: into a new folder, then one rename of the
//! `..data` symlink, so that a reader sees the old files or the new ones, never a mixture. Does not watch anything.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use super::{Host, array};

/// One volume of a pod and the folder that holds its files.
#[derive(Debug)]
pub(super) struct Volume {
    name: String,
    spec: Value,
    folder: PathBuf,
}

impl Volume {
    pub(super) fn new(name: &str, spec: Value, folder: PathBuf) -> Self {
        Self { name: name.to_owned(), spec, folder }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Writes the files for this state of the pod, replacing all earlier ones at once.
    pub(super) fn write(&self, pod: &Value, host: &Host) -> Result<()> {
        let files = self.files(pod, host).with_context(|| format!("volume {}", self.name))?;
        self.swap(&files).with_context(|| format!("write the volume {} to {}", self.name, self.folder.display()))
    }

    fn files(&self, pod: &Value, host: &Host) -> Result<Vec<(String, String)>> {
        let sources: Vec<&Value> = match &self.spec["projected"] {
            Value::Null => vec![&self.spec],
            projected => array(&projected["sources"]).collect(),
        };
        let mut files = Vec::new();
        for source in sources {
            if let Some(api) = source["downwardAPI"].as_object() {
                for item in api.get("items").into_iter().flat_map(array) {
                    let field_path =
                        item["fieldRef"]["fieldPath"].as_str().context("a downwardAPI item without fieldRef")?;
                    files.push((file_name(item)?, field(pod, field_path)?));
                }
            } else if let Some(name) = source["configMap"]["name"].as_str() {
                files.extend(config_map(name, &source["configMap"]["items"], host)?);
            } else if source["emptyDir"].is_null() {
                bail!("only downwardAPI, configMap and emptyDir are understood here, not {source}");
            }
        }
        resolve_names(&mut files, host)?;
        Ok(files)
    }

    fn swap(&self, files: &[(String, String)]) -> Result<()> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let fresh = format!("..{:06}", NEXT.fetch_add(1, Ordering::Relaxed));
        let old = fs::read_link(self.folder.join("..data")).ok();
        fs::create_dir_all(self.folder.join(&fresh))?;
        for (name, content) in files {
            fs::write(self.folder.join(&fresh).join(name), content)?;
        }
        let unswapped = self.folder.join("..data_tmp");
        symlink(&fresh, &unswapped)?;
        fs::rename(&unswapped, self.folder.join("..data"))?;
        for (name, _) in files {
            let link = self.folder.join(name);
            if link.symlink_metadata().is_err() {
                symlink(Path::new("..data").join(name), link)?;
            }
        }
        if let Some(old) = old {
            fs::remove_dir_all(self.folder.join(old))?;
        }
        Ok(())
    }
}

/// The value of a downward API field of the pod's metadata.
pub(super) fn field(pod: &Value, path: &str) -> Result<String> {
    let metadata = &pod["metadata"];
    let keyed = |map: &str| path.strip_prefix(&format!("metadata.{map}['"))?.strip_suffix("']");
    let value = match (keyed("annotations"), keyed("labels"), path.strip_prefix("metadata.")) {
        (Some(key), _, _) => &metadata["annotations"][key],
        (_, Some(key), _) => &metadata["labels"][key],
        (_, _, Some(name @ ("name" | "namespace" | "uid"))) => &metadata[name],
        _ => bail!("the field {path} is not known to this stand-in"),
    };
    // A kubelet writes an empty file for an annotation that is absent.
    Ok(value.as_str().unwrap_or_default().to_owned())
}

fn config_map(name: &str, items: &Value, host: &Host) -> Result<Vec<(String, String)>> {
    let object = host.config_maps.get(name).ok_or_else(|| {
        let known: Vec<_> = host.config_maps.keys().collect();
        anyhow!("there is no ConfigMap {name} (known: {known:?}); a real pod would wait for it")
    })?;
    let data = object["data"].as_object().with_context(|| format!("the ConfigMap {name} has no data"))?;
    let text = |key: &str| {
        let value = data.get(key).and_then(Value::as_str);
        value.map(str::to_owned).ok_or_else(|| anyhow!("the ConfigMap {name} has no key {key}"))
    };
    if items.is_null() {
        return data.keys().map(|key| Ok((key.clone(), text(key)?))).collect();
    }
    let item = |item: &Value| Ok((file_name(item)?, text(item["key"].as_str().context("an item without key")?)?));
    array(items).map(item).collect()
}

fn file_name(item: &Value) -> Result<String> {
    let name = item["path"].as_str().context("an item without path")?;
    if name.contains('/') || name.starts_with("..") {
        bail!("the path {name:?} is not a plain file name");
    }
    Ok(name.to_owned())
}

/// Puts addresses where the files name servers: the one textual difference to a real pod's files.
fn resolve_names(files: &mut [(String, String)], host: &Host) -> Result<()> {
    let mut resolved = 0;
    for (_, content) in files.iter_mut() {
        for (name, address) in &host.dns {
            resolved += content.matches(name.as_str()).count();
            *content = content.replace(name.as_str(), &address.to_string());
        }
    }
    if resolved == 0 && !host.dns.is_empty() && !files.is_empty() {
        let names: Vec<_> = host.dns.keys().collect();
        bail!(
            "none of the servers {names:?} is named in the volume's files, so the proxy would look for names that no DNS here knows"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::folder::RunFolder;

    #[test]
    fn files_come_from_their_sources_and_change_all_at_once() {
        let folder = RunFolder::new("volume-test").unwrap();
        let spec = json!({"name": "v", "projected": {"sources": [
            {"downwardAPI": {"items": [{"path": "config.lua", "fieldRef": {"fieldPath": "metadata.annotations['a.b/c']"}}]}},
            {"configMap": {"name": "library", "items": [{"key": "k", "path": "library.lua"}]}},
        ]}});
        let pod = |text: &str| json!({"metadata": {"annotations": {"a.b/c": text}}});
        let mut host = Host::default();
        host.dns.insert("m-0.svc.:11211".into(), "127.0.0.1:4".parse().unwrap());
        host.config_maps.insert("library".into(), json!({"data": {"k": "return 1"}}));
        let volume = Volume::new("v", spec, folder.path().join("v"));
        let read = |name: &str| fs::read_to_string(folder.path().join("v").join(name)).unwrap();

        volume.write(&pod("one m-0.svc.:11211"), &host).unwrap();
        assert_eq!((read("config.lua").as_str(), read("library.lua").as_str()), ("one 127.0.0.1:4", "return 1"));
        volume.write(&pod("two m-0.svc.:11211"), &host).unwrap();
        assert_eq!(read("config.lua"), "two 127.0.0.1:4");
        assert!(volume.write(&pod("other names"), &host).unwrap_err().to_string().contains("volume v"));
        assert_eq!(read("config.lua"), "two 127.0.0.1:4", "a failed update keeps the old files");
    }
}
