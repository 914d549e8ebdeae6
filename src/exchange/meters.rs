//! What is happening towards each region right now, over all workers: a few atomics a region,
//! which live through every republishing of the view.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use http::HeaderMap;
use http::header::{AGE, DATE};

use super::addresses::Addresses;
use super::booking::{Booking, Hope, Hopes};
use super::common_clock::CommonClock;
use super::dial::Stage;
use super::mark::Mark;
use super::moved::Moved;
use super::skew::Skew;
use crate::chance::Coin;
use crate::clock::Moment;
use crate::names::RegionId;
use crate::sigv4::Stamp;
use crate::units::UnixSeconds;

/// One region's meter.
#[derive(Debug)]
pub struct Meter {
    region: RegionId,
    origin: Instant,
    /// What all regions say of the time.
    common: Arc<CommonClock>,
    /// Microseconds from `origin` to the last answer of any kind, plus one; 0 where none came yet.
    answered: AtomicU64,
    /// When the first read was sent since the last answer, as `answered`; 0 where none was.
    awaited: AtomicU64,
    in_flight: Arc<AtomicUsize>,
    /// Microseconds from `origin` to when it was seen to answer without saying `100 Continue`, plus
    /// one; 0 where it was not.
    mute_since: AtomicU64,
    /// Microseconds from `origin` to when it last asked for less, plus one; 0 where it never did.
    throttled: AtomicU64,
    /// How its addresses are doing.
    pub addresses: Arc<Addresses>,
    /// By what its answers are known.
    pub mark: Mark,
    /// Buckets of it that are elsewhere than the configuration says.
    pub moved: Moved,
    /// When every address of it last refused a connection, as `answered`; 0 once one was made.
    refused: AtomicU64,
    /// Its rate, where it is governed; time from `origin`.
    booking: Booking,
    /// Seconds by which its clock is ahead of ours.
    ahead: AtomicI64,
    /// The same for dates that are compared: see [`Skew::least`].
    ahead_at_least: AtomicI64,
    /// When its date was last looked at, as `answered`.
    dated: AtomicU64,
    /// Locked once a second at most.
    skew: Mutex<Skew>,
    /// When the certificate expires that it showed last; 0 where it showed none.
    certificate: AtomicI64,
}

/// How often the date of an answer is looked at: a clock does not change faster.
const DATES: Duration = Duration::from_secs(1);

/// How long a region is remembered not to say `100 Continue`. Asking anew costs one upload a second;
/// never asking again would cost every upload its proof for as long as the process lives, because
/// of one busy second.
const MUTE: Duration = Duration::from_mins(10);
/// How long a region counts as throttling after it asked for less: as long as repeats are counted.
const THROTTLED: Duration = Duration::from_secs(10);
/// How long a refused connection speaks for the next one. While a region is needed and out, probes
/// come at least four times as often, so that what they find is all that requests wait for.
const REFUSED: Duration = Duration::from_secs(1);
/// How long a region answers nobody, though it was asked, until those who wait for the rest of a body
/// ask elsewhere. Half of what they may be late by: a look comes every 200 ms, and the rest takes two
/// round trips. Where it was merely slow, the body that stood still goes on.
const SILENT: Duration = Duration::from_millis(500);

impl Meter {
    fn new(region: &RegionId, common: Arc<CommonClock>, origin: Instant, coin: Coin) -> Self {
        Self {
            region: region.clone(),
            common,
            addresses: Arc::new(Addresses::new(region.clone(), origin, coin)),
            mark: Mark::default(),
            moved: Moved::default(),
            origin,
            answered: AtomicU64::new(0),
            awaited: AtomicU64::new(0),
            in_flight: Arc::default(),
            mute_since: AtomicU64::new(0),
            throttled: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            booking: Booking::default(),
            ahead: AtomicI64::new(0),
            ahead_at_least: AtomicI64::new(Skew::default().least()),
            dated: AtomicU64::new(0),
            skew: Mutex::default(),
            certificate: AtomicI64::new(0),
        }
    }

    /// The meter of the same region over another store: what was learnt of the old one's answers is
    /// forgotten. Addresses have a memory of their own, by host, and requests on their way stay so.
    fn renewed(&self, region: &RegionId, coin: Coin) -> Self {
        Self {
            addresses: Arc::clone(&self.addresses),
            in_flight: Arc::clone(&self.in_flight),
            ..Self::new(region, Arc::clone(&self.common), self.origin, coin)
        }
    }

