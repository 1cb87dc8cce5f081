//! In which container a process is, by its cgroup. Pure.

/// What a container's scope, and nothing else, ends in.
const ID_LENGTH: usize = 64;

/// The container that `/proc/PID/cgroup` tells: the path of its cgroup, without what the container made below it. Nothing
/// outside of one.
///
/// The outermost one counts: what is inside of it, it chose itself.
pub(super) fn container(cgroups: &str) -> Option<String> {
    let mut lines: Vec<(&str, &str)> = cgroups.lines().filter_map(line).collect();
    // The one hierarchy of version 2 first, then systemd's of version 1: others may be left as they are.
    lines.sort_by_key(|(controllers, _)| match *controllers {
        "" => 0,
        "name=systemd" => 1,
        _ => 2,
    });
    lines.into_iter().find_map(|(_, path)| in_path(path))
}

/// `ID:CONTROLLERS:PATH`; the path may have colons.
fn line(line: &str) -> Option<(&str, &str)> {
    let (_, rest) = line.split_once(':')?;
    rest.split_once(':')
}

fn in_path(path: &str) -> Option<String> {
    let mut end = 0;
    let mut above = "";
    for name in path.split('/') {
        end += name.len();
        if is_container(above, name) {
            return Some(path[..end].to_owned());
        }
        (above, end) = (name, end + 1);
    }
    // A pod without a name that we know is still no part of the host.
    path.split('/').any(|name| name.starts_with("kubepods")).then(|| path.to_owned())
}

fn is_container(above: &str, name: &str) -> bool {
    let bare = name.strip_suffix(".scope").unwrap_or(name);
    // podman's and CRI-O's own helpers carry the container's number outside of it.
    let helper = bare.contains("conmon");
    let id = bare.rsplit(['-', ':', '_']).next().unwrap_or_default();
    let numbered = id.len() == ID_LENGTH && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let machine = bare.starts_with("machine-") && name.ends_with(".scope");
    (numbered && !helper)
        || machine
        || name.starts_with("systemd-nspawn@")
        || name.starts_with("lxc.payload")
        || (above == "lxc" && !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f4e0a7c1b2d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7";
    const POD: &str = "pod6f0b2c1e_8d6a_4c39_9a55_0c6de7a1f2b3";

    #[test]
    fn containers_of_version_2_are_known() {
        let slice = format!("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-{POD}.slice");
        for path in [
            format!("{slice}/cri-containerd-{ID}.scope"),
            format!("{slice}/crio-{ID}.scope"),
            format!("/system.slice/docker-{ID}.scope"),
            format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope"),
            format!("/docker/{ID}"),
            format!("/kubepods/besteffort/{POD}/{ID}"),
            format!("/system.slice/containerd.service/kubepods-besteffort-{POD}.slice:cri-containerd:{ID}"),
            "/machine.slice/systemd-nspawn@web.service".to_owned(),
            r"/machine.slice/machine-qemu\x2d1\x2dweb.scope".to_owned(),
            "/lxc.payload.web".to_owned(),
            format!("/kubepods/{POD}/kata_{ID}"),
            format!("/machine.slice/libpod-{ID}.scope"),
            format!("/libpod_parent/libpod-{ID}"),
            "/lxc/web".to_owned(),
        ] {
            assert_eq!(container(&format!("0::{path}\n")), Some(path.clone()));
            let below = format!("0::{path}/init.scope/docker-{ID}.scope\n");
            assert_eq!(container(&below), Some(path), "what is inside does not count");
        }
    }

    #[test]
    fn containers_of_version_1_are_known_whatever_stands_first() {
        // Both versions are mounted; controllers that nobody uses stay at the root.
        let docker = format!(
            "12:pids:/docker/{ID}\n11:rdma:/\n4:memory:/docker/{ID}\n1:name=systemd:/docker/{ID}\n0::/system.slice/containerd.service\n"
        );
        assert_eq!(container(&docker), Some(format!("/docker/{ID}")));
        let pod = format!(
            "11:cpuset:/kubepods/burstable/{POD}/{ID}\n1:name=systemd:/kubepods/burstable/{POD}/{ID}\n"
        );
        assert_eq!(container(&pod), Some(format!("/kubepods/burstable/{POD}/{ID}")));
    }

    #[test]
    fn what_runs_on_the_host_is_in_no_container() {
        for path in [
            "/".to_owned(),
            "/init.scope".to_owned(),
            "/user.slice/user-0.slice/session-1.scope".to_owned(),
            "/system.slice/containerd.service".to_owned(),
            format!("/machine.slice/libpod-conmon-{ID}.scope"),
            "/process_api/e7732712df5d7458a78aaa1c73aacd4e".to_owned(),
        ] {
            assert_eq!(container(&format!("0::{path}\n")), None, "{path}");
        }
        for odd in ["", "0", "0:", "::", "a\nb", "0::relative"] {
            assert_eq!(container(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_pod_without_a_number_is_not_the_host() {
        let path = format!("/kubepods.slice/kubepods-{POD}.slice/something");
        assert_eq!(container(&format!("0::{path}\n")), Some(path));
    }
}
