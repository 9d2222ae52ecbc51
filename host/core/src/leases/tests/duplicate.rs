//! Two processes under one worker identifier.

use super::model::{Services, Stream};
use super::solo::Solo;
use super::{FAILOVER, TAKE_OVER, settings};
use crate::leases::{Action, Notice};

fn reports(solo: &Solo) -> usize {
    solo.told.iter().filter(|told| matches!(told, Action::Notice(Notice::DuplicateWorker { .. }))).count()
}

/// One takes the other's writes for its own whose replies were lost, again and again.
#[test]
fn a_second_process_under_the_same_name_is_reported_once() {
    let mut services = Services::new(Stream::of(3));
    let mut solos = [0, 0].map(|now| Solo::running(settings("me"), now, &mut services));
    while solos[0].now < 10 * FAILOVER {
        for solo in &mut solos {
            let until = solo.now + 700;
            solo.run_until(until, &mut services);
        }
    }
    let reports = solos.each_ref().map(reports);
    assert!(reports == [1, 0] || reports == [0, 1] || reports == [1, 1], "{reports:?}");
}

/// A restart under the same name, with a process that is over, is none.
#[test]
fn a_restart_under_the_same_name_is_no_second_process() {
    let mut services = Services::new(Stream::of(3));
    let mut first = Solo::running(settings("me"), 0, &mut services);
    first.run_until(FAILOVER, &mut services);
    let mut second = Solo::running(settings("me"), FAILOVER, &mut services);
    second.run_until(FAILOVER + TAKE_OVER, &mut services);
    assert_eq!((reports(&first), reports(&second)), (0, 0));
}

/// Nor is a reply that gets lost now and then.
#[test]
fn lost_replies_are_no_second_process() {
    let mut services = Services::new(Stream::of(1));
    let mut solo = Solo::running(settings("me"), 0, &mut services);
    for _ in 0..10 {
        let renewal = |call: &Action| matches!(call, Action::Write(crate::leases::Write::Renew { .. }));
        while !solo.calls.iter().any(renewal) {
            solo.settle_unless(&mut services, |_| None);
            solo.now = solo.worker.wake_at();
            solo.event(crate::leases::Event::Tick);
        }
        solo.lose_reply(&mut services, |write| matches!(write, crate::leases::Write::Renew { .. }));
        let until = solo.now + 500;
        solo.run_until(until, &mut services);
    }
    assert_eq!(reports(&solo), 0);
}
