//! The numbers of detection, ejection and recovery, in one place. Pure.

use std::time::Duration;

/// How quickly a region is given up and how carefully it is taken back. The defaults hold for one
/// endpoint in front of two to ten regions; all of them are counts or durations.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetSettings {
    /// Consecutive attempts that were never answered until a region is out. Default 3: at 200
    /// requests a second that is 15 ms; one or two are a stale connection or a rolling restart.
    pub never_answered: u32,
    /// Consecutive server errors until a region is out. Default 5, as Envoy's outlier detection.
    pub server_errors: u32,
    /// Lowest share of successes within [`Self::window`], 0 to 1. Default 0.8, as Linkerd's.
    pub success_share: f64,
    /// Samples within the window below which its share says nothing. Default 20.
    pub window_samples: u32,
    /// Samples within the last three tenths of the window below which their share says nothing.
    /// Default 100: a region that fails one request in ten is taken for one that fails one in five
    /// about once in a thousand times.
    pub recent_samples: u32,
    /// How far the success window reaches back, kept in ten buckets. Default 10 s.
    pub window: Duration,
    /// Consecutive failed probes until a region is out. Default 3.
    pub fall: u32,
    /// Consecutive passed probes until a region that is out may be tried. Default 5.
    pub rise: u32,
    /// The least time a region stays suspect. Default 5 s: it bounds how often standings change.
    pub suspect_dwell: Duration,
    /// The least time a region stays out, also where there is no other. Default 1 s: it bounds how
    /// often standings change; requests are sent there meanwhile if nothing else is left.
    pub out_dwell: Duration,
    /// The first ejection; each further one within [`Self::flap_memory`] doubles it. Default 2 s.
    pub ejection: Duration,
    /// The longest ejection. Default 60 s.
    pub ejection_cap: Duration,
    /// How long a region that flapped must have been well, by its probes, before it is tried again; each further
    /// flap doubles it, to [`Self::ejection_cap`]. One that is up for five seconds and down for five would
    /// else be taken in and left again all the while. Default 10 s.
    pub steady: Duration,
    /// Share by which an ejection is shortened or lengthened by chance, 0 to 1. Default 0.5, so
    /// that many gateways do not return at once.
    pub ejection_jitter: f64,
    /// The first ejection for reads where probes pass all the while and other regions serve; each
    /// flap doubles it. Default 60 s: requests are better witnesses than probes, and trying the
    /// region every few seconds because of them would be flapping.
    pub contradicted: Duration,
    /// The longest of these. Default 2 min.
    pub contradicted_cap: Duration,
    /// Successful requests, one at a time, until probation ends. Default 3.
    pub trials: u32,
    /// How long after it went out a region is not preferred again while another serves; each
    /// further flap doubles it. Default 30 s.
    pub hold_down: Duration,
    /// The longest hold-down. Default 10 min.
    pub hold_down_cap: Duration,
    /// How long an ejection counts as a flap. Default 10 min.
    pub flap_memory: Duration,
    /// Time constant of the latency peak's decay, and the age past which a sample of live traffic
    /// gives way to probes. Default 10 s, as Finagle's peak EWMA.
    pub latency_decay: Duration,
    /// Time constant by which times fade out of the quantiles. Default 2 min: a gateway of one
    /// request a second learns them, and a bad quarter of an hour is forgotten after another.
    pub quantile_memory: Duration,
    /// A region becomes the nearer one if it is better by this...
    pub better: Margin,
    /// ...or by this: a large and plain difference acts sooner.
    pub much_better: Margin,
    /// A region that takes this much longer than it used to, and...
    pub slower_than_before: Margin,
    /// ...this much longer than another that serves, is slow, and ranked behind others.
    pub slower_than_peers: Margin,
    /// The least time a slow region stays behind; each further time within [`Self::flap_memory`]
    /// doubles it, to [`Self::hold_down_cap`]. Default 20 s.
    pub slow_hold: Duration,
    /// Pause between probes of a slow region that serves, at most the configured interval: only
    /// probes show that it is quick again, also while its answers to writes stand for probes.
    /// Default 1 s.
    pub probe_slow: Duration,
    /// How long a credential or a configuration that a canary refused is left alone before
    /// requests may try it again (a canary may clear it sooner). Default 60 s.
    pub refusal_memory: Duration,
    /// Pause between probes of a region whose standing is changing. Default 250 ms.
    pub probe_fast: Duration,
    /// Pause between probes after a request was never answered, until a probe passes or the region
    /// is out. Default 10 ms: how soon a dead region is known then depends on it, not on how many
    /// requests fail first.
    pub probe_doubt: Duration,
    /// Pause between probes of a region that is out, while another serves. Default 2 s, growing
    /// by half with each failure to [`Self::probe_down_cap`].
    pub probe_down: Duration,
    /// The longest pause between probes. Default 5 s.
    pub probe_down_cap: Duration,
    /// How long after a total outage, from the first region that serves again, the others are probed
    /// and taken back as if none did. Default 2 s: which one is found first is chance, and the nearest
    /// may be ready a moment after the farthest.
    pub regaining: Duration,
    /// Pause between their probes during that time. Default 20 ms: what goes to a far region
    /// meanwhile dials it anew, request for request.
    pub probe_regaining: Duration,
}

