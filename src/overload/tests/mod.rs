mod crowd;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::chance::Coin;
use crate::clock::Clock;
use crate::s3::operation::{Class, Operation};

fn now() -> Instant {
    Clock::system().mono()
}

fn picture(limit: u32, taken: u32, held: u32, wanted: bool) -> Picture {
    Picture { limit, taken, held, wanted }
}

fn reason(picture: Picture, rank: Rank) -> Option<Reason> {
    picture.decide(rank).err().map(|shed| shed.reason)
}

#[test]
fn who_gets_a_place_and_who_does_not() {
    use super::Rank::{Get, List, Put};
    use super::Reason::{Full, Rank, Share};
    let rows = [
        // limit, taken, held, wanted: for a listing, a read, a write
        (2048, 0, 0, false, [None, None, None]),
        (2048, 1663, 7, false, [None, None, None]),
        (2048, 1664, 7, false, [Some(Rank), None, None]),
        (2048, 1919, 7, false, [Some(Rank), None, None]),
        (2048, 1920, 7, false, [Some(Rank), Some(Rank), None]),
        (2048, 2047, 7, false, [Some(Rank), Some(Rank), None]),
        (2048, 2047, 8, false, [Some(Rank), Some(Rank), Some(Share)]),
        (2048, 2048, 0, false, [Some(Full), Some(Full), Some(Full)]),
        // alone: one in nine is left for who comes next
        (2048, 1479, 1479, false, [None, None, None]),
        (2048, 1480, 1480, false, [Some(Share), None, None]),
        (2048, 1706, 1706, false, [Some(Rank), None, None]),
        (2048, 1707, 1707, false, [Some(Rank), Some(Share), None]),
        (2048, 1820, 1820, false, [Some(Rank), Some(Share), None]),
        (2048, 1821, 1821, false, [Some(Rank), Some(Share), Some(Share)]),
        // two that want everything have the same
        (64, 60, 30, false, [Some(Rank), Some(Rank), None]),
        (64, 61, 30, false, [Some(Rank), Some(Rank), Some(Share)]),
        // who has many gives way to who has few, and only then
        (64, 52, 9, true, [Some(Share), Some(Share), Some(Share)]),
        (64, 52, 9, false, [Some(Rank), None, None]),
        (64, 52, 8, true, [Some(Rank), None, None]),
        (64, 50, 14, true, [None, None, None]),
        // the smallest: everybody gets the one place there is
        (1, 0, 0, true, [None, None, None]),
        (1, 1, 0, true, [Some(Full), Some(Full), Some(Full)]),
        (2, 1, 1, false, [None, None, None]),
    ];
    for (limit, taken, held, wanted, expected) in rows {
        let picture = picture(limit, taken, held, wanted);
        assert_eq!([List, Get, Put].map(|rank| reason(picture, rank)), expected, "{picture:?}");
    }
}

#[test]
fn every_operation_has_its_rank() {
    for (operation, rank) in [
        (Operation::ListObjectsV2, Rank::List),
        (Operation::ListParts, Rank::List),
        (Operation::GetObject, Rank::Get),
        (Operation::HeadObject, Rank::Get),
        (Operation::PutObject, Rank::Put),
        (Operation::DeleteObject, Rank::Put),
        (Operation::DeleteObjects, Rank::Put),
        (Operation::CopyObject, Rank::Put),
        (Operation::CompleteMultipartUpload, Rank::Put),
    ] {
        assert_eq!(Rank::of(operation.facts().class), rank, "{operation:?}");
    }
    assert!(Rank::of(Class::List) < Rank::of(Class::Get) && Rank::of(Class::Get) < Rank::of(Class::Put));
}

