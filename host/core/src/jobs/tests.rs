//! The machine with one job by hand, and with many events at random.

use super::intake::{RAN_WELL, RESTART_AFTER};
use super::*;
use crate::dice::{Dice, histories};
use crate::module::ModuleId;
use crate::rollout::{Deployment, Quarantined};

const NAME: &str = "orders";
const V1: ModuleId = ModuleId::of_sha256([1; 32]);
const V2: ModuleId = ModuleId::of_sha256([2; 32]);

fn other(byte: u8) -> ModuleId {
    ModuleId::of_sha256([byte; 32])
}

fn name() -> String {
    NAME.to_owned()
}

fn module(id: ModuleId) -> Event {
    Event::Module { name: name(), id, flaw: None }
}

fn flawed(id: ModuleId) -> Event {
    Event::Module { name: name(), id, flaw: Some("cut short".to_owned()) }
}

fn configured(version: u64) -> Event {
    Event::Configured { name: name(), version }
}

fn admitted(id: ModuleId) -> Event {
    Event::Admitted { name: name(), id }
}

fn rejected(id: ModuleId) -> Event {
    Event::Rejected { name: name(), id, reason: "no good".to_owned(), cause: Cause::Bytes }
}

/// What is written down: nothing, or what runs.
fn recalled(config: u64, current: Option<ModuleId>) -> Event {
    Event::Recalled { name: name(), recalled: Recalled { config, current, rejected: Vec::new() } }
}

fn known(current: Option<ModuleId>, id: ModuleId, cause: Cause) -> Event {
    let rejected = vec![Known { id, reason: "no good".to_owned(), cause }];
    Event::Recalled { name: name(), recalled: Recalled { config: 1, current, rejected } }
}

fn settled(id: ModuleId) -> Event {
    Event::Settled { name: name(), id }
}

fn ended(end: End) -> Event {
    Event::Ended { name: name(), end }
}

fn gone(on_delete: OnDelete) -> Event {
    Event::ModuleGone { name: name(), on_delete }
}

fn admit(id: ModuleId) -> Action {
    Action::Admit { name: name(), id }
}

fn recall() -> Action {
    Action::Recall { name: name() }
}

fn start(id: ModuleId) -> Action {
    Action::Start { name: name(), offer: Some(id) }
}

/// With what is written down alone.
fn start_kept() -> Action {
    Action::Start { name: name(), offer: None }
}

fn deploy(id: ModuleId) -> Action {
    Action::Deploy { name: name(), id }
}

fn stop() -> Action {
    Action::Stop { name: name() }
}

/// A host whose one job runs the first version.
fn running() -> Jobs {
    let mut jobs = Jobs::default();
    assert_eq!(jobs.on(0, configured(1)), []);
    assert_eq!(jobs.on(0, module(V1)), [recall()]);
    assert_eq!(jobs.on(0, recalled(1, None)), [admit(V1)]);
    assert_eq!(jobs.on(0, admitted(V1)), [start(V1)]);
    assert_eq!(jobs.on(0, settled(V1)), []);
    jobs
}

/// A host that starts, with a version written down and another in the directory.
fn restarted(in_directory: Event) -> Jobs {
    let mut jobs = Jobs::default();
    assert_eq!(jobs.on(0, configured(1)), []);
    assert_eq!(jobs.on(0, in_directory), [recall()]);
    jobs
}

fn rejection(jobs: &Jobs) -> Option<(ModuleId, String)> {
    let (id, reason) = jobs.get(NAME)?.rejected()?;
    Some((*id, reason.to_owned()))
}

fn state(jobs: &Jobs) -> State {
    jobs.get(NAME).expect("it was named").state()
}

#[test]
fn the_same_bytes_again_change_nothing() {
    let mut jobs = running();
    assert_eq!(jobs.on(1, module(V1)), []);
    assert_eq!(jobs.on(1, configured(1)), []);
}

