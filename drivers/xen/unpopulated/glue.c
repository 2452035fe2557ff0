// SPDX-License-Identifier: GPL-2.0
/*
 * Unpopulated pages: what surrounds the pool, which is in Rust. The start at
 * boot with the arch's hook, the exported functions, parameters, statistics,
 * the work that gives chunks back, and what PV domains need.
 */
#define pr_fmt(fmt) "xen:unpopulated: " fmt

#include <linux/debugfs.h>
#include <linux/errno.h>
#include <linux/export.h>
#include <linux/init.h>
#include <linux/ioport.h>
#include <linux/jump_label.h>
#include <linux/kobject.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/sched/mm.h>
#include <linux/seq_file.h>
#include <linux/sysfs.h>
#include <linux/workqueue.h>

#include <xen/balloon.h>
#include <xen/page.h>
#include <xen/xen.h>

#include "unpopulated.h"

#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include "trace.h"

#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "xen_unpopulated."

#define MAX_IDLE_SECONDS (24 * 60 * 60)

/* For balloon_init(): how much of get_num_physpages() is not memory. */
unsigned long xen_unpopulated_pages __initdata;

/* Until the pool is ready, pages are ballooned ones. */
struct xen_unpopulated_key xen_unpopulated_ready = {
	.key = STATIC_KEY_FALSE_INIT,
};

/* What arch_xen_unpopulated_init() frees, linked through zone_device_data. */
static struct page *donated;
static bool accept_donations;

/*
 * Where pages are put: in gaps of the address map that Linux knows, unless an
 * arch is told by Xen which addresses are unused.
 */
int __weak __init arch_xen_unpopulated_init(struct resource **res)
{
	*res = &iomem_resource;

	return 0;
}

int xen_unpopulated_alloc_early(unsigned int nr_pages, struct page **pages)
{
	return xen_alloc_ballooned_pages(nr_pages, pages);
}

void xen_unpopulated_free_early(unsigned int nr_pages, struct page **pages)
{
	unsigned int i;

	if (!accept_donations) {
		xen_free_ballooned_pages(nr_pages, pages);
		return;
	}

	for (i = 0; i < nr_pages; i++) {
		pages[i]->zone_device_data = donated;
		donated = pages[i];
	}
}

EXPORT_SYMBOL(xen_alloc_unpopulated_pages);
EXPORT_SYMBOL(xen_free_unpopulated_pages);
EXPORT_SYMBOL_GPL(xen_alloc_unpopulated_contiguous_pages);
EXPORT_SYMBOL_GPL(xen_free_unpopulated_contiguous_pages);
EXPORT_SYMBOL_GPL(is_xen_unpopulated_page);

bool xen_unpopulated_is_pv(void)
{
	return xen_pv_domain();
}

static bool has_ram(phys_addr_t start, phys_addr_t size)
{
	return region_intersects(start, size, IORESOURCE_SYSTEM_RAM,
				 IORES_DESC_NONE) != REGION_DISJOINT;
}

/*
 * The page allocator, isolation and compaction go through all of a pageblock
 * that has RAM in it, and memmap_init_zone_device() sets the block's
 * migratetype. Returns where the last such block of an unused range ends, or 0.
 * There is none but at its ends, and none where steps are as large as blocks.
 */
phys_addr_t xen_unpopulated_past_ram(phys_addr_t start, phys_addr_t end)
{
	const phys_addr_t size = PFN_PHYS(pageblock_nr_pages);
	const phys_addr_t first = ALIGN_DOWN(start, size);
	const phys_addr_t last = ALIGN_DOWN(end, size);

	if (last != end && has_ram(last, size))
		return last + size;
	if (first != start && has_ram(first, size))
		return first + size;

	return 0;
}

#ifdef CONFIG_XEN_HAVE_PVMMU
/*
 * The PTEs that memremap_pages() writes are made from the p2m: an invalid entry
 * has them not present. It stays if memremap_pages() fails, as there is no
 * device in the range that would need an identity entry.
 */
