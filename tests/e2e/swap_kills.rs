//! A process is killed at each step of a swap: while the new version is compiled, tried out and built, before and after
//! what is to run is written down, in the last call of the old version, in its `before-stop`, while outputs are flushed and
//! the checkpoint is written, at the first record of the new version, in and between the waves of a canary, in a roll-back
//! and in a promotion. Each time another process goes on: with what is written down, with nothing lost, and the rollout
//! ends where it should. A step is a gate in the task, a lock on a file, a call held by the local backend, or a signal to
//! a child: nothing in the binary knows of it. `FAIL_POINT=flushed` tries only the points with this text in their names.

use std::fs;
use std::process::{Command, Stdio};

use shardmill_local::{Fault, FaultAction, FaultHandle};
use shardmill_tests::properties::Properties;
use shardmill_tests::wait::until_blocking;

use crate::fleet::side_by_side;
use crate::process::command;
use crate::swap_fleet::{SHARDS, SwapFleet, Version};

/// Points that are tried at the same time: most of the time everybody waits.
const AT_ONCE: usize = 6;
const CHECKPOINT: &str = "checkpoint = :sequence";
/// A wave that nobody waits for the end of.
const LONG: &str = "3600000";
/// Long enough to be found in it.
const SHORT: &str = "300";

struct Step {
    name: &'static str,
    set: fn(Properties) -> Properties,
    /// Brings the swap from `v1` to `v2` to this step, and the process with it to its death. Returns a call that is
    /// still held.
    kill: fn(&mut SwapFleet) -> Option<FaultHandle>,
    /// What is to be done when another process goes on, so that the rollout comes to its end.
    after: fn(&mut SwapFleet),
    /// The version that all shards are on in the end.
    ends_with: &'static str,
}

const fn step(name: &'static str, kill: fn(&mut SwapFleet) -> Option<FaultHandle>) -> Step {
    Step { name, set: at_once, kill, after: |_| {}, ends_with: "v2" }
}

const STEPS: &[Step] = &[
    step("compiled", |swaps| compiled(swaps, "KILL")),
    step("compiled, and the compiler goes on", |swaps| compiled(swaps, "CONT")),
    step("tried out", tried_out),
    step("tried out, and stopped in good order", stopped),
    Step { set: bad, ends_with: "v1", ..step("tried out, and it is bad", tried_out) },
    step("built", built),
    step("built and not written", built_and_not_written),
    step("written and not routed, in the last call of the old version", written_and_not_routed),
    step("before-stop", before_stop),
    step("flushed", flushed),
    step("checkpointed, and the call is lost", |swaps| checkpointed(swaps, FaultAction::HoldRequest)),
    step("checkpointed, and the call is late", late),
    step("checkpointed, and the reply is lost", |swaps| checkpointed(swaps, FaultAction::HoldReply)),
    Step {
        set: |properties| second("process", "if first gate first", at_once(properties)),
        ..step("first record", first_record)
    },
    Step { set: waves, ..step("in the first wave", |swaps| in_wave(swaps, 0)) },
    Step { set: waves, ..step("in the second wave", |swaps| in_wave(swaps, 1)) },
    Step { set: waves, ..step("between the first wave and the second", |swaps| between_waves(swaps, 0)) },
    Step { set: waves, ..step("between the second wave and the third", |swaps| between_waves(swaps, 1)) },
    Step { set: canary, ends_with: "v1", ..step("rolled back and not written", rolled_back_and_not_written) },
    Step { set: canary, ends_with: "v1", ..step("rolled back and not routed", rolled_back_and_not_routed) },
    Step { set: bad, ends_with: "v1", ..step("rolled back after it took over, and not written", taken_back) },
    Step { set: canary, after: promote_when_it_runs, ..step("promoted and not written", promoted_and_not_written) },
    Step { set: canary, ..step("promoted and not routed", promoted_and_not_routed) },
    Step { set: canary, ..step("promoted, in before-stop", promoted_in_before_stop) },
];

