//! How the addresses of one region are doing, and which a new connection tries first. Pure.
//!
//! Each address answers for itself: one that refuses, hangs or falls silent is *out* for a while
//! and comes back by a trial, one of them at a time. While it is out its neighbours take its share
//! and the region's standing does not suffer. An address is put out only where another one that is
//! not out has no failure of its own: so the last one never is, and what fails everywhere is the
//! region's affair (`fleet`), not that of its addresses.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::chance::Coin;

/// How long an address is out the first time; doubles with each time in a row. A wrong guess costs
/// nothing that a neighbour does not carry.
pub const OUT_FIRST: Duration = Duration::from_secs(1);
/// The longest that an address is out before its next trial.
pub const OUT_MAX: Duration = Duration::from_mins(1);
/// Times out are spread by this share to either side, so that gateways do not try at once.
const OUT_JITTER: f64 = 0.25;
/// Well for so long, an address is forgiven its earlier times out.
const FORGIVEN_AFTER: Duration = Duration::from_mins(5);
/// Requests in a row that a connected address leaves unanswered before it is out: one may be the
/// request's own fault.
pub const UNANSWERED_MAX: u32 = 2;
/// How recent an answer of another address must be to prove that a failure is one address's own.
pub const PROOF: Duration = Duration::from_secs(5);
/// How long an address may be missing from DNS before its connections end. S3 lists eight of many
/// hundred, others each five seconds: ended at once, every connection would live five seconds.
pub const RETIRE_AFTER: Duration = Duration::from_secs(15);
/// Addresses remembered for a region; those missing from DNS for longest give way.
pub const ADDRESSES_MAX: usize = 64;
/// How long an address that is missing from DNS is remembered, for its connections' sake.
const FORGET_AFTER: Duration = Duration::from_mins(10);
/// A trial whose end nobody told is over after this: longer than any dial.
const TRIAL_MAX: Duration = Duration::from_secs(10);
/// The pause before the next address starts beside one that is thought well (RFC 8305 §8).
pub const RACE_AFTER: Duration = Duration::from_millis(300);
/// The same beside one that failed last time (RFC 8305 §5 allows 100 ms at least).
pub const RACE_SOON: Duration = Duration::from_millis(100);

/// What an address did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It refused, cannot be reached, or did not connect in time.
    Connect,
    /// Another one, started later, was there first.
    Slow,
    /// Its handshake failed where another address's did not.
    Tls,
    /// It was sent a request and never answered.
    Unanswered,
    /// What answers there is not the region's store.
    Stranger,
}

impl Failure {
    /// As metrics are labelled.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Slow => "slow",
            Self::Tls => "tls",
            Self::Unanswered => "unanswered",
            Self::Stranger => "stranger",
        }
    }
}

/// Whose affair a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// This address's: another one of the region has just answered.
    Address,
    /// The region's, as far as anyone can tell.
    Region,
}

/// An address to be tried, in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where to.
    pub address: SocketAddr,
    /// How long it is alone before the next one starts beside it.
    pub head_start: Duration,
}

/// What to do for a new connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Every address, best tried in this order; those that are out stand last.
    pub candidates: Vec<Candidate>,
    /// To be tried beside the connection, for its own sake: its time out is over.
    pub trial: Option<SocketAddr>,
}

/// How an address stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressState {
    /// In use.
    Well,
    /// In use, and its last connection or request failed, or it has not answered since a trial.
    Doubted,
    /// Not used while another one is.
    Out,
}

impl AddressState {
    /// As operators read it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Doubted => "doubted",
            Self::Out => "out",
        }
    }
}

/// One address, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which.
    pub address: SocketAddr,
    /// How it stands.
    pub state: AddressState,
    /// Failures in a row.
    pub failures: u32,
    /// Until its next trial; `None` where it is in use.
    pub out_for: Option<Duration>,
    /// Since when DNS has not listed it; `None` while it does.
    pub unlisted_for: Option<Duration>,
}

/// The addresses of one region.
#[derive(Debug, Default)]
pub struct Accrual {
    addresses: Vec<Address>,
    turn: usize,
    /// Some failure found no address left to carry on: what is out may be so for the region's sake.
    all_failing: bool,
}

