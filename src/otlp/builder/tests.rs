//! Claims about the builder.
