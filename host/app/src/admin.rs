//! The admin socket: how `shardmill ls`, `status` and the like talk to a running host. A Unix socket in a directory that
//! only this user can enter; no port is opened. One line of JSON asks, one line of JSON answers.
//!
//! The socket's name begins with a hash of the task directory, so that a host is found by the directory that it runs,
//! and goes on with the process id, for several hosts may run one directory.

use std::fs::{self, DirBuilder};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shardmill_core::module::hex;
use shardmill_runtime::sha256;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};

use crate::host::{HostReport, Request};
use crate::tasks::{Panicked, Tasks};

/// Digits of the task directory's hash in a socket's name: a path to a socket may have 108 bytes.
const HASH_BYTES: usize = 8;
const SUFFIX: &str = ".sock";
/// The longest line that asks.
const ASK_MAX_BYTES: u64 = 64 << 10;
/// The longest line that answers: some thousand shards.
const ANSWER_MAX_BYTES: u64 = 64 << 20;
/// How long a host may take to answer, and a client to ask: going back to an old version may mean to start a Python task.
const PATIENCE: Duration = Duration::from_secs(60);
const REPORT_PATIENCE: Duration = Duration::from_secs(5);
/// Pause after a client could not be let in.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Clients at a time; more wait.
const CLIENTS_MAX: usize = 8;

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Ask {
    Report,
    /// Finish, commit, release the leases, and stay down.
    Drain {
        job: String,
    },
    /// Run again.
    Resume {
        job: String,
    },
    /// Let the candidate take over now.
    Promote {
        job: String,
    },
    /// Go back to the version before, or to the one named.
    Rollback {
        job: String,
        to: Option<String>,
        /// The version to be rid of, by its first digits: where it is gone already, nothing is done.
        #[serde(default)]
        version: Option<String>,
    },
    /// Call the task no more, but keep the leases.
    Pause {
        job: String,
    },
}

/// What a host answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    Report(HostReport),
    Done,
    Refused { reason: String },
}

/// A socket that is served until this is dropped.
#[derive(Debug)]
pub struct AdminSocket {
    path: PathBuf,
    accepting: Tasks<&'static str, ()>,
}

impl AdminSocket {
    /// Begins to serve. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// When the socket, or the directory for it, cannot be made, or others could enter it.
    pub fn serve(tasks: &Path, requests: mpsc::Sender<Request>) -> io::Result<Self> {
        let path = directory()?.join(format!("{}-{}{SUFFIX}", prefix(tasks)?, std::process::id()));
        // Of a process that had our number.
        drop(fs::remove_file(&path));
        let listener = UnixListener::bind(&path)?;
        let mut accepting = Tasks::default();
        accepting.spawn("the admin socket", accept(listener, requests));
        Ok(Self { path, accepting })
    }

    /// Waits until nobody is served any more, which is never on purpose. Cancel-safe.
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

impl Drop for AdminSocket {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
    }
}

/// What the hosts of a task directory answered.
#[derive(Debug, Default)]
pub struct Answers {
    pub answers: Vec<Answer>,
    /// Hosts that are there and do not answer: which, and why.
    pub silent: Vec<String>,
}

/// Asks every host of a task directory on this machine; one that does not answer hides no other. What a host that is gone
/// left behind is removed.
///
/// # Errors
/// When the sockets cannot be looked for.
pub fn ask(tasks: &Path, what: &Ask) -> io::Result<Answers> {
    let prefix = format!("{}-", prefix(tasks)?);
    let mut answers = Answers::default();
    for entry in fs::read_dir(directory()?)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with(&prefix) || !name.ends_with(SUFFIX) {
            continue;
        }
        let host = name.trim_start_matches(&prefix).trim_end_matches(SUFFIX);
        match UnixStream::connect(entry.path()).and_then(|stream| exchange(stream, what)) {
            Ok(answer) => answers.answers.push(answer),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => drop(fs::remove_file(entry.path())),
            Err(error) if has_ended(&error) => {}
            Err(error) => answers.silent.push(format!("host {host} does not answer: {error}")),
        }
    }
    Ok(answers)
}

fn exchange(mut stream: UnixStream, what: &Ask) -> io::Result<Answer> {
    // What is only said is said at once.
    let patience = if *what == Ask::Report { REPORT_PATIENCE } else { PATIENCE };
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream.take(ANSWER_MAX_BYTES)).read_line(&mut answer)?;
    Ok(serde_json::from_str(&answer)?)
}

/// The host ended while it was asked.
fn has_ended(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotFound, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | NotFound | UnexpectedEof)
}