#[derive(Debug)]
struct Address {
    at: SocketAddr,
    /// The name that listed it last.
    listed_by: Arc<str>,
    listed_at: Instant,
    unlisted_at: Option<Instant>,
    /// Connections that failed, in a row.
    unconnected: u32,
    /// Requests left unanswered, in a row.
    unanswered: u32,
    failed_at: Option<Instant>,
    answered_at: Option<Instant>,
    out_until: Option<Instant>,
    /// Times out in a row.
    times_out: u32,
    trial: Option<Instant>,
    /// Back by a trial, and has answered nothing since: one more failure is enough.
    unproven: bool,
}

impl Accrual {
    /// What DNS says of `host` now. An address that it said before and says no more is kept for
    /// its connections' sake.
    pub fn listed(&mut self, host: &str, addresses: &[SocketAddr], now: Instant) {
        for known in &mut self.addresses {
            if addresses.contains(&known.at) {
                (known.listed_at, known.unlisted_at) = (now, None);
                if *known.listed_by != *host {
                    known.listed_by = Arc::from(host);
                }
            } else if *known.listed_by == *host {
                known.unlisted_at.get_or_insert(now);
            }
        }
        self.addresses.retain(|known| !known.is_forgettable(now));
        for at in addresses.iter().take(ADDRESSES_MAX) {
            if self.find(*at).is_none() {
                self.make_room();
                self.addresses.push(Address::new(*at, host, now));
            }
        }
        self.readmit_one();
    }

    /// The order in which a new connection tries `listed`; `avoid` have failed its request already.
    /// `take_turns` spreads connections over the addresses; without it the first one is preferred.
    pub fn order(
        &mut self,
        listed: &[SocketAddr],
        avoid: &[SocketAddr],
        take_turns: bool,
        now: Instant,
    ) -> Order {
        let avoided = |at: &SocketAddr| avoid.contains(at) || self.find(*at).is_some_and(Address::is_out);
        let (last, mut first): (Vec<_>, Vec<_>) = listed.iter().copied().partition(avoided);
        if take_turns && let Some(by) = self.turn.checked_rem(first.len()) {
            first.rotate_left(by);
            self.turn = self.turn.wrapping_add(1);
        }
        let in_order = interleaved(&first).into_iter().chain(interleaved(&last));
        let candidates = in_order.map(|address| Candidate { address, head_start: self.head_start(address) });
        Order { candidates: candidates.collect(), trial: self.take_trial(listed, now) }
    }

    /// A connection to `at` was made.
    pub fn connected(&mut self, at: SocketAddr, now: Instant) {
        self.outage_is_over(now);
        if let Some(known) = self.find_mut(at) {
            known.unconnected = 0;
            if known.out_until.take().is_some() {
                known.unproven = true;
            }
        }
    }

    /// A request was answered from `at`, at `when`: it may have been a while ago.
    pub fn answered(&mut self, at: SocketAddr, when: Instant) {
        let Some(known) = self.find_mut(at) else { return };
        known.answered_at = known.answered_at.max(Some(when));
        if known.failed_at.is_some_and(|failed| failed >= when) {
            return;
        }
        (known.unanswered, known.unconnected, known.unproven) = (0, 0, false);
        if known.failed_at.is_some_and(|failed| when.saturating_duration_since(failed) >= FORGIVEN_AFTER) {
            known.times_out = 0;
        }
        if known.out_until.is_none() {
            self.outage_is_over(when);
        }
    }

    /// Something went wrong at `at`. Says whose affair it is, and puts the address out where it has
    /// failed often enough and another one can carry on.
    pub fn failed(&mut self, at: SocketAddr, failure: Failure, now: Instant, coin: &mut Coin) -> Blame {
        let blame = if self.is_proven_beside(at, now) { Blame::Address } else { Blame::Region };
        let other_is_well = self.others(at).any(Address::is_well);
        let Some(known) = self.find_mut(at) else { return blame };
        known.failed_at = Some(now);
        let enough = match failure {
            Failure::Connect | Failure::Slow | Failure::Tls | Failure::Stranger => {
                known.unconnected = known.unconnected.saturating_add(1);
                true
            }
            Failure::Unanswered => {
                known.unanswered = known.unanswered.saturating_add(1);
                known.unproven || known.unanswered >= UNANSWERED_MAX
            }
        };
        if known.is_out() || !enough {
            return blame;
        }
        if other_is_well {
            known.put_out(now, coin);
        } else {
            self.all_failing = true;
        }
        blame
    }

    /// A trial of `at` ended: it took a connection, or it did not.
    pub fn tried(&mut self, at: SocketAddr, took: bool, now: Instant, coin: &mut Coin) {
        if let Some(known) = self.find_mut(at) {
            known.trial = None;
            if !took && known.is_out() {
                known.failed_at = Some(now);
                known.put_out(now, coin);
            }
        }
        if took {
            self.connected(at, now);
        }
    }

