//! Compiles `proto/` for tests and benches; the library reads and writes the wire itself.
//!
//! Duty: two sets of prost types in `OUT_DIR`: `proto/all.rs` as the files say, and `lossless/all.rs` with `bytes` for every
//! `string`, which takes the text that is not UTF-8 as well (the oracle of the differential test). No protoc is needed.

use std::path::{Path, PathBuf};

const FILES: [&str; 2] = ["opentelemetry/proto/collector/trace/v1/trace_service.proto", "google/rpc/status.proto"];
/// Field types of a descriptor.
const STRING: i32 = 9;
const BYTES: i32 = 12;

#[allow(clippy::disallowed_methods, reason = "cargo tells a build script where to write by OUT_DIR")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let mut files = protox::compile(FILES, ["proto"])?;
    writer(&out.join("proto"))?.compile_fds(files.clone())?;
    for file in &mut files.file {
        let mut messages: Vec<_> = file.message_type.iter_mut().collect();
        while let Some(message) = messages.pop() {
            for field in message.field.iter_mut().filter(|field| field.r#type == Some(STRING)) {
                field.r#type = Some(BYTES);
            }
            messages.extend(message.nested_type.iter_mut());
        }
    }
    writer(&out.join("lossless"))?.compile_fds(files)?;
    Ok(())
}

fn writer(folder: &Path) -> std::io::Result<prost_build::Config> {
    std::fs::create_dir_all(folder)?;
    let mut config = prost_build::Config::new();
    config.out_dir(folder).include_file("all.rs");
    Ok(config)
}
