/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the two halves of the DMA operations that use grants know of each other:
 * the operations, which are in Rust, and what they need that Rust cannot
 * express, or that only C can get at.
 */
#ifndef _XEN_GRANT_DMA_OPS_H
#define _XEN_GRANT_DMA_OPS_H

#include <linux/dma-map-ops.h>
#include <linux/types.h>

struct device;
struct page;

/**
 * struct xen_grant_dma_statistics - what a device has and has done
 * @backend: domain that has access
 * @maps: buffers that are mapped for streaming DMA now
 * @references: grant references that the device has now, unused ones included
 * @quarantined: those that it has lost as the backend held them, until it does
 *	not any more
 * @bounced: parts of pages that have been copied instead of granted
 * @exposed: frames of streaming buffers that the backend still had access to
 *	when they were unmapped
 * @broken: whether the backend has held something, so that new DMA is refused
 */
struct xen_grant_dma_statistics {
	u64 backend;
	u64 maps;
	u64 references;
	u64 quarantined;
	u64 bounced;
	u64 exposed;
	u64 broken;
};

/*
 * In Rust, see xen_grant_dma.rs. xen_grant_dma_start() comes first. It, create,
 * retire, destroy and retry may sleep. What has been created and installed is
 * retired, and then destroyed if nothing is left mapped, or kept, and revived
 * when the device is set up again.
 */
void xen_grant_dma_start(void);
const struct dma_map_ops *xen_grant_dma_create(u32 backend, bool isolate);
bool xen_grant_dma_retire(const struct dma_map_ops *ops);
void xen_grant_dma_revive(const struct dma_map_ops *ops);
void xen_grant_dma_destroy(const struct dma_map_ops *ops);
void xen_grant_dma_get_statistics(const struct dma_map_ops *ops,
				  struct xen_grant_dma_statistics *stats);
bool xen_grant_dma_retry(void);

/* In C, see glue.c. */
bool xen_grant_dma_is_own(phys_addr_t phys, unsigned long nr_pages);
bool xen_grant_dma_is_plain(phys_addr_t phys, unsigned long nr_pages);
phys_addr_t xen_grant_dma_plain_phys(struct page *page, unsigned long nr_pages);
bool xen_grant_dma_pin(unsigned long pfn);
void xen_grant_dma_unpin(unsigned long pfn);
void xen_grant_dma_queue_retry(void);
void xen_grant_dma_tell_broken(struct device *dev);

#endif /* _XEN_GRANT_DMA_OPS_H */
