/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the module test_xen_grant_dma and the programs that use it share.
 *
 * The module is a virtio transport: for each node of the device tree that is
 * compatible with "xen,grant-dma-test", and for each of QEMU's pci-testdev,
 * there is a device, which a virtio device can be attached to.  Its other half
 * plays the backend: it takes a DMA address for what a backend has to take it
 * for, a grant reference, and maps that in its own domain.
 *
 * An open file owns buffers, mappings and what the backend holds.  Closing it
 * lets go of all of them.
 */
#ifndef TEST_XEN_GRANT_DMA_H
#define TEST_XEN_GRANT_DMA_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define XGD_DEVICE		"test_xen_grant_dma"

/* Bytes of a buffer, entries of a list, times that something is repeated. */
#define XGD_MAX_SIZE		(4 << 20)
#define XGD_MAX_ENTRIES		256
#define XGD_MAX_REPEAT		10000

/* The virtio device that nothing but this module has a driver for. */
#define XGD_VIRTIO_ID		0x7e57
#define XGD_VIRTIO_ID_RNG	4

/* What the DMA API calls them. */
enum xgd_dir {
	XGD_BIDIRECTIONAL,
	XGD_TO_DEVICE,
	XGD_FROM_DEVICE,
	XGD_NR_DIRS,
};

/**
 * struct xgd_info - look at a device
 * @index: in: which, from 0; -ENODEV beyond the last
 * @bound: out: whether its driver is bound
 * @attached: out: whether it has a virtio device that a driver is bound to
 * @binds: out: how often that was tried since the module was loaded
 * @restricted: in: whether to ask, as the virtio core does for each driver, if
 *	memory access is restricted; out: what is answered
 * @ops_kept: out: whether its DMA operations are the ones that it had before
 *	the first virtio device
 * @max_mapping: out: dma_max_mapping_size()
 * @name: out: its name
 */
struct xgd_info {
	__u32 index;
	__u32 bound;
	__u32 attached;
	__u32 binds;
	__u32 restricted;
	__u32 ops_kept;
	__u64 max_mapping;
	char name[32];
};

/**
 * struct xgd_attach - make a virtio device below a device
 * @index: the device
 * @virtio_id: of which kind
 * @flags: XGD_FAIL_ALLOC, XGD_NO_PLATFORM, XGD_UNBOUND
 * @failed: out: how many allocations failed
 */
struct xgd_attach {
	__u32 index;
	__u32 virtio_id;
	__u32 flags;
	__u32 failed;
};

/* Let allocations fail while the virtio core asks for restricted access. */
#define XGD_FAIL_ALLOC		0x1
/* Do not offer VIRTIO_F_ACCESS_PLATFORM. */
#define XGD_NO_PLATFORM		0x2
/* Even if the device has no driver. */
#define XGD_UNBOUND		0x4

/* Where a buffer comes from. */
enum xgd_memory {
	XGD_PAGES,		/* alloc_pages_exact() */
	XGD_KMALLOC,		/* kmalloc() */
	XGD_UNPOPULATED,	/* gnttab_alloc_pages(), one page */
	XGD_SCATTERED,		/* alloc_page() for each page */
	XGD_NR_MEMORY,
};

/**
 * struct xgd_buffer - get memory
 * @memory: enum xgd_memory
 * @size: in bytes
 * @dirty: fill pages with 0x5a and free them first, to be given those
 * @id: out: the buffer
 * @pfn: out: of its first page
 */
struct xgd_buffer {
	__u32 memory;
	__u32 size;
	__u32 dirty;
	__u32 id;
	__u64 pfn;
};

/**
 * struct xgd_map - map a buffer, or a part of one, for a device
 * @index: the device
 * @buffer: the buffer, or with XGD_FOREIGN what is held
 * @offset: where in it
 * @size: how much of it; 0 is passed on
 * @dir: enum xgd_dir
 * @flags: XGD_IRQS_OFF, XGD_LIST, XGD_SKIP_SYNC, XGD_COUNT_LOCKS, XGD_FOREIGN,
 *	XGD_MMIO
 * @id: out: the mapping
 * @locks: out: how many spinlocks were taken; -1: not counted
 * @dma: out: the DMA address
 */
