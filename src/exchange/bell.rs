//! A bell for one worker: rung when a new view is published, heard by the attempts that wait.
//! No lock and no atomics, since a worker is one thread.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Rings for everyone who listens at that moment.
#[derive(Clone, Debug, Default)]
pub struct Bell {
    state: Rc<RefCell<State>>,
}

#[derive(Debug, Default)]
struct State {
    rings: u64,
    waiting: Vec<Waker>,
}

impl Bell {
    /// Wakes everyone who listens.
    pub fn ring(&self) {
        let waiting = {
            let mut state = self.state.borrow_mut();
            state.rings += 1;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Listens from now on.
    #[must_use]
    pub fn listen(&self) -> Ring {
        Ring { bell: self.clone(), heard: self.state.borrow().rings, waker: None }
    }
}

/// Completes at the next ring; may be awaited again for the one after.
#[derive(Debug)]
pub struct Ring {
    bell: Bell,
    heard: u64,
    waker: Option<Waker>,
}

impl Future for &mut Ring {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let ring = &mut **self;
        let mut state = ring.bell.state.borrow_mut();
        if state.rings != ring.heard {
            ring.heard = state.rings;
            ring.waker = None;
            return Poll::Ready(());
        }
        if ring.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            ring.waker = Some(cx.waker().clone());
            state.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // Bounds the list by the attempts that wait now, however long no view is published.
        if let Some(waker) = self.waker.take() {
            let mut state = self.bell.state.borrow_mut();
            if let Some(at) = state.waiting.iter().position(|waiting| waiting.will_wake(&waker)) {
                state.waiting.swap_remove(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn everyone_who_listens_hears_it_and_nobody_is_kept() {
        let bell = Bell::default();
        let (mut first, mut second) = (bell.listen(), bell.listen());
        let waits = async { tokio::join!(&mut first, &mut second) };
        tokio::join!(waits, async { bell.ring() });
        let mut third = bell.listen();
        let heard = tokio::select! { biased; () = &mut third => true, () = std::future::ready(()) => false };
        assert!(!heard, "a ring before listening is not heard");
        drop(third);
        assert!(bell.state.borrow().waiting.is_empty());
    }
}
