/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the module test_xen_bench and the program bench share.
 *
 * All is timed inside the kernel, by its clock, in nanoseconds: under QEMU's
 * "-icount shift=0,sleep=off" one is one instruction, or idle time.
 */
#ifndef TEST_XEN_BENCH_H
#define TEST_XEN_BENCH_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define XTB_DEVICE		"test_xen_bench"
#define XTB_MAX_PAGES		65536
/* The most pages that a holder of the churn has. */
#define XTB_HOLDER_PAGES	64

/* What allocates and frees. */
enum xtb_op {
	XTB_NOP,		/* nothing: what all but the calls costs */
	XTB_FLOOR,		/* the least that could be done at all */
	XTB_FLOOR_DMA,		/* the same for a DMA buffer: frames, too */
	XTB_SCATTERED,		/* xen_alloc_unpopulated_pages() */
	XTB_CONTIGUOUS,		/* xen_alloc_unpopulated_contiguous_pages() */
	XTB_DMA,		/* gnttab_dma_alloc_pages(), coherent */
	XTB_BEST_FIT,		/* lib/genalloc, only for the churn */
	XTB_NR_OPS,
};

/* In which order pages are freed. */
enum xtb_order {
	XTB_IN_ORDER,
	XTB_REVERSED,
	XTB_SHUFFLED,
	XTB_ONE_BY_ONE,		/* in order, a call for each, as to allocate */
	XTB_NR_ORDERS,
};

/**
 * struct xtb_cycle - allocate and free pages again and again
 * @op: an enum xtb_op
 * @nr_pages: how many in one call
 * @order: an enum xtb_order
 * @repeat: how often
 * @ns: out: for all of it, without what reorders the pages
 */
struct xtb_cycle {
	__u32 op;
	__u32 nr_pages;
	__u32 order;
	__u32 repeat;
	__u64 ns;
};

/**
 * struct xtb_ramp - allocate page by page until so many are held
 * @nr_pages: how many are to be held
 * @total_ns: out: all calls together
 * @worst_ns: out: the longest call
 * @pad: unused
 */
struct xtb_ramp {
	__u32 nr_pages;
	__u32 pad;
	__u64 total_ns;
	__u64 worst_ns;
};

/**
 * struct xtb_churn - holders of 1 to XTB_HOLDER_PAGES pages come and go
 * @op: XTB_SCATTERED or XTB_BEST_FIT
 * @total: XTB_BEST_FIT: how many pages there are
 * @in_use: how many are held in the end, or more by less than one holder
 * @steps: how many holders go, and others come in their place
 * @run_pages: after each step a run of so many is tried, unless 0
 * @successes: out: how many of these tries succeeded
 * @run_ns: out: all tries together, free included
 * @step_ns: out: all steps together
 * @step_pages: out: how many pages were allocated in them
 *
 * What is held stays so, until XTB_IOC_RELEASE, only with XTB_SCATTERED.
 */
struct xtb_churn {
	__u32 op;
	__u32 total;
	__u32 in_use;
	__u32 steps;
	__u32 run_pages;
	__u32 successes;
	__u64 run_ns;
	__u64 step_ns;
	__u64 step_pages;
};

#define XTB_IOC_CYCLE		_IOWR('b', 0, struct xtb_cycle)
#define XTB_IOC_RAMP		_IOWR('b', 1, struct xtb_ramp)
#define XTB_IOC_CHURN		_IOWR('b', 2, struct xtb_churn)
/* A run of so many pages is held, on top of others; or the top one is freed. */
#define XTB_IOC_PUSH_RUN	_IO('b', 3)
#define XTB_IOC_POP_RUN		_IO('b', 4)
#define XTB_IOC_RELEASE		_IO('b', 5)	/* all that is held */

#endif /* TEST_XEN_BENCH_H */
