// SPDX-License-Identifier: GPL-2.0

#ifdef CONFIG_XEN

#include <xen/mem-reservation.h>
#include <xen/page.h>

__rust_helper unsigned long rust_helper_xen_page_to_gfn(struct page *page)
{
	return xen_page_to_gfn(page);
}

__rust_helper void rust_helper_xenmem_reservation_scrub_page(struct page *page)
{
	xenmem_reservation_scrub_page(page);
}

__rust_helper void
rust_helper_xenmem_reservation_va_mapping_update(unsigned long count,
						 struct page **pages,
						 xen_pfn_t *frames)
{
	xenmem_reservation_va_mapping_update(count, pages, frames);
}

__rust_helper void
rust_helper_xenmem_reservation_va_mapping_reset(unsigned long count,
						struct page **pages)
{
	xenmem_reservation_va_mapping_reset(count, pages);
}

#endif /* CONFIG_XEN */
