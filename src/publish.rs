//! One value, published by one writer: readers on the hot path load a pointer, sleepers wait for
//! the next version. A door only in that it lets tasks wait.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

/// The reading half: cheap to clone, safe on any thread.
#[derive(Debug)]
pub struct Published<T> {
    current: Arc<ArcSwap<T>>,
    version: watch::Receiver<u64>,
}

/// The writing half: exactly one exists.
#[derive(Debug)]
pub struct Publisher<T> {
    current: Arc<ArcSwap<T>>,
    version: watch::Sender<u64>,
}

/// A publisher and a first reader of `value`.
pub fn publish<T>(value: T) -> (Publisher<T>, Published<T>) {
    let current = Arc::new(ArcSwap::from_pointee(value));
    let (sender, receiver) = watch::channel(0);
    (Publisher { current: Arc::clone(&current), version: sender }, Published { current, version: receiver })
}

impl<T> Clone for Published<T> {
    fn clone(&self) -> Self {
        Self { current: Arc::clone(&self.current), version: self.version.clone() }
    }
}

impl<T> Published<T> {
    /// The value now, for a decision made without awaiting.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<T>> {
        self.current.load()
    }

    /// The value now, to keep across awaits.
    #[must_use]
    pub fn load_full(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// Waits until a value newer than any seen by this reader is published. Pending for ever
    /// once the publisher is gone, since nothing newer will come.
    pub async fn changed(&mut self) {
        if self.version.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl<T> Publisher<T> {
    /// Replaces the value and wakes all who wait.
    pub fn put(&self, value: T) {
        self.current.store(Arc::new(value));
        self.version.send_modify(|version| *version = version.wrapping_add(1));
    }

    /// Another reader.
    #[must_use]
    pub fn reader(&self) -> Published<T> {
        Published { current: Arc::clone(&self.current), version: self.version.subscribe() }
    }
}