/// How much better, for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Margin {
    /// Relative gain: 0.2 means that the present region takes 1.2 times as long or more.
    pub share: f64,
    /// Absolute gain.
    pub gap: Duration,
    /// Without a break for this long.
    pub lasting: Duration,
}

impl Margin {
    /// Whether `far` is longer than `near` by both the share and the gap; both in seconds.
    #[must_use]
    pub fn lies_between(&self, near: f64, far: f64) -> bool {
        far - near >= self.gap.as_secs_f64() && far >= near * (1.0 + self.share)
    }
}

impl Default for FleetSettings {
    fn default() -> Self {
        Self {
            never_answered: 3,
            server_errors: 5,
            success_share: 0.8,
            window_samples: 20,
            recent_samples: 100,
            window: Duration::from_secs(10),
            fall: 3,
            rise: 5,
            suspect_dwell: Duration::from_secs(5),
            out_dwell: Duration::from_secs(1),
            ejection: Duration::from_secs(2),
            ejection_cap: Duration::from_mins(1),
            steady: Duration::from_secs(10),
            ejection_jitter: 0.5,
            contradicted: Duration::from_mins(1),
            contradicted_cap: Duration::from_mins(2),
            trials: 3,
            hold_down: Duration::from_secs(30),
            hold_down_cap: Duration::from_mins(10),
            flap_memory: Duration::from_mins(10),
            latency_decay: Duration::from_secs(10),
            quantile_memory: Duration::from_mins(2),
            better: Margin { share: 0.2, gap: Duration::from_millis(5), lasting: Duration::from_secs(30) },
            much_better: Margin {
                share: 1.0,
                gap: Duration::from_millis(50),
                lasting: Duration::from_secs(5),
            },
            slower_than_before: Margin {
                share: 2.0,
                gap: Duration::from_millis(100),
                lasting: Duration::from_secs(3),
            },
            slower_than_peers: Margin {
                share: 1.0,
                gap: Duration::from_millis(50),
                lasting: Duration::from_secs(3),
            },
            slow_hold: Duration::from_secs(20),
            refusal_memory: Duration::from_mins(1),
            probe_slow: Duration::from_secs(1),
            probe_fast: Duration::from_millis(250),
            probe_doubt: Duration::from_millis(10),
            probe_down: Duration::from_secs(2),
            probe_down_cap: Duration::from_secs(5),
            regaining: Duration::from_secs(2),
            probe_regaining: Duration::from_millis(20),
        }
    }
}
