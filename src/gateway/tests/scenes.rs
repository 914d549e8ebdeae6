//! What clients meet when regions fail for seconds, minutes or a day.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::region::{Mode, bytes_of};
use super::{Read, Stage, all_good, play};
use crate::fleet::Standing;

/// Nearest first, with the milliseconds that each takes to answer.
const PAIR: [(&str, u64); 2] = [("near", 5), ("far", 40)];

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn a_body_that_hangs_half_way_is_finished_by_another_region_and_its_own_serves_again_later() {
    play(1, || async {
        let stage = Rc::new(Stage::open(&PAIR, "1s", "etags: stable").await);
        let key = "object-1000000";
        stage.region("near").set(Mode::HangsAt(400_000));
        let began = stage.now();
        let got = stage.get(key).await.unwrap();
        let took = stage.now() - began;
        assert_eq!(got.status, 200);
        assert!(got.body == bytes_of(key), "byte for byte");
        assert_eq!((stage.region("near").served(), stage.region("far").served()), (1, 1));
        assert!((secs(1)..secs(45)).contains(&took), "{took:?}");
        stage.region("near").set(Mode::Up);
        let reads = stage.read_for(secs(180), ms(500)).await;
        all_good(&reads);
        assert!(reads.iter().rev().take(20).all(|read| read.is_from("near")), "{:?}", reads.last());
    });
}

#[test]
fn after_ten_seconds_without_any_region_reads_go_on_with_the_next_probe() {
    play(2, || async {
        let stage = Rc::new(Stage::open(&PAIR, "1s", "etags: stable").await);
        all_good(&stage.read_for(secs(5), ms(200)).await);
        for region in stage.regions.values() {
            region.set(Mode::Down);
        }
        let dead = stage.read_for(secs(10), ms(200)).await;
        for read in &dead {
            assert_eq!(read.status.as_ref().map(|(status, _)| *status), Ok(503), "{read:?}");
            assert!(read.took < secs(5), "nobody is left waiting: {read:?}");
        }
        for region in stage.regions.values() {
            region.set(Mode::Up);
        }
        // while no region takes connections, only probes ask them, four times a second
        stage.read_for(ms(300), ms(100)).await;
        all_good(&stage.read_for(secs(60), ms(200)).await);
        assert_eq!(stage.standing("near"), Standing::Healthy);
    });
}

#[test]
fn a_region_that_flaps_for_five_minutes_costs_no_read_and_changes_few_minds() {
    play(3, || async {
        let stage = Rc::new(Stage::open(&PAIR, "1s", "etags: stable").await);
        let flapping = tokio::task::spawn_local({
            let near = stage.region("near").clone();
            async move {
                for _ in 0..30 {
                    near.set(Mode::Down);
                    tokio::time::sleep(secs(5)).await;
                    near.set(Mode::Up);
                    tokio::time::sleep(secs(5)).await;
                }
            }
        });
        let reads = stage.read_for(secs(300), ms(500)).await;
        flapping.await.unwrap();
        all_good(&reads);
        // what clients see of it: where most of their reads are answered, in each five seconds
        let mostly_near = |five: u64| {
            let of_five = |read: &&Read| (secs(5 * five)..secs(5 * five + 5)).contains(&read.at);
            let from_near = reads.iter().filter(of_five).filter(|read| read.is_from("near")).count();
            2 * from_near > reads.iter().filter(of_five).count()
        };
        let moves = (1..60).filter(|five| mostly_near(five - 1) != mostly_near(*five)).count();
        assert!(moves <= 4, "{moves} moves, {} changes of standing", stage.changes.get());
    });
}

