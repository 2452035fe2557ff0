// SPDX-License-Identifier: GPL-2.0

//! Arrays of pages, against what they are compared with one by one.

use super::{check, check_one, Draws};
use crate::unpopulated::{
    chunk::{PassedPage, PoolPage},
    page_list::{address, copy, fill, is_page, is_run, is_same, run_length},
};
use kernel::bindings::{self, memory};
use std::mem::MaybeUninit;

/// A page as a caller passes it, or none.
pub(super) fn passed(nr: Option<usize>) -> Option<PassedPage> {
    // SAFETY: No page is looked at.
    unsafe { PassedPage::new(nr.map_or(std::ptr::null_mut(), memory::page)) }
}

/// The same as one of the pool.
pub(super) fn pool_page(nr: usize) -> Option<PoolPage> {
    passed(Some(nr)).map(PassedPage::as_pool_page)
}

/// An array in which nothing is yet.
fn entries(len: usize) -> Vec<MaybeUninit<*mut bindings::page>> {
    vec![MaybeUninit::new(std::ptr::null_mut()); len]
}

/// What is in an array.
fn contents(entries: &[MaybeUninit<*mut bindings::page>]) -> Vec<*mut bindings::page> {
    // SAFETY: All of them were written to when the array was made.
    entries
        .iter()
        .map(|entry| unsafe { entry.assume_init() })
        .collect()
}

#[test]
fn filled_with_a_run() {
    for len in 0..200 {
        let mut array = entries(len + 1);

        fill(&mut array[..len], memory::page(77));

        let mut expected: Vec<_> = (0..len).map(|nr| memory::page(77 + nr)).collect();

        expected.push(std::ptr::null_mut());
        assert_eq!(contents(&array), expected);
    }
}

#[test]
fn copied_one_by_one() {
    for len in 0..40 {
        let mut array = entries(len + 1);
        let pages: Vec<_> = (0..len).map(|nr| pool_page(7 * nr % 31)).collect();

        assert!(copy(&mut array[..len], &pages));

        let mut expected: Vec<_> = (0..len).map(|nr| memory::page(7 * nr % 31)).collect();

        expected.push(std::ptr::null_mut());
        assert_eq!(contents(&array), expected);
    }
    assert!(!copy(&mut entries(1), &[None]));
    assert!(!copy(&mut entries(5), &[None; 5]));
}

#[test]
fn compared_one_by_one() {
    let make = |draws: &mut Draws| {
        let numbers = draws.list(100, |draws| {
            let number = draws.below(1000);

            (draws.below(50) > 0).then_some(number)
        });

        (numbers, draws.draw(), draws.flag())
    };

    check_one(make, |(numbers, at, same)| {
        let same = *same;
        let pages: Vec<_> = numbers.iter().map(|nr| passed(*nr)).collect();
        let mut others: Vec<_> = numbers.iter().map(|nr| nr.and_then(pool_page)).collect();

        if !same && !others.is_empty() {
            let at = at % others.len();

            others[at] = pool_page(1001);
        }
        assert_eq!(is_same(&pages, &others), same || others.is_empty());
        for (page, other) in pages.iter().zip(&others) {
            assert_eq!(
                is_page(page, other),
                address(page) == other.map_or(0, PoolPage::addr)
            );
        }
    });
}

#[test]
fn runs_end_where_they_do() {
    let make = |first: &mut Draws, steps: Vec<Draws>| {
        let piece = |mut draws: Draws| {
            let number = draws.below(9);

            ((draws.below(9) > 0).then_some(number), draws.within(1..140))
        };

        (
            steps.into_iter().map(piece).collect::<Vec<_>>(),
            first.below(300),
        )
    };

    check(3, make, |(pieces, max)| {
        let max = *max;
        let mut numbers = Vec::new();

        for &(first, len) in pieces {
            match first {
                Some(first) => numbers.extend((0..len).map(|nr| Some(100 * first + nr))),
                None => numbers.push(None),
            }
        }

        let pages: Vec<_> = numbers.iter().map(|nr| passed(*nr)).collect();
        let follows = |at: usize| match (numbers[0], numbers[at]) {
            (Some(first), Some(nr)) => nr == first + at,
            (None, None) => at == 0,
            _ => false,
        };
        let len = (0..numbers.len()).take_while(|at| follows(*at)).count();

        // No page is not followed by one that has an address.
        if numbers.first() != Some(&None) {
            assert_eq!(run_length(&pages, max), len.min(max));
            assert_eq!(is_run(&pages), len == numbers.len());
        }
    });
}
