//! The Secret that all replicas share: its keys, read and written. Judges nothing.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::ObjectMeta;

use crate::certificate::{Authority, Bundle};

/// On the Secret, with any value: follow the CA by another now. Taken away by the leader when it begins.
const ROTATE: &str = "memcached.io/rotate";

/// What the Secret holds.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Stored {
    /// The CA that signs, and the certificate to serve.
    pub(super) bundle: Bundle,
    /// The CA that will sign once every API server trusts it.
    pub(super) next: Option<Authority>,
    /// The certificate of the CA that signed before, while a replica may still serve what it signed.
    pub(super) previous: Option<String>,
}

impl Stored {
    /// What is missing or no text is empty, and an empty part is never good.
    pub(super) fn read(secret: &Secret) -> Stored {
        let part = |key: &str| {
            let bytes = secret.data.as_ref().and_then(|data| data.get(key)).map(|bytes| bytes.0.clone());
            bytes.and_then(|bytes| String::from_utf8(bytes).ok()).filter(|text| !text.is_empty())
        };
        let text = |key: &str| part(key).unwrap_or_default();
        let ca = Authority { cert: text("ca.crt"), key: text("ca.key") };
        Stored {
            bundle: Bundle { ca, cert: text("tls.crt"), key: text("tls.key") },
            next: part("next-ca.crt").map(|cert| Authority { cert, key: text("next-ca.key") }),
            previous: part("previous-ca.crt"),
        }
    }

    /// Puts all of it into a Secret, beside keys that are not ours.
    pub(super) fn write(&self, secret: &mut Secret) {
        let next = self.next.as_ref();
        let parts = [
            ("ca.crt", Some(&self.bundle.ca.cert)),
            ("ca.key", Some(&self.bundle.ca.key)),
            ("tls.crt", Some(&self.bundle.cert)),
            ("tls.key", Some(&self.bundle.key)),
            ("next-ca.crt", next.map(|next| &next.cert)),
            ("next-ca.key", next.map(|next| &next.key)),
            ("previous-ca.crt", self.previous.as_ref()),
        ];
        let data = secret.data.get_or_insert_with(BTreeMap::new);
        for (key, part) in parts {
            match part {
                Some(part) => data.insert(key.to_owned(), ByteString(part.clone().into_bytes())),
                None => data.remove(key),
            };
        }
    }

    /// The CA certificates that the API server has to trust now; the one that signs comes first.
    pub(super) fn authorities(&self) -> Vec<&str> {
        let next = self.next.as_ref().map(|next| next.cert.as_str());
        [Some(self.bundle.ca.cert.as_str()), next, self.previous.as_deref()].into_iter().flatten().collect()
    }
}

/// An empty Secret of that name.
pub(super) fn named(name: &str) -> Secret {
    Secret { metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }, ..Secret::default() }
}

/// Whether an operator asks for another CA.
pub(super) fn asks_for_rotation(secret: &Secret) -> bool {
    secret.annotations().contains_key(ROTATE)
}

/// The wish is granted.
pub(super) fn take_wish(secret: &mut Secret) {
    secret.annotations_mut().remove(ROTATE);
}
