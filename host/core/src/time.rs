//! Time as the machines count it.

/// Milliseconds: since 1970 where they say when, else how long.
pub type Millis = u64;