    /// Books a request at this many a second: how long it is to wait. `None` where that is longer
    /// than `patience`; then nothing is booked.
    #[must_use]
    pub fn book(&self, rate: f64, patience: Duration, now: Instant) -> Option<Duration> {
        self.booking.book(rate, patience, Duration::from_micros(self.mark(now)))
    }

    /// Whether a request at this many a second need not wait.
    #[must_use]
    pub fn has_slot(&self, rate: f64, now: Instant) -> bool {
        self.booking.has_slot(rate, Duration::from_micros(self.mark(now)))
    }

    /// An answer of the region came at `now`, and says when it was given.
    pub fn dated(&self, headers: &HeaderMap, now: Moment) {
        let (mark, last) = (self.mark(now.mono), self.dated.load(Ordering::Relaxed));
        let due = last == 0 || mark.saturating_sub(last) >= DATES.as_micros().try_into().unwrap_or(u64::MAX);
        let taken = || self.dated.compare_exchange(last, mark, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if due
            && taken()
            && let Some(date) = date(headers)
        {
            self.common.told(&self.region, date, now.mono);
            self.learn_clock(|skew| skew.observe(date, now.wall));
        }
    }

    /// The region refused the clock by which a request was signed: what its answer says of its own
    /// counts alone. Returns the offset from now on.
    pub fn clock_refused(&self, headers: &HeaderMap, now: Moment) -> i64 {
        if let Some(date) = date(headers) {
            self.common.told(&self.region, date, now.mono);
            self.learn_clock(|skew| skew.correct(date, now.wall));
        }
        self.ahead()
    }

    fn learn_clock(&self, learn: impl FnOnce(&mut Skew)) {
        let mut skew = self.skew.lock().unwrap_or_else(PoisonError::into_inner);
        learn(&mut skew);
        self.ahead.store(skew.offset(), Ordering::Relaxed);
        self.ahead_at_least.store(skew.least(), Ordering::Relaxed);
    }

    /// Seconds by which its clock is ahead of ours; negative where it is behind.
    #[must_use]
    pub fn ahead(&self) -> i64 {
        self.ahead.load(Ordering::Relaxed)
    }

    /// Its time, by ours.
    #[must_use]
    pub fn its_time(&self, ours: UnixSeconds) -> UnixSeconds {
        UnixSeconds(ours.0.saturating_add(self.ahead()))
    }

    /// What the region's own date of anything that happens from `ours` on is not before.
    #[must_use]
    pub fn not_before(&self, ours: UnixSeconds) -> UnixSeconds {
        UnixSeconds(ours.0.saturating_add(self.ahead_at_least.load(Ordering::Relaxed)))
    }

    /// It showed a certificate that expires then.
    pub fn showed_certificate(&self, expires: UnixSeconds) {
        self.certificate.store(expires.0, Ordering::Relaxed);
    }

    /// When the certificate expires that it showed last.
    #[must_use]
    pub fn certificate(&self) -> Option<UnixSeconds> {
        let expires = self.certificate.load(Ordering::Relaxed);
        (expires != 0).then_some(UnixSeconds(expires))
    }

    /// The region answered something, to traffic or to a probe.
    pub fn answered(&self, now: Instant) {
        self.answered.fetch_max(self.mark(now), Ordering::Relaxed);
        self.awaited.store(0, Ordering::Relaxed);
    }

    /// A read was sent to the region.
    pub fn awaits(&self, now: Instant) {
        if self.awaited.load(Ordering::Relaxed) == 0 {
            self.awaited.store(self.mark(now), Ordering::Relaxed);
        }
    }

    /// Whether the region was asked and has answered nobody for a while. A read that was given up at
    /// once counts until the next answer: what rests on this must do no harm where it is wrong.
    #[must_use]
    pub fn is_silent(&self, now: Instant) -> bool {
        let since = self.awaited.load(Ordering::Relaxed);
        since > 0 && Duration::from_micros(self.mark(now).saturating_sub(since)) >= SILENT
    }

    /// An instant as it is kept: never 0.
    fn mark(&self, at: Instant) -> u64 {
        let us = u64::try_from(at.saturating_duration_since(self.origin).as_micros()).unwrap_or(u64::MAX);
        us.saturating_add(1)
    }

    /// Whether it answered anything since `then`.
    #[must_use]
    pub fn answered_since(&self, then: Instant) -> bool {
        self.answered.load(Ordering::Relaxed) >= self.mark(then)
    }

    /// Whether it answered anything within the last `age`.
    #[must_use]
    pub fn fresh(&self, now: Instant, age: Duration) -> bool {
        now.checked_sub(age).is_some_and(|then| self.answered_since(then))
    }

    /// The region asked for less.
    pub fn learn_throttled(&self, now: Instant) {
        self.throttled.fetch_max(self.mark(now), Ordering::Relaxed);
    }

    /// Whether the region asked for less lately.
    #[must_use]
    pub fn throttles(&self, now: Instant) -> bool {
        let at = self.throttled.load(Ordering::Relaxed);
        at > 0 && Duration::from_micros(self.mark(now).saturating_sub(at)) < THROTTLED
    }

    /// A dial ended, for traffic or for a probe: how it failed, if it did.
    pub fn dialled(&self, failed: Option<Stage>, now: Instant) {
        match failed {
            None => self.refused.store(0, Ordering::Relaxed),
            Some(Stage::Connect { refused: true }) => self.refused.store(self.mark(now), Ordering::Relaxed),
            Some(_) => {}
        }
    }

    /// Whether the region refused the last connection, lately.
    #[must_use]
    pub fn refuses(&self, now: Instant) -> bool {
        let at = self.refused.load(Ordering::Relaxed);
        at > 0 && Duration::from_micros(self.mark(now).saturating_sub(at)) < REFUSED
    }

    /// One more request on its way; the guard takes it off again.
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight { meter: Arc::clone(self) }
    }

