//! prost types of `proto/`, made by build.rs: oracles and clients of tests.

#![allow(clippy::all, missing_docs, reason = "generated")]
#![allow(dead_code, reason = "each test uses what it needs")]

/// As the files say.
pub mod plain {
    include!(concat!(env!("OUT_DIR"), "/proto/all.rs"));
}

/// With `bytes` for every `string`: takes what is not UTF-8 as well.
pub mod lossless {
    include!(concat!(env!("OUT_DIR"), "/lossless/all.rs"));
}