#[test]
fn new_bytes_are_admitted_and_then_deployed_while_the_old_run() {
    let mut jobs = running();
    assert_eq!(jobs.on(1, module(V2)), [admit(V2)]);
    assert_eq!(state(&jobs), State::Running);
    assert_eq!(jobs.on(2, admitted(V2)), [deploy(V2)]);
    assert_eq!(jobs.on(3, module(V1)), [admit(V1)], "the old bytes again are a deployment like any other");
    assert_eq!(jobs.on(4, admitted(V1)), [deploy(V1)]);
}

#[test]
fn bytes_that_come_during_an_admission_are_next() {
    let mut jobs = running();
    assert_eq!(jobs.on(1, module(V2)), [admit(V2)]);
    assert_eq!(jobs.on(2, module(other(3))), []);
    assert_eq!(jobs.on(3, module(other(4))), []);
    assert_eq!(jobs.on(4, rejected(V2)), [admit(other(4))], "what was replaced meanwhile is nobody's wish");
}

#[test]
fn a_rejected_module_stops_nothing_and_is_not_tried_again() {
    let mut jobs = running();
    jobs.on(1, module(V2));
    assert_eq!(jobs.on(2, rejected(V2)), []);
    assert_eq!(state(&jobs), State::Running);
    assert_eq!(jobs.get(NAME).and_then(Job::rejected), Some((&V2, "no good")));
    assert_eq!(jobs.on(3, module(V2)), []);
    assert_eq!(jobs.on(4, module(V1)), [], "it runs");
    assert_eq!(jobs.get(NAME).and_then(Job::rejected), None, "the bad bytes are gone");
}

#[test]
fn a_module_that_could_not_be_checked_is_checked_again_later() {
    let mut jobs = running();
    jobs.on(1, module(V2));
    assert_eq!(jobs.on(2, Event::NotAdmitted { name: name(), id: V2, reason: "no memory".to_owned() }), []);
    assert_eq!(jobs.get(NAME).and_then(Job::put_off), Some("no memory"));
    let at = jobs.wake_at();
    assert_eq!(jobs.on(at - 1, Event::Tick), []);
    assert_eq!(jobs.on(at, Event::Tick), [admit(V2)]);
    assert_eq!(jobs.wake_at(), Millis::MAX);
}

#[test]
fn a_new_configuration_restarts_gracefully() {
    let mut jobs = running();
    assert_eq!(jobs.on(1, configured(2)), [stop()]);
    assert_eq!(state(&jobs), State::Stopping);
    assert_eq!(jobs.on(2, configured(3)), []);
    assert_eq!(jobs.on(3, ended(End::Stopped)), [recall()]);
    assert_eq!(jobs.on(3, recalled(3, Some(V1))), [start(V1)]);
}

#[test]
fn a_bad_configuration_leaves_the_job_running() {
    let mut jobs = running();
    assert_eq!(jobs.on(1, Event::Misconfigured { name: name(), reason: "typo".to_owned() }), []);
    assert_eq!(state(&jobs), State::Running);
    assert_eq!(jobs.get(NAME).and_then(Job::misconfigured), Some("typo"));
    assert_eq!(jobs.on(2, configured(1)), []);
    assert_eq!(jobs.get(NAME).and_then(Job::misconfigured), None);
}

#[test]
fn a_removed_module_keeps_its_job_unless_the_configuration_says_stop() {
    let mut jobs = running();
    assert_eq!(jobs.on(1, gone(OnDelete::Keep)), []);
    assert_eq!(jobs.on(1, module(V1)), []);
    assert_eq!(jobs.on(2, gone(OnDelete::Stop)), [stop()]);
    assert_eq!(jobs.on(3, ended(End::Stopped)), []);
    assert!(jobs.get(NAME).is_none(), "nobody waits for it");
    assert_eq!(jobs.on(4, configured(1)), []);
    assert_eq!(jobs.on(4, module(V1)), [recall()], "it is back");
    assert_eq!(jobs.on(4, recalled(1, Some(V1))), [admit(V1)]);
    assert_eq!(jobs.on(4, admitted(V1)), [start(V1)]);
}

