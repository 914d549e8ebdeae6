//! Seeded histories of regions that die, hang, err, slow down, flap, are cut off and come back, under
//! an operator who changes orders and regions and clocks that are set, played into the fleet and the
//! routing on a virtual clock. After each step what must always hold is looked at (`checks`).
//!
//! `SIM_SEED=n cargo test --test simulation` replays one seed.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "the whole crate is a test; a broken simulation should stop"
)]

mod checks;
mod history;
mod regions;
mod requests;
mod rules;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use history::{Simulation, Tally, Weather};

/// Histories per run.
const SEEDS: u64 = 256;

fn play(seed: u64, weather: Weather) -> Tally {
    let simulation = Simulation::new(seed, weather);
    match catch_unwind(AssertUnwindSafe(|| simulation.run())) {
        Ok(tally) => tally,
        Err(cause) => {
            eprintln!("replay with SIM_SEED={seed}");
            resume_unwind(cause)
        }
    }
}

#[test]
fn whatever_happens_the_house_holds() {
    #[expect(clippy::disallowed_methods, reason = "the seed to replay comes from whoever debugs")]
    let replay = std::env::var("SIM_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    if let Some(seed) = replay {
        println!("{:?}", play(seed, Weather::Foul));
        return;
    }
    let half = |half| (half..SEEDS).step_by(2).map(|seed| play(seed, Weather::Foul)).collect::<Vec<_>>();
    let halves = std::thread::scope(|scope| {
        let halves = [0, 1].map(|first| scope.spawn(move || half(first)));
        halves.map(|half| half.join().unwrap_or_else(|cause| resume_unwind(cause)))
    });
    let mut sum = Tally::default();
    halves.iter().flatten().for_each(|tally| sum.add(tally));
    println!("{sum:?}");
    // a simulation in which nothing happens proves nothing
    assert!(sum.moved > SEEDS && sum.trials > SEEDS && sum.changes > SEEDS, "{sum:?}");
    assert!(sum.slow.min(sum.alarms).min(sum.self_suspect) > SEEDS / 16, "{sum:?}");
    assert!(sum.skewed > SEEDS && sum.doubts > SEEDS && sum.reloads > SEEDS, "{sum:?}");
    assert!(sum.reads_failed * 10 < sum.reads, "{sum:?}");
}

#[test]
fn a_wall_clock_that_jumps_changes_no_standing_and_costs_no_request() {
    for seed in 0..8 {
        let tally = play(seed, Weather::ClocksOnly);
        assert!(tally.skewed > 0 && tally.reads > 300, "{tally:?}");
        assert_eq!((tally.reads_failed, tally.writes_failed, tally.worse), (0, 0, 0), "{seed}: {tally:?}");
    }
}

#[test]
fn a_seed_replays_exactly() {
    assert_eq!(play(7, Weather::Foul), play(7, Weather::Foul));
    assert_ne!(play(7, Weather::Foul).trace, play(8, Weather::Foul).trace);
}
