// SPDX-License-Identifier: GPL-2.0

//! References that a device keeps for itself, so that most mappings need no others.

use super::run_map::{
    self,
    Put,
    RunMap, //
};
use kernel::{
    sync::atomic::{
        Acquire,
        Atomic,
        Relaxed,
        Release, //
    },
    xen::grant::{
        GrantRef,
        References, //
    }, //
};

pub(crate) use super::run_map::BLOCK;

/// A block of [`BLOCK`] references, some of which may be handed out.
///
/// All CPUs take from here and put back without a lock. The block is replaced only when none of its
/// references is here or handed out any more. Whoever puts a reference back that is not of this
/// block must see that, whichever blocks come and go meanwhile:
///
/// - `owned` is read before `base`, and is written after it. So `base` is at least as new.
/// - A block has references with all of the numbers from `base` on. So none of those that someone
///   else has is among them, and no place in `owned`, be it older, is looked at for it.
///
/// # Invariants
///
/// The references whose bits are set in `idle`, counted from `base` on, are owned by this object,
/// and no access is granted with them. Their bits are set in `owned` too. The other bits of `owned`
/// are of references that were owned by it before they were handed out.
pub(crate) struct Cache {
    base: Atomic<u32>,
    owned: Atomic<u64>,
    idle: Atomic<u64>,
}

/// Replaces a value by what `change` makes of it, and returns what it was.
///
/// `change` can be called more than once, and may return [`None`] to leave the value as it is.
#[inline(always)]
fn update<O: kernel::sync::atomic::ordering::Ordering>(
    value: &Atomic<u64>,
    ordering: impl Fn() -> O,
    mut change: impl FnMut(u64) -> Option<u64>,
) -> Option<u64> {
    let mut old = value.load(Relaxed);

    loop {
        match value.cmpxchg(old, change(old)?, ordering()) {
            Ok(_) => return Some(old),
            Err(now) => old = now,
        }
    }
}

impl Cache {
    /// A cache of nothing.
    pub(crate) const fn empty() -> Self {
        // INVARIANT: Nothing is idle, and nothing handed out.
        Self {
            base: Atomic::new(0),
            owned: Atomic::new(0),
            idle: Atomic::new(0),
        }
    }

