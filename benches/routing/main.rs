//! `cargo bench --bench routing`: what a proxy costs, in every mode, beside memcached's own routes and one memcached alone.
//! Owns the workloads, the ratios and the goals that they are held to; ends with an error only when something broke.
//! `-- --quick` measures a tenth of it, `-- -o json` prints one object of all tables.
//!
//! Client, proxy and servers share the machine, so only ratios mean anything, and only those of one run: each workload
//! goes to all subjects in turn, several times, and a ratio is the median over these rounds.
#![allow(clippy::unwrap_used)]

// Of the contract's tests: the injector's own generator writes every configuration.
#[allow(dead_code, clippy::panic)]
#[path = "../../tests/contract/layout.rs"]
mod layout;
mod memory;
mod scale;
mod subjects;

use std::env;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use subjects::{ALL, Name, Subjects, place};
use testbed::load::{self, Command, Outcome, Shape};
use testbed::report::{Cell, Style, Table};
use testbed::usage;

/// How long one subject is loaded at a time.
const SLICE: Duration = Duration::from_millis(200);
/// How many times each workload goes round.
const ROUNDS: usize = 5;
/// The same for one that a goal is about, which a busy neighbour of this machine must not decide.
const GOAL_ROUNDS: usize = 15;
/// Requests in flight on a connection that pipelines.
const DEEP: usize = 16;
/// What the goals are about, where they name no other.
const USUAL: Shape = Shape { connections: 16, depth: DEEP, size: 100, writes: 10, write: Command::Set, keys: 1000 };
/// One request after the other.
const ALONE: Shape = Shape { connections: 1, depth: 1, ..USUAL };

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let json = arguments.windows(2).any(|pair| pair == ["-o", "json"]);
    let tables = measure(quick)?;
    if json {
        let named = tables.iter().map(|(name, table)| ((*name).to_owned(), table.objects()));
        println!("{:#}", Value::Object(named.collect()));
    } else {
        let style = Style::of_stdout();
        let text = tables.iter().map(|(_, table)| table.render(style));
        print!("{}", text.collect::<Vec<_>>().join("\n"));
    }
    Ok(())
}

/// Everything, by the name that a script knows it by.
fn measure(quick: bool) -> Result<Vec<(&'static str, Table)>> {
    let memory = memory::measure()?;
    let scale = scale::measure()?;
    let subjects = Subjects::start()?;
    let workloads = if quick { vec![ALONE, USUAL] } else { every_workload() };
    let mut rates = table("requests/s as ratio to direct");
    let mut cost = table("processor time of proxy (direct: server), us/request");
    for (number, shape) in workloads.iter().enumerate() {
        eprintln!("{} of {}: {}", number + 1, workloads.len(), described(shape));
        let measured = Measured::of(&subjects, shape, ROUNDS)?;
        rates.row(measured.rates(shape));
        cost.row(measured.costs(shape));
    }
    let times = Times::of(&subjects)?;
    let goals = goals(&subjects, &times, memory, &scale)?;
    Ok(vec![
        ("rates", rates),
        ("processor", cost),
        ("times", times.table()),
        ("view", scale.table()),
        ("memory", memory.table(&scale)),
        ("goals", goals),
    ])
}

fn every_workload() -> Vec<Shape> {
    let mut shapes = Vec::new();
    for (size, keys) in [(100, 1000), (4096, 1000), (100_000, 100)] {
        for writes in [10, 50] {
            for depth in [1, DEEP] {
                let of = |connections| Shape { connections, depth, size, writes, write: Command::Set, keys };
                shapes.extend([1, 16, 128].map(of));
            }
        }
    }
    shapes
}

fn table(what: &str) -> Table {
    let mut head = vec![what];
    head.extend(ALL.iter().map(|(_, name)| *name));
    Table::new(&head)
}

fn described(shape: &Shape) -> String {
    let Shape { connections, depth, size, writes, .. } = shape;
    format!("{connections} x {depth} in flight, {size} B, {}/{writes}", 100 - writes)
}

/// One workload on all subjects, round after round.
struct Measured {
    rounds: Vec<Vec<(Outcome, Duration)>>,
}

impl Measured {
    fn of(subjects: &Subjects, shape: &Shape, rounds: usize) -> Result<Self> {
        let prefix = |name| format!("{}{}", place(name), shape.size);
        for (name, _) in ALL {
            load::fill(subjects.address(name), &prefix(name), shape)?;
        }
        let mut measured = Self { rounds: Vec::new() };
        for _ in 0..rounds {
            let one = |name: Name| -> Result<(Outcome, Duration)> {
                let before = usage::cpu(subjects.pid(name))?;
                let outcome = load::run(subjects.address(name), &prefix(name), shape, SLICE)?;
                Ok((outcome, usage::cpu(subjects.pid(name))? - before))
            };
            measured.rounds.push(ALL.iter().map(|(name, _)| one(*name)).collect::<Result<_>>()?);
        }
        Ok(measured)
    }

    /// Requests a second of one, as ratio to another's.
    fn ratio(&self, of: Name, to: Name) -> f64 {
        let rate = |round: &[(Outcome, Duration)], name| round[place(name)].0.rate();
        median(self.rounds.iter().map(|round| rate(round, of) / rate(round, to)).collect())
    }

