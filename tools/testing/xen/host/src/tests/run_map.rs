// SPDX-License-Identifier: GPL-2.0

//! Which references of a block are idle, against sets.

use super::{check, check_one, Draws};
use crate::grant_dma_ops::run_map::{find, lowest_of, mask, Put, RunMap, BLOCK};
use std::collections::BTreeSet;

fn set(bits: u64) -> BTreeSet<u32> {
    (0..BLOCK).filter(|at| bits >> at & 1 != 0).collect()
}

/// A word, mostly one in which there are runs.
fn word(draws: &mut Draws) -> u64 {
    let mut any = || (draws.draw() as u64) << 32 | draws.draw() as u64;
    let (one, other, kind) = (any(), any(), any() % 4);

    match kind {
        0 => one,
        1 => one & other,
        2 => one | other | one.rotate_left(7),
        _ => {
            let (from, to) = (one % 65, other % 65);

            (from.min(to)..from.max(to)).fold(0, |bits, at| bits | 1 << at)
        }
    }
}

#[test]
fn what_is_found_is_there_and_lowest() {
    let make = |draws: &mut Draws| (word(draws), draws.below(BLOCK as usize + 2) as u32);

    check_one(make, |&(bits, nr)| {
        let there = set(bits);
        let start = (0..BLOCK).find(|at| nr > 0 && (*at..at + nr).all(|at| there.contains(&at)));
        let expected = start.map(|at| (at, (at..at + nr).fold(0, |bits, at| bits | 1 << at)));

        assert_eq!(find(bits, nr), expected);
        assert_eq!(
            set(lowest_of(bits, nr)),
            there.into_iter().take(nr as usize).collect()
        );
    });
}

#[test]
fn all_masks() {
    for at in 0..BLOCK + 2 {
        for nr in 0..BLOCK + 2 {
            let fits = nr > 0 && at + nr <= BLOCK;
            let expected =
                (at..at + nr).fold(0, |bits, at| bits | 1u64.checked_shl(at).unwrap_or(0));

            assert_eq!(mask(at, nr), fits.then_some(expected));
        }
    }
}

#[test]
fn random_operations() {
    let make = |first: &mut Draws, steps: Vec<Draws>| {
        let most = [BLOCK as usize + 2, 5][first.below(2)];
        let operation = |mut draws: Draws| {
            let at = draws.below(BLOCK as usize + 2) as u32;

            (draws.below(4), at, draws.below(most) as u32)
        };

        (
            word(first),
            first.flag(),
            steps.into_iter().map(operation).collect::<Vec<_>>(),
        )
    };

    check(60, make, |(bits, lent, ops)| {
        let (bits, lent) = (*bits, *lent);
        let owned = set(bits);
        let mut idle = if lent { owned.clone() } else { BTreeSet::new() };
        let mut map = if lent {
            RunMap::lent(bits)
        } else {
            RunMap::collector(bits)
        };

        for &(op, at, nr) in ops {
            match op {
                0 => {
                    let place = find(map.idle(), nr).map(|(at, _)| at);

                    assert_eq!(map.take(nr), place);
                    if let Some(at) = place {
                        assert!((at..at + nr).all(|at| idle.remove(&at)));
                    }
                }
                1 | 2 => {
                    let run = at..at + nr;
                    let expected = if nr == 0 || !run.clone().all(|at| owned.contains(&at)) {
                        Put::Stranger
                    } else if run.clone().any(|at| idle.contains(&at)) {
                        Put::Twice
                    } else {
                        idle.extend(run);
                        Put::Done
                    };

                    assert_eq!(map.put(at, nr), expected);
                }
                _ => {
                    let first = idle.first().copied();
                    let run = first.map(|first| {
                        let len = (first..).take_while(|at| idle.remove(at)).count();

                        (first, len as u32)
                    });

                    assert_eq!(map.take_run(), run);
                }
            }
            assert_eq!(set(map.idle()), idle);
        }
    });
}
