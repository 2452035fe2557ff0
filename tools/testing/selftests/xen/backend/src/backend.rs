// SPDX-License-Identifier: GPL-2.0

//! The backend of one disk: what the guest writes to registers, and the requests in its queue.

use std::{io, process, sync::atomic::Ordering};

use virtio_queue::{QueueOwnedT, QueueT};

use crate::{
    block::{self, Disk},
    fault::Fault,
    memory::{Grants, Memory},
    mmio::{Event, Registers},
};

/// More than a queue of ours takes.
const MAX_RINGS: u64 = 1 << 16;

/// A disk, and its frontend's way to it.
pub struct Backend {
    grants: Grants,
    /// Whatever is granted.
    memory: Memory,
    /// What the queue lies in, while there is one.
    rings: Option<Memory>,
    pub registers: Registers,
    disk: Disk,
    fault: Option<Fault>,
    /// What a hostile backend does not let go.
    kept: Vec<Memory>,
}

impl Backend {
    pub fn new(domid: u16, disk: Disk, fault: Option<Fault>) -> io::Result<Self> {
        let grants = Grants::new(domid)?;
        Ok(Self {
            memory: grants.all()?,
            grants,
            rings: None,
            registers: Registers::new(block::FEATURES, disk.config()),
            disk,
            fault,
            kept: Vec::new(),
        })
    }

    /// Whether a driver has set it up.
    pub fn is_ready(&self) -> bool {
        self.rings.is_some()
    }

    /// Answers an access to a register.
    pub fn access(&mut self, offset: u32, size: usize, value: Option<u64>) -> u64 {
        let Some(value) = value else {
            return self.registers.read(offset, size);
        };
        match self.registers.write(offset, value as u32) {
            Event::Ready => self.map_rings(),
            Event::Reset => self.rings = None,
            Event::Notify | Event::Nothing => {}
        }
        0
    }

    fn map_rings(&mut self) {
        let queue = &self.registers.queue;
        let (start, end) = self.registers.rings();
        // The guest has them in one piece.
        self.rings = None;
        if end - start <= MAX_RINGS {
            self.rings = self.grants.mapped(start, end, true).ok();
        }
        if !self
            .rings
            .as_ref()
            .is_some_and(|rings| queue.is_valid(rings))
        {
            self.registers.fail();
        }
    }

    /// Serves all requests that there are; returns whether the guest has to be told.
    pub fn serve(&mut self) -> io::Result<bool> {
        let Some(rings) = &self.rings else {
            return Ok(false);
        };
        let queue = &mut self.registers.queue;
        if !queue.ready() {
            return Ok(false);
        }
        loop {
            queue
                .disable_notification(rings)
                .map_err(io::Error::other)?;
            loop {
                let next = queue.iter(rings).map_err(io::Error::other)?.next();
                let Some(chain) = next else {
                    break;
                };
                let head = chain.head_index();
                if matches!(self.fault, Some(Fault::Keeps | Fault::Dies)) {
                    for part in chain.clone() {
                        let (start, len) = (part.addr().0, u64::from(part.len()));
                        let end = start.saturating_add(len);
                        let part = self.grants.mapped(start, end, part.is_write_only())?;
                        self.kept.push(part);
                    }
                }
                let len = self.disk.execute(&self.memory, chain)?;
                let (head, len, times) = match self.fault {
                    Some(Fault::Dies) => process::exit(1),
                    Some(Fault::Drops) => continue,
                    Some(Fault::Length) => (head, u32::MAX, 1),
                    Some(Fault::Id) => ((head + queue.size() / 2) % queue.size(), len, 1),
                    Some(Fault::Twice) => (head, len, 2),
                    Some(Fault::Keeps) | None => (head, len, 1),
                };
                for _ in 0..times {
                    queue.add_used(rings, head, len).map_err(io::Error::other)?;
                }
            }
            if !queue.enable_notification(rings).map_err(io::Error::other)? {
                break;
            }
        }
        queue.needs_notification(rings).map_err(io::Error::other)
    }

    /// What is left of a backend that is gone: requests are those that it did not complete.
    pub fn restore(&mut self, saved: &[u64]) -> Option<()> {
        self.registers.restore(saved)?;
        self.map_rings();
        let rings = self.rings.as_ref()?;
        let queue = &mut self.registers.queue;
        let used = queue.used_idx(rings, Ordering::Acquire).ok()?.0;
        queue.set_next_used(used);
        queue.set_next_avail(used);
        Some(())
    }
}
