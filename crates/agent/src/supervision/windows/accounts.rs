//! Accounts: those that need no password, since this agent knows none.

use serde::{Deserialize, Serialize};

use crate::{supervision::StartError, windows::Login};

/// An account that this agent may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Account {
    /// Its name.
    pub(crate) name: String,
}

/// The account of this name.
///
/// # Errors
/// When it has a password, or this agent may not take it.
pub(crate) fn account(asked: &str) -> Result<Account, StartError> {
    match Login::service(asked) {
        Ok(_) => Ok(Account { name: asked.to_owned() }),
        Err(error) => Err(StartError::Account { account: asked.to_owned(), reason: error.to_string() }),
    }
}
