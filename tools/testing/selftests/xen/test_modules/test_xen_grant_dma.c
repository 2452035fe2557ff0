// SPDX-License-Identifier: GPL-2.0
/*
 * A virtio transport whose device is in the same kernel: the driver's side
 * goes through the DMA API and so through the grant DMA operations, the
 * device's side maps the grant references that it finds in the DMA addresses.
 * User space drives both, one call for one ioctl.
 *
 * It knows nothing of how the DMA operations are implemented.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/atomic.h>
#include <linux/cpu.h>
#include <linux/dma-map-ops.h>
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/kprobes.h>
#include <linux/ktime.h>
#include <linux/minmax.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/of.h>
#include <linux/of_address.h>
#include <linux/of_platform.h>
#include <linux/pci.h>
#include <linux/platform_device.h>
#include <linux/rwsem.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/virtio.h>
#include <linux/virtio_anchor.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>
#include <xen/grant_table.h>
#include <xen/interface/grant_table.h>
#include <xen/page.h>
#include <xen/xen.h>

#include "test_xen_grant_dma.h"

#define MAX_DEVS	64
#define MAX_OBJECTS	4096
#define MAX_VQS		2
#define COPY_MAX	SZ_64K
#define DIRTY		0x5a
#define RING_SIZE	16
#define GRANT_ADDR	BIT_ULL(63)
/* An address that no memory has */
#define REGISTERS	BIT_ULL(46)
#define CONTEND_NS	(500 * NSEC_PER_MSEC)

struct xgd_virtio;

/* A node of the device tree, or a PCI device. */
struct xgd_dev {
	struct device *parent;
	/* Held for writing while it is bound, unbound, attached or detached. */
	struct rw_semaphore lock;
	struct xgd_virtio *virtio;
	const struct dma_map_ops *ops;
	u32 binds;
	atomic_t in_use; /* mappings that are to be undone */
};

struct xgd_vq {
	struct virtqueue *vq;
	struct work_struct work;
	u16 avail_idx;
	u16 used_idx;
};

struct xgd_virtio {
	struct virtio_device vdev;
	struct xgd_dev *dev;
	struct xgd_vq vqs[MAX_VQS];
	u32 flags;
	u8 status;
};

enum xgd_type {
	BUFFER,
	MAPPING,
	HELD,
};

struct xgd_obj {
	enum xgd_type type;
	/* A buffer, or memory of the DMA API */
	void *addr;
	struct page **pages;
	u32 memory;
	u32 size;
	u32 users;
	/* A mapping */
	struct xgd_dev *dev;
	struct xgd_obj *buffer;
	struct sg_table sgt;
	enum dma_data_direction dir;
	dma_addr_t dma;
	bool is_alloc;
	bool is_pages;
	/* What the backend holds; its pages and size are above */
	struct gnttab_unmap_grant_ref *unmap;
	u32 nr;
	u32 offset;
	bool read_only;
};

struct xgd_file {
	struct mutex lock; /* protects the objects */
	struct xarray objs;
	u32 nr_objs;
};

static struct xgd_dev devs[MAX_DEVS];
static u32 nr_devs;

static struct grant_entry_v1 *grant_table;
static u32 grant_table_size;

/* References that are taken from everybody else. */
static grant_ref_t *hogs;
static u32 nr_hogs;
static DEFINE_MUTEX(hogs_lock);

/*
 * Spinlocks and allocations are observed by kprobes, for one task at a time.
 */
static const char *const lock_names[] = {
	"_raw_spin_lock", "_raw_spin_lock_bh", "_raw_spin_lock_irq",
	"_raw_spin_lock_irq_disable", "_raw_spin_lock_irqsave",
	"_raw_spin_trylock",
};

static const char *const alloc_names[] = {
	"__kmalloc_noprof", "__kmalloc_node_noprof",
	"__kmalloc_node_track_caller_noprof", "__kmalloc_cache_noprof",
	"__kmalloc_cache_node_noprof", "krealloc_node_align_noprof",
};

static const char *const mutex_names[] = { "mutex_lock", "mutex_trylock" };

/* Without those that try only once, and may not get it. */
static const char *const take_names[] = {
	"_raw_spin_lock", "_raw_spin_lock_bh", "_raw_spin_lock_irq",
	"_raw_spin_lock_irq_disable", "_raw_spin_lock_irqsave", "mutex_lock",
};

static const char *const drop_names[] = {
	"_raw_spin_unlock", "_raw_spin_unlock_bh", "_raw_spin_unlock_irq",
	"_raw_spin_unlock_irq_enable", "_raw_spin_unlock_irqrestore",
	"mutex_unlock",
};

static const char *const wait_names[] = {
	"queued_spin_lock_slowpath", "__mutex_lock_slowpath",
};

static struct kprobe probes[16];
static u32 nr_probes;
static DEFINE_MUTEX(probes_lock);
static struct task_struct *lock_task, *alloc_task;
static s32 nr_locks, control_locks;
static DEFINE_SPINLOCK(control_lock);
static u32 nr_failed;

static int lock_taken(struct kprobe *probe, struct pt_regs *regs)
{
	if (current == READ_ONCE(lock_task))
		nr_locks++;

	return 0;
}

static int fail_alloc(struct kprobe *probe, struct pt_regs *regs)
{
	if (current != READ_ONCE(alloc_task))
		return 0;

	/* Return to the caller at once, with no memory. */
	nr_failed++;
	regs_set_return_value(regs, 0);
	instruction_pointer_set(regs, procedure_link_pointer(regs));

	return 1;
}
NOKPROBE_SYMBOL(lock_taken);
NOKPROBE_SYMBOL(fail_alloc);

static void probes_off(void)
{
	while (nr_probes)
		unregister_kprobe(&probes[--nr_probes]);
	mutex_unlock(&probes_lock);
}

/* Probes those that there are, at least one. */
static int add_probes(const char *const names[], u32 nr,
		      kprobe_pre_handler_t handler, u32 max_offset)
{
	u32 i, offset, before = nr_probes;
	int ret = 0;

	for (i = 0; i < nr; i++) {
		if (nr_probes == ARRAY_SIZE(probes))
			return -ENOSPC;
		/* Some first instructions cannot be probed, the next can. */
		for (offset = 0; offset <= max_offset; offset += 4) {
			struct kprobe *probe = &probes[nr_probes];

			memset(probe, 0, sizeof(*probe));
			probe->symbol_name = names[i];
			probe->offset = offset;
			probe->pre_handler = handler;
			ret = register_kprobe(probe);
			if (ret != -EINVAL)
				break;
		}
		if (!ret)
			nr_probes++;
		else if (ret != -ENOENT)
			return ret;
	}

	return nr_probes > before ? 0 : -ENOENT;
}

static int probes_on(const char *const names[], u32 nr,
		     kprobe_pre_handler_t handler, u32 max_offset)
{
	int ret;

	mutex_lock(&probes_lock);
	ret = add_probes(names, nr, handler, max_offset);
	if (ret)
		probes_off();

	return ret;
}

/* The backend */
static void held_destroy(struct xgd_obj *held)
{
	kvfree(held->unmap);
	if (held->pages)
		gnttab_free_pages(held->nr, held->pages);
	kvfree(held->pages);
	kfree(held);
}

static int held_unmap(struct xgd_obj *held, u32 nr)
{
	u32 i;
	int ret = 0;

	for (i = 0; i < nr; i++) {
		int err = gnttab_unmap_refs(&held->unmap[i], NULL,
					    &held->pages[i], 1);

		if (err || held->unmap[i].status != GNTST_okay)
			ret = -EIO;
	}

	return ret;
}

static struct xgd_obj *backend_map(u64 dma, u32 len, bool read_only)
{
	u64 ref = (dma & ~GRANT_ADDR) >> XEN_PAGE_SHIFT;
	u32 i, how = GNTMAP_host_map | (read_only ? GNTMAP_readonly : 0);
	struct xgd_obj *held;
	int ret;

	/* A backend takes no other address from such a driver. */
	if (!(dma & GRANT_ADDR) || ref > U32_MAX)
		return ERR_PTR(-EDOM);

	held = kzalloc_obj(*held);
	if (!held)
		return ERR_PTR(-ENOMEM);
	held->type = HELD;
	held->read_only = read_only;
	held->offset = dma & ~XEN_PAGE_MASK;
	held->size = len;
	held->nr = DIV_ROUND_UP(held->offset + len, XEN_PAGE_SIZE);
	held->unmap = kvcalloc(held->nr, sizeof(*held->unmap), GFP_KERNEL);
	held->pages = kvcalloc(held->nr, sizeof(*held->pages), GFP_KERNEL);
	ret = -ENOMEM;
	if (!held->unmap || !held->pages ||
	    gnttab_alloc_pages(held->nr, held->pages)) {
		kvfree(held->pages);
		held->pages = NULL;
		goto err;
	}

