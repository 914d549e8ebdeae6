//! Crowds before a gateway, played with seeds: what they get while they are there, and what is left
//! of them afterwards.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;

/// Microseconds from the beginning.
type At = u64;
const SECOND: At = 1_000_000;

/// One kind of visitor: many of its requests come, whatever becomes of those before (open loop).
#[derive(Clone)]
struct Visitor<'a> {
    name: &'a str,
    rank: Rank,
    /// Requests a second, at a time.
    rate: fn(At) -> f64,
    /// Tries, the first included, of a request that fails; between them the pause of an SDK.
    tries: u32,
}

/// What became of one request of a visitor.
#[derive(Clone, Copy, Debug)]
struct Told {
    visitor: usize,
    came: At,
    served: bool,
}

/// How the gateway works.
#[derive(Clone, Copy)]
struct World {
    limit: u32,
    /// Of one core: a request that is let in.
    work: At,
    /// Of one core: a request that is refused.
    refusal: At,
    /// What a store takes; the core is free meanwhile.
    store: At,
    /// How long a client waits for an answer.
    patience: At,
    until: At,
}

enum Happening {
    Comes { visitor: usize, first: At, tries: u32 },
    Leaves(Place),
}

/// An event; the number keeps the order of those at the same time.
struct Event(At, u64, Happening);

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Event {}
impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Event {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

struct Play<'a> {
    world: World,
    visitors: &'a [Visitor<'a>],
    coin: Coin,
    places: Arc<Places>,
    start: Instant,
    events: BinaryHeap<Reverse<Event>>,
    count: u64,
    /// Until when the core is busy with what it has taken on.
    busy_until: At,
    told: Vec<Told>,
}

impl Play<'_> {
    fn later(&mut self, at: At, what: Happening) {
        self.count += 1;
        self.events.push(Reverse(Event(at, self.count, what)));
    }

    /// The next request of a visitor after this time, if it is still the time of the play.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "minutes in microseconds"
    )]
    fn next_of(&mut self, visitor: usize, after: At) {
        let rate = (self.visitors[visitor].rate)(after);
        let pause = if rate > 0.0 { -(1.0 - self.coin.share()).ln() / rate } else { 0.01 };
        let at = after + 1 + (pause * SECOND as f64) as At;
        if at >= self.world.until {
            return;
        }
        if rate > 0.0 {
            self.later(at, Happening::Comes { visitor, first: at, tries: 1 });
        } else {
            self.next_of(visitor, at);
        }
    }

    fn comes(&mut self, at: At, visitor: usize, first: At, tries: u32) {
        if tries == 1 {
            self.next_of(visitor, at);
        }
        let Visitor { name, rank, .. } = self.visitors[visitor];
        let world = self.world;
        let asker = self.places.asker(Who::Client(name));
        let now = self.start + Duration::from_micros(at);
        let let_in = match self.places.refuses(world.limit, rank, asker, now) {
            Some(shed) => Err(shed),
            None => self.places.take(world.limit, rank, asker, now),
        };
        let begun = self.busy_until.max(at);
        let failed_at = if let Ok(place) = let_in {
            self.busy_until = begun + world.work;
            let answered = self.busy_until + world.store;
            // Nobody stops working on it: the worst case, in which no client hangs up.
            self.later(answered, Happening::Leaves(place));
            if answered - at <= world.patience {
                self.told.push(Told { visitor, came: first, served: true });
                return;
            }
            at + world.patience
        } else {
            self.busy_until = begun + world.refusal;
            self.busy_until.min(at + world.patience)
        };
        if tries < self.visitors[visitor].tries {
            let most = 50_000 << tries.min(8);
            let pause = self.coin.bits() % most;
            self.later(failed_at + pause, Happening::Comes { visitor, first, tries: tries + 1 });
        } else {
            self.told.push(Told { visitor, came: first, served: false });
        }
    }
}

fn play(seed: u64, world: World, visitors: &[Visitor<'_>]) -> Vec<Told> {
    let (start, mut coin) = (now(), Coin::seeded(seed));
    let mut play = Play {
        world,
        visitors,
        places: Places::new(coin.bits(), start),
        coin,
        start,
        events: BinaryHeap::new(),
        count: 0,
        busy_until: 0,
        told: Vec::new(),
    };
    (0..visitors.len()).for_each(|visitor| play.next_of(visitor, 0));
    while let Some(Reverse(Event(at, _, what))) = play.events.pop() {
        match what {
            Happening::Comes { visitor, first, tries } => play.comes(at, visitor, first, tries),
            Happening::Leaves(place) => drop(place),
        }
        assert!(play.places.taken() <= world.limit);
    }
    assert_eq!(play.places.taken(), 0, "nothing is left of them");
    play.told
}

/// The share of a visitor's requests of these seconds that were served.
fn served(told: &[Told], visitor: usize, seconds: std::ops::Range<u64>) -> f64 {
    let span = seconds.start * SECOND..seconds.end * SECOND;
    let of = told.iter().filter(|told| told.visitor == visitor && span.contains(&told.came));
    let (all, served) =
        of.fold((0_u32, 0_u32), |(all, served), told| (all + 1, served + u32::from(told.served)));
    f64::from(served) / f64::from(all.max(1))
}

/// A core that does 500 requests a second, and clients that wait for half a second and try thrice.
const CORE: World =
    World { limit: 64, work: 2_000, refusal: 100, store: 20_000, patience: SECOND / 2, until: 40 * SECOND };

/// 320 requests a second; from the fifth second to the twenty-fifth twice as many and then some.
fn crowd() -> Vec<Visitor<'static>> {
    let rate: fn(At) -> f64 =
        |at| if (5 * SECOND..25 * SECOND).contains(&at) { 700.0 / 4.0 } else { 320.0 / 4.0 };
    let visitor = |name, rank| Visitor { name, rank, rate, tries: 3 };
    vec![
        visitor("one", Rank::Get),
        visitor("two", Rank::Get),
        visitor("three", Rank::Put),
        visitor("four", Rank::List),
    ]
}

