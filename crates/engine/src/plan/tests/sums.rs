//! What fits, and what is given up for it.

use super::*;

#[test]
fn a_template_is_part_of_the_sum_and_nobody_can_reset_one_in_the_making() {
    let mut pool = pool("p", 2);
    pool.machine.start = winstead_spec::Start::Memory { warm: Vec::new() };
    let desired = wanted(pool.clone(), 1);
    let planned = plan(&desired, &room());
    let lines: Vec<&str> = planned.memory.lines.iter().map(|line| line.what.as_str()).collect();
    assert!(lines.contains(&"template of p: 1 × 256 MiB guest RAM"), "{lines:?}");
    pool.replicas = 0;
    assert!(plan(&wanted(pool, 1), &room()).memory.lines.iter().all(|line| !line.what.contains("template")));

    let mut observed = carried_out(&desired, room(), &planned);
    let seen = observed.machines.values_mut().next().unwrap();
    seen.entry.record.role = Role::Template;
    assert_eq!(asked_for(&observed, Action::Renew, |_| true).len(), 1);
    assert_eq!(asked_for(&observed, Action::Destroy, |_| true).len(), 2);
}

/// A template of the pool on that image, on which machines stand or have stood.
fn saved(pool: &Pool, byte: u8, number: u32, unused_since: Option<i64>) -> (MachineName, SeenTemplate) {
    let mut machine = record(pool, number, image(byte));
    machine.name.pool = format!("{}{byte:012}", winstead_spec::TEMPLATES).parse().unwrap();
    let mut template = crate::fixtures::template(machine);
    template.unused_since = unused_since.map(|second| jiff::Timestamp::from_second(second).unwrap());
    (template.name().clone(), SeenTemplate { template, kept: true, disk: ByteSize::from_mib(12) })
}

fn from_memory(name: &str, replicas: u32) -> Pool {
    let mut pool = pool(name, replicas);
    pool.machine.start = winstead_spec::Start::Memory { warm: Vec::new() };
    pool
}

