//! A coordinator driven by hand.