    /// Whether an address other than `at` has answered within [`PROOF`] and has not failed since:
    /// then the region is alive whatever `at` does.
    #[must_use]
    pub fn is_proven_beside(&self, at: SocketAddr, now: Instant) -> bool {
        self.others(at).any(|other| {
            let recent = |when: Instant| now.saturating_duration_since(when) < PROOF;
            other.is_well() && other.answered_at.is_some_and(recent)
        })
    }

    /// Whether `at` is out.
    #[must_use]
    pub fn is_out(&self, at: SocketAddr) -> bool {
        self.find(at).is_some_and(Address::is_out)
    }

    /// Whether DNS lists another address that is not out.
    #[must_use]
    pub fn has_other(&self, at: SocketAddr) -> bool {
        self.others(at).any(|other| !other.is_out())
    }

    /// The addresses whose connections are not to be used again: out, or missing from DNS for
    /// [`RETIRE_AFTER`].
    pub fn unwanted(&self, now: Instant) -> impl Iterator<Item = SocketAddr> {
        let gone = move |since: Instant| now.saturating_duration_since(since) >= RETIRE_AFTER;
        let unwanted = move |known: &&Address| known.is_out() || known.unlisted_at.is_some_and(gone);
        self.addresses.iter().filter(unwanted).map(|known| known.at)
    }

    /// Every address, for operators.
    #[must_use]
    pub fn seen(&self, now: Instant) -> Vec<Seen> {
        self.addresses.iter().map(|known| known.seen(now)).collect()
    }

    fn head_start(&self, at: SocketAddr) -> Duration {
        if self.find(at).is_none_or(Address::is_well) { RACE_AFTER } else { RACE_SOON }
    }

    /// The one whose time out ended first, unless another trial is under way.
    fn take_trial(&mut self, listed: &[SocketAddr], now: Instant) -> Option<SocketAddr> {
        let running = |began: Instant| now.saturating_duration_since(began) < TRIAL_MAX;
        if self.addresses.iter().any(|known| known.trial.is_some_and(running)) {
            return None;
        }
        let due = |known: &&mut Address| {
            listed.contains(&known.at) && known.out_until.is_some_and(|until| until <= now)
        };
        let next = self.addresses.iter_mut().filter(due).min_by_key(|known| known.out_until)?;
        next.trial = Some(now);
        Some(next.at)
    }

    /// After an outage of the whole region nobody waits out a time that was not its own fault.
    fn outage_is_over(&mut self, now: Instant) {
        if !std::mem::take(&mut self.all_failing) {
            return;
        }
        for known in self.addresses.iter_mut().filter(|known| known.is_out()) {
            (known.out_until, known.times_out) = (Some(now), 0);
        }
    }

    /// DNS may take away every address but those that are out: the next one due is used.
    fn readmit_one(&mut self) {
        let listed = || self.addresses.iter().filter(|known| known.unlisted_at.is_none());
        if listed().any(|known| !known.is_out()) {
            return;
        }
        let next = listed().min_by_key(|known| known.out_until).map(|known| known.at);
        if let Some(known) = next.and_then(|at| self.find_mut(at)) {
            (known.out_until, known.unproven) = (None, true);
        }
    }

    fn make_room(&mut self) {
        if self.addresses.len() < ADDRESSES_MAX {
            return;
        }
        let oldest = self.addresses.iter().enumerate();
        // whatever is listed goes last, and of it what has been listed for longest
        let oldest = oldest.min_by_key(|(_, known)| (known.unlisted_at.is_none(), known.listed_at));
        if let Some((place, _)) = oldest {
            self.addresses.swap_remove(place);
        }
    }

    fn find(&self, at: SocketAddr) -> Option<&Address> {
        self.addresses.iter().find(|known| known.at == at)
    }

    fn find_mut(&mut self, at: SocketAddr) -> Option<&mut Address> {
        self.addresses.iter_mut().find(|known| known.at == at)
    }

    /// The addresses that DNS lists besides `at`.
    fn others(&self, at: SocketAddr) -> impl Iterator<Item = &Address> {
        self.addresses.iter().filter(move |known| known.at != at && known.unlisted_at.is_none())
    }
}

impl Address {
    fn new(at: SocketAddr, host: &str, now: Instant) -> Self {
        Self {
            at,
            listed_by: Arc::from(host),
            listed_at: now,
            unlisted_at: None,
            unconnected: 0,
            unanswered: 0,
            failed_at: None,
            answered_at: None,
            out_until: None,
            times_out: 0,
            trial: None,
            unproven: false,
        }
    }

