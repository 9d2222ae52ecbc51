//! Keys of systems and streams that nothing asked for: what is said of them.

use std::collections::{BTreeMap, BTreeSet};

use super::Settings;
use crate::config::job::Job;
use crate::config::keys::{self, Disposition};
use crate::config::problem::Code;

impl Settings<'_> {
    /// Known keys of systems and streams that nothing asked for are probably misspelt there.
    pub(super) fn tell_unused(&mut self, job: &Job) {
        let mut read: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for input in &job.inputs {
            read.entry(input.system()).or_default().insert(input.stream());
        }
        let nothing = BTreeSet::new();
        for (key, entry) in self.entries {
            let Some(hit) = keys::find(key) else { continue };
            let Some(system) = hit.system else { continue };
            if self.used.contains(key) || hit.key.disposition != Disposition::Works {
                continue;
            }
            let streams = read.get(system.as_str()).unwrap_or(&nothing);
            let (why, nearest) = match hit.stream {
                Some(stream) if streams.contains(stream.as_str()) => {
                    (format!("nothing else that is set for `{system}.{stream}` asks for it"), None)
                }
                Some(stream) => {
                    let nearest =
                        self.guess(&stream, streams.iter().copied()).map(|nearest| format!("{system}.{nearest}"));
                    (format!("`{system}.{stream}` is not read by the job"), nearest)
                }
                None => {
                    let nearest = self.guess(&system, read.keys().copied());
                    let nearest = nearest.filter(|nearest| *nearest != system);
                    (format!("nothing the job does with the system `{system}` asks for it"), nearest)
                }
            };
            let guess = nearest.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default();
            let message = format!("`{key}` has no effect: {why}{guess}");
            self.report.notice(Code::NoEffect, message, Some(key), &entry.origin);
        }
    }
}