    fn rates(&self, shape: &Shape) -> Vec<Cell> {
        let direct = median(self.rounds.iter().map(|round| round[place(Name::Direct)].0.rate()).collect());
        let ratios = ALL[1..].iter().map(|(name, _)| format!("{:.2}", self.ratio(*name, Name::Direct)).into());
        [described(shape).into(), format!("{direct:.0}/s").into()].into_iter().chain(ratios).collect()
    }

    fn costs(&self, shape: &Shape) -> Vec<Cell> {
        let cost = |name: Name| {
            let one = |(outcome, cpu): &(Outcome, Duration)| cpu.as_secs_f64() / count(outcome) * 1e6;
            let all = self.rounds.iter().map(|round| one(&round[place(name)]));
            format!("{:.1}", median(all.collect())).into()
        };
        [described(shape).into()].into_iter().chain(ALL.iter().map(|(name, _)| cost(*name))).collect()
    }
}

#[allow(clippy::cast_precision_loss)] // far below 2^52
fn count(outcome: &Outcome) -> f64 {
    outcome.requests as f64
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// How long one request takes when nothing else is going on: kind of request, then subject, then round.
struct Times([(&'static str, Vec<Vec<Duration>>); 3]);

impl Times {
    fn of(subjects: &Subjects) -> Result<Self> {
        let shape = |write, writes| Shape { write, writes, ..ALONE };
        let measure = |what, shape: &Shape| -> Result<(&'static str, Vec<Vec<Duration>>)> {
            let measured = Measured::of(subjects, shape, GOAL_ROUNDS)?;
            let of = |place: usize| measured.rounds.iter().map(|round| round[place].0.median()).collect();
            Ok((what, (0..ALL.len()).map(of).collect()))
        };
        Ok(Self([
            measure("get", &shape(Command::Set, 0))?,
            measure("set", &shape(Command::Set, 100))?,
            measure("incr", &shape(Command::Incr, 100))?,
        ]))
    }

    /// The time of one as ratio to another's; `what` is the kind of request.
    fn ratio(&self, what: &str, of: Name, to: Name) -> f64 {
        let times = self.0.iter().find(|(kind, _)| *kind == what).map(|(_, times)| times).unwrap();
        let rounds = times[place(of)].iter().zip(&times[place(to)]);
        median(rounds.map(|(of, to)| of.as_secs_f64() / to.as_secs_f64()).collect())
    }

    /// How many gets follow upon each other in the time of one to a memcached of one's own.
    fn hit(&self, of: Name) -> f64 {
        1.0 / self.ratio("get", of, Name::Direct)
    }

    fn table(&self) -> Table {
        let mut table = table("one connection, one request: median, us");
        for (what, times) in &self.0 {
            let cell = |times: &Vec<Duration>| {
                format!("{:.0}", median(times.iter().map(Duration::as_secs_f64).collect()) * 1e6).into()
            };
            table.row([Cell::from(*what)].into_iter().chain(times.iter().map(cell)).collect());
        }
        table
    }
}

/// What we want, and what it came to.
fn goals(subjects: &Subjects, times: &Times, memory: memory::Memory, scale: &scale::Cost) -> Result<Table> {
    let usual = Measured::of(subjects, &USUAL, GOAL_ROUNDS)?;
    let hits = Measured::of(subjects, &Shape { writes: 0, ..USUAL }, GOAL_ROUNDS)?;
    let mut table = Table::new(&["goal", "wanted", "measured", ""]);
    let mut goal = |what: &str, measured: f64, sign: &str, wanted: f64| {
        let kept = if sign == ">=" { measured >= wanted } else { measured <= wanted };
        let verdict = if kept { "met" } else { "not met" };
        table.row(vec![
            what.into(),
            format!("{sign} {wanted}").into(),
            format!("{measured:.2}").into(),
            verdict.into(),
        ]);
    };
    goal("coherent to allfastest, requests/s, pipelined", usual.ratio(Name::Coherent, Name::Allfastest), ">=", 0.8);
    let [get, set, incr] = ["get", "set", "incr"].map(|what| times.ratio(what, Name::Coherent, Name::Allfastest));
    goal("coherent to allfastest, time of a get", get, "<=", 1.05);
    goal("coherent to allfastest, time of a set", set, "<=", 1.3);
    goal("coherent to allfastest, time of an incr", incr, "<=", 2.0);
    goal("sharded to routelib's hash, requests/s, pipelined", usual.ratio(Name::Sharded, Name::Hash), ">=", 0.95);
    goal("local hit in the proxy to direct, one request", times.hit(Name::Internal), ">=", 0.9);
    goal("local hit in a container to direct, one request", times.hit(Name::Container), ">=", 0.9);
    goal("local hit in the proxy to direct, pipelined", hits.ratio(Name::Internal, Name::Direct), ">=", 0.9);
    goal("local hit in a container to direct, pipelined", hits.ratio(Name::Container, Name::Direct), ">=", 0.9);
    // Not goals of the project: how far the two above are from the best that a route can do, which is to pass the request on.
    goal(
        "local hit in the proxy to the least route, pipelined",
        hits.ratio(Name::Internal, Name::LeastInternal),
        ">=",
        0.9,
    );
    goal(
        "local hit in a container to the least route, pipelined",
        hits.ratio(Name::Container, Name::LeastContainer),
        ">=",
        0.9,
    );
    goal("resident memory of an idle proxy, MB", memory.idle, "<=", 8.0);
    goal("with 1,024 requests in flight, MB", memory.busy, "<=", 40.0);
    goal("1,000 proxies' readings of the view, cores of a server", scale.core(), "<=", 0.1);
    Ok(table)
}