/// A host that waits for a module that somebody took away would never be ready.
#[test]
fn a_module_that_never_ran_is_forgotten_with_its_file() {
    for answer in [rejected(V1), admitted(V1)] {
        let mut jobs = Jobs::default();
        assert_eq!(jobs.on(0, Event::Misconfigured { name: name(), reason: "typo".to_owned() }), []);
        assert_eq!(jobs.on(0, module(V1)), [admit(V1)]);
        assert_eq!(jobs.on(1, gone(OnDelete::Keep)), []);
        assert!(jobs.get(NAME).is_none());
        assert_eq!(jobs.on(2, answer), [], "too late");
        assert!(jobs.get(NAME).is_none());
    }
}

/// It did not start, or did worse than the running version, with the configuration that there was.
#[test]
fn a_module_that_does_not_go_with_the_configuration_is_tried_with_the_next() {
    let mut jobs = running();
    assert_eq!(jobs.on(1, module(V2)), [admit(V2)]);
    assert_eq!(jobs.on(2, admitted(V2)), [deploy(V2)]);
    let (reason, cause) = ("init".to_owned(), Cause::Configuration);
    let unfit = Event::Rejected { name: name(), id: V2, reason, cause };
    assert_eq!(jobs.on(3, unfit), []);
    assert!(rejection(&jobs).is_some());
    jobs.on(4, ended(End::Failed("unreachable".to_owned())));
    assert_eq!(jobs.on(jobs.wake_at(), Event::Tick), [recall()]);
    assert_eq!(jobs.on(1_500, recalled(1, Some(V1))), [start_kept()], "the same configuration: it is not tried again");
    assert_eq!(jobs.on(2_000, configured(2)), [admit(V2), stop()]);
    assert_eq!(rejection(&jobs), None);
    assert_eq!(jobs.on(2_001, ended(End::Stopped)), [recall()]);
    assert_eq!(jobs.on(2_001, recalled(2, Some(V1))), [], "it is waited for");
    assert_eq!(jobs.on(2_002, admitted(V2)), [start(V2)]);
}

#[test]
fn a_job_that_a_service_stopped_starts_again_later_and_later() {
    let mut jobs = running();
    let mut now = 0;
    let mut waits = Vec::new();
    for _ in 0..9 {
        assert_eq!(jobs.on(now, ended(End::Failed("unreachable".to_owned()))), []);
        let at = jobs.wake_at();
        waits.push(at - now);
        assert_eq!(jobs.on(at - 1, Event::Tick), []);
        assert_eq!(jobs.on(at, Event::Tick), [recall()]);
        assert_eq!(jobs.on(at, recalled(1, Some(V1))), [start(V1)]);
        now = at;
    }
    assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
    now += RAN_WELL;
    jobs.on(now, ended(End::Failed("unreachable".to_owned())));
    assert_eq!(jobs.wake_at(), now + RESTART_AFTER, "it had run well");
}

#[test]
fn a_job_whose_task_gave_up_waits_for_a_change() {
    let by_hand = [Event::Resume { name: name() }, Event::DeploymentChanged { name: name() }];
    for change in [module(V2), configured(2)].into_iter().chain(by_hand) {
        let mut jobs = running();
        assert_eq!(jobs.on(1, ended(End::TaskFailed("poison".to_owned()))), []);
        assert_eq!(state(&jobs), State::Failed { reason: "poison".to_owned(), restart_at: None });
        assert_eq!(jobs.wake_at(), Millis::MAX);
        let version = if change == configured(2) { 2 } else { 1 };
        let mut actions = jobs.on(2, change);
        if actions == [admit(V2)] {
            actions = jobs.on(3, admitted(V2));
        }
        assert_eq!(actions, [recall()]);
        let actions = jobs.on(4, recalled(version, Some(V1)));
        assert!(matches!(actions[..], [Action::Start { .. }]), "{actions:?}");
    }
}

