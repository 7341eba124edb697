//! YAML streams of Kubernetes manifests: text in, patched text out, untouched documents byte for byte.
//!
//! Owns: the stream and its documents. Does not own: reading files (the caller does), whether a pod is injected
//! (`decide`), and what is added to it (`inject`). Pure: no tokio, kube, axum, no I/O.
//!
//! ```text
//! text -> split -> parse -> workload (targets) -> patch -> emit -> text
//! ```
//! A document that is never patched is rendered as it came. One that is patched is written anew: the lines before its
//! content stay (comments, directives, `---`), key order stays, but comments inside it, anchors and quoting style are
//! lost; no YAML library for serde keeps them. JSON documents are written as YAML once they are patched.

mod emit;
mod error;
mod parse;
mod split;
mod workload;

pub use emit::to_yaml;
pub use error::{Error, ShapeError};
pub use workload::{Target, pod_templates};

use crate::namespace::Namespace;

use serde_json::Value;
use split::{BOM, Piece};

/// The documents of one or more files, in order.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    documents: Vec<Document>,
}

impl Stream {
    /// Reads files, given as name (for messages) and text.
    ///
    /// # Errors
    /// The first document that is not YAML, holds a key twice, or is too large or too deep to be a manifest.
    pub fn parse(files: &[(&str, &str)]) -> Result<Self, Error> {
        let mut documents = Vec::new();
        for (number, (file, text)) in files.iter().enumerate() {
            for piece in split::split(text) {
                documents.push(Document::read(file, number, &piece)?);
            }
        }
        Ok(Stream { documents })
    }

    /// The documents, empty ones included.
    #[must_use]
    pub fn documents(&self) -> &[Document] {
        &self.documents
    }

    /// The documents, to patch them.
    pub fn documents_mut(&mut self) -> &mut [Document] {
        &mut self.documents
    }

    /// Adds a document of its own at the end, such as the library ConfigMap.
    pub fn push(&mut self, value: Value) {
        self.documents.push(Document {
            file: String::new(),
            // No file of the caller's has this number, so that it is set apart from the one before.
            file_number: usize::MAX,
            text: "---\n".to_owned(),
            first_line: 1,
            content_line: 1,
            head: "---\n".len(),
            tail: "---\n".len(),
            value: Some(value),
            changed: true,
        });
    }

    /// The Namespace objects in all documents.
    ///
    /// # Errors
    /// A Namespace whose labels or annotations are not strings.
    pub fn namespaces(&self) -> Result<Vec<Namespace>, Error> {
        self.collect(workload::namespaces)
    }

    /// The StatefulSets in all documents that carry the label [`crate::names::label::CLUSTER`].
    ///
    /// # Errors
    /// A List whose items are not objects.
    pub fn cache_stateful_sets(&self) -> Result<Vec<&Value>, Error> {
        self.collect(workload::cache_stateful_sets)
    }

    fn collect<'a, T>(&'a self, find: impl Fn(&'a Value) -> Result<Vec<T>, ShapeError>) -> Result<Vec<T>, Error> {
        let mut found = Vec::new();
        for document in &self.documents {
            if let Some(value) = &document.value {
                found.extend(find(value).map_err(|shape| document.shape(shape))?);
            }
        }
        Ok(found)
    }

    /// The stream as text. Within a file every unchanged document has its own bytes; between files a marker is put
    /// where the next file has none.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = String::new();
        let mut last = None;
        for document in &self.documents {
            let text = document.render();
            if last.is_some_and(|number| number != document.file_number) {
                join(&mut out, &text);
            } else {
                out.push_str(&text);
            }
            last = Some(document.file_number);
        }
        out
    }
}

/// Puts the first document of another file behind `out`, so that both stay documents of one stream.
fn join(out: &mut String, text: &str) {
    let text = text.trim_start_matches(BOM);
    if !out.is_empty() && !out.ends_with('\n') {
        out.push('\n');
    }
    let own_marker = text.lines().find(|line| !line.is_empty() && !line.starts_with('#'));
    match own_marker {
        // Nothing but comments, or a marker that the file brings along.
        None => {}
        Some(line) if line.starts_with("---") => {}
        // Directives may stand only where the document before has been ended.
        Some(line) if line.starts_with('%') => out.push_str("...\n"),
        Some(_) if out.is_empty() => {}
        Some(_) => out.push_str("---\n"),
    }
    out.push_str(text);
}

