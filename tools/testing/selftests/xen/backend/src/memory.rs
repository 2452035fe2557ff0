// SPDX-License-Identifier: GPL-2.0

//! The guest's memory, of which only what it grants can be reached.
//!
//! An address with the highest bit set is a grant reference in the place of a frame number.

use std::{fs::OpenOptions, io, sync::Arc};

use vm_memory::{
    mmap::MmapRegion, FileOffset, GuestAddress, GuestMemoryMmap, GuestRegionMmap, MmapRange,
    MmapXenFlags,
};

pub type Memory = GuestMemoryMmap<()>;

const GRANTS: u64 = 1 << 63;
const PAGE: u64 = 4096;
/// More than a grant table can have.
const MAX_REFS: u64 = 1 << 24;

pub struct Grants {
    domid: u16,
    gntdev: FileOffset,
}

impl Grants {
    pub fn new(domid: u16) -> io::Result<Self> {
        let gntdev = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/xen/gntdev")?;
        Ok(Self {
            domid,
            gntdev: FileOffset::from_arc(Arc::new(gntdev), 0),
        })
    }

    /// All grants there may be, each mapped for as long as it is accessed.
    pub fn all(&self) -> io::Result<Memory> {
        let flags = MmapXenFlags::GRANT | MmapXenFlags::NO_ADVANCE_MAP;
        self.memory(
            GRANTS,
            MAX_REFS * PAGE,
            flags,
            libc::PROT_READ | libc::PROT_WRITE,
        )
    }

    /// Those of a range of addresses, mapped until this is dropped.
    pub fn mapped(&self, start: u64, end: u64, writable: bool) -> io::Result<Memory> {
        let first = start & !(PAGE - 1);
        let size = end.next_multiple_of(PAGE) - first;
        let prot = if writable {
            libc::PROT_READ | libc::PROT_WRITE
        } else {
            libc::PROT_READ
        };
        self.memory(first, size, MmapXenFlags::GRANT, prot)
    }

    fn memory(&self, start: u64, size: u64, flags: MmapXenFlags, prot: i32) -> io::Result<Memory> {
        let addr = GuestAddress(start);
        let file = Some(self.gntdev.clone());
        let mut range = MmapRange::new(
            size as usize,
            file,
            addr,
            flags.bits(),
            u32::from(self.domid),
        );
        range.set_prot(prot);
        let region = MmapRegion::from_range(range).map_err(io::Error::other)?;
        let region = GuestRegionMmap::new(region, addr).map_err(io::Error::other)?;
        Memory::from_regions(vec![region]).map_err(io::Error::other)
    }
}
