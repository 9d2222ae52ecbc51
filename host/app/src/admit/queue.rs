//! The shell of the queue of compilations: gives each compilation its turn, and notifies it when it has to make room.
//! The rules are in [`shardmill_core::compile_queue`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use shardmill_core::compile_queue::{Action, CompilationId, CompileQueue, Event, Lane};
use tokio::sync::watch;

/// The compilations of one host.
#[derive(Clone, Default)]
pub(super) struct Compilations(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    queue: CompileQueue,
    next: CompilationId,
    places: BTreeMap<CompilationId, watch::Sender<Option<Lane>>>,
}

/// One compilation, which releases its slot when it is dropped.
pub(super) struct Turn {
    all: Compilations,
    id: CompilationId,
    /// The lane where it may run; `None` while it has to wait.
    place: watch::Receiver<Option<Lane>>,
}

impl Compilations {
    /// Queues a module of a job.
    pub(super) fn queue(&self, job: &str) -> Turn {
        let (sender, place) = watch::channel(None);
        let id = self.with(|inner| {
            inner.next += 1;
            inner.places.insert(inner.next, sender);
            inner.next
        });
        self.send(Event::Wanted { id, job: job.to_owned() });
        Turn { all: self.clone(), id, place }
    }

    fn send(&self, event: Event) {
        self.with(|inner| {
            if let Event::Ended { id } = event {
                inner.places.remove(&id);
            }
            for action in inner.queue.on(event) {
                let (id, place) = match action {
                    Action::Start { id, lane } => (id, Some(lane)),
                    Action::GoOn { id } => (id, Some(Lane::Long)),
                    Action::Kill { id } => (id, None),
                };
                if let Some(sender) = inner.places.get(&id) {
                    sender.send_replace(place);
                }
            }
        });
    }

    fn with<R>(&self, work: impl FnOnce(&mut Inner) -> R) -> R {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Turn {
    /// Waits until it may start.
    pub(super) async fn started(&mut self) {
        // The sender lives as long as `self`.
        drop(self.place.wait_for(Option::is_some).await);
    }

    /// Reports that the first limit is used up. Returns whether the compilation may continue.
    pub(super) fn overran(&self) -> bool {
        self.all.send(Event::Overran { id: self.id });
        self.lane().is_some()
    }

    /// The lane where it may run now.
    pub(super) fn lane(&self) -> Option<Lane> {
        *self.place.borrow()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.all.send(Event::Ended { id: self.id });
    }
}