async fn accept(listener: UnixListener, requests: mpsc::Sender<Request>) {
    let mut clients = Tasks::default();
    let mut count = 0;
    loop {
        // Every arm is cancel-safe: joins and accepts lose nothing when dropped.
        let accepted = tokio::select! {
            Some((_, ended)) = clients.join_next() => {
                count -= 1;
                match ended {
                    Ok(Ok(Ok(()))) => {}
                    Ok(Ok(Err(error))) => debug!(%error, "a client of the admin socket went away"),
                    Ok(Err(_)) => warn!("a client of the admin socket took too long"),
                    // What it asked for may be half done.
                    Err(panicked) => std::panic::resume_unwind(Box::new(panicked.to_string())),
                }
                continue;
            }
            accepted = listener.accept(), if count < CLIENTS_MAX => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let requests = requests.clone();
                count += 1;
                clients.spawn("the answer to a client", async move {
                    tokio::time::timeout(PATIENCE, answer(stream, &requests)).await
                });
            }
            Err(error) => {
                // As with too many open files: it passes.
                warn!(%error, "nobody can be let in by the admin socket; trying on");
                tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
            }
        }
    }
}

async fn answer(stream: tokio::net::UnixStream, requests: &mpsc::Sender<Request>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    tokio::io::BufReader::new(read.take(ASK_MAX_BYTES)).read_line(&mut line).await?;
    let answer = match serde_json::from_str(&line) {
        Ok(ask) => pass_on(ask, requests).await,
        Err(error) => Answer::Refused { reason: format!("this host does not know what that means: {error}") },
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    write.write_all(&line).await
}

async fn pass_on(ask: Ask, requests: &mpsc::Sender<Request>) -> Answer {
    const GONE: &str = "the host is stopping";
    let gone = || Answer::Refused { reason: GONE.to_owned() };
    let (request, reply) = match ask {
        Ask::Report => {
            let (reply, replied) = oneshot::channel();
            if requests.send(Request::Report(reply)).await.is_err() {
                return gone();
            }
            return replied.await.map_or_else(|_| gone(), Answer::Report);
        }
        Ask::Drain { job } => with_reply(|reply| Request::Drain(job, reply)),
        Ask::Resume { job } => with_reply(|reply| Request::Resume(job, reply)),
        Ask::Promote { job } => with_reply(|reply| Request::Promote(job, reply)),
        Ask::Rollback { job, to, version } => with_reply(|reply| Request::RollBack { job, to, version, reply }),
        Ask::Pause { job } => with_reply(|reply| Request::Pause(job, reply)),
    };
    if requests.send(request).await.is_err() {
        return gone();
    }
    match reply.await {
        Ok(Ok(())) => Answer::Done,
        Ok(Err(reason)) => Answer::Refused { reason },
        Err(_) => Answer::Refused { reason: "the job ended before it answered; `shardmill ls` says why".to_owned() },
    }
}

fn with_reply(request: impl FnOnce(crate::host::Reply) -> Request) -> (Request, oneshot::Receiver<Result<(), String>>) {
    let (reply, replied) = oneshot::channel();
    (request(reply), replied)
}

/// The same for a directory however it is called.
fn prefix(tasks: &Path) -> io::Result<String> {
    let tasks = tasks.canonicalize()?;
    Ok(hex(&sha256(tasks.as_os_str().as_encoded_bytes())[..HASH_BYTES]))
}

/// Where this user's sockets are: nobody else can enter it.
fn directory() -> io::Result<PathBuf> {
    let user = rustix::process::geteuid().as_raw();
    let directory = match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(runtime) if !runtime.is_empty() => PathBuf::from(runtime).join("shardmill"),
        _ => std::env::temp_dir().join(format!("shardmill-{user}")),
    };
    match DirBuilder::new().mode(0o700).create(&directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // Not a link, which somebody else may have put there.
    let metadata = fs::symlink_metadata(&directory)?;
    if metadata.is_dir() && metadata.uid() == user && metadata.mode() & 0o077 == 0 {
        return Ok(directory);
    }
    let text = format!("{} is not a directory that only user {user} can enter; remove it", directory.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::injected;

    #[tokio::test]
    async fn the_end_of_the_accept_loop_is_heard_of() {
        let tasks = tempfile::tempdir().unwrap();
        injected::want(Some("the admin socket"));
        let mut socket = AdminSocket::serve(tasks.path(), mpsc::channel(1).0).unwrap();
        assert_eq!(socket.failed().await.part, "the admin socket");

        // Of a client, too: what it asked for may be half done.
        injected::want(Some("the answer to a client"));
        let mut socket = AdminSocket::serve(tasks.path(), mpsc::channel(1).0).unwrap();
        let client = UnixStream::connect(&socket.path).unwrap();
        let panicked = socket.failed().await;
        injected::want(None);
        drop(client);
        assert!(panicked.message.contains("the answer to a client panicked"), "{panicked}");
    }
}
