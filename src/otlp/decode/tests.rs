//! Claims about single rules of the wire.