int xen_unpopulated_prepare_range(phys_addr_t start, unsigned long nr_pages)
{
	unsigned long pfn = PHYS_PFN(start);
	unsigned long i;

	if (!xen_pv_domain())
		return 0;

	for (i = 0; i < nr_pages; i++) {
		if (!set_phys_to_machine(pfn + i, INVALID_P2M_ENTRY)) {
			pr_warn("set_phys_to_machine() failed, no pages added\n");
			return -ENOMEM;
		}
	}

	return 0;
}

/* In a PV domain a page can be mapped to once it has an entry in the p2m. */
int xen_unpopulated_prepare_pages(unsigned int nr_pages, struct page **pages)
{
	unsigned int i;

	if (!xen_pv_domain())
		return 0;

	for (i = 0; i < nr_pages; i++) {
		int ret = xen_alloc_p2m_entry(page_to_pfn(pages[i]));

		if (ret < 0)
			return ret;
	}

	return 0;
}
#else
int xen_unpopulated_prepare_range(phys_addr_t start, unsigned long nr_pages)
{
	return 0;
}

int xen_unpopulated_prepare_pages(unsigned int nr_pages, struct page **pages)
{
	return 0;
}
#endif

void xen_unpopulated_refused(unsigned long nr_pages)
{
	trace_xen_unpopulated_refuse(nr_pages);
	WARN_ONCE(1, "xen:unpopulated: %lu page(s) freed that were not handed out\n",
		  nr_pages);
}

void xen_unpopulated_fell_back(int cause, unsigned long nr_pages)
{
	trace_xen_unpopulated_fallback(cause, nr_pages);
	pr_warn_once("no unused address space for %lu more page(s) (%d), using ballooned memory\n",
		     nr_pages, cause);
}

void xen_unpopulated_exhausted(int cause, unsigned long nr_pages)
{
	pr_warn_once("neither unused address space nor RAM for %lu more page(s) (%d)\n",
		     nr_pages, cause);
}

unsigned long xen_unpopulated_balloonable(void)
{
	/* The balloon adds memory then, before it looks how much there is. */
	if (xen_hotplug_unpopulated)
		return ULONG_MAX;

	return max(si_mem_available(), 0L) + balloon_stats.balloon_low +
	       balloon_stats.balloon_high;
}

unsigned int xen_unpopulated_noio_save(void)
{
	return memalloc_noio_save();
}

void xen_unpopulated_noio_restore(unsigned int flags)
{
	memalloc_noio_restore(flags);
}

static void give_back(struct work_struct *work);
static DECLARE_DELAYED_WORK(give_back_work, give_back);

/*
 * The pool may have read the parameter before it was set. The work is on its
 * way then, is sooner, and finds out itself what there is to do.
 */
void xen_unpopulated_queue_give_back(unsigned long delay)
{
	queue_delayed_work(system_dfl_wq, &give_back_work, delay);
}

static void give_back(struct work_struct *work)
{
	unsigned long delay = xen_unpopulated_give_back();

	/* What the pool has queued it for meanwhile is known here. */
	if (delay)
		mod_delayed_work(system_dfl_wq, &give_back_work, delay);
}

unsigned int xen_unpopulated_idle_seconds = 10;

static int set_give_back(const char *val, const struct kernel_param *kp)
{
	int ret = param_set_uint_minmax(val, kp, 0, MAX_IDLE_SECONDS);

	if (!ret && xen_unpopulated_idle_seconds &&
	    static_key_enabled(&xen_unpopulated_ready.key)) {
		/* If it runs it may have read the old value, and queue itself. */
		cancel_delayed_work_sync(&give_back_work);
		mod_delayed_work(system_dfl_wq, &give_back_work, 0);
	}

	return ret;
}

static const struct kernel_param_ops give_back_ops = {
	.set = set_give_back,
	.get = param_get_uint,
};

module_param_cb(give_back, &give_back_ops, &xen_unpopulated_idle_seconds, 0644);
MODULE_PARM_DESC(give_back,
		 "Seconds after which unused struct pages are given back (0: never)");

unsigned long xen_unpopulated_max_pages;
module_param_named(max_pages, xen_unpopulated_max_pages, ulong, 0644);
MODULE_PARM_DESC(max_pages, "Pages that the pool must not grow beyond (0: any)");