fn at_once(properties: Properties) -> Properties {
    let properties = Version::new("v1").order(properties, "before-stop", "gate goodbye");
    second("init", "gate init", properties)
}

fn second(call: &str, order: &str, properties: Properties) -> Properties {
    Version::new("v2").order(properties, call, order)
}

fn bad(properties: Properties) -> Properties {
    second("process", "if bad trap", at_once(properties))
}

fn in_waves(waves: &str, bake: &str, properties: Properties) -> Properties {
    let properties = properties.set("task.rollout", "canary").set("task.rollout.waves", waves);
    bad(properties.set("task.rollout.bake.ms", bake))
}

fn waves(properties: Properties) -> Properties {
    in_waves("1,50%,75%", SHORT, properties)
}

fn canary(properties: Properties) -> Properties {
    in_waves("50%", LONG, properties)
}

/// Starts a process with `v1`, some of its gates shut, and puts `v2` beside it.
fn begin(swaps: &mut SwapFleet, shut: &[&str]) -> String {
    let run = swaps.start(shut);
    swaps.processes(&Version::new("v1"), SHARDS as usize);
    swaps.put(&Version::new("v2"));
    run
}

fn compiled(swaps: &mut SwapFleet, fate: &str) -> Option<FaultHandle> {
    let cache = swaps.fleet.account.path("modules");
    let run = swaps.start_with("worker-0", &[], &["--module-cache", &cache.display().to_string()]);
    swaps.processes(&Version::new("v1"), SHARDS as usize);
    swaps.put(&Version::new("v2"));
    let host = swaps.fleet.member(&run).id();
    let compiler = until_blocking("the compiler is at work", || child_of(host));
    signal("STOP", compiler);
    swaps.crash(&run);
    signal(fate, compiler);
    None
}

/// The child that compiles a module.
fn child_of(host: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{host}/task/{host}/children")).ok()?;
    let threads = fs::read_dir(format!("/proc/{host}/task")).ok()?.flatten();
    let all = threads.map(|thread| fs::read_to_string(thread.path().join("children")).unwrap_or_default());
    let all: Vec<String> = all.chain([children]).collect();
    all.iter().flat_map(|line| line.split_whitespace()).find_map(|child| child.parse().ok())
}

fn signal(name: &str, process: u32) {
    let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {process}")).status().unwrap();
    assert!(sent.success(), "SIG{name} was not sent to the compiler {process}: it has ended");
}

fn tried_out(swaps: &mut SwapFleet) -> Option<FaultHandle> {
    let run = begin(swaps, &["init"]);
    swaps.reached(&run, "init");
    swaps.crash(&run);
    None
}

fn stopped(swaps: &mut SwapFleet) -> Option<FaultHandle> {
    let run = begin(swaps, &["init"]);
    swaps.reached(&run, "init");
    swaps.stop(&run);
    None
}

/// Comes to the `init` of the instance that is to take over; that of the trial is past.
fn come_to_build(swaps: &mut SwapFleet, shut: &[&str]) -> String {
    let shut: Vec<&str> = shut.iter().copied().chain(["init"]).collect();
    let run = begin(swaps, &shut);
    swaps.reached(&run, "init");
    swaps.pass(&run, "init");
    swaps.reached(&run, "init");
    run
}

fn built(swaps: &mut SwapFleet) -> Option<FaultHandle> {
    let run = come_to_build(swaps, &[]);
    swaps.crash(&run);
    None
}

fn built_and_not_written(swaps: &mut SwapFleet) -> Option<FaultHandle> {
    let run = come_to_build(swaps, &[]);
    let lock = swaps.hold_deployment();
    swaps.pass(&run, "init");
    swaps.waits_to_write(&run);
    assert_eq!(swaps.deployment().unwrap().current, Version::new("v1").id);
    swaps.crash(&run);
    drop(lock);
    None
}

fn written_and_not_routed(swaps: &mut SwapFleet) -> Option<FaultHandle> {
    let run = come_to_build(swaps, &["call"]);
    swaps.put_record("last", "gate call");
    swaps.reached(&run, "call");
    swaps.pass(&run, "init");
    swaps.alone(&Version::new("v2"));
    swaps.crash(&run);
    None
}

