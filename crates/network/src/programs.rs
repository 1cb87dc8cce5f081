//! The programs that networks need: looked for before anything is made, and not needed where nothing was made.

use tokio_util::sync::CancellationToken;
use winstead_process::Command;

use crate::NetworkError;

/// Succeeds when all are installed; [`NetworkError::Missing`] names the Debian package of one that is not.
pub(crate) async fn require(stop: &CancellationToken) -> Result<(), NetworkError> {
    for (program, version) in [("ip", "-V"), ("nft", "--version"), ("dnsmasq", "--version")] {
        Command::new(program).arg(version).run(stop).await?;
    }
    Ok(())
}

/// A program that is not installed has made nothing: then there is nothing of ours.
pub(crate) fn unless_missing<T: Default>(result: Result<T, NetworkError>) -> Result<T, NetworkError> {
    match result {
        Err(NetworkError::Missing { program, .. }) => {
            tracing::warn!(program, "not installed: what it could have made is taken for gone");
            Ok(T::default())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use winstead_process::{CommandError, Failure};

    use super::*;

    #[test]
    fn a_missing_program_means_that_nothing_is_there_and_other_failures_stay() {
        let error = |failure| {
            NetworkError::from(CommandError { command: "nft -f -".into(), failure, said: String::new() })
        };
        assert_eq!(unless_missing::<u8>(Err(error(Failure::NotFound))).unwrap(), 0);
        assert!(matches!(
            unless_missing::<u8>(Err(error(Failure::Cancelled))),
            Err(NetworkError::Command(_))
        ));
        assert!(error(Failure::NotFound).to_string().contains("`nftables`"));
    }
}
