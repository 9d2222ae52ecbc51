//! The server. A readiness probe must get its response within a second whatever other clients do, so no client waits for
//! another: connections are accepted at once, a silent one is closed soon, and when there are too many the oldest is
//! closed. Commands, which may take long, have a limit of their own.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shardmill_core::control;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::AbortHandle;
use tracing::{debug, warn};

use super::place::{self, Claim, Places, TaskDirectory};
use super::{ASK_MAX_BYTES, Answer, Ask, patience};
use crate::host::Request;
use crate::tasks::{Panicked, Tasks};

/// How long a client may take to send its request: a program sends it as soon as it has connected.
const ASK_PATIENCE: Duration = Duration::from_secs(1);
/// How long a client may take to read the response.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);
/// Pause after a connection cannot be accepted.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Concurrent connections that carry no command.
const CLIENTS_MAX: usize = 64;
/// Concurrent commands: each may wait for an instance to start.
const COMMANDS_MAX: usize = 16;

/// A control socket, served until this is dropped.
#[derive(Debug)]
pub struct AdminSocket {
    // Fields are dropped in this order: the socket is removed before the server stops answering.
    _claim: Claim,
    /// The accept loop, which owns the tasks of the clients.
    accepting: Tasks<&'static str, ()>,
}

impl AdminSocket {
    /// Starts to serve. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// When no directory can be used for the socket: all belong to other users, or cannot be written to.
    pub fn serve(tasks: &Path, requests: mpsc::Sender<Request>) -> io::Result<Self> {
        Self::serve_in(&Places::of_this_user(), tasks, requests)
    }

    pub(super) fn serve_in(places: &Places, tasks: &Path, requests: mpsc::Sender<Request>) -> io::Result<Self> {
        let tasks = TaskDirectory::find(tasks)?;
        let (claim, listener) = places.first(|directory| {
            let claim = Claim::new(directory, &tasks)?;
            let listener = UnixListener::bind(claim.hidden())?;
            claim.show()?;
            Ok((claim, listener))
        })?;
        let mut accepting = Tasks::default();
        accepting.spawn("the control socket", accept(listener, claim.directory().to_owned(), requests));
        Ok(Self { _claim: claim, accepting })
    }

    /// Waits until the server has stopped, which only a panic causes. Cancel-safe.
    pub async fn failed(&mut self) -> Panicked {
        loop {
            match self.accepting.join_next().await {
                Some((_, Err(panicked))) => return panicked,
                Some((_, Ok(()))) => {}
                None => std::future::pending().await,
            }
        }
    }
}

/// The accept loop. Never returns.
async fn accept(listener: UnixListener, directory: std::path::PathBuf, requests: mpsc::Sender<Request>) {
    let mut clients = Clients::default();
    let commands = Arc::new(Semaphore::new(COMMANDS_MAX));
    // The sweep may wait for a host of the previous release.
    clients.tasks.spawn_blocking("the sweep of the control sockets", move || {
        if let Err(error) = place::sweep(&directory) {
            debug!(%error, "cannot remove the control sockets of dead hosts");
        }
    });
    loop {
        // Both arms are cancel-safe.
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => clients.add(stream, &commands, &requests),
                Err(error) => {
                    // For example too many open files, which is transient.
                    warn!(%error, "cannot accept a connection to the control socket; retrying");
                    tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                }
            },
            Some((_, ended)) = clients.tasks.join_next() => {
                if let Err(panicked) = ended {
                    // Its request may be half done.
                    std::panic::resume_unwind(Box::new(panicked.to_string()));
                }
            }
        }
    }
}

/// The connections, oldest first.
#[derive(Default)]
struct Clients {
    tasks: Tasks<&'static str, ()>,
    connections: VecDeque<Connection>,
}

struct Connection {
    task: AbortHandle,
    /// It counts as a command, not as a connection.
    is_command: Arc<AtomicBool>,
}