#[test]
fn a_drained_job_stays_down_until_it_is_resumed() {
    let mut jobs = running();
    assert_eq!(jobs.on(1, Event::Drain { name: name() }), [stop()]);
    assert_eq!(jobs.on(2, ended(End::Stopped)), []);
    assert_eq!(state(&jobs), State::Drained);
    assert_eq!(jobs.on(3, module(V2)), [admit(V2)]);
    assert_eq!(jobs.on(4, admitted(V2)), []);
    assert_eq!(jobs.on(5, Event::Resume { name: name() }), [recall()]);
    assert_eq!(jobs.on(5, recalled(1, Some(V1))), [start(V2)]);
}

#[test]
fn a_task_that_asked_to_stop_is_done() {
    let mut jobs = running();
    assert_eq!(jobs.on(1, ended(End::Stopped)), []);
    assert_eq!(state(&jobs), State::Drained);
}

#[test]
fn a_host_is_over_when_its_last_job_has_ended() {
    let mut jobs = running();
    jobs.on(0, Event::Configured { name: "other".to_owned(), version: 1 });
    assert_eq!(jobs.on(1, Event::Stop), [stop()]);
    assert!(!jobs.is_over());
    assert_eq!(jobs.on(2, module(V2)), [], "nothing new begins");
    assert_eq!(jobs.on(3, ended(End::Failed("cut short".to_owned()))), []);
    assert!(jobs.is_over());
    assert_eq!(jobs.on(100_000, Event::Tick), [], "nor again");
}

/// The table of the machine's documentation.
#[test]
fn what_the_deployment_calls_current_starts_whatever_is_in_the_directory() {
    let kept = || recalled(1, Some(V1));
    for in_directory in [flawed(V2), Event::ModuleAbsent { name: name() }] {
        let mut jobs = restarted(in_directory.clone());
        assert_eq!(jobs.on(1, kept()), [start_kept()], "{in_directory:?}");
        assert_eq!(state(&jobs), State::Running);
    }
    let mut jobs = restarted(module(V2));
    assert_eq!(jobs.on(1, kept()), [admit(V2)], "it is waited for");
    assert_eq!(
        jobs.on(2, rejected(V2)),
        [start_kept()],
        "not a component, wrong world, too large, too long to compile"
    );
    assert_eq!(rejection(&jobs), Some((V2, "no good".to_owned())));

    let mut jobs = restarted(module(V2));
    jobs.on(1, kept());
    assert_eq!(jobs.on(2, admitted(V2)), [start(V2)], "it is offered");

    let mut jobs = restarted(module(V2));
    jobs.on(1, kept());
    let not_now = Event::NotAdmitted { name: name(), id: V2, reason: "no memory".to_owned() };
    assert_eq!(jobs.on(2, not_now), [start_kept()], "this machine cannot tell");
    assert_eq!(jobs.on(jobs.wake_at(), Event::Tick), [admit(V2)], "and tries again");
}

#[test]
fn a_job_with_something_to_run_waits_for_a_check_only_so_long() {
    let mut jobs = restarted(module(V2));
    assert_eq!(jobs.on(100, recalled(1, Some(V1))), [admit(V2)]);
    assert_eq!(jobs.wake_at(), 100 + START_PATIENCE);
    assert_eq!(jobs.on(100 + START_PATIENCE - 1, Event::Tick), []);
    assert_eq!(jobs.on(100 + START_PATIENCE, Event::Tick), [start_kept()]);
    assert_eq!(jobs.wake_at(), Millis::MAX);
    assert_eq!(jobs.on(30_000, admitted(V2)), [deploy(V2)], "as any other version that comes while it runs");

    let mut jobs = Jobs::new(Millis::MAX);
    jobs.on(0, configured(1));
    jobs.on(0, module(V2));
    assert_eq!(jobs.on(100, recalled(1, Some(V1))), [admit(V2)]);
    assert_eq!(jobs.on(1_000_000, Event::Tick), [], "a run that is about this module");
}

