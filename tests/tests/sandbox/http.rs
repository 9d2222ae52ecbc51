//! A task sends HTTP requests where its job lets it, so many and so long, and nowhere else. Who sends them here answers
//! by itself; the client of the host has tests of its own.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use shardmill_core::config::Grants;
use shardmill_core::http_origin::HttpOrigin;
use shardmill_runtime::trial::{self, Recent};
use shardmill_runtime::{
    CallError, Engine, HttpBody, HttpClient, HttpError, HttpSending, HttpTimes, Instance, Interrupter, Limit, Outputs,
    TaskSpec, TrapReason,
};
use shardmill_tests::instances::{Lines, batch, load, process, spec, texts};

/// Notes what it is to send, and answers by the path: `/slow` never, `/endless` for ever, `/moved` by pointing elsewhere,
/// anything else with the body of the request.
#[derive(Default)]
struct Web {
    seen: Mutex<Vec<String>>,
    /// Requests that wait for an answer.
    waiting: Arc<AtomicUsize>,
}

impl Web {
    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl HttpClient for Web {
    fn send(&self, request: Request<HttpBody>, _times: HttpTimes) -> HttpSending {
        let (head, body) = request.into_parts();
        let host = head.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
        let line = format!("{} {} to {host}", head.method, head.uri);
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        let waiting = Waiting::new(&self.waiting);
        Box::pin(async move {
            let _waiting = waiting;
            let answer = Response::builder();
            Ok(match head.uri.path() {
                "/slow" => std::future::pending().await,
                "/endless" => answer.body(Endless.boxed_unsync()).unwrap(),
                "/moved" => {
                    let answer = answer.status(302).header("location", "http://elsewhere.example/");
                    answer.body(whole(Bytes::new())).unwrap()
                }
                _ => answer.body(whole(body.collect().await?.to_bytes())).unwrap(),
            })
        })
    }
}

struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn new(waiting: &Arc<AtomicUsize>) -> Self {
        waiting.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(waiting))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 64 << 10])))))
    }
}

