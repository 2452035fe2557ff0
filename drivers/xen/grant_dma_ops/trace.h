/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM xen_grant_dma

#if !defined(_XEN_GRANT_DMA_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _XEN_GRANT_DMA_TRACE_H

#include <linux/device.h>
#include <linux/tracepoint.h>

DECLARE_EVENT_CLASS(xen_grant_dma_run,
		    TP_PROTO(struct device *dev, unsigned int first,
			     unsigned int count),
		    TP_ARGS(dev, first, count),
		    TP_STRUCT__entry(__string(device, dev_name(dev))
				     __field(unsigned int, first)
				     __field(unsigned int, count)
		    ),
		    TP_fast_assign(__assign_str(device);
				   __entry->first = first;
				   __entry->count = count;
		    ),
		    TP_printk("%s ref=%u count=%u", __get_str(device),
			      __entry->first, __entry->count)
);

DEFINE_EVENT(xen_grant_dma_run, xen_grant_dma_map,
	     TP_PROTO(struct device *dev, unsigned int first,
		      unsigned int count),
	     TP_ARGS(dev, first, count)
);

DEFINE_EVENT(xen_grant_dma_run, xen_grant_dma_unmap,
	     TP_PROTO(struct device *dev, unsigned int first,
		      unsigned int count),
	     TP_ARGS(dev, first, count)
);

DEFINE_EVENT(xen_grant_dma_run, xen_grant_dma_quarantine,
	     TP_PROTO(struct device *dev, unsigned int first,
		      unsigned int count),
	     TP_ARGS(dev, first, count)
);

#endif /* _XEN_GRANT_DMA_TRACE_H */

/* This part must be outside protection */
#undef TRACE_INCLUDE_PATH
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_PATH .
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
