//! The shell around the queue of compilations: gives each of them its turn, and tells it when it has to make room. The
//! rules are in [`shardmill_core::compile_queue`].

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

/// One compilation, which gives its place back when it is dropped.
pub(super) struct Turn {
    all: Compilations,
    id: CompilationId,
    /// Where it may run; none while it has to wait.
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
        self.tell(Event::Wanted { id, job: job.to_owned() });
        Turn { all: self.clone(), id, place }
    }

    fn tell(&self, event: Event) {
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
    /// Waits until it may run, from the beginning.
    pub(super) async fn started(&mut self) {
        // The sender is there for as long as this is.
        drop(self.place.wait_for(Option::is_some).await);
    }

    /// It has used up the first limit. Returns whether it may go on.
    pub(super) fn overran(&self) -> bool {
        self.all.tell(Event::Overran { id: self.id });
        self.lane().is_some()
    }

    /// Where it may run now.
    pub(super) fn lane(&self) -> Option<Lane> {
        *self.place.borrow()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.all.tell(Event::Ended { id: self.id });
    }
}