    /// Returns whether there is neither a reference here nor one handed out that belongs here.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.owned.load(Relaxed) == 0
    }

    /// How many references are here or handed out.
    pub(crate) fn nr_owned(&self) -> u32 {
        self.owned.load(Relaxed).count_ones()
    }

    /// How many references can be had.
    pub(crate) fn nr_idle(&self) -> u32 {
        self.idle.load(Relaxed).count_ones()
    }

    /// The first reference of the block. It does not change while a reference is handed out.
    #[inline]
    fn base(&self) -> GrantRef {
        GrantRef::new(self.base.load(Relaxed))
    }

    /// Hands out a reference.
    #[inline(always)]
    pub(crate) fn take_one(&self) -> Option<References> {
        let idle = update(
            &self.idle,
            || Acquire,
            |idle| (idle != 0).then(|| run_map::without_first(idle)),
        )?;
        let first = self.base().following(idle.trailing_zeros());

        // SAFETY: By the type invariants it was owned by the cache, and now is owned by nobody
        // else.
        Some(unsafe { References::from_raw(first, 1) })
    }

    /// Hands out `count` references.
    #[inline]
    pub(crate) fn take(&self, count: u32) -> Option<References> {
        let mut at = 0;

        update(
            &self.idle,
            || Acquire,
            |idle| {
                let run;

                (at, run) = run_map::find(idle, count)?;
                Some(idle & !run)
            },
        )?;

        // SAFETY: By the type invariants these were owned by the cache, and now are owned by
        // nobody else. `find` does not return anything for a `count` of zero.
        Some(unsafe { References::from_raw(self.base().following(at), count) })
    }

    /// Takes references back, or returns them if they do not belong here.
    #[inline]
    pub(crate) fn put(&self, references: References) -> Option<References> {
        let owned = self.owned.load(Acquire);
        let at = distance(self.base(), &references);
        let Some(run) = run_map::mask(at, references.count()) else {
            return Some(references);
        };

        if owned & run != run {
            return Some(references);
        }

        // INVARIANT: They are owned by the cache now, and by nobody else.
        let _ = references.into_raw();
        if update(
            &self.idle,
            || Release,
            |idle| (idle & run == 0).then_some(idle | run),
        )
        .is_none()
        {
            tell_twice();
        }
        None
    }

    /// Makes an empty cache one of [`BLOCK`] references, or returns them.
    ///
    /// Nobody else may call this meanwhile.
    pub(crate) fn fill(&self, block: References) -> Option<References> {
        if !self.is_empty() || block.count() != BLOCK {
            return Some(block);
        }

        let (base, _) = block.into_raw();

        // INVARIANT: The references were owned by `block`.
        self.base.store(base.as_raw(), Relaxed);
        self.owned.store(u64::MAX, Release);
        self.idle.store(u64::MAX, Release);
        None
    }

    /// Hands out `count` references, which will not be put back.
    pub(crate) fn part_with(&self, count: u32) -> Option<References> {
        let references = self.take(count)?;

        self.disown(references.first(), count);
        Some(references)
    }

    /// Hands out up to `count` references, wherever they are.
    #[inline]
    pub(crate) fn lend(&self, count: u32) -> Part {
        let mut lent = 0;

        let _ = update(
            &self.idle,
            || Acquire,
            |idle| {
                lent = run_map::lowest_of(idle, count);
                Some(idle & !lent)
            },
        );

        // INVARIANT: By the type invariants these were owned by the cache.
        Part {
            base: self.base(),
            map: RunMap::lent(lent),
        }
    }

    /// Makes a part that takes what is handed out, to be put back with [`Self::put_all`].
    ///
    /// Some of what belongs here must be handed out, and stay so until then, or nothing be put in.
    #[inline]
    pub(crate) fn collector(&self) -> Part {
        let owned = self.owned.load(Acquire);

        // INVARIANT: There is nothing.
        Part {
            base: self.base(),
            map: RunMap::collector(owned & !self.idle.load(Relaxed)),
        }
    }

    /// Takes back what is in a part that [`Self::lend`] or [`Self::collector`] returned.
    #[inline]
    pub(crate) fn put_all(&self, part: Part) {
        let run = part.map.idle();

        // INVARIANT: They were owned by the part, and before they were handed out by the cache.
        if run != 0
            && update(
                &self.idle,
                || Release,
                |idle| (idle & run == 0).then_some(idle | run),
            )
            .is_none()
        {
            tell_twice();
        }
    }

    /// Gives up references that were handed out, as they will not be put back.
    ///
    /// Returns whether they belong here.
    pub(crate) fn disown(&self, first: GrantRef, count: u32) -> bool {
        let owned = self.owned.load(Acquire);
        let at = first.as_raw().wrapping_sub(self.base().as_raw());
        let Some(run) = run_map::mask(at, count).filter(|run| owned & run == *run) else {
            return false;
        };

        // INVARIANT: They are not idle.
        let _ = update(&self.owned, || Release, |owned| Some(owned & !run));
        true
    }

    /// Gives up what is not handed out.
    pub(crate) fn drain(&self) -> Drained {
        let mut idle = 0;

        let _ = update(
            &self.idle,
            || Acquire,
            |now| {
                idle = now;
                Some(0)
            },
        );

        // From here until they are disowned it is they that keep the block from being replaced.
        let base = self.base();

        // INVARIANT: These are not idle any more.
        let _ = update(&self.owned, || Release, |owned| Some(owned & !idle));

        // INVARIANT: What was idle is owned by the part now.
        Drained(Part {
            base,
            map: RunMap::lent(idle),
        })
    }
}

/// How far references are from `base`.
#[inline]
fn distance(base: GrantRef, references: &References) -> u32 {
    references.first().as_raw().wrapping_sub(base.as_raw())
}

/// Tells that a buffer has been unmapped twice. The references are where they belong.
#[cold]
fn tell_twice() {
    kernel::pr_warn_once!("buffer unmapped twice\n");
}

/// References of a cache, handed out together.
///
/// # Invariants
///
/// Those that are idle in `map`, counted from `base` on, are owned by this object, and no access is
/// granted with them. Those that are owned in `map` are of the cache.
pub(crate) struct Part {
    base: GrantRef,
    map: RunMap,
}

impl Part {
    /// Hands out `count` references.
    #[inline]
    pub(crate) fn take(&mut self, count: u32) -> Option<References> {
        let at = self.map.take(count)?;

        // SAFETY: By the type invariants these were owned by the part, and now are owned by
        // nobody else. `take` does not return anything for a `count` of zero.
        Some(unsafe { References::from_raw(self.base.following(at), count) })
    }

    /// Takes references of the cache, or returns them if they are not.
    #[inline]
    pub(crate) fn put(&mut self, references: References) -> Option<References> {
        match self
            .map
            .put(distance(self.base, &references), references.count())
        {
            Put::Done => {
                // INVARIANT: They are owned by the part now, and by nobody else.
                let _ = references.into_raw();
                None
            }
            Put::Stranger => Some(references),
            Put::Twice => {
                tell_twice();
                let _ = references.into_raw();
                None
            }
        }
    }
}

/// What a cache has given up. It becomes available to all by dropping this.
pub(crate) struct Drained(Part);

impl Drop for Drained {
    fn drop(&mut self) {
        while let Some((at, count)) = self.0.map.take_run() {
            // SAFETY: By the type invariants of the part these are owned, now by nobody else, and
            // no access is granted. A run is not empty.
            drop(unsafe { References::from_raw(self.0.base.following(at), count) });
        }
    }
}