    const fn is_out(&self) -> bool {
        self.out_until.is_some()
    }

    const fn is_well(&self) -> bool {
        !self.is_out() && self.unconnected == 0 && self.unanswered == 0 && !self.unproven
    }

    fn put_out(&mut self, now: Instant, coin: &mut Coin) {
        let doublings = self.times_out.min(6);
        let time = (OUT_FIRST * (1 << doublings)).min(OUT_MAX);
        self.out_until = Some(now + time.mul_f64(1.0 - OUT_JITTER + 2.0 * OUT_JITTER * coin.share()));
        self.times_out = self.times_out.saturating_add(1);
    }

    fn is_forgettable(&self, now: Instant) -> bool {
        self.unlisted_at.is_some_and(|since| now.saturating_duration_since(since) >= FORGET_AFTER)
    }

    fn seen(&self, now: Instant) -> Seen {
        Seen {
            address: self.at,
            state: match (self.is_out(), self.is_well()) {
                (true, _) => AddressState::Out,
                (false, true) => AddressState::Well,
                (false, false) => AddressState::Doubted,
            },
            failures: self.unconnected.saturating_add(self.unanswered),
            out_for: self.out_until.map(|until| until.saturating_duration_since(now)),
            unlisted_for: self.unlisted_at.map(|since| now.saturating_duration_since(since)),
        }
    }
}

