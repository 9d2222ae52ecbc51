//! The benchmarks work; how fast anything is is not looked at.

use serde_json::Value;
use shardmill_tests::guests::rust_guest;

use crate::shell::shardmill;

fn measured(args: &[&str]) -> Value {
    let said = shardmill(args);
    assert_eq!(said.code, Some(0), "{said:?}");
    serde_json::from_str(&said.stdout).unwrap()
}

#[test]
fn swaps_are_carried_out_and_audited() {
    let task = rust_guest("echo").display().to_string();
    let figures = measured(&["bench", "swap", "--task", &task, "--swaps", "6", "--json"]);
    assert_eq!(figures["swaps"], 6, "{figures}");
    assert!(figures["records_per_second"]["ratio"].as_f64().is_some_and(|ratio| ratio > 0.0), "{figures}");
}

#[test]
fn a_job_gets_its_work_done_beside_one_that_misbehaves() {
    let [task, hostile] = ["filter-batch", "hostile"].map(|name| rust_guest(name).display().to_string());
    let modules = ["bench", "neighbours", "--task", &task, "--hostile", &hostile];
    for way in ["endless loop", "globals bomb"] {
        let small = ["--records", "20000", "--rounds", "1", "--only", way, "--json"];
        check_figures(&measured(&[&modules[..], &small].concat()), way);
    }
}

fn check_figures(figures: &serde_json::Value, way: &str) {
    let endless = &figures["ways"][0];
    assert_eq!(endless["way"], way, "{figures}");
    for figure in ["records_per_second", "task_cpu_us", "host_cpu_us", "p99_us"] {
        assert!(endless["ratio"][figure].as_f64().is_some_and(|ratio| ratio > 0.0), "{figure}: {figures}");
    }
}