#[test]
fn a_refusal_says_what_was_seen() {
    let told = |picture: Picture, rank| picture.decide(rank).unwrap_err().to_string();
    for (picture, expected) in [
        (picture(64, 65, 3, false), "limits.in_flight: 64 of 64 places are taken"),
        (
            picture(64, 60, 3, false),
            "limits.in_flight: 60 of 64 places are taken, class get gets one below 60",
        ),
        (
            picture(64, 58, 50, false),
            "limits.in_flight: 58 of 64 places are taken, 50 of them by this client; what is left is for others",
        ),
    ] {
        assert_eq!(told(picture, Rank::Get), expected);
    }
}

#[test]
fn those_who_stay_away_come_back_apart() {
    assert_eq!([0.0, 0.3, 0.34, 0.6, 0.67, 0.999].map(retry_after), [1, 1, 2, 2, 3, 3]);
}

#[test]
fn readers_that_stopped_are_looked_for_before_the_first_listing_is_refused() {
    for limit in [4, 16, 64, 100, 2048] {
        let picture = |taken| picture(limit, taken, 0, false);
        let first = (0..=limit).find(|taken| picture(*taken).pressed_by() > 0).unwrap();
        assert!(first <= picture(0).ceiling(Rank::List), "{limit}: {first}");
        assert!(first > limit / 2, "{limit}: {first}");
    }
}

fn pictures() -> impl Strategy<Value = Picture> {
    (1..5000_u32, 0..6000_u32, 0..6000_u32, any::<bool>())
        .prop_map(|(limit, taken, held, wanted)| picture(limit, taken, held.min(taken), wanted))
}

proptest! {
    #[test]
    fn a_lower_rank_is_never_let_in_before_a_higher_one(picture in pictures()) {
        for pair in Rank::ALL.windows(2) {
            let [low, high] = [pair[0], pair[1]].map(|rank| picture.decide(rank).is_ok());
            prop_assert!(!low || high, "{picture:?}");
        }
    }

    #[test]
    fn worse_never_helps(picture in pictures(), more in 1..2000_u32) {
        let worse = [
            Picture { taken: picture.taken + more, ..picture },
            Picture { held: picture.held + more, ..picture },
            Picture { wanted: true, ..picture },
        ];
        for (rank, worse) in Rank::ALL.into_iter().flat_map(|rank| worse.map(|worse| (rank, worse))) {
            prop_assert!(picture.decide(rank).is_ok() || worse.decide(rank).is_err(), "{picture:?} {worse:?}");
        }
    }

    #[test]
    fn who_has_nothing_is_refused_for_no_share_and_nobody_is_let_in_who_has_all(picture in pictures()) {
        for rank in Rank::ALL {
            let first = Picture { held: 0, ..picture };
            prop_assert_ne!(reason(first, rank), Some(Reason::Share));
            let ceiling = Picture { wanted: false, ..first }.ceiling(rank);
            prop_assert_eq!(first.decide(rank).is_ok(), picture.taken < ceiling);
            // alone: all but what is free for the next
            let alone = Picture { taken: picture.held, ..picture };
            if alone.decide(rank).is_ok() {
                prop_assert!(u64::from(alone.held) * 9 < u64::from(ceiling) * 8, "{alone:?}");
            }
        }
    }
}

/// A history of takers and leavers, beside a clerk who counts them one by one.
#[test]
fn places_count_as_a_careful_clerk_would() {
    for seed in 0..64 {
        let mut coin = Coin::seeded(seed);
        let start = now();
        let limit = 1 + u32::try_from(coin.bits() % 40).unwrap();
        let places = Places::new(coin.bits(), start);
        let names: Vec<String> = (0..6).map(|n| format!("client-{n}")).collect();
        let mut held: Vec<(usize, Place)> = Vec::new();
        let (mut at, mut wanted_until) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..400 {
            at += Duration::from_millis(coin.bits() % 400);
            let client = usize::try_from(coin.bits() % 6).unwrap();
            let asker = places.asker(Who::Client(&names[client]));
            if coin.lands(0.4) && !held.is_empty() {
                let gone = usize::try_from(coin.bits() % 1000).unwrap() % held.len();
                drop(held.swap_remove(gone));
                continue;
            }
            let rank = Rank::ALL[usize::try_from(coin.bits() % 3).unwrap()];
            let count = |who: Option<usize>| {
                let of = held.iter().filter(|(holder, _)| who.is_none_or(|who| who == *holder));
                u32::try_from(of.count()).unwrap()
            };
            let seen = picture(limit, count(None), count(Some(client)), at < wanted_until);
            let expected = seen.decide(rank);
            if expected.is_err_and(|shed| shed.is_wanting()) {
                wanted_until = at + Duration::from_secs(5);
            }
            let taken = places.take(limit, rank, asker, start + at);
            assert_eq!(taken.as_ref().err(), expected.as_ref().err(), "seed {seed}");
            held.extend(taken.ok().map(|place| (client, place)));
            assert_eq!(places.taken(), u32::try_from(held.len()).unwrap(), "seed {seed}");
        }
        drop(held);
        assert_eq!(places.taken(), 0);
    }
}

