//! What the end-to-end tests share.

pub mod guests;
pub mod instances;
