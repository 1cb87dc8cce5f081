//! Makes Rust of the `.proto` files. By protox, which is a crate: nobody has to install `protoc`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let files = protox::compile(["wins.proto", "winstead/agent/v1/agent.proto"], ["proto"])?;
    // Bytes are handed on as they came from the socket, not copied.
    tonic_prost_build::configure().build_transport(false).bytes(".").compile_fds(files)?;
    Ok(())
}