    /// Requests on their way now.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// The region answers other requests, and did not say `100 Continue` in time.
    pub fn learn_mute(&self, now: Instant) {
        self.mute_since.store(self.mark(now), Ordering::Relaxed);
    }

    /// The region said `100 Continue`.
    pub fn learn_continues(&self) {
        self.mute_since.store(0, Ordering::Relaxed);
    }

    /// Whether the region is known not to say `100 Continue`.
    #[must_use]
    pub fn is_mute(&self, now: Instant) -> bool {
        let since = self.mute_since.load(Ordering::Relaxed);
        let age = Duration::from_micros(self.mark(now).saturating_sub(since));
        since > 0 && age < MUTE
    }
}

/// When an answer says that it was given; `None` of one out of a cache, which has its first date.
fn date(headers: &HeaderMap) -> Option<UnixSeconds> {
    let date = headers.get(DATE).filter(|_| !headers.contains_key(AGE))?;
    Some(Stamp::parse_date(date.to_str().ok()?)?.at())
}

/// One request on its way to a region.
#[derive(Debug)]
pub struct InFlight {
    meter: Arc<Meter>,
}

impl InFlight {
    /// The region's meter.
    #[must_use]
    pub fn meter(&self) -> &Meter {
        &self.meter
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.meter.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The meters of all regions. Locked only when a worker meets a region for the first time.
#[derive(Debug)]
pub struct Meters {
    origin: Instant,
    /// The time by all of them.
    pub common_clock: Arc<CommonClock>,
    regions: RwLock<Regions>,
    hopes: Hopes,
}

#[derive(Debug)]
struct Regions {
    known: BTreeMap<RegionId, Arc<Meter>>,
    coin: Coin,
}

impl Meters {
    /// No region yet; `origin` is where time is counted from, `coin` spreads what is timed.
    #[must_use]
    pub fn new(origin: Instant, coin: Coin) -> Self {
        let regions = RwLock::new(Regions { known: BTreeMap::new(), coin });
        let common_clock = Arc::new(CommonClock::new(origin));
        Self { origin, common_clock, regions, hopes: Hopes::default() }
    }

    /// Room for one more try at a region that is not fit, of at most `most` at a time: regions that
    /// come back must not meet everybody at once, nor clients wait behind a crowd.
    #[must_use]
    pub fn hope(&self, most: usize) -> Option<Hope> {
        self.hopes.take(most)
    }

    /// Begins to learn anew of regions whose settings have changed: what is behind them may be another
    /// store. To be told before the new settings are: who still works by the old ones has the old meter.
    pub fn renew<'r>(&self, changed: impl IntoIterator<Item = &'r RegionId>) {
        let mut regions = self.regions.write().unwrap_or_else(PoisonError::into_inner);
        let Regions { known, coin } = &mut *regions;
        for region in changed {
            if let Some(meter) = known.get_mut(region) {
                self.common_clock.forget(region);
                *meter = Arc::new(meter.renewed(region, coin.fork()));
            }
        }
    }

    /// The region's meter.
    #[must_use]
    pub fn of(&self, region: &RegionId) -> Arc<Meter> {
        if let Some(meter) = self.regions.read().unwrap_or_else(PoisonError::into_inner).known.get(region) {
            return Arc::clone(meter);
        }
        let mut regions = self.regions.write().unwrap_or_else(PoisonError::into_inner);
        let Regions { known, coin } = &mut *regions;
        let common = || Arc::clone(&self.common_clock);
        let new = || Arc::new(Meter::new(region, common(), self.origin, coin.fork()));
        Arc::clone(known.entry(region.clone()).or_insert_with(new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freshness_is_since_an_instant_of_ours() {
        let origin = crate::clock::Clock::system().mono();
        let meters = Meters::new(origin, Coin::seeded(1));
        let meter = meters.of(&RegionId::new("a"));
        let at = |ms| origin + Duration::from_millis(ms);
        assert!(!meter.answered_since(at(0)));
        meter.answered(at(500));
        assert!(meter.answered_since(at(500)));
        assert!(!meter.answered_since(at(501)));
        assert!(meter.fresh(at(1400), Duration::from_secs(1)));
        assert!(!meter.fresh(at(1600), Duration::from_secs(1)));
        let guard = meters.of(&RegionId::new("a")).enter();
        assert_eq!(meter.in_flight(), 1);
        drop(guard);
        assert_eq!(meter.in_flight(), 0);
    }

    #[test]
    fn an_answer_before_an_instant_is_none_since_it() {
        let origin = crate::clock::Clock::system().mono();
        let meter = Meters::new(origin, Coin::seeded(1)).of(&RegionId::new("a"));
        meter.answered(origin + Duration::from_micros(100_100));
        assert!(!meter.answered_since(origin + Duration::from_micros(100_900)), "within one millisecond");
    }

    #[test]
    fn a_region_is_silent_where_nobody_was_answered_since_somebody_asked() {
        let origin = crate::clock::Clock::system().mono();
        let meter = Meters::new(origin, Coin::seeded(1)).of(&RegionId::new("a"));
        let at = |ms| origin + Duration::from_millis(ms);
        assert!(!meter.is_silent(at(9_000)), "nobody asks");
        meter.awaits(at(9_000));
        meter.awaits(at(9_400));
        assert!(!meter.is_silent(at(9_499)));
        assert!(meter.is_silent(at(9_500)), "the first counts, not the last");
        meter.answered(at(9_600));
        assert!(!meter.is_silent(at(20_000)), "all were answered, as far as is known");
        meter.awaits(at(20_000));
        assert!(!meter.is_silent(at(20_100)));
    }

    #[test]
    fn silence_about_expectations_is_remembered_and_asked_about_again() {
        let origin = crate::clock::Clock::system().mono();
        let meter = Meters::new(origin, Coin::seeded(1)).of(&RegionId::new("a"));
        assert!(!meter.is_mute(origin));
        meter.learn_mute(origin);
        assert!(meter.is_mute(origin) && meter.is_mute(origin + MUTE / 2));
        assert!(!meter.is_mute(origin + MUTE));
        meter.learn_mute(origin);
        meter.learn_continues();
        assert!(!meter.is_mute(origin));
    }

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let field = |(name, value): &(&str, &str)| -> (http::HeaderName, http::HeaderValue) {
            (name.parse().unwrap(), value.parse().unwrap())
        };
        fields.iter().map(field).collect()
    }

    const DATE_THEN: &str = "Fri, 24 May 2013 00:20:00 GMT";
    const THEN: UnixSeconds = UnixSeconds(1_369_353_600);

    #[test]
    fn a_clock_is_learnt_from_dates_once_a_second_and_from_a_refusal_at_once() {
        let now = Moment { wall: THEN, ..crate::clock::Clock::system().now() };
        let later = |ms| Moment { mono: now.mono + Duration::from_millis(ms), ..now };
        let meter = Meters::new(now.mono, Coin::seeded(1)).of(&RegionId::new("a"));
        meter.dated(&headers(&[("date", DATE_THEN)]), now);
        assert_eq!(meter.ahead(), 1_200);
        assert_eq!(meter.its_time(THEN), UnixSeconds(THEN.0 + 1_200));
        let right = headers(&[("date", "Fri, 24 May 2013 00:00:00 GMT")]);
        for ms in 0..3 {
            meter.dated(&right, later(ms * 300));
        }
        assert_eq!(meter.ahead(), 1_200, "within one second there is one look");
        for second in 1..3 {
            meter.dated(&right, later(second * 1_000));
        }
        assert_eq!(meter.ahead(), 0);
        assert_eq!(meter.clock_refused(&headers(&[("date", DATE_THEN)]), now), 1_200);
    }

    #[test]
    fn the_date_of_a_cache_and_no_date_say_nothing() {
        let now = Moment { wall: THEN, ..crate::clock::Clock::system().now() };
        for fields in [&[("date", DATE_THEN), ("age", "1200")][..], &[("date", "yesterday")], &[]] {
            let meter = Meters::new(now.mono, Coin::seeded(1)).of(&RegionId::new("a"));
            meter.dated(&headers(fields), now);
            assert_eq!(meter.clock_refused(&headers(fields), now), 0, "{fields:?}");
        }
    }

    #[test]
    fn a_booked_rate_is_kept_by_all_together() {
        let origin = crate::clock::Clock::system().mono();
        let meters = Meters::new(origin, Coin::seeded(1));
        let meter = meters.of(&RegionId::new("a"));
        let booked = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while meter.book(100.0, Duration::ZERO, origin).is_some() {
                        booked.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(booked.into_inner(), 25, "a quarter of a second's, and no more");
        assert!(!meter.has_slot(100.0, origin));
        assert!(meter.has_slot(100.0, origin + Duration::from_millis(11)));
        let waits = meter.book(100.0, Duration::from_millis(50), origin);
        assert!(waits.is_some_and(|wait| wait <= Duration::from_millis(10) && !wait.is_zero()), "{waits:?}");
    }

    #[test]
    fn a_region_throttles_for_a_while_after_it_asked_for_less() {
        let origin = crate::clock::Clock::system().mono();
        let meter = Meters::new(origin, Coin::seeded(1)).of(&RegionId::new("a"));
        assert!(!meter.throttles(origin));
        meter.learn_throttled(origin);
        assert!(meter.throttles(origin) && meter.throttles(origin + THROTTLED / 2));
        assert!(!meter.throttles(origin + THROTTLED));
    }

    #[test]
    fn a_refused_connection_speaks_for_the_next_until_one_is_made() {
        let now = crate::clock::Clock::system().mono();
        let meter = Meters::new(now, Coin::seeded(1)).of(&RegionId::new("a"));
        let refused = Stage::Connect { refused: true };
        assert!(!meter.refuses(now));
        meter.dialled(Some(refused), now);
        assert!(meter.refuses(now) && meter.refuses(now + REFUSED / 2));
        assert!(!meter.refuses(now + REFUSED));
        meter.dialled(Some(refused), now + REFUSED);
        meter.dialled(Some(Stage::Connect { refused: false }), now + REFUSED);
        assert!(meter.refuses(now + REFUSED));
        meter.dialled(None, now + REFUSED);
        assert!(!meter.refuses(now + REFUSED));
    }

    #[test]
    fn of_another_store_nothing_is_known_but_what_is_on_its_way() {
        let moment = crate::clock::Clock::system().now();
        let meters = Meters::new(moment.mono, Coin::seeded(1));
        let (changed, same) = (RegionId::new("a"), RegionId::new("b"));
        for region in [&changed, &same] {
            let meter = meters.of(region);
            meter.answered(moment.mono);
            meter.learn_mute(moment.mono);
            meter.learn_throttled(moment.mono);
            meter.clock_refused(&headers(&[("date", DATE_THEN)]), Moment { wall: THEN, ..moment });
            meter.showed_certificate(THEN);
        }
        let (old, on_its_way) = (meters.of(&changed), meters.of(&changed).enter());
        meters.renew([&changed, &RegionId::new("unknown")]);
        let learnt = |region: &RegionId| {
            let meter = meters.of(region);
            let now = moment.mono;
            let heard = (meter.answered_since(now), meter.is_mute(now), meter.throttles(now));
            (heard, meter.ahead(), meter.certificate())
        };
        assert_eq!(learnt(&changed), ((false, false, false), 0, None));
        assert_eq!(learnt(&same), ((true, true, true), 1_200, Some(THEN)));
        assert_eq!(meters.of(&changed).in_flight(), 1);
        drop(on_its_way);
        assert_eq!((meters.of(&changed).in_flight(), old.in_flight()), (0, 0));
        assert!(Arc::ptr_eq(&meters.of(&changed).addresses, &old.addresses));
    }

    #[test]
    fn hopes_are_bounded_and_given_back() {
        let meters = Meters::new(crate::clock::Clock::system().mono(), Coin::seeded(1));
        let first = meters.hope(1);
        assert!(first.is_some() && meters.hope(1).is_none());
        drop(first);
        assert!(meters.hope(1).is_some());
    }
}
