//! What can be wrong with a manifest. Every message begins with the place: `deploy.yaml:12: ...`.
//!
//! Does not own: how a command reports errors or which exit code they give.

/// Something in a YAML stream that can't be worked with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A document is not YAML, or more than this program is willing to read.
    #[error("{file}:{line}: {reason}")]
    Syntax {
        /// The file as the caller named it.
        file: String,
        /// The line in that file, from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// A Kubernetes object has something of the wrong type where a field is needed.
    #[error("{file}:{line}: {shape}")]
    Shape {
        /// The file as the caller named it.
        file: String,
        /// The line, from 1, on which the object's document begins.
        line: usize,
        /// The object, the field and what is wrong with it.
        shape: ShapeError,
    },
    /// A patch does not fit the pod template that it was made for.
    #[error("{file}:{line}: {object}: the patch does not fit at {at:?}: {reason}")]
    Patch {
        /// The file as the caller named it.
        file: String,
        /// The line, from 1, on which the object's document begins.
        line: usize,
        /// The object, such as `Deployment shop/web`.
        object: String,
        /// The JSON pointer of the pod template.
        at: String,
        /// What json-patch says.
        reason: String,
    },
}

/// A field of a Kubernetes object that has the wrong type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{object}: {field} is {found}, but must be {wanted}")]
pub struct ShapeError {
    /// The object, such as `Deployment shop/web`.
    pub object: String,
    /// The field's path as users write it, such as `spec.template`.
    pub field: String,
    /// What is there: `missing`, `null`, `a string`, ...
    pub found: &'static str,
    /// What has to be there.
    pub wanted: &'static str,
}