	for (i = 0; i < held->nr; i++) {
		unsigned long addr = (unsigned long)page_address(held->pages[i]);
		struct gnttab_map_grant_ref op;

		gnttab_set_map_op(&op, addr, how, ref + i, 0);
		ret = gnttab_map_refs(&op, NULL, &held->pages[i], 1);
		if (!ret && op.status != GNTST_okay)
			ret = -EACCES;
		if (ret) {
			held_unmap(held, i);
			goto err;
		}
		gnttab_set_unmap_op(&held->unmap[i], addr, GNTMAP_host_map,
				    op.handle);
	}

	return held;

err:
	held_destroy(held);
	return ERR_PTR(ret);
}

static int backend_unmap(struct xgd_obj *held)
{
	if (held_unmap(held, held->nr)) {
		pr_err("grants that cannot be unmapped are leaked\n");
		return -EIO;
	}
	held_destroy(held);

	return 0;
}

static void held_copy(struct xgd_obj *held, u32 at, void *buf, u32 len,
		      bool write)
{
	at += held->offset;
	while (len) {
		u32 offset = at & ~XEN_PAGE_MASK;
		u32 part = min_t(u32, len, XEN_PAGE_SIZE - offset);
		void *addr = page_address(held->pages[at >> XEN_PAGE_SHIFT]);

		if (write)
			memcpy(addr + offset, buf, part);
		else
			memcpy(buf, addr + offset, part);
		at += part;
		buf += part;
		len -= part;
	}
}

static int dma_copy(u64 dma, void *buf, u32 len, bool write, bool read_only)
{
	struct xgd_obj *held = backend_map(dma, len, read_only);

	if (IS_ERR(held))
		return PTR_ERR(held);
	held_copy(held, 0, buf, len, write);

	return backend_unmap(held);
}

/*
 * The device that a real driver talks to: it fills what it is given to fill,
 * and takes what it is given to take.
 */
static int device_serve(struct xgd_vq *queue, u16 head, u32 *len)
{
	u64 table = virtqueue_get_desc_addr(queue->vq);
	struct vring_desc desc;
	u8 fill[64];
	u32 chain;
	int ret;

	memset(fill, 0xc3, sizeof(fill));
	*len = 0;
	for (chain = 0; chain < RING_SIZE; chain++) {
		u32 size;

		ret = dma_copy(table + head * sizeof(desc), &desc,
			       sizeof(desc), false, true);
		if (ret)
			return ret;
		size = le32_to_cpu((__force __le32)desc.len);
		size = min_t(u32, size, sizeof(fill));
		if (le16_to_cpu((__force __le16)desc.flags) &
		    VRING_DESC_F_WRITE) {
			ret = dma_copy(le64_to_cpu((__force __le64)desc.addr),
				       fill, size, true, false);
			if (ret)
				return ret;
			*len += size;
		}
		if (!(le16_to_cpu((__force __le16)desc.flags) &
		      VRING_DESC_F_NEXT))
			return 0;
		head = le16_to_cpu((__force __le16)desc.next);
	}

	return -ELOOP;
}

static int device_next(struct xgd_vq *queue)
{
	u64 avail = virtqueue_get_avail_addr(queue->vq);
	u64 used = virtqueue_get_used_addr(queue->vq);
	struct vring_used_elem elem;
	__le16 idx;
	u32 len;
	int ret;

	ret = dma_copy(avail + offsetof(struct vring_avail, idx), &idx,
		       sizeof(idx), false, true);
	if (ret)
		return ret;
	if (le16_to_cpu(idx) == queue->avail_idx)
		return -EAGAIN;
	/* The entry was written before the index. */
	virt_rmb();
	ret = dma_copy(avail + offsetof(struct vring_avail, ring) +
		       queue->avail_idx % RING_SIZE * sizeof(idx), &idx,
		       sizeof(idx), false, true);
	if (!ret)
		ret = device_serve(queue, le16_to_cpu(idx), &len);
	if (ret)
		return ret;
	queue->avail_idx++;

	elem.id = (__force __virtio32)cpu_to_le32(le16_to_cpu(idx));
	elem.len = (__force __virtio32)cpu_to_le32(len);
	ret = dma_copy(used + offsetof(struct vring_used, ring) +
		       queue->used_idx % RING_SIZE * sizeof(elem), &elem,
		       sizeof(elem), true, false);
	if (ret)
		return ret;
	/* The index tells that the entry is there. */
	virt_wmb();
	idx = cpu_to_le16(++queue->used_idx);

	return dma_copy(used + offsetof(struct vring_used, idx), &idx,
			sizeof(idx), true, false);
}

static void device_work(struct work_struct *work)
{
	struct xgd_vq *queue = container_of(work, struct xgd_vq, work);
	unsigned long flags;
	int ret;

	do {
		ret = device_next(queue);
	} while (!ret);
	if (ret != -EAGAIN) {
		pr_err("the device cannot get at its queue: %d\n", ret);
		return;
	}

	local_irq_save(flags);
	vring_interrupt(0, queue->vq);
	local_irq_restore(flags);
}

/* The transport */
static struct xgd_virtio *to_xgd(struct virtio_device *vdev)
{
	return container_of(vdev, struct xgd_virtio, vdev);
}

static u8 xgd_get_status(struct virtio_device *vdev)
{
	/* Asked for again as soon as it is known whether it is restricted. */
	WRITE_ONCE(alloc_task, NULL);

	return to_xgd(vdev)->status;
}

static void xgd_set_status(struct virtio_device *vdev, u8 status)
{
	to_xgd(vdev)->status = status;
}

static void xgd_reset(struct virtio_device *vdev)
{
	to_xgd(vdev)->status = 0;
}

static u64 xgd_get_features(struct virtio_device *vdev)
{
	u64 features = BIT_ULL(VIRTIO_F_VERSION_1);

	if (!(to_xgd(vdev)->flags & XGD_NO_PLATFORM))
		features |= BIT_ULL(VIRTIO_F_ACCESS_PLATFORM);

	return features;
}

static int xgd_finalize_features(struct virtio_device *vdev)
{
	vring_transport_features(vdev);
	/* What the virtio core does next is to ask for restricted access. */
	if (to_xgd(vdev)->flags & XGD_FAIL_ALLOC)
		WRITE_ONCE(alloc_task, current);

	return 0;
}

static void xgd_get(struct virtio_device *vdev, unsigned int offset, void *buf,
		    unsigned int len)
{
	memset(buf, 0, len);
}

static void xgd_set(struct virtio_device *vdev, unsigned int offset,
		    const void *buf, unsigned int len)
{
}

static bool xgd_notify(struct virtqueue *vq)
{
	struct xgd_virtio *virtio = to_xgd(vq->vdev);

	schedule_work(&virtio->vqs[vq->index].work);

	return true;
}

static void xgd_del_vqs(struct virtio_device *vdev)
{
	struct xgd_virtio *virtio = to_xgd(vdev);
	u32 i;

	for (i = 0; i < MAX_VQS; i++) {
		struct xgd_vq *queue = &virtio->vqs[i];

		if (!queue->vq)
			continue;
		cancel_work_sync(&queue->work);
		vring_del_virtqueue(queue->vq);
		queue->vq = NULL;
	}
}

static int xgd_find_vqs(struct virtio_device *vdev, unsigned int nvqs,
			struct virtqueue *vqs[],
			struct virtqueue_info vqs_info[],
			struct irq_affinity *desc)
{
	struct xgd_virtio *virtio = to_xgd(vdev);
	u32 i;

	if (nvqs > MAX_VQS)
		return -EINVAL;

	for (i = 0; i < nvqs; i++) {
		struct xgd_vq *queue = &virtio->vqs[i];

		queue->avail_idx = 0;
		queue->used_idx = 0;
		INIT_WORK(&queue->work, device_work);
		queue->vq = vring_create_virtqueue(i, RING_SIZE, PAGE_SIZE,
						   vdev, true, false,
						   vqs_info[i].ctx, xgd_notify,
						   vqs_info[i].callback,
						   vqs_info[i].name);
		if (!queue->vq) {
			xgd_del_vqs(vdev);
			return -ENOMEM;
		}
		queue->vq->num_max = RING_SIZE;
		vqs[i] = queue->vq;
	}

	return 0;
}

static const char *xgd_bus_name(struct virtio_device *vdev)
{
	return dev_name(vdev->dev.parent);
}

static const struct virtio_config_ops xgd_config_ops = {
	.get			= xgd_get,
	.set			= xgd_set,
	.get_status		= xgd_get_status,
	.set_status		= xgd_set_status,
	.reset			= xgd_reset,
	.find_vqs		= xgd_find_vqs,
	.del_vqs		= xgd_del_vqs,
	.get_features		= xgd_get_features,
	.finalize_features	= xgd_finalize_features,
	.bus_name		= xgd_bus_name,
};

static void xgd_virtio_release(struct device *dev)
{
	kfree(to_xgd(dev_to_virtio(dev)));
}

static void detach(struct xgd_dev *dev)
{
	struct xgd_virtio *virtio = dev->virtio;

	if (!virtio)
		return;
	dev->virtio = NULL;
	unregister_virtio_device(&virtio->vdev);
}

