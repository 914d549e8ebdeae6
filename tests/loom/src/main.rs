//! Every order in which threads may meet, over the counters, places and turns that workers share. The
//! files under test are the product's own, compiled here a second time over the atomics of `loom`, which
//! tries all interleavings and all that the memory model allows (but for more than three preemptions of
//! one thread by another, which nothing here needs).
//!
//! `cargo run --manifest-path tests/loom/Cargo.toml`, or with a part of a model's name behind it.

#![allow(dead_code, unreachable_pub, reason = "of the product's files only what threads share is used here")]

mod notify;

/// What the product's files find under `crate::sync`: a checker's.
mod sync {
    pub(crate) use loom::sync::atomic;

    pub(crate) use crate::notify::Notify;
}

/// Room `s3`, as far as the files below name it.
mod s3 {
    pub(crate) mod operation {
        pub(crate) enum Class {
            Get,
            List,
            Put,
            Long,
        }
    }
}

/// Room `route`, as the files below name it.
mod route {
    pub(crate) use crate::budget;
}

#[path = "../../../src/route/budget.rs"]
mod budget;

#[path = "../../../src/route/traces.rs"]
mod traces;

#[path = "../../../src/overload/decide.rs"]
mod decide;

#[path = "../../../src/overload/places.rs"]
mod places;

#[path = "../../../src/overload/bytes.rs"]
mod bytes;

#[path = "../../../src/body/room.rs"]
mod room;

#[path = "../../../src/exchange/booking.rs"]
mod booking;

#[path = "../../../src/exchange/mark.rs"]
mod mark;

#[path = "../../../src/listen/seats.rs"]
mod seats;

#[path = "../../../src/fleet/trial.rs"]
mod trial;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use loom::future::block_on;
use loom::thread;

use booking::{Booking, Hopes};
use bytes::ByteRoom;
use decide::Rank;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use mark::{KNOWN, Mark};
use places::{Places, Who};
use room::ReplayRoom;
use seats::Seats;
use traces::Traces;
use trial::Trial;

/// Each model, by what it proves.
const MODELS: &[(&str, fn())] = &[
    (
        "a region in probation is tried by one request at a time",
        a_region_in_probation_is_tried_by_one_request_at_a_time,
    ),
    (
        "there are no more requests at work than places and none is lost",
        there_are_no_more_requests_at_work_than_places_and_none_is_lost,
    ),
    ("what is kept of bodies stays within its room", what_is_kept_of_bodies_stays_within_its_room),
    ("documents stay within their room", documents_stay_within_their_room),
    ("an answer without the mark is never forgotten", an_answer_without_the_mark_is_never_forgotten),
    ("two requests never book the same place in a rate", two_requests_never_book_the_same_place_in_a_rate),
    ("hopes are bounded and given back", hopes_are_bounded_and_given_back),
    (
        "two that wait for a seat are both seated when two are freed",
        two_that_wait_for_a_seat_are_both_seated_when_two_are_freed,
    ),
    (
        "a key that is remembered is seen to be while others come and go",
        a_key_that_is_remembered_is_seen_to_be_while_others_come_and_go,
    ),
];

fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    for (name, model) in MODELS.iter().filter(|(name, _)| name.contains(&wanted)) {
        let began = std::time::Instant::now();
        // a model that does not hold panics, with the order in which it did not
        model();
        println!("{name}: holds ({} ms)", began.elapsed().as_millis());
    }
}

/// Tries every order of two threads, to three preemptions.
fn in_every_order(model: impl Fn() + Send + Sync + 'static) {
    in_every_order_to(3, model);
}

fn in_every_order_to(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut checker = loom::model::Builder::new();
    checker.preemption_bound = Some(preemptions);
    checker.check(model);
}

/// Counts who is inside, outside of the checker's sight.
#[derive(Clone, Default)]
struct Inside(Arc<(AtomicUsize, AtomicUsize)>);

impl Inside {
    /// One more is inside, for as long as `held`, and lets others run meanwhile.
    fn while_held<T>(&self, held: T) {
        let (now, most) = &*self.0;
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        thread::yield_now();
        now.fetch_sub(1, Ordering::SeqCst);
        drop(held);
    }

    fn most(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }
}

fn a_region_in_probation_is_tried_by_one_request_at_a_time() {
    in_every_order(|| {
        let (trial, inside) = (Trial::default(), Inside::default());
        let tries = {
            let (trial, inside) = (trial.clone(), inside.clone());
            move || {
                let turn = trial.take();
                let taken = turn.is_some();
                if let Some(turn) = turn {
                    inside.while_held(turn);
                }
                taken
            }
        };
        let other = thread::spawn(tries.clone());
        let (here, there) = (tries(), other.join().expect("it ends"));
        assert_eq!(inside.most(), 1);
        assert!(here || there, "one of them has the turn");
        assert!(trial.take().is_some(), "and gives it back");
    });
}

fn there_are_no_more_requests_at_work_than_places_and_none_is_lost() {
    let now = std::time::Instant::now();
    in_every_order(move || {
        const LIMIT: u32 = 1;
        // two slots for clients: a checker keeps the history of each
        let (places, inside) = (Places::with_slots(2, 1, now), Inside::default());
        let asks = |client: &'static str| {
            let (places, inside) = (Arc::clone(&places), inside.clone());
            move || {
                let asker = places.asker(Who::Client(client));
                let place = places.take(LIMIT, Rank::Put, asker, now);
                let taken = place.is_ok();
                if let Ok(place) = place {
                    inside.while_held(place);
                }
                taken
            }
        };
        let other = thread::spawn(asks("b"));
        let (here, there) = (asks("a")(), other.join().expect("it ends"));
        assert!(inside.most() == 1 && (here || there), "one place, and it is had");
        assert_eq!(places.taken(), 0);
        for client in ["a", "b"] {
            assert!(
                places.take(LIMIT, Rank::Put, places.asker(Who::Client(client)), now).is_ok(),
                "{client}"
            );
        }
    });
}

