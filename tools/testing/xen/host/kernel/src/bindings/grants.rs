// SPDX-License-Identifier: GPL-2.0

//! The grant table.

use super::{domid_t, grant_ref_t};
use crate::ffi::{c_int, c_uint, c_ulong};
use crate::host;
use crate::sync::Lock;
use std::collections::BTreeMap;

/// The first reference; those before are Xen's.
pub const FIRST: grant_ref_t = 8;

/// What a reference gives access to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    pub domain: domid_t,
    pub frame: c_ulong,
    pub readonly: bool,
    /// The other domain has mapped it.
    pub held: bool,
}

/// A reference that is allocated.
#[derive(Default)]
struct Entry {
    access: Option<Access>,
    frame: c_ulong,
    /// It is freed when it is not held any more.
    deferred: bool,
}

/// The table.
struct Table {
    capacity: u32,
    entries: BTreeMap<grant_ref_t, Entry>,
}

static TABLE: Lock<Table> = Lock::new(Table {
    capacity: 0,
    entries: BTreeMap::new(),
});

/// Begins anew with a table for so many references; none is no Xen.
pub fn reset(capacity: u32) {
    *TABLE.lock() = Table {
        capacity,
        entries: BTreeMap::new(),
    };
}

/// How many references are allocated.
pub fn nr_allocated() -> usize {
    TABLE.lock().entries.len()
}

/// What a reference gives access to.
pub fn access(reference: grant_ref_t) -> Option<Access> {
    TABLE.lock().entries.get(&reference)?.access
}

/// All that is granted.
pub fn granted() -> Vec<(grant_ref_t, Access)> {
    let table = TABLE.lock();

    table
        .entries
        .iter()
        .filter_map(|(reference, entry)| Some((*reference, entry.access?)))
        .collect()
}

/// Has the other domain map what a reference gives access to, or unmap it.
pub fn hold(reference: grant_ref_t, held: bool) {
    let mut table = TABLE.lock();
    let entry = table.entries.get_mut(&reference).unwrap();

    entry.access.as_mut().unwrap().held = held;
    if entry.deferred && !held {
        table.entries.remove(&reference);
    }
}

impl Table {
    /// Ends access, unless it is in use.
    fn end(&mut self, reference: grant_ref_t) -> bool {
        let Some(entry) = self.entries.get_mut(&reference) else {
            host::expect(false, "not allocated");
            return true;
        };

        if entry.access.is_some_and(|access| access.held) {
            return false;
        }
        entry.access = None;
        true
    }
}

/// Those that are called from Rust.
pub mod functions {
    use super::*;

    pub unsafe fn gnttab_capacity() -> c_uint {
        TABLE.lock().capacity
    }

    pub unsafe fn gnttab_alloc_grant_reference_run(
        count: c_uint,
        reserve: c_uint,
        first: *mut grant_ref_t,
    ) -> c_int {
        let mut table = TABLE.lock();

        if table.capacity == 0 {
            return -19;
        }
        if count == 0 {
            return -22;
        }

        let left = table.capacity - table.entries.len() as u32;

        if left < reserve || left - reserve < count || !host::succeeds() {
            return -28;
        }

        let mut at = FIRST;

        for &other in table.entries.keys() {
            if at + count <= other {
                break;
            }
            at = other + 1;
        }
        if at + count > FIRST + table.capacity {
            return -28;
        }
        for reference in at..at + count {
            table.entries.insert(reference, Entry::default());
        }
        // SAFETY: As required from the caller.
        unsafe { first.write(at) };
        0
    }

    pub unsafe fn gnttab_free_grant_reference_run(first: grant_ref_t, count: c_uint) {
        let mut table = TABLE.lock();

        for reference in first..first + count {
            let entry = table.entries.remove(&reference);

            host::expect(
                entry.is_some_and(|entry| entry.access.is_none()),
                "freed wrongly",
            );
        }
    }

    pub unsafe fn gnttab_grant_foreign_access_run(
        first: grant_ref_t,
        count: c_uint,
        domain: domid_t,
        frame: c_ulong,
        readonly: bool,
    ) {
        let mut table = TABLE.lock();

        for nr in 0..count {
            let entry = table.entries.get_mut(&(first + nr)).expect("not allocated");

            assert!(entry.access.is_none(), "granted twice");
            entry.frame = frame + nr as c_ulong;
            entry.access = Some(Access {
                domain,
                frame: entry.frame,
                readonly,
                held: false,
            });
        }
    }

    pub unsafe fn gnttab_end_foreign_access_run(first: grant_ref_t, count: c_uint) -> c_uint {
        let mut table = TABLE.lock();

        (0..count).take_while(|nr| table.end(first + nr)).count() as c_uint
    }

    pub unsafe fn gnttab_end_foreign_access(reference: grant_ref_t, _: *mut super::super::page) {
        let mut table = TABLE.lock();

        if table.end(reference) {
            table.entries.remove(&reference);
        } else if let Some(entry) = table.entries.get_mut(&reference) {
            entry.deferred = true;
        }
    }

    pub unsafe fn gnttab_granted_frame(reference: grant_ref_t) -> c_ulong {
        TABLE.lock().entries[&reference].frame
    }
}
