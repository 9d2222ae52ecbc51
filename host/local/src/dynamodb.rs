//! DynamoDB: `dynoxide-rs` on a dedicated thread, behind a front that injects faults and records the journal.
//!
//! It runs SQLite synchronously inside its handlers, so it must not share a runtime with anything time-critical. It logs
//! one WARN per error response, including failed conditions, which lease protocols produce constantly: a subscriber
//! should set the directive `dynoxide=error` ([`LOG_DIRECTIVE`]).

mod front;

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use dynoxide::Database;
use tokio::sync::watch;

use crate::Error;
pub(crate) use front::Front;

/// The `tracing` directive that silences its WARN per failed condition.
pub const LOG_DIRECTIVE: &str = "dynoxide=error";

const FILE: &str = "dynamodb.sqlite";
/// A client that has sent half a request must not delay the shutdown.
const DRAIN: Duration = Duration::from_millis(300);

/// Opens the database and serves it until `stopped` resolves.
#[expect(clippy::disallowed_methods, reason = "the backend owns the thread, and joins it")]
pub(crate) fn spawn(
    listener: TcpListener,
    data_dir: Option<PathBuf>,
    front: Front,
    mut stopped: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, Error> {
    let database = open(data_dir.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // The database's own server requires a listener: it gets one whose address only the front knows.
    let behind = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    behind.set_nonblocking(true)?;
    let address = behind.local_addr()?;
    let (listener, behind) = {
        let _context = runtime.enter();
        (tokio::net::TcpListener::from_std(listener)?, tokio::net::TcpListener::from_std(behind)?)
    };
    let serve = async move {
        let mut stop = stopped.clone();
        let told = async move {
            // An error means that the backend has been dropped, which also stops the server.
            stop.wait_for(|stopped| *stopped).await.ok();
        };
        let server = dynoxide::server::serve_with_shutdown(behind, database, told);
        let deadline = async move {
            stopped.wait_for(|stopped| *stopped).await.ok();
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            never = front.serve(listener, address) => match never {},
            result = server => {
                if let Err(error) = result {
                    tracing::error!(%error, "the local DynamoDB stopped");
                }
            }
            () = deadline => {}
        }
    };
    let thread =
        std::thread::Builder::new().name("local-dynamodb".to_owned()).spawn(move || runtime.block_on(serve))?;
    Ok(thread)
}

fn open(data_dir: Option<&Path>) -> Result<Database, Error> {
    let Some(dir) = data_dir else {
        return Database::memory().map_err(|e| data_error(Path::new(":memory:"), &e));
    };
    std::fs::create_dir_all(dir).map_err(|e| data_error(dir, &e))?;
    let path = dir.join(FILE);
    Database::new(&path.to_string_lossy()).map_err(|e| data_error(&path, &e))
}

fn data_error(path: &Path, reason: &dyn std::fmt::Display) -> Error {
    Error::Data { path: path.to_owned(), reason: reason.to_string() }
}