fn what_is_kept_of_bodies_stays_within_its_room() {
    in_every_order(|| {
        let room = ReplayRoom::default();
        let kept = Inside::default();
        let keeps = |bytes| {
            let (room, kept) = (room.clone(), kept.clone());
            move || {
                let share = room.reserve(bytes, 100);
                let found = share.is_some();
                if let Some(share) = share {
                    kept.while_held(share);
                }
                found
            }
        };
        let other = thread::spawn(keeps(60));
        let (here, there) = (keeps(50)(), other.join().expect("it ends"));
        assert!(kept.most() == 1 && (here || there), "both together are too much, each alone is not");
        assert_eq!(room.in_use(), 0);
    });
}

fn documents_stay_within_their_room() {
    let now = std::time::Instant::now();
    in_every_order(move || {
        const LIMIT: u64 = 100;
        let (room, places, kept) =
            (ByteRoom::with_slots(2), Places::with_slots(2, 1, now), Inside::default());
        let keeps = |client: &'static str, bytes| {
            let (room, asker, kept) = (Arc::clone(&room), places.asker(Who::Client(client)), kept.clone());
            move || {
                let mut share = room.share(asker);
                let fits = share.grow(bytes, LIMIT).is_ok();
                if fits {
                    kept.while_held(share);
                }
                fits
            }
        };
        let other = thread::spawn(keeps("b", 60));
        let (here, there) = (keeps("a", 50)(), other.join().expect("it ends"));
        assert!(kept.most() <= 1, "both together are too much");
        assert!(here || there, "each alone is not");
        assert_eq!(room.in_use(), 0);
        assert!(keeps("a", LIMIT)(), "all is given back");
    });
}

fn an_answer_without_the_mark_is_never_forgotten() {
    in_every_order(|| {
        let marked =
            || HeaderMap::from_iter([("x-amz-request-id".parse().unwrap(), HeaderValue::from_static("1"))]);
        let mark = Arc::new(Mark::default());
        let misses = |mark: &Mark, headers| mark.is_missing(&Method::GET, StatusCode::OK, &headers);
        for _ in 1..KNOWN {
            misses(&mark, marked());
        }
        let other = thread::spawn({
            let mark = Arc::clone(&mark);
            move || misses(&mark, marked())
        });
        let here = misses(&mark, HeaderMap::new());
        assert!(!other.join().expect("it ends"), "the store itself");
        // either it came after all that had it, or all of them are forgotten
        assert_eq!(misses(&mark, HeaderMap::new()), here);
    });
}

fn two_requests_never_book_the_same_place_in_a_rate() {
    in_every_order(|| {
        const RATE: f64 = 10.0;
        let each = Duration::from_millis(100);
        let (booking, now, patience) = (Arc::new(Booking::default()), each * 100, each * 10);
        // what may go at once is gone
        while booking.book(RATE, Duration::ZERO, now).is_some() {}
        let other = thread::spawn({
            let booking = Arc::clone(&booking);
            move || booking.book(RATE, patience, now).expect("it has the patience")
        });
        let here = booking.book(RATE, patience, now).expect("it has the patience");
        let mut waits = [here, other.join().expect("it ends")];
        waits.sort_unstable();
        assert_eq!(waits[1] - waits[0], each);
        assert_eq!(booking.book(RATE, patience, now), Some(waits[1] + each));
    });
}

fn hopes_are_bounded_and_given_back() {
    in_every_order(|| {
        let (hopes, inside) = (Arc::new(Hopes::default()), Inside::default());
        let hoping = {
            let (hopes, inside) = (Arc::clone(&hopes), inside.clone());
            move || {
                let hope = hopes.take(1);
                let taken = hope.is_some();
                hope.into_iter().for_each(|hope| inside.while_held(hope));
                taken
            }
        };
        let other = thread::spawn(hoping.clone());
        let (here, there) = (hoping(), other.join().expect("it ends"));
        assert!(inside.most() == 1 && (here || there));
        assert!(hopes.take(1).is_some());
    });
}

fn two_that_wait_for_a_seat_are_both_seated_when_two_are_freed() {
    // three threads: with one more preemption it takes fourteen seconds, and finds no more
    in_every_order_to(2, || {
        let seats = Arc::new(Seats::default());
        let taken = [block_on(seats.take(2)), block_on(seats.take(2))];
        let waiting = [(), ()].map(|()| {
            let seats = Arc::clone(&seats);
            thread::spawn(move || block_on(seats.take(2)))
        });
        drop(taken);
        // nobody gets up any more: whoever is not seated now never is, and the checker calls it a deadlock
        let seated = waiting.map(|waiting| waiting.join().expect("it ends"));
        assert_eq!(seats.taken(), 2);
        drop(seated);
        assert_eq!(seats.taken(), 0);
    });
}

fn a_key_that_is_remembered_is_seen_to_be_while_others_come_and_go() {
    in_every_order(|| {
        const HERE: u64 = 7;
        const SAME_PLACE: u64 = HERE + (1 << 8);
        let traces = Arc::new(Traces::new(1));
        traces.add(HERE);
        let reader = thread::spawn({
            let traces = Arc::clone(&traces);
            move || assert!(!traces.is_empty() && traces.may_hold(HERE))
        });
        traces.add(SAME_PLACE);
        traces.remove(SAME_PLACE);
        reader.join().expect("it ends");
        traces.remove(HERE);
        assert!(traces.is_empty() && !traces.may_hold(HERE));
    });
}
