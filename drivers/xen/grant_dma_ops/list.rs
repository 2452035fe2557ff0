// SPDX-License-Identifier: GPL-2.0

//! Lists of buffers.

use super::{
    address::{
        decode,
        encode,
        Span, //
    },
    memory::Buffer, //
};
use core::ptr::{
    with_exposed_provenance_mut,
    NonNull, //
};
use kernel::{
    bindings,
    prelude::*,
    xen::grant::Granted, //
};

/// The bits of a link that are not part of the pointer to the page.
const LINK_BITS: usize = bindings::SG_CHAIN as usize | bindings::SG_END as usize;

/// Returns the entries of a list.
///
/// # Safety
///
/// For as long as the iterator is used there must be `len` entries from `first` on.
#[inline(always)]
unsafe fn entries(
    first: *mut bindings::scatterlist,
    len: u32,
) -> impl Iterator<Item = *mut bindings::scatterlist> {
    let mut next = first;

    (0..len).map(move |nr| {
        if nr != 0 {
            // SAFETY: As required from the caller this is an entry, and there is one more.
            next = unsafe { following(next) };
        }
        next
    })
}

/// Returns the entry that follows another, as `sg_next()` does.
///
/// # Safety
///
/// `entry` must be one of a list, and not the last.
#[inline(always)]
unsafe fn following(entry: *mut bindings::scatterlist) -> *mut bindings::scatterlist {
    let next = entry.wrapping_add(1);

    // SAFETY: As it was not the last one there is another, or a link.
    let link = unsafe { (*next).page_link };

    if link & bindings::SG_CHAIN as usize == 0 {
        next
    } else {
        with_exposed_provenance_mut(link & !LINK_BITS)
    }
}

/// Returns the memory that an entry has been set to.
///
/// # Safety
///
/// `entry` must be one of a [`List`].
#[inline]
unsafe fn buffer(entry: *mut bindings::scatterlist, longest: u32) -> Result<Buffer> {
    // SAFETY: It exists, as required from the caller.
    let link = unsafe { (*entry).page_link };
    // SAFETY: As above.
    let offset = unsafe { (*entry).offset };
    // SAFETY: As above.
    let len = unsafe { (*entry).length };

    let first: *mut bindings::page = with_exposed_provenance_mut(link & !LINK_BITS);
    let first = NonNull::new(first).ok_or(EINVAL)?;

    // CAST: `usize` is at least as wide.
    //
    // SAFETY: The entry has been set to memory, which is the device's until the list has been
    // unmapped.
    unsafe { Buffer::new(first, offset as usize, len as usize, longest) }
}

/// A scatterlist that a driver has passed to be mapped.
///
/// # Invariants
///
/// There are `len` entries from `first` on, which nobody else accesses. Each is set to memory that
/// is the device's until the list has been unmapped.
pub(crate) struct List {
    first: *mut bindings::scatterlist,
    len: u32,
}

impl List {
    /// Takes what a driver has passed.
    ///
    /// # Safety
    ///
    /// There must be `len` entries from `first` on, which nobody else accesses while this exists,
    /// and the driver must give the memory to the device for as long as references that are granted
    /// for it are.
    #[inline]
    pub(crate) unsafe fn new(first: *mut bindings::scatterlist, len: u32) -> Self {
        // INVARIANT: By the safety requirements.
        Self { first, len }
    }

    /// How many entries there are.
    #[inline]
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// How many frames the buffers touch together.
    pub(crate) fn frames(&self) -> u32 {
        // SAFETY: By the type invariants there are that many.
        let entries = unsafe { entries(self.first, self.len) };

        entries
            .map(|entry| {
                // SAFETY: It is an entry of a list.
                let offset = unsafe { (*entry).offset };
                // SAFETY: As above.
                let len = unsafe { (*entry).length };

                // CAST: `usize` is at least as wide.
                Span::new(offset.into(), len as usize).map_or(0, |span| span.frames())
            })
            .fold(0, u32::saturating_add)
    }

