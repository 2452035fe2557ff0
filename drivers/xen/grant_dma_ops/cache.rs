// SPDX-License-Identifier: GPL-2.0

//! References that a device keeps for itself, so that most mappings need no others.

use super::run_map::{
    Put,
    RunMap, //
};
use kernel::xen::grant::{
    GrantRef,
    References, //
};

pub(crate) use super::run_map::BLOCK;

/// A block of references, some of which may be handed out.
///
/// # Invariants
///
/// The references that are idle in `map`, counted from `base` on, are owned by this object, and no
/// access is granted with them. Those that are owned in `map` but not idle were owned by it before
/// they were handed out.
pub(crate) struct Cache {
    base: GrantRef,
    map: RunMap,
}

impl Cache {
    /// A cache of nothing.
    #[inline]
    pub(crate) const fn empty() -> Self {
        // INVARIANT: Nothing is idle, and nothing handed out.
        Self {
            base: GrantRef::new(0),
            map: RunMap::empty(),
        }
    }

    /// Returns whether there is neither a reference here nor one handed out that belongs here.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// How many references can be had.
    #[inline]
    pub(crate) fn nr_idle(&self) -> u32 {
        self.map.nr_idle()
    }

    /// Hands out `count` references.
    #[inline]
    pub(crate) fn take(&mut self, count: u32) -> Option<References> {
        let at = self.map.take(count)?;

        // SAFETY: By the type invariants these were owned by the cache, and now are owned by
        // nobody else. `take` does not return anything for a `count` of zero.
        Some(unsafe { References::from_raw(self.base.following(at), count) })
    }

    /// Takes references back, or returns them if they do not belong here.
    #[inline]
    pub(crate) fn put(&mut self, references: References) -> Option<References> {
        let at = references.first().as_raw().wrapping_sub(self.base.as_raw());

        match self.map.put(at, references.count()) {
            Put::Done => {
                // INVARIANT: They are owned by the cache now, and by nobody else.
                let _ = references.into_raw();
                None
            }
            Put::Stranger => Some(references),
            Put::Twice => {
                // The buffer has been unmapped twice. The references are where they belong.
                kernel::pr_warn_once!("buffer unmapped twice\n");
                let _ = references.into_raw();
                None
            }
        }
    }

    /// Makes an empty cache one of up to [`BLOCK`] references, and returns those beyond.
    pub(crate) fn fill(&mut self, references: References) -> Option<References> {
        if !self.is_empty() {
            return Some(references);
        }

        let (block, rest) = match references.split_at(BLOCK) {
            Ok((block, rest)) => (block, Some(rest)),
            Err(block) => (block, None),
        };
        let (base, count) = block.into_raw();

        // INVARIANT: The references were owned by `block`.
        *self = Self {
            base,
            map: RunMap::full(count),
        };
        rest
    }

    /// Hands out up to `count` references, wherever they are.
    ///
    /// They must be put back with [`Self::put_all`] if they are not used.
    #[inline]
    pub(crate) fn lend(&mut self, count: u32) -> Self {
        // INVARIANT: What is idle in the other cache now was idle in this one, and is no more.
        Self {
            base: self.base,
            map: self.map.lend(count),
        }
    }

    /// Makes a cache that takes what belongs to this one, to be put back with [`Self::put_all`].
    #[inline]
    pub(crate) fn collector(&self) -> Self {
        // INVARIANT: Nothing is idle in the other cache.
        Self {
            base: self.base,
            map: self.map.collector(),
        }
    }

    /// Takes back what is in a cache that [`Self::lend`] or [`Self::collector`] of this one
    /// returned.
    #[inline]
    pub(crate) fn put_all(&mut self, other: Self) {
        // The base changes only while nothing is handed out.
        if self.base == other.base {
            // INVARIANT: What is idle in `other` is owned by it, and is handed over.
            self.map.put_all(other.map);
        }
    }

    /// Gives up what is not handed out, to be taken out of what this returns.
    pub(crate) fn drain(&mut self) -> Drained {
        // INVARIANT: What is idle in the other cache is not part of this one any more.
        Drained(Self {
            base: self.base,
            map: self.map.drain(),
        })
    }
}

/// What a cache has given up. It becomes available to all by dropping this.
pub(crate) struct Drained(Cache);

impl Drop for Drained {
    fn drop(&mut self) {
        while let Some((at, count)) = self.0.map.take_run() {
            // SAFETY: By the type invariants of the cache these are owned, now by nobody else, and
            // no access is granted. A run is not empty.
            drop(unsafe { References::from_raw(self.0.base.following(at), count) });
        }
    }
}
