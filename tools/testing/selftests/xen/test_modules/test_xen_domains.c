// SPDX-License-Identifier: GPL-2.0
/*
 * Imports dma-bufs for a device of the device tree, has disks read and write
 * them, and writes to the grant table whatever user space says, for tests
 * between two domains.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/of.h>
#include <linux/of_address.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <xen/grant_table.h>
#include <xen/page.h>
#include <xen/xen.h>

#include "test_xen_domains.h"

struct xdm_slot {
	struct dma_buf *dmabuf;
	struct dma_buf_attachment *attach;
	struct sg_table *sgt;
	size_t size;
	atomic_t vmas;
};

struct xdm_file {
	/* Protects the slots. mmap() takes it, so nothing is copied under it. */
	struct mutex lock;
	struct xdm_slot slots[XDM_MAX_IMPORTS];
};

static struct platform_device *importer;
static struct grant_entry_v1 *grant_table;
static u32 nr_entries;
/* One that does no DMA. */
static struct device *idle;

static void slot_end(struct xdm_slot *slot)
{
	if (!slot->dmabuf)
		return;

	dma_buf_unmap_attachment_unlocked(slot->attach, slot->sgt,
					  DMA_BIDIRECTIONAL);
	dma_buf_detach(slot->dmabuf, slot->attach);
	dma_buf_put(slot->dmabuf);
	slot->dmabuf = NULL;
}

static int slot_begin(struct xdm_slot *slot, int fd, struct device *dev)
{
	struct dma_buf *dmabuf;
	int ret;

	dmabuf = dma_buf_get(fd);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	slot->attach = dma_buf_attach(dmabuf, dev);
	if (IS_ERR(slot->attach)) {
		ret = PTR_ERR(slot->attach);
		goto put;
	}
	slot->sgt = dma_buf_map_attachment_unlocked(slot->attach,
						    DMA_BIDIRECTIONAL);
	if (IS_ERR(slot->sgt)) {
		ret = PTR_ERR(slot->sgt);
		goto detach;
	}
	slot->dmabuf = dmabuf;
	atomic_set(&slot->vmas, 0);

	return 0;

detach:
	dma_buf_detach(dmabuf, slot->attach);
put:
	dma_buf_put(dmabuf);
	return ret;
}

/* Whether the device sees all of it where this domain has it. */
static bool slot_same(const struct xdm_slot *slot)
{
	struct sg_dma_page_iter dma;
	struct sg_page_iter page;

	__sg_page_iter_start(&page, slot->sgt->sgl, slot->sgt->orig_nents, 0);
	for_each_sgtable_dma_page(slot->sgt, &dma, 0) {
		if (!__sg_page_iter_next(&page) ||
		    sg_page_iter_dma_address(&dma) !=
		    page_to_phys(sg_page_iter_page(&page)))
			return false;
	}

	return !__sg_page_iter_next(&page);
}

static long import(struct xdm_file *file, struct xdm_import *req)
{
	struct device *dev = importer ? &importer->dev : NULL;
	struct xdm_slot *slot;
	struct scatterlist *sg;
	int i, ret;
	u32 id;

	if (req->no_dma)
		dev = idle;
	if (!dev)
		return -ENODEV;

	guard(mutex)(&file->lock);

	for (id = 0; id < XDM_MAX_IMPORTS; id++)
		if (!file->slots[id].dmabuf)
			break;
	if (id == XDM_MAX_IMPORTS)
		return -ENOSPC;
	slot = &file->slots[id];
	ret = slot_begin(slot, req->fd, dev);
	if (ret)
		return ret;

	slot->size = 0;
	for_each_sgtable_sg(slot->sgt, sg, i)
		slot->size += sg->length;
	req->id = id;
	req->entries = slot->sgt->orig_nents;
	req->dma_entries = slot->sgt->nents;
	req->same = slot_same(slot);
	req->dma = sg_dma_address(slot->sgt->sgl);
	req->phys = sg_phys(slot->sgt->sgl);
	req->size = slot->size;

	return 0;
}

static long ioctl_end(struct xdm_file *file, unsigned long id)
{
	guard(mutex)(&file->lock);

	if (id >= XDM_MAX_IMPORTS || !file->slots[id].dmabuf)
		return -ENOENT;
	if (atomic_read(&file->slots[id].vmas))
		return -EBUSY;
	slot_end(&file->slots[id]);

	return 0;
}

