// SPDX-License-Identifier: GPL-2.0
/*
 * Parameters and statistics of xen_grant_dma_alloc.
 *
 * The code behind them is in Rust (grant_dma_alloc.rs). Parameters are defined
 * here since Rust can do so for modules only, and this is always built in.
 */

#include <linux/compiler.h>
#include <linux/kernel.h>
#include <linux/moduleparam.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "grant-dma-alloc.h"

#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "xen_grant_dma_alloc."

unsigned int xen_grant_dma_source = XEN_GRANT_DMA_AUTO;

static const char * const source_names[] = {
	[XEN_GRANT_DMA_AUTO] = "auto",
	[XEN_GRANT_DMA_RAM] = "ram",
	[XEN_GRANT_DMA_UNPOPULATED] = "unpopulated",
};

static int source_set(const char *val, const struct kernel_param *kp)
{
	int source = sysfs_match_string(source_names, val);

	if (source < 0)
		return source;

	WRITE_ONCE(xen_grant_dma_source, source);

	return 0;
}

static int source_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%s\n",
			  source_names[READ_ONCE(xen_grant_dma_source)]);
}

static const struct kernel_param_ops source_ops = {
	.set = source_set,
	.get = source_get,
};

module_param_cb(source, &source_ops, NULL, 0644);
MODULE_PARM_DESC(source,
		 "Where new buffers are taken from: auto, ram or unpopulated");

atomic64_t xen_grant_dma_stats[XEN_GRANT_DMA_NR_STATS];

static int stat_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%lld\n",
			  (long long)atomic64_read(kp->arg));
}

/* The kernel's command line does not look at the mode of a parameter. */
static int stat_set(const char *val, const struct kernel_param *kp)
{
	return -EPERM;
}

static const struct kernel_param_ops stat_ops = {
	.set = stat_set,
	.get = stat_get,
};

module_param_cb(fallback_unsupported, &stat_ops,
		&xen_grant_dma_stats[XEN_GRANT_DMA_FALLBACK_UNSUPPORTED], 0444);
MODULE_PARM_DESC(fallback_unsupported,
		 "Buffers taken from RAM as there is no pool to take them from");

module_param_cb(fallback_no_space, &stat_ops,
		&xen_grant_dma_stats[XEN_GRANT_DMA_FALLBACK_NO_SPACE], 0444);
MODULE_PARM_DESC(fallback_no_space,
		 "Buffers taken from RAM as the pool had no space for them");

module_param_cb(fallback_asked, &stat_ops,
		&xen_grant_dma_stats[XEN_GRANT_DMA_FALLBACK_ASKED], 0444);
MODULE_PARM_DESC(fallback_asked,
		 "Buffers taken from RAM as the parameter source says");

module_param_cb(leaked, &stat_ops,
		&xen_grant_dma_stats[XEN_GRANT_DMA_LEAKED], 0444);
MODULE_PARM_DESC(leaked,
		 "Pages lost as Xen did not give back the memory behind them");
