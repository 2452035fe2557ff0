// SPDX-License-Identifier: GPL-2.0

//! What Xen does for a device model: it hands over the guest's accesses to a range of addresses,
//! and raises interrupts.
//!
//! This is the only file with `unsafe` in it.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    mem::size_of,
    os::fd::AsRawFd,
    ptr::{self, NonNull},
    sync::atomic::{AtomicU8, Ordering},
};

use vmm_sys_util::ioctl::{ioctl_expr, _IOC_NONE};

const PAGE: usize = 4096;

const DM_OP: libc::c_ulong = privcmd(5, size_of::<PrivcmdDmOp>());
const MMAP_RESOURCE: libc::c_ulong = privcmd(7, size_of::<MmapResource>());
const BIND_INTERDOMAIN: libc::c_ulong =
    ioctl_expr(_IOC_NONE, 'E' as u32, 1, size_of::<[u32; 2]>() as u32);
const NOTIFY: libc::c_ulong = ioctl_expr(_IOC_NONE, 'E' as u32, 4, size_of::<u32>() as u32);

const fn privcmd(number: u32, size: usize) -> libc::c_ulong {
    ioctl_expr(_IOC_NONE, 'P' as u32, number, size as u32)
}

#[repr(C)]
struct PrivcmdDmOpBuf {
    uptr: *mut DmOp,
    size: usize,
}

#[repr(C)]
struct PrivcmdDmOp {
    dom: u16,
    num: u16,
    ubufs: *const PrivcmdDmOpBuf,
}

#[repr(C)]
struct MmapResource {
    dom: u16,
    kind: u32,
    id: u32,
    idx: u32,
    num: u64,
    addr: u64,
}

/// `struct xen_dm_op`, the largest member of whose union that is used here has 24 bytes.
#[repr(C)]
#[derive(Default)]
struct DmOp {
    op: u32,
    pad: u32,
    args: [u32; 6],
}

const CREATE_IOREQ_SERVER: u32 = 1;
const MAP_IO_RANGE: u32 = 3;
const SET_STATE: u32 = 5;
const SET_IRQ_LEVEL: u32 = 19;
const RANGE_MEMORY: u32 = 1;
const RESOURCE_IOREQ_SERVER: u32 = 0;
/// Behind the page of the buffered ones.
const FRAME_IOREQ: u32 = 1;

/// `struct ioreq`, of the first virtual CPU.
#[repr(C)]
struct Ioreq {
    addr: u64,
    data: u64,
    count: u32,
    size: u32,
    event: u32,
    pad: u16,
    /// The state in the lower half, then `data_is_ptr` and the direction.
    state: AtomicU8,
    kind: u8,
}

const STATE_NONE: u8 = 0;
const STATE_RESPONSE: u8 = 3;
const STATE_MASK: u8 = 0xf;
const IS_READ: u8 = 1 << 5;

/// An access of the guest, which waits for the answer.
pub struct Access {
    pub addr: u64,
    pub size: usize,
    /// What is written; `None`: it is a read.
    pub value: Option<u64>,
}

/// An ioreq server of Xen's for one range of addresses of a domain with one virtual CPU.
pub struct IoreqServer {
    domid: u16,
    id: u16,
    privcmd: File,
    events: File,
    port: u32,
    page: NonNull<Ioreq>,
}

impl IoreqServer {
    /// Makes one, or goes on with the one that a process that is gone has left.
    ///
    /// Xen keeps it, and an access that was not answered, until the domain ends.
    pub fn new(domid: u16, range: (u64, u64), left: Option<u16>) -> io::Result<Self> {
        let open = |path| OpenOptions::new().read(true).write(true).open(path);
        let privcmd = open("/dev/xen/privcmd")?;
        let events = open("/dev/xen/evtchn")?;
        let id = match left {
            Some(id) => id,
            None => create(&privcmd, domid, range)?,
        };
        let page = map_ioreqs(&privcmd, domid, id)?;
        // SAFETY: The page is mapped, for good.  Xen wrote the number of the event channel when it
        // enabled the server, and does not write it again.
        let event = unsafe { ptr::read_volatile(&raw const (*page.as_ptr()).event) };
        let mut bind = [u32::from(domid), event];
        // SAFETY: This is what that `ioctl` reads.
        let port = unsafe { libc::ioctl(events.as_raw_fd(), BIND_INTERDOMAIN as _, &mut bind) };
        Ok(Self {
            domid,
            id,
            privcmd,
            events,
            port: u32::try_from(port).map_err(|_| io::Error::last_os_error())?,
            page,
        })
    }

