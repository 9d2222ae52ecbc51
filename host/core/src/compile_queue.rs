//! Which module is compiled next, as a pure machine. A module may take minutes of every core, by malice or by accident,
//! and must not hold up another job's, which takes a moment. So there are two lanes with one place each: everything
//! begins in the short lane, and what takes longer there than a first limit goes on in the long one. Within a lane, jobs
//! take turns. It must not know how anything is compiled, nor how its time is measured.

use std::collections::BTreeMap;

/// Names a compilation.
pub type CompilationId = u64;

/// Where a compilation runs or waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// For the first seconds of every compilation.
    Short,
    /// For those that take longer.
    Long,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A module of a job is to be compiled.
    Wanted { id: CompilationId, job: String },
    /// It has used up the first limit.
    Overran { id: CompilationId },
    /// It is over, was killed, or nobody wants it any more.
    Ended { id: CompilationId },
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Compile it, in this lane.
    Start { id: CompilationId, lane: Lane },
    /// It may go on: it has the place in the long lane now.
    GoOn { id: CompilationId },
    /// Kill it: the place in the long lane is taken. It is started again when it is free.
    Kill { id: CompilationId },
}

#[derive(Debug)]
struct Compilation {
    job: String,
    lane: Lane,
    runs: bool,
}

/// See the module documentation.
#[derive(Debug, Default)]
pub struct CompileQueue {
    all: BTreeMap<CompilationId, Compilation>,
    /// When each job with compilations had its last turn in each lane: a count of turns.
    turns: BTreeMap<(Lane, String), u64>,
    turn: u64,
}

impl CompileQueue {
    /// Takes in one event and returns what to do now, in order.
    pub fn on(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Wanted { id, job } => {
                self.all.insert(id, Compilation { job, lane: Lane::Short, runs: false });
            }
            Event::Overran { id } => actions.extend(self.overran(id)),
            Event::Ended { id } => self.ended(id),
        }
        for lane in [Lane::Short, Lane::Long] {
            actions.extend(self.start_next(lane));
        }
        actions
    }

    fn overran(&mut self, id: CompilationId) -> Option<Action> {
        let is_free = self.is_free(Lane::Long) && !self.waits(Lane::Long);
        let compilation = self.all.get_mut(&id).filter(|it| it.runs && it.lane == Lane::Short)?;
        compilation.lane = Lane::Long;
        compilation.runs = is_free;
        if !is_free {
            return Some(Action::Kill { id });
        }
        let job = compilation.job.clone();
        self.had_turn(Lane::Long, job);
        Some(Action::GoOn { id })
    }

    fn ended(&mut self, id: CompilationId) {
        let Some(ended) = self.all.remove(&id) else { return };
        if self.all.values().all(|it| it.job != ended.job) {
            self.turns.retain(|(_, job), _| *job != ended.job);
        }
    }

    fn start_next(&mut self, lane: Lane) -> Option<Action> {
        if !self.is_free(lane) {
            return None;
        }
        let waiting = self.all.iter().filter(|(_, it)| it.lane == lane && !it.runs);
        // Of the job whose turn is the longest ago, or that had none; then the first that came.
        let last_turn = |job: &str| self.turns.get(&(lane, job.to_owned())).copied().unwrap_or(0);
        let (&id, _) = waiting.min_by_key(|(id, it)| (last_turn(&it.job), **id))?;
        let compilation = self.all.get_mut(&id)?;
        compilation.runs = true;
        let job = compilation.job.clone();
        self.had_turn(lane, job);
        Some(Action::Start { id, lane })
    }

    fn had_turn(&mut self, lane: Lane, job: String) {
        self.turn += 1;
        self.turns.insert((lane, job), self.turn);
    }

    fn is_free(&self, lane: Lane) -> bool {
        !self.all.values().any(|it| it.lane == lane && it.runs)
    }

    fn waits(&self, lane: Lane) -> bool {
        self.all.values().any(|it| it.lane == lane && !it.runs)
    }
}

#[cfg(test)]
mod tests {
    use super::Action::{GoOn, Kill, Start};
    use super::*;
    use crate::dice::{Dice, histories};

    const SHORT: Lane = Lane::Short;
    const LONG: Lane = Lane::Long;

    impl CompileQueue {
        fn wanted(&mut self, id: CompilationId, job: &str) -> Vec<Action> {
            self.on(Event::Wanted { id, job: job.to_owned() })
        }

        fn overruns(&mut self, id: CompilationId) -> Vec<Action> {
            self.on(Event::Overran { id })
        }

        fn ends(&mut self, id: CompilationId) -> Vec<Action> {
            self.on(Event::Ended { id })
        }
    }

    #[test]
    fn one_at_a_time_in_the_order_of_coming() {
        let mut queue = CompileQueue::default();
        assert_eq!(queue.wanted(1, "a"), [Start { id: 1, lane: SHORT }]);
        assert_eq!(queue.wanted(2, "b"), []);
        assert_eq!(queue.wanted(3, "c"), []);
        assert_eq!(queue.ends(1), [Start { id: 2, lane: SHORT }]);
        assert_eq!(queue.ends(2), [Start { id: 3, lane: SHORT }]);
        assert_eq!(queue.ends(3), []);
    }

