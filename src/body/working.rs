//! A reply that begins before it is known how it ends: signs of life until then, and its last bytes
//! with the outcome. Whoever drops it ends the work.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Sleep;

/// Work under way; it comes to the last bytes of the reply.
pub(super) type Work = Pin<Box<dyn Future<Output = Bytes>>>;

/// White space between a document's declaration and its root says that the document is to come.
const SIGN: Bytes = Bytes::from_static(b" ");

/// The work, and what is said meanwhile.
pub(super) struct Working {
    work: Work,
    opening: Option<Bytes>,
    every: Duration,
    timer: Pin<Box<Sleep>>,
}

/// What is to be sent.
pub(super) enum Piece {
    /// More follows.
    Sign(Bytes),
    /// The last bytes.
    Last(Bytes),
}

impl Working {
    pub(super) fn new(opening: Bytes, every: Duration, work: Work) -> Self {
        Self { work, opening: Some(opening), every, timer: Box::pin(tokio::time::sleep(every)) }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Piece> {
        if let Some(opening) = self.opening.take() {
            return Poll::Ready(Piece::Sign(opening));
        }
        if let Poll::Ready(last) = self.work.as_mut().poll(cx) {
            return Poll::Ready(Piece::Last(last));
        }
        std::task::ready!(self.timer.as_mut().poll(cx));
        self.timer = Box::pin(tokio::time::sleep(self.every));
        Poll::Ready(Piece::Sign(SIGN))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use http_body_util::BodyExt as _;
    use tokio::sync::oneshot;

    use super::*;
    use crate::body::Reply;

    const EVERY: Duration = Duration::from_secs(10);

    async fn next(reply: &mut Reply) -> Option<Bytes> {
        Some(reply.frame().await?.unwrap().into_data().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn signs_of_life_come_until_the_work_is_done() {
        let (done, outcome) = oneshot::channel::<Bytes>();
        let work = Box::pin(async { outcome.await.unwrap() });
        let mut reply = Reply::working(Bytes::from_static(b"<?xml?>\n"), EVERY, work);
        assert_eq!(next(&mut reply).await.unwrap(), "<?xml?>\n");
        for _ in 0..3 {
            let early = tokio::time::timeout(EVERY.mul_f64(0.9), next(&mut reply)).await;
            assert!(early.is_err(), "{early:?}");
            assert_eq!(next(&mut reply).await.unwrap(), " ");
        }
        done.send(Bytes::from_static(b"<Done/>")).unwrap();
        assert_eq!(next(&mut reply).await.unwrap(), "<Done/>");
        assert!(next(&mut reply).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_ends_the_work() {
        struct Ended(Rc<Cell<bool>>);
        impl Drop for Ended {
            fn drop(&mut self) {
                self.0.set(true);
            }
        }
        let ended = Rc::new(Cell::new(false));
        let guard = Ended(Rc::clone(&ended));
        let work = Box::pin(async move {
            let _guard = guard;
            std::future::pending().await
        });
        let mut reply = Reply::working(Bytes::new(), EVERY, work);
        next(&mut reply).await;
        next(&mut reply).await;
        assert!(!ended.get());
        drop(reply);
        assert!(ended.get());
    }
}