static int attach(struct xgd_dev *dev, u32 virtio_id, u32 flags)
{
	struct device *parent = dev->parent;
	struct xgd_virtio *virtio;
	int ret;

	/* Whether or not it comes to anything, it may be set up from now on. */
	if (!dev->binds++)
		dev->ops = get_dma_ops(parent);

	virtio = kzalloc_obj(*virtio);
	if (!virtio)
		return -ENOMEM;
	virtio->dev = dev;
	virtio->flags = flags;
	virtio->vdev.id.device = virtio_id;
	virtio->vdev.config = &xgd_config_ops;
	virtio->vdev.dev.parent = parent;
	virtio->vdev.dev.release = xgd_virtio_release;
	ret = register_virtio_device(&virtio->vdev);
	WRITE_ONCE(alloc_task, NULL);
	if (ret) {
		put_device(&virtio->vdev.dev);
		return ret;
	}

	dev->virtio = virtio;
	if (!virtio->vdev.dev.driver) {
		detach(dev);
		return -ENODEV;
	}

	return 0;
}

/* A driver that leaves its device alone, so that only the tests use it. */
static int xgd_virtio_probe(struct virtio_device *vdev)
{
	return 0;
}

static void xgd_virtio_remove(struct virtio_device *vdev)
{
	virtio_reset_device(vdev);
}

static const struct virtio_device_id xgd_virtio_ids[] = {
	{ XGD_VIRTIO_ID, VIRTIO_DEV_ANY_ID },
	{ }
};

static struct virtio_driver xgd_virtio_driver = {
	.driver.name	= XGD_DEVICE,
	.id_table	= xgd_virtio_ids,
	.probe		= xgd_virtio_probe,
	.remove		= xgd_virtio_remove,
};

static void detach_parent(struct device *parent)
{
	u32 i;

	for (i = 0; i < nr_devs; i++)
		if (devs[i].parent == parent)
			detach(&devs[i]);
}

static int xgd_probe(struct platform_device *pdev)
{
	return dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
}

static void xgd_remove(struct platform_device *pdev)
{
	detach_parent(&pdev->dev);
}

static const struct of_device_id xgd_of_match[] = {
	{ .compatible = "xen,grant-dma-test" },
	{ }
};

static struct platform_driver xgd_driver = {
	.driver = {
		.name			= XGD_DEVICE,
		.of_match_table		= xgd_of_match,
		/* Tests say themselves when a device is bound. */
		.suppress_bind_attrs	= true,
	},
	.probe	= xgd_probe,
	.remove	= xgd_remove,
};

static int xgd_pci_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	return dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
}

static void xgd_pci_remove(struct pci_dev *pdev)
{
	detach_parent(&pdev->dev);
}

/* QEMU's pci-testdev, which does nothing by itself. */
static const struct pci_device_id xgd_pci_ids[] = {
	{ PCI_DEVICE(PCI_VENDOR_ID_REDHAT, 0x0005) },
	{ }
};

static struct pci_driver xgd_pci_driver = {
	.name		= XGD_DEVICE,
	.id_table	= xgd_pci_ids,
	.probe		= xgd_pci_probe,
	.remove		= xgd_pci_remove,
	.driver.suppress_bind_attrs = true,
};

/* Objects */
static struct xgd_dev *get_dev(u32 index)
{
	return index < nr_devs ? &devs[index] : NULL;
}

static struct xgd_obj *get_obj(struct xgd_file *file, u32 id,
			       enum xgd_type type)
{
	struct xgd_obj *obj = xa_load(&file->objs, id);

	return obj && obj->type == type ? obj : NULL;
}

static int add_obj(struct xgd_file *file, struct xgd_obj *obj, u32 *id)
{
	int ret;

	if (file->nr_objs == MAX_OBJECTS)
		return -ENOSPC;
	ret = xa_alloc(&file->objs, id, obj, xa_limit_31b, GFP_KERNEL);
	if (!ret)
		file->nr_objs++;

	return ret;
}

static void del_obj(struct xgd_file *file, u32 id)
{
	xa_erase(&file->objs, id);
	file->nr_objs--;
}

/* Whoever allocates as much next is likely to get the same pages. */
static void make_dirty(u32 size)
{
	void *addr[4];
	u32 i;

	for (i = 0; i < ARRAY_SIZE(addr); i++) {
		addr[i] = alloc_pages_exact(size, GFP_KERNEL);
		if (addr[i])
			memset(addr[i], DIRTY, PAGE_ALIGN(size));
	}
	for (i = 0; i < ARRAY_SIZE(addr); i++)
		if (addr[i])
			free_pages_exact(addr[i], size);
}

static void buffer_destroy(struct xgd_obj *buffer)
{
	u32 i;

	switch (buffer->memory) {
	case XGD_PAGES:
		if (buffer->addr)
			free_pages_exact(buffer->addr, buffer->size);
		break;
	case XGD_KMALLOC:
		kfree(buffer->addr);
		break;
	case XGD_UNPOPULATED:
		if (buffer->pages && buffer->pages[0])
			gnttab_free_pages(1, buffer->pages);
		break;
	case XGD_SCATTERED:
		for (i = 0; buffer->pages && i < buffer->nr; i++)
			if (buffer->pages[i])
				__free_page(buffer->pages[i]);
		break;
	}
	kvfree(buffer->pages);
	kfree(buffer);
}

static int buffer_fill(struct xgd_obj *buffer)
{
	u32 i;

	switch (buffer->memory) {
	case XGD_PAGES:
		buffer->addr = alloc_pages_exact(buffer->size,
						 GFP_KERNEL | __GFP_NOWARN);
		return buffer->addr ? 0 : -ENOMEM;
	case XGD_KMALLOC:
		buffer->addr = kmalloc(buffer->size, GFP_KERNEL | __GFP_NOWARN);
		return buffer->addr ? 0 : -ENOMEM;
	}

	buffer->nr = DIV_ROUND_UP(buffer->size, PAGE_SIZE);
	buffer->pages = kvcalloc(buffer->nr, sizeof(*buffer->pages),
				 GFP_KERNEL);
	if (!buffer->pages)
		return -ENOMEM;
	if (buffer->memory == XGD_UNPOPULATED) {
		if (buffer->nr != 1)
			return -EINVAL;
		if (gnttab_alloc_pages(1, buffer->pages)) {
			buffer->pages[0] = NULL;
			return -ENOMEM;
		}
		return 0;
	}
	for (i = 0; i < buffer->nr; i++) {
		buffer->pages[i] = alloc_page(GFP_KERNEL);
		if (!buffer->pages[i])
			return -ENOMEM;
	}

	return 0;
}

/* Where the byte at @offset is; its page goes on for at least @len bytes. */
static void *buffer_at(struct xgd_obj *buffer, u32 offset, u32 *len)
{
	if (buffer->addr)
		return buffer->addr + offset;
	*len = min_t(u32, *len, PAGE_SIZE - offset_in_page(offset));

	return page_address(buffer->pages[offset >> PAGE_SHIFT]) +
	       offset_in_page(offset);
}

static unsigned long mapping_attrs(u32 flags)
{
	return flags & XGD_SKIP_SYNC ? DMA_ATTR_SKIP_CPU_SYNC : 0;
}

static void mapping_undo(struct xgd_obj *map, u32 flags)
{
	struct device *dev = map->dev->parent;

	if (map->is_pages)
		dma_free_pages(dev, map->size, virt_to_page(map->addr),
			       map->dma, map->dir);
	else if (map->is_alloc)
		dma_free_coherent(dev, map->size, map->addr, map->dma);
	else if (map->sgt.sgl)
		dma_unmap_sg_attrs(dev, map->sgt.sgl, map->sgt.orig_nents,
				   map->dir, mapping_attrs(flags));
	else
		dma_unmap_single_attrs(dev, map->dma, map->size, map->dir,
				       mapping_attrs(flags));
}

static void mapping_destroy(struct xgd_obj *map)
{
	if (map->buffer)
		map->buffer->users--;
	atomic_dec(&map->dev->in_use);
	sg_free_table(&map->sgt);
	kfree(map);
}

/* An entry for each page that there is something of. */
static int mapping_list(struct xgd_obj *map, u32 offset, u32 size)
{
	struct scatterlist *sg;
	u32 nr;
	int i, ret;

	nr = DIV_ROUND_UP(offset_in_page(offset) + size, PAGE_SIZE);
	if (!size || nr > XGD_MAX_ENTRIES)
		return -EINVAL;
	ret = sg_alloc_table(&map->sgt, nr, GFP_KERNEL);
	if (ret)
		return ret;
	for_each_sg(map->sgt.sgl, sg, nr, i) {
		u32 len = min_t(u32, size, PAGE_SIZE - offset_in_page(offset));
		void *addr = buffer_at(map->buffer, offset, &len);

		sg_set_buf(sg, addr, len);
		offset += len;
		size -= len;
	}

	return 0;
}