    #[test]
    fn what_takes_long_makes_room_for_others_and_goes_on() {
        let mut queue = CompileQueue::default();
        queue.wanted(1, "bomb");
        assert_eq!(queue.wanted(2, "small"), []);
        assert_eq!(queue.overruns(1), [GoOn { id: 1 }, Start { id: 2, lane: SHORT }]);
        assert_eq!(queue.overruns(1), [], "once");
        assert_eq!(queue.ends(2), []);
        assert_eq!(queue.ends(1), []);
    }

    #[test]
    fn a_second_one_that_takes_long_waits_for_the_first_and_blocks_nobody_else() {
        let mut queue = CompileQueue::default();
        queue.wanted(1, "bomb");
        queue.overruns(1);
        assert_eq!(queue.wanted(2, "bomb"), [Start { id: 2, lane: SHORT }]);
        assert_eq!(queue.wanted(3, "small"), []);
        assert_eq!(queue.overruns(2), [Kill { id: 2 }, Start { id: 3, lane: SHORT }]);
        assert_eq!(queue.ends(3), []);
        assert_eq!(queue.ends(1), [Start { id: 2, lane: LONG }]);
    }

    /// However many bombs a job has, another one's module waits for one of them, and only for its first seconds.
    #[test]
    fn jobs_take_turns() {
        let mut queue = CompileQueue::default();
        queue.wanted(1, "many");
        for id in 2..10 {
            queue.wanted(id, "many");
        }
        queue.wanted(10, "one");
        queue.wanted(11, "other");
        assert_eq!(queue.overruns(1), [GoOn { id: 1 }, Start { id: 10, lane: SHORT }]);
        assert_eq!(queue.ends(10), [Start { id: 11, lane: SHORT }]);
        assert_eq!(queue.ends(11), [Start { id: 2, lane: SHORT }]);
    }

    #[test]
    fn who_waits_for_the_long_lane_is_not_overtaken_by_his_own_job() {
        let mut queue = CompileQueue::default();
        for (id, job) in [(1, "a"), (2, "a"), (3, "b")] {
            queue.wanted(id, job);
        }
        assert_eq!(queue.overruns(1), [GoOn { id: 1 }, Start { id: 3, lane: SHORT }]);
        assert_eq!(queue.overruns(3), [Kill { id: 3 }, Start { id: 2, lane: SHORT }]);
        assert_eq!(queue.overruns(2), [Kill { id: 2 }]);
        assert_eq!(queue.ends(1), [Start { id: 3, lane: LONG }], "b had no turn there");
        assert_eq!(queue.ends(3), [Start { id: 2, lane: LONG }]);
    }

    #[test]
    fn one_that_nobody_wants_any_more_makes_room() {
        let mut queue = CompileQueue::default();
        queue.wanted(1, "a");
        queue.wanted(2, "b");
        assert_eq!(queue.ends(2), []);
        assert_eq!(queue.ends(1), []);
        assert_eq!(queue.ends(1), [], "of no meaning");
        assert!(queue.turns.is_empty() && queue.all.is_empty());
    }

    #[test]
    fn no_history_has_two_in_a_lane_or_leaves_one_waiting_for_ever() {
        histories(0..1_000, |seed| {
            let mut dice = Dice::new(seed);
            let (mut queue, mut running, mut next) = (CompileQueue::default(), BTreeMap::new(), 0);
            let mut waiting: Vec<CompilationId> = Vec::new();
            for step in 0..300 {
                let event = match dice.below(3) {
                    0 if step < 200 => {
                        next += 1;
                        waiting.push(next);
                        Event::Wanted { id: next, job: format!("{}", dice.below(4)) }
                    }
                    1 if dice.chance(50) => {
                        let Some((&id, _)) = running.iter().find(|(_, lane)| **lane == SHORT) else { continue };
                        Event::Overran { id }
                    }
                    _ => {
                        let ids: Vec<_> = running.keys().copied().collect();
                        let Some(&id) = dice.pick(&ids) else { continue };
                        running.remove(&id);
                        Event::Ended { id }
                    }
                };
                for action in queue.on(event) {
                    match action {
                        Start { id, lane } => {
                            waiting.retain(|it| *it != id);
                            assert!(running.values().all(|it| *it != lane), "two in a lane");
                            running.insert(id, lane);
                        }
                        GoOn { id } => {
                            assert!(running.values().all(|it| *it != LONG), "two in a lane");
                            assert_eq!(running.insert(id, LONG), Some(SHORT));
                        }
                        Kill { id } => {
                            assert_eq!(running.remove(&id), Some(SHORT));
                            waiting.push(id);
                        }
                    }
                }
                assert!(!running.is_empty() || waiting.is_empty(), "nobody runs, and {waiting:?} wait");
            }
        });
    }
}
