//! Bytes to an AdmissionRequest: what the API server asks, as far as we need it.

use serde::Deserialize;
use serde_json::Value;

/// The only version there is.
pub const API_VERSION: &str = "admission.k8s.io/v1";
/// The only kind there is.
pub const KIND: &str = "AdmissionReview";

/// The question.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// To be repeated in the answer.
    pub uid: String,
    /// What kind of object it is about, as the webhook's rules name it.
    #[serde(default)]
    pub kind: GroupVersionKind,
    /// `status`, `eviction` and so on; `None` or empty for the object itself.
    pub sub_resource: Option<String>,
    /// Empty when the API server will choose the name.
    pub name: Option<String>,
    /// Empty for objects that have none.
    pub namespace: Option<String>,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    pub operation: String,
    /// The object as it would be stored. Absent on DELETE.
    pub object: Option<Value>,
    /// Nothing will be stored.
    pub dry_run: Option<bool>,
}

/// What kind of object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct GroupVersionKind {
    /// Empty for the core group.
    #[serde(default)]
    pub group: String,
    /// Such as `v1`.
    #[serde(default)]
    pub version: String,
    /// Such as `Pod`.
    #[serde(default)]
    pub kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    api_version: Option<String>,
    kind: Option<String>,
    request: Option<Request>,
}

/// Why bytes are no question that we can answer.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// Not JSON, or not of that shape.
    #[error("the body is no AdmissionReview: {0}")]
    Json(#[from] serde_json::Error),
    /// Another API or version.
    #[error("apiVersion {0:?} is not {API_VERSION:?}, the only version that is answered")]
    ApiVersion(String),
    /// Another kind.
    #[error("kind {0:?} is not {KIND:?}")]
    Kind(String),
    /// An answer, or nothing.
    #[error("the AdmissionReview has no request")]
    NoRequest,
    /// A creation without an object.
    #[error("the AdmissionReview's request has no object")]
    NoObject,
}

/// Reads a question.
///
/// # Errors
/// Anything that is not an `admission.k8s.io/v1` AdmissionReview with a request.
pub fn parse(body: &[u8]) -> Result<Request, ReviewError> {
    let review: Review = serde_json::from_slice(body)?;
    match review.api_version.as_deref() {
        Some(API_VERSION) => {}
        other => {
            return Err(ReviewError::ApiVersion(other.unwrap_or_default().to_owned()));
        }
    }
    match review.kind.as_deref() {
        Some(KIND) => {}
        other => return Err(ReviewError::Kind(other.unwrap_or_default().to_owned())),
    }
    review.request.ok_or(ReviewError::NoRequest)
}

impl Request {
    /// Whether this is the creation of a pod itself.
    pub fn is_pod_create(&self) -> bool {
        let sub_resource = self.sub_resource.as_deref().unwrap_or_default();
        self.operation == "CREATE" && self.kind.group.is_empty() && self.kind.kind == "Pod" && sub_resource.is_empty()
    }

    /// Whether nothing will be stored, so that nothing beside it may be either.
    pub fn is_dry_run(&self) -> bool {
        self.dry_run == Some(true)
    }

    /// The object.
    ///
    /// # Errors
    /// When there is none.
    pub fn object(&self) -> Result<&Value, ReviewError> {
        self.object.as_ref().filter(|object| !object.is_null()).ok_or(ReviewError::NoObject)
    }
}
