//! Hosts of one job, whose clocks differ.

use super::bench::{BAKE, WARM};
use crate::dice::{Dice, histories};
use crate::module::ModuleId;
use crate::rollout::{Action, Deployment, Event, Manner, Rollout, Settings, Wave, WriteError};
use crate::time::Millis;

/// Hosts that share what is written, each with a clock of its own.
struct Fleet {
    settings: Settings,
    stored: Deployment,
    hosts: Vec<Host>,
    now: Millis,
}

struct Host {
    rollout: Rollout,
    ahead: Millis,
    failed: Option<String>,
}

impl Fleet {
    fn new(waves: &[Wave], ahead: &[Millis]) -> Self {
        let settings = Settings { is_canary: true, waves: waves.to_vec(), bake: BAKE, keep_warm: WARM };
        let stored = Deployment::first(ModuleId::labelled("v1"));
        let mut fleet = Self { settings, stored, hosts: Vec::new(), now: 0 };
        ahead.iter().for_each(|&ahead| fleet.join(ahead));
        fleet
    }

    fn join(&mut self, ahead: Millis) {
        let rollout = Rollout::new(self.now + ahead, self.settings.clone(), self.stored.clone());
        self.hosts.push(Host { rollout, ahead, failed: None });
        self.on(self.hosts.len() - 1, Event::Tick);
    }

    /// Everything that follows is done at once.
    fn on(&mut self, host: usize, event: Event) {
        let mut events = vec![event];
        while !events.is_empty() {
            let event = events.remove(0);
            let Host { rollout, ahead, .. } = &mut self.hosts[host];
            for action in rollout.on(self.now + *ahead, event) {
                match action {
                    Action::Build { instance, .. } => events.push(Event::Built { instance, result: Ok(()) }),
                    Action::Write(next) => events.push(Event::Written(self.write(next))),
                    Action::Fail { reason } => self.hosts[host].failed = Some(reason),
                    _ => {}
                }
            }
        }
    }

    fn write(&mut self, next: Deployment) -> Result<(), WriteError> {
        if next.revision != self.stored.revision + 1 {
            return Err(WriteError::Changed(Box::new(self.stored.clone())));
        }
        self.stored = next;
        Ok(())
    }

    /// Time passes, and every host looks at what the others wrote.
    fn at(&mut self, now: Millis) {
        self.now = now;
        for _ in 0..3 {
            for host in 0..self.hosts.len() {
                self.on(host, Event::Changed(self.stored.clone()));
                self.on(host, Event::Tick);
            }
        }
    }

    fn assign(&mut self, host: usize, source: u32) {
        self.on(host, Event::Assigned { source, shard: format!("shard-{source}") });
    }

    fn candidates(&self) -> usize {
        self.stored.candidate.as_ref().map_or(0, |candidate| candidate.shards.len())
    }
}

#[test]
fn a_wave_is_a_share_of_all_shards_and_spread_over_the_hosts() {
    let mut fleet = Fleet::new(&[Wave::Shards(1), Wave::Percent(50)], &[0, 0, 0, 0]);
    (0..16).for_each(|source| fleet.assign(source as usize % 4, source));
    fleet.on(0, Event::Deploy { request: 1, module: ModuleId::labelled("v2"), how: Manner::Configured });
    fleet.at(1);
    assert_eq!(fleet.candidates(), 1);
    fleet.at(1 + 2 * BAKE);
    assert_eq!(fleet.candidates(), 8);
    let candidate = fleet.stored.candidate.clone().unwrap();
    for host in 0..4 {
        let own = (0..16).filter(|source| source % 4 == host).map(|source| format!("shard-{source}"));
        assert_eq!(own.filter(|shard| candidate.shards.contains(shard)).count(), 2, "of host {host}");
    }
}

/// A host that joins brings shards that nobody had: they are a part of the wave that is running.
#[test]
fn a_host_that_joins_takes_part_in_the_wave() {
    let mut fleet = Fleet::new(&[Wave::Percent(50)], &[0]);
    (0..4).for_each(|source| fleet.assign(0, source));
    fleet.on(0, Event::Deploy { request: 1, module: ModuleId::labelled("v2"), how: Manner::Configured });
    assert_eq!(fleet.candidates(), 2);
    fleet.join(0);
    (4..8).for_each(|source| fleet.assign(1, source));
    assert_eq!(fleet.candidates(), 4);
    // It takes over shards that were known: each keeps its version.
    (0..2).for_each(|source| fleet.assign(1, source));
    assert_eq!(fleet.candidates(), 4);
    fleet.join(0);
    (0..8).for_each(|source| fleet.assign(2, source));
    assert_eq!(fleet.candidates(), 4, "nor does a restart change anything");
}

#[test]
fn a_host_whose_clock_is_wrong_neither_shortens_a_wave_nor_forgets_the_way_back() {
    const HOUR: Millis = 3_600_000;
    let mut fleet = Fleet::new(&[Wave::Percent(50)], &[HOUR, 0, 2 * HOUR]);
    (0..6).for_each(|source| fleet.assign(source as usize % 3, source));
    fleet.on(0, Event::Deploy { request: 1, module: ModuleId::labelled("v2"), how: Manner::Configured });
    fleet.at(1);
    fleet.at(BAKE - 1);
    assert!(fleet.stored.candidate.is_some(), "it is watched for as long as the others watch it");
    fleet.at(1 + BAKE);
    assert_eq!((fleet.stored.candidate.as_ref(), fleet.stored.current.label()), (None, "v2"));
    fleet.at(BAKE + 2);
    for host in [1, 2] {
        assert!(fleet.hosts[host].rollout.is_watching(fleet.now + fleet.hosts[host].ahead), "host {host}");
    }
    fleet.on(2, Event::GaveUp { instance: 1, reason: "broken".to_owned() });
    assert_eq!(fleet.stored.current.label(), "v1", "there is a way back");
}

/// Whatever happens: a wave never has more than its share of the shards, and in the end all hosts run the same.
#[test]
fn any_history_of_hosts_ends_with_one_version_on_all() {
    histories(0..300, |seed| {
        let mut dice = Dice::new(seed);
        let mut fleet = Fleet::new(&[Wave::Shards(1), Wave::Percent(30)], &[0]);
        let mut shards = 0;
        for step in 0..60 {
            let host = dice.index(fleet.hosts.len());
            match dice.below(8) {
                0 if fleet.hosts.len() < 5 => fleet.join(dice.below(100_000)),
                1 | 2 => {
                    fleet.assign(host, shards);
                    shards += 1;
                }
                3 => {
                    let module = ModuleId::labelled(&format!("v{step}"));
                    fleet.on(host, Event::Deploy { request: 1, module, how: Manner::Configured });
                }
                4 => fleet.on(host, Event::RollBack { request: 2, version: None }),
                5 => fleet.on(host, Event::Promote { request: 3 }),
                _ => fleet.at(fleet.now + dice.below(BAKE)),
            }
            // Whoever takes a wave over from a candidate before it keeps the shards.
            let most = (shards as usize * 30).div_ceil(100).max(1);
            assert!(fleet.candidates() <= most, "{} of {shards}: {:?}", fleet.candidates(), fleet.stored);
        }
        for _ in 0..4 {
            fleet.at(fleet.now + 2 * BAKE);
        }
        for host in &fleet.hosts {
            assert_eq!((host.rollout.deployment(), &host.failed), (&fleet.stored, &None));
        }
        assert_eq!(fleet.stored.candidate, None);
    });
}