/// One document of a stream.
#[derive(Clone, Debug)]
pub struct Document {
    file: String,
    /// Which of the stream's files this is from; two may have one name.
    file_number: usize,
    text: String,
    first_line: usize,
    content_line: usize,
    /// `text[..head]` and `text[tail..]` stay when the content is written anew.
    head: usize,
    tail: usize,
    value: Option<Value>,
    changed: bool,
}

impl Document {
    fn read(file: &str, file_number: usize, piece: &Piece<'_>) -> Result<Self, Error> {
        let value = if piece.has_content {
            let parsed = parse::parse(piece.text).map_err(|error| Error::Syntax {
                file: file.to_owned(),
                line: piece.first_line - 1 + error.line,
                reason: error.reason,
            })?;
            Some(parsed).filter(|value| !value.is_null())
        } else {
            None
        };
        Ok(Document {
            file: file.to_owned(),
            file_number,
            text: piece.text.to_owned(),
            first_line: piece.first_line,
            content_line: piece.content_line,
            head: piece.head,
            tail: piece.tail,
            value,
            changed: false,
        })
    }

    /// The file that the document is from, as the caller named it; empty for one that was pushed.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line of the file, from 1, on which the document begins, comments and marker included.
    #[must_use]
    pub fn first_line(&self) -> usize {
        self.first_line
    }

    /// The line of the file, from 1, on which the document's content begins.
    #[must_use]
    pub fn content_line(&self) -> usize {
        self.content_line
    }

    /// What the document says; nothing if it is empty, `null` or only comments.
    #[must_use]
    pub fn value(&self) -> Option<&Value> {
        self.value.as_ref()
    }

    /// The pod templates in this document.
    ///
    /// # Errors
    /// A workload whose template is not an object with a `spec`; the message names object and field.
    pub fn targets(&self) -> Result<Vec<Target>, Error> {
        let find = |value| workload::pod_templates(value).map_err(|shape| self.shape(shape));
        self.value.as_ref().map_or_else(|| Ok(Vec::new()), find)
    }

    /// The pod template (the object with `metadata` and `spec`) of one of this document's targets.
    #[must_use]
    pub fn template(&self, target: &Target) -> Option<&Value> {
        self.value.as_ref()?.pointer(target.template.as_str())
    }

    /// Applies a patch whose paths begin at the target's pod template. An empty patch leaves the document as it was.
    ///
    /// # Errors
    /// An operation that does not fit; the document is then unchanged.
    pub fn apply(&mut self, target: &Target, patch: &json_patch::Patch) -> Result<(), Error> {
        if patch.0.is_empty() {
            return Ok(());
        }
        let at = target.template.as_str();
        let template = self.value.as_mut().and_then(|value| value.pointer_mut(at));
        let result = match template {
            None => Err("there is no pod template; the target is another document's".to_owned()),
            Some(template) => json_patch::patch(template, patch).map_err(|e| e.to_string()),
        };
        match result {
            Ok(()) => {
                self.changed = true;
                Ok(())
            }
            Err(reason) => Err(Error::Patch {
                file: self.file.clone(),
                line: self.content_line,
                object: target.to_string(),
                at: at.to_owned(),
                reason,
            }),
        }
    }

    /// Whether a patch was applied, so that the document no longer renders as it came.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// The document as text: verbatim while unchanged.
    #[must_use]
    pub fn render(&self) -> String {
        let (true, Some(value)) = (self.changed, &self.value) else {
            return self.text.clone();
        };
        let mut out = self.text.get(..self.head).unwrap_or_default().to_owned();
        // Content stood on the marker's line.
        if !out.is_empty() && !out.ends_with(['\n', '\r']) {
            out.push('\n');
        }
        out.push_str(&to_yaml(value));
        if self.text.contains("\r\n") {
            out = out.replace("\r\n", "\n").replace('\n', "\r\n");
        }
        out.push_str(self.text.get(self.tail..).unwrap_or_default());
        out
    }

    fn shape(&self, shape: ShapeError) -> Error {
        Error::Shape { file: self.file.clone(), line: self.content_line, shape }
    }
}

#[cfg(test)]
#[path = "manifest/tests.rs"]
mod tests;
