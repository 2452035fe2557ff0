// SPDX-License-Identifier: GPL-2.0-only
/*
 * DMA by grants: what surrounds the operations, which are in Rust. Which devices
 * they are for and which domain is the backend, the registration with a device,
 * parameters, statistics, and the work that asks for what a backend has held.
 */
#define pr_fmt(fmt) "xen:grant-dma: " fmt

#include <linux/debugfs.h>
#include <linux/device.h>
#include <linux/init.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/of.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/virtio.h>
#include <linux/workqueue.h>

#include <xen/interface/xen.h>
#include <xen/page.h>
#include <xen/xen.h>
#include <xen/xen-ops.h>

#include "grant-dma-ops.h"

#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include "trace.h"

#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "xen_grant_dma_ops."

#define COMPATIBLE "xen,grant-dma"

/* Names of devices, separated by commas. */
static char isolate[512];
module_param_string(isolate, isolate, sizeof(isolate), 0644);
MODULE_PARM_DESC(isolate,
		 "Devices, by name, the backends of which get no access to bytes next to a buffer");

static bool is_isolated(struct device *dev)
{
	const char *name = dev_name(dev);
	size_t len = strlen(name);
	const char *at;
	bool found = false;

	kernel_param_lock(THIS_MODULE);
	for (at = isolate; *at && !found; at += strcspn(at, ",\n")) {
		at += strspn(at, ",\n");
		found = strcspn(at, ",\n") == len && !strncmp(at, name, len);
	}
	kernel_param_unlock(THIS_MODULE);

	return found;
}

static bool is_own(struct page *page)
{
	/* Unpopulated pages, and memory of other devices. */
	if (is_zone_device_page(page))
		return false;

	/* The flag means other things too, so look whose the frame is. */
	return !PageForeign(page) ||
	       __pfn_to_mfn(page_to_xen_pfn(page)) == INVALID_P2M_ENTRY;
}

/*
 * Whether this domain owns the memory of as many pages, from an address on. Xen
 * refuses to grant a frame of another domain, or one that is not there, when
 * the backend asks for it: too late to do anything about it.
 */
bool xen_grant_dma_is_own(phys_addr_t phys, unsigned long nr_pages)
{
	struct page *page = phys_to_page(phys);
	unsigned long i;

	for (i = 0; i < nr_pages; i++) {
		if (!is_own(page + i))
			return false;
	}

	return true;
}

static bool are_plain(struct page *page, unsigned long nr_pages)
{
	struct page *end = page + nr_pages;

	do {
		if (unlikely(is_zone_device_page(page) || PageForeign(page)))
			return false;
	} while (++page != end);

	return true;
}

/*
 * Whether that can be told from the flags of the pages, at least one, as it can
 * of most. These functions call no others, so they need no stack frame.
 */
bool xen_grant_dma_is_plain(phys_addr_t phys, unsigned long nr_pages)
{
	return are_plain(phys_to_page(phys), nr_pages);
}

/* The address of a page, if it can be told of these, or PHYS_ADDR_MAX. */
phys_addr_t xen_grant_dma_plain_phys(struct page *page, unsigned long nr_pages)
{
	return likely(are_plain(page, nr_pages)) ? page_to_phys(page)
						 : PHYS_ADDR_MAX;
}

/*
 * Keep a page that a backend has access to from being given to someone else
 * after whoever owns it has freed it. Pages without a reference count of their
 * own can't be kept: those of kmalloc(), and all but the first of a block that
 * is not a folio.
 */
bool xen_grant_dma_pin(unsigned long pfn)
{
	struct folio *folio = page_folio(pfn_to_page(pfn));

	if (folio_test_slab(folio) || folio_test_large_kmalloc(folio))
		return false;

	return folio_try_get(folio);
}

void xen_grant_dma_unpin(unsigned long pfn)
{
	folio_put(page_folio(pfn_to_page(pfn)));
}

static void retry(struct work_struct *work);
static DECLARE_DELAYED_WORK(retry_work, retry);

void xen_grant_dma_queue_retry(void)
{
	queue_delayed_work(system_dfl_wq, &retry_work, HZ);
}

static void retry(struct work_struct *work)
{
	if (xen_grant_dma_retry())
		xen_grant_dma_queue_retry();
}

void xen_grant_dma_tell_broken(struct device *dev)
{
	dev_alert(dev, "Grant still in use by backend domain, disabled for further use\n");
}