fn whole(body: Bytes) -> HttpBody {
    Full::new(body).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// A task that may send to these origins, and through what.
fn granted(log: &Arc<Lines>, origins: &[&str]) -> (TaskSpec, Arc<Web>) {
    let web = Arc::new(Web::default());
    let origins = origins.iter().map(|origin| HttpOrigin::parse(origin).unwrap()).collect();
    let grants = Grants { http: origins, ..Grants::default() };
    (TaskSpec { grants, http_client: Some(Arc::<Web>::clone(&web)), ..spec(log, &[]) }, web)
}

fn instance(spec: &TaskSpec) -> Instance {
    Instance::new(&load(&Engine::new().unwrap(), "fetch"), spec).unwrap()
}

fn answers(spec: &TaskSpec, orders: &[&str]) -> Vec<String> {
    let mut outputs = Outputs::default();
    process(&mut instance(spec), orders, &mut outputs).unwrap();
    texts(&outputs)
}

fn reason(error: &CallError) -> TrapReason {
    let CallError::Trap { reason, .. } = error else { panic!("{error}") };
    *reason
}

#[test]
fn a_request_goes_where_it_may_and_its_answer_comes_back() {
    let (spec, web) = granted(&Arc::default(), &["http://127.0.0.1:8080", "https://*.example.org"]);
    let orders = ["POST http://127.0.0.1:8080/echo?a=1 body=hello", "GET https://a.b.Example.org/x"];
    assert_eq!(answers(&spec, &orders), ["200 hello", "200 "]);
    assert_eq!(
        web.seen(),
        ["POST http://127.0.0.1:8080/echo?a=1 to 127.0.0.1:8080", "GET https://a.b.Example.org/x to a.b.Example.org",]
    );
}

#[test]
fn without_a_grant_every_request_is_denied_and_the_log_says_where_it_was_to_go() {
    let log = Arc::new(Lines::default());
    let orders = ["GET http://127.0.0.1:8080/path?token=hunter2"];
    assert_eq!(answers(&spec(&log, &[]), &orders), ["ErrorCode::HttpRequestDenied"]);
    let said = log.taken().concat();
    let told = "a request to http://127.0.0.1:8080 was denied: task.grant.http does not include it";
    assert!(said.contains("WARN Host") && said.ends_with(told), "{said}");
}

#[test]
fn nothing_is_sent_to_another_host_port_or_scheme_however_it_is_written() {
    let (spec, web) = granted(&Arc::default(), &["http://api.example.com:8080", "https://*.example.org"]);
    let denied = [
        "GET http://other.example.com:8080/",
        "GET http://api.example.com/",
        "GET http://api.example.com:8081/",
        "GET https://api.example.com:8080/",
        "GET https://example.org/",
        "GET https://evil-example.org/",
        "GET https://example.org.evil.com/",
        "GET http://a.example.org:443/",
        "GET http://api.example.com:8080@evil.com/",
        "GET http://evil.com@api.example.com:8080/",
        "GET http://api.example.com:8080/ authority=evil.com",
        "GET http://api.example.com:8080/ authority=evil.com:8080",
        "GET http://api.example.com:8080/ authority=user:pass@api.example.com:8080",
        "CONNECT http://api.example.com:8080/",
    ];
    for (order, answer) in denied.iter().zip(answers(&spec, &denied)) {
        assert_eq!(answer, "ErrorCode::HttpRequestDenied", "{order}");
    }
    assert_eq!(web.seen(), Vec::<String>::new());
    let refused = [
        ("GET gopher://api.example.com:8080/", "ErrorCode::HttpProtocolError"),
        (
            "GET http://api.example.com:8080/ authority=api.example.com:8080/@evil.com",
            "ErrorCode::HttpRequestUriInvalid",
        ),
        (
            "GET http://api.example.com:8080/ authority=evil.com#api.example.com:8080",
            "ErrorCode::HttpRequestUriInvalid",
        ),
        ("GET http://api.example.com:8080/ header=host:evil.com", "HeaderError::Forbidden"),
        ("GET http://api.example.com:8080/ header=transfer-encoding:chunked", "HeaderError::Forbidden"),
    ];
    for (order, told) in refused {
        let answer = answers(&spec, &[order]).concat();
        assert!(answer.contains(told), "{order}: {answer}");
    }
    assert_eq!(web.seen(), Vec::<String>::new());
}

#[test]
fn a_redirect_is_an_answer_like_any_other() {
    let (spec, web) = granted(&Arc::default(), &["http://127.0.0.1:8080"]);
    assert_eq!(answers(&spec, &["GET http://127.0.0.1:8080/moved"]), ["302 "]);
    assert_eq!(web.seen().len(), 1);
}

#[test]
fn a_server_that_does_not_answer_ends_the_call_and_the_request_with_it() {
    let (mut spec, web) = granted(&Arc::default(), &["http://127.0.0.1:8080"]);
    spec.limits.call_timeout = Duration::from_millis(300);
    let mut instance = instance(&spec);
    let failed = process(&mut instance, ["GET http://127.0.0.1:8080/slow"], &mut Outputs::default()).unwrap_err();
    assert!(matches!(reason(&failed.error), TrapReason::Timeout), "{}", failed.error);
    assert_eq!(spec.hits.hit().collect::<Vec<_>>(), [(Limit::CallTime, 1)]);
    drop(instance);
    while web.waiting.load(Ordering::SeqCst) > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn an_interrupt_ends_a_call_that_waits_for_a_server() {
    let (mut spec, web) = granted(&Arc::default(), &["http://127.0.0.1:8080"]);
    spec.limits.call_timeout = Duration::from_mins(10);
    let mut instance = instance(&spec);
    let interrupter = Interrupter::default();
    instance.set_interrupter(interrupter.clone());
    let calling = std::thread::spawn(move || {
        process(&mut instance, ["GET http://127.0.0.1:8080/slow"], &mut Outputs::default()).unwrap_err()
    });
    while web.waiting.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    interrupter.interrupt();
    assert_eq!(reason(&calling.join().unwrap().error), TrapReason::Interrupted);
}

#[test]
fn an_endless_answer_fills_the_memory_of_the_task_and_no_other() {
    let (mut spec, _web) = granted(&Arc::default(), &["http://127.0.0.1:8080"]);
    spec.limits.memory_max_bytes = 32 << 20;
    let orders = ["GET http://127.0.0.1:8080/endless"];
    let failed = process(&mut instance(&spec), orders, &mut Outputs::default()).unwrap_err();
    assert_eq!(reason(&failed.error), TrapReason::Memory);
}

#[test]
fn a_call_sends_so_many_requests_and_the_next_call_as_many_again() {
    let (mut spec, web) = granted(&Arc::default(), &["http://127.0.0.1:8080"]);
    spec.limits.http_max_requests = 3;
    let orders = ["GET http://127.0.0.1:8080/ times=3", "GET http://127.0.0.1:8080/ times=5"];
    let told = r#"InternalError(Some("one call may send 3 requests (task.http.max.requests)"))"#;
    assert_eq!(answers(&spec, &orders), ["3 200 ".to_owned(), format!("3 ErrorCode::{told}")]);
    assert_eq!(web.seen().len(), 6);
    assert_eq!(spec.hits.hit().collect::<Vec<_>>(), [(Limit::HttpRequests, 2)]);
}

#[test]
fn so_many_requests_are_under_way_at_a_time() {
    let (spec, web) = granted(&Arc::default(), &["http://127.0.0.1:8080"]);
    let mut outputs = Outputs::default();
    let mut instance = instance(&spec);
    for _ in 0..2 {
        outputs.clear();
        process(&mut instance, ["GET http://127.0.0.1:8080/ at-once=40"], &mut outputs).unwrap();
        let answers = texts(&outputs).concat();
        let count = |what: &str| answers.lines().filter(|answer| *answer == what).count();
        assert_eq!((count("200 "), count("ErrorCode::ConnectionLimitReached")), (32, 8), "{answers}");
        assert_eq!(web.seen().len(), 32);
    }
    assert_eq!(spec.hits.of(Limit::HttpRequests), 16);
}

#[test]
fn a_request_that_is_too_large_to_be_one_is_refused_before_it_is_kept() {
    let (spec, web) = granted(&Arc::default(), &["http://127.0.0.1:8080"]);
    let long = |bytes: usize| "x".repeat(bytes);
    for (order, told) in [
        (format!("GET http://127.0.0.1:8080/{}", long(9_000)), "ErrorCode::HttpRequestUriInvalid"),
        (format!("{} http://127.0.0.1:8080/", long(33)), "ErrorCode::HttpRequestMethodInvalid"),
        (format!("GET http://{}/", long(301)), "ErrorCode::HttpRequestUriInvalid"),
    ] {
        let answer = answers(&spec, &[&order]).concat();
        assert!(answer.contains(told), "{answer}");
    }
    let headers = format!("GET http://127.0.0.1:8080/ header=a:{}", long(17_000));
    let failed = process(&mut instance(&spec), [headers], &mut Outputs::default()).unwrap_err();
    assert!(failed.error.is_trap(), "{}", failed.error);
    assert!(web.seen().is_empty());
    assert_eq!(answers(&spec, &[&format!("{} http://127.0.0.1:8080/{}", long(32), long(8_000))]), ["200 "]);
}

#[test]
fn a_replay_sends_nothing_and_a_trial_start_may() {
    let (mut spec, web) = granted(&Arc::default(), &["http://127.0.0.1:8080"]);
    let module = load(&Engine::new().unwrap(), "fetch");
    let messages = batch(["GET http://127.0.0.1:8080/"]);
    let recent = [Recent { source: 0, batch: Arc::new(messages), range: 0..1 }];
    let report = trial::shadow(&module, &module, &spec, &recent);
    assert_eq!((report.new.envelopes, report.new.failures(), web.seen().len()), (1, 0, 0));
    spec.config = [("init".to_owned(), "POST http://127.0.0.1:8080/ body=prices".to_owned())].into();
    assert_eq!(trial::start(&module, &spec).unwrap().log, ["INFO 200 prices"]);
    assert_eq!(web.seen().len(), 1);
}

#[test]
fn a_grant_shows_its_origins() {
    let (spec, _web) = granted(&Arc::default(), &["https://*.example.org", "http://127.0.0.1:8080"]);
    let shown = format!("{:?}", spec.grants);
    assert!(shown.contains(r#"http: ["https://*.example.org", "http://127.0.0.1:8080"]"#), "{shown}");
}
