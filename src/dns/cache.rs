//! What each name last resolved to, and when to ask again. Pure: takes `now`, asks nobody.
//!
//! An answer is *fresh* for its TTL (clamped). A name in use is asked for again before that ends,
//! so that a dial never waits. While asking fails (no answer, `NXDOMAIN`, `SERVFAIL`, an empty
//! answer), the last good answer stays in use for as long as the name is: an address that has gone
//! is found out by dialling it, and TLS says who is there. A name that nobody used for a while is
//! not kept fresh: its next user waits for a new answer, and falls back to the old one only where
//! that fails.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Answer, DnsFault, Family};

/// Shortest time that an answer is used. Below it every dial would ask; S3's own TTLs are a few seconds.
pub const TTL_MIN: Duration = Duration::from_secs(5);
/// Longest time that an answer is used without asking. Above it a moved endpoint is noticed late.
pub const TTL_MAX: Duration = Duration::from_mins(5);
/// How long a name is remembered after its last use; in use, its last good answer has no end.
pub const FORGET_AFTER: Duration = Duration::from_hours(24);
/// A name unused for this long is no longer kept fresh.
pub const IDLE_AFTER: Duration = Duration::from_mins(10);
/// First pause after a failed look-up; doubles with each failure.
pub const RETRY_FIRST: Duration = Duration::from_secs(1);
/// Longest pause between failed look-ups.
pub const RETRY_MAX: Duration = Duration::from_secs(30);
/// Share of the TTL after which a name in use is asked for again, in percent: leaves a fifth of
/// [`TTL_MIN`], one second, for the answer.
const AHEAD_PERCENT: u32 = 80;

/// The cache. At most as many names as it is told; the least recently used gives way.
#[derive(Debug)]
pub struct Cache {
    names: HashMap<Arc<str>, Name>,
    names_max: usize,
}

/// What to do for one name now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// Use these.
    Ready {
        /// In the name server's order.
        addresses: Arc<[IpAddr]>,
        /// They are old, and the caller has to ask for new ones, without waiting for them.
        ask: bool,
    },
    /// Wait for the answer that is under way.
    Wait {
        /// The caller has to ask: nobody has yet.
        ask: bool,
    },
    /// Nothing to use, and asking just failed.
    Failed(DnsFault),
}

#[derive(Debug)]
struct Name {
    good: Option<Good>,
    fault: Option<DnsFault>,
    failures: u32,
    asking: bool,
    /// When to ask next; while failing, not before.
    due: Instant,
    used: Instant,
}

#[derive(Debug)]
struct Good {
    addresses: Arc<[IpAddr]>,
    at: Instant,
    fresh_until: Instant,
}

impl Cache {
    /// An empty cache of at most `names_max` names.
    #[must_use]
    pub fn new(names_max: usize) -> Self {
        Self { names: HashMap::new(), names_max: names_max.max(1) }
    }

    /// How many names it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// What to do for `host` now; counts as a use of it.
    pub fn look(&mut self, host: &str, now: Instant) -> Look {
        if !self.names.contains_key(host) {
            self.make_room();
            self.names.insert(Arc::from(host), Name::unknown(now));
        }
        self.names.get_mut(host).map_or(Look::Wait { ask: true }, |name| name.look(now))
    }

    /// After a [`Look::Wait`] has ended: whatever there is, however old. Never says wait.
    pub fn last_resort(&self, host: &str) -> Result<Arc<[IpAddr]>, DnsFault> {
        let name = self.names.get(host);
        let none = || DnsFault::NoAddress { host: Arc::from(host) };
        let fault = || name.and_then(|name| name.fault.clone()).unwrap_or_else(none);
        name.and_then(Name::known).ok_or_else(fault)
    }

    /// What is known of `host`, however old; counts as a use of it, so that it is kept fresh for
    /// those whose connections are to follow it.
    pub fn follow(&mut self, host: &str, now: Instant) -> Option<Arc<[IpAddr]>> {
        let name = self.names.get_mut(host)?;
        name.used = now;
        name.known()
    }

    /// When the last good answer for `host` came.
    #[must_use]
    pub fn good_at(&self, host: &str) -> Option<Instant> {
        self.names.get(host)?.good.as_ref().map(|good| good.at)
    }

