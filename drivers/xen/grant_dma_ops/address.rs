// SPDX-License-Identifier: GPL-2.0

//! DMA addresses that stand for grants, and the frames that a buffer touches.

use kernel::{
    bindings::dma_addr_t,
    prelude::*,
    xen::{
        grant::GrantRef,
        XEN_PAGE_SHIFT, //
    }, //
};

/// The size of a frame.
pub(crate) const FRAME: usize = 1 << XEN_PAGE_SHIFT;

/// Set in each DMA address, so that a backend can tell it from an address of anything else.
const MARK: dma_addr_t = 1 << 63;

/// Returns the DMA address of a byte in the frame that is granted by a reference.
#[inline]
pub(crate) fn encode(reference: GrantRef, offset: usize) -> dma_addr_t {
    // CAST: `dma_addr_t` has 64 bits here.
    MARK | dma_addr_t::from(reference.as_raw()) << XEN_PAGE_SHIFT | offset as dma_addr_t
}

/// Returns the reference in a DMA address and the offset in the frame, if it is such an address.
#[inline]
pub(crate) fn decode(address: dma_addr_t) -> Option<(GrantRef, usize)> {
    let reference = u32::try_from((address ^ MARK) >> XEN_PAGE_SHIFT).ok()?;

    // CAST: It is less than the size of a frame.
    Some((GrantRef::new(reference), (address as usize) % FRAME))
}

/// The bytes of a buffer in one of the frames that it touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The number of the frame, counted from the first of the buffer.
    pub(crate) frame: u32,
    /// Where in the frame the bytes begin.
    pub(crate) offset: usize,
    /// How many they are, which is not zero.
    pub(crate) len: usize,
}

/// Where a buffer lies in the frames that it touches.
///
/// # Invariants
///
/// `offset` is less than [`FRAME`]. `size` is not zero. `frames` is the number of frames that
/// `size` bytes from `offset` on touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    offset: usize,
    size: usize,
    frames: u32,
}

impl Span {
    /// Makes one of a buffer, for an address of which only the place in its frame matters.
    ///
    /// Returns [`EINVAL`] if it is empty, or so large that no run of references is enough for it.
    #[inline]
    pub(crate) fn new(address: u64, size: usize) -> Result<Self> {
        Self::within(address, size, u32::MAX).map_err(|_| EINVAL)
    }

    /// Makes one as [`Self::new`] does, of a buffer that touches at most `longest` frames.
    ///
    /// Returns [`ENOMEM`] if there are more.
    #[inline]
    pub(crate) fn within(address: u64, size: usize, longest: u32) -> Result<Self> {
        // CAST: It is less than the size of a frame.
        let offset = (address as usize) % FRAME;

        if size == 0 {
            return Err(EINVAL);
        }

        let last = size.checked_add(offset).ok_or(EINVAL)? - 1;
        let last_frame = last / FRAME;

        // CAST: `usize` is at least as wide.
        if last_frame >= longest as usize {
            return Err(ENOMEM);
        }

        // CAST: It is less than `longest`.
        //
        // INVARIANT: As computed.
        Ok(Self {
            offset,
            size,
            frames: last_frame as u32 + 1,
        })
    }

    /// Where in the first frame the buffer begins.
    #[inline]
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// The number of frames, which is not zero.
    #[inline]
    pub(crate) fn frames(&self) -> u32 {
        self.frames
    }

    /// The part in one of the frames.
    pub(crate) fn part(&self, frame: u32) -> Option<Part> {
        if frame >= self.frames {
            return None;
        }

        // CAST: Numbers of frames fit into a `usize`, and so do bytes up to the end of the buffer.
        let start = frame as usize * FRAME;
        let from = start.max(self.offset);
        let to = start.saturating_add(FRAME).min(self.offset + self.size);

        Some(Part {
            frame,
            offset: from - start,
            len: to - from,
        })
    }

    /// The part in the first frame, if it does not fill it.
    #[inline]
    pub(crate) fn head(&self) -> Option<Part> {
        self.part(0).filter(|part| part.len != FRAME)
    }