    /// Has access granted to the memory of one entry after the other, by `grant`, which is given
    /// what is left of the list too, from that entry on, to look at.
    ///
    /// None may touch more than `longest` frames. If one fails, those before it are returned.
    #[inline]
    pub(crate) fn map(
        self,
        longest: u32,
        mut grant: impl FnMut(Buffer, Self) -> Result<Granted>,
    ) -> Result<(), (Error, MappedList)> {
        // SAFETY: By the type invariants there are that many.
        let entries = unsafe { entries(self.first, self.len) };

        for (entry, nr) in entries.zip(0..) {
            // INVARIANT: `nr` entries are before this one.
            let rest = Self {
                first: entry,
                len: self.len - nr,
            };
            // SAFETY: It is an entry of a list.
            let granted = unsafe { buffer(entry, longest) }
                .and_then(|buffer| Ok((grant(buffer, rest)?, buffer.span().offset())));

            match granted {
                // SAFETY: It is an entry that no one else accesses.
                Ok((granted, offset)) => unsafe { set(entry, granted, offset) },
                Err(error) => {
                    // INVARIANT: So many have been set.
                    let done = MappedList {
                        first: self.first,
                        len: nr,
                    };

                    return Err((error, done));
                }
            }
        }
        Ok(())
    }
}

/// Notes in an entry how the device gets at the memory, which is all of it in one piece.
///
/// # Safety
///
/// `entry` must be one of a [`List`].
#[inline]
unsafe fn set(entry: *mut bindings::scatterlist, granted: Granted, offset: usize) {
    let (first, _) = granted.into_raw();

    // SAFETY: It exists, as required from the caller.
    unsafe { (*entry).dma_address = encode(first, offset) };
    #[cfg(CONFIG_NEED_SG_DMA_LENGTH)]
    // SAFETY: As above.
    unsafe {
        (*entry).dma_length = (*entry).length
    };
}

/// Returns the length that [`set`] has noted.
///
/// # Safety
///
/// `entry` must be one of a [`MappedList`].
#[inline]
unsafe fn len(entry: *mut bindings::scatterlist) -> c_uint {
    #[cfg(CONFIG_NEED_SG_DMA_LENGTH)]
    // SAFETY: It exists, as required from the caller.
    let len = unsafe { (*entry).dma_length };
    #[cfg(not(CONFIG_NEED_SG_DMA_LENGTH))]
    // SAFETY: It exists, as required from the caller.
    let len = unsafe { (*entry).length };

    len
}

/// A scatterlist that has been mapped.
///
/// # Invariants
///
/// There are `len` entries from `first` on, which nobody else accesses, and [`set`] has been called
/// for each.
pub(crate) struct MappedList {
    first: *mut bindings::scatterlist,
    len: u32,
}

impl MappedList {
    /// How many entries there are.
    #[inline]
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// Takes what a driver has passed.
    ///
    /// # Safety
    ///
    /// There must be `len` entries from `first` on, which nobody else accesses while this exists.
    /// They must have been mapped by [`List::map`], and not been unmapped.
    #[inline]
    pub(crate) unsafe fn new(first: *mut bindings::scatterlist, len: u32) -> Self {
        // INVARIANT: By the safety requirements.
        Self { first, len }
    }

    /// Hands over what has been granted for one entry after the other.
    #[inline]
    pub(crate) fn unmap(self, mut end: impl FnMut(Granted, Span)) {
        // SAFETY: By the type invariants there are that many.
        for entry in unsafe { entries(self.first, self.len) } {
            // SAFETY: By the type invariants it exists.
            let address = unsafe { (*entry).dma_address };
            // SAFETY: It is an entry of a mapped list.
            let len = unsafe { len(entry) };

            // CAST: `usize` is at least as wide.
            let Ok(span) = Span::new(address, len as usize) else {
                continue;
            };
            let Some((first, _)) = decode(address) else {
                continue;
            };

            // SAFETY: By the type invariants these have been granted for this entry.
            end(unsafe { Granted::from_raw(first, span.frames()) }, span);
        }
    }
}

/// Returns the DMA addresses and the lengths in a list that is mapped.
///
/// # Safety
///
/// For as long as the iterator is used there must be `nents` entries from `first` on, which have
/// been mapped by [`List::map`].
pub(crate) unsafe fn addresses(
    first: *mut bindings::scatterlist,
    nents: c_int,
) -> impl Iterator<Item = (bindings::dma_addr_t, usize)> {
    // SAFETY: As required from the caller.
    let entries = unsafe { entries(first, u32::try_from(nents).unwrap_or(0)) };

    entries.map(|entry| {
        // SAFETY: It exists, as required from the caller.
        let address = unsafe { (*entry).dma_address };
        // SAFETY: As above.
        let len = unsafe { len(entry) };

        // CAST: `usize` is at least as wide.
        (address, len as usize)
    })
}