    /// Takes in what asking for `host` gave; says whether its addresses are others now. An empty
    /// answer is a failure: the old one stays.
    pub fn answered(&mut self, host: &str, answer: Result<Answer, DnsFault>, now: Instant) -> bool {
        let Some(name) = self.names.get_mut(host) else { return false };
        name.asking = false;
        match answer {
            Ok(answer) if !answer.addresses.is_empty() => return name.refreshed(answer, now),
            Ok(_) => name.failed(DnsFault::NoAddress { host: Arc::from(host) }, now),
            Err(fault) => name.failed(fault, now),
        }
        false
    }

    /// The names to ask for now, marked as asked for; forgets what nobody needs any more.
    pub fn take_due(&mut self, now: Instant) -> Vec<Arc<str>> {
        self.names.retain(|_, name| name.asking || !name.is_forgettable(now));
        let mut due = Vec::new();
        for (host, name) in &mut self.names {
            if name.wants_refresh(now) && name.due <= now {
                name.asking = true;
                due.push(Arc::clone(host));
            }
        }
        due
    }

    /// When [`Self::take_due`] next has something to say.
    #[must_use]
    pub fn next_due(&self, now: Instant) -> Option<Instant> {
        self.names.values().filter(|name| name.wants_refresh(now)).map(|name| name.due).min()
    }

    fn make_room(&mut self) {
        if self.names.len() < self.names_max {
            return;
        }
        let oldest = self.names.iter().min_by_key(|(_, name)| (name.asking, name.used));
        if let Some(host) = oldest.map(|(host, _)| Arc::clone(host)) {
            self.names.remove(&host);
        }
    }
}

impl Name {
    fn unknown(now: Instant) -> Self {
        Self { good: None, fault: None, failures: 0, asking: false, due: now, used: now }
    }

    fn look(&mut self, now: Instant) -> Look {
        self.used = now;
        let fresh = self.good.as_ref().is_some_and(|good| now < good.fresh_until);
        // old, but asking is under way or failed: nobody waits for a name server that is gone
        let tried = self.asking || self.failures > 0;
        if (fresh || tried)
            && let Some(addresses) = self.known()
        {
            let ask = !fresh && !self.asking && self.due <= now;
            self.asking |= ask;
            return Look::Ready { addresses, ask };
        }
        if let (Some(fault), true) = (&self.fault, now < self.due && !self.asking) {
            return Look::Failed(fault.clone());
        }
        let ask = !self.asking;
        self.asking = true;
        Look::Wait { ask }
    }

    fn refreshed(&mut self, answer: Answer, now: Instant) -> bool {
        let Answer { mut addresses, ttl, unheard } = answer;
        let before = self.known();
        // half an answer takes nothing away: a machine without IPv6 would be left with nothing else
        let kept = before.iter().flat_map(|before| before.iter());
        addresses.extend(kept.filter(|address| unheard == Some(Family::of(address))));
        let ttl = ttl.clamp(TTL_MIN, TTL_MAX);
        let changed = before.is_none_or(|before| !same_set(&before, &addresses));
        self.good = Some(Good { addresses: addresses.into(), at: now, fresh_until: now + ttl });
        self.due = now + ttl * AHEAD_PERCENT / 100;
        self.fault = None;
        self.failures = 0;
        changed
    }

    fn failed(&mut self, fault: DnsFault, now: Instant) {
        let doublings = self.failures.min(5);
        self.due = now + (RETRY_FIRST * (1 << doublings)).min(RETRY_MAX);
        self.fault = Some(fault);
        self.failures = self.failures.saturating_add(1);
    }

    /// In use, worth keeping, and nobody is asking yet.
    fn wants_refresh(&self, now: Instant) -> bool {
        self.good.is_some() && !self.asking && now.saturating_duration_since(self.used) < IDLE_AFTER
    }

    fn is_forgettable(&self, now: Instant) -> bool {
        let worth = if self.good.is_some() { FORGET_AFTER } else { IDLE_AFTER };
        now.saturating_duration_since(self.used) >= worth
    }

    fn known(&self) -> Option<Arc<[IpAddr]>> {
        self.good.as_ref().map(|good| Arc::clone(&good.addresses))
    }
}