static int mapping_do(struct xgd_obj *map, u32 offset, u32 size, u32 flags)
{
	struct device *dev = map->dev->parent;
	u32 len = size;
	void *addr;
	int nents;

	if (flags & XGD_LIST) {
		nents = dma_map_sg_attrs(dev, map->sgt.sgl,
					 map->sgt.orig_nents, map->dir,
					 mapping_attrs(flags));
		if (!nents)
			return -EIO;
		map->sgt.nents = nents;
		map->dma = sg_dma_address(map->sgt.sgl);
		return 0;
	}

	if (flags & XGD_MMIO) {
		map->dma = dma_map_resource(dev, REGISTERS, size, map->dir, 0);
		return dma_mapping_error(dev, map->dma) ? -EIO : 0;
	}

	addr = buffer_at(map->buffer, offset, &len);
	map->dma = dma_map_single_attrs(dev, addr, size, map->dir,
					mapping_attrs(flags));

	return dma_mapping_error(dev, map->dma) ? -EIO : 0;
}

/* Interrupts off and locks counted, as far as it is asked for. */
static int begin(u32 flags, unsigned long *irqs)
{
	unsigned long control;
	int ret;

	if (flags & XGD_COUNT_LOCKS) {
		ret = probes_on(lock_names, ARRAY_SIZE(lock_names), lock_taken,
				12);
		if (ret)
			return ret;
	}
	if (flags & (XGD_IRQS_OFF | XGD_COUNT_LOCKS))
		local_irq_save(*irqs);
	if (flags & XGD_COUNT_LOCKS) {
		nr_locks = 0;
		WRITE_ONCE(lock_task, current);
		/* One that has to be counted. */
		spin_lock_irqsave(&control_lock, control);
		spin_unlock_irqrestore(&control_lock, control);
		control_locks = nr_locks;
		nr_locks = 0;
	}

	return 0;
}

static s32 end(u32 flags, unsigned long irqs)
{
	s32 count = -1;

	if (flags & XGD_COUNT_LOCKS) {
		WRITE_ONCE(lock_task, NULL);
		count = control_locks == 1 ? nr_locks : -1;
	}
	if (flags & (XGD_IRQS_OFF | XGD_COUNT_LOCKS))
		local_irq_restore(irqs);
	if (flags & XGD_COUNT_LOCKS)
		probes_off();

	return count;
}

static void obj_release(struct xgd_obj *obj)
{
	struct xgd_dev *dev;

	switch (obj->type) {
	case BUFFER:
		buffer_destroy(obj);
		break;
	case MAPPING:
		dev = obj->dev;
		down_read(&dev->lock);
		mapping_undo(obj, 0);
		mapping_destroy(obj);
		up_read(&dev->lock);
		break;
	case HELD:
		backend_unmap(obj);
		break;
	}
}

/* Calls */
static long ioctl_info(void __user *arg)
{
	struct xgd_info info;
	struct xgd_dev *dev;
	struct device *parent;

	if (copy_from_user(&info, arg, sizeof(info)))
		return -EFAULT;

	dev = get_dev(info.index);
	if (!dev)
		return -ENODEV;

	guard(rwsem_write)(&dev->lock);
	parent = dev->parent;
	info.bound = !!parent->driver;
	info.attached = !!dev->virtio;
	info.binds = dev->binds;
	info.restricted = info.restricted && dev->virtio &&
			  virtio_check_mem_acc_cb(&dev->virtio->vdev);
	info.ops_kept = !dev->binds || get_dma_ops(parent) == dev->ops;
	info.max_mapping = dma_max_mapping_size(parent);
	strscpy_pad(info.name, dev_name(parent));

	return copy_to_user(arg, &info, sizeof(info)) ? -EFAULT : 0;
}

static long ioctl_bind(u32 index)
{
	struct xgd_dev *dev;
	int ret;

	dev = get_dev(index);
	if (!dev)
		return -ENODEV;
	guard(rwsem_write)(&dev->lock);
	if (dev->parent->driver)
		return -EBUSY;
	ret = device_attach(dev->parent);

	return ret < 0 ? ret : ret ? 0 : -ENODEV;
}

static long ioctl_unbind(u32 index, bool even_in_use)
{
	struct xgd_dev *dev;

	dev = get_dev(index);
	if (!dev)
		return -ENODEV;
	guard(rwsem_write)(&dev->lock);
	if (!dev->parent->driver ||
	    (!even_in_use && atomic_read(&dev->in_use)))
		return -EBUSY;
	device_release_driver(dev->parent);

	return 0;
}

static long ioctl_attach(void __user *arg)
{
	struct xgd_attach req;
	struct xgd_dev *dev;
	long ret;

	if (copy_from_user(&req, arg, sizeof(req)))
		return -EFAULT;
	if (req.flags & ~(XGD_FAIL_ALLOC | XGD_NO_PLATFORM | XGD_UNBOUND))
		return -EINVAL;

	dev = get_dev(req.index);
	if (!dev)
		return -ENODEV;
	guard(rwsem_write)(&dev->lock);
	if (dev->virtio ||
	    (!dev->parent->driver && !(req.flags & XGD_UNBOUND)))
		return -EBUSY;

	if (req.flags & XGD_FAIL_ALLOC) {
		ret = probes_on(alloc_names, ARRAY_SIZE(alloc_names),
				fail_alloc, 0);
		if (ret)
			return ret;
		nr_failed = 0;
	}
	ret = attach(dev, req.virtio_id, req.flags);
	if (req.flags & XGD_FAIL_ALLOC) {
		req.failed = nr_failed;
		probes_off();
	}
	if (!ret && copy_to_user(arg, &req, sizeof(req)))
		ret = -EFAULT;

	return ret;
}

static long ioctl_detach(u32 index)
{
	struct xgd_dev *dev;

	dev = get_dev(index);
	if (!dev)
		return -ENODEV;
	guard(rwsem_write)(&dev->lock);
	if (!dev->virtio || atomic_read(&dev->in_use))
		return -EBUSY;
	detach(dev);

	return 0;
}

static long ioctl_buffer(struct xgd_file *file, void __user *arg)
{
	struct xgd_buffer req;
	struct xgd_obj *buffer;
	void *addr;
	u32 len = 1;
	long ret;

	if (copy_from_user(&req, arg, sizeof(req)))
		return -EFAULT;
	if (req.memory >= XGD_NR_MEMORY || !req.size ||
	    req.size > XGD_MAX_SIZE)
		return -EINVAL;

	buffer = kzalloc_obj(*buffer);
	if (!buffer)
		return -ENOMEM;
	buffer->type = BUFFER;
	buffer->memory = req.memory;
	buffer->size = req.size;
	if (req.dirty)
		make_dirty(req.size);
	ret = buffer_fill(buffer);
	if (!ret) {
		addr = buffer_at(buffer, 0, &len);
		req.pfn = page_to_pfn(virt_to_page(addr));
		ret = add_obj(file, buffer, &req.id);
	}
	if (ret) {
		buffer_destroy(buffer);
		return ret;
	}

	return copy_to_user(arg, &req, sizeof(req)) ? -EFAULT : 0;
}

static long ioctl_buffer_free(struct xgd_file *file, u32 id)
{
	struct xgd_obj *buffer = get_obj(file, id, BUFFER);

	if (!buffer)
		return -ENOENT;
	if (buffer->users)
		return -EBUSY;
	del_obj(file, id);
	buffer_destroy(buffer);

	return 0;
}

static struct xgd_obj *new_mapping(struct xgd_dev *dev, u32 dir)
{
	struct xgd_obj *map;

	if (!dev->parent->driver && !dev->virtio)
		return ERR_PTR(-ENOLINK);
	map = kzalloc_obj(*map);
	if (!map)
		return ERR_PTR(-ENOMEM);
	map->type = MAPPING;
	map->dev = dev;
	map->dir = (enum dma_data_direction)dir;
	atomic_inc(&dev->in_use);

	return map;
}

static long ioctl_map(struct xgd_file *file, void __user *arg)
{
	struct xgd_obj *buffer, *map;
	unsigned long irqs = 0;
	struct xgd_dev *dev;
	struct xgd_map req;
	long ret;

	if (copy_from_user(&req, arg, sizeof(req)))
		return -EFAULT;
	buffer = get_obj(file, req.buffer,
			 req.flags & XGD_FOREIGN ? HELD : BUFFER);
	if (!buffer)
		return -ENOENT;
	if (req.dir >= XGD_NR_DIRS || req.offset >= buffer->size ||
	    req.size > buffer->size - req.offset)
		return -EINVAL;
	/* What lies in one piece only page by page is mapped as a list. */
	if (!buffer->addr && !(req.flags & XGD_LIST) &&
	    offset_in_page(req.offset) + req.size > PAGE_SIZE)
		return -EINVAL;

	dev = get_dev(req.index);
	if (!dev)
		return -ENODEV;
	guard(rwsem_read)(&dev->lock);
	map = new_mapping(dev, req.dir);
	if (IS_ERR(map))
		return PTR_ERR(map);
	map->buffer = buffer;
	map->size = req.size;
	buffer->users++;

	ret = 0;
	if (req.flags & XGD_LIST)
		ret = mapping_list(map, req.offset, req.size);
	if (!ret)
		ret = begin(req.flags, &irqs);
	if (ret)
		goto err;
	ret = mapping_do(map, req.offset, req.size, req.flags);
	req.locks = end(req.flags, irqs);
	if (ret)
		goto err;

	req.dma = map->dma;
	ret = add_obj(file, map, &req.id);
	if (ret) {
		mapping_undo(map, 0);
		goto err;
	}

	return copy_to_user(arg, &req, sizeof(req)) ? -EFAULT : 0;

err:
	mapping_destroy(map);
	return ret;
}

