//! What the machines of one worker share: its settings, what it knows of the table, its phase and its source of chance,
//! and the way out: the actions of the event at hand, and the request for the next scan. What only one machine decides
//! on is a field of that machine.

use super::message::{Action, Settings};
use super::notice::Notice;
use super::table::Table;
use crate::random::Random;
use crate::time::Millis;

/// See the table in [`super::worker`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Starting,
    Running,
    Stopping,
    Stopped,
}

pub(super) struct Context {
    pub(super) settings: Settings,
    pub(super) table: Table,
    pub(super) random: Random,
    pub(super) phase: Phase,
    /// When the table is to be scanned next.
    scan_at: Millis,
    actions: Vec<Action>,
}

impl Context {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            random: Random::new(settings.seed),
            settings,
            table: Table::default(),
            phase: Phase::Starting,
            scan_at: 0,
            actions: Vec::new(),
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    pub(super) fn send(&mut self, action: Action) {
        self.actions.push(action);
    }

    pub(super) fn notice(&mut self, notice: Notice) {
        self.send(Action::Notice(notice));
    }

    pub(super) fn fail(&mut self, reason: String) {
        if matches!(self.phase, Phase::Starting | Phase::Running) {
            self.send(Action::Fail(reason));
        }
    }

    /// The job fails because of the lease table.
    pub(super) fn fail_by_table(&mut self, reason: impl std::fmt::Display) {
        self.fail(self.of_table(reason));
    }

    /// A reason, with the table's name. The adapter names it in the errors of its calls.
    pub(super) fn of_table(&self, reason: impl std::fmt::Display) -> String {
        let (table, reason) = (format!("lease table `{}`", self.settings.table), reason.to_string());
        if reason.contains(&table) { reason } else { format!("{table}: {reason}") }
    }

    /// What the event at hand led to, in order.
    pub(super) fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    pub(super) fn scan_at(&self) -> Millis {
        self.scan_at
    }

    /// Asks for a scan at `when` or before.
    pub(super) fn scan_by(&mut self, when: Millis) {
        self.scan_at = self.scan_at.min(when);
    }

    /// No scan before `when`, whatever was asked for.
    pub(super) fn no_scan_before(&mut self, when: Millis) {
        self.scan_at = when;
    }
}