#[test]
fn a_day_without_name_servers_costs_no_read() {
    play(4, || async {
        let stage = Rc::new(Stage::open(&PAIR[..1], "300s", "etags: stable").await);
        all_good(&stage.read_for(secs(300), secs(20)).await);
        stage.names.dead.store(true, Ordering::Relaxed);
        let day = stage.read_for(secs(24 * 60 * 60), secs(300)).await;
        assert!(day.len() >= 288, "{}", day.len());
        all_good(&day);
        assert!(day.iter().all(|read| read.took < secs(1)), "nobody waits for a name server");
        stage.names.dead.store(false, Ordering::Relaxed);
        all_good(&stage.read_for(secs(300), secs(20)).await);
    });
}

#[test]
fn a_region_that_becomes_slow_is_ranked_behind_and_comes_back() {
    play(5, || async {
        let stage = Rc::new(Stage::open(&PAIR, "1s", "etags: stable").await);
        let before = stage.read_for(secs(30), ms(200)).await;
        all_good(&before);
        assert!(before.iter().all(|read| read.is_from("near")));
        stage.region("near").delays(ms(400));
        let slow = stage.read_for(secs(60), ms(200)).await;
        all_good(&slow);
        let settled: Vec<_> = slow.iter().filter(|read| read.at >= secs(15)).collect();
        assert!(settled.iter().all(|read| read.is_from("far")), "{:?}", settled.first());
        stage.region("near").delays(ms(5));
        let quick = stage.read_for(secs(180), ms(500)).await;
        all_good(&quick);
        assert!(quick.iter().rev().take(20).all(|read| read.is_from("near")), "{:?}", quick.last());
    });
}

#[test]
fn a_stopped_region_costs_no_read_and_late_answers_harm_nobody() {
    play(6, || async {
        let stage = Rc::new(Stage::open(&PAIR, "1s", "etags: stable").await);
        all_good(&stage.read_for(secs(5), ms(200)).await);
        stage.region("near").set(Mode::Hung);
        let hung = stage.read_for(secs(20), ms(200)).await;
        all_good(&hung);
        assert!(
            hung.iter().filter(|read| read.at >= secs(4)).all(|read| read.took < ms(200)),
            "it is out by then"
        );
        stage.region("near").set(Mode::Up);
        all_good(&stage.read_for(secs(120), ms(500)).await);
        assert_eq!(stage.standing("near"), Standing::Healthy);
    });
}

#[test]
fn a_clock_that_is_wrong_takes_no_try_from_the_regions_that_are_left() {
    play(7, || async {
        let regions = [("near", 5), ("home", 20), ("far", 40)];
        let stage = Rc::new(Stage::open(&regions, "60s", "etags: stable").await);
        all_good(&stage.read_for(secs(5), ms(200)).await);
        // the dates of the region that is left are wrong from one moment to the next
        stage.region("far").is_ahead(3_600);
        stage.region("near").set(Mode::Down);
        stage.region("home").set(Mode::Down);
        let got = stage.get("object-10").await.unwrap();
        assert_eq!(got.status, 200, "{got:?}");
        assert_eq!(got.headers["x-nearpoint-region"], "far");
    });
}

#[test]
fn without_failover_the_same_failures_cost_reads() {
    for (seed, mode) in [(8, Mode::Down), (9, Mode::Hung)] {
        play(seed, move || async move {
            let alone = "reads: {failover: refuse}";
            let stage = Rc::new(Stage::open(&PAIR, "1s", alone).await);
            all_good(&stage.read_for(secs(5), ms(200)).await);
            stage.region("near").set(mode);
            let reads = stage.read_for(secs(10), ms(200)).await;
            assert!(
                reads.iter().all(|read| !read.is_good()),
                "{mode:?}: scenes that cannot fail prove nothing"
            );
        });
    }
    play(10, || async {
        let stage = Stage::open(&PAIR, "1s", "reads: {failover: refuse}").await;
        // it is asked again for the rest, and hangs again: more often than `limits.resumes`
        stage.region("near").set(Mode::HangsAt(400_000));
        let cut = stage.get("object-3000000").await;
        assert!(cut.is_err(), "never ended cleanly: {:?}", cut.map(|got| got.body.len()));
    });
}
