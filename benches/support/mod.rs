//! Measures work against a floor, alternating between both, so that other load on the computer affects both.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use criterion::measurement::{Measurement, ValueFormatter};
use criterion::{Criterion, SamplingMode, Throughput};

/// The time that `work` takes, including dropping its result.
pub fn time<T>(work: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    drop(black_box(work()));
    start.elapsed()
}

/// The comparisons of one benchmark, with their results.
pub struct Comparisons {
    criterion: Criterion<Ratio>,
    rows: Vec<String>,
    missed: bool,
}

impl Comparisons {
    pub fn new() -> Self {
        let criterion = Criterion::default().with_measurement(Ratio).without_plots().sample_size(20);
        Self { criterion: criterion.configure_from_args(), rows: Vec::new(), missed: false }
    }

    /// Measures for `seconds` how many times as long `work` takes as `floor`, which must be at most `bound`. Both
    /// do their work once and return the time that it took.
    pub fn compare(
        &mut self,
        name: &str,
        bound: f64,
        seconds: u64,
        mut work: impl FnMut() -> Duration,
        mut floor: impl FnMut() -> Duration,
    ) {
        let (mut works, mut floors) = (Vec::new(), Vec::new());
        let mut group = self.criterion.benchmark_group("ratio");
        group.sampling_mode(SamplingMode::Flat);
        group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(seconds));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|pairs| {
                let first = works.len();
                for _ in 0..pairs {
                    works.push(work());
                    floors.push(floor());
                }
                ratio(&works[first..], &floors[first..]) * pairs as f64
            });
        });
        group.finish();
        // A smoke run does everything once, and criterion's filter may skip it.
        if works.len() < 2 {
            return;
        }
        let ratio = ratio(&works, &floors);
        self.missed |= ratio > bound;
        self.rows.push(format!(
            "| {name} | {ratio:.3} | {bound} | {:.3} ms | {:.3} ms | {} |",
            milliseconds(&works),
            milliseconds(&floors),
            if ratio > bound { "**no**" } else { "yes" }
        ));
    }

    /// Prints the table for `BENCHES.md`. Fails if a bound is missed.
    pub fn finish(self) -> ExitCode {
        if !self.rows.is_empty() {
            println!("\n| what | ratio | bound | time | floor | met |\n|---|---|---|---|---|---|");
            self.rows.iter().for_each(|row| println!("{row}"));
            println!();
        }
        if self.missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

/// The ratio of the medians, which runs interrupted by other programs do not affect.
fn ratio(works: &[Duration], floors: &[Duration]) -> f64 {
    milliseconds(works) / milliseconds(floors)
}

fn milliseconds(times: &[Duration]) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

/// What criterion measures here: a ratio instead of a time.
struct Ratio;

impl Measurement for Ratio {
    type Intermediate = ();
    type Value = f64;

    fn start(&self) {}

    fn end(&self, (): ()) -> f64 {
        0.0
    }

    fn add(&self, one: &f64, other: &f64) -> f64 {
        one + other
    }

    fn zero(&self) -> f64 {
        0.0
    }

    fn to_f64(&self, value: &f64) -> f64 {
        *value
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        self
    }
}

impl ValueFormatter for Ratio {
    fn scale_values(&self, _: f64, _: &mut [f64]) -> &'static str {
        "×"
    }

    fn scale_throughputs(&self, _: f64, _: &Throughput, _: &mut [f64]) -> &'static str {
        "×"
    }

    fn scale_for_machines(&self, _: &mut [f64]) -> &'static str {
        "ratio"
    }
}