static long ioctl_unmap(struct xgd_file *file, void __user *arg)
{
	unsigned long irqs = 0;
	struct xgd_unmap req;
	struct xgd_obj *map;
	long ret;

	if (copy_from_user(&req, arg, sizeof(req)))
		return -EFAULT;
	map = get_obj(file, req.id, MAPPING);
	if (!map)
		return -ENOENT;
	if (map->is_alloc && req.flags)
		return -EINVAL;

	guard(rwsem_read)(&map->dev->lock);
	ret = begin(req.flags, &irqs);
	if (ret)
		return ret;
	mapping_undo(map, req.flags);
	req.locks = end(req.flags, irqs);
	del_obj(file, req.id);
	mapping_destroy(map);

	return copy_to_user(arg, &req, sizeof(req)) ? -EFAULT : 0;
}

static long ioctl_list(struct xgd_file *file, void __user *arg)
{
	u64 __user *dma;
	u32 __user *len;
	struct xgd_list req;
	struct scatterlist *sg;
	struct xgd_obj *map;
	int i;

	if (copy_from_user(&req, arg, sizeof(req)))
		return -EFAULT;
	map = get_obj(file, req.id, MAPPING);
	if (!map || !map->sgt.sgl)
		return -ENOENT;
	if (req.nr < map->sgt.nents)
		return -ENOSPC;

	req.nr = map->sgt.nents;
	dma = u64_to_user_ptr(req.dma);
	len = u64_to_user_ptr(req.len);
	for_each_sgtable_dma_sg(&map->sgt, sg, i)
		if (put_user((u64)sg_dma_address(sg), &dma[i]) ||
		    put_user((u32)sg_dma_len(sg), &len[i]))
			return -EFAULT;

	return copy_to_user(arg, &req, sizeof(req)) ? -EFAULT : 0;
}

static long ioctl_alloc(struct xgd_file *file, void __user *arg)
{
	struct xgd_alloc req;
	struct xgd_obj *map;
	struct xgd_dev *xdev;
	struct device *dev;
	struct page *page;
	long ret;

	if (copy_from_user(&req, arg, sizeof(req)))
		return -EFAULT;
	if (req.size > XGD_MAX_SIZE)
		return -EINVAL;

	xdev = get_dev(req.index);
	if (!xdev)
		return -ENODEV;
	guard(rwsem_read)(&xdev->lock);
	map = new_mapping(xdev, DMA_BIDIRECTIONAL);
	if (IS_ERR(map))
		return PTR_ERR(map);
	map->size = req.size;
	map->is_alloc = true;
	map->is_pages = req.pages;
	dev = xdev->parent;
	if (req.dirty && req.size)
		make_dirty(req.size);
	if (req.pages) {
		page = dma_alloc_pages(dev, req.size, &map->dma, map->dir,
				       GFP_KERNEL | __GFP_NOWARN);
		map->addr = page ? page_address(page) : NULL;
	} else {
		map->addr = dma_alloc_coherent(dev, req.size, &map->dma,
					       GFP_KERNEL | __GFP_NOWARN);
	}
	ret = map->addr ? 0 : -ENOMEM;
	if (!ret) {
		req.dma = map->dma;
		ret = add_obj(file, map, &req.id);
		if (ret)
			mapping_undo(map, 0);
	}
	if (ret) {
		mapping_destroy(map);
		return ret;
	}

	return copy_to_user(arg, &req, sizeof(req)) ? -EFAULT : 0;
}

static long ioctl_sync(struct xgd_file *file, void __user *arg)
{
	struct xgd_sync req;
	struct xgd_obj *map;
	struct device *dev;

	if (copy_from_user(&req, arg, sizeof(req)))
		return -EFAULT;
	map = get_obj(file, req.id, MAPPING);
	if (!map)
		return -ENOENT;
	if (map->is_alloc || map->sgt.sgl || req.offset > map->size ||
	    req.size > map->size - req.offset)
		return -EINVAL;

	guard(rwsem_read)(&map->dev->lock);
	dev = map->dev->parent;
	if (req.device)
		dma_sync_single_range_for_device(dev, map->dma, req.offset,
						 req.size, map->dir);
	else
		dma_sync_single_range_for_cpu(dev, map->dma, req.offset,
					      req.size, map->dir);

	return 0;
}

static void buffer_copy(struct xgd_obj *buffer, u32 at, void *buf, u32 len,
			bool write)
{
	while (len) {
		u32 part = len;
		void *addr = buffer_at(buffer, at, &part);

		if (write)
			memcpy(addr, buf, part);
		else
			memcpy(buf, addr, part);
		at += part;
		buf += part;
		len -= part;
	}
}

static long ioctl_copy(struct xgd_file *file, void __user *arg,
		       unsigned int cmd)
{
	struct xgd_obj *obj = NULL;
	struct xgd_copy req;
	void *buf;
	long ret = 0;

	if (copy_from_user(&req, arg, sizeof(req)))
		return -EFAULT;
	if (!req.len || req.len > COPY_MAX)
		return -EINVAL;
	if (cmd != XGD_IOC_DMA) {
		obj = xa_load(&file->objs, req.id);
		if (!obj || (obj->type == MAPPING && !obj->is_alloc))
			return -ENOENT;
		if (cmd == XGD_IOC_HELD ? obj->type != HELD : obj->type == HELD)
			return -ENOENT;
		if (req.at > obj->size || req.len > obj->size - req.at)
			return -ERANGE;
		if (obj->type == HELD && obj->read_only && req.write)
			return -EACCES;
		/* There is nothing there. */
		if (obj->type == BUFFER && obj->memory == XGD_UNPOPULATED)
			return -EACCES;
	}

	buf = kvmalloc(req.len, GFP_KERNEL);
	if (!buf)
		return -ENOMEM;
	if (req.write &&
	    copy_from_user(buf, u64_to_user_ptr(req.buf), req.len)) {
		ret = -EFAULT;
		goto out;
	}
	if (!obj)
		ret = dma_copy(req.at, buf, req.len, req.write, req.read_only);
	else if (obj->type == HELD)
		held_copy(obj, req.at, buf, req.len, req.write);
	else
		buffer_copy(obj, req.at, buf, req.len, req.write);
	if (!ret && !req.write &&
	    copy_to_user(u64_to_user_ptr(req.buf), buf, req.len))
		ret = -EFAULT;
out:
	kvfree(buf);
	return ret;
}

static long ioctl_hold(struct xgd_file *file, void __user *arg)
{
	struct xgd_hold req;
	struct xgd_obj *held;
	int ret;

	if (copy_from_user(&req, arg, sizeof(req)))
		return -EFAULT;
	if (!req.len || req.len > XGD_MAX_SIZE)
		return -EINVAL;
	held = backend_map(req.dma, req.len, req.read_only);
	if (IS_ERR(held))
		return PTR_ERR(held);
	req.pfn = page_to_pfn(held->pages[0]);
	ret = add_obj(file, held, &req.id);
	if (ret) {
		backend_unmap(held);
		return ret;
	}

	return copy_to_user(arg, &req, sizeof(req)) ? -EFAULT : 0;
}

static long ioctl_release(struct xgd_file *file, u32 id)
{
	struct xgd_obj *held = get_obj(file, id, HELD);

	if (!held)
		return -ENOENT;
	if (held->users)
		return -EBUSY;
	del_obj(file, id);

	return backend_unmap(held);
}

static long ioctl_entry(void __user *arg)
{
	struct grant_entry_v1 *entry;
	struct xgd_entry req;

	if (copy_from_user(&req, arg, sizeof(req)))
		return -EFAULT;
	if (!grant_table)
		return -EOPNOTSUPP;
	if (req.ref >= grant_table_size)
		return -ERANGE;
	entry = &grant_table[req.ref];
	req.flags = READ_ONCE(entry->flags);
	req.domid = entry->domid;
	req.frame = entry->frame;

	return copy_to_user(arg, &req, sizeof(req)) ? -EFAULT : 0;
}

/* Takes references until there are none, and returns how many it took. */
static u32 take_refs(grant_ref_t *heads, u32 *nr_heads, u32 max_heads)
{
	u32 count = U16_MAX, total = 0;

	while (count && *nr_heads < max_heads) {
		if (gnttab_alloc_grant_references(count, &heads[*nr_heads])) {
			count /= 2;
			continue;
		}
		total += count;
		++*nr_heads;
	}

	return total;
}

