//! Tests that take many descriptors, or a minute.

use std::time::Duration;

use crate::support::crowd::alone;
use crate::{arrivals, churn, departures};

#[test]
#[ignore = "needs 1 300 descriptors: raise ulimit -Hn"]
fn f25_a_thousand_that_rush_in_are_all_there() {
    let _alone = alone();
    arrivals::rush_in(1_000);
}

#[test]
#[ignore = "needs 18 000 descriptors: raise ulimit -Hn"]
fn f25_eighteen_thousand_that_rush_in_are_all_there() {
    let _alone = alone();
    arrivals::rush_in(18_000);
}

#[test]
#[ignore = "needs 10 000 descriptors: raise ulimit -Hn"]
fn f30_ten_thousand_are_let_go_evenly_over_the_window() {
    let _alone = alone();
    departures::let_go_evenly(10_000, Duration::from_secs(8));
}

#[test]
#[ignore = "needs a minute"]
fn f44_after_a_minute_of_churn_the_program_is_as_small_as_before() {
    let _alone = alone();
    churn::come_and_go_for(Duration::from_secs(60));
}