fn before_stop(swaps: &mut SwapFleet) -> Option<FaultHandle> {
    let run = begin(swaps, &["goodbye"]);
    swaps.reached(&run, "goodbye");
    swaps.crash(&run);
    None
}

/// The kernel ends a process that writes beyond its limit for files: here in the first write of the swap's flush.
fn flushed(swaps: &mut SwapFleet) -> Option<FaultHandle> {
    let run = come_to_build(swaps, &["call", "goodbye"]);
    // Its message is in the buffer when the flush begins.
    swaps.put_record("last", "gate call");
    swaps.reached(&run, "call");
    swaps.pass(&run, "init");
    swaps.alone(&Version::new("v2"));
    swaps.pass(&run, "call");
    swaps.reached(&run, "goodbye");
    swaps.limit_files(&run, true);
    swaps.pass(&run, "goodbye");
    assert_eq!(swaps.died(&run), None, "a signal ends it");
    None
}

fn checkpoint_held(swaps: &mut SwapFleet, action: FaultAction) -> (String, FaultHandle) {
    let run = begin(swaps, &["goodbye"]);
    swaps.reached(&run, "goodbye");
    let checkpoint = Fault::new(action).operation("UpdateItem").containing(CHECKPOINT).caller(&run);
    let held = swaps.fleet.account.dynamodb_faults().inject(checkpoint);
    swaps.pass(&run, "goodbye");
    until_blocking("a checkpoint is held", || held.held().first().map(drop));
    (run, held)
}

fn checkpointed(swaps: &mut SwapFleet, action: FaultAction) -> Option<FaultHandle> {
    let (run, held) = checkpoint_held(swaps, action);
    swaps.crash(&run);
    held.cut();
    None
}

fn late(swaps: &mut SwapFleet) -> Option<FaultHandle> {
    let (run, held) = checkpoint_held(swaps, FaultAction::HoldRequest);
    swaps.crash(&run);
    Some(held)
}

fn first_record(swaps: &mut SwapFleet) -> Option<FaultHandle> {
    let run = begin(swaps, &["first"]);
    swaps.reached(&run, "first");
    swaps.crash(&run);
    None
}

fn in_wave(swaps: &mut SwapFleet, wave: usize) -> Option<FaultHandle> {
    let run = begin(swaps, &[]);
    let lock = come_to_wave(swaps, wave);
    swaps.processes(&Version::new("v2"), [1, 2][wave]);
    swaps.crash(&run);
    drop(lock);
    None
}

/// Nothing is written from now on: the wave lasts.
fn come_to_wave(swaps: &SwapFleet, wave: usize) -> fs::File {
    swaps.candidate(&Version::new("v2"), wave);
    let lock = swaps.hold_deployment();
    swaps.candidate(&Version::new("v2"), wave);
    lock
}

fn between_waves(swaps: &mut SwapFleet, wave: usize) -> Option<FaultHandle> {
    let run = begin(swaps, &[]);
    let lock = come_to_wave(swaps, wave);
    swaps.waits_to_write(&run);
    swaps.crash(&run);
    drop(lock);
    None
}

/// Comes to a canary that has half of the shards.
fn come_to_canary(swaps: &mut SwapFleet, shut: &[&str]) -> String {
    let run = begin(swaps, shut);
    swaps.candidate(&Version::new("v2"), 0);
    swaps.processes(&Version::new("v2"), SHARDS as usize / 2);
    run
}

fn rolled_back_and_not_written(swaps: &mut SwapFleet) -> Option<FaultHandle> {
    let run = come_to_canary(swaps, &[]);
    let lock = swaps.hold_deployment();
    swaps.shut(&run, "bad");
    swaps.waits_to_write(&run);
    assert!(swaps.deployment().unwrap().candidate.is_some());
    swaps.crash(&run);
    drop(lock);
    None
}

