// SPDX-License-Identifier: GPL-2.0

//! Lists of buffers, against arrays of them.

use super::{check, Draws};
use crate::grant_dma_ops::{
    address::{decode, Span, FRAME},
    list::{addresses, List, MappedList},
};
use kernel::{
    bindings::{self, grants, memory, scatterlist, SG_CHAIN, SG_END},
    page::PAGE_SIZE,
    prelude::*,
    xen::grant::{Access, DomId, References},
};

/// A scatterlist, in pieces that are chained.
pub(super) struct Chain(Vec<Vec<scatterlist>>);

impl Chain {
    /// Makes one of buffers, given as page, offset and size, with so many in a piece.
    pub(super) fn new(buffers: &[(usize, usize, usize)], piece: usize) -> Self {
        let mut pieces: Vec<Vec<_>> = buffers
            .chunks(piece)
            .map(|buffers| {
                let entries = buffers.iter().map(|&(page, offset, size)| scatterlist {
                    page_link: memory::page(page).expose_provenance(),
                    offset: offset as u32,
                    length: size as u32,
                    ..scatterlist::default()
                });

                entries.chain([scatterlist::default()]).collect()
            })
            .collect();
        let starts: Vec<_> = pieces.iter_mut().map(|piece| piece.as_mut_ptr()).collect();

        for (nr, piece) in pieces.iter_mut().enumerate() {
            let end = piece.len() - 1;

            match starts.get(nr + 1) {
                // Where a piece goes on is written in place of a buffer.
                Some(next) => {
                    piece[end].page_link = next.expose_provenance() | SG_CHAIN as usize;
                }
                None => {
                    piece[end - 1].page_link |= SG_END as usize;
                    piece.truncate(end);
                }
            }
        }
        Self(pieces)
    }

    pub(super) fn first(&mut self) -> *mut scatterlist {
        self.0
            .first_mut()
            .map_or(std::ptr::null_mut(), |piece| piece.as_mut_ptr())
    }
}

/// A buffer in RAM: a page, where in there or behind it begins, and a size.
pub(super) fn buffer(draws: &mut Draws) -> (usize, usize, usize) {
    let offset = draws.below(3 * PAGE_SIZE);
    let size = draws.within(1..4 * FRAME);
    let size = match draws.below(4) {
        0 => size % 200 + 1,
        1 => size,
        2 => FRAME,
        _ => 2 * FRAME,
    };

    (draws.below(45), offset * (draws.below(3) / 2), size)
}

#[test]
fn lists_are_mapped_and_unmapped_in_order() {
    let make = |first: &mut Draws, steps: Vec<Draws>| {
        let mut buffers: Vec<_> = steps
            .into_iter()
            .map(|mut draws| buffer(&mut draws))
            .collect();

        buffers.push(buffer(first));
        (buffers, first.within(1..6), first.within(1..40))
    };

    check(20, make, |&(ref buffers, piece, failing)| {
        grants::reset(2000);

        let mut chain = Chain::new(buffers, piece);
        let first = chain.first();
        let len = buffers.len() as u32;
        // SAFETY: There are as many entries, and nobody else knows them. The memory is there.
        let list = unsafe { List::new(first, len) };
        let spans: Vec<_> = buffers
            .iter()
            .map(|(_, offset, size)| Span::new(*offset as u64, *size).unwrap())
            .collect();
        let domain = DomId::new(3).unwrap();
        let frames = |spans: &[Span]| spans.iter().map(Span::frames).sum::<u32>();
        let mut nr = 0;

        assert_eq!((list.len(), list.frames()), (len, frames(&spans)));

        let result = list.map(1000, |buffer, rest| {
            assert_eq!(buffer.span(), &spans[nr]);
            assert_eq!(rest.len(), len - nr as u32);
            assert_eq!(rest.frames(), frames(&spans[nr..]));
            nr += 1;
            if nr == failing {
                return Err(EIO);
            }

            let references = References::alloc(buffer.span().frames(), 0)?;

            Ok(buffer.grant(references, domain, Access::ReadOnly))
        });
        let done = match result {
            Ok(()) => {
                assert!(failing > buffers.len());
                // SAFETY: These were just mapped.
                unsafe { MappedList::new(first, len) }
            }
            Err((error, done)) => {
                assert_eq!((error, done.len() as usize), (EIO, failing - 1));
                done
            }
        };
        let mapped = done.len() as usize;
        // SAFETY: These were just mapped.
        let noted: Vec<_> = unsafe { addresses(first, mapped as c_int) }.collect();
        let mut ended = 0;

        assert_eq!(noted.len(), mapped);
        for ((address, size), buffer) in noted.into_iter().zip(buffers) {
            let (reference, offset) = decode(address).unwrap();
            let access = grants::access(reference.as_raw()).unwrap();

            assert_eq!((offset, size), (buffer.1 % FRAME, buffer.2));
            assert_eq!(access.frame, buffer.0 + buffer.1 / FRAME);
            assert!(access.readonly && access.domain == 3);
        }
        done.unmap(|granted, span| {
            assert_eq!(span.frames(), spans[ended].frames());
            assert_eq!(span.parts().count(), spans[ended].parts().count());
            ended += 1;
            assert_eq!(granted.end().unwrap().count(), span.frames());
        });
        assert_eq!((ended, grants::nr_allocated()), (mapped, 0));
    });
}

#[test]
fn what_is_no_buffer_ends_the_list() {
    grants::reset(100);

    let domain = DomId::new(3).unwrap();
    let map = |buffer: (usize, usize, usize), longest, is_null| {
        let mut chain = Chain::new(&[(1, 0, 1), buffer], 9);

        if is_null {
            chain.0[0][1].page_link = SG_END as usize;
        }

        let first = chain.first();
        // SAFETY: There are as many entries, and nobody else knows them. The memory is there.
        let (error, done) = unsafe { List::new(first, 2) }
            .map(longest, |buffer, _| {
                let references = References::alloc(buffer.span().frames(), 0)?;

                Ok(buffer.grant(references, domain, Access::ReadWrite))
            })
            .err()?;

        assert_eq!(done.len(), 1);
        done.unmap(|granted, _| drop(granted));
        Some(error)
    };

    assert_eq!(map((2, 0, 0), 9, false), Some(EINVAL));
    assert_eq!(map((2, 0, 1), 9, true), Some(EINVAL));
    assert_eq!(map((2, 0, 2 * FRAME + 1), 2, false), Some(ENOMEM));
    memory::FOREIGN.lock().insert(5);
    assert_eq!(map((4, FRAME - 1, 2), 9, false), Some(EREMOTEIO));
    assert_eq!(map((3, 2 * FRAME, 1), 9, false), Some(EREMOTEIO));
    memory::FOREIGN.lock().clear();
    assert_eq!(grants::nr_allocated(), 0);

    // An entry that has been mapped by nobody is left out.
    let mut entry = scatterlist {
        length: 5,
        dma_address: 5,
        ..scatterlist::default()
    };

    for length in [0, 5] {
        entry.length = length;
        // SAFETY: There is an entry; nothing was granted for it, which is what is to be seen.
        unsafe { MappedList::new(&mut entry, 1) }.unmap(|_, _| unreachable!());
    }
    // SAFETY: There are no entries.
    assert_eq!(
        unsafe { addresses(std::ptr::null_mut::<bindings::scatterlist>(), -1) }.count(),
        0
    );
}