/// Name servers shuffle what they list.
fn same_set(one: &[IpAddr], other: &[IpAddr]) -> bool {
    one.len() == other.len() && one.iter().all(|address| other.contains(address))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Clock;

    const HOST: &str = "s3.example.com";

    fn answer(last: &[u8], ttl_s: u64) -> Answer {
        let addresses = last.iter().map(|byte| IpAddr::from([192, 0, 2, *byte])).collect();
        Answer { addresses, ttl: Duration::from_secs(ttl_s), unheard: None }
    }

    fn start() -> Instant {
        Clock::system().mono()
    }

    fn fault() -> DnsFault {
        DnsFault::Failed { host: Arc::from(HOST), cause: Arc::from("timed out") }
    }

    fn known(ttl_s: u64, now: Instant) -> Cache {
        let mut cache = Cache::new(8);
        assert_eq!(cache.look(HOST, now), Look::Wait { ask: true });
        cache.answered(HOST, Ok(answer(&[1, 2], ttl_s)), now);
        cache
    }

    fn first(look: &Look) -> Option<IpAddr> {
        match look {
            Look::Ready { addresses, .. } => addresses.first().copied(),
            _ => None,
        }
    }

    #[test]
    fn the_first_user_asks_and_the_others_wait_for_its_answer() {
        let now = start();
        let mut cache = Cache::new(8);
        assert_eq!(cache.look(HOST, now), Look::Wait { ask: true });
        assert_eq!(cache.look(HOST, now), Look::Wait { ask: false });
        cache.answered(HOST, Ok(answer(&[1], 60)), now);
        assert!(matches!(cache.look(HOST, now), Look::Ready { .. }));
    }

    #[test]
    fn ttls_are_clamped_and_asked_for_ahead_of_their_end() {
        for (told, used) in [(0, 5), (4, 5), (60, 60), (86_400, 300)] {
            let now = start();
            let mut cache = known(told, now);
            let ahead = now + Duration::from_secs(used) * 4 / 5;
            assert_eq!(cache.next_due(now), Some(ahead), "{told}");
            assert!(cache.take_due(ahead.checked_sub(Duration::from_millis(1)).unwrap()).is_empty());
            assert_eq!(cache.take_due(ahead).len(), 1);
            assert!(cache.take_due(ahead).is_empty(), "asked for once");
        }
    }

    #[test]
    fn the_last_good_answer_serves_for_as_long_as_it_is_needed() {
        let began = start();
        let mut cache = known(5, began);
        let (mut now, mut asked) = (began, 0);
        while now < began + Duration::from_hours(72) {
            for host in cache.take_due(now) {
                asked += 1;
                cache.answered(&host, Err(fault()), now);
            }
            assert!(matches!(cache.look(HOST, now), Look::Ready { .. }), "{:?}", now - began);
            now += Duration::from_secs(7);
        }
        let most = Duration::from_hours(72).as_secs() / RETRY_MAX.as_secs() + 10;
        assert!((most / 2..most).contains(&asked), "{asked}");
        assert_eq!(cache.good_at(HOST), Some(began), "its age is known");
        // and comes back with the name server
        cache.look(HOST, now);
        assert!(cache.answered(HOST, Ok(answer(&[9], 60)), now), "changed");
        assert_eq!(first(&cache.look(HOST, now)), Some(IpAddr::from([192, 0, 2, 9])));
    }

    #[test]
    fn only_another_set_of_addresses_is_a_change() {
        let now = start();
        let mut cache = known(5, now);
        assert!(!cache.answered(HOST, Ok(answer(&[2, 1], 5)), now), "shuffled");
        assert!(!cache.answered(HOST, Err(fault()), now));
        assert!(cache.answered(HOST, Ok(answer(&[2], 5)), now));
        assert_eq!(cache.follow(HOST, now).unwrap().len(), 1);
    }

    #[test]
    fn half_an_answer_takes_the_other_family_not_away() {
        let now = start();
        let mut cache = known(5, now);
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        let half = |unheard| Answer { addresses: vec![v6], ttl: Duration::from_secs(5), unheard };
        cache.answered(HOST, Ok(half(Some(Family::V4))), now);
        assert_eq!(cache.follow(HOST, now).unwrap().len(), 3, "the name server was not heard about IPv4");
        cache.answered(HOST, Ok(half(None)), now);
        assert_eq!(*cache.follow(HOST, now).unwrap(), [v6], "it was heard, and has none");
    }

    #[test]
    fn an_empty_answer_does_not_displace_a_good_one() {
        let now = start();
        let mut cache = known(5, now);
        let later = now + Duration::from_secs(6);
        assert_eq!(cache.take_due(later).len(), 1);
        cache.answered(HOST, Ok(answer(&[], 60)), later);
        assert!(matches!(cache.look(HOST, later), Look::Ready { .. }));
    }

    #[test]
    fn a_failing_name_is_asked_for_less_and_less() {
        let mut now = start();
        let mut cache = Cache::new(8);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            assert_eq!(cache.look(HOST, now), Look::Wait { ask: true });
            cache.answered(HOST, Err(fault()), now);
            let began = now;
            while cache.look(HOST, now) == Look::Failed(fault()) {
                now += Duration::from_secs(1);
            }
            // that look asked; give the same answer at once, so that the next round starts here
            pauses.push((now - began).as_secs());
            cache.names.get_mut(HOST).unwrap().asking = false;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn an_idle_name_waits_for_a_new_answer_and_falls_back_to_the_old() {
        let now = start();
        let mut cache = known(60, now);
        let later = now + Duration::from_hours(2);
        assert!(cache.take_due(later).is_empty(), "idle names are left alone");
        assert_eq!(cache.look(HOST, later), Look::Wait { ask: true });
        cache.answered(HOST, Err(fault()), later);
        assert_eq!(cache.last_resort(HOST).unwrap().len(), 2);
    }

    #[test]
    fn an_old_answer_whose_refresh_failed_is_used_at_once_and_asked_for() {
        let now = start();
        let mut cache = known(5, now);
        let later = now + Duration::from_secs(5);
        cache.take_due(later);
        cache.answered(HOST, Err(fault()), later);
        let much_later = later + Duration::from_hours(3);
        assert!(cache.take_due(much_later).is_empty(), "idle");
        assert!(matches!(cache.look(HOST, much_later), Look::Ready { ask: true, .. }));
        assert!(matches!(cache.look(HOST, much_later), Look::Ready { ask: false, .. }));
    }

    #[test]
    fn the_least_recently_used_name_gives_way() {
        let now = start();
        let mut cache = Cache::new(2);
        for (i, host) in ["a", "b", "a", "c"].into_iter().enumerate() {
            let now = now + Duration::from_secs(i as u64);
            if let Look::Wait { ask: true } = cache.look(host, now) {
                cache.answered(host, Ok(answer(&[1], 60)), now);
            }
        }
        assert_eq!(cache.len(), 2);
        assert!(cache.names.contains_key("a") && cache.names.contains_key("c"));
    }

    proptest! {
        #[test]
        fn it_stays_bounded_and_hands_out_only_what_was_answered(
            steps in prop::collection::vec((0_u8..6, 0_u64..20_000, any::<bool>()), 1..200),
        ) {
            let mut now = start();
            let mut cache = Cache::new(3);
            let mut good: HashMap<String, Instant> = HashMap::new();
            for (name, seconds, ok) in steps {
                now += Duration::from_secs(seconds);
                let host = format!("h{name}");
                match cache.look(&host, now) {
                    Look::Ready { addresses, ask } => {
                        if ask {
                            cache.answered(&host, Err(fault()), now);
                        }
                        prop_assert!(!addresses.is_empty());
                        prop_assert_eq!(cache.good_at(&host), good.get(&host).copied());
                    }
                    Look::Wait { .. } => {
                        cache.answered(&host, if ok { Ok(answer(&[1], seconds)) } else { Err(fault()) }, now);
                        if ok {
                            good.insert(host.clone(), now);
                        }
                    }
                    Look::Failed(_) => {}
                }
                for host in cache.take_due(now) {
                    cache.answered(&host, Ok(answer(&[2], 1)), now);
                    good.insert(host.to_string(), now);
                }
                prop_assert!(cache.len() <= 3);
            }
        }
    }
}