fn rolled_back_and_not_routed(swaps: &mut SwapFleet) -> Option<FaultHandle> {
    let run = come_to_canary(swaps, &["call"]);
    let lock = swaps.hold_deployment();
    swaps.shut(&run, "bad");
    swaps.waits_to_write(&run);
    // The task is at a record of the version that goes on, and hears of nothing.
    for key in 0..SHARDS * 4 {
        swaps.put_record(&format!("key-{key}"), "gate call");
    }
    swaps.reached(&run, "call");
    drop(lock);
    swaps.alone(&Version::new("v1"));
    swaps.crash(&run);
    None
}

/// `v2` has all shards, and turns out bad: `v1` is warm.
fn taken_back(swaps: &mut SwapFleet) -> Option<FaultHandle> {
    let run = begin(swaps, &[]);
    swaps.alone(&Version::new("v2"));
    swaps.processes(&Version::new("v2"), SHARDS as usize);
    let lock = swaps.hold_deployment();
    swaps.shut(&run, "bad");
    swaps.waits_to_write(&run);
    swaps.crash(&run);
    drop(lock);
    None
}

fn promote_when_it_runs(swaps: &mut SwapFleet) {
    swaps.processes(&Version::new("v2"), SHARDS as usize / 2);
    promote(swaps);
}

fn promote(swaps: &SwapFleet) {
    let said = swaps.tell(&["promote", "echo"]);
    assert!(said.status.success(), "{said:?}");
}

/// Asks for the promotion without waiting for the answer.
fn begin_to_promote(swaps: &SwapFleet) -> std::process::Child {
    // It says that the host is gone.
    command(&swaps.fleet.account, &["promote", "echo"]).stderr(Stdio::null()).spawn().unwrap()
}

fn promoted_and_not_written(swaps: &mut SwapFleet) -> Option<FaultHandle> {
    let run = come_to_canary(swaps, &[]);
    let lock = swaps.hold_deployment();
    let mut asking = begin_to_promote(swaps);
    swaps.waits_to_write(&run);
    swaps.crash(&run);
    drop(lock);
    asking.wait().unwrap();
    None
}

fn promoted_and_not_routed(swaps: &mut SwapFleet) -> Option<FaultHandle> {
    let run = come_to_canary(swaps, &["call"]);
    swaps.put_record("last", "gate call");
    swaps.reached(&run, "call");
    let mut asking = begin_to_promote(swaps);
    swaps.alone(&Version::new("v2"));
    swaps.crash(&run);
    asking.wait().unwrap();
    None
}

fn promoted_in_before_stop(swaps: &mut SwapFleet) -> Option<FaultHandle> {
    let run = come_to_canary(swaps, &["goodbye"]);
    promote(swaps);
    swaps.reached(&run, "goodbye");
    swaps.crash(&run);
    None
}

impl Step {
    fn play(&self) {
        let mut swaps = SwapFleet::new(self.name, self.set);
        let held = (self.kill)(&mut swaps);
        let shut: &[&str] = if self.ends_with == "v1" { &["bad"] } else { &[] };
        let next = swaps.start(shut);
        (self.after)(&mut swaps);
        let last = Version::new(self.ends_with);
        swaps.written(&format!("{} is what remains", last.name), |deployment| {
            let is_quarantined = deployment.quarantine(Version::new("v2").id).is_some();
            let is_alone = deployment.current == last.id && deployment.candidate.is_none();
            is_alone && is_quarantined == (self.ends_with == "v1")
        });
        swaps.processes(&last, SHARDS as usize);
        if let Some(held) = held {
            held.remove();
        }
        swaps.stop(&next);
        let next = swaps.start(&[]);
        swaps.processes(&last, SHARDS as usize);
        assert_eq!(swaps.fleet.living(), [next]);
        swaps.finish();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_at_any_step_of_a_swap_has_a_successor_that_ends_it() {
    let wanted = std::env::var("FAIL_POINT").unwrap_or_default();
    let steps: Vec<_> = STEPS.iter().filter(|step| step.name.contains(&wanted)).collect();
    side_by_side(AT_ONCE, steps, Step::play);
}
