//! The control socket of the release before this one, frozen: what its client and its host do with the directory of the
//! sockets, and what goes over the wire.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use shardmill_core::hex;
use shardmill_runtime::sha256;

/// Its client: asks every socket whose name begins with the directory's hash, and removes what refuses.
pub(super) fn ask(sockets: &Path, tasks: &Path, line: &str) -> io::Result<Vec<String>> {
    let prefix = format!("{}-", prefix(tasks));
    let mut answers = Vec::new();
    for entry in fs::read_dir(sockets)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with(&prefix) || !name.ends_with(".sock") {
            continue;
        }
        match UnixStream::connect(entry.path()).and_then(|stream| exchange(stream, line)) {
            Ok(answer) => answers.push(answer),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => drop(fs::remove_file(entry.path())),
            Err(error) => return Err(error),
        }
    }
    Ok(answers)
}

fn exchange(mut stream: UnixStream, line: &str) -> io::Result<String> {
    stream.write_all(format!("{line}\n").as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(answer)
}

/// Its host: binds under the name that clients look for. Answers every client with this line, until the test's end.
pub(super) fn serve(sockets: &Path, tasks: &Path, pid: u32, answer: String) -> std::thread::JoinHandle<()> {
    let listener = UnixListener::bind(path(sockets, tasks, pid)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            // A client may only look whether it is there.
            drop(writeln!(stream, "{answer}"));
        }
    })
}

pub(super) fn path(sockets: &Path, tasks: &Path, pid: u32) -> PathBuf {
    sockets.join(format!("{}-{pid}.sock", prefix(tasks)))
}

fn prefix(tasks: &Path) -> String {
    let tasks = tasks.canonicalize().unwrap();
    hex::encode(&sha256(tasks.as_os_str().as_encoded_bytes())[..8])
}