struct xgd_map {
	__u32 index;
	__u32 buffer;
	__u32 offset;
	__u32 size;
	__u32 dir;
	__u32 flags;
	__u32 id;
	__s32 locks;
	__u64 dma;
};

/* With interrupts off */
#define XGD_IRQS_OFF	0x1
/* Map a scatter list, an entry for each page */
#define XGD_LIST	0x2
/* DMA_ATTR_SKIP_CPU_SYNC */
#define XGD_SKIP_SYNC	0x4
/* Count the spinlocks that are taken */
#define XGD_COUNT_LOCKS	0x8
/* Map pages in which a grant is mapped */
#define XGD_FOREIGN	0x10
/* Map the registers of a device, by dma_map_resource(), in place of the buffer */
#define XGD_MMIO	0x20

/**
 * struct xgd_unmap - undo a mapping or an allocation
 * @id: the mapping
 * @flags: XGD_IRQS_OFF, XGD_SKIP_SYNC, XGD_COUNT_LOCKS
 * @locks: out: how many spinlocks were taken; -1: not counted
 * @pad: unused
 */
struct xgd_unmap {
	__u32 id;
	__u32 flags;
	__s32 locks;
	__u32 pad;
};

/**
 * struct xgd_list - the DMA addresses of a mapped scatter list
 * @id: the mapping
 * @nr: in: room; out: entries
 * @dma: user pointer to that many __u64
 * @len: user pointer to that many __u32
 */
struct xgd_list {
	__u32 id;
	__u32 nr;
	__u64 dma;
	__u64 len;
};

/**
 * struct xgd_alloc - memory of the DMA API
 * @index: the device
 * @size: in bytes
 * @pages: dma_alloc_pages(), else dma_alloc_coherent()
 * @dirty: as for a buffer
 * @id: out: the mapping, and the buffer as well
 * @dma: out: the DMA address
 * @pad: unused
 */
struct xgd_alloc {
	__u32 index;
	__u32 size;
	__u32 pages;
	__u32 dirty;
	__u32 id;
	__u32 pad;
	__u64 dma;
};

/**
 * struct xgd_sync - dma_sync_single_for_cpu() and its counterpart
 * @id: the mapping
 * @offset: where in it
 * @size: how much of it
 * @device: for the device, else for the CPU
 */
struct xgd_sync {
	__u32 id;
	__u32 offset;
	__u32 size;
	__u32 device;
};

/**
 * struct xgd_copy - read or write, as the driver or as the backend
 * @id: the buffer, or what is held; not used with a DMA address
 * @write: from @buf
 * @at: offset, or the DMA address
 * @len: at most 64 KiB
 * @read_only: map the grants read-only (DMA addresses)
 * @buf: user pointer
 */
struct xgd_copy {
	__u32 id;
	__u32 write;
	__u64 at;
	__u32 len;
	__u32 read_only;
	__u64 buf;
};

/**
 * struct xgd_hold - let the backend map something, and keep it
 * @dma: the DMA address
 * @len: from there
 * @id: out: what is held
 * @read_only: map the grants read-only
 * @pfn: out: of the page that the first grant is mapped in
 * @pad: unused
 */
struct xgd_hold {
	__u64 dma;
	__u32 len;
	__u32 id;
	__u32 read_only;
	__u32 pad;
	__u64 pfn;
};

/**
 * struct xgd_entry - what Xen sees of a grant reference
 * @ref: in: the reference
 * @frame: out: the frame that it grants access to
 * @flags: out: XGD_GTF_*
 * @domid: out: the domain that it grants access to
 */
struct xgd_entry {
	__u32 ref;
	__u32 frame;
	__u16 flags;
	__u16 domid;
};

#define XGD_GTF_ACCESS		0x1
#define XGD_GTF_READONLY	0x4
#define XGD_GTF_IN_USE		0x18

/* What is repeated. */
enum xgd_op {
	XGD_OP_NOP,
	XGD_OP_MAP,		/* dma_map_single() and unmap */
	XGD_OP_SG,		/* dma_map_sg(), an entry for each page */
	XGD_OP_COHERENT,	/* dma_alloc_coherent() and free */
	XGD_OP_SYNC,		/* for the CPU and for the device, one mapping */
	XGD_OP_FLOOR,		/* a grant entry for each page, written and ended */
	XGD_OP_POOL,		/* xen_alloc_unpopulated_pages() and free */
	XGD_NR_OPS,
};

