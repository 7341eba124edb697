//! What the webhook's service account may do is the least that works: without any one rule something clear is said and
//! counted, and nothing crashes.