impl Clients {
    fn add(&mut self, stream: UnixStream, commands: &Arc<Semaphore>, requests: &mpsc::Sender<Request>) {
        self.connections.retain(|it| !it.task.is_finished() && !it.is_command.load(Ordering::Relaxed));
        if self.connections.len() >= CLIENTS_MAX
            && let Some(oldest) = self.connections.pop_front()
        {
            debug!("closing the oldest connection to the control socket: there are too many");
            oldest.task.abort();
        }
        let is_command = Arc::<AtomicBool>::default();
        let client =
            Client { commands: Arc::clone(commands), requests: requests.clone(), is_command: Arc::clone(&is_command) };
        let task = self.tasks.spawn("the answer to a client", async move {
            if let Err(error) = client.serve(stream).await {
                debug!(%error, "a client of the control socket went away");
            }
        });
        self.connections.push_back(Connection { task, is_command });
    }
}

/// Serves one connection.
struct Client {
    commands: Arc<Semaphore>,
    requests: mpsc::Sender<Request>,
    is_command: Arc<AtomicBool>,
}

impl Client {
    async fn serve(&self, stream: UnixStream) -> io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut line = String::new();
        let mut reader = tokio::io::BufReader::new(read.take(ASK_MAX_BYTES));
        within(ASK_PATIENCE, reader.read_line(&mut line)).await?;
        let answer = match serde_json::from_str(&line) {
            Ok(ask) => self.answer(ask).await,
            Err(error) => refuse(&control::not_understood(&error)),
        };
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        within(WRITE_PATIENCE, write.write_all(&line)).await
    }

    async fn answer(&self, ask: Ask) -> Answer {
        let _place = match ask {
            Ask::Report => None,
            _ => match self.commands.try_acquire() {
                Ok(place) => {
                    self.is_command.store(true, Ordering::Relaxed);
                    Some(place)
                }
                Err(_) => return refuse(&format!("{COMMANDS_MAX} other commands are being carried out; try again")),
            },
        };
        let limit = patience(&ask);
        match tokio::time::timeout(limit, pass_on(ask, &self.requests)).await {
            Ok(answer) => answer,
            Err(_) => refuse(&format!("not done within {} s; it may still be", limit.as_secs())),
        }
    }
}

async fn within<T>(limit: Duration, io: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(limit, io).await {
        Ok(result) => result,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

fn refuse(reason: &str) -> Answer {
    Answer::Refused { reason: reason.to_owned() }
}

async fn pass_on(ask: Ask, requests: &mpsc::Sender<Request>) -> Answer {
    const GONE: &str = "the host is stopping";
    let (request, reply) = match ask {
        Ask::Report => {
            let (reply, replied) = oneshot::channel();
            if requests.send(Request::Report(reply)).await.is_err() {
                return refuse(GONE);
            }
            return replied.await.map_or_else(|_| refuse(GONE), Answer::Report);
        }
        Ask::Drain { job } => with_reply(|reply| Request::Drain(job, reply)),
        Ask::Resume { job } => with_reply(|reply| Request::Resume(job, reply)),
        Ask::Promote { job } => with_reply(|reply| Request::Promote(job, reply)),
        Ask::Rollback { job, to, version } => with_reply(|reply| Request::RollBack { job, to, version, reply }),
        Ask::Pause { job } => with_reply(|reply| Request::Pause(job, reply)),
    };
    if requests.send(request).await.is_err() {
        return refuse(GONE);
    }
    match reply.await {
        Ok(Ok(())) => Answer::Done,
        Ok(Err(reason)) => Answer::Refused { reason },
        Err(_) => refuse("the job ended before it answered; `shardmill ls` says why"),
    }
}

fn with_reply(request: impl FnOnce(crate::host::Reply) -> Request) -> (Request, oneshot::Receiver<Result<(), String>>) {
    let (reply, replied) = oneshot::channel();
    (request(reply), replied)
}
