//! The client: sends a request to every host of a task directory at the same time, each with its own time limit, so that
//! a host that does not answer neither delays nor hides another.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::place::{self, Fate, Found, Places, TaskDirectory};
use super::{ANSWER_MAX_BYTES, Answer, Ask, patience};

/// How long a host that is alive and refuses connections may take to exit.
const END_PATIENCE: Duration = Duration::from_millis(500);
const END_POLL: Duration = Duration::from_millis(20);

/// The responses of the hosts of a task directory.
#[derive(Debug, Default)]
pub struct Answers {
    pub answers: Vec<Answer>,
    /// The hosts that are running and do not answer, each with the reason.
    pub silent: Vec<String>,
}

/// Sends a request to every host of a task directory on this machine. Removes what dead hosts left behind.
///
/// # Errors
/// When the directories of the sockets cannot be searched.
pub fn ask(tasks: &Path, what: &Ask) -> io::Result<Answers> {
    ask_in(&Places::of_this_user(), tasks, what)
}

#[expect(clippy::disallowed_methods, reason = "a panic of a host's thread counts as a host that does not answer")]
pub(super) fn ask_in(places: &Places, tasks: &Path, what: &Ask) -> io::Result<Answers> {
    let hosts = place::find(places, &TaskDirectory::find(tasks)?)?;
    let mut waiting: Vec<(usize, String)> = hosts.iter().map(|it| it.host.clone()).enumerate().collect();
    let (answered, answers) = mpsc::channel();
    for (index, host) in hosts.into_iter().enumerate() {
        let (answered, what) = (answered.clone(), what.clone());
        // The thread may wait for ever: for a connection to a suspended host whose backlog is full.
        std::thread::spawn(move || drop(answered.send((index, ask_host(&host, &what)))));
    }
    let deadline = Instant::now() + patience(what);
    let mut result = Answers::default();
    while !waiting.is_empty() {
        let Ok((index, answer)) = answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) else {
            break;
        };
        waiting.retain(|(of, _)| *of != index);
        match answer {
            Ok(Some(answer)) => result.answers.push(answer),
            Ok(None) => {}
            Err(why) => result.silent.push(why),
        }
    }
    let seconds = patience(what).as_secs();
    result.silent.extend(waiting.iter().map(|(_, host)| format!("host {host} does not answer within {seconds} s")));
    Ok(result)
}

/// `None` when the host has exited.
fn ask_host(host: &Found, what: &Ask) -> Result<Option<Answer>, String> {
    let deadline = Instant::now() + END_PATIENCE;
    loop {
        let error = match UnixStream::connect(&host.path).and_then(|stream| exchange(stream, what)) {
            Ok(answer) => return Ok(Some(answer)),
            Err(error) => error,
        };
        let is_refused = error.kind() == io::ErrorKind::ConnectionRefused;
        let fate = match is_refused {
            true => host.fate_of_refusing(),
            false if has_ended(&error) => host.fate(),
            false => Fate::Lives,
        };
        // An exiting host closes its socket a moment before it exits; a running one may have had too many clients. The
        // request may have been carried out: only a report is requested twice.
        let may_repeat = is_refused || (has_ended(&error) && *what == Ask::Report);
        match fate {
            Fate::Dead | Fate::Unknown => return Ok(None),
            Fate::Lives if may_repeat && Instant::now() < deadline => std::thread::sleep(END_POLL),
            Fate::Lives => return Err(format!("host {} does not answer: {error}", host.host)),
        }
    }
}

fn exchange(mut stream: UnixStream, what: &Ask) -> io::Result<Answer> {
    stream.set_read_timeout(Some(patience(what)))?;
    stream.set_write_timeout(Some(patience(what)))?;
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream.take(ANSWER_MAX_BYTES)).read_line(&mut answer)?;
    if answer.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_str(&answer)?)
}

/// The host exited during the request.
fn has_ended(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotFound, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | NotFound | UnexpectedEof)
}
