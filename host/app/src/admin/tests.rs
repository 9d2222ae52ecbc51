//! Hosts and clients of this release and of the one before, in one process and in directories of their own.

#![allow(clippy::disallowed_methods, reason = "a test's threads and tasks end with it")]

mod before;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use shardmill_tests::wait::{LIMIT, until};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::client::ask_in;
use super::place::{LOCK, Places, SOCKET, TaskDirectory};
use super::{AdminSocket, Answer, Answers, Ask};
use crate::host::{HostReport, Reply, Request};

/// A user's directories, with a task directory.
struct Machine {
    root: TempDir,
    places: Places,
}

impl Machine {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for name in ["run", "tmp", "tasks"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        let user = rustix::process::geteuid().as_raw();
        let places = Places::new(user, Some(&root.path().join("run")), &root.path().join("tmp"), None);
        Self { root, places }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Where the first host of it has its socket.
    fn sockets(&self) -> PathBuf {
        self.path("run/shardmill")
    }

    fn files(&self, extension: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.sockets()).into_iter().flatten();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.extension().is_some_and(|it| it == extension)).collect()
    }

    /// A host that answers reports and keeps commands waiting.
    fn host(&self, tasks: &Path) -> Host {
        let (requests, requested) = mpsc::channel(16);
        let socket = AdminSocket::serve_in(&self.places, tasks, requests).unwrap();
        Host { _socket: socket, _answering: tokio::spawn(report(requested)) }
    }

    /// Asks as a process of its own would.
    async fn ask(&self, tasks: &Path, what: &Ask) -> Answers {
        let (places, tasks, what) = (self.places.clone(), tasks.to_owned(), what.clone());
        tokio::task::spawn_blocking(move || ask_in(&places, &tasks, &what)).await.unwrap().unwrap()
    }

    async fn hosts(&self, tasks: &str) -> usize {
        let answers = self.ask(&self.path(tasks), &Ask::Report).await;
        assert_eq!(answers.silent, Vec::<String>::new());
        answers.answers.len()
    }

    fn prefix(&self, tasks: &str) -> String {
        TaskDirectory::find(&self.path(tasks)).unwrap().prefix()
    }
}

struct Host {
    _socket: AdminSocket,
    _answering: tokio::task::JoinHandle<()>,
}

async fn report(mut requested: mpsc::Receiver<Request>) {
    let mut waiting: Vec<Reply> = Vec::new();
    while let Some(request) = requested.recv().await {
        match request {
            Request::Report(reply) => reply.send(a_report()).unwrap_or(()),
            Request::RollBack { reply, .. } => waiting.push(reply),
            other => panic!("{other:?}"),
        }
    }
}

fn a_report() -> HostReport {
    HostReport {
        pid: 7,
        is_ready: true,
        tasks: String::new(),
        device: None,
        inode: None,
        problems: Vec::new(),
        passed_over: Vec::new(),
        jobs: Vec::new(),
    }
}

