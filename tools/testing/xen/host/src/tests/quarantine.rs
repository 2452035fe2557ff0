// SPDX-License-Identifier: GPL-2.0

//! What is still held, against a list of numbers.

use super::{check, fail_each, Draws};
use crate::grant_dma_ops::quarantine::{Held, Quarantine};
use kernel::prelude::*;
use std::{cell::RefCell, rc::Rc};

/// Is held until it has been tried to release it so many times. Notes when it is gone.
struct Thing {
    left: u32,
    number: usize,
    gone: Rc<RefCell<Vec<usize>>>,
}

impl Held for Thing {
    fn release(mut self) -> Result<(), Self> {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Err(self)
            }
            None => Ok(()),
        }
    }
}

impl Drop for Thing {
    fn drop(&mut self) {
        self.gone.borrow_mut().push(self.number);
    }
}

#[test]
fn nothing_is_lost_or_released_early() {
    let operation = |mut draws: Draws| {
        let left = draws.below(4) as u32;

        draws.flag().then_some(left)
    };
    let operations =
        |_: &mut Draws, steps: Vec<Draws>| -> Vec<_> { steps.into_iter().map(operation).collect() };

    check(60, operations, |ops| {
        let gone = Rc::new(RefCell::new(Vec::new()));
        let mut expected = Vec::new();
        let mut there: Vec<(usize, u32)> = Vec::new();
        let mut list = Quarantine::new();

        for (number, op) in ops.iter().enumerate() {
            match *op {
                Some(left) => {
                    let thing = Thing {
                        left,
                        number,
                        gone: gone.clone(),
                    };

                    fail_each(|_| {
                        // It comes back if there is no memory.
                        let probe = Thing {
                            left,
                            number: usize::MAX,
                            gone: Rc::default(),
                        };

                        match Quarantine::of(probe, GFP_ATOMIC) {
                            Ok(one) => !one.is_empty(),
                            Err(probe) => {
                                assert_eq!(probe.number, usize::MAX);
                                false
                            }
                        }
                    });
                    list.append(Quarantine::of(thing, GFP_ATOMIC).ok().unwrap());
                    there.push((number, left));
                }
                None => {
                    // Others come while it is tried again.
                    let held = list.take();

                    assert!(list.is_empty());
                    list.append(held.retry());
                    there.retain_mut(|(number, left)| match left.checked_sub(1) {
                        Some(less) => {
                            *left = less;
                            true
                        }
                        None => {
                            expected.push(*number);
                            false
                        }
                    });
                }
            }
            gone.borrow_mut().sort();
            expected.sort();
            assert_eq!(*gone.borrow(), expected);
            assert_eq!(list.is_empty(), there.is_empty());
        }
    });
}