static int supported(struct device *dev, u64 mask)
{
	return mask == DMA_BIT_MASK(64);
}

static void *refuse_alloc(struct device *dev, size_t size,
			  dma_addr_t *dma_handle, gfp_t gfp,
			  unsigned long attrs)
{
	return NULL;
}

static dma_addr_t refuse_map_phys(struct device *dev, phys_addr_t phys,
				  size_t size, enum dma_data_direction dir,
				  unsigned long attrs)
{
	return DMA_MAPPING_ERROR;
}

static int refuse_map_sg(struct device *dev, struct scatterlist *sg, int nents,
			 enum dma_data_direction dir, unsigned long attrs)
{
	return -EIO;
}

/* For devices that must not do DMA other than by grants, and can't do that. */
static const struct dma_map_ops refusing_ops = {
	.alloc = refuse_alloc,
	.map_phys = refuse_map_phys,
	.map_sg = refuse_map_sg,
	.dma_supported = supported,
};

/**
 * struct registration - what a device has been given
 * @dev: the device
 * @ops: its operations, or NULL if it got those that refuse
 * @previous: the operations that it had before
 * @previous_skip_sync: whether it did without synchronization before
 * @backend: the domain that has access
 * @isolated: whether that is to the bytes of buffers only
 * @debugfs: its statistics
 * @kept: where this is kept if buffers are still mapped when the driver goes
 * @list: in the list of those that are kept
 */
struct registration {
	struct device *dev;
	const struct dma_map_ops *ops;
	const struct dma_map_ops *previous;
	bool previous_skip_sync;
	u32 backend;
	bool isolated;
	struct dentry *debugfs;
	struct registration *kept;
	struct list_head list;
};

/* Those of devices whose last driver has left buffers mapped. */
static LIST_HEAD(all_kept);
static DEFINE_MUTEX(kept_lock);

static struct dentry *debugfs_root;

