//! The tasks and threads of this process. Each is started here, is owned by its caller and ends with its owner. A panic
//! of one is an event for the owner and never goes unnoticed: otherwise the part that renews a lease or reads a shard
//! would be gone while the status still says `running`. How to react is the owner's decision.
//!
//! Clippy forbids Tokio's and the standard library's own ways to spawn everywhere else (`disallowed-methods`).

use std::any::Any;
use std::collections::HashMap;
use std::fmt::Display;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, Id, JoinSet};

/// A part of this process panicked, which is a bug of this program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part} panicked, which is a bug in shardmill: {message}")]
pub struct Panicked {
    /// What panicked, for people: `the lease worker of kinesis.orders`.
    pub part: String,
    /// The panic's message.
    pub message: String,
}

/// Tasks and threads with one owner. Dropping it aborts the tasks; a thread or blocking work runs on until it returns.
///
/// `K` identifies the one that ended, `T` is its result.
#[derive(Debug)]
pub struct Tasks<K, T> {
    set: JoinSet<T>,
    parts: HashMap<Id, K>,
}

impl<K, T> Default for Tasks<K, T> {
    fn default() -> Self {
        Self { set: JoinSet::new(), parts: HashMap::new() }
    }
}

impl<K: Display + Clone, T: Send + 'static> Tasks<K, T> {
    /// Starts a task. Must be called within a Tokio runtime, as all functions here.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
    pub fn spawn(&mut self, part: K, work: impl Future<Output = T> + Send + 'static) -> AbortHandle {
        let panics = injected::is_wanted_of(&part);
        let handle = self.set.spawn(async move {
            injected::panic_if(panics);
            work.await
        });
        self.parts.insert(handle.id(), part);
        handle
    }

    /// Starts work that blocks its thread for a moment: disk I/O, the start of a guest.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
    pub fn spawn_blocking(&mut self, part: K, work: impl FnOnce() -> T + Send + 'static) {
        let panics = injected::is_wanted_of(&part);
        let handle = self.set.spawn_blocking(move || {
            injected::panic_if(panics);
            work()
        });
        self.parts.insert(handle.id(), part);
    }

    /// Starts a thread of its own for work that blocks for long.
    ///
    /// # Errors
    /// When the system cannot create a thread.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
    pub fn spawn_thread(&mut self, name: String, part: K, work: impl FnOnce() -> T + Send + 'static) -> io::Result<()> {
        let panics = injected::is_wanted_of(&part);
        let (end, ended) = oneshot::channel();
        std::thread::Builder::new().name(name).spawn(move || {
            let done = catch_unwind(AssertUnwindSafe(|| {
                injected::panic_if(panics);
                work()
            }));
            // The owner may have been dropped.
            drop(end.send(done));
        })?;
        let handle = self.set.spawn(async move {
            match ended.await {
                Ok(Ok(done)) => done,
                Ok(Err(payload)) => resume_unwind(payload),
                Err(_) => panic!("the thread ended without a word"),
            }
        });
        self.parts.insert(handle.id(), part);
        Ok(())
    }

    /// Waits for the next one that ends, skipping aborted ones. `None` when there is none. Cancel-safe.
    pub async fn join_next(&mut self) -> Option<(K, Result<T, Panicked>)> {
        loop {
            let (id, ended) = match self.set.join_next_with_id().await? {
                Ok((id, done)) => (id, Ok(done)),
                Err(error) => (error.id(), Err(error)),
            };
            let part = self.parts.remove(&id).expect("every task was given a part");
            match ended.map_err(tokio::task::JoinError::try_into_panic) {
                Ok(done) => return Some((part, Ok(done))),
                Err(Ok(payload)) => {
                    let panicked = Panicked::new(&part, &*payload);
                    return Some((part, Err(panicked)));
                }
                Err(Err(_aborted)) => {}
            }
        }
    }
}

/// Does work that blocks its thread for a moment, and waits for it. If the wait is cancelled, the work continues.
///
/// # Errors
/// When the work panics.
#[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
pub async fn blocking<T: Send + 'static>(part: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Panicked> {
    let panics = injected::is_wanted_of(&part);
    let done = tokio::task::spawn_blocking(move || {
        injected::panic_if(panics);
        work()
    });
    match done.await.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(done) => Ok(done),
        Err(Ok(payload)) => Err(Panicked::new(&part, &*payload)),
        // The runtime is shutting down and no longer polls tasks.
        Err(Err(_aborted)) => std::future::pending().await,
    }
}

/// Runs the tasks of a library that needs an executor and owns them itself, as an HTTP client owns its connections.
/// Their owner is notified of panics through the receiver that [`Executor::new`] returns.
#[derive(Clone, Debug)]
pub struct Executor {
    part: &'static str,
    panics: mpsc::UnboundedSender<Panicked>,
}

impl Executor {
    /// `part` names what the tasks are, for people.
    #[must_use]
    pub fn new(part: &'static str) -> (Self, mpsc::UnboundedReceiver<Panicked>) {
        #[expect(
            clippy::disallowed_methods,
            reason = "bounded by protocol: one message per task that panicked, and the first ends the job"
        )]
        let (panics, panicked) = mpsc::unbounded_channel();
        (Self { part, panics }, panicked)
    }
}

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    #[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
    fn execute(&self, work: F) {
        let mut one = Tasks::default();
        let Self { part, panics } = self.clone();
        one.spawn(part, async move { drop(work.await) });
        tokio::spawn(async move {
            if let Some((_, Err(panicked))) = one.join_next().await {
                tracing::error!("{panicked}");
                // Its owner may have been dropped.
                drop(panics.send(panicked));
            }
        });
    }
}

impl Panicked {
    fn new(part: &impl Display, payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let message = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Self { part: part.to_string(), message: message.to_owned() }
    }
}

/// Panics on demand, for tests: the parts run unchanged but for their first step. Not compiled into the program.
#[cfg(test)]
pub(crate) mod injected {
    use std::cell::RefCell;
    use std::fmt::Display;

    thread_local! {
        /// The beginning of the part's name, and whether one is enough. Of this thread: a test's tasks are spawned by
        /// its own.
        static WANTED: RefCell<Option<(String, bool)>> = const { RefCell::new(None) };
    }

    /// From now on, every part whose name begins with this text panics when this thread starts it.
    pub(crate) fn want(part: Option<&str>) {
        WANTED.with(|wanted| *wanted.borrow_mut() = part.map(|part| (part.to_owned(), false)));
    }

    /// Only the next such part panics.
    pub(crate) fn want_once(part: &str) {
        WANTED.with(|wanted| *wanted.borrow_mut() = Some((part.to_owned(), true)));
    }

    pub(super) fn is_wanted_of(part: &impl Display) -> bool {
        WANTED.with(|wanted| {
            let mut wanted = wanted.borrow_mut();
            let matched = wanted.as_ref().filter(|(begin, _)| part.to_string().starts_with(begin));
            let (is_wanted, once) = matched.map_or((false, false), |(_, once)| (true, *once));
            wanted.take_if(|_| once);
            is_wanted
        })
    }

    pub(super) fn panic_if(wanted: bool) {
        assert!(!wanted, "as the test wants");
    }
}

#[cfg(not(test))]
mod injected {
    pub(super) const fn is_wanted_of<K>(_: &K) -> bool {
        false
    }

    pub(super) const fn panic_if(_: bool) {}
}

#[cfg(test)]
mod tests;
