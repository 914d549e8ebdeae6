//! What regions really do, whatever the fleet thinks of them.

use std::time::{Duration, Instant};

use nearpoint::chance::Coin;
use nearpoint::exchange::skew::Skew;
use nearpoint::names::RegionId;
use nearpoint::probe::schedule::Schedule;
use nearpoint::units::UnixSeconds;

/// What a region really does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mode {
    Well,
    Slow,
    Refusing,
    Hung,
    /// Connections are not answered.
    Cut,
    /// Half of the connections are refused, probes' and requests' alike.
    Lossy,
    /// Half of the requests fail; probes pass.
    Erring,
    /// Every read fails; probes pass.
    Unreadable,
    /// Requests are answered; probes fail.
    Unprobeable,
    /// It asks for less whenever it is asked for anything.
    Throttling,
    /// Writes fail.
    ReadOnly,
    /// It refuses our credential.
    BadCredential,
    /// Well and refusing by turns of so many milliseconds.
    Flapping(u64),
}

const MODES: [Mode; 14] = [
    Mode::Well,
    Mode::Slow,
    Mode::Refusing,
    Mode::Hung,
    Mode::Cut,
    Mode::Lossy,
    Mode::Erring,
    Mode::Unreadable,
    Mode::Unprobeable,
    Mode::Throttling,
    Mode::ReadOnly,
    Mode::BadCredential,
    Mode::Flapping(300),
    Mode::Flapping(4_000),
];

impl Mode {
    pub(crate) fn drawn(coin: &mut Coin) -> Self {
        MODES[below(MODES.len(), coin)]
    }
}

/// A number below `most`.
pub(crate) fn below(most: usize, coin: &mut Coin) -> usize {
    usize::try_from(coin.bits() % most as u64).expect("below a usize")
}

#[derive(Debug)]
pub(crate) struct Region {
    pub(crate) id: RegionId,
    ttfb: Duration,
    pub(crate) mode: Mode,
    /// Since when it has been in this mode.
    pub(crate) since: Instant,
    pub(crate) trials_running: u32,
    pub(crate) probes: Probes,
    pub(crate) dates: Dates,
}

/// How it is probed: by the product's own timetable.
#[derive(Debug)]
pub(crate) struct Probes {
    pub(crate) schedule: Schedule,
    /// Since when one is under way.
    pub(crate) running: Option<Instant>,
    /// When the next one is looked at.
    pub(crate) planned: Option<Instant>,
    pub(crate) ended: Instant,
    /// A request was not answered then, and nothing has shown since that others are, or that none is.
    pub(crate) doubted: Option<Instant>,
}

/// Its clock, and what we know of it.
#[derive(Debug, Default)]
pub(crate) struct Dates {
    /// Seconds by which it is ahead of the true time.
    clock: i64,
    skew: Skew,
    /// Seconds by which we think it is ahead of our clock.
    ahead: i64,
    looked: Option<Instant>,
}

/// Seconds by which a request's date may be wrong (S3's).
const SKEW_MAX: i64 = 15 * 60;

impl Dates {
    fn new(coin: &mut Coin) -> Self {
        let wrong = coin.lands(0.3);
        let clock = if wrong { seconds_within(20 * 60, coin) } else { 0 };
        Self { clock, ..Self::default() }
    }

    /// Whether it refuses a request that is dated now by our clock, which is ahead by `wall`.
    pub(crate) fn refuses(&self, wall: i64) -> bool {
        (wall + self.ahead - self.clock).abs() > SKEW_MAX
    }

    /// An answer of it came, with its date.
    pub(crate) fn seen(&mut self, wall: i64, refused: bool, now: Instant) {
        const TRUE: i64 = 1_800_000_000;
        let (theirs, ours) = (UnixSeconds(TRUE + self.clock), UnixSeconds(TRUE + wall));
        let due = self.looked.is_none_or(|last| now - last >= Duration::from_secs(1));
        if refused {
            self.skew.correct(theirs, ours);
        } else if due {
            self.looked = Some(now);
            self.skew.observe(theirs, ours);
        }
        self.ahead = self.skew.offset();
    }
}

/// A number between `-most` and `most`.
pub(crate) fn seconds_within(most: u32, coin: &mut Coin) -> i64 {
    let drawn = coin.bits() % (2 * u64::from(most) + 1);
    i64::try_from(drawn).expect("below two days") - i64::from(most)
}

impl Region {
    pub(crate) fn new(name: &str, ttfb: u64, mode: Mode, start: Instant, coin: &mut Coin) -> Self {
        let probes = Probes {
            schedule: Schedule::new(Duration::from_secs(1)),
            running: None,
            planned: None,
            ended: start,
            doubted: None,
        };
        let dates = Dates::new(coin);
        let (id, ttfb) = (RegionId::new(name), Duration::from_millis(ttfb));
        Self { id, ttfb, mode, since: start, trials_running: 0, probes, dates }
    }

    pub(crate) fn mode_at(&self, now: Instant) -> Mode {
        match self.mode {
            Mode::Flapping(period) => {
                let turn = (now - self.since).as_millis() / u128::from(period);
                if turn.is_multiple_of(2) { Mode::Refusing } else { Mode::Well }
            }
            mode => mode,
        }
    }

    /// How it meets one connection.
    pub(crate) fn meets(&self, now: Instant, coin: &mut Coin) -> Mode {
        match self.mode_at(now) {
            Mode::Lossy if coin.lands(0.5) => Mode::Refusing,
            Mode::Lossy => Mode::Well,
            mode => mode,
        }
    }

    /// Whether it has answered reads as it should since then.
    pub(crate) fn is_well_since(&self, start: Instant) -> bool {
        matches!(self.mode, Mode::Well | Mode::Slow | Mode::ReadOnly) && self.since <= start
    }

    pub(crate) fn ttfb(&self) -> Duration {
        if self.mode == Mode::Slow { self.ttfb + Duration::from_millis(250) } else { self.ttfb }
    }
}