static long ioctl_free_refs(void)
{
	grant_ref_t heads[64];
	u32 i, total, nr = 0;

	guard(mutex)(&hogs_lock);
	total = take_refs(heads, &nr, ARRAY_SIZE(heads));
	for (i = 0; i < nr; i++)
		gnttab_free_grant_references(heads[i]);

	return total;
}

static void free_hogs(void)
{
	while (nr_hogs)
		gnttab_free_grant_references(hogs[--nr_hogs]);
	kvfree(hogs);
	hogs = NULL;
}

static long ioctl_exhaust(unsigned long keep)
{
	const u32 max_hogs = 64;
	grant_ref_t *first;
	u32 total;
	int ref;

	guard(mutex)(&hogs_lock);
	free_hogs();
	if (keep == ~0UL)
		return 0;

	hogs = kvcalloc(max_hogs, sizeof(*hogs), GFP_KERNEL);
	if (!hogs)
		return -ENOMEM;
	total = take_refs(hogs, &nr_hogs, max_hogs);
	for (first = hogs; keep && first < hogs + nr_hogs; ) {
		ref = gnttab_claim_grant_reference(first);
		if (ref < 0) {
			first++;
			continue;
		}
		gnttab_free_grant_reference(ref);
		keep--;
		total--;
	}

	return total;
}

/* References that have been taken */
#define REFS_PER_FRAME	(XEN_PAGE_SIZE / sizeof(struct grant_entry_v1))
#define MAX_REFS	(256 * REFS_PER_FRAME)

struct refs {
	DECLARE_BITMAP(taken, MAX_REFS);
	grant_ref_t last;
};

static int note_ref(struct refs *refs, grant_ref_t ref)
{
	if (ref >= MAX_REFS)
		return -ENOSPC;
	if (__test_and_set_bit(ref, refs->taken))
		return -EEXIST;
	refs->last = max(refs->last, ref);

	return 0;
}

static int take_run(struct refs *refs, u32 count)
{
	grant_ref_t first;
	u32 i;
	int ret;

	ret = gnttab_alloc_grant_reference_seq(count, &first);
	for (i = 0; !ret && i < count; i++)
		ret = note_ref(refs, first + i);

	return ret;
}

/* Not in a row, and all or none of them */
static int take_any(struct refs *refs, u32 count)
{
	grant_ref_t head;
	int ret, ref;

	ret = gnttab_alloc_grant_references(count, &head);
	while (!ret && count--) {
		ref = gnttab_claim_grant_reference(&head);
		ret = ref < 0 ? -EBADF : note_ref(refs, ref);
	}

	return ret;
}

static void put_ref(struct refs *refs, grant_ref_t ref)
{
	__clear_bit(ref, refs->taken);
	gnttab_free_grant_reference(ref);
}

/* All up to the last one of a frame, which is that of the table at some time. */
static int take_frame(struct refs *refs)
{
	u32 i = 0;
	int ret;

	do
		ret = take_any(refs, 1);
	while (!ret && (++i < REFS_PER_FRAME ||
			(refs->last + 1) % REFS_PER_FRAME));

	return ret;
}

/* There are more free ones than are asked for, and hardly two of them in a row. */
static int grow_behind_last(struct refs *refs)
{
	u32 i, nr = 0;
	int ret;

	for (i = 0; nr < REFS_PER_FRAME; i++) {
		if (i == refs->last)
			return -ENOSPC;
		if (i % 2 && test_bit(i, refs->taken)) {
			put_ref(refs, i);
			nr++;
		}
	}
	ret = take_run(refs, REFS_PER_FRAME);
	while (!ret && nr--)
		ret = take_any(refs, 1);

	return ret;
}

/* A few are free that do not form a run with the last ones, which are taken. */
static int grow_behind_run(struct refs *refs)
{
	const u32 few = 4;
	u32 i;
	int ret;

	/* The first of a new frame, the others of which are the last run. */
	ret = take_any(refs, 1);
	for (i = 0; !ret && i < few; i++) {
		grant_ref_t ref = refs->last - REFS_PER_FRAME - 2 * i;

		if (test_bit(ref, refs->taken))
			put_ref(refs, ref);
	}
	ret = ret ?: take_run(refs, REFS_PER_FRAME - 1);

	return ret ?: take_any(refs, 4 * few);
}

static long ioctl_grow_table(void)
{
	struct refs *refs;
	grant_ref_t ref;
	int ret, nr = 0;

	refs = kvzalloc_obj(*refs);
	if (!refs)
		return -ENOMEM;
	do {
		ret = take_frame(refs);
		ret = ret ?: take_frame(refs);
		ret = ret ?: grow_behind_last(refs);
		ret = ret ?: grow_behind_run(refs);
	} while (!ret && ++nr);
	for_each_set_bit(ref, refs->taken, MAX_REFS)
		gnttab_free_grant_reference(ref);
	kvfree(refs);

	return ret == -ENOSPC ? nr : ret;
}

static long ioctl_no_refs(void)
{
	grant_ref_t first;
	int ret;

	ret = gnttab_alloc_grant_reference_seq(0, &first);
	if (ret != -EINVAL)
		return ret ?: -EBADF;
	ret = gnttab_alloc_grant_references(0, &first);

	return ret == -EINVAL ? 0 : ret ?: -EBADF;
}

/* What is done again and again, and with what. */
struct cycle {
	struct xgd_cycle req;
	struct device *dev;
	struct xgd_obj *buffer;
	struct sg_table sgt;
	/* XGD_OP_FLOOR: as many references and frames as there are pages */
	grant_ref_t first;
	xen_pfn_t frame;
	/* XGD_OP_POOL: room for as many */
	struct page **pages;
	/* On one of several CPUs */
	struct work_struct work;
	struct task_struct *task;
};

static size_t cycle_size(const struct xgd_cycle *req)
{
	return req->bytes ?: (size_t)req->nr_pages << PAGE_SHIFT;
}

/*
 * The least that mapping could do for Xen: an entry is valid as soon as all of
 * it is written, and is ended if nobody has changed it.
 */
static noinline int floor_once(grant_ref_t first, u32 nr, xen_pfn_t frame)
{
	u64 *entry = (u64 *)&grant_table[first];
	u64 value = GTF_permit_access | frame << 32;
	bool ended = true;
	u32 i;

	for (i = 0; i < nr; i++)
		WRITE_ONCE(entry[i], value + ((u64)i << 32));
	for (i = 0; i < nr; i++) {
		u64 old = value + ((u64)i << 32);

		ended &= cmpxchg(&entry[i], old, 0) == old;
	}

	return ended ? 0 : -EBUSY;
}

static int cycle_once(struct cycle *cycle)
{
	enum dma_data_direction dir = (enum dma_data_direction)cycle->req.dir;
	struct xgd_obj *buffer = cycle->buffer;
	size_t size = cycle_size(&cycle->req);
	struct sg_table *sgt = &cycle->sgt;
	u32 nr = cycle->req.nr_pages;
	struct device *dev = cycle->dev;
	dma_addr_t dma;
	void *addr;
	int ret;

	switch (cycle->req.op) {
	case XGD_OP_SYNC:
		dma_sync_single_for_cpu(dev, buffer->dma, size, dir);
		dma_sync_single_for_device(dev, buffer->dma, size, dir);
		break;
	case XGD_OP_MAP:
		dma = dma_map_single(dev, buffer->addr, size, dir);
		if (dma_mapping_error(dev, dma))
			return -EIO;
		dma_unmap_single(dev, dma, size, dir);
		break;
	case XGD_OP_SG:
		if (!dma_map_sg(dev, sgt->sgl, sgt->orig_nents, dir))
			return -EIO;
		dma_unmap_sg(dev, sgt->sgl, sgt->orig_nents, dir);
		break;
	case XGD_OP_COHERENT:
		addr = dma_alloc_coherent(dev, size, &dma,
					  GFP_KERNEL | __GFP_NOWARN);
		if (!addr)
			return -ENOMEM;
		dma_free_coherent(dev, size, addr, dma);
		break;
	case XGD_OP_FLOOR:
		return floor_once(cycle->first, nr, cycle->frame);
	case XGD_OP_POOL:
		ret = xen_alloc_unpopulated_pages(nr, cycle->pages);
		if (ret)
			return ret;
		xen_free_unpopulated_pages(nr, cycle->pages);
		break;
	}

	return 0;
}

static void cycle_all(struct cycle *cycle)
{
	struct xgd_cycle *req = &cycle->req;
	unsigned long irqs = 0;
	u64 start;
	u32 i;

	req->failed = 0;
	if (req->flags & XGD_IRQS_OFF)
		local_irq_save(irqs);
	start = ktime_get_ns();
	for (i = 0; i < req->repeat; i++)
		if (cycle_once(cycle))
			req->failed++;
	req->ns = ktime_get_ns() - start;
	if (req->flags & XGD_IRQS_OFF)
		local_irq_restore(irqs);
}

