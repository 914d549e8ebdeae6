//! What `tokio::sync::Notify` promises, over the checker's lock: one permit at most is kept; who is in
//! line is woken in its turn; a wake that is not used goes on to the next in line.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use loom::sync::Mutex;

#[derive(Debug, Default)]
pub(crate) struct Notify(Mutex<Line>);

#[derive(Debug, Default)]
struct Line {
    permit: bool,
    next: usize,
    waiting: VecDeque<(usize, Option<Waker>)>,
    /// Woken, and not gone on yet.
    woken: Vec<usize>,
}

/// A place in line, once it is enabled or polled.
pub(crate) struct Notified<'a> {
    notify: &'a Notify,
    place: Option<usize>,
    done: bool,
}

impl Line {
    fn wake_one(&mut self) -> Option<Waker> {
        match self.waiting.pop_front() {
            Some((place, waker)) => {
                self.woken.push(place);
                waker
            }
            None => {
                self.permit = true;
                None
            }
        }
    }
}

impl Notify {
    pub(crate) fn notified(&self) -> Notified<'_> {
        Notified { notify: self, place: None, done: false }
    }

    pub(crate) fn notify_one(&self) {
        let waker = self.0.lock().expect("no thread panics").wake_one();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Notified<'_> {
    /// Takes a kept permit, or a place in line.
    pub(crate) fn enable(self: Pin<&mut Self>) -> bool {
        self.get_mut().advance(None)
    }

    fn advance(&mut self, waker: Option<&Waker>) -> bool {
        let mut line = self.notify.0.lock().expect("no thread panics");
        match self.place {
            _ if self.done => {}
            None if line.permit => (line.permit, self.done) = (false, true),
            None => {
                let place = line.next;
                line.next += 1;
                line.waiting.push_back((place, waker.cloned()));
                self.place = Some(place);
            }
            Some(place) => match line.woken.iter().position(|woken| *woken == place) {
                Some(at) => {
                    line.woken.swap_remove(at);
                    self.done = true;
                }
                None => {
                    let mine = line.waiting.iter_mut().find(|(other, _)| *other == place);
                    mine.expect("in line, or woken").1 = waker.cloned();
                }
            },
        }
        self.done
    }
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.get_mut().advance(Some(cx.waker())) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        let Some(place) = self.place.filter(|_| !self.done) else { return };
        let mut line = self.notify.0.lock().expect("no thread panics");
        line.waiting.retain(|(other, _)| *other != place);
        let Some(at) = line.woken.iter().position(|woken| *woken == place) else { return };
        line.woken.swap_remove(at);
        let waker = line.wake_one();
        drop(line);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
