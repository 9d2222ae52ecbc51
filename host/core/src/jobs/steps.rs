//! What is to be done about a job now: check, look up, start, deploy, stop.

use super::job::{Job, Run, Wanted};
use super::message::Action;
use crate::module::ModuleId;
use crate::time::Millis;

impl Job {
    pub(super) fn advance(
        &mut self,
        now: Millis,
        name: &str,
        patience: Millis,
        is_stopping: bool,
        actions: &mut Vec<Action>,
    ) {
        let begin_by = self.begin_by.take();
        self.put_off.take_if(|put_off| now >= put_off.until);
        if let Some(id) = self.to_admit()
            && !is_stopping
        {
            self.admitting = Some(id);
            actions.push(Action::Admit { name: name.to_owned(), id });
        }
        let may_run = !is_stopping && !self.is_drained && !self.is_gone;
        match self.run {
            Run::Up { config, .. } if !may_run || self.config != Some(config) && !self.is_configuring => {
                self.run = Run::Stopping;
                actions.push(Action::Stop { name: name.to_owned() });
            }
            Run::Up { .. } => {
                if let Some(id) = self.to_deploy() {
                    self.deployed = Some(id);
                    self.deploying = Some(id);
                    actions.push(Action::Deploy { name: name.to_owned(), id });
                }
            }
            Run::Down if may_run && !self.is_configuring => {
                self.begin_by = begin_by;
                actions.extend(self.begin(now, name, patience));
            }
            Run::Down | Run::Stopping => {}
        }
    }

    /// What to start with, if it is time; see the table in the machine's documentation.
    fn begin(&mut self, now: Millis, name: &str, patience: Millis) -> Option<Action> {
        self.failure.take_if(|(_, restart_at)| restart_at.is_some_and(|at| now >= at));
        let begin_by = self.begin_by.take();
        let config = self.config.filter(|_| self.failure.is_none() && self.wanted != Wanted::Unknown)?;
        let recalled = self.recalled.as_ref().filter(|recalled| recalled.config == config && !self.is_stale);
        let Some(recalled) = recalled else {
            let is_asked = self.asked.replace(config) == Some(config);
            return (!is_asked).then(|| Action::Recall { name: name.to_owned() });
        };
        let offer = match (self.offer(), recalled.current) {
            (Some(offer), _) => Some(offer),
            (None, Some(_)) if self.is_awaited() => {
                let by = begin_by.unwrap_or_else(|| now.saturating_add(patience));
                if now < by {
                    self.begin_by = Some(by);
                    return None;
                }
                None
            }
            (None, Some(_)) => None,
            (None, None) => return None,
        };
        self.run = Run::Up { config, since: now };
        self.has_run = true;
        (self.deployed, self.deploying) = (offer, offer);
        Some(Action::Start { name: name.to_owned(), offer })
    }

    /// The module to start with, or to offer to a job that has something to run.
    pub(super) fn offer(&self) -> Option<ModuleId> {
        let keeps = self.recalled.as_ref().is_some_and(|recalled| recalled.current.is_some());
        let admitted = self.admitted.filter(|id| !self.rejections.contains_key(id));
        admitted.or_else(|| self.good.filter(|_| !keeps))
    }

    /// Whether the check of the directory's module is about to end.
    fn is_awaited(&self) -> bool {
        let is_new = |id: &ModuleId| self.admitted != Some(*id) && !self.rejections.contains_key(id);
        self.put_off.is_none() && self.wanted().is_some_and(is_new)
    }

    /// New bytes, one after the other: those that came while others were looked at are next. Not before it is known
    /// whether they were rejected earlier.
    fn to_admit(&self) -> Option<ModuleId> {
        let wanted = *self.wanted()?;
        let has_no_configuration = self.config.is_none() && !self.is_configuring;
        let is_recalled = self.recalled.is_some() || has_no_configuration || self.failure.is_some();
        (is_recalled && self.admitting.is_none() && self.is_awaited()).then_some(wanted)
    }

    fn to_deploy(&self) -> Option<ModuleId> {
        let is_held = self.is_configuring || self.put_off.is_some();
        let is_new = |id: &ModuleId| self.deployed != Some(*id) && !self.rejections.contains_key(id);
        self.admitted.filter(|id| !is_held && is_new(id))
    }
}
