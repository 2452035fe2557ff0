// SPDX-License-Identifier: GPL-2.0

//! What tests can ask of the stand-in.

use std::cell::Cell;
use std::fmt;

thread_local! {
    static FAIL: Cell<Option<usize>> = const { Cell::new(None) };
    static LOGGED: Cell<usize> = const { Cell::new(0) };

    /// Whether this thread is not to start I/O.
    pub(crate) static NO_IO: Cell<bool> = const { Cell::new(false) };
}

/// Has one allocation of this thread fail, after `nth` that don't; [`None`] has none fail.
///
/// Returns whether the one that was asked for before is still to come.
pub fn fail_nth(nth: Option<usize>) -> bool {
    FAIL.replace(nth).is_some()
}

/// Returns whether something that may fail is to succeed.
pub(crate) fn succeeds() -> bool {
    match FAIL.get() {
        Some(0) => {
            FAIL.set(None);
            false
        }
        Some(nth) => {
            FAIL.set(Some(nth - 1));
            true
        }
        None => true,
    }
}

/// Notes a message.
pub fn log(message: fmt::Arguments<'_>) {
    LOGGED.set(LOGGED.get() + 1);
    print!("{message}");
}

/// How many messages this thread has logged.
pub fn logged() -> usize {
    LOGGED.get()
}

/// Fails a test if something is not so, unless it has failed already: then much is not so that is
/// being cleaned up.
pub(crate) fn expect(is_so: bool, text: &str) {
    assert!(is_so || std::thread::panicking(), "{text}");
}
