//! Certificates that somebody else makes.