/* Each part that the block layer is given is one piece for it, as it is. */
static int slot_disk(const struct xdm_slot *slot, struct block_device *bdev,
		     blk_opf_t opf, u32 part)
{
	struct scatterlist *sg;
	sector_t sector = 0;
	struct page *page;
	struct bio *bio;
	int i, ret = 0;
	u32 at, len;

	bio = bio_alloc(bdev, BIO_MAX_VECS, opf, GFP_KERNEL);
	for_each_sgtable_sg(slot->sgt, sg, i) {
		for (at = 0; at < sg->length; at += len) {
			len = min(part, sg->length - at);
			page = sg_page(sg) + at / PAGE_SIZE;
			if (bio_add_page(bio, page, len, 0) == len)
				continue;
			sector += bio_sectors(bio);
			ret = submit_bio_wait(bio);
			if (ret)
				goto put;
			bio_reset(bio, bdev, opf);
			bio->bi_iter.bi_sector = sector;
			__bio_add_page(bio, page, len, 0);
		}
	}
	ret = submit_bio_wait(bio);
put:
	bio_put(bio);
	return ret;
}

static long ioctl_import(struct xdm_file *file, void __user *arg)
{
	struct xdm_import req;
	int ret;

	if (copy_from_user(&req, arg, sizeof(req)))
		return -EFAULT;
	ret = import(file, &req);
	if (ret)
		return ret;
	if (copy_to_user(arg, &req, sizeof(req))) {
		ioctl_end(file, req.id);
		return -EFAULT;
	}

	return 0;
}

static long ioctl_disk(struct xdm_file *file, void __user *arg)
{
	struct xdm_disk req;

	if (!IS_ENABLED(CONFIG_BLOCK))
		return -EOPNOTSUPP;
	if (copy_from_user(&req, arg, sizeof(req)))
		return -EFAULT;

	guard(mutex)(&file->lock);

	if (req.id >= XDM_MAX_IMPORTS || !file->slots[req.id].dmabuf)
		return -ENOENT;

	CLASS(fd, disk)(req.fd);
	if (fd_empty(disk))
		return -EBADF;
	if (!S_ISBLK(file_inode(fd_file(disk))->i_mode))
		return -ENOTBLK;

	return slot_disk(&file->slots[req.id], file_bdev(fd_file(disk)),
			 req.write ? REQ_OP_WRITE : REQ_OP_READ,
			 req.by_page ? PAGE_SIZE : U32_MAX);
}

static long ioctl_entry(void __user *arg, bool set)
{
	struct grant_entry_v1 *entry;
	struct xdm_entry req;

	if (copy_from_user(&req, arg, sizeof(req)))
		return -EFAULT;
	if (!grant_table)
		return -EOPNOTSUPP;
	if (req.ref >= nr_entries)
		return -EINVAL;

	entry = &grant_table[req.ref];
	if (set) {
		WRITE_ONCE(entry->flags, 0);
		/* Xen must not take the new frame with the old flags ... */
		wmb();
		entry->domid = req.domid;
		entry->frame = req.frame;
		/* ... nor the new flags with the old frame. */
		wmb();
		WRITE_ONCE(entry->flags, req.flags);
		return 0;
	}
	req.flags = READ_ONCE(entry->flags);
	req.domid = entry->domid;
	req.frame = entry->frame;

	return copy_to_user(arg, &req, sizeof(req)) ? -EFAULT : 0;
}

static long xdm_ioctl(struct file *filp, unsigned int cmd, unsigned long arg)
{
	struct xdm_file *file = filp->private_data;
	void __user *argp = (void __user *)arg;

	switch (cmd) {
	case XDM_IOC_IMPORT:
		return ioctl_import(file, argp);
	case XDM_IOC_END:
		return ioctl_end(file, arg);
	case XDM_IOC_DISK:
		return ioctl_disk(file, argp);
	case XDM_IOC_GET_ENTRY:
		return ioctl_entry(argp, false);
	case XDM_IOC_SET_ENTRY:
		return ioctl_entry(argp, true);
	default:
		return -ENOTTY;
	}
}

static void vma_open(struct vm_area_struct *vma)
{
	struct xdm_slot *slot = vma->vm_private_data;

	atomic_inc(&slot->vmas);
}

static void vma_close(struct vm_area_struct *vma)
{
	struct xdm_slot *slot = vma->vm_private_data;

	atomic_dec(&slot->vmas);
}

static const struct vm_operations_struct xdm_vm_ops = {
	.open	= vma_open,
	.close	= vma_close,
};

