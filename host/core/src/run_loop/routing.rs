//! Moves of sources between instances, at the end of the call in flight: `before-stop` of an instance that is left for
//! good, then a flush, then the checkpoints (asked for, not awaited: a lease table that hangs must not stop the stream),
//! then the sources go on with the other instance at the next queued envelope. Nothing is read again, unless the old
//! instance is dead or dies of its goodbye: then from the last commit on.

use super::{Action, Busy, InstanceId, RunLoop, SourceId};
use crate::time::Millis;

/// What is left to do of the routes asked for.
#[derive(Default)]
pub(super) struct Routes {
    /// Somebody waits for the word that all is done.
    asked: bool,
    /// What an instance said goodbye with is not durable yet.
    unflushed: bool,
}

impl RunLoop {
    pub(super) fn route(&mut self, moves: Vec<(SourceId, InstanceId)>, retire: &[InstanceId]) {
        for (source, to) in moves {
            if let Some(source) = self.sources.get_mut(&source) {
                source.moving_to = (source.instance != to).then_some(to);
            }
        }
        retire.iter().for_each(|&instance| self.instances.retire(instance));
        self.routes.asked = true;
    }

    /// Starts the next step of a move; nothing is under way.
    pub(super) fn advance_routes(&mut self, now: Millis) {
        if !self.routes.asked && self.instances.retiring().next().is_none() {
            return;
        }
        if let Some(&instance) = self.goodbyes().first() {
            return self.act(Busy::BeforeStop(instance), Action::BeforeStop { instance });
        }
        let moving = self.sources.values().filter(|source| source.moving_to.is_some());
        if self.routes.unflushed || moving.into_iter().any(|source| source.is_reading()) {
            self.routes.unflushed = false;
            return self.flush_for_move(now);
        }
        // Only sources of dead instances are left: they begin anew from the last commit.
        self.switch();
        self.drop_retired();
    }

    /// The instances that live, are needed no more, and have no source that stays with them.
    fn goodbyes(&self) -> Vec<InstanceId> {
        let alive = self.instances.retiring().filter(|(_, alive)| *alive).map(|(id, _)| id);
        alive.filter(|&id| !self.has_sources(id)).collect()
    }

    pub(super) fn has_sources(&self, id: InstanceId) -> bool {
        let stays = |source: &super::Source| source.moving_to.is_none() && !source.is_ending();
        self.sources.values().any(|source| source.instance == id && stays(source))
    }

    pub(super) fn said_goodbye(&mut self, trapped: bool) {
        let Some(Busy::BeforeStop(instance)) = self.busy.take() else {
            return;
        };
        if trapped {
            self.died(instance);
        } else {
            self.instances.end(instance);
        }
        self.routes.unflushed = true;
    }

    fn flush_for_move(&mut self, now: Millis) {
        if self.commit.is_idle() {
            self.commit.start_anyway(now, &self.sources);
            return self.act(Busy::Flush, Action::Flush);
        }
        let processed = self.sources.iter().filter_map(|(&id, source)| Some((id, source.epoch, source.uncommitted()?)));
        let processed = processed.collect();
        self.act(Busy::FlushForMove(processed), Action::Flush);
    }

    /// All that moving sources did is durable, or is to be read again: they go on with their new instances.
    pub(super) fn switch(&mut self) {
        // A route that came during the flush: its instance has to say goodbye first.
        let leaving = self.goodbyes();
        for source in self.sources.values_mut() {
            if let Some(to) = source.moving_to.filter(|_| !leaving.contains(&source.instance)) {
                source.move_to(to);
            }
        }
        self.read_waiting();
    }

    fn drop_retired(&mut self) {
        let gone = self.instances.retiring().filter(|&(id, alive)| !alive && !self.has_sources(id));
        let gone: Vec<InstanceId> = gone.map(|(id, _)| id).collect();
        for instance in gone {
            self.waits_no_more(instance);
            self.instances.remove(instance);
            self.actions.push(Action::Drop { instance });
        }
        if std::mem::take(&mut self.routes.asked) {
            self.actions.push(Action::Routed);
        }
    }
}
