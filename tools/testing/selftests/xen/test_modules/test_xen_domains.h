/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the module test_xen_domains and the program that uses it share.
 *
 * The module imports dma-bufs for a device that is in the device tree, as a
 * display or a camera is, and lets user space look at what that device would
 * read.  It has disks read and write the pages of an import, and it writes to
 * the grant table as nobody should.
 *
 * An open file owns its imports; closing it ends them.
 */
#ifndef TEST_XEN_DOMAINS_H
#define TEST_XEN_DOMAINS_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define XDM_DEVICE	"test_xen_domains"
#define XDM_MAX_IMPORTS	64

/**
 * struct xdm_import - attach the device to a dma-buf and map that
 * @fd: in: of the dma-buf
 * @id: out: the import, by which mmap() finds it, at @id pages
 * @entries: out: of the scatter list
 * @dma_entries: out: what the device sees of them
 * @same: out: whether all DMA addresses are those of this domain's memory
 * @no_dma: in: not for the device, but for one that does no DMA; something else
 *	may, to the pages
 * @dma: out: the first DMA address
 * @phys: out: the first address in this domain's memory
 * @size: out: in bytes
 */
struct xdm_import {
	__s32 fd;
	__u32 id;
	__u32 entries;
	__u32 dma_entries;
	__u32 same;
	__u32 no_dma;
	__u64 dma;
	__u64 phys;
	__u64 size;
};

/**
 * struct xdm_entry - an entry of this domain's grant table, version 1
 * @ref: in: which
 * @flags: what stands there; see GTF_*
 * @domid: the domain that it names
 * @frame: the frame that it names
 * @pad: unused
 */
struct xdm_entry {
	__u32 ref;
	__u16 flags;
	__u16 domid;
	__u32 frame;
	__u32 pad;
};

/**
 * struct xdm_disk - read all of an import from a disk, or write it there
 * @fd: in: of the disk, the beginning of which is used
 * @id: in: the import
 * @write: in: whether it is written
 * @by_page: in: whether each page is given to the block layer for itself; it
 *	is each entry of the scatter list otherwise
 */
struct xdm_disk {
	__s32 fd;
	__u32 id;
	__u32 write;
	__u32 by_page;
};

#define XDM_IOC_IMPORT		_IOWR('d', 0, struct xdm_import)
#define XDM_IOC_END		_IO('d', 1)	/* the import */
#define XDM_IOC_GET_ENTRY	_IOWR('d', 2, struct xdm_entry)
/* As it is given, at once, whoever uses it. */
#define XDM_IOC_SET_ENTRY	_IOW('d', 3, struct xdm_entry)
#define XDM_IOC_DISK		_IOW('d', 4, struct xdm_disk)

#endif /* TEST_XEN_DOMAINS_H */
