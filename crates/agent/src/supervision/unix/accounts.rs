//! Accounts, from `/etc/passwd` and `/etc/group`. Those that only a directory service knows are not found, which is said.

use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::supervision::StartError;

/// An account, looked up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Account {
    /// Its name.
    pub(crate) name: String,
    /// Its number.
    pub(crate) user: u32,
    /// Its first group.
    pub(crate) group: u32,
    /// All its groups.
    pub(crate) groups: Vec<u32>,
    /// Its own folder.
    pub(crate) home: String,
}

/// The account of this name or number.
///
/// # Errors
/// When there is none, or this agent may not take it: only root takes another's.
pub(crate) fn account(asked: &str) -> Result<Account, StartError> {
    let failed = |reason: String| StartError::Account { account: asked.to_owned(), reason };
    let passwd = fs::read_to_string("/etc/passwd").map_err(|error| failed(error.to_string()))?;
    let groups = fs::read_to_string("/etc/group").map_err(|error| failed(error.to_string()))?;
    let found =
        find(asked, &passwd, &groups).ok_or_else(|| failed("there is no such account here".to_owned()))?;
    let me = rustix::process::geteuid();
    if !me.is_root() && me.as_raw() != found.user {
        return Err(failed("only an agent that runs as root can take another's account".to_owned()));
    }
    Ok(found)
}

/// `name:x:uid:gid:words:home:shell`, and `name:x:gid:member,member`.
fn find(asked: &str, passwd: &str, groups: &str) -> Option<Account> {
    let mut account = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, user, group, _, home, ..] = fields[..] else { return None };
        let account = Account {
            name: name.to_owned(),
            user: user.parse().ok()?,
            group: group.parse().ok()?,
            groups: Vec::new(),
            home: home.to_owned(),
        };
        (name == asked || user == asked).then_some(account)
    })?;
    account.groups = groups
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [_, _, group, members] = fields[..] else { return None };
            members.split(',').any(|member| member == account.name).then(|| group.parse().ok())?
        })
        .collect();
    if !account.groups.contains(&account.group) {
        account.groups.insert(0, account.group);
    }
    Some(account)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/bash\nbroken\nannie:x:1000:1000:,,,:/home/annie:/bin/sh\n";
    const GROUPS: &str = "root:x:0:\nadm:x:4:syslog,annie\nann:x:5:ann\nannie:x:1000:\n";

    #[test]
    fn an_account_is_found_by_name_or_number_with_all_its_groups() {
        let annie = find("annie", PASSWD, GROUPS).expect("there is one");
        assert_eq!(
            (annie.user, annie.groups.clone(), annie.home.as_str()),
            (1000, vec![1000, 4], "/home/annie")
        );
        assert_eq!(find("1000", PASSWD, GROUPS), Some(annie));
        assert_eq!(find("ann", PASSWD, GROUPS), None);
    }
}
