//! Compiles `proto/` to Rust structs in `OUT_DIR`: the oracle that tests and benches hold the reader against. The
//! program itself does not use them.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=build.rs");
    let service = "opentelemetry/proto/collector/trace/v1/trace_service.proto";
    let descriptors = protox::compile([service], ["proto"])?;
    prost_build::Config::new().include_file("otlp.rs").compile_fds(descriptors)?;
    Ok(())
}
