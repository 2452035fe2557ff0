// SPDX-License-Identifier: GPL-2.0

//! Tests against models: of all short sequences of operations, and of long ones at random.
//!
//! `XEN_HOST_SECONDS` is for how long each random test goes on (once through without it), and
//! `XEN_HOST_SEED` what it begins with. A sequence that fails is made as short as possible.
//! `XEN_HOST_CASES` is how many sequences once through are, `XEN_HOST_SHRINK` how often it is tried
//! to make one shorter, and `XEN_HOST_DEPTH` by how much longer than usual the short ones are.

use proptest::{
    arbitrary::any,
    collection::vec,
    test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner},
};
use std::{
    backtrace::Backtrace,
    env, fmt,
    ops::Range,
    panic,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

mod address;
mod cache;
mod free_map;
mod growth;
mod index;
mod list;
mod operations;
mod page_list;
mod pool;
mod quarantine;
mod ready;
mod run_map;

/// Cases of a round, if nothing else is asked for.
const CASES: u64 = 200;

/// How often it is tried to make a failure shorter.
const SHRINK: u64 = 20_000;

/// What a case is made of: numbers for what there is at first, and for each step.
type Numbers = ([u32; 12], Vec<[u32; 6]>);

/// A number in the environment.
fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;

    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
    )
}

/// Numbers to make something of: the lower they are, the simpler it is to be.
#[derive(Clone)]
struct Draws {
    numbers: std::vec::IntoIter<u32>,
    last: u32,
}

impl Draws {
    fn new(numbers: &[u32]) -> Self {
        Self {
            numbers: numbers.to_vec().into_iter(),
            last: 0,
        }
    }

    /// The next number. Where there are no more they are made of the last one.
    fn draw(&mut self) -> usize {
        self.last = match self.numbers.next() {
            Some(number) => number,
            None => self.last.wrapping_mul(0x9e37_79b1) ^ self.last >> 15,
        };
        self.last as usize
    }

    /// A number that is less than another.
    fn below(&mut self, limit: usize) -> usize {
        self.draw() % limit
    }

    fn within(&mut self, range: Range<usize>) -> usize {
        range.start + self.below(range.len())
    }

    fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    /// The place of one of these weights.
    fn weighted(&mut self, weights: &[usize]) -> usize {
        let mut at = self.below(weights.iter().sum());

        for (place, weight) in weights.iter().enumerate() {
            if at < *weight {
                return place;
            }
            at -= weight;
        }
        unreachable!()
    }

    /// Up to so many of what `f` makes.
    fn list<T>(&mut self, most: usize, mut f: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let len = self.below(most + 1);

        (0..len).map(|_| f(self)).collect()
    }
}

/// Runs `test` with random numbers, and returns what the shortest failure says, and its numbers.
fn run_round(seed: u64, steps: usize, test: &dyn Fn(&Numbers)) -> Option<(String, Numbers)> {
    let mut bytes = [0; 32];
    let config = Config {
        cases: number("XEN_HOST_CASES").unwrap_or(CASES) as u32,
        failure_persistence: None,
        max_shrink_iters: number("XEN_HOST_SHRINK").unwrap_or(SHRINK) as u32,
        ..Config::default()
    };

    bytes[..8].copy_from_slice(&seed.to_le_bytes());

    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let strategy = (any::<[u32; 12]>(), vec(any::<[u32; 6]>(), 0..=steps));
    let hook = panic::take_hook();
    let last = Arc::new(Mutex::new(String::new()));
    let noted = last.clone();

    // On the way to the shortest sequence there are many that fail.
    panic::set_hook(Box::new(move |info| {
        *noted.lock().unwrap() = format!("{info}\n{}", Backtrace::capture());
    }));

    let result = TestRunner::new_with_rng(config, rng).run(&strategy, |numbers| {
        test(&numbers);
        Ok(())
    });

    panic::set_hook(hook);
    match result {
        Ok(()) => None,
        Err(TestError::Fail(_, numbers)) => Some((last.lock().unwrap().clone(), numbers)),
        Err(error) => panic!("{error}"),
    }
}

/// Has `test` check what `make` makes of random numbers, of those of up to `steps` steps too.
fn check<T: fmt::Debug>(
    steps: usize,
    make: impl Fn(&mut Draws, Vec<Draws>) -> T,
    test: impl Fn(&T),
) {
    let begin = Instant::now();
    let time = Duration::from_secs(number("XEN_HOST_SECONDS").unwrap_or(0));
    let seed = number("XEN_HOST_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);

        now.map_or(1, |now| now.as_nanos() as u64)
    });
    let made = |(first, steps): &Numbers| {
        make(
            &mut Draws::new(first),
            steps.iter().map(|step| Draws::new(step)).collect(),
        )
    };

    for seed in seed.. {
        println!("XEN_HOST_SEED={seed}");
        if let Some((text, numbers)) = run_round(seed, steps, &|numbers| test(&made(numbers))) {
            panic!(
                "{text}\nwith {:#?}\nagain with XEN_HOST_SEED={seed}",
                made(&numbers)
            );
        }
        if begin.elapsed() >= time {
            break;
        }
    }
}

/// Has `test` check what `make` makes of a few random numbers.
fn check_one<T: fmt::Debug>(make: impl Fn(&mut Draws) -> T, test: impl Fn(&T)) {
    check(0, |draws, _| make(draws), test);
}

/// Calls `test` with each sequence of up to `depth` of these operations, or of more as asked for.
fn all_sequences<T: Clone>(operations: &[T], depth: usize, test: &mut impl FnMut(&[T])) {
    fn extend<T: Clone>(
        operations: &[T],
        depth: usize,
        sequence: &mut Vec<T>,
        test: &mut impl FnMut(&[T]),
    ) {
        if depth == 0 {
            // Those that are shorter are the beginning of one of these.
            return test(sequence);
        }
        for operation in operations {
            sequence.push(operation.clone());
            extend(operations, depth - 1, sequence, test);
            sequence.pop();
        }
    }

    let more = number("XEN_HOST_DEPTH").unwrap_or(0) as usize;

    extend(operations, depth + more, &mut Vec::new(), test);
}

/// Calls `test` with a failure of the first allocation, of the second and so on, up to where there
/// are no more. `test` returns whether it did what was asked for.
///
/// Returns how many there are.
fn fail_each(mut test: impl FnMut(usize) -> bool) -> usize {
    for nth in 0.. {
        kernel::host::fail_nth(Some(nth));

        let is_done = test(nth);

        if kernel::host::fail_nth(None) {
            assert!(is_done, "without a failure");
            return nth;
        }
    }
    unreachable!()
}
