//! Every way in which a granted directory can lie to a place of the host.

use super::*;

/// A place in a file system without mounts: what has the same path is the same.
fn place(path: &str) -> Place {
    mounted(path, &[])
}

/// As [`place`], where some directories are others under another name: `(where, what)`.
fn mounted(path: &str, mounts: &[(&str, &str)]) -> Place {
    Place::new(path.into(), |at| {
        let mount = mounts.iter().find_map(|(on, of)| Some(Path::new(of).join(at.strip_prefix(on).ok()?)));
        let real = mount.unwrap_or_else(|| at.to_owned());
        let real = real.to_str().unwrap_or_default().trim_end_matches('/').to_owned();
        let inode = real.bytes().fold(7, |hash: u64, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        Some(Identity { device: u64::from(real.starts_with("/proc")) + 1, inode })
    })
}

fn own(role: Role, path: &str) -> Own {
    Own { role, place: place(path) }
}

fn relation_to(role: Role, grant: &Place) -> Option<Relation> {
    overlap(grant, &[own(role, "/var/host")]).map(|overlap| overlap.relation)
}

#[test]
fn a_grant_is_apart_from_every_directory_of_the_host() {
    for role in [Role::Tasks, Role::State, Role::ModuleCache, Role::ControlSockets, Role::Kernel] {
        for (grant, expected) in [
            ("/var/host", Some(Relation::Same)),
            ("/var", Some(Relation::Contains)),
            ("/", Some(Relation::Contains)),
            ("/var/host/orders", Some(Relation::Below)),
            ("/var/host/orders/modules", Some(Relation::Below)),
            ("/var/hosts", None),
            ("/var/hos", None),
            ("/srv/host", None),
            ("/host", None),
        ] {
            assert_eq!(relation_to(role.clone(), &place(grant)), expected, "{role} {grant}");
        }
    }
}

#[test]
fn a_grant_may_lie_beside_an_output_and_not_hold_it() {
    let role = || Role::Output { job: "orders".into(), system: "out".into() };
    assert_eq!(relation_to(role(), &place("/var/host")), Some(Relation::Same));
    assert_eq!(relation_to(role(), &place("/var")), Some(Relation::Contains));
    assert_eq!(relation_to(role(), &place("/var/host/data")), None);
}

#[test]
fn a_bind_mount_is_what_is_mounted() {
    let at = |grant: &str, of: &str| relation_to(Role::State, &mounted(grant, &[("/mnt/x", of)]));
    assert_eq!(at("/mnt/x", "/var/host"), Some(Relation::Same));
    assert_eq!(at("/mnt/x", "/var"), Some(Relation::Contains));
    assert_eq!(at("/mnt/x/orders", "/var/host"), Some(Relation::Below));
    assert_eq!(at("/mnt/x", "/var/other"), None);
}

#[test]
fn a_part_of_a_kernel_file_system_is_known_by_its_device_wherever_it_is_mounted() {
    let proc = [own(Role::Kernel, "/proc")];
    let grant = mounted("/mnt/x", &[("/mnt/x", "/proc/self")]);
    assert_eq!(overlap(&grant, &proc).map(|overlap| overlap.relation), Some(Relation::Below));
    // Where it is not mounted at all, everything is of the root's device.
    let none = [own(Role::Kernel, "/sys")];
    assert_eq!(overlap(&place("/srv/data"), &none), None);
}

#[test]
fn what_does_not_exist_yet_is_compared_by_its_path() {
    let exists = |path: &Path| path.starts_with("/var/host").then_some(Identity { device: 1, inode: 1 });
    let state = Own { role: Role::State, place: Place::new("/var/host/.shardmill".into(), |_| None) };
    let grant = Place::new("/var/host".into(), exists);
    assert_eq!(overlap(&grant, [&state]).map(|overlap| overlap.relation), Some(Relation::Contains));
    let apart = Place::new("/srv".into(), |_| None);
    assert_eq!(overlap(&apart, [&state]), None, "what is unknown of both is not the same");
}

#[test]
fn the_reason_names_both_places() {
    let told = overlap(&place("/var"), &[own(Role::Tasks, "/var/host")]).map(|overlap| overlap.to_string());
    let expected = "the directory /var cannot be granted: it contains /var/host, the task directory; grant one that is \
                    apart from the host's own files";
    assert_eq!(told.as_deref(), Some(expected));
}

#[test]
fn kernel_file_systems_are_known_and_others_are_not() {
    assert_eq!(kernel_file_system(0x9fa0), Some("proc"));
    assert_eq!(kernel_file_system(0x6265_6572), Some("sysfs"));
    // ext, xfs, btrfs, tmpfs, overlayfs, nfs, fuse.
    for ordinary in [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0x6969, 0x6573_5546] {
        assert_eq!(kernel_file_system(ordinary), None, "{ordinary:#x}");
    }
}