    pub fn id(&self) -> u16 {
        self.id
    }

    /// Waits until there may be an access.
    pub fn wait(&mut self) -> io::Result<()> {
        let mut port = [0; 4];
        self.events.read_exact(&mut port)?;
        // Writing it has the next one come.
        self.events.write_all(&port)
    }

    /// The access that waits.
    pub fn access(&self) -> Option<Access> {
        let ioreq = self.page.as_ptr();
        // SAFETY: The page is mapped for as long as `self` is there, and nobody makes references
        // to more than the state, which is atomic.
        let state = unsafe { (*ioreq).state.load(Ordering::Acquire) };
        if matches!(state & STATE_MASK, STATE_NONE | STATE_RESPONSE) {
            return None;
        }
        // SAFETY: As above; Xen does not change a request before it is answered.
        unsafe {
            Some(Access {
                addr: ptr::read_volatile(&raw const (*ioreq).addr),
                size: ptr::read_volatile(&raw const (*ioreq).size) as usize,
                value: (state & IS_READ == 0).then(|| ptr::read_volatile(&raw const (*ioreq).data)),
            })
        }
    }

    /// Answers it.
    pub fn answer(&self, data: u64) -> io::Result<()> {
        let ioreq = self.page.as_ptr();
        // SAFETY: As in `access()`; the request is ours until its state is another.
        unsafe {
            ptr::write_volatile(&raw mut (*ioreq).data, data);
            let old = (*ioreq).state.load(Ordering::Relaxed);
            let new = old & !STATE_MASK | STATE_RESPONSE;
            (*ioreq).state.store(new, Ordering::Release);
        }
        let mut port = self.port;
        // SAFETY: This is what that `ioctl` reads.
        check(unsafe { libc::ioctl(self.events.as_raw_fd(), NOTIFY as _, &mut port) })
    }

    /// Raises an interrupt, which is edge-triggered.
    pub fn raise(&self, irq: u32) -> io::Result<()> {
        dm_op(&self.privcmd, self.domid, SET_IRQ_LEVEL, &[irq, 1]).map(drop)
    }
}

fn create(privcmd: &File, domid: u16, (start, end): (u64, u64)) -> io::Result<u16> {
    let id = dm_op(privcmd, domid, CREATE_IOREQ_SERVER, &[])?[1] & 0xffff;
    let low = |addr: u64| addr as u32;
    let high = |addr: u64| (addr >> 32) as u32;
    let range = [
        id,
        RANGE_MEMORY,
        low(start),
        high(start),
        low(end),
        high(end),
    ];
    dm_op(privcmd, domid, MAP_IO_RANGE, &range)?;
    // Its page is made by the first who maps it, and has to be there to be enabled.
    map_ioreqs(privcmd, domid, id as u16)?;
    dm_op(privcmd, domid, SET_STATE, &[id | 1 << 16])?;
    Ok(id as u16)
}

/// Returns the arguments as Xen leaves them.
fn dm_op(privcmd: &File, domid: u16, op: u32, args: &[u32]) -> io::Result<[u32; 6]> {
    let mut buffer = DmOp {
        op,
        ..Default::default()
    };
    buffer.args[..args.len()].copy_from_slice(args);
    let buf = PrivcmdDmOpBuf {
        uptr: &mut buffer,
        size: size_of::<DmOp>(),
    };
    let call = PrivcmdDmOp {
        dom: domid,
        num: 1,
        ubufs: &buf,
    };
    // SAFETY: There is one buffer, of that size, which Xen may write to.
    check(unsafe { libc::ioctl(privcmd.as_raw_fd(), DM_OP as _, &call) })?;
    Ok(buffer.args)
}

/// Maps the page of requests, until the process ends.
fn map_ioreqs(privcmd: &File, domid: u16, id: u16) -> io::Result<NonNull<Ioreq>> {
    // SAFETY: The kernel chooses an address where nothing is.
    let addr = unsafe {
        libc::mmap(
            ptr::null_mut(),
            PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            privcmd.as_raw_fd(),
            0,
        )
    };
    if addr == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let resource = MmapResource {
        dom: domid,
        kind: RESOURCE_IOREQ_SERVER,
        id: u32::from(id),
        idx: FRAME_IOREQ,
        num: 1,
        addr: addr as u64,
    };
    // SAFETY: The page that this puts there is all of the mapping above.
    check(unsafe { libc::ioctl(privcmd.as_raw_fd(), MMAP_RESOURCE as _, &resource) })?;
    NonNull::new(addr.cast()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn check(ret: libc::c_int) -> io::Result<()> {
    if ret < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
