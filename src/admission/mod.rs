//! Admission on the wire: AdmissionReview in (review.rs), JSON patch (patch.rs) and AdmissionReview out (response.rs).
//!
//! Pure: no HTTP here. The types are our own sixty lines because kube's serialise a patch as an array of numbers and
//! lose the uid of a refusal.

pub mod patch;
pub mod response;
pub mod review;