fn roll_back() -> Ask {
    Ask::Rollback { job: "orders".to_owned(), to: None, version: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_in_view_is_one_that_listens() {
    let machine = Machine::new();
    let tasks = machine.path("tasks");
    drop(machine.host(&tasks));
    let is_over = Arc::new(AtomicBool::new(false));
    let looking = std::thread::spawn({
        let (is_over, sockets) = (Arc::clone(&is_over), machine.sockets());
        move || {
            let mut refused = 0;
            while !is_over.load(Ordering::Relaxed) {
                let entries = fs::read_dir(&sockets).unwrap().filter_map(|entry| Some(entry.ok()?.path()));
                for path in entries.filter(|path| path.extension().is_some_and(|it| it == SOCKET)) {
                    match UnixStream::connect(path) {
                        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => refused += 1,
                        _ => {}
                    }
                }
            }
            refused
        }
    });
    for _ in 0..300 {
        let host = machine.host(&tasks);
        tokio::task::yield_now().await;
        drop(host);
    }
    is_over.store(true, Ordering::Relaxed);
    let refused = looking.join().unwrap();
    assert_eq!(refused, 0, "a client takes a refusal for the end of the host");
    assert_eq!(machine.files(SOCKET).len() + machine.files(LOCK).len(), 0, "nothing is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_start_while_clients_ask_stay_reachable() {
    let machine = Machine::new();
    let tasks = machine.path("tasks");
    let is_over = Arc::new(AtomicBool::new(false));
    let asking: Vec<_> = (0..3)
        .map(|_| {
            let (is_over, places, tasks) = (Arc::clone(&is_over), machine.places.clone(), tasks.clone());
            std::thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    ask_in(&places, &tasks, &Ask::Report).unwrap();
                }
            })
        })
        .collect();
    let mut hosts = Vec::new();
    for _ in 0..20 {
        hosts.push(machine.host(&tasks));
        tokio::task::yield_now().await;
    }
    is_over.store(true, Ordering::Relaxed);
    asking.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(machine.hosts("tasks").await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_of_one_process_number_do_not_meet() {
    let machine = Machine::new();
    // As two containers that share the directory.
    let (first, second) = (machine.host(&machine.path("tasks")), machine.host(&machine.path("tasks")));
    assert_eq!(machine.hosts("tasks").await, 2);
    drop(first);
    assert_eq!(machine.hosts("tasks").await, 1);
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_dead_host_are_removed_by_clients_and_by_new_hosts() {
    let machine = Machine::new();
    drop(machine.host(&machine.path("tasks")));
    let leave = |tasks: &str| {
        let stem = machine.sockets().join(format!("{}-1-0a1b2c3d", machine.prefix(tasks)));
        drop(UnixListener::bind(stem.with_extension(SOCKET)).unwrap());
        File::create(stem.with_extension(LOCK)).unwrap();
    };
    leave("tasks");
    assert_eq!(machine.hosts("tasks").await, 0);
    assert_eq!((machine.files(SOCKET).len(), machine.files(LOCK).len()), (0, 0));

    fs::create_dir(machine.path("others")).unwrap();
    leave("others");
    File::create(machine.sockets().join("0123456789abcdef-1-0a1b2c3d.lock")).unwrap();
    let _host = machine.host(&machine.path("tasks"));
    let is_swept = || (machine.files(SOCKET).len(), machine.files(LOCK).len()) == (1, 1);
    until("only the new host's are there", async || is_swept().then_some(())).await;
    assert_eq!(machine.hosts("tasks").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_lives_is_never_taken_for_dead_whatever_its_socket_says() {
    let machine = Machine::new();
    drop(machine.host(&machine.path("tasks")));
    let stem = machine.sockets().join(format!("{}-17-0a1b2c3d", machine.prefix("tasks")));
    drop(UnixListener::bind(stem.with_extension(SOCKET)).unwrap());
    let lock = File::create(stem.with_extension(LOCK)).unwrap();
    lock.lock().unwrap();
    let answers = machine.ask(&machine.path("tasks"), &Ask::Report).await;
    assert_eq!(answers.answers, []);
    assert!(answers.silent[0].starts_with("host 17 does not answer: "), "{:?}", answers.silent);
    let _other = machine.host(&machine.path("tasks"));
    drop(machine.ask(&machine.path("tasks"), &Ask::Report).await);
    assert!(stem.with_extension(SOCKET).exists() && stem.with_extension(LOCK).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_directory_is_found_by_every_path_that_leads_to_it() {
    let machine = Machine::new();
    let _host = machine.host(&machine.path("tasks"));
    fs::create_dir(machine.path("others")).unwrap();
    // While the host runs, it becomes a link; the host goes by its path.
    fs::rename(machine.path("tasks"), machine.path("moved")).unwrap();
    symlink(machine.path("moved"), machine.path("tasks")).unwrap();
    symlink(machine.path("tasks"), machine.path("another")).unwrap();
    for path in ["tasks", "moved", "another", "others/../tasks/."] {
        assert_eq!(machine.hosts(path).await, 1, "{path}");
    }
    assert_eq!(machine.hosts("others").await, 0);
    // It is away for the moment.
    fs::rename(machine.path("tasks"), machine.path("away")).unwrap();
    assert_eq!(machine.hosts("tasks").await, 1);
    fs::rename(machine.path("away"), machine.path("tasks")).unwrap();
    // And leads elsewhere.
    fs::remove_file(machine.path("tasks")).unwrap();
    symlink(machine.path("others"), machine.path("tasks")).unwrap();
    for path in ["tasks", "others"] {
        assert_eq!(machine.hosts(path).await, 1, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_socket_directory_is_replaced_by_another() {
    let machine = Machine::new();
    let user = rustix::process::geteuid().as_raw();
    // A directory that others can enter, a link, a file: none of them is used.
    fs::create_dir(machine.sockets()).unwrap();
    fs::set_permissions(machine.sockets(), fs::Permissions::from_mode(0o755)).unwrap();
    symlink(machine.path("tasks"), machine.path(&format!("tmp/shardmill-{user}"))).unwrap();
    File::create(machine.path(&format!("tmp/shardmill-{user}-1"))).unwrap();
    let host = machine.host(&machine.path("tasks"));
    assert!(machine.path(&format!("tmp/shardmill-{user}-2")).is_dir());
    assert_eq!(machine.hosts("tasks").await, 1);
    assert_eq!(fs::read_dir(machine.path("tasks")).unwrap().count(), 0);
    drop(host);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_too_long_for_a_socket_is_worked_around() {
    let machine = Machine::new();
    let long = machine.path(&"x".repeat(100));
    fs::create_dir(&long).unwrap();
    let user = rustix::process::geteuid().as_raw();
    let places = Places::new(user, Some(&long), &machine.path("tmp"), None);
    let (requests, requested) = mpsc::channel(16);
    let _socket = AdminSocket::serve_in(&places, &machine.path("tasks"), requests).unwrap();
    tokio::spawn(report(requested));
    assert_eq!(machine.hosts("tasks").await, 1);
    assert_eq!(fs::read_dir(long.join("shardmill")).unwrap().count(), 0, "nothing is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_silent_clients_nor_long_commands_hold_up_a_report() {
    let machine = Machine::new();
    let tasks = machine.path("tasks");
    let _host = machine.host(&tasks);
    let socket = machine.files(SOCKET).remove(0);
    let is_over = Arc::new(AtomicBool::new(false));
    // More than may be connected, each of which stays until it is closed, and is followed by another.
    let silent: Vec<_> = (0..100)
        .map(|_| {
            let (is_over, socket) = (Arc::clone(&is_over), socket.clone());
            std::thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    if let Ok(mut stream) = UnixStream::connect(&socket) {
                        drop(stream.read(&mut [0]));
                    }
                }
            })
        })
        .collect();
    // As many commands as there may be wait; the one beyond them is refused.
    let mut commands = JoinSet::new();
    (0..=16).for_each(|_| drop(commands.spawn(command(socket.clone()))));
    let first_answer = async {
        loop {
            match commands.join_next().await.unwrap().unwrap() {
                // Closed as the oldest before its line was read.
                Err(_) => drop(commands.spawn(command(socket.clone()))),
                Ok(answer) => return answer,
            }
        }
    };
    let refused = tokio::time::timeout(LIMIT, first_answer).await.expect("one command is answered");
    assert!(refused.contains("16 other commands"), "{refused}");
    let answers = until("a report", async || {
        let answers = machine.ask(&tasks, &Ask::Report).await;
        (!answers.answers.is_empty()).then_some(answers.answers)
    })
    .await;
    assert_eq!(answers, [Answer::Report(a_report())]);
    is_over.store(true, Ordering::Relaxed);
    drop(commands);
    silent.into_iter().for_each(|thread| thread.join().unwrap());
}

async fn command(socket: PathBuf) -> io::Result<String> {
    let mut stream = tokio::net::UnixStream::connect(&socket).await?;
    stream.write_all(format!("{}\n", serde_json::to_string(&roll_back())?).as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    if answer.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(answer) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_request_is_refused() {
    let machine = Machine::new();
    let _host = machine.host(&machine.path("tasks"));
    let socket = machine.files(SOCKET).remove(0);
    for line in ["", "report", "{\"ask\":\"explode\"}", "{\"ask\":\"drain\"}", "[[[[[[", "\u{0}\u{202e}"] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        writeln!(stream, "{line}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(
            answer.starts_with("{\"answer\":\"refused\",\"reason\":\"this host does not know"),
            "{line:?}: {answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_the_release_before_finds_a_host_and_does_not_harm_it() {
    let machine = Machine::new();
    let tasks = machine.path("tasks");
    let host = machine.host(&tasks);
    let ask = || {
        let (sockets, tasks) = (machine.sockets(), tasks.clone());
        tokio::task::spawn_blocking(move || before::ask(&sockets, &tasks, r#"{"ask":"report"}"#).unwrap())
    };
    let answered = ask().await.unwrap();
    let report: Answer = serde_json::from_str(&answered[0]).unwrap();
    assert_eq!(report, Answer::Report(a_report()));
    assert_eq!(machine.hosts("tasks").await, 1);
    drop(host);
    assert_eq!(ask().await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_of_the_release_before_is_found_and_not_harmed() {
    let machine = Machine::new();
    let tasks = machine.path("tasks");
    // Bound and not listening yet, as it is for a moment: a refusal as of a dead host's.
    fs::create_dir(machine.sockets()).unwrap();
    fs::set_permissions(machine.sockets(), fs::Permissions::from_mode(0o700)).unwrap();
    let bound = before::path(&machine.sockets(), &tasks, 4711);
    drop(UnixListener::bind(&bound).unwrap());
    assert_eq!(machine.hosts("tasks").await, 0);
    let _other = machine.host(&machine.path("run"));
    assert!(bound.exists(), "it may be about to listen");
    // Long after that it is dead.
    let aged = Command::new("touch").args(["-h", "-d", "2 minutes ago"]).arg(&bound).status().unwrap();
    assert!(aged.success());
    assert_eq!(machine.hosts("tasks").await, 0);
    assert!(!bound.exists());

    let _served =
        before::serve(&machine.sockets(), &tasks, 4712, serde_json::to_string(&Answer::Report(a_report())).unwrap());
    assert_eq!(machine.hosts("tasks").await, 1);
    let aged = Command::new("touch")
        .args(["-h", "-d", "2 hours ago"])
        .arg(before::path(&machine.sockets(), &tasks, 4712))
        .status();
    assert!(aged.unwrap().success());
    assert_eq!(machine.hosts("tasks").await, 1, "however old it is");
}