#[test]
fn after_a_crowd_everybody_is_served_within_seconds() {
    for seed in 0..8 {
        let told = play(seed, CORE, &crowd());
        for visitor in 0..4 {
            let before = served(&told, visitor, 0..4);
            let after = served(&told, visitor, 27..40);
            assert!(before > 0.99 && after > 0.99, "seed {seed}, visitor {visitor}: {before} then {after}");
        }
        let during: f64 = (0..4).map(|visitor| served(&told, visitor, 7..25)).sum::<f64>() / 4.0;
        assert!(during > 0.6, "seed {seed}: the core does what it can meanwhile, {during}");
    }
}

/// The same without a bound: the crowd's retries keep a queue alive in which every request is too
/// old when its turn comes. So the play is one in which a gateway can fail.
#[test]
fn without_a_bound_the_crowd_never_ends() {
    let told = play(1, World { limit: u32::MAX, ..CORE }, &crowd());
    let before = served(&told, 0, 0..4);
    let after = served(&told, 0, 27..40);
    assert!(before > 0.99 && after < 0.2, "{before} then {after}");
}

/// Stores that take a tenth of a second, and a core that is never short.
const STORES: World =
    World { limit: 64, work: 10, refusal: 1, store: SECOND / 10, patience: SECOND, until: 20 * SECOND };

#[test]
fn one_that_floods_leaves_the_others_what_they_ask_for() {
    let others: fn(At) -> f64 = |at| if at < 5 * SECOND { 0.0 } else { 80.0 };
    for seed in 0..4 {
        let visitor = |name, rank, rate| Visitor { name, rank, rate, tries: 2 };
        let visitors = [
            // it would have 300 of 128 places
            visitor("flood", Rank::Put, (|_| 3_000.0) as fn(At) -> f64),
            visitor("one", Rank::Get, others),
            visitor("two", Rank::Get, others),
            visitor("three", Rank::Put, others),
        ];
        let told = play(seed, World { limit: 128, ..STORES }, &visitors);
        for visitor in 1..4 {
            let share = served(&told, visitor, 6..20);
            assert!(share > 0.99, "seed {seed}, visitor {visitor}: {share}");
        }
        let alone = served(&told, 0, 1..5);
        let beside = served(&told, 0, 6..20);
        // nearly all of the places alone, and what the others leave in company
        assert!(alone > 0.35 && beside > 0.2, "seed {seed}: {alone} then {beside}");
    }
}

#[test]
fn those_who_all_want_everything_have_the_same() {
    for seed in 0..6 {
        let visitor = |name| Visitor { name, rank: Rank::Get, rate: |_| 600.0, tries: 1 };
        let visitors = ["one", "two", "three", "four"].map(visitor);
        let told = play(seed, STORES, &visitors);
        let shares: Vec<f64> = (0..4).map(|visitor| served(&told, visitor, 2..20)).collect();
        let (least, most) = shares
            .iter()
            .fold((1.0_f64, 0.0_f64), |(least, most), share| (least.min(*share), most.max(*share)));
        assert!(least > 0.8 * most, "seed {seed}: {shares:?}");
        // 59 of 60 places, of a tenth of a second each
        assert!(least * 600.0 > 130.0, "seed {seed}: {shares:?}");
    }
}

/// About a third more than 64 places do: by many who each want little, and by one who wants all.
#[test]
fn listings_go_first_then_reads_then_writes() {
    let names: Vec<String> = (0..60).map(|n| format!("client-{n}")).collect();
    let visitor = |name, rank, rate| Visitor { name, rank, rate, tries: 1 };
    let little = |n: usize| visitor(names[n].as_str(), Rank::ALL[n % 3], (|_| 14.0) as fn(At) -> f64);
    let many: Vec<Visitor<'_>> = (0..60).map(little).collect();
    let one = Rank::ALL.map(|rank| visitor("one", rank, (|_| 280.0) as fn(At) -> f64));
    for seed in 0..6 {
        for visitors in [many.as_slice(), one.as_slice()] {
            let told = play(seed, STORES, visitors);
            let share = |rank: usize| {
                let of = (rank..visitors.len()).step_by(3);
                let count = f64::from(u32::try_from(visitors.len() / 3).unwrap());
                of.map(|visitor| served(&told, visitor, 2..20)).sum::<f64>() / count
            };
            let [listings, reads, writes] = [share(0), share(1), share(2)];
            assert!(
                listings + 0.2 < reads && reads + 0.02 < writes,
                "seed {seed}: {listings} {reads} {writes}"
            );
            assert!(writes > 0.9, "seed {seed}: {writes}");
        }
    }
}

/// Many equal clients who want six tenths of all: chance gives each of them now more,
/// now fewer, and none is refused for that.
#[test]
fn nobody_is_refused_while_there_is_room() {
    let names: Vec<String> = (0..15).map(|n| format!("client-{n}")).collect();
    let visitor = |name| Visitor { name, rank: Rank::Get, rate: |_| 24.0, tries: 1 };
    let visitors: Vec<Visitor<'_>> = names.iter().map(|name| visitor(name)).collect();
    for seed in 0..6 {
        let told = play(seed, STORES, &visitors);
        let refused = told.iter().filter(|told| !told.served).count();
        assert!(refused * 500 < told.len(), "seed {seed}: {refused} of {}", told.len());
    }
}
