#[path = "../../tests/support/certs.rs"]
mod certs;
mod control;
#[path = "../support/descriptors.rs"]
mod descriptors;
mod floor;
mod foreign;
mod line;
#[path = "../support/machine.rs"]
mod machine;
mod many;
mod measure;
#[path = "../../tests/support/memory/mod.rs"]
mod memory;
mod ours;
mod page;
mod peers;
mod plan;
mod report;
mod rivals;
mod secure;
mod simulated;
#[path = "../support/spread.rs"]
mod spread;
mod subject;
mod trace;
#[expect(dead_code, reason = "what it needs is said as for the others")]
#[path = "../support/uwebsockets.rs"]
mod uwebsockets;
mod world;

use std::cell::RefCell;
use std::env;
use std::io;
use std::time::Duration;

use criterion::Criterion;
use serde_json::{Value, json};

use control::role;
use descriptors::raise_descriptor_limit;
use measure::{Load, Run, run};
use plan::{Plan, Stage};
use report::Rows;
use spread::Spread;
use subject::{Kind, Subject};

pub(crate) fn main() -> io::Result<()> {
    let is_word = |argument: &String| argument != "--bench";
    let arguments: Vec<_> = env::args().skip(1).filter(is_word).collect();
    if let Some(role) = role(&arguments) {
        raise_descriptor_limit()?;
        return take_role(role);
    }
    if let [word, json] = &arguments[..]
        && word == "page"
    {
        return page::draw(json.as_ref(), false);
    }
    let limit = raise_descriptor_limit()?;
    let plan = Plan::parse(arguments, limit)?;
    if plan.is_test {
        page::draw(page::PUBLISHED.as_ref(), true)?;
    }
    build_foreign(&plan)?;
    let mut report = json!({ "machine": machine::machine(), "plan": plan.to_json() });
    for stage in &plan.stages {
        let measured = match stage {
            Stage::Virtual => simulated::bench(&plan),
            Stage::Dense => compare(&plan, &plan.dense, &dense_subjects(&plan))?,
            Stage::Sparse => compare(&plan, &plan.sparse, &sparse_subjects(&plan))?,
            Stage::Tls => {
                secure::issue()?;
                compare(&plan, &plan.tls, &tls_subjects(&plan))?
            }
            Stage::Syscalls => trace::count(&plan)?,
            Stage::Deaths => measure::deaths(&plan)?,
            Stage::Many => many::hold(&plan)?,
        };
        report[stage.name()] = measured;
        if let Some(path) = &plan.json {
            std::fs::write(path, format!("{report:#}\n"))?;
        }
    }
    Ok(())
}

/// Compiles what is not part of this program, so that what lacks is told before anything is measured.
fn build_foreign(plan: &Plan) -> io::Result<()> {
    for (stage, kinds) in [
        (Stage::Dense, &plan.servers),
        (Stage::Tls, &plan.tls_servers),
    ] {
        if !plan.stages.contains(&stage) {
            continue;
        }
        for kind in kinds {
            if let Kind::Foreign(foreign) = kind {
                foreign.build(stage == Stage::Tls)?;
            }
        }
    }
    Ok(())
}

fn take_role(words: &[String]) -> io::Result<()> {
    let unknown = || io::Error::other(format!("no such role: {words:?}"));
    let (name, rest) = words.split_first().ok_or_else(unknown)?;
    match name.as_str() {
        "server" => subject::Order::from_words(rest)
            .ok_or_else(unknown)?
            .serve(),
        "peers" => peers::Order::from_words(rest).ok_or_else(unknown)?.hold(),
        _ => Err(unknown()),
    }
}

fn dense_subjects(plan: &Plan) -> Vec<Subject> {
    let slack = Some(Duration::ZERO);
    let subject = |kind: &Kind| Subject::plain(*kind, slack);
    let mut subjects: Vec<_> = plan.servers.iter().map(subject).collect();
    // Pings of one tick share a wake-up: the floor does as heartwheel does.
    let ticking = Subject::plain(Kind::Floor, Some(TICK / 2));
    subjects.insert(1, ticking);
    subjects
}

/// Heartwheel's.
const TICK: Duration = Duration::from_millis(10);

/// The floor as it is and with the most slack, heartwheel with each slack and with its own.
fn sparse_subjects(plan: &Plan) -> Vec<Subject> {
    let floor = |slack| Subject::plain(Kind::Floor, slack);
    let ours = |slack| Subject::plain(Kind::Heartwheel, slack);
    let mut subjects = vec![floor(Some(Duration::ZERO)), ours(None)];
    subjects.extend(plan.slacks.iter().map(|slack| ours(Some(*slack))));
    subjects.extend(plan.slacks.iter().max().map(|slack| floor(Some(*slack))));
    subjects.dedup();
    subjects
}

/// Heartwheel without TLS, which the others are compared with, and everyone over TLS.
fn tls_subjects(plan: &Plan) -> Vec<Subject> {
    let slack = Some(Duration::ZERO);
    let mut subjects = vec![Subject::plain(Kind::Heartwheel, slack)];
    subjects.extend(plan.tls_servers.iter().map(|kind| Subject {
        is_secure: true,
        ..Subject::plain(*kind, slack)
    }));
    subjects
}

/// Runs the subjects in turns, and says how each compares with the first.
fn compare(plan: &Plan, load: &Load, subjects: &[Subject]) -> io::Result<Value> {
    println!("\n{load}, {} rounds in turns", plan.pairs);
    let mut runs: Vec<Vec<Run>> = subjects.iter().map(|_| Vec::new()).collect();
    for round in 0..plan.pairs {
        for (subject, runs) in subjects.iter().zip(&mut runs) {
            eprintln!("  round {} of {}: {subject}", round + 1, plan.pairs);
            runs.push(run(*subject, load)?);
        }
    }
    let mut rows = Rows::new(load);
    for (subject, own) in subjects.iter().zip(&runs) {
        rows.add(*subject, own, &runs[0]);
    }
    rows.print();
    feed_criterion(plan, load, subjects, &runs);
    Ok(rows.to_json())
}

/// Gives criterion what was measured, a second at a time.
fn feed_criterion(plan: &Plan, load: &Load, subjects: &[Subject], runs: &[Vec<Run>]) {
    if plan.is_test {
        return;
    }
    let mut criterion = Criterion::default();
    let mut group = criterion.benchmark_group(format!("idle/{}", load.name));
    group
        .sample_size(10)
        .sampling_mode(criterion::SamplingMode::Flat)
        .warm_up_time(Duration::from_nanos(1))
        .measurement_time(Duration::from_nanos(10));
    for (subject, runs) in subjects.iter().zip(runs) {
        let samples = runs.iter().flat_map(|run| run.samples.iter().copied());
        let samples: Vec<_> = samples.collect();
        let samples = RefCell::new(samples.iter().cycle());
        group.bench_function(subject.to_string(), |bencher| {
            bencher.iter_custom(|iters| {
                let cost = samples.borrow_mut().next().expect("a run has samples");
                cost.mul_f64(iters as f64)
            });
        });
    }
    group.finish();
}

/// Returns the spread of one figure over runs.
fn spread(runs: &[Run], figure: impl Fn(&Run) -> f64) -> Spread {
    Spread::of(runs.iter().map(figure))
}
