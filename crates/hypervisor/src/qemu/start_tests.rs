//! What QEMU's real last words mean (7.2 and 10.0 say the same).

use super::*;
use crate::qemu::arguments::tests::windows;

fn meaning(backend: Backend, said: &str) -> StartError {
    let mut config = windows();
    config.nic.backend = backend;
    explain(&config, "exit status: 1".to_owned(), said.to_owned())
}

#[test]
fn a_port_that_was_taken_after_we_looked_is_a_taken_port() {
    let user = Backend::User { ssh_port: 40022, host_name: "a".to_owned() };
    let said = "qemu-system-x86_64: -netdev user,id=net0,hostfwd=tcp:127.0.0.1:40022-:22: Could not set up host \
                forwarding rule 'tcp:127.0.0.1:40022-:22'";
    assert!(matches!(meaning(user.clone(), said), StartError::PortTaken { port: 40022, .. }));
    assert!(matches!(meaning(user, "qemu-system-x86_64: out of memory"), StartError::Exited { .. }));
}