static int __init unpopulated_init(void)
{
	struct resource *target = NULL;
	int ret;

	if (!xen_domain())
		return -ENODEV;

	accept_donations = true;
	ret = arch_xen_unpopulated_init(&target);
	accept_donations = false;
	if (ret) {
		pr_err("Cannot initialize target resource\n");
		target = NULL;
	}

	xen_unpopulated_start(target, donated);
	static_branch_enable(&xen_unpopulated_ready.key);

	return ret;
}
early_initcall(unpopulated_init);

#define STATISTIC_SHOW(_name)						\
static ssize_t _name##_show(struct kobject *kobj,			\
			    struct kobj_attribute *attr, char *buf)	\
{									\
	struct xen_unpopulated_statistics stats;			\
									\
	xen_unpopulated_get_statistics(&stats);				\
	return sysfs_emit(buf, "%lu\n", stats._name);			\
}

STATISTIC_SHOW(total)
STATISTIC_SHOW(free)
STATISTIC_SHOW(chunks)
STATISTIC_SHOW(ballooned)
STATISTIC_SHOW(grown)
STATISTIC_SHOW(given_back)
STATISTIC_SHOW(refused)
STATISTIC_SHOW(pinned)
STATISTIC_SHOW(fallback)

static struct kobj_attribute total_attr = __ATTR_RO(total);
static struct kobj_attribute free_attr = __ATTR_RO(free);
static struct kobj_attribute chunks_attr = __ATTR_RO(chunks);
static struct kobj_attribute ballooned_attr = __ATTR_RO(ballooned);
static struct kobj_attribute grown_attr = __ATTR_RO(grown);
static struct kobj_attribute given_back_attr = __ATTR_RO(given_back);
static struct kobj_attribute refused_attr = __ATTR_RO(refused);
static struct kobj_attribute pinned_attr = __ATTR_RO(pinned);
static struct kobj_attribute fallback_attr = __ATTR_RO(fallback);

static struct attribute *statistics_attrs[] = {
	&total_attr.attr,
	&free_attr.attr,
	&chunks_attr.attr,
	&ballooned_attr.attr,
	&grown_attr.attr,
	&given_back_attr.attr,
	&refused_attr.attr,
	&pinned_attr.attr,
	&fallback_attr.attr,
	NULL
};

static const struct attribute_group statistics_group = {
	.attrs = statistics_attrs,
};

static int ranges_show(struct seq_file *m, void *v)
{
	struct xen_unpopulated_statistics stats;
	unsigned long seen = 0;
	unsigned int slot;

	xen_unpopulated_get_statistics(&stats);
	for (slot = 0; seen < stats.chunks; slot++) {
		struct xen_unpopulated_chunk chunk;

		/* Slots may be vacant, but there are not many more than chunks. */
		if (slot > stats.grown)
			break;
		if (!xen_unpopulated_get_chunk(slot, &chunk))
			continue;
		seen++;
		seq_printf(m, "%#llx-%#llx pages %lu free %lu\n",
			   (u64)PFN_PHYS(chunk.first_pfn),
			   (u64)PFN_PHYS(chunk.first_pfn + chunk.nr_pages) - 1,
			   chunk.nr_pages, chunk.nr_free);
	}

	return 0;
}
DEFINE_SHOW_ATTRIBUTE(ranges);

static int __init unpopulated_statistics_init(void)
{
	struct kobject *kobj;
	struct dentry *dir;
	int ret;

	if (!static_key_enabled(&xen_unpopulated_ready.key))
		return 0;

	dir = debugfs_create_dir("xen_unpopulated", NULL);
	debugfs_create_file("chunks", 0444, dir, NULL, &ranges_fops);

	/* A group of hypervisor_kobj itself would have attributes of its type. */
	kobj = kobject_create_and_add("unpopulated", hypervisor_kobj);
	if (!kobj)
		return -ENOMEM;

	ret = sysfs_create_group(kobj, &statistics_group);
	if (ret)
		kobject_put(kobj);

	return ret;
}
device_initcall(unpopulated_statistics_init);