/**
 * struct xgd_cycle - do something and undo it, again and again
 * @index: the device
 * @op: enum xgd_op
 * @nr_pages: of how many pages
 * @repeat: how often
 * @flags: XGD_IRQS_OFF, which allocations cannot be done with
 * @failed: out: how many times it was refused
 * @bytes: of so many bytes instead; not of a list
 * @dir: enum xgd_dir, where something is mapped
 * @ns: out: what all of it took
 */
struct xgd_cycle {
	__u32 index;
	__u32 op;
	__u32 nr_pages;
	__u32 repeat;
	__u32 flags;
	__u32 failed;
	__u32 bytes;
	__u32 dir;
	__u64 ns;
};

/* What is observed of locks, spinlocks and mutexes, by kprobes. */
enum xgd_watch {
	XGD_WATCH_TAKEN,	/* how many were taken */
	XGD_WATCH_WAITS,	/* how often one was waited for */
	XGD_WATCH_HELD,		/* how long one was held at most; one CPU */
	XGD_NR_WATCHES,
};

/* CPUs that do something at once. */
#define XGD_MAX_CPUS		8

/**
 * struct xgd_contend - have several CPUs do the same at once
 * @cycle: what each of them does, for half a second at most, with no flags;
 *	@cycle.repeat, @cycle.failed: out: of all together
 * @nr_cpus: how many
 * @watch: enum xgd_watch
 * @seen: out: what was observed; XGD_WATCH_HELD: in nanoseconds, less those of
 *	an empty critical section
 */
struct xgd_contend {
	struct xgd_cycle cycle;
	__u32 nr_cpus;
	__u32 watch;
	__u64 seen;
};

#define XGD_IOC_INFO		_IOWR('g', 0, struct xgd_info)
#define XGD_IOC_BIND		_IO('g', 1)	/* the device, to its driver */
#define XGD_IOC_UNBIND		_IO('g', 2)
#define XGD_IOC_ATTACH		_IOWR('g', 3, struct xgd_attach)
#define XGD_IOC_DETACH		_IO('g', 4)	/* the device */
#define XGD_IOC_BUFFER		_IOWR('g', 5, struct xgd_buffer)
#define XGD_IOC_BUFFER_FREE	_IO('g', 6)	/* the buffer */
#define XGD_IOC_MAP		_IOWR('g', 7, struct xgd_map)
#define XGD_IOC_UNMAP		_IOWR('g', 8, struct xgd_unmap)
#define XGD_IOC_LIST		_IOWR('g', 9, struct xgd_list)
#define XGD_IOC_ALLOC		_IOWR('g', 10, struct xgd_alloc)
#define XGD_IOC_SYNC		_IOW('g', 11, struct xgd_sync)
#define XGD_IOC_COPY		_IOW('g', 12, struct xgd_copy)	/* a buffer */
#define XGD_IOC_DMA		_IOW('g', 13, struct xgd_copy)	/* DMA address */
#define XGD_IOC_HOLD		_IOWR('g', 14, struct xgd_hold)
#define XGD_IOC_HELD		_IOW('g', 15, struct xgd_copy)	/* what is held */
#define XGD_IOC_RELEASE		_IO('g', 16)	/* what is held */
#define XGD_IOC_ENTRY		_IOWR('g', 17, struct xgd_entry)
#define XGD_IOC_CYCLE		_IOWR('g', 18, struct xgd_cycle)
/* Takes all references but this many; ~0: gives all back. */
#define XGD_IOC_EXHAUST		_IO('g', 19)
#define XGD_IOC_FREE_REFS	_IO('g', 20)	/* returns how many there are */
#define XGD_IOC_CONTEND		_IOWR('g', 21, struct xgd_contend)
#define XGD_IOC_ABANDON		_IO('g', 22)	/* unbinds, whatever is mapped */
/*
 * Has the table of references grow while some are free: returns how often it
 * has, -EEXIST if a reference is handed out twice, or -EBADF if fewer are handed
 * out than were asked for.
 */
#define XGD_IOC_GROW_TABLE	_IO('g', 23)
#define XGD_IOC_NO_REFS		_IO('g', 24)	/* asks for none */

#endif /* TEST_XEN_GRANT_DMA_H */
