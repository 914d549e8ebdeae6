//! A control thread: whether the machine was too busy for what a test says about time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::moment;

/// A thread that only tells whether this machine lets threads run.
#[derive(Debug)]
pub struct Control {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Control {
    pub fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut last, mut worst) = (moment::mono(), Duration::ZERO);
            while !stopped.load(Ordering::Relaxed) {
                std::thread::park_timeout(Duration::from_millis(1));
                let now = moment::mono();
                worst = worst.max(now.saturating_duration_since(last));
                last = now;
            }
            worst
        });
        Self { stop, thread }
    }

    /// The longest that it was kept waiting.
    pub fn stall(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
