/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM xen_unpopulated

#if !defined(_XEN_UNPOPULATED_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _XEN_UNPOPULATED_TRACE_H

#include <linux/mm.h>
#include <linux/tracepoint.h>

DECLARE_EVENT_CLASS(xen_unpopulated_range,
		    TP_PROTO(unsigned long first_pfn, unsigned long nr_pages),
		    TP_ARGS(first_pfn, nr_pages),
		    TP_STRUCT__entry(__field(unsigned long, first_pfn)
				     __field(unsigned long, nr_pages)
		    ),
		    TP_fast_assign(__entry->first_pfn = first_pfn;
				   __entry->nr_pages = nr_pages;
		    ),
		    TP_printk("pfn=0x%lx nr_pages=%lu",
			      __entry->first_pfn, __entry->nr_pages)
);

DEFINE_EVENT(xen_unpopulated_range, xen_unpopulated_grow,
	     TP_PROTO(unsigned long first_pfn, unsigned long nr_pages),
	     TP_ARGS(first_pfn, nr_pages)
);

DEFINE_EVENT(xen_unpopulated_range, xen_unpopulated_give_back_chunk,
	     TP_PROTO(unsigned long first_pfn, unsigned long nr_pages),
	     TP_ARGS(first_pfn, nr_pages)
);

DECLARE_EVENT_CLASS(xen_unpopulated_run,
		    TP_PROTO(struct page *first, unsigned long nr_pages),
		    TP_ARGS(first, nr_pages),
		    TP_STRUCT__entry(__field(unsigned long, first_pfn)
				     __field(unsigned long, nr_pages)
		    ),
		    TP_fast_assign(__entry->first_pfn = page_to_pfn(first);
				   __entry->nr_pages = nr_pages;
		    ),
		    TP_printk("pfn=0x%lx nr_pages=%lu",
			      __entry->first_pfn, __entry->nr_pages)
);

DEFINE_EVENT(xen_unpopulated_run, xen_unpopulated_alloc_contiguous,
	     TP_PROTO(struct page *first, unsigned long nr_pages),
	     TP_ARGS(first, nr_pages)
);

DEFINE_EVENT(xen_unpopulated_run, xen_unpopulated_free_contiguous,
	     TP_PROTO(struct page *first, unsigned long nr_pages),
	     TP_ARGS(first, nr_pages)
);

TRACE_EVENT(xen_unpopulated_refuse,
	    TP_PROTO(unsigned long nr_pages),
	    TP_ARGS(nr_pages),
	    TP_STRUCT__entry(__field(unsigned long, nr_pages)
	    ),
	    TP_fast_assign(__entry->nr_pages = nr_pages;
	    ),
	    TP_printk("nr_pages=%lu", __entry->nr_pages)
);

TRACE_EVENT(xen_unpopulated_fallback,
	    TP_PROTO(int cause, unsigned long nr_pages),
	    TP_ARGS(cause, nr_pages),
	    TP_STRUCT__entry(__field(int, cause)
			     __field(unsigned long, nr_pages)
	    ),
	    TP_fast_assign(__entry->cause = cause;
			   __entry->nr_pages = nr_pages;
	    ),
	    TP_printk("cause=%d nr_pages=%lu",
		      __entry->cause, __entry->nr_pages)
);

#endif /* _XEN_UNPOPULATED_TRACE_H */

/* This part must be outside protection */
#undef TRACE_INCLUDE_PATH
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_PATH .
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