#[test]
fn workers_that_race_never_have_more_than_there_is() {
    let (limit, places) = (7, Places::new(1, now()));
    let (start, inside, most) = (now(), AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (places, inside, most) = (&places, &inside, &most);
            scope.spawn(move || {
                let asker = places.asker(Who::Client(&format!("client-{n}")));
                for _ in 0..20_000 {
                    if let Ok(place) = places.take(limit, Rank::Put, asker, start) {
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(place);
                    }
                }
            });
        }
    });
    assert!((1..=limit).contains(&most.load(Ordering::SeqCst)));
    assert_eq!(places.taken(), 0);
}

fn fill(places: &Arc<Places>, limit: u32, who: Who<'_>, count: u32, at: Instant) -> Vec<Place> {
    let asker = places.asker(who);
    (0..count).map(|_| places.take(limit, Rank::Put, asker, at).unwrap()).collect()
}

#[test]
fn an_unproven_name_moves_nobody() {
    let (start, limit) = (now(), 64);
    let later = |seconds| start + Duration::from_secs(seconds);
    let places = Places::new(7, start);
    let [hog, other] = ["hog", "other"].map(|name| places.asker(Who::Client(name)));
    let fill = |who, count| fill(&places, limit, Who::Client(who), count, start);
    let _hog = fill("hog", 52);
    let mut more = fill("more", 8);
    assert!(places.refuses(limit, Rank::Put, hog, start).is_some(), "it has its share");
    // a reader that finds no room is let on to prove who it is, and until then the hog goes on
    assert_eq!(places.refuses(limit, Rank::Get, other, start), None);
    more.truncate(1);
    assert_eq!(places.refuses(limit, Rank::Put, hog, start), None);
    more.extend(fill("more", 7));
    // proven, it is refused all the same, but room is made for it
    assert_eq!(places.take(limit, Rank::Get, other, start).unwrap_err().reason, Reason::Rank);
    assert_eq!(places.refuses(limit, Rank::Get, other, start).unwrap().reason, Reason::Rank, "known");
    more.truncate(1);
    assert_eq!(places.refuses(limit, Rank::Put, hog, start).unwrap().reason, Reason::Share);
    drop(places.take(limit, Rank::Get, other, later(3)).unwrap());
    // which ends when it does not come back
    assert!(places.refuses(limit, Rank::Put, hog, later(4)).is_some());
    assert_eq!(places.refuses(limit, Rank::Put, hog, later(6)), None);
}

#[test]
fn clients_hosts_and_this_machine_are_told_apart() {
    let places = Places::new(3, now());
    let all = [
        Who::Client("a"),
        Who::Client("b"),
        Who::Address("192.0.2.1".parse().unwrap()),
        Who::Address("2001:db8::".parse().unwrap()),
        Who::Machine,
    ];
    for (n, one) in all.iter().enumerate() {
        assert_eq!(places.asker(*one), places.asker(*one));
        assert!(all[..n].iter().all(|other| places.asker(*other) != places.asker(*one)), "{one:?}");
    }
}
