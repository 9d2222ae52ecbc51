//! Waits for conditions, never for time. A machine that does many other things takes its time: the limit is there only so
//! that a test that waits in vain ends, and says what it saw instead.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// How long a condition may take on a machine that does many other things.
pub const LIMIT: Duration = Duration::from_secs(180);

/// How often it is looked at.
const POLL: Duration = Duration::from_millis(10);

/// What a look at a condition comes to: it holds, or what was seen instead.
pub trait Look {
    type Found;

    /// # Errors
    /// What was seen, if the look can tell; it is written only when the wait ends.
    fn found(self) -> Result<Self::Found, Option<impl Display>>;
}

impl<T> Look for Option<T> {
    type Found = T;

    fn found(self) -> Result<T, Option<impl Display>> {
        self.ok_or(None::<&str>)
    }
}

impl<T, E: Display> Look for Result<T, E> {
    type Found = T;

    fn found(self) -> Result<T, Option<impl Display>> {
        self.map_err(Some)
    }
}

/// Returns what `probe` finds.
///
/// # Panics
/// When it finds nothing within [`LIMIT`].
pub async fn until<L: Look>(what: &str, mut probe: impl AsyncFnMut() -> L) -> L::Found {
    let deadline = Instant::now() + LIMIT;
    loop {
        match probe().await.found() {
            Ok(found) => return found,
            Err(seen) => check(deadline, what, seen),
        }
        tokio::time::sleep(POLL).await;
    }
}

/// [`until`] for threads.
///
/// # Panics
/// When it finds nothing within [`LIMIT`].
pub fn until_blocking<L: Look>(what: &str, mut probe: impl FnMut() -> L) -> L::Found {
    let deadline = Instant::now() + LIMIT;
    loop {
        match probe().found() {
            Ok(found) => return found,
            Err(seen) => check(deadline, what, seen),
        }
        std::thread::sleep(POLL);
    }
}

fn check(deadline: Instant, what: &str, seen: Option<impl Display>) {
    if Instant::now() >= deadline {
        let seen = seen.map(|seen| format!("; the last that was seen:\n{seen}")).unwrap_or_default();
        panic!("waited {LIMIT:?} in vain: {what}{seen}");
    }
}
