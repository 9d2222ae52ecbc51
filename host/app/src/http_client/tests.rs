//! The client against servers on this machine that answer well, badly, late or not at all.

#![allow(clippy::disallowed_methods, reason = "a test's threads and tasks end with it")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use http_body_util::{BodyExt, Empty};

use super::*;

/// Answers every connection with these bytes, once a request is there, and then goes away or stays silent.
fn server(answer: &'static str, stays: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut kept = Vec::new();
        for mut connection in listener.incoming().flatten() {
            let mut asked = [0; 4096];
            let read = connection.read(&mut asked).unwrap_or(0);
            let asked = String::from_utf8_lossy(&asked[..read]).into_owned();
            drop(connection.write_all(answer.replace("{asked}", asked.lines().next().unwrap_or_default()).as_bytes()));
            if stays {
                kept.push(connection);
            }
        }
    });
    address
}

async fn get(url: &str, times: HttpTimes) -> Result<(u16, String), HttpError> {
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let client = Connections::new(&[], Executor::new("a connection").0);
    let answer = client.send(Request::get(url).body(body).unwrap(), times).await?;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

fn ms(ms: u64) -> Option<Duration> {
    Some(Duration::from_millis(ms))
}

#[tokio::test]
async fn the_answer_is_what_the_server_says_and_a_redirect_is_not_followed() {
    let to = server("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 17\r\n\r\n{asked}", true);
    let answer = get(&format!("http://{to}/a?b"), HttpTimes::default()).await.unwrap();
    assert_eq!(answer, (302, "GET /a?b HTTP/1.1".to_owned()));
}

#[tokio::test]
async fn a_failure_has_the_name_that_wasi_has_for_it() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = get(&format!("http://{free}/"), HttpTimes::default()).await.unwrap_err();
    assert!(matches!(refused, HttpError::ConnectionRefused), "{refused:?}");
    let plain = server("this is no TLS at all", false);
    let tls = get(&format!("https://{plain}/"), HttpTimes::default()).await.unwrap_err();
    assert!(matches!(tls, HttpError::TlsProtocolError), "{tls:?}");
    let cut = server("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", false);
    let cut = get(&format!("http://{cut}/"), HttpTimes::default()).await.unwrap_err();
    assert!(matches!(cut, HttpError::HttpResponseIncomplete), "{cut:?}");
}

#[tokio::test]
async fn an_address_that_is_not_granted_has_the_name_that_wasi_has_for_it() {
    let server = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", true);
    for url in [format!("http://localhost:{}/", server.port()), "http://169.254.169.254/".to_owned()] {
        let refused = get(&url, HttpTimes::default()).await.unwrap_err();
        assert!(matches!(refused, HttpError::DestinationIpProhibited), "{url}: {refused:?}");
    }
}

/// A kept connection of one job would carry the request of another, whatever its own grants are.
#[tokio::test]
async fn each_job_has_connections_of_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (connected, connections) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            connected.send(()).unwrap();
            thread::spawn(move || {
                let mut asked = [0; 4096];
                while connection.read(&mut asked).is_ok_and(|read| read > 0) {
                    connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
                }
            });
        }
    });
    let jobs = [(); 2].map(|()| of_job(&[], Executor::new("a connection").0));
    for job in [&jobs[0], &jobs[0], &jobs[1]] {
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let answer = job.send(Request::get(&url).body(body).unwrap(), HttpTimes::default()).await.unwrap();
        answer.into_body().collect().await.unwrap();
    }
    assert_eq!(connections.try_iter().count(), 2, "the first job's second request goes by its first connection");
}

#[tokio::test]
async fn each_time_of_the_task_is_kept() {
    let silent = server("", true);
    let times = HttpTimes { connect_timeout: ms(100), ..HttpTimes::default() };
    let handshake = get(&format!("https://{silent}/"), times).await.unwrap_err();
    assert!(matches!(handshake, HttpError::ConnectionTimeout), "{handshake:?}");
    let times = HttpTimes { first_byte_timeout: ms(100), ..HttpTimes::default() };
    let first = get(&format!("http://{silent}/"), times).await.unwrap_err();
    assert!(matches!(first, HttpError::ConnectionReadTimeout), "{first:?}");
    let half = server("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", true);
    let times = HttpTimes { between_bytes_timeout: ms(100), ..HttpTimes::default() };
    let between = get(&format!("http://{half}/"), times).await.unwrap_err();
    assert!(matches!(between, HttpError::ConnectionReadTimeout), "{between:?}");
}