static int cycle_check(const struct xgd_cycle *req)
{
	u32 max = req->op == XGD_OP_SG ? XGD_MAX_ENTRIES :
					 XGD_MAX_SIZE >> PAGE_SHIFT;

	if (req->op >= XGD_NR_OPS || req->dir >= XGD_NR_DIRS ||
	    !req->nr_pages || req->nr_pages > max ||
	    req->repeat > XGD_MAX_REPEAT)
		return -EINVAL;
	if (req->bytes > req->nr_pages << PAGE_SHIFT)
		return -EINVAL;
	if (req->flags & XGD_IRQS_OFF &&
	    (req->op == XGD_OP_COHERENT || req->op == XGD_OP_POOL ||
	     req->repeat > 1000))
		return -EINVAL;

	return 0;
}

static void cycle_end(struct cycle *cycle)
{
	struct xgd_obj *buffer = cycle->buffer;
	struct xgd_cycle *req = &cycle->req;

	if (buffer && buffer->dma)
		dma_unmap_single(cycle->dev, buffer->dma, cycle_size(req),
				 (enum dma_data_direction)req->dir);
	if (cycle->first)
		gnttab_free_grant_reference_seq(cycle->first, req->nr_pages);
	sg_free_table(&cycle->sgt);
	if (buffer)
		buffer_destroy(buffer);
	kvfree(cycle->pages);
}

/* Gets what is needed; if that fails, cycle_end() frees what there is. */
static int cycle_begin(struct cycle *cycle)
{
	struct xgd_cycle *req = &cycle->req;
	struct xgd_obj *buffer;
	struct scatterlist *sg;
	int i, ret;

	if (req->op == XGD_OP_POOL) {
		cycle->pages = kvcalloc(req->nr_pages, sizeof(*cycle->pages),
					GFP_KERNEL);
		return cycle->pages ? 0 : -ENOMEM;
	}

	buffer = kzalloc_obj(*buffer);
	if (!buffer)
		return -ENOMEM;
	cycle->buffer = buffer;
	buffer->memory = req->op == XGD_OP_SG ? XGD_SCATTERED : XGD_PAGES;
	buffer->size = req->nr_pages << PAGE_SHIFT;
	/* No two entries of the list shall lie side by side. */
	if (req->op == XGD_OP_SG)
		buffer->size *= 2;
	ret = buffer_fill(buffer);
	if (ret)
		return ret;

	switch (req->op) {
	case XGD_OP_SG:
		ret = sg_alloc_table(&cycle->sgt, req->nr_pages, GFP_KERNEL);
		if (ret)
			return ret;
		for_each_sg(cycle->sgt.sgl, sg, req->nr_pages, i)
			sg_set_page(sg, buffer->pages[2 * i], PAGE_SIZE, 0);
		return 0;
	case XGD_OP_SYNC:
		buffer->dma = dma_map_single(cycle->dev, buffer->addr,
					     cycle_size(req),
					     (enum dma_data_direction)req->dir);
		ret = dma_mapping_error(cycle->dev, buffer->dma);
		if (ret)
			buffer->dma = 0;
		return ret;
	case XGD_OP_FLOOR:
		if (!grant_table)
			return -EOPNOTSUPP;
		cycle->frame = virt_to_gfn(buffer->addr);
		return gnttab_alloc_grant_reference_seq(req->nr_pages,
							&cycle->first);
	default:
		return 0;
	}
}

static long ioctl_cycle(void __user *arg)
{
	struct cycle cycle = { };
	struct xgd_dev *dev;
	long ret;

	if (copy_from_user(&cycle.req, arg, sizeof(cycle.req)))
		return -EFAULT;
	ret = cycle_check(&cycle.req);
	if (ret)
		return ret;

	dev = get_dev(cycle.req.index);
	if (!dev)
		return -ENODEV;
	guard(rwsem_read)(&dev->lock);
	if (!dev->parent->driver)
		return -ENOLINK;

	cycle.dev = dev->parent;
	ret = cycle_begin(&cycle);
	if (!ret) {
		cycle_all(&cycle);
		if (copy_to_user(arg, &cycle.req, sizeof(cycle.req)))
			ret = -EFAULT;
	}
	cycle_end(&cycle);

	return ret;
}

/*
 * Of these tasks locks are watched.  Between the probes at both ends of a hold
 * there is at least what one probe costs, and as much for each that is hit in
 * between.  probes_lock protects all of this.
 */
static struct cycle *contenders;
static u32 nr_contenders, watching;
static atomic_t nr_late;
static atomic64_t nr_seen;
static DEFINE_MUTEX(control_mutex);
static struct {
	u64 since;
	u64 hits;
	bool mutex;
} holds[8];
static u32 nr_holds;
static u64 nr_hits, longest_hold, cost_of_hit[2];

static bool is_contender(void)
{
	u32 i;

	if (!in_task())
		return false;
	for (i = 0; i < nr_contenders; i++)
		if (READ_ONCE(contenders[i].task) == current)
			return true;

	return false;
}

static int see_one(struct kprobe *probe, struct pt_regs *regs)
{
	if (is_contender())
		atomic64_inc(&nr_seen);

	return 0;
}

static int hold_begins(struct kprobe *probe, struct pt_regs *regs)
{
	if (!is_contender())
		return 0;
	nr_hits++;
	if (nr_holds < ARRAY_SIZE(holds)) {
		holds[nr_holds].mutex = !strcmp(probe->symbol_name,
						"mutex_lock");
		holds[nr_holds].hits = nr_hits;
		holds[nr_holds].since = ktime_get_mono_fast_ns();
	}
	nr_holds++;

	return 0;
}

static int hold_ends(struct kprobe *probe, struct pt_regs *regs)
{
	u64 held = ktime_get_mono_fast_ns(), cost;

	if (!is_contender())
		return 0;
	nr_hits++;
	if (!nr_holds || nr_holds-- > ARRAY_SIZE(holds))
		return 0;
	held -= holds[nr_holds].since;
	cost = (nr_hits - holds[nr_holds].hits) *
	       cost_of_hit[holds[nr_holds].mutex];
	if (held > cost)
		longest_hold = max(longest_hold, held - cost);

	return 0;
}
NOKPROBE_SYMBOL(is_contender);
NOKPROBE_SYMBOL(see_one);
NOKPROBE_SYMBOL(hold_begins);
NOKPROBE_SYMBOL(hold_ends);

static int watch_on(u32 watch)
{
	int ret;

	mutex_lock(&probes_lock);
	switch (watch) {
	case XGD_WATCH_TAKEN:
		ret = add_probes(lock_names, ARRAY_SIZE(lock_names), see_one,
				 12);
		if (!ret)
			ret = add_probes(mutex_names, ARRAY_SIZE(mutex_names),
					 see_one, 12);
		break;
	case XGD_WATCH_WAITS:
		ret = add_probes(wait_names, ARRAY_SIZE(wait_names), see_one,
				 12);
		break;
	default:
		ret = add_probes(take_names, ARRAY_SIZE(take_names),
				 hold_begins, 12);
		if (!ret)
			ret = add_probes(drop_names, ARRAY_SIZE(drop_names),
					 hold_ends, 12);
		break;
	}
	if (ret)
		probes_off();

	return ret;
}

/* What it looks like when a lock is dropped as soon as it is taken. */
static void measure_cost(void)
{
	u64 spin = U64_MAX, mutex = U64_MAX;
	unsigned long irqs;
	u32 i;

	cost_of_hit[false] = 0;
	cost_of_hit[true] = 0;
	for (i = 0; i < 16; i++) {
		longest_hold = 0;
		spin_lock_irqsave(&control_lock, irqs);
		spin_unlock_irqrestore(&control_lock, irqs);
		spin = min(spin, longest_hold);
		longest_hold = 0;
		mutex_lock(&control_mutex);
		mutex_unlock(&control_mutex);
		mutex = min(mutex, longest_hold);
	}
	cost_of_hit[false] = spin;
	cost_of_hit[true] = mutex;
	longest_hold = 0;
}

static void contend_work(struct work_struct *work)
{
	struct cycle *cycle = container_of(work, struct cycle, work);
	struct xgd_cycle *req = &cycle->req;
	u64 end;
	u32 i;

	req->failed = 0;
	/* What the first one brings in is there for all others. */
	cycle_once(cycle);
	/* All begin together. */
	atomic_dec(&nr_late);
	while (atomic_read(&nr_late))
		cpu_relax();

	WRITE_ONCE(cycle->task, current);
	if (watching == XGD_WATCH_HELD)
		measure_cost();
	end = ktime_get_ns() + CONTEND_NS;
	for (i = 0; i < req->repeat && ktime_get_ns() < end; i++)
		if (cycle_once(cycle))
			req->failed++;
	WRITE_ONCE(cycle->task, NULL);
	req->repeat = i;
}

static int run_contenders(struct cycle *cycles, u32 nr)
{
	u32 i = 0;
	int cpu;

	guard(cpus_read_lock)();
	if (nr > num_online_cpus())
		return -EINVAL;

	for_each_online_cpu(cpu) {
		if (i == nr)
			break;
		schedule_work_on(cpu, &cycles[i++].work);
	}
	for (i = 0; i < nr; i++)
		flush_work(&cycles[i].work);

	return 0;
}