#[test]
fn where_nothing_was_deployed_nothing_runs_before_it_is_admitted() {
    let mut jobs = restarted(module(V2));
    assert_eq!(jobs.on(1, recalled(1, None)), [admit(V2)]);
    assert_eq!(jobs.on(1_000_000, Event::Tick), []);
    assert!(!jobs.get(NAME).expect("it is there").is_stuck(), "it may still run");
    assert_eq!(jobs.on(1_000_001, rejected(V2)), []);
    assert!(jobs.get(NAME).expect("it is there").is_stuck());
    assert_eq!(state(&jobs), State::Waiting);
    assert_eq!(jobs.on(1_000_002, Event::Resume { name: name() }), [admit(V2)], "an operator wants it looked at again");
}

#[test]
fn a_rejection_of_an_earlier_run_holds() {
    let mut jobs = restarted(module(V2));
    assert_eq!(jobs.on(1, known(Some(V1), V2, Cause::Bytes)), [start_kept()], "it is not checked again");
    assert_eq!(rejection(&jobs), Some((V2, "no good".to_owned())));
    assert_eq!(jobs.on(2, module(V2)), [], "the same bytes once more");
    assert_eq!(jobs.on(3, module(other(3))), [admit(other(3))], "other bytes");

    for (cause, is_tried_again) in [(Cause::Bytes, false), (Cause::Withdrawn, false), (Cause::Configuration, true)] {
        let mut jobs = restarted(module(V2));
        jobs.on(1, known(Some(V1), V2, cause));
        assert_eq!(jobs.on(2, configured(2)), if is_tried_again { vec![admit(V2), stop()] } else { vec![stop()] });
    }
}

#[test]
fn a_flaw_of_the_file_is_not_held_against_the_bytes() {
    let mut jobs = running();
    assert_eq!(jobs.on(1, flawed(V2)), []);
    assert_eq!(rejection(&jobs), Some((V2, "cut short".to_owned())));
    assert_eq!(jobs.on(2, module(V2)), [admit(V2)], "its checksum is right by now");
    assert_eq!(jobs.on(3, flawed(V1)), []);
    assert_eq!(jobs.on(4, module(V1)), []);
    assert_eq!(rejection(&jobs), None);
}

/// Else an operator who put it there once more would wait in vain.
#[test]
fn what_was_taken_back_is_tried_when_it_is_put_there_again() {
    let mut jobs = running();
    assert_eq!(jobs.on(1, module(V2)), [admit(V2)]);
    let (reason, cause) = ("rolled back by an operator".to_owned(), Cause::Withdrawn);
    assert_eq!(jobs.on(2, Event::Rejected { name: name(), id: V2, reason, cause }), []);
    assert_eq!(jobs.on(3, admitted(V2)), [], "too late");
    assert_eq!(jobs.on(4, module(V2)), [], "it is still the same file");
    assert_eq!(jobs.on(5, module(V1)), []);
    assert_eq!(jobs.on(6, module(V2)), [admit(V2)]);
}

#[test]
fn what_the_machine_could_not_do_is_tried_again() {
    let mut jobs = running();
    jobs.on(1, module(V2));
    assert_eq!(jobs.on(2, admitted(V2)), [deploy(V2)]);
    let not_now = Event::NotDeployed { name: name(), id: V2, reason: "disk full".to_owned() };
    assert_eq!(jobs.on(3, not_now), []);
    let job = jobs.get(NAME).expect("it is there");
    assert_eq!((job.put_off(), job.rejected()), (Some("disk full"), None));
    let at = jobs.wake_at();
    assert_eq!(jobs.on(at - 1, Event::Tick), []);
    assert_eq!(jobs.on(at, Event::Tick), [deploy(V2)]);
    assert_eq!(jobs.on(at + 1, settled(V2)), []);
    assert_eq!(jobs.wake_at(), Millis::MAX);
}