#define STATISTIC(_name)						\
static int _name##_get(void *data, u64 *value)				\
{									\
	struct registration *reg = data;				\
	struct xen_grant_dma_statistics stats;				\
									\
	xen_grant_dma_get_statistics(reg->ops, &stats);			\
	*value = stats._name;						\
	return 0;							\
}									\
DEFINE_DEBUGFS_ATTRIBUTE(_name##_fops, _name##_get, NULL, "%llu\n")

STATISTIC(backend);
STATISTIC(maps);
STATISTIC(references);
STATISTIC(quarantined);
STATISTIC(bounced);
STATISTIC(exposed);
STATISTIC(broken);

static void create_statistics(struct registration *reg)
{
	struct dentry *dir = debugfs_create_dir(dev_name(reg->dev),
						debugfs_root);

	debugfs_create_file("backend", 0444, dir, reg, &backend_fops);
	debugfs_create_file("maps", 0444, dir, reg, &maps_fops);
	debugfs_create_file("references", 0444, dir, reg, &references_fops);
	debugfs_create_file("quarantined", 0444, dir, reg, &quarantined_fops);
	debugfs_create_file("bounced", 0444, dir, reg, &bounced_fops);
	debugfs_create_file("exposed", 0444, dir, reg, &exposed_fops);
	debugfs_create_file("broken", 0444, dir, reg, &broken_fops);
	reg->debugfs = dir;
}

static void keep(struct registration *reg)
{
	struct registration *kept = reg->kept;

	dev_warn(reg->dev, "Buffers are still mapped\n");
	*kept = *reg;
	get_device(kept->dev);
	guard(mutex)(&kept_lock);
	list_add(&kept->list, &all_kept);
}

static struct registration *find_kept(struct device *dev)
{
	struct registration *kept;

	guard(mutex)(&kept_lock);
	list_for_each_entry(kept, &all_kept, list) {
		if (kept->dev == dev)
			return kept;
	}

	return NULL;
}

static void unkeep(struct registration *kept)
{
	scoped_guard(mutex, &kept_lock)
		list_del(&kept->list);
	put_device(kept->dev);
}

static void uninstall(struct registration *reg)
{
	reg->dev->dma_ops = reg->previous;
	dev_assign_dma_skip_sync(reg->dev, reg->previous_skip_sync);
	if (reg->ops)
		xen_grant_dma_destroy(reg->ops);
	kfree(reg->kept);
}

/* The operations of a device go with its driver, by way of devres. */
static void release(struct device *dev, void *res)
{
	struct registration *reg = res;

	debugfs_remove_recursive(reg->debugfs);
	/* What the driver has left mapped is unmapped by these operations. */
	if (reg->ops && xen_grant_dma_retire(reg->ops))
		keep(reg);
	else
		uninstall(reg);
}

/* A device has one registration with a backend, and on top of it a refusal. */
static int is_refusal(struct device *dev, void *res, void *data)
{
	struct registration *reg = res;

	return !reg->ops;
}

static int has_backend(struct device *dev, void *res, void *data)
{
	return !is_refusal(dev, res, data);
}

static void install(struct registration *reg, const struct dma_map_ops *ops)
{
	struct device *dev = reg->dev;

	/* Those that refuse remain if they were installed without a driver. */
	if (dev->dma_ops != &refusing_ops)
		reg->previous = dev->dma_ops;
	reg->previous_skip_sync = dev_dma_skip_sync(dev);

	dev->dma_ops = ops;
	dev_assign_dma_skip_sync(dev, !ops->sync_single_for_cpu);
}

/*
 * Have a device use again what its last driver has left buffers mapped with, so
 * that they are unmapped as they were mapped, whatever the bus has given it
 * since. Where that cannot be, these operations refuse all that is new.
 *
 * Returns false if there is no need to, as nothing is mapped any more.
 */
static bool set_up_again(struct registration *kept, u32 backend, bool isolated)
{
	struct device *dev = kept->dev;
	struct registration *reg;

	devres_release(dev, release, is_refusal, NULL);
	if (dev->dma_ops != kept->ops)
		install(kept, kept->ops);

	if (kept->backend != backend || kept->isolated != isolated) {
		if (xen_grant_dma_retire(kept->ops)) {
			dev_err(dev, "Buffers are mapped otherwise than from now on, refusing DMA\n");
			return true;
		}
		unkeep(kept);
		uninstall(kept);
		return false;
	}

	reg = devres_alloc(release, sizeof(*reg), GFP_KERNEL);
	if (!reg) {
		dev_err(dev, "No memory to set up Xen grant DMA ops again, refusing DMA\n");
		return true;
	}

	unkeep(kept);
	*reg = *kept;
	xen_grant_dma_revive(reg->ops);
	create_statistics(reg);
	devres_add(dev, reg);

	return true;
}

/*
 * Have a device use grants of @backend, or refuse all DMA.
 *
 * This runs each time that a virtio driver is bound or resumed. The device is
 * the parent, and has been there for longer. It is not set up again.
 */
static int set_up(struct device *dev, u32 backend)
{
	struct registration *reg = devres_find(dev, release, has_backend, NULL);
	bool isolated = is_isolated(dev);
	const struct dma_map_ops *ops;
	struct registration *kept;

	if (reg && reg->backend != backend)
		return -EBUSY;
	if (reg) {
		devres_release(dev, release, is_refusal, NULL);
		/* A refusal that could not be registered */
		if (dev->dma_ops == &refusing_ops)
			dev->dma_ops = reg->ops;
		return 0;
	}

	/*
	 * Without a driver nothing would take the operations away again, and
	 * what is kept in devres would keep one from being bound.
	 */
	if (!dev->driver)
		return -ENXIO;

	kept = find_kept(dev);
	if (kept && set_up_again(kept, backend, isolated))
		return 0;

	ops = xen_grant_dma_create(backend, isolated);
	if (IS_ERR(ops))
		return PTR_ERR(ops);

	devres_release(dev, release, is_refusal, NULL);

	reg = devres_alloc(release, sizeof(*reg), GFP_KERNEL);
	kept = kzalloc_obj(*kept);
	if (!reg || !kept) {
		xen_grant_dma_destroy(ops);
		devres_free(reg);
		kfree(kept);
		return -ENOMEM;
	}

	reg->dev = dev;
	reg->ops = ops;
	reg->backend = backend;
	reg->isolated = isolated;
	reg->kept = kept;
	create_statistics(reg);
	install(reg, ops);
	devres_add(dev, reg);

	return 0;
}

/* Have a device do no DMA at all. This always succeeds. */
static void refuse(struct device *dev)
{
	struct registration *reg;

	if (dev->dma_ops == &refusing_ops)
		return;

	/* Where nothing can take it back it stays until the device is set up. */
	reg = dev->driver ? devres_alloc(release, sizeof(*reg), GFP_KERNEL) :
			    NULL;
	if (!reg) {
		dev->dma_ops = &refusing_ops;
		return;
	}

	reg->dev = dev;
	install(reg, &refusing_ops);
	devres_add(dev, reg);
}

/* Whether the node of one of the IOMMUs in a property is that of grants. */
static bool names_grants(struct device_node *np, const char *property)
{
	u32 cell;

	of_property_for_each_u32(np, property, cell) {
		struct device_node *node = of_find_node_by_phandle(cell);
		bool found = of_device_is_compatible(node, COMPATIBLE);

		of_node_put(node);
		if (found)
			return true;
	}

	return false;
}

static int check_spec(const struct of_phandle_args *spec, u32 *backend)
{
	if (spec->args_count != 1)
		return -EINVAL;

	*backend = spec->args[0];

	return 0;
}

/*
 * Both return -ENODEV if grants are not asked for, and another error if they
 * are, but not in a way that makes sense.
 */
static int parse_iommus(struct device_node *np, u32 *backend)
{
	struct of_phandle_args spec = {};
	bool unparsable;
	int nr, i, ret;

	nr = of_count_phandle_with_args(np, "iommus", "#iommu-cells");
	unparsable = nr < 0 && nr != -ENOENT;
	for (i = 0; i < nr; i++) {
		if (of_parse_phandle_with_args(np, "iommus", "#iommu-cells", i,
					       &spec)) {
			unparsable = true;
			continue;
		}

		ret = of_device_is_compatible(spec.np, COMPATIBLE) ?
			check_spec(&spec, backend) : -ENODEV;
		of_node_put(spec.np);
		if (ret != -ENODEV)
			return ret;
	}

	/* Otherwise a cell that is no phandle could be taken for one. */
	return unparsable && names_grants(np, "iommus") ? -EINVAL : -ENODEV;
}

static int parse_iommu_map(struct device_node *np, u32 rid, u32 *backend)
{
	struct of_phandle_args spec = {};
	int ret;

	if (of_map_iommu_id(np, rid, &spec))
		return names_grants(np, "iommu-map") ? -EINVAL : -ENODEV;

	/* There is no node if the map has no entry for this device. */
	ret = of_device_is_compatible(spec.np, COMPATIBLE) ?
		check_spec(&spec, backend) : -ENODEV;
	of_node_put(spec.np);

	return ret;
}

static struct device_node *get_node(struct device *dev)
{
	struct device *controller;

	if (!dev_is_pci(dev))
		return of_node_get(dev->of_node);

	/* It is the controller of the root bus whose node has the map. */
	controller = pci_find_host_bridge(to_pci_dev(dev)->bus)->dev.parent;

	return controller ? of_node_get(controller->of_node) : NULL;
}

static int get_backend(struct device *dev, u32 *backend)
{
	struct device_node *np = get_node(dev);
	int ret;

	if (!np) {
		if (xen_initial_domain() ||
		    !(IS_ENABLED(CONFIG_XEN_VIRTIO_FORCE_GRANT) ||
		      xen_pv_domain()))
			return -ENODEV;

		dev_info(dev, "Using dom0 as backend\n");
		*backend = 0;
		return 0;
	}

	if (dev_is_pci(dev))
		ret = parse_iommu_map(np, pci_dev_id(to_pci_dev(dev)), backend);
	else
		ret = parse_iommus(np, backend);
	of_node_put(np);

	return ret;
}

bool xen_virtio_restricted_mem_acc(struct virtio_device *vdev)
{
	struct device *dev = vdev->dev.parent;
	u32 backend;
	int ret;

	ret = get_backend(dev, &backend);
	if (ret == -ENODEV)
		return false;

	if (!ret)
		ret = set_up(dev, backend);

	/* To say no here would be to let the device use plain addresses. */
	if (ret) {
		dev_err(dev, "Cannot set up Xen grant DMA ops (%d), refusing DMA\n",
			ret);
		refuse(dev);
	}

	return true;
}

static int __init grant_dma_init(void)
{
	xen_grant_dma_start();
	debugfs_root = debugfs_create_dir("xen-grant-dma", NULL);

	return 0;
}
core_initcall(grant_dma_init);