/* Maps all of an import, in the order of its scatter list. */
static int xdm_mmap(struct file *filp, struct vm_area_struct *vma)
{
	struct xdm_file *file = filp->private_data;
	unsigned long at = vma->vm_start;
	struct xdm_slot *slot;
	struct scatterlist *sg;
	int i, ret;

	guard(mutex)(&file->lock);

	if (vma->vm_pgoff >= XDM_MAX_IMPORTS)
		return -ENOENT;
	slot = &file->slots[vma->vm_pgoff];
	if (!slot->dmabuf)
		return -ENOENT;
	if (vma->vm_end - vma->vm_start != slot->size ||
	    !(vma->vm_flags & VM_SHARED))
		return -EINVAL;

	for_each_sgtable_sg(slot->sgt, sg, i) {
		ret = remap_pfn_range(vma, at, page_to_pfn(sg_page(sg)),
				      sg->length, vma->vm_page_prot);
		if (ret)
			return ret;
		at += sg->length;
	}
	vma->vm_private_data = slot;
	vma->vm_ops = &xdm_vm_ops;
	vma_open(vma);

	return 0;
}

static int xdm_open(struct inode *inode, struct file *filp)
{
	struct xdm_file *file;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;

	file = kzalloc_obj(*file);
	if (!file)
		return -ENOMEM;
	mutex_init(&file->lock);
	filp->private_data = file;

	return 0;
}

static int xdm_release(struct inode *inode, struct file *filp)
{
	struct xdm_file *file = filp->private_data;
	int i;

	for (i = 0; i < XDM_MAX_IMPORTS; i++)
		slot_end(&file->slots[i]);
	mutex_destroy(&file->lock);
	kfree(file);

	return 0;
}

static const struct file_operations xdm_fops = {
	.owner		= THIS_MODULE,
	.open		= xdm_open,
	.release	= xdm_release,
	.unlocked_ioctl	= xdm_ioctl,
	.mmap		= xdm_mmap,
};

static struct miscdevice xdm_misc = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= XDM_DEVICE,
	.fops	= &xdm_fops,
	.mode	= 0600,
};

static int xdm_probe(struct platform_device *pdev)
{
	int ret;

	if (importer)
		return -EBUSY;
	ret = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (ret)
		return ret;
	/* A buffer is one piece, however large, and wherever that is. */
	dma_set_max_seg_size(&pdev->dev, UINT_MAX);
	dma_set_seg_boundary(&pdev->dev, ULONG_MAX);
	importer = pdev;

	return 0;
}

static const struct of_device_id xdm_of_match[] = {
	{ .compatible = "xen,importer-test" },
	{ }
};

static struct platform_driver xdm_driver = {
	.driver = {
		.name			= XDM_DEVICE,
		.of_match_table		= xdm_of_match,
		/* What is imported is imported for it. */
		.suppress_bind_attrs	= true,
	},
	.probe	= xdm_probe,
};

/* Xen's view of the grant table is where the device tree says. */
static void map_grant_table(void)
{
	struct device_node *np;
	struct resource res;
	size_t size;

	np = of_find_compatible_node(NULL, NULL, "xen,xen");
	if (!np)
		return;
	if (!of_address_to_resource(np, 0, &res)) {
		size = min_t(size_t, resource_size(&res),
			     (size_t)gnttab_max_grant_frames() *
			     XEN_PAGE_SIZE);
		grant_table = memremap(res.start, size, MEMREMAP_WB);
		if (grant_table)
			nr_entries = size / sizeof(*grant_table);
	}
	of_node_put(np);
}

static int __init xdm_init(void)
{
	int ret;

	if (!xen_domain())
		return -ENODEV;

	map_grant_table();
	ret = platform_driver_register(&xdm_driver);
	if (ret)
		goto unmap;
	ret = misc_register(&xdm_misc);
	if (ret)
		goto unregister;
	idle = xdm_misc.this_device;
	ret = dma_coerce_mask_and_coherent(idle, DMA_BIT_MASK(64));
	if (ret)
		goto deregister;

	return 0;

deregister:
	misc_deregister(&xdm_misc);
unregister:
	platform_driver_unregister(&xdm_driver);
unmap:
	if (grant_table)
		memunmap(grant_table);
	return ret;
}
module_init(xdm_init);

static void __exit xdm_exit(void)
{
	misc_deregister(&xdm_misc);
	platform_driver_unregister(&xdm_driver);
	if (grant_table)
		memunmap(grant_table);
}
module_exit(xdm_exit);

MODULE_DESCRIPTION("Imports dma-bufs of another domain, and forges grants");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("DMA_BUF");
