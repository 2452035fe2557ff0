/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the parameters of xen_grant_dma_alloc and the Rust code behind them
 * share.
 */
#ifndef _XEN_GRANT_DMA_ALLOC_H
#define _XEN_GRANT_DMA_ALLOC_H

#include <linux/atomic.h>

/* Where buffers are taken from. */
enum xen_grant_dma_source {
	XEN_GRANT_DMA_AUTO,		/* the pool if possible, else RAM */
	XEN_GRANT_DMA_RAM,
	XEN_GRANT_DMA_UNPOPULATED,	/* the pool or not at all */
};

extern unsigned int xen_grant_dma_source;

/* What is counted. */
enum xen_grant_dma_stat {
	/* Buffers taken from RAM, by reason. */
	XEN_GRANT_DMA_FALLBACK_UNSUPPORTED,	/* no contiguous pool */
	XEN_GRANT_DMA_FALLBACK_NO_SPACE,	/* no run long and low enough */
	XEN_GRANT_DMA_FALLBACK_ASKED,		/* source=ram */
	/* Pages of RAM lost since Xen would not give back what is behind. */
	XEN_GRANT_DMA_LEAKED,
	XEN_GRANT_DMA_NR_STATS
};

extern atomic64_t xen_grant_dma_stats[XEN_GRANT_DMA_NR_STATS];

#endif /* _XEN_GRANT_DMA_ALLOC_H */
