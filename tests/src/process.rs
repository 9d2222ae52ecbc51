//! The real binary as a child process: started, signalled, reaped. Knows nothing of what it is to do.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::wait::until_blocking;

/// A running `shardmill`. Killed when dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

/// What a signal to a process is called.
#[derive(Clone, Copy, Debug)]
pub enum Signal {
    Terminate,
    Interrupt,
    /// As a terminal sends it that is closed.
    HangUp,
    /// Suspends it until [`Signal::Continue`].
    Stop,
    Continue,
}

impl Process {
    /// Starts a command whose standard error goes to the file `log`.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let to = File::create(log).expect("the log can be written");
        let child = command.stdin(Stdio::null()).stderr(to).spawn().expect("the binary starts");
        Self { child, log: log.to_owned() }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// # Panics
    /// When there is no shell to send it.
    pub fn signal(&mut self, signal: Signal) {
        send(&self.child, signal);
    }

    /// Sends one right after the other.
    ///
    /// # Panics
    /// When there is no shell to send them.
    pub fn signal_all(&mut self, signals: &[Signal]) {
        send_all(&self.child, signals);
    }

    /// Kills it as a crash does, and reaps it.
    ///
    /// # Panics
    /// When it has ended by itself.
    pub fn crash(&mut self) {
        if let Some(status) = self.child.try_wait().expect("it is our child") {
            panic!("it ended by itself with {status}:\n{}", self.log());
        }
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child)
    }

    /// Whether it has ended.
    ///
    /// # Panics
    /// Never: it is our child.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_some()
    }

    /// What it wrote to standard error so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended long ago.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Sends a signal to a child that has not been reaped, so that the id is still its own.
///
/// # Panics
/// When there is no shell.
pub fn send(child: &Child, signal: Signal) {
    send_all(child, &[signal]);
}

fn send_all(child: &Child, signals: &[Signal]) {
    let name = |signal: &Signal| match signal {
        Signal::Terminate => "TERM",
        Signal::Interrupt => "INT",
        Signal::HangUp => "HUP",
        Signal::Stop => "STOP",
        Signal::Continue => "CONT",
    };
    let kills: Vec<String> = signals.iter().map(|signal| format!("kill -{} {}", name(signal), child.id())).collect();
    let sent = Command::new("sh").args(["-ec", &kills.join("\n")]).status();
    assert!(sent.expect("there is a shell").success(), "{signals:?} not sent");
}

/// Waits for a child's end.
///
/// # Panics
/// When it does not end in time.
pub fn wait(child: &mut Child) -> ExitStatus {
    until_blocking("the process ends", || child.try_wait().expect("it is our child"))
}
