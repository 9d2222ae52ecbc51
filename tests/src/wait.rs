//! Waits for conditions, never for time.

use std::time::{Duration, Instant};

/// How long a condition may take on a machine that does many other things.
pub const LIMIT: Duration = Duration::from_secs(30);

/// How often it is looked at.
const POLL: Duration = Duration::from_millis(10);

/// Returns what `probe` finds.
///
/// # Panics
/// When it finds nothing within [`LIMIT`].
pub async fn until<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {LIMIT:?} in vain: {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// [`until`] for threads.
///
/// # Panics
/// When it finds nothing within [`LIMIT`].
pub fn until_blocking<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {LIMIT:?} in vain: {what}");
        std::thread::sleep(POLL);
    }
}
