//! Replication between scripted regions, as the stores would do it: later writer wins, deletes
//! included, never in circles (only clients' changes are in a region's journal).

use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use super::moment;
use super::region::Region;

/// Which way changes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ways {
    /// From the first region to the others.
    One,
    /// Between all regions.
    Two,
}

/// What has been carried: a cursor for each region's journal.
#[derive(Debug)]
struct Desk {
    regions: Vec<Arc<Region>>,
    cursors: Vec<usize>,
    ways: Ways,
}

impl Desk {
    /// Carries every change that is at least `lag` old.
    fn carry(&mut self, lag: Duration) {
        let sources = if self.ways == Ways::One { 1 } else { self.regions.len() };
        for source in 0..sources {
            let (changes, _) = self.regions[source].journal(self.cursors[source]);
            for change in changes {
                let age = moment::now().duration_since(change.stamp.0).unwrap_or_default();
                if age < lag {
                    break;
                }
                for (at, region) in self.regions.iter().enumerate() {
                    if at != source {
                        region.replicate(&change);
                    }
                }
                self.cursors[source] += 1;
            }
        }
    }
}

/// Carries changes between the regions. Buckets correspond by their order in each region.
#[derive(Debug)]
pub struct Replicator {
    desk: Arc<Mutex<Desk>>,
    running: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

impl Replicator {
    /// Carries only when [`Replicator::settle`] says so.
    pub fn by_hand(regions: &[&Arc<Region>], ways: Ways) -> Self {
        let regions: Vec<Arc<Region>> = regions.iter().map(|&region| Arc::clone(region)).collect();
        let cursors = vec![0; regions.len()];
        Self { desk: Arc::new(Mutex::new(Desk { regions, cursors, ways })), running: None }
    }

    /// Carries each change once it is `lag` old.
    pub fn start(regions: &[&Arc<Region>], ways: Ways, lag: Duration) -> Self {
        let mut replicator = Self::by_hand(regions, ways);
        let desk = Arc::clone(&replicator.desk);
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(Duration::from_millis(5)) == Err(mpsc::RecvTimeoutError::Timeout) {
                desk.lock().unwrap().carry(lag);
            }
        });
        replicator.running = Some((stop, thread));
        replicator
    }

    /// Carries everything there is, whatever its age.
    pub fn settle(&self) {
        self.desk.lock().unwrap().carry(Duration::ZERO);
    }
}

impl Drop for Replicator {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            assert!(thread.join().is_ok() || std::thread::panicking(), "the replicator panicked");
        }
    }
}
