// SPDX-License-Identifier: GPL-2.0
/*
 * Counts the calls by which a device's memory is mapped and unmapped for DMA,
 * and the time inside them, with interrupts off: under QEMU's "-icount
 * shift=0,sleep=off" a nanosecond is an instruction.
 *
 * Write the name of a platform device to the parameter "device", or nothing.
 * Read it for "MAPS UNMAPS NS EMPTY_NS", since it was read last; EMPTY_NS is
 * what one call takes in which nothing is done.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/dma-map-ops.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/string.h>

/* One device, and one CPU, at a time. */
static struct device *metered;
static const struct dma_map_ops *real_ops;
static const struct dma_map_ops meter_ops;
static u64 maps, unmaps, ns, empty_ns;

/* The real ones may find what they need by way of themselves. */
static u64 begin(struct device *dev, unsigned long *flags)
{
	local_irq_save(*flags);
	dev->dma_ops = real_ops;

	return ktime_get_ns();
}

static u64 end(struct device *dev, unsigned long flags, u64 start)
{
	u64 spent = ktime_get_ns() - start;

	dev->dma_ops = &meter_ops;
	local_irq_restore(flags);

	return spent;
}

static dma_addr_t meter_map_phys(struct device *dev, phys_addr_t phys,
				 size_t size, enum dma_data_direction dir,
				 unsigned long attrs)
{
	unsigned long flags;
	dma_addr_t addr;
	u64 start;

	start = begin(dev, &flags);
	addr = real_ops->map_phys(dev, phys, size, dir, attrs);
	ns += end(dev, flags, start);
	maps++;

	return addr;
}

static void meter_unmap_phys(struct device *dev, dma_addr_t addr, size_t size,
			     enum dma_data_direction dir, unsigned long attrs)
{
	unsigned long flags;
	u64 start;

	start = begin(dev, &flags);
	real_ops->unmap_phys(dev, addr, size, dir, attrs);
	ns += end(dev, flags, start);
	unmaps++;
}

/* Others are not called between these: see to it that no driver is bound. */
static const struct dma_map_ops meter_ops = {
	.map_phys = meter_map_phys,
	.unmap_phys = meter_unmap_phys,
};

static void detach(void)
{
	if (!metered)
		return;
	if (metered->dma_ops == &meter_ops)
		metered->dma_ops = real_ops;
	put_device(metered);
	metered = NULL;
}

static int attach(const char *name)
{
	struct device *dev = bus_find_device_by_name(&platform_bus_type, NULL,
						     name);
	unsigned long flags;
	u64 start;

	if (!dev)
		return -ENODEV;
	if (!dev->dma_ops || !dev->dma_ops->map_phys) {
		put_device(dev);
		return -EOPNOTSUPP;
	}
	real_ops = dev->dma_ops;
	start = begin(dev, &flags);
	empty_ns = end(dev, flags, start);
	metered = dev;

	return 0;
}

static int device_set(const char *value, const struct kernel_param *kp)
{
	char name[64];

	if (strscpy(name, value) < 0)
		return -E2BIG;
	detach();

	return *strim(name) ? attach(strim(name)) : 0;
}

static int device_get(char *buffer, const struct kernel_param *kp)
{
	int len = sysfs_emit(buffer, "%llu %llu %llu %llu\n", maps, unmaps, ns,
			     empty_ns);

	maps = 0;
	unmaps = 0;
	ns = 0;

	return len;
}

static const struct kernel_param_ops device_ops = {
	.set = device_set,
	.get = device_get,
};
module_param_cb(device, &device_ops, NULL, 0600);
MODULE_PARM_DESC(device, "Name of the platform device to look at");

static int __init meter_init(void)
{
	return 0;
}

static void __exit meter_exit(void)
{
	detach();
}

module_init(meter_init);
module_exit(meter_exit);
MODULE_DESCRIPTION("Counts what mapping memory for DMA takes");
MODULE_LICENSE("GPL");