    /// The part in the last frame, if it does not fill it and is not the head.
    #[inline]
    pub(crate) fn tail(&self) -> Option<Part> {
        let last = self.frames - 1;

        if last == 0 {
            return None;
        }
        self.part(last).filter(|part| part.len != FRAME)
    }

    /// All parts, in order.
    pub(crate) fn parts(self) -> impl Iterator<Item = Part> {
        (0..self.frames).filter_map(move |frame| self.part(frame))
    }
}

#[kunit_tests(xen_grant_dma_address)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_the_format_that_backends_know() {
        let address = encode(GrantRef::new(0x1234), 0x567);

        assert_eq!(address, 0x8000_0000_0123_4567);
        assert_eq!(decode(address), Some((GrantRef::new(0x1234), 0x567)));
    }

    #[test]
    fn the_highest_reference_has_an_address() {
        let highest = GrantRef::new(u32::MAX);

        assert_eq!(encode(highest, 4095), 0x8000_0fff_ffff_ffff);
        assert_eq!(decode(encode(highest, 4095)), Some((highest, 4095)));
    }

    #[test]
    fn other_addresses_are_not_taken_for_references() {
        assert_eq!(decode(0), None);
        assert_eq!(decode(0x4000_0000), None);
        assert_eq!(decode(0x8000_1000_0000_0000), None);
        // What stands for an error.
        assert_eq!(decode(dma_addr_t::MAX), None);
    }

    #[test]
    fn frames_are_counted_from_the_first_byte_to_the_last() -> Result {
        for (offset, size, frames) in [
            (0, 1, 1),
            (0, FRAME, 1),
            (0, FRAME + 1, 2),
            (FRAME - 1, 1, 1),
            (FRAME - 1, 2, 2),
            (FRAME - 1, FRAME + 1, 2),
            (FRAME - 1, FRAME + 2, 3),
            (1, 64 * FRAME, 65),
        ] {
            let address = 0x4567_8000 + offset as u64;
            let span = Span::new(address, size)?;

            assert_eq!(span.frames(), frames);
            assert_eq!(span.offset(), offset);
        }
        Ok(())
    }

    #[test]
    fn what_has_no_frames_or_too_many_is_refused() {
        assert!(Span::new(0, 0).is_err());
        assert!(Span::new(0x123, 0).is_err());
        assert!(Span::new(1, usize::MAX).is_err());
        assert!(Span::new(0, usize::MAX).is_err());
        assert!(Span::new(0, (u32::MAX as usize) * FRAME).is_ok());
        assert!(Span::new(1, (u32::MAX as usize) * FRAME).is_err());
    }

    #[test]
    fn parts_make_up_the_buffer() -> Result {
        for offset in [0, 1, 100, FRAME - 1] {
            for size in [
                1,
                2,
                100,
                FRAME - 1,
                FRAME,
                FRAME + 1,
                3 * FRAME - 1,
                3 * FRAME,
            ] {
                let span = Span::new(offset as u64, size)?;
                let mut next = offset;

                for part in span.parts() {
                    assert_eq!(part.frame as usize * FRAME + part.offset, next);
                    assert!(part.len > 0 && part.offset + part.len <= FRAME);
                    next += part.len;
                }
                assert_eq!(next, offset + size);
            }
        }
        Ok(())
    }

    #[test]
    fn only_the_ends_are_partial() -> Result {
        // A buffer of whole frames.
        let whole = Span::new(0, 2 * FRAME)?;
        assert_eq!((whole.head(), whole.tail()), (None, None));

        // One that lies within a frame.
        let within = Span::new(16, 32)?;
        let part = Part {
            frame: 0,
            offset: 16,
            len: 32,
        };
        assert_eq!((within.head(), within.tail()), (Some(part), None));

        // One that has both.
        let both = Span::new(FRAME as u64 - 1, FRAME + 2)?;
        let head = Part {
            frame: 0,
            offset: FRAME - 1,
            len: 1,
        };
        let tail = Part {
            frame: 2,
            offset: 0,
            len: 1,
        };
        assert_eq!((both.head(), both.tail()), (Some(head), Some(tail)));
        Ok(())
    }
}