/// Families take turns (RFC 8305 §4), beginning with that of the first address.
fn interleaved(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut same, mut other): (Vec<_>, Vec<_>) =
        addresses.iter().rev().partition(|address| address.is_ipv6() == first_is_v6);
    let mut ordered = Vec::with_capacity(addresses.len());
    while let Some(address) = same.pop().or_else(|| other.pop()) {
        ordered.push(address);
        std::mem::swap(&mut same, &mut other);
    }
    ordered
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::clock::Clock;

    const HOST: &str = "s3.example.com";

    fn at(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 443))
    }

    fn v6(last: u16) -> SocketAddr {
        SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, last], 443))
    }

    fn start() -> Instant {
        Clock::system().mono()
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn three(now: Instant) -> (Accrual, [SocketAddr; 3], Coin) {
        let (mut accrual, all) = (Accrual::default(), [at(1), at(2), at(3)]);
        accrual.listed(HOST, &all, now);
        (accrual, all, Coin::seeded(1))
    }

    fn first(accrual: &mut Accrual, listed: &[SocketAddr], now: Instant) -> SocketAddr {
        accrual.order(listed, &[], true, now).candidates.first().unwrap().address
    }

    fn state(accrual: &Accrual, address: SocketAddr, now: Instant) -> AddressState {
        accrual.seen(now).into_iter().find(|seen| seen.address == address).unwrap().state
    }

    #[test]
    fn connections_are_spread_evenly_over_what_is_well() {
        let now = start();
        let (mut accrual, all, mut coin) = three(now);
        let share = |accrual: &mut Accrual| {
            let mut firsts = BTreeMap::new();
            for _ in 0..30 {
                *firsts.entry(first(accrual, &all, now)).or_insert(0) += 1;
            }
            firsts.into_values().collect::<Vec<_>>()
        };
        assert_eq!(share(&mut accrual), [10, 10, 10]);
        accrual.failed(at(2), Failure::Connect, now, &mut coin);
        assert_eq!(share(&mut accrual), [15, 15], "the neighbours share what one that is out had");
    }

    #[test]
    fn one_that_is_out_stands_last_and_comes_back_by_a_trial() {
        let now = start();
        let (mut accrual, all, mut coin) = three(now);
        accrual.failed(at(1), Failure::Connect, now, &mut coin);
        let order = accrual.order(&all, &[], true, now);
        assert_eq!(order.candidates[2], Candidate { address: at(1), head_start: RACE_SOON });
        assert_eq!(order.trial, None, "its time is not over");
        let later = now + ms(1_300);
        assert_eq!(accrual.order(&all, &[], true, later).trial, Some(at(1)));
        assert_eq!(accrual.order(&all, &[], true, later).trial, None, "one at a time");
        accrual.tried(at(1), true, later, &mut coin);
        assert_eq!(state(&accrual, at(1), later), AddressState::Doubted);
        // back on trust: the first request that it does not answer is one too many
        accrual.failed(at(1), Failure::Unanswered, later, &mut coin);
        assert_eq!(state(&accrual, at(1), later), AddressState::Out);
    }

    #[test]
    fn times_out_grow_and_end_at_a_minute() {
        let mut now = start();
        let (mut accrual, all, mut coin) = three(now);
        accrual.failed(at(1), Failure::Connect, now, &mut coin);
        let mut times = Vec::new();
        for _ in 0..10 {
            let began = now;
            while accrual.order(&all, &[], true, now).trial.is_none() {
                now += ms(50);
            }
            accrual.tried(at(1), false, now, &mut coin);
            times.push((now - began).as_secs_f64());
        }
        for (time, expected) in times.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0, 60.0]) {
            assert!((expected * 0.75..=expected * 1.25 + 0.1).contains(time), "{times:?}");
        }
        assert!(
            times.iter().any(|time| (time.fract() - times[0].fract()).abs() > 0.05),
            "jittered: {times:?}"
        );
    }

    #[test]
    fn a_failure_is_the_addresss_own_where_another_one_has_just_answered() {
        let now = start();
        let (mut accrual, _, mut coin) = three(now);
        assert_eq!(
            accrual.failed(at(1), Failure::Unanswered, now, &mut coin),
            Blame::Region,
            "nothing known"
        );
        accrual.answered(at(2), now);
        assert_eq!(accrual.failed(at(1), Failure::Unanswered, now, &mut coin), Blame::Address);
        // the one that vouched fails as well: nobody is left to say that the region lives
        assert_eq!(accrual.failed(at(2), Failure::Unanswered, now, &mut coin), Blame::Region);
        assert_eq!(accrual.failed(at(1), Failure::Unanswered, now, &mut coin), Blame::Region);
        accrual.answered(at(3), now);
        assert_eq!(
            accrual.failed(at(1), Failure::Unanswered, now + PROOF, &mut coin),
            Blame::Region,
            "too old"
        );
    }

    #[test]
    fn what_fails_everywhere_puts_nobody_out_for_long() {
        let now = start();
        let (mut accrual, all, mut coin) = three(now);
        for _ in 0..20 {
            for address in all {
                accrual.failed(address, Failure::Connect, now, &mut coin);
            }
        }
        let out = accrual.seen(now).iter().filter(|seen| seen.state == AddressState::Out).count();
        assert_eq!(out, 2);
        // the region is back at the one that was left: the others are tried at once
        let survivor = first(&mut accrual, &all, now);
        accrual.connected(survivor, now + ms(10));
        assert!(accrual.order(&all, &[], true, now + ms(10)).trial.is_some());
    }

    #[test]
    fn one_address_alone_is_never_out() {
        let now = start();
        let (mut accrual, mut coin) = (Accrual::default(), Coin::seeded(1));
        accrual.listed(HOST, &[at(1)], now);
        for _ in 0..100 {
            assert_eq!(accrual.failed(at(1), Failure::Connect, now, &mut coin), Blame::Region);
        }
        assert_ne!(state(&accrual, at(1), now), AddressState::Out);
    }

    #[test]
    fn families_take_turns_and_one_that_cannot_be_reached_is_not_first_again() {
        let now = start();
        let (mut accrual, mut coin) = (Accrual::default(), Coin::seeded(1));
        let all = [at(1), at(2), v6(1), v6(2)];
        accrual.listed(HOST, &all, now);
        let order = accrual.order(&all, &[], true, now);
        let families: Vec<_> = order.candidates.iter().map(|next| next.address.is_ipv6()).collect();
        assert_eq!(families, [false, true, false, true]);
        accrual.failed(v6(1), Failure::Connect, now, &mut coin);
        accrual.failed(v6(2), Failure::Connect, now, &mut coin);
        for _ in 0..8 {
            assert!(first(&mut accrual, &all, now).is_ipv4());
        }
    }

    #[test]
    fn what_a_request_has_met_already_comes_last_for_it() {
        let now = start();
        let (mut accrual, all, _) = three(now);
        for _ in 0..3 {
            let order = accrual.order(&all, &[at(1), at(2)], true, now);
            assert_eq!(order.candidates[0].address, at(3));
            assert_eq!(order.candidates.len(), 3);
        }
    }

    #[test]
    fn what_dns_drops_is_kept_for_a_moment_then_unwanted_then_forgotten() {
        let now = start();
        let (mut accrual, _, _) = three(now);
        let rest = [at(2), at(3)];
        accrual.listed(HOST, &rest, now);
        assert_eq!(accrual.unwanted(now + RETIRE_AFTER * 9 / 10).count(), 0);
        assert_eq!(accrual.unwanted(now + RETIRE_AFTER).collect::<Vec<_>>(), [at(1)]);
        accrual.listed(HOST, &[at(1), at(2), at(3)], now + RETIRE_AFTER);
        assert_eq!(accrual.unwanted(now + RETIRE_AFTER).count(), 0, "listed again");
        accrual.listed(HOST, &rest, now + RETIRE_AFTER);
        accrual.listed(HOST, &rest, now + RETIRE_AFTER + FORGET_AFTER);
        assert_eq!(accrual.seen(now).len(), 2);
    }

    #[test]
    fn where_dns_leaves_only_what_is_out_one_is_used() {
        let now = start();
        let (mut accrual, _, mut coin) = three(now);
        accrual.failed(at(1), Failure::Connect, now, &mut coin);
        accrual.failed(at(2), Failure::Connect, now, &mut coin);
        accrual.listed(HOST, &[at(1), at(2)], now);
        let out = accrual.seen(now).iter().filter(|seen| seen.state == AddressState::Out).count();
        assert_eq!(out, 1);
    }

    #[test]
    fn two_names_of_one_region_do_not_take_each_others_addresses_away() {
        let now = start();
        let mut accrual = Accrual::default();
        accrual.listed("a.example.com", &[at(1)], now);
        accrual.listed("b.example.com", &[at(2)], now);
        accrual.listed("a.example.com", &[at(1)], now);
        assert_eq!(accrual.unwanted(now + RETIRE_AFTER).count(), 0);
    }

    #[derive(Clone, Debug)]
    enum Happening {
        Listed(Vec<u8>),
        Failed(u8, Failure),
        Connected(u8),
        Answered(u8),
        Dialled(bool),
        Passes(u64),
    }

    fn happening() -> impl Strategy<Value = Happening> {
        let failure = prop::sample::select(vec![
            Failure::Connect,
            Failure::Slow,
            Failure::Tls,
            Failure::Unanswered,
            Failure::Stranger,
        ]);
        prop_oneof![
            prop::collection::vec(0_u8..100, 1..12).prop_map(Happening::Listed),
            (0_u8..100, failure).prop_map(|(address, failure)| Happening::Failed(address, failure)),
            (0_u8..100).prop_map(Happening::Connected),
            (0_u8..100).prop_map(Happening::Answered),
            any::<bool>().prop_map(Happening::Dialled),
            (0_u64..400_000).prop_map(Happening::Passes),
        ]
    }

    proptest! {
        #[test]
        fn the_last_is_never_out_state_is_bounded_and_every_address_has_its_place(
            steps in prop::collection::vec(happening(), 1..150), seed: u64,
        ) {
            let (mut now, mut coin, mut accrual) = (start(), Coin::seeded(seed), Accrual::default());
            let mut listed: Vec<SocketAddr> = Vec::new();
            for step in steps {
                match step {
                    Happening::Listed(lasts) => {
                        listed = lasts.into_iter().map(at).collect();
                        listed.sort();
                        listed.dedup();
                        accrual.listed(HOST, &listed, now);
                    }
                    Happening::Failed(last, failure) => {
                        let blame = accrual.failed(at(last), failure, now, &mut coin);
                        prop_assert!(listed.len() > 1 || blame == Blame::Region || !listed.contains(&at(last)));
                    }
                    Happening::Connected(last) => accrual.connected(at(last), now),
                    Happening::Answered(last) => accrual.answered(at(last), now),
                    Happening::Dialled(took) => {
                        let order = accrual.order(&listed, &[], true, now);
                        let mut given: Vec<_> = order.candidates.iter().map(|next| next.address).collect();
                        given.sort();
                        prop_assert_eq!(&given, &listed);
                        if let Some(address) = order.trial {
                            prop_assert!(listed.contains(&address));
                            prop_assert_eq!(accrual.order(&listed, &[], true, now).trial, None);
                            accrual.tried(address, took, now, &mut coin);
                        }
                    }
                    Happening::Passes(millis) => now += ms(millis),
                }
                let seen = accrual.seen(now);
                prop_assert!(seen.len() <= ADDRESSES_MAX);
                let in_dns = |seen: &&Seen| seen.unlisted_for.is_none();
                let usable = seen.iter().filter(in_dns).any(|seen| seen.state != AddressState::Out);
                prop_assert!(usable || listed.is_empty());
            }
        }
    }
}