#[test]
fn what_is_written_down_and_cannot_be_read_is_looked_for_again_and_nothing_else_runs() {
    let mut jobs = restarted(module(V2));
    let damaged = Event::NotRecalled { name: name(), reason: "damaged".to_owned() };
    assert_eq!(jobs.on(1, damaged), [admit(V2)]);
    assert_eq!(jobs.on(2, admitted(V2)), [recall()], "something changed");
    jobs.on(3, Event::NotRecalled { name: name(), reason: "damaged".to_owned() });
    assert!(matches!(state(&jobs), State::Failed { restart_at: Some(_), .. }));
    let at = jobs.wake_at();
    assert_eq!(jobs.on(at, Event::Tick), [recall()]);
    assert_eq!(jobs.on(at, recalled(1, Some(V1))), [start(V2)]);
}

#[test]
fn nothing_begins_or_changes_while_its_configuration_is_read() {
    let mut jobs = running();
    assert_eq!(jobs.on(1, Event::Configuring { name: name() }), []);
    assert_eq!(jobs.on(1, module(V2)), [admit(V2)]);
    assert_eq!(jobs.on(2, admitted(V2)), [], "it may need the new configuration");
    assert_eq!(jobs.on(3, configured(1)), [deploy(V2)]);
    jobs.on(4, Event::Configuring { name: name() });
    jobs.on(5, ended(End::Failed("unreachable".to_owned())));
    assert_eq!(jobs.wake_at(), Millis::MAX);
    assert_eq!(jobs.on(100_000, Event::Tick), []);
    assert_eq!(jobs.on(100_001, configured(2)), [recall()]);
}

#[test]
fn what_became_of_the_module_in_the_directory_is_always_known() {
    let says =
        |jobs: &Jobs, deployment: Option<&Deployment>| format!("{:?}", jobs.get(NAME).unwrap().directory(deployment));
    let of = Deployment::first;
    let mut jobs = running();
    assert_eq!(says(&jobs, Some(&of(V1))), "Current");
    jobs.on(1, module(V2));
    assert_eq!(says(&jobs, Some(&of(V1))), "Pending", "it is being checked");
    jobs.on(2, admitted(V2));
    assert_eq!(says(&jobs, Some(&of(V1))), "Pending", "it is being tried out");
    jobs.on(3, settled(V2));
    assert_eq!(says(&jobs, Some(&of(V2))), "Current");
    assert_eq!(says(&jobs, Some(&of(V1))), "Superseded", "somebody went back by name");
    let bad = Quarantined { module: V2, reason: "it trapped".to_owned() };
    let back = Deployment { quarantined: vec![bad], ..of(V1) };
    assert_eq!(says(&jobs, Some(&back)), "RolledBack(\"it trapped\")");
    jobs.on(4, module(other(4)));
    jobs.on(5, rejected(other(4)));
    assert_eq!(says(&jobs, Some(&of(V2))), "Rejected(\"no good\")");
    jobs.on(6, gone(OnDelete::Keep));
    assert_eq!(says(&jobs, Some(&of(V2))), "Absent");
}

/// A job that is down needs no tick for anything that waits: a host would spin.
#[test]
fn a_job_that_is_down_on_purpose_wakes_nobody() {
    let mut jobs = running();
    jobs.on(1, ended(End::Failed("unreachable".to_owned())));
    jobs.on(2, Event::Drain { name: name() });
    assert_eq!(jobs.wake_at(), Millis::MAX);
    let mut jobs = running();
    jobs.on(1, ended(End::Failed("unreachable".to_owned())));
    jobs.on(2, Event::Stop);
    assert_eq!(jobs.wake_at(), Millis::MAX);
}

