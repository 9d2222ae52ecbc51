//! The machine with one job by hand, and with many events at random.

use super::*;
use crate::dice::{Dice, histories};

const NAME: &str = "orders";
const V1: Hash = [1; 32];
const V2: Hash = [2; 32];

fn name() -> String {
    NAME.to_owned()
}

fn module(id: Hash) -> Event {
    Event::Module { name: name(), id }
}

fn configured(version: u64) -> Event {
    Event::Configured { name: name(), version }
}

fn admitted(id: Hash) -> Event {
    Event::Admitted { name: name(), id }
}

fn rejected(id: Hash) -> Event {
    Event::Rejected { name: name(), id, reason: "no good".to_owned() }
}

fn ended(end: End) -> Event {
    Event::Ended { name: name(), end }
}

fn gone(on_delete: OnDelete) -> Event {
    Event::ModuleGone { name: name(), on_delete }
}

fn admit(id: Hash) -> Action {
    Action::Admit { name: name(), id }
}

fn start(id: Hash) -> Action {
    Action::Start { name: name(), id }
}

fn deploy(id: Hash) -> Action {
    Action::Deploy { name: name(), id }
}

fn stop() -> Action {
    Action::Stop { name: name() }
}

/// A host whose one job runs the first version.
fn running() -> Jobs {
    let mut jobs = Jobs::default();
    assert_eq!(jobs.on(0, configured(1)), []);
    assert_eq!(jobs.on(0, module(V1)), [admit(V1)]);
    assert_eq!(jobs.on(0, admitted(V1)), [start(V1)]);
    jobs
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
    assert_eq!(jobs.on(2, module([3; 32])), []);
    assert_eq!(jobs.on(3, module([4; 32])), []);
    assert_eq!(jobs.on(4, rejected(V2)), [admit([4; 32])], "what was replaced meanwhile is nobody's wish");
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
    assert_eq!(jobs.on(3, ended(End::Stopped)), [start(V1)]);
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
    assert_eq!(jobs.on(4, module(V1)), [admit(V1)], "it is back");
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
    let unfit = Event::Unfit { name: name(), id: V2, reason: "init".to_owned() };
    assert_eq!(jobs.on(3, unfit), []);
    assert!(jobs.get(NAME).and_then(Job::rejected).is_some());
    jobs.on(4, ended(End::Failed("unreachable".to_owned())));
    assert_eq!(jobs.on(jobs.wake_at(), Event::Tick), [start(V2)], "the same configuration: it is not tried again");
    assert_eq!(jobs.on(2_000, configured(2)), [stop()]);
    assert_eq!(jobs.get(NAME).and_then(Job::rejected), None);
    assert_eq!(jobs.on(2_001, ended(End::Stopped)), [start(V2), deploy(V2)]);
    assert_eq!(jobs.on(2_002, configured(3)), [stop()]);
    assert_eq!(jobs.on(2_003, ended(End::Stopped)), [start(V2)]);
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
        assert_eq!(jobs.on(at, Event::Tick), [start(V1)]);
        now = at;
    }
    assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
    now += RAN_WELL;
    jobs.on(now, ended(End::Failed("unreachable".to_owned())));
    assert_eq!(jobs.wake_at(), now + RESTART_AFTER, "it had run well");
}

#[test]
fn a_job_whose_task_gave_up_waits_for_a_change() {
    for change in [module(V2), configured(2), Event::Resume { name: name() }] {
        let mut jobs = running();
        assert_eq!(jobs.on(1, ended(End::TaskFailed("poison".to_owned()))), []);
        assert_eq!(state(&jobs), State::Failed { reason: "poison".to_owned(), restart_at: None });
        assert_eq!(jobs.wake_at(), Millis::MAX);
        let mut actions = jobs.on(2, change);
        if actions == [admit(V2)] {
            actions = jobs.on(3, admitted(V2));
        }
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
    assert_eq!(jobs.on(5, Event::Resume { name: name() }), [start(V2)]);
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
    up: Option<Hash>,
    is_stopping: bool,
    admitting: Option<Hash>,
    good: Vec<Hash>,
    wanted: Option<Hash>,
}

impl World {
    fn on(&mut self, event: Event) {
        for action in self.jobs.on(self.now, event) {
            match action {
                Action::Admit { id, .. } => assert_eq!(self.admitting.replace(id), None, "one at a time"),
                Action::Start { id, .. } => {
                    assert!(self.up.is_none() && self.good.contains(&id));
                    self.up = Some(id);
                }
                Action::Deploy { id, .. } => {
                    assert!(self.up.is_some() && !self.is_stopping && self.good.contains(&id));
                    self.up = Some(id);
                }
                Action::Stop { .. } => {
                    assert!(self.up.is_some() && !self.is_stopping);
                    self.is_stopping = true;
                }
            }
        }
    }

    /// Odd modules are good.
    fn answer(&mut self) {
        let Some(id) = self.admitting.take() else { return };
        if id[0] % 2 == 1 {
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

    fn step(&mut self, dice: &mut Dice) {
        self.now += dice.below(5_000);
        match dice.below(10) {
            0 | 1 => {
                let id = [u8::try_from(dice.below(6)).expect("it is small"); 32];
                self.wanted = Some(id);
                self.on(module(id));
            }
            2 => self.on(configured(dice.below(3))),
            3 | 4 => self.answer(),
            5 => self.end(End::Stopped),
            6 => self.end(End::Failed("service".to_owned())),
            7 => self.end(End::TaskFailed("poison".to_owned())),
            8 => self.on(Event::Drain { name: name() }),
            _ => self.on(Event::Resume { name: name() }),
        }
    }

    fn settle(&mut self) {
        self.on(configured(9));
        while self.admitting.is_some() {
            self.answer();
        }
        self.end(End::Stopped);
        self.on(Event::Resume { name: name() });
        let expected = match self.wanted {
            Some(id) if id[0] % 2 == 1 => Some(id),
            _ => self.good.last().copied(),
        };
        assert_eq!(self.up, expected);
    }
}