static int contend(struct xgd_contend *req, struct cycle *cycles)
{
	int ret;
	u32 i;

	ret = watch_on(req->watch);
	if (ret)
		return ret;

	watching = req->watch;
	contenders = cycles;
	nr_contenders = req->nr_cpus;
	nr_holds = 0;
	atomic64_set(&nr_seen, 0);
	atomic_set(&nr_late, req->nr_cpus);
	ret = run_contenders(cycles, req->nr_cpus);
	req->seen = watching == XGD_WATCH_HELD ? longest_hold :
						 atomic64_read(&nr_seen);
	req->cycle.failed = 0;
	req->cycle.repeat = 0;
	for (i = 0; i < req->nr_cpus; i++) {
		req->cycle.failed += cycles[i].req.failed;
		req->cycle.repeat += cycles[i].req.repeat;
	}
	probes_off();

	return ret;
}

static long ioctl_contend(void __user *arg)
{
	struct xgd_contend req;
	struct cycle *cycles;
	struct xgd_dev *dev;
	long ret;
	u32 i;

	if (copy_from_user(&req, arg, sizeof(req)))
		return -EFAULT;
	ret = cycle_check(&req.cycle);
	if (ret)
		return ret;
	if (!req.nr_cpus || req.nr_cpus > XGD_MAX_CPUS ||
	    req.watch >= XGD_NR_WATCHES ||
	    (req.watch == XGD_WATCH_HELD && req.nr_cpus > 1))
		return -EINVAL;

	dev = get_dev(req.cycle.index);
	if (!dev)
		return -ENODEV;
	guard(rwsem_read)(&dev->lock);
	if (!dev->parent->driver)
		return -ENOLINK;

	cycles = kzalloc_objs(*cycles, req.nr_cpus);
	if (!cycles)
		return -ENOMEM;
	req.cycle.flags = 0;
	for (i = 0; i < req.nr_cpus && !ret; i++) {
		cycles[i].req = req.cycle;
		cycles[i].dev = dev->parent;
		INIT_WORK(&cycles[i].work, contend_work);
		ret = cycle_begin(&cycles[i]);
	}
	if (!ret)
		ret = contend(&req, cycles);
	if (!ret && copy_to_user(arg, &req, sizeof(req)))
		ret = -EFAULT;
	while (i--)
		cycle_end(&cycles[i]);
	kfree(cycles);

	return ret;
}

static long xgd_ioctl(struct file *filp, unsigned int cmd, unsigned long arg)
{
	struct xgd_file *file = filp->private_data;
	void __user *argp = (void __user *)arg;

	/* These need no object, and may run side by side. */
	switch (cmd) {
	case XGD_IOC_INFO:
		return ioctl_info(argp);
	case XGD_IOC_BIND:
		return ioctl_bind(arg);
	case XGD_IOC_UNBIND:
		return ioctl_unbind(arg, false);
	case XGD_IOC_ABANDON:
		return ioctl_unbind(arg, true);
	case XGD_IOC_ATTACH:
		return ioctl_attach(argp);
	case XGD_IOC_DETACH:
		return ioctl_detach(arg);
	case XGD_IOC_ENTRY:
		return ioctl_entry(argp);
	case XGD_IOC_CYCLE:
		return ioctl_cycle(argp);
	case XGD_IOC_CONTEND:
		return ioctl_contend(argp);
	case XGD_IOC_EXHAUST:
		return ioctl_exhaust(arg);
	case XGD_IOC_FREE_REFS:
		return ioctl_free_refs();
	case XGD_IOC_GROW_TABLE:
		return ioctl_grow_table();
	case XGD_IOC_NO_REFS:
		return ioctl_no_refs();
	}

	guard(mutex)(&file->lock);

	switch (cmd) {
	case XGD_IOC_BUFFER:
		return ioctl_buffer(file, argp);
	case XGD_IOC_BUFFER_FREE:
		return ioctl_buffer_free(file, arg);
	case XGD_IOC_MAP:
		return ioctl_map(file, argp);
	case XGD_IOC_UNMAP:
		return ioctl_unmap(file, argp);
	case XGD_IOC_LIST:
		return ioctl_list(file, argp);
	case XGD_IOC_ALLOC:
		return ioctl_alloc(file, argp);
	case XGD_IOC_SYNC:
		return ioctl_sync(file, argp);
	case XGD_IOC_COPY:
	case XGD_IOC_DMA:
	case XGD_IOC_HELD:
		return ioctl_copy(file, argp, cmd);
	case XGD_IOC_HOLD:
		return ioctl_hold(file, argp);
	case XGD_IOC_RELEASE:
		return ioctl_release(file, arg);
	default:
		return -ENOTTY;
	}
}

static int xgd_open(struct inode *inode, struct file *filp)
{
	struct xgd_file *file;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;

	file = kzalloc_obj(*file);
	if (!file)
		return -ENOMEM;
	mutex_init(&file->lock);
	xa_init_flags(&file->objs, XA_FLAGS_ALLOC);
	filp->private_data = file;

	return 0;
}

static void release_all(struct xgd_file *file, enum xgd_type type,
			bool only_foreign)
{
	struct xgd_obj *obj;
	unsigned long id;

	xa_for_each(&file->objs, id, obj) {
		if (obj->type != type)
			continue;
		if (only_foreign && !(obj->buffer && obj->buffer->type == HELD))
			continue;
		xa_erase(&file->objs, id);
		obj_release(obj);
	}
}

static int xgd_release(struct inode *inode, struct file *filp)
{
	struct xgd_file *file = filp->private_data;

	/*
	 * What the backend holds goes before the mappings, which could not be
	 * undone; but the mappings of what it holds go before that.
	 */
	release_all(file, MAPPING, true);
	release_all(file, HELD, false);
	release_all(file, MAPPING, false);
	release_all(file, BUFFER, false);
	xa_destroy(&file->objs);
	mutex_destroy(&file->lock);
	kfree(file);
	ioctl_exhaust(~0UL);

	return 0;
}

static const struct file_operations xgd_fops = {
	.owner		= THIS_MODULE,
	.open		= xgd_open,
	.release	= xgd_release,
	.unlocked_ioctl	= xgd_ioctl,
};

static struct miscdevice xgd_misc = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= XGD_DEVICE,
	.fops	= &xgd_fops,
	.mode	= 0600,
};

/* Xen's view of the grant table is where the device tree says. */
static void map_grant_table(void)
{
	struct device_node *np;
	struct resource res;

	np = of_find_compatible_node(NULL, NULL, "xen,xen");
	if (!np)
		return;
	if (!of_address_to_resource(np, 0, &res)) {
		size_t size = min_t(size_t, resource_size(&res),
				    (size_t)gnttab_max_grant_frames() *
				    XEN_PAGE_SIZE);

		grant_table = memremap(res.start, size, MEMREMAP_WB);
		if (grant_table)
			grant_table_size = size / sizeof(*grant_table);
	}
	of_node_put(np);
}

/* Takes over the reference to the device. */
static void add_dev(struct device *parent)
{
	struct xgd_dev *dev = &devs[nr_devs];

	if (nr_devs == MAX_DEVS) {
		put_device(parent);
		return;
	}
	init_rwsem(&dev->lock);
	dev->parent = parent;
	nr_devs++;
}

static void put_devs(void)
{
	while (nr_devs)
		put_device(devs[--nr_devs].parent);
}

static int __init xgd_init(void)
{
	struct pci_dev *pci = NULL;
	struct device_node *np;
	int ret;

	if (!xen_domain())
		return -ENODEV;

	for_each_matching_node(np, xgd_of_match) {
		struct platform_device *pdev = of_find_device_by_node(np);

		if (pdev)
			add_dev(&pdev->dev);
	}
	for_each_pci_dev(pci)
		if (pci_match_id(xgd_pci_ids, pci))
			add_dev(get_device(&pci->dev));

	ret = register_virtio_driver(&xgd_virtio_driver);
	if (ret)
		goto put;
	ret = platform_driver_register(&xgd_driver);
	if (ret)
		goto unregister_virtio;
	ret = pci_register_driver(&xgd_pci_driver);
	if (ret)
		goto unregister_platform;
	map_grant_table();
	ret = misc_register(&xgd_misc);
	if (ret)
		goto unmap;

	return 0;

unmap:
	if (grant_table)
		memunmap(grant_table);
	pci_unregister_driver(&xgd_pci_driver);
unregister_platform:
	platform_driver_unregister(&xgd_driver);
unregister_virtio:
	unregister_virtio_driver(&xgd_virtio_driver);
put:
	put_devs();
	return ret;
}
module_init(xgd_init);

static void __exit xgd_exit(void)
{
	misc_deregister(&xgd_misc);
	if (grant_table)
		memunmap(grant_table);
	pci_unregister_driver(&xgd_pci_driver);
	platform_driver_unregister(&xgd_driver);
	unregister_virtio_driver(&xgd_virtio_driver);
	put_devs();
}
module_exit(xgd_exit);

MODULE_DESCRIPTION("A virtio transport that looks at the DMA addresses it is given");
MODULE_LICENSE("GPL");