#[test]
fn a_template_that_is_there_counts_with_what_it_has_and_one_that_is_not_with_all_that_making_it_takes() {
    let pool = from_memory("p", 1);
    let lines = |templates: &[(MachineName, SeenTemplate)]| {
        let observed = Observed { templates: templates.iter().cloned().collect(), ..room() };
        let memory = plan(&wanted(pool.clone(), 1), &observed).memory;
        let lines: Vec<_> =
            shown(&memory).lines().filter(|line| line.contains("template")).map(str::to_owned).collect();
        lines.join("\n")
    };
    insta::assert_snapshot!(lines(&[saved(&pool, 1, 0, None)]), @"
    template-000000000001-0: saved memory: 100 MiB
    template-000000000001-0: its disk: 12 MiB
    ");
    insta::assert_snapshot!(lines(&[saved(&pool, 2, 0, None)]), @"
    template of p: 1 × 256 MiB guest RAM: 256 MiB
    template of p: 1 × 320 MiB QEMU itself: 320 MiB
    template of p: 1 × 64 MiB overlay cap: 64 MiB
    template-000000000002-0: saved memory: 100 MiB
    template-000000000002-0: its disk: 12 MiB
    ");
    let (name, mut lost) = saved(&pool, 1, 0, None);
    lost.kept = false;
    insta::assert_snapshot!(lines(&[(name, lost)]), @"
    template of p: 1 × 256 MiB guest RAM: 256 MiB
    template of p: 1 × 320 MiB QEMU itself: 320 MiB
    template of p: 1 × 64 MiB overlay cap: 64 MiB
    template-000000000001-0: saved memory: 0 B
    template-000000000001-0: its disk: 12 MiB
    ");
}

#[test]
fn templates_that_nobody_needs_make_room_one_by_one_those_first_that_wait_longest() {
    let pool = from_memory("p", 1);
    let desired = wanted(pool.clone(), 1);
    let templates =
        [saved(&pool, 1, 0, Some(10)), saved(&pool, 2, 1, Some(30)), saved(&pool, 3, 2, Some(20))];
    let mut observed = Observed { templates: templates.iter().cloned().collect(), ..room() };
    let all = plan(&desired, &observed);
    assert_eq!(all.given_up, []);
    let given_up = |observed: &Observed| {
        let planned = plan(&desired, observed);
        let names = planned.given_up.iter().map(|name| name.index).collect::<Vec<_>>();
        (planned.is_admitted(), names)
    };
    let mut short_of = |mib| {
        let short = ByteSize::from_mib(mib);
        observed.capacity.memory = ByteSize::from_bytes(all.memory.needed.bytes() - short.bytes());
        given_up(&observed)
    };
    assert_eq!(short_of(1), (true, vec![2]));
    assert_eq!(short_of(112), (true, vec![2]));
    assert_eq!(short_of(113), (true, vec![2, 1]));
    assert_eq!(short_of(225), (false, vec![2, 1]), "the pool starts from the first");

    // One that a machine stands on stays, unless that machine goes.
    let mut stands = machine(&"q-0".parse().unwrap(), &desired.pools[0]);
    stands.entry.record.name = "q-0".parse().unwrap();
    stands.entry.record.origin.template = Some(templates[2].0.clone());
    observed.machines.insert("q-0".parse().unwrap(), stands);
    assert_eq!(given_up(&observed).1, [1]);
    let (digest, applied_at) = (image(2).digest, jiff::Timestamp::UNIX_EPOCH);
    let other = PoolRecord { pool: from_memory("other", 1), digest, applied_at };
    observed.pools.insert(other.pool.name.clone(), other);
    assert_eq!(given_up(&observed).1, [0; 0], "a pool that the file does not name starts from it");
    observed.pools.clear();
    let gone = Desired {
        pools: vec![DesiredPool { pool: from_memory("q", 0), ..desired.pools[0].clone() }],
        ..desired.clone()
    };
    observed.capacity.memory = ByteSize::default();
    assert_eq!(plan(&gone, &observed).given_up.len(), 3);
}

fn shown(sum: &Sum) -> String {
    let lines: Vec<String> = sum.lines.iter().map(|line| format!("{}: {}", line.what, line.size)).collect();
    lines.join("\n")
}

#[test]
fn admission_counts_every_machine_of_the_home_and_each_image_once() {
    let other = wanted(pool("other", 2), 1);
    let mut observed = carried_out(&other, room(), &plan(&other, &room()));
    observed.capacity.memory = ByteSize::from_mib(1000);
    let planned = plan(&wanted(pool("p", 1), 1), &observed);
    insta::assert_snapshot!(shown(&planned.memory), @r"
    p: 1 × 256 MiB guest RAM: 256 MiB
    p: 1 × 320 MiB QEMU itself: 320 MiB
    p: 1 × 64 MiB overlay cap: 64 MiB
    other: 2 × 256 MiB guest RAM: 512 MiB
    other: 2 × 320 MiB QEMU itself: 640 MiB
    other: 2 × 64 MiB overlay cap: 128 MiB
    image 010101010101, one copy: 300 MiB
    reserve for growing overlays: 1 GiB
    reserve for the host: 1 GiB
    ");
    assert!(!planned.memory.fits());
    assert_eq!(planned.folders, [], "every disk has a tmpfs of its own");
}

/// A pool of six on a host that counts what was measured: the first two run and hold so many MiB, the rest is new.
fn overcommitted(held: [u64; 2]) -> (Desired, Observed) {
    let before = wanted(pool("p", 2), 1);
    let mut observed = carried_out(&before, room(), &plan(&before, &room()));
    for (seen, held) in observed.machines.values_mut().zip(held) {
        let (rss, pss) = (ByteSize::from_mib(held), Some(ByteSize::from_mib(held)));
        seen.resident = Some(Resident { rss, pss, shared: Some(ByteSize::from_mib(40)), files: None });
    }
    let mut desired = wanted(pool("p", 6), 1);
    desired.host.overcommit = Some(winstead_spec::Overcommit { reserve: ByteSize::from_mib(512) });
    (desired, observed)
}

/// The lines of a sum that are about machines' RAM.
fn ram_lines(planned: &Plan) -> Vec<String> {
    let ours = |line: &&crate::admission::Line| line.what.starts_with('p') && !line.what.contains("cap");
    planned.memory.lines.iter().filter(ours).map(|line| format!("{}: {}", line.what, line.size)).collect()
}

#[test]
fn measured_overcommit_counts_what_runs_as_measured_and_what_is_new_as_the_largest_of_its_pool() {
    let (desired, observed) = overcommitted([120, 100]);
    let planned = plan(&desired, &observed);
    insta::assert_snapshot!(shown(&planned.memory), @r"
    p: 2 × guest RAM and QEMU, as measured: 220 MiB
    p: 2 × 64 MiB overlay cap: 128 MiB
    p: 4 × 120 MiB guest RAM and QEMU, as measured of its largest: 480 MiB
    p: 4 × 64 MiB overlay cap: 256 MiB
    image 010101010101, one copy: 300 MiB
    reserve for growing overlays: 1 GiB
    reserve for the host: 1 GiB
    reserve for what machines may still take: 512 MiB
    ");
    assert_eq!(planned.memory.unmeasured, [] as [String; 0]);
}

#[test]
fn of_machines_that_share_memory_only_what_is_their_own_is_counted() {
    let (mut desired, mut observed) = overcommitted([120, 100]);
    let saved = |seen: &mut Seen| seen.entry.record = clone_of_memory(seen.entry.record.clone());
    observed.machines.values_mut().for_each(saved);
    desired.pools[0].pool.machine.start = winstead_spec::Start::Memory { warm: Vec::new() };
    let own = [
        "p: 2 × guest RAM and QEMU, as measured: 140 MiB",
        "p: 4 × 80 MiB guest RAM and QEMU, as measured of its largest: 320 MiB",
    ];
    assert_eq!(ram_lines(&plan(&desired, &observed)), own);
    desired.pools[0].pool.machine.start = winstead_spec::Start::Boot;
    let planned = plan(&desired, &observed);
    assert_eq!(planned.memory.unmeasured, ["p"], "what starts from memory tells nothing of what boots");
}

#[test]
fn what_was_not_measured_counts_whole_and_the_refusal_says_how_to_begin() {
    let (mut desired, mut observed) = overcommitted([120, 100]);
    for seen in observed.machines.values_mut() {
        (seen.entry.phase, seen.entry.record.was_ready) = (Phase::Booting, false);
    }
    observed.capacity.memory = ByteSize::from_mib(1);
    let refused = plan(&desired, &observed);
    let hints = refused.admitted().unwrap_err().hints();
    let begin = "nothing was measured yet of the pool p, so its machines count whole: start it with `replicas: 1`, then raise that";
    assert_eq!(hints[0], begin);
    let whole = ["p: 6 × 256 MiB guest RAM: 1.5 GiB", "p: 6 × 320 MiB QEMU itself: 1.9 GiB"];
    assert_eq!(ram_lines(&refused), whole);
    for (cpus, byte, unmeasured) in [(1, 1, false), (2, 1, true), (1, 2, true)] {
        let (_, observed) = overcommitted([120, 100]);
        desired.pools[0].pool.machine.cpus = cpus;
        desired.pools[0].image = Some(image(byte));
        assert_eq!(!plan(&desired, &observed).memory.unmeasured.is_empty(), unmeasured, "{cpus} {byte}");
    }
}

#[test]
fn what_runs_on_is_not_refused_when_it_has_taken_of_the_reserve() {
    let (mut desired, mut observed) = overcommitted([120, 100]);
    observed.capacity.memory = ByteSize::from_mib(1);
    assert!(!plan(&desired, &observed).is_admitted());
    desired.pools[0].pool.replicas = 2;
    let planned = plan(&desired, &observed);
    assert!(planned.is_empty() && planned.is_admitted() && !planned.memory.fits());
    desired.pools[0].pool.replicas = 1;
    assert!(plan(&desired, &observed).is_admitted(), "taking one away gives memory back");
    desired.host.overcommit = None;
    assert!(!plan(&desired, &observed).is_admitted(), "without it the sum is hard");
}

#[test]
fn a_base_counts_until_the_last_machine_has_left_it_and_growth_also_over_a_lowered_reserve() {
    let before = wanted(pool("p", 1), 1);
    let mut observed = carried_out(&before, room(), &plan(&before, &room()));
    observed
        .bases
        .insert(image(1).digest.short().to_owned(), Base { size: ByteSize::from_mib(300), folder: None });
    let grown = ByteSize::from_mib(64 + 2048);
    observed.machines.values_mut().next().unwrap().entry.growth = Some(Growth { cap: grown, times: 1 });
    let newer = shown(&plan(&wanted(pool("p", 1), 2), &observed).memory);
    for line in ["image 010101010101, one copy", "image 020202020202, one copy", "growing overlays: 2 GiB"] {
        assert!(newer.contains(line), "{line} in {newer}");
    }
}

#[test]
fn a_shared_folder_has_a_sum_of_its_own() {
    let shm = PathBuf::from("/dev/shm/w");
    let mut desired = wanted(pool("p", 2), 1);
    desired.places.ram = Placement::SharedRam { folder: shm.clone() };
    let mut disk = pool("d", 3);
    disk.machine.disk.store = StoreKind::Disk;
    desired.pools.push(DesiredPool { pool: disk, image: Some(image(2)) });
    let mut observed = room();
    observed.capacity.folders.insert(shm, ByteSize::from_mib(64));
    let planned = plan(&desired, &observed);
    let [ram, disks] = &planned.folders[..] else { panic!("{:?}", planned.folders) };
    insta::assert_snapshot!(shown(&ram.sum), @r"
    p: 2 × 64 MiB overlay cap: 128 MiB
    image 010101010101, one copy: 300 MiB
    reserve for growing overlays: 1 GiB
    ");
    insta::assert_snapshot!(shown(&disks.sum), @r"
    d: 3 × 64 MiB overlay cap: 192 MiB
    reserve for growing overlays: 1 GiB
    ");
    assert!(planned.memory.fits() && !ram.sum.fits() && disks.sum.fits());
    let said = planned.admitted().unwrap_err().to_string();
    assert_eq!(said, "fit everything into this host's store /dev/shm/w: 1.4 GiB needed, 64 MiB available");
}

#[test]
fn a_machine_counts_where_its_disk_is_and_a_new_one_where_disks_are_made_now() {
    let mut desired = wanted(pool("p", 2), 1);
    let folder = |name: &str| Placement::SharedRam { folder: name.into() };
    desired.places.ram = folder("/old");
    let mut observed = room();
    let first = machine(&"p-0".parse().unwrap(), &desired.pools[0]);
    observed.machines.insert(first.entry.record.name.clone(), first);
    observed.machines.values_mut().next().unwrap().entry.record.location.placement = folder("/old");
    desired.places.ram = folder("/new");
    let planned = plan(&desired, &observed);
    let caps = planned.folders.iter().map(|of| of.sum.lines[0].what.as_str()).collect::<Vec<_>>();
    assert_eq!(caps, ["p: 1 × 64 MiB overlay cap"; 2]);
}
