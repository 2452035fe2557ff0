/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the module test_xen_unpopulated and the programs that use it share.
 *
 * An open file owns runs of pages.  A run is made empty, with room for a
 * number of pages, and is then filled and emptied by the functions under test.
 * Closing the file undoes, for all its runs, what is still to be undone.
 */
#ifndef TEST_XEN_UNPOPULATED_H
#define TEST_XEN_UNPOPULATED_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define XUT_DEVICE		"test_xen_unpopulated"

/* The most pages that a run has room for: 512 MiB of 4 KiB pages. */
#define XUT_MAX_PAGES		131072

/* The function that fills a run, and the one that empties it. */
enum xut_kind {
	XUT_NOP,		/* none: what all but the function costs */
	XUT_SCATTERED,		/* xen_alloc_unpopulated_pages() */
	XUT_CONTIGUOUS,		/* xen_alloc_unpopulated_contiguous_pages() */
	XUT_GNTTAB,		/* gnttab_alloc_pages() */
	XUT_DMA_COHERENT,	/* gnttab_dma_alloc_pages(), coherent */
	XUT_DMA_WC,		/* gnttab_dma_alloc_pages(), write-combining */
	XUT_RAM,		/* alloc_page(): pages that no pool knows */
	XUT_NR_KINDS,
};

/**
 * struct xut_new - make an empty run
 * @capacity: in: how many pages it has room for
 * @id: out: the run
 */
struct xut_new {
	__u32 capacity;
	__u32 id;
};

/**
 * struct xut_alloc - fill an empty run, or free it and fill it in turn
 * @id: the run
 * @kind: an enum xut_kind
 * @nr_pages: how many pages
 * @align: XUT_CONTIGUOUS: alignment in pages
 * @max_addr: XUT_CONTIGUOUS: highest physical address; DMA buffers: the mask of
 *	their device, except in a cycle
 * @repeat: XUT_IOC_CYCLE: how often to fill and empty
 * @pad: unused
 */
struct xut_alloc {
	__u32 id;
	__u32 kind;
	__u32 nr_pages;
	__u32 align;
	__u64 max_addr;
	__u32 repeat;
	__u32 pad;
};

/**
 * struct xut_range - some pages of a run
 * @id: the run
 * @first: index of the first page
 * @nr_pages: how many
 * @flags: XUT_FORCE
 */
struct xut_range {
	__u32 id;
	__u32 first;
	__u32 nr_pages;
	__u32 flags;
};

/* Free pages even if they are not out: the function is expected to refuse. */
#define XUT_FORCE		0x1

/**
 * struct xut_ref - one page of a run
 * @id: the run
 * @index: index of the page
 */
struct xut_ref {
	__u32 id;
	__u32 index;
};

/**
 * struct xut_free_pages - one xen_free_unpopulated_pages() of any pages
 * @nr_pages: how many
 * @flags: XUT_FORCE
 * @refs: user pointer to that many struct xut_ref
 */
struct xut_free_pages {
	__u32 nr_pages;
	__u32 flags;
	__u64 refs;
};

/* What is so about a page. */
#define XUT_PAGE_OUT		0x1	/* the run owns it */
#define XUT_PAGE_MAPPED		0x2	/* a grant is mapped in it */
#define XUT_PAGE_HELD		0x4	/* the run has an extra reference to it */
#define XUT_PAGE_READONLY	0x8	/* the grant may not be written to */
#define XUT_PAGE_POOL		0x10	/* is_xen_unpopulated_page() */
#define XUT_PAGE_DEVICE		0x20	/* is_zone_device_page() */

/**
 * struct xut_page - one page, as the kernel sees it
 * @pfn: page frame number
 * @refcount: how many references there are to it; 0 unless it is out
 * @flags: XUT_PAGE_*
 */
struct xut_page {
	__u64 pfn;
	__u32 refcount;
	__u32 flags;
};

/**
 * struct xut_pages - look at pages of a run
 * @range: which
 * @pages: user pointer to that many struct xut_page
 */
struct xut_pages {
	struct xut_range range;
	__u64 pages;
};

/**
 * struct xut_map - map grants into pages of a run
 * @range: which
 * @domid: the domain that granted
 * @flags: XUT_MAP_READONLY
 * @refs: user pointer to that many grant references (__u32)
 */
struct xut_map {
	struct xut_range range;
	__u32 domid;
	__u32 flags;
	__u64 refs;
};

#define XUT_MAP_READONLY	0x1

/**
 * struct xut_copy - read or write pages in which grants are mapped
 * @id: the run
 * @write: 0: from the pages to @buf; 1: from @buf to the pages
 * @offset: in bytes from the run's first page; crosses from one page to the
 *	next only if their frame numbers are consecutive and a grant fills a
 *	page; where it does not, it stays in the first 4 KiB of one
 * @len: at most 64 KiB
 * @buf: user pointer
 */
struct xut_copy {
	__u32 id;
	__u32 write;
	__u64 offset;
	__u64 len;
	__u64 buf;
};

/**
 * struct xut_raw - call a function that fills a run with any arguments
 * @kind: which
 * @nr_pages: as it is, also negative or 0
 * @align: as it is
 * @null: pass no array
 * @max_addr: as it is
 * @result: out: what it returned
 * @written: out: how many entries of the array (of 512) it changed
 *
 * What comes out all the same is freed again at once.
 */
struct xut_raw {
	__u32 kind;
	__s32 nr_pages;
	__u32 align;
	__u32 null;
	__u64 max_addr;
	__s32 result;
	__u32 written;
};

/**
 * struct xut_dmabuf - attach to a dma-buf, map it, look at it, and let go
 * @fd: in: the dma-buf
 * @entries: out: entries of its scatter list
 * @dma_entries: out: entries as the device sees them
 * @contiguous: out: whether the physical addresses are consecutive
 * @size: out: bytes, all entries together
 * @first_pfn: out: frame number of the first page
 */
struct xut_dmabuf {
	__s32 fd;
	__u32 entries;
	__u32 dma_entries;
	__u32 contiguous;
	__u64 size;
	__u64 first_pfn;
};

#define XUT_IOC_NEW		_IOWR('x', 0, struct xut_new)
#define XUT_IOC_DELETE		_IO('x', 1)	/* the run; must be empty */
#define XUT_IOC_ALLOC		_IOW('x', 2, struct xut_alloc)
#define XUT_IOC_FREE		_IO('x', 3)	/* the run, by its kind */
#define XUT_IOC_CYCLE		_IOW('x', 4, struct xut_alloc)
/* By xen_free_unpopulated_contiguous_pages() */
#define XUT_IOC_FREE_RUN	_IOW('x', 5, struct xut_range)
/* By xen_free_unpopulated_pages() */
#define XUT_IOC_FREE_PAGES	_IOW('x', 6, struct xut_free_pages)
#define XUT_IOC_PAGES		_IOW('x', 7, struct xut_pages)
#define XUT_IOC_HOLD		_IOW('x', 8, struct xut_range)
#define XUT_IOC_RELEASE		_IOW('x', 9, struct xut_range)
#define XUT_IOC_MAP		_IOW('x', 10, struct xut_map)
#define XUT_IOC_UNMAP		_IOW('x', 11, struct xut_range)
#define XUT_IOC_COPY		_IOW('x', 12, struct xut_copy)
#define XUT_IOC_RAW		_IOWR('x', 13, struct xut_raw)
#define XUT_IOC_DMABUF		_IOWR('x', 14, struct xut_dmabuf)

#endif /* TEST_XEN_UNPOPULATED_H */
