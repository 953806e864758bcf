//! The rare things, by hand.
