// SPDX-License-Identifier: GPL-2.0

//! DMA addresses and the frames of buffers.

use super::{check_one, Draws};
use crate::grant_dma_alloc;
use crate::grant_dma_ops::{
    address::{decode, encode, Span, FRAME},
    limits::Limits,
};
use kernel::{
    bindings::memory,
    prelude::*,
    xen::{grant::GrantRef, Gfn},
};
use std::mem::MaybeUninit;

#[test]
fn an_address_is_that_of_its_reference() {
    let make = |draws: &mut Draws| {
        let any = (draws.draw() as u64) << 32 | draws.draw() as u64;

        (draws.draw() as u32, draws.below(FRAME), any)
    };

    check_one(make, |&(reference, offset, any)| {
        let reference = GrantRef::new(reference);
        let address = encode(reference, offset);

        assert_eq!(decode(address), Some((reference, offset)));
        // What is no such address is none, and what is one has no other.
        for address in [any, any >> 20, any | 1 << 63, any >> 20 | 1 << 63] {
            if let Some((reference, offset)) = decode(address) {
                assert_eq!(encode(reference, offset), address);
            } else {
                assert!(address >> 44 != 1 << 19);
            }
        }
    });
}

#[test]
fn a_buffer_is_what_its_parts_are() {
    let make = |draws: &mut Draws| {
        let address = (draws.draw() as u64) << 32 | draws.draw() as u64;
        // Often of whole frames.
        let mask = [0, FRAME - 1][draws.below(2)];
        let size = draws.within(1..9 * FRAME);

        (
            address & !(mask as u64),
            (size & !(mask * draws.below(2))).max(1),
        )
    };

    check_one(make, |&(address, size)| {
        let span = Span::new(address, size).unwrap();
        let offset = address as usize % FRAME;
        let frames = (offset + size).div_ceil(FRAME) as u32;
        let parts: Vec<_> = span.parts().collect();
        let mut next = offset;

        assert_eq!((span.offset(), span.frames()), (offset, frames));
        assert_eq!(parts.len(), frames as usize);
        for (nr, part) in parts.iter().enumerate() {
            assert_eq!(part.frame as usize, nr);
            assert_eq!(nr * FRAME + part.offset, next);
            assert!(part.len > 0 && part.offset + part.len <= FRAME);
            assert_eq!(span.part(part.frame), Some(*part));
            next += part.len;
        }
        assert_eq!(next, offset + size);
        assert_eq!(span.part(frames), None);

        let (first, last) = (parts[0], parts[parts.len() - 1]);

        assert_eq!(span.head(), Some(first).filter(|part| part.len < FRAME));
        assert_eq!(
            span.tail(),
            Some(last).filter(|part| part.len < FRAME && frames > 1)
        );
    });
}

#[test]
fn limits_leave_something_for_others() {
    for capacity in (0..9000).chain([u32::MAX - 1, u32::MAX]) {
        let limits = Limits::new(capacity);

        assert_eq!(limits.longest, (capacity / 4).min(1024));
        assert_eq!(limits.reserve, capacity / 16);
        assert_eq!(
            limits.max_size(),
            (limits.longest.max(1) as usize - 1) * FRAME
        );
    }
}

#[test]
fn arrays_of_a_run_are_filled() {
    for len in 0..70 {
        let mut pages = vec![MaybeUninit::new(std::ptr::null_mut()); len + 1];
        let mut frames = vec![MaybeUninit::new(0); len + 1];

        grant_dma_alloc::fill_pages(&mut pages[..len], memory::page(9));
        grant_dma_alloc::fill_frames(&mut frames[..len], Gfn::new(9));
        for nr in 0..=len {
            // SAFETY: Both were written to when the arrays were made.
            let (page, frame) = unsafe { (pages[nr].assume_init(), frames[nr].assume_init()) };

            if nr < len {
                assert_eq!((page, frame), (memory::page(9 + nr), 9 + nr as u64));
            } else {
                assert_eq!((page, frame), (std::ptr::null_mut(), 0));
            }
        }
    }
}

#[test]
fn reasons_differ() {
    use grant_dma_alloc::{Reason, Source};

    let reasons = [Reason::Unsupported, Reason::NoSpace, Reason::Asked];

    for (nr, reason) in reasons.iter().enumerate() {
        assert_eq!(reason.stat() as usize, nr);
        assert!(!reason.as_str().is_empty());
        for other in &reasons[..nr] {
            assert_ne!(reason.as_str(), other.as_str());
        }
    }
    assert_eq!(Source::from_raw(0), Source::Auto);
    assert_eq!(Source::from_raw(1), Source::Ram);
    assert_eq!(Source::from_raw(2), Source::Unpopulated);
    assert_eq!(Reason::from_error(Source::Ram, EINVAL), Err(EINVAL));
}
