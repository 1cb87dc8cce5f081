//! Who may write, as a security descriptor in SDDL says it. Text in, names out; the same on every system.
#![cfg_attr(
    all(unix, not(test)),
    expect(dead_code, reason = "only Windows has descriptors; the reader is tested everywhere")
)]

/// Those who can do everything anyway: the system, administrators, and who installs Windows' own parts.
const TRUSTED: [&str; 5] = ["SY", "BA", "S-1-5-18", "S-1-5-32-544", TRUSTED_INSTALLER];
const TRUSTED_INSTALLER: &str = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464";
/// To write, append, write attributes, delete, delete children, change rights or owner, and all of it: bits of a file's
/// access mask.
const WRITING: u32 =
    0x2 | 0x4 | 0x10 | 0x40 | 0x100 | 0x1_0000 | 0x4_0000 | 0x8_0000 | 0x4000_0000 | 0x1000_0000;

/// To read, and all of it: bits of a file's access mask.
const READING: u32 = 0x1 | 0x8000_0000 | 0x1000_0000;
/// Two letters each; these neither read nor write what is in a file.
const LOOKING: [&str; 7] = ["FX", "GX", "LO", "RC", "RP", "SW", "WP"];

/// Who may change something besides those who are trusted and `own`, owner and creator included. What is not understood counts as
/// the right to.
pub(crate) fn untrusted_writers(sddl: &str, own: &str) -> Vec<String> {
    untrusted(sddl, own, may_write)
}

/// Who may read something, or could give themselves the right to, besides those who are trusted and `own`.
pub(crate) fn untrusted_readers(sddl: &str, own: &str) -> Vec<String> {
    untrusted(sddl, own, may_read)
}

fn untrusted(sddl: &str, own: &str, may: impl Fn(&str) -> bool) -> Vec<String> {
    let trusted = |who: &str| who == own || TRUSTED.contains(&who);
    let mut found = Vec::new();
    if let Some(owner) = sddl.split("O:").nth(1) {
        let owner = owner.split(['D', 'G', ':']).next().unwrap_or_default();
        if !trusted(owner) {
            found.push(format!("the owner {owner}"));
        }
    }
    let Some(list) = sddl.split("D:").nth(1).filter(|list| !list.starts_with("NO_ACCESS_CONTROL")) else {
        found.push("everybody: there is no list".to_owned());
        return found;
    };
    for entry in list.split('(').skip(1).map(|entry| entry.split(')').next().unwrap_or_default()) {
        let fields: Vec<&str> = entry.split(';').collect();
        let &[kind, _, rights, _, _, who, ..] = fields.as_slice() else {
            found.push(entry.to_owned());
            continue;
        };
        if kind.ends_with('A') && may(rights) && !trusted(who) && who != "CO" {
            found.push(who.to_owned());
        }
    }
    found
}

fn may_write(rights: &str) -> bool {
    if let Some(mask) = rights.strip_prefix("0x") {
        return u32::from_str_radix(mask, 16).is_ok_and(|mask| mask & WRITING != 0);
    }
    // Two letters each; these only read, list, traverse and run.
    let harmless = ["GR", "GX", "FR", "FX", "RC", "CC", "SW", "LO", "RP"];
    rights.as_bytes().chunks(2).any(|pair| !harmless.iter().any(|name| name.as_bytes() == pair))
}

fn may_read(rights: &str) -> bool {
    match rights.strip_prefix("0x") {
        Some(mask) => u32::from_str_radix(mask, 16).is_ok_and(|mask| mask & READING != 0),
        None => rights.as_bytes().chunks(2).any(|pair| !LOOKING.iter().any(|name| name.as_bytes() == pair)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_system_and_administrators_write_into_a_locked_folder() {
        assert!(untrusted_writers("O:BAD:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)", "S-1-5-21-7").is_empty());
        assert!(
            untrusted_writers("O:SYD:PAI(A;OICI;FA;;;BA)(A;OICI;0x1200a9;;;BU)", "S-1-5-21-7").is_empty()
        );
    }

    #[test]
    fn everybody_else_who_may_write_is_named() {
        // What C:\ProgramData hands down: users may make files.
        let sddl = "O:BAD:AI(A;OICIID;FA;;;SY)(A;OICIID;0x1200a9;;;BU)(A;CIID;DCLCRPCR;;;BU)";
        assert_eq!(untrusted_writers(sddl, "S-1-5-21-7"), ["BU"]);
        assert_eq!(
            untrusted_writers("O:S-1-5-21-1-2-3-1001D:(A;;FA;;;BA)", "S-1-5-21-7"),
            ["the owner S-1-5-21-1-2-3-1001"]
        );
        assert_eq!(
            untrusted_writers("O:BAD:(A;;GW;;;WD)(A;;0x2;;;AU)(D;;FA;;;AN)", "S-1-5-21-7"),
            ["WD", "AU"]
        );
        assert_eq!(untrusted_writers("O:BA", "S-1-5-21-7"), ["everybody: there is no list"]);
    }

    #[test]
    fn everybody_else_who_may_read_is_named() {
        let readers = |list: &str| untrusted_readers(&format!("O:BAD:{list}"), "S-1-5-21-7");
        assert!(readers("PAI(A;;FA;;;SY)(A;;FA;;;BA)(A;;FR;;;S-1-5-21-7)").is_empty());
        assert_eq!(readers("AI(A;ID;FA;;;SY)(A;ID;0x1200a9;;;BU)"), ["BU"]);
        assert_eq!(readers("(A;;FR;;;WD)(A;;CC;;;AU)(A;;0x100000;;;BG)(A;;FX;;;IU)"), ["WD", "AU"]);
    }
}
