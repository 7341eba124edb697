//! From a verdict to bytes: the AdmissionReview that answers.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::review::{API_VERSION, KIND};
use crate::decide::{Decision, Verdict};
use crate::reason::Problem;

/// The API server cuts a warning there.
const LONGEST_WARNING: usize = 256;

/// The answer.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    uid: String,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    /// Base64, as the API has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    audit_annotations: BTreeMap<&'static str, String>,
}

#[derive(Debug, Clone, Serialize)]
struct Status {
    code: u16,
    reason: &'static str,
    message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: &'a Response,
}

impl Response {
    /// Allows, and changes nothing.
    pub fn allow(uid: &str) -> Response {
        Response {
            uid: uid.to_owned(),
            allowed: true,
            status: None,
            patch_type: None,
            patch: None,
            warnings: Vec::new(),
            audit_annotations: BTreeMap::new(),
        }
    }

    /// Refuses with `message`.
    pub fn deny(uid: &str, message: String) -> Response {
        let status = Some(Status { code: 403, reason: "Forbidden", message });
        Response { allowed: false, status, ..Response::allow(uid) }
    }

    /// The answer to the question `uid` about the pod `place` (`namespace/name`).
    pub fn of(uid: &str, place: &str, verdict: &Verdict) -> Response {
        let response = match &verdict.decision {
            Decision::Deny(problems) => Response::deny(uid, refusal(place, problems)),
            Decision::Skip(_) | Decision::Inject(_) => Response::allow(uid),
        };
        let mut response = response.warn(verdict.warnings.iter().map(ToString::to_string));
        response.audit_annotations.insert("decision", verdict.outcome().to_owned());
        response.audit_annotations.insert("reason", verdict.codes().join(","));
        if let Decision::Inject(plan) = &verdict.decision {
            response.audit_annotations.insert("mode", plan.request.mode.name().as_str().to_owned());
            response.audit_annotations.insert("cluster", plan.backing.cluster.id.to_string());
        }
        response
    }

    /// Carries a patch.
    ///
    /// # Errors
    /// Never in practice: a patch made of JSON values serialises.
    pub fn with_patch(mut self, patch: &json_patch::Patch) -> Result<Response, serde_json::Error> {
        self.patch_type = Some("JSONPatch");
        self.patch = Some(STANDARD.encode(serde_json::to_vec(patch)?));
        Ok(self)
    }

    /// Carries warnings.
    pub fn warn(mut self, warnings: impl Iterator<Item = impl AsRef<str>>) -> Response {
        self.warnings.extend(warnings.map(|warning| shortened(warning.as_ref())));
        self
    }

    /// The whole document, as it goes over the wire.
    ///
    /// # Errors
    /// Never in practice: it is made of strings.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Review { api_version: API_VERSION, kind: KIND, response: self })
    }
}

/// "pod shop/web: …", with every problem in one message.
pub fn refusal(place: &str, problems: &[Problem]) -> String {
    format!("pod {place}: {}", reasons(problems))
}

/// Every problem in one sentence.
pub fn reasons(problems: &[Problem]) -> String {
    match problems {
        [only] => only.to_string(),
        many => {
            let list: Vec<String> = (1..).zip(many).map(|(number, problem)| format!("({number}) {problem}")).collect();
            format!("{} reasons: {}", many.len(), list.join("; "))
        }
    }
}

fn shortened(text: &str) -> String {
    let one_line = text.replace(|c: char| c.is_control(), " ");
    if one_line.len() <= LONGEST_WARNING {
        return one_line;
    }
    let end = (0..=LONGEST_WARNING - '…'.len_utf8()).rev().find(|end| one_line.is_char_boundary(*end));
    format!("{}…", &one_line[..end.unwrap_or(0)])
}
