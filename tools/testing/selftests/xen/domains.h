/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tests between dom0 and a domU: what can be done on either side, and how dom0
 * has it done on the other.
 *
 * The domU grants dom0 a mailbox, which dom0 finds by trying the references
 * that are handed out first after boot; an event channel, which Xen makes as
 * the device tree says, wakes the other side.
 */
#ifndef XEN_DOMAINS_H
#define XEN_DOMAINS_H

#include <stdint.h>

#define XD_DOM0		0
#define XD_DOMU		1
#define XD_MAX_REFS	2100
#define XD_TEXT		1024
#define XD_PATH		256

enum xd_op {
	XD_RESET,	/* let go of everything */
	XD_GRANT,	/* nr pages to the other side; writable; -> refs, id */
	XD_MAP,		/* refs, by gntdev, for user space; writable; -> id */
	XD_IMPORT,	/* refs, as a dma-buf, by the importer; -> id, import */
	XD_BUFFER,	/* the same, by one that does no DMA itself */
	XD_COPY,	/* put a copy in the place of what id is of: a mistake */
	XD_DRAW,	/* a frame of the seed to id; nr refs: its pages, in order */
	XD_CHECK,	/* -> bytes of id that are not of that frame */
	XD_DISK,	/* id from the disk in text, or to it: writable; by_page */
	XD_PEEK,	/* nr bytes at offset of id; -> text */
	XD_POKE,
	XD_RELEASE,	/* id; a process is killed */
	XD_GET_ENTRY,	/* of the grant table */
	XD_SET_ENTRY,
	XD_CHILD,	/* map refs in a process that does no more; -> id */
	XD_FRAMES,	/* nr refs; -> refs: the frames that they grant */
	XD_STATS,	/* -> stats */
	XD_VIRTIO,	/* a call of test_xen_grant_dma: cmd, text */
	XD_READ_FILE,	/* text: its path; -> text, what is in it */
	XD_WRITE_FILE,	/* text: its path, and at XD_PATH what to write */
	XD_RUN,		/* text: for a shell; -> text, its output, nr, its status */
};

struct xd_import {
	uint32_t entries;
	uint32_t dma_entries;
	uint32_t same;
	uint64_t dma;
	uint64_t phys;
	uint64_t size;
};

struct xd_entry {
	uint32_t ref;
	uint32_t flags;
	uint32_t domid;
	uint32_t frame;
};

struct xd_stats {
	int64_t pages_out;	/* of the pool */
	int64_t ballooned;
	int64_t refused;
	int64_t cma_free_kib;
	int64_t free_kib;
};

struct xd_call {
	uint32_t op;		/* enum xd_op */
	int32_t ret;		/* 0 or -errno */
	uint32_t id;
	uint32_t nr;
	uint32_t writable;
	uint32_t flags;		/* of the dma-buf */
	uint32_t by_page;	/* a dma-buf is not one piece for the disk */
	uint32_t domid;		/* XD_GRANT, XD_MAP ...: the other one */
	uint32_t seed;
	uint64_t cmd;
	uint64_t offset;
	uint64_t bytes;		/* how many are wrong */
	union {
		struct xd_import import;
		struct xd_entry entry;
		struct xd_stats stats;
		uint32_t refs[XD_MAX_REFS];
		char text[XD_TEXT];
	};
};

/* Does it here. */
void xd_do(struct xd_call *call);

/* Has it done: on side XD_DOM0 or XD_DOMU.  Returns call->ret. */
int xd_call(int side, struct xd_call *call);

/* In dom0, for each process of its own. */
void xd_connect(void);

/*
 * What main() returns: serves in the domU, which never ends, and in dom0 runs
 * the tests, with an argument those that have it in the name.
 */
int xd_main(const struct xt_part *part, const struct xt_test *tests,
	    size_t nr_tests, const char *only);

#endif /* XEN_DOMAINS_H */