/// Whatever happens: start and stop alternate, nothing is deployed that was not admitted or to a job that is not up,
/// one admission is under way at a time, and once all is quiet the newest good module runs with the newest
/// configuration.
#[test]
fn any_history_ends_with_the_newest_good_module_running() {
    histories(0..2_000, |seed| {
        let mut dice = Dice::new(seed);
        let mut world = World::default();
        for _ in 0..60 {
            world.step(&mut dice);
        }
        world.settle();
    });
}

/// What the shell would know.
#[derive(Default)]
struct World {
    jobs: Jobs,
    now: Millis,
    up: Option<ModuleId>,
    is_stopping: bool,
    admitting: Option<ModuleId>,
    config: u64,
    asked: Option<u64>,
    /// What is written down.
    kept: Option<ModuleId>,
    good: Vec<ModuleId>,
    wanted: Option<ModuleId>,
}

impl World {
    fn on(&mut self, event: Event) {
        for action in self.jobs.on(self.now, event) {
            match action {
                Action::Recall { .. } => {
                    assert!(self.up.is_none());
                    self.asked = Some(self.config);
                }
                Action::Admit { id, .. } => assert_eq!(self.admitting.replace(id), None, "one at a time"),
                Action::Start { offer, .. } => {
                    assert!(self.up.is_none() && offer.is_none_or(|id| self.good.contains(&id)));
                    self.up = offer.or(self.kept);
                    assert!(self.up.is_some(), "there is something to run");
                    self.kept = self.up;
                }
                Action::Deploy { id, .. } => {
                    assert!(self.up.is_some() && !self.is_stopping && self.good.contains(&id));
                    (self.up, self.kept) = (Some(id), Some(id));
                }
                Action::Stop { .. } => {
                    assert!(self.up.is_some() && !self.is_stopping);
                    self.is_stopping = true;
                }
            }
        }
    }

    fn configured(&mut self, version: u64) {
        self.config = version;
        self.on(configured(version));
    }

    /// Odd modules are good.
    fn answer(&mut self) {
        if let Some(config) = self.asked.take() {
            return self.on(recalled(config, self.kept));
        }
        let Some(id) = self.admitting.take() else { return };
        if id.sha256()[0] % 2 == 1 {
            self.good.push(id);
            self.on(admitted(id));
        } else {
            self.on(rejected(id));
        }
    }

    fn end(&mut self, end: End) {
        if self.up.take().is_some() {
            self.is_stopping = false;
            self.on(ended(end));
        }
    }

    /// The host stops and starts: what is written down is all that it knows.
    fn restart(&mut self) {
        self.up = None;
        (self.jobs, self.is_stopping, self.admitting, self.asked) = (Jobs::default(), false, None, None);
        self.good.clear();
        self.configured(self.config);
        if let Some(id) = self.wanted {
            self.on(module(id));
        }
    }

    fn step(&mut self, dice: &mut Dice) {
        self.now += dice.below(5_000);
        match dice.below(12) {
            0 | 1 => {
                let id = other(u8::try_from(dice.below(6)).expect("it is small"));
                self.wanted = Some(id);
                self.on(module(id));
            }
            2 => self.configured(dice.below(3)),
            3..=5 => self.answer(),
            6 => self.end(End::Stopped),
            7 => self.end(End::Failed("service".to_owned())),
            8 => self.end(End::TaskFailed("poison".to_owned())),
            9 => self.on(Event::Drain { name: name() }),
            10 => self.restart(),
            _ => self.on(Event::Resume { name: name() }),
        }
    }

    fn settle(&mut self) {
        self.configured(9);
        self.end(End::Stopped);
        self.on(Event::Resume { name: name() });
        while self.admitting.is_some() || self.asked.is_some() {
            self.answer();
        }
        match self.wanted {
            Some(id) if id.sha256()[0] % 2 == 1 => assert_eq!(self.up, Some(id)),
            // A bad one costs nothing of what ran.
            _ => assert_eq!(self.up, self.kept),
        }
    }
}
