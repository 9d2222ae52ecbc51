//! Whatever is started ends with its owner, and its panic is an event.

use std::time::Duration;

use hyper::rt::Executor as _;

use super::*;

fn panicked(part: &str, message: &str) -> Panicked {
    Panicked { part: part.to_owned(), message: message.to_owned() }
}

#[tokio::test]
async fn a_panic_says_what_panicked_and_why() {
    let mut tasks = Tasks::<&str, ()>::default();
    tasks.spawn("a task", async { panic!("text") });
    assert_eq!(tasks.join_next().await.unwrap(), ("a task", Err(panicked("a task", "text"))));
    tasks.spawn_blocking("blocking work", || panic!("number {}", 7));
    assert_eq!(tasks.join_next().await.unwrap().1, Err(panicked("blocking work", "number 7")));
    tasks.spawn_thread("name".to_owned(), "a thread", || resume_unwind(Box::new(7))).unwrap();
    assert_eq!(tasks.join_next().await.unwrap().1, Err(panicked("a thread", "no message")));
    assert_eq!(blocking("a look", || panic!("text")).await, Err::<(), _>(panicked("a look", "text")));
    let text = panicked("a look", "text").to_string();
    assert_eq!(text, "a look panicked, which is a bug in shardmill: text");
}

#[tokio::test]
async fn a_task_that_does_not_panic_returns() {
    let mut tasks = Tasks::default();
    tasks.spawn(1, async { "task" });
    tasks.spawn_blocking(2, || "blocking");
    tasks.spawn_thread("name".to_owned(), 3, || "thread").unwrap();
    let mut ended = Vec::new();
    while let Some((part, done)) = tasks.join_next().await {
        ended.push((part, done.unwrap()));
    }
    ended.sort_unstable();
    assert_eq!(ended, [(1, "task"), (2, "blocking"), (3, "thread")]);
    assert_eq!(blocking("a look", || 7).await, Ok(7));
}

#[tokio::test]
async fn an_aborted_task_is_not_a_panic() {
    let mut tasks = Tasks::<&str, ()>::default();
    tasks.spawn("a task", std::future::pending()).abort();
    assert_eq!(tasks.join_next().await, None);
}

#[tokio::test]
async fn a_task_ends_with_its_owner() {
    let (alive, gone) = oneshot::channel::<()>();
    let mut tasks = Tasks::<&str, ()>::default();
    tasks.spawn("a task", async move {
        let _alive = alive;
        std::future::pending().await
    });
    drop(tasks);
    let gone = tokio::time::timeout(Duration::from_secs(60), gone).await;
    assert!(gone.expect("it is aborted").is_err());
}

#[tokio::test]
async fn the_owner_of_a_library_hears_of_its_panics() {
    let (executor, mut panics) = Executor::new("an HTTP connection");
    executor.execute(async { 7 });
    executor.execute(async { panic!("text") });
    assert_eq!(panics.recv().await, Some(panicked("an HTTP connection", "text")));
    drop(executor);
    assert_eq!(panics.recv().await, None, "no other one");
}
