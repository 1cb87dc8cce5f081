//! Rules of Windows' firewall, through COM (`INetFwPolicy2`): no program is started, and no text is put together that
//! another one would take apart.
#![expect(unsafe_code, reason = "calls of COM are unsafe in Microsoft's crate, too")]

use std::io;

use windows_com::{
    Win32::{
        Foundation::{ERROR_FILE_NOT_FOUND, VARIANT_TRUE},
        NetworkManagement::WindowsFirewall::{
            INetFwPolicy2, INetFwRule, INetFwRules, NET_FW_ACTION_ALLOW, NET_FW_IP_PROTOCOL_TCP,
            NET_FW_IP_PROTOCOL_UDP, NET_FW_PROFILE2_ALL, NET_FW_RULE_DIR_IN, NetFwPolicy2, NetFwRule,
        },
        System::{
            Com::{
                CLSCTX_INPROC_SERVER, COINIT_MULTITHREADED, CoCreateInstance, CoInitializeEx, CoUninitialize,
                IDispatch,
            },
            Ole::IEnumVARIANT,
            Variant::VARIANT,
        },
    },
    core::{BSTR, Interface as _, Result},
};
use winstead_spec::Protocol;

/// A rule that lets others reach ports of a program, in all networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FirewallRule {
    /// No other rule has it.
    pub(crate) name: String,
    /// For people.
    pub(crate) description: String,
    /// What it is found by.
    pub(crate) group: String,
    /// A file's path.
    pub(crate) program: String,
    /// Which kind of ports.
    pub(crate) protocol: Protocol,
    /// `80,8000-8010`.
    pub(crate) ports: String,
}

/// Makes a rule. Blocks.
///
/// # Errors
/// As the system has them: there is no firewall, it is not for us to change.
pub(crate) fn add_rule(rule: &FirewallRule) -> io::Result<()> {
    with_rules(|rules| {
        // SAFETY: the class has this interface; COM is there on this thread, see `with_rules`.
        let made: INetFwRule = unsafe { CoCreateInstance(&NetFwRule, None, CLSCTX_INPROC_SERVER)? };
        // SAFETY: calls of an interface that is held, with texts that outlive them. The kind of ports stands before their
        // numbers, which are refused otherwise.
        unsafe {
            made.SetName(&BSTR::from(&rule.name))?;
            made.SetDescription(&BSTR::from(&rule.description))?;
            made.SetGrouping(&BSTR::from(&rule.group))?;
            made.SetApplicationName(&BSTR::from(&rule.program))?;
            made.SetProtocol(number(rule.protocol))?;
            made.SetLocalPorts(&BSTR::from(&rule.ports))?;
            made.SetDirection(NET_FW_RULE_DIR_IN)?;
            made.SetProfiles(NET_FW_PROFILE2_ALL.0)?;
            made.SetAction(NET_FW_ACTION_ALLOW)?;
            made.SetEnabled(VARIANT_TRUE)?;
            rules.Add(&made)
        }
    })
}

/// Takes the rule of this name away. One that is not there is fine. Blocks.
///
/// # Errors
/// As the system has them.
pub(crate) fn remove_rule(name: &str) -> io::Result<()> {
    with_rules(|rules| {
        // SAFETY: a call of an interface that is held, with a text that outlives it.
        match unsafe { rules.Remove(&BSTR::from(name)) } {
            Err(error) if error.code() == ERROR_FILE_NOT_FOUND.to_hresult() => Ok(()),
            removed => removed,
        }
    })
}

/// All rules of a group for ports of TCP or UDP. Asks for each of the computer's rules, hundreds of them. Blocks.
///
/// # Errors
/// As the system has them.
pub(crate) fn rules_of(group: &str) -> io::Result<Vec<FirewallRule>> {
    with_rules(|rules| {
        // SAFETY: a call of an interface that is held.
        let all: IEnumVARIANT = unsafe { rules._NewEnum()? }.cast()?;
        let mut found = Vec::new();
        loop {
            let (mut next, mut count) = ([VARIANT::default()], 0);
            // SAFETY: a call of an interface that is held, with room for one, which is freed with `next`.
            unsafe { all.Next(&mut next, &mut count) }.ok()?;
            if count == 0 {
                return Ok(found);
            }
            let rule: INetFwRule = IDispatch::try_from(&next[0])?.cast()?;
            // SAFETY: a call of an interface that is held. A rule without a group has no text, or an error.
            if unsafe { rule.Grouping() }.is_ok_and(|of| of == *group) {
                found.extend(read(&rule, group)?);
            }
        }
    })
}

/// What a rule says; nothing: it is for something else than ports.
fn read(rule: &INetFwRule, group: &str) -> Result<Option<FirewallRule>> {
    // SAFETY: calls of an interface that is held, here and below.
    let (is, of) = unsafe { (rule.Protocol()?, rule.ApplicationName()?) };
    let Some(protocol) = [Protocol::Tcp, Protocol::Udp].into_iter().find(|kind| number(*kind) == is) else {
        return Ok(None);
    };
    // SAFETY: as above.
    let (name, description, ports) = unsafe { (rule.Name()?, rule.Description()?, rule.LocalPorts()?) };
    Ok(Some(FirewallRule {
        name: name.to_string(),
        description: description.to_string(),
        group: group.to_owned(),
        program: of.to_string(),
        protocol,
        ports: ports.to_string(),
    }))
}

const fn number(protocol: Protocol) -> i32 {
    match protocol {
        Protocol::Tcp => NET_FW_IP_PROTOCOL_TCP.0,
        Protocol::Udp => NET_FW_IP_PROTOCOL_UDP.0,
    }
}

/// Does something with the computer's rules, with COM on this thread for as long.
fn with_rules<T>(work: impl FnOnce(&INetFwRules) -> Result<T>) -> io::Result<T> {
    let rules = || {
        let _com = Com::enter()?;
        // SAFETY: the class has this interface; COM is there until all that came by it is released.
        let policy: INetFwPolicy2 = unsafe { CoCreateInstance(&NetFwPolicy2, None, CLSCTX_INPROC_SERVER)? };
        // SAFETY: a call of an interface that is held.
        work(&unsafe { policy.Rules() }?)
    };
    // With the system's number beside its words: these are searched for.
    rules().map_err(io::Error::other)
}

/// COM on this thread; it goes with this value, which stays on its thread.
struct Com(std::marker::PhantomData<*const ()>);

impl Com {
    fn enter() -> Result<Self> {
        // SAFETY: its counterpart is called when this value is dropped.
        unsafe { CoInitializeEx(None, COINIT_MULTITHREADED) }.ok()?;
        Ok(Self(std::marker::PhantomData))
    }
}

impl Drop for Com {
    fn drop(&mut self) {
        // SAFETY: counterpart of the call that made this value, on the same thread.
        unsafe { CoUninitialize() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::windows::is_wine;

    /// Wine takes all that it is told, keeps no rule, and lists none. On Windows, `selftest` tries it, with the rights that
    /// the agent has there.
    #[test]
    fn com_understands_what_a_rule_says() {
        if !is_wine() {
            return;
        }
        let rule = FirewallRule {
            name: "winstead-agent test".to_owned(),
            description: "of a test".to_owned(),
            group: "winstead-agent test".to_owned(),
            program: r"C:\no\such\program.exe".to_owned(),
            protocol: Protocol::Tcp,
            ports: "1,3-4".to_owned(),
        };
        add_rule(&rule).expect("Wine takes it");
        remove_rule(&rule.name).expect("Wine has none");
        rules_of(&rule.group).expect_err("Wine lists none");
    }
}
