// SPDX-License-Identifier: GPL-2.0
/*
 * Lets user space call what the kernel exports for pages without memory
 * behind them: xen_alloc_unpopulated_pages() and its kin, gnttab_alloc_pages()
 * and gnttab_dma_alloc_pages(), one call for one ioctl.
 *
 * It knows nothing of how these are implemented.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitops.h>
#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/minmax.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <linux/xarray.h>
#include <xen/grant_table.h>
#include <xen/page.h>
#include <xen/xen.h>

#include "contiguous.h"
#include "test_xen_unpopulated.h"

#define MAX_RUNS	4096
#define COPY_MAX	SZ_64K
#define RAW_ENTRIES	512

struct xut_run {
	u32 capacity;
	u32 nr_pages;
	u32 kind;
	u8 *state;
	struct page **pages;
	grant_handle_t *handles;
	struct gnttab_dma_alloc_args dma;
};

struct xut_file {
	struct mutex lock; /* protects all below, and what is in the runs */
	struct xarray runs;
	u32 nr_runs;
};

static struct miscdevice xut_misc;

static bool is_dma(u32 kind)
{
	return kind == XUT_DMA_COHERENT || kind == XUT_DMA_WC;
}

static void run_destroy(struct xut_run *run)
{
	kvfree(run->dma.frames);
	kvfree(run->handles);
	kvfree(run->pages);
	kvfree(run->state);
	kfree(run);
}

static struct xut_run *run_create(u32 capacity)
{
	struct xut_run *run = kzalloc_obj(*run);

	if (!run)
		return NULL;

	run->capacity = capacity;
	run->state = kvcalloc(capacity, sizeof(*run->state), GFP_KERNEL);
	run->pages = kvcalloc(capacity, sizeof(*run->pages), GFP_KERNEL);
	run->handles = kvcalloc(capacity, sizeof(*run->handles), GFP_KERNEL);
	run->dma.frames = kvcalloc(capacity, sizeof(*run->dma.frames),
				   GFP_KERNEL);
	if (!run->state || !run->pages || !run->handles || !run->dma.frames) {
		run_destroy(run);
		return NULL;
	}
	run->dma.pages = run->pages;

	return run;
}

static bool run_any(struct xut_run *run, u8 state)
{
	u32 i;

	for (i = 0; i < run->nr_pages; i++)
		if (run->state[i] & state)
			return true;

	return false;
}

static int ram_alloc(u32 nr_pages, struct page **pages)
{
	u32 i;

	for (i = 0; i < nr_pages; i++) {
		pages[i] = alloc_page(GFP_KERNEL | __GFP_ZERO);
		if (!pages[i])
			goto err;
	}

	return 0;

err:
	while (i--)
		__free_page(pages[i]);
	return -ENOMEM;
}

/* What is timed: nothing but the call may differ from one kind to the next. */
static int run_alloc(struct xut_run *run, u32 kind, u32 nr_pages, u32 align,
		     u64 max_addr)
{
	struct page *first;
	u32 i;
	int ret;

	switch (kind) {
	case XUT_NOP:
		ret = 0;
		break;
	case XUT_SCATTERED:
		ret = xen_alloc_unpopulated_pages(nr_pages, run->pages);
		break;
	case XUT_CONTIGUOUS:
		ret = xen_alloc_unpopulated_contiguous_pages(nr_pages, align,
							     max_addr, &first);
		for (i = 0; !ret && i < nr_pages; i++)
			run->pages[i] = first + i;
		break;
	case XUT_GNTTAB:
		ret = gnttab_alloc_pages(nr_pages, run->pages);
		break;
	case XUT_DMA_COHERENT:
	case XUT_DMA_WC:
		run->dma.dev = xut_misc.this_device;
		run->dma.coherent = kind == XUT_DMA_COHERENT;
		run->dma.nr_pages = nr_pages;
		run->dma.vaddr = NULL;
		run->dma.dev_bus_addr = 0;
		ret = gnttab_dma_alloc_pages(&run->dma);
		break;
	case XUT_RAM:
		ret = ram_alloc(nr_pages, run->pages);
		break;
	default:
		ret = -EINVAL;
	}
	if (ret)
		return ret;

	run->kind = kind;
	run->nr_pages = nr_pages;
	memset(run->state, XUT_PAGE_OUT, nr_pages);

	return 0;
}

static int run_free(struct xut_run *run)
{
	u32 i;
	int ret = 0;

	switch (run->kind) {
	case XUT_SCATTERED:
		xen_free_unpopulated_pages(run->nr_pages, run->pages);
		break;
	case XUT_CONTIGUOUS:
		xen_free_unpopulated_contiguous_pages(run->nr_pages,
						      run->pages[0]);
		break;
	case XUT_GNTTAB:
		gnttab_free_pages(run->nr_pages, run->pages);
		break;
	case XUT_DMA_COHERENT:
	case XUT_DMA_WC:
		ret = gnttab_dma_free_pages(&run->dma);
		break;
	case XUT_RAM:
		for (i = 0; i < run->nr_pages; i++)
			__free_page(run->pages[i]);
		break;
	}
	for (i = 0; i < run->nr_pages; i++)
		run->state[i] &= XUT_PAGE_HELD;

	return ret;
}

static int run_unmap(struct xut_run *run, u32 first, u32 nr_pages)
{
	struct gnttab_unmap_grant_ref op;
	int ret = 0;
	u32 i;

	for (i = first; i < first + nr_pages; i++) {
		int err;

		if (!(run->state[i] & XUT_PAGE_MAPPED))
			continue;
		gnttab_set_unmap_op(&op,
				    (unsigned long)page_address(run->pages[i]),
				    GNTMAP_host_map, run->handles[i]);
		err = gnttab_unmap_refs(&op, NULL, &run->pages[i], 1);
		if (!err && op.status != GNTST_okay)
			err = -EIO;
		if (err)
			ret = err;
		else
			run->state[i] &= ~(XUT_PAGE_MAPPED | XUT_PAGE_READONLY);
	}

	return ret;
}

/* Lets go of all that the run has; what cannot be unmapped is left alone. */
static void run_release(struct xut_run *run)
{
	u32 i;

	if (run_unmap(run, 0, run->nr_pages)) {
		pr_err("pages that cannot be unmapped are leaked\n");
		return;
	}

	for (i = 0; i < run->nr_pages; i++)
		if (run->state[i] & XUT_PAGE_HELD)
			put_page(run->pages[i]);

	if (!run_any(run, XUT_PAGE_OUT))
		return;

	for (i = 0; i < run->nr_pages; i++)
		if (!(run->state[i] & XUT_PAGE_OUT))
			break;
	if (i == run->nr_pages) {
		run_free(run);
		return;
	}

	/* Parts were freed one by one, so the rest can be, too. */
	for (i = 0; i < run->nr_pages; i++)
		if (run->state[i] & XUT_PAGE_OUT)
			xen_free_unpopulated_pages(1, &run->pages[i]);
}

static struct xut_run *get_range(struct xut_file *file,
				 const struct xut_range *range)
{
	struct xut_run *run = xa_load(&file->runs, range->id);

	if (!run)
		return ERR_PTR(-ENOENT);
	if (range->first > run->nr_pages ||
	    range->nr_pages > run->nr_pages - range->first)
		return ERR_PTR(-ERANGE);

	return run;
}

static long ioctl_new(struct xut_file *file, void __user *arg)
{
	struct xut_new new;
	struct xut_run *run;
	int ret;

	if (copy_from_user(&new, arg, sizeof(new)))
		return -EFAULT;
	if (!new.capacity || new.capacity > XUT_MAX_PAGES)
		return -EINVAL;
	if (file->nr_runs == MAX_RUNS)
		return -ENOSPC;

	run = run_create(new.capacity);
	if (!run)
		return -ENOMEM;

	ret = xa_alloc(&file->runs, &new.id, run, xa_limit_31b, GFP_KERNEL);
	if (ret) {
		run_destroy(run);
		return ret;
	}
	file->nr_runs++;

	return copy_to_user(arg, &new, sizeof(new)) ? -EFAULT : 0;
}

static long ioctl_delete(struct xut_file *file, unsigned long id)
{
	struct xut_run *run = xa_load(&file->runs, id);

	if (!run)
		return -ENOENT;
	if (run_any(run, 0xff))
		return -EBUSY;

	xa_erase(&file->runs, id);
	file->nr_runs--;
	run_destroy(run);

	return 0;
}

static long ioctl_alloc(struct xut_file *file, void __user *arg, bool cycle)
{
	struct xut_alloc alloc;
	struct xut_run *run;
	u32 i;
	int ret;

	if (copy_from_user(&alloc, arg, sizeof(alloc)))
		return -EFAULT;
	run = xa_load(&file->runs, alloc.id);
	if (!run)
		return -ENOENT;
	if (alloc.kind >= XUT_NR_KINDS || !alloc.nr_pages ||
	    alloc.nr_pages > run->capacity)
		return -ERANGE;
	if (run_any(run, 0xff))
		return -EBUSY;

	if (!cycle) {
		if (is_dma(alloc.kind))
			xut_misc.this_device->coherent_dma_mask =
				alloc.max_addr;
		ret = run_alloc(run, alloc.kind, alloc.nr_pages, alloc.align,
				alloc.max_addr);
		xut_misc.this_device->coherent_dma_mask = DMA_BIT_MASK(64);
		return ret;
	}

	for (i = 0; i < alloc.repeat; i++) {
		ret = run_alloc(run, alloc.kind, alloc.nr_pages, alloc.align,
				alloc.max_addr);
		if (ret)
			return ret;
		ret = run_free(run);
		if (ret)
			return ret;
	}

	return 0;
}

static long ioctl_free(struct xut_file *file, unsigned long id)
{
	struct xut_run *run = xa_load(&file->runs, id);
	u32 i;

	if (!run)
		return -ENOENT;
	for (i = 0; i < run->nr_pages; i++)
		if ((run->state[i] & ~XUT_PAGE_HELD) != XUT_PAGE_OUT)
			return -EBUSY;

	return run_free(run);
}

static long ioctl_free_run(struct xut_file *file, void __user *arg)
{
	struct xut_range range;
	struct xut_run *run;
	u32 i;

	if (copy_from_user(&range, arg, sizeof(range)))
		return -EFAULT;
	run = get_range(file, &range);
	if (IS_ERR(run))
		return PTR_ERR(run);
	if (!range.nr_pages || is_dma(run->kind))
		return -EINVAL;
	for (i = range.first; i < range.first + range.nr_pages; i++) {
		if (!run->pages[i] || run->state[i] & XUT_PAGE_MAPPED)
			return -EBUSY;
		if (!(run->state[i] & XUT_PAGE_OUT) &&
		    !(range.flags & XUT_FORCE))
			return -EBUSY;
	}

	xen_free_unpopulated_contiguous_pages(range.nr_pages,
					      run->pages[range.first]);
	/* Pages of RAM stay ours: they were refused. */
	if (run->kind != XUT_RAM)
		for (i = range.first; i < range.first + range.nr_pages; i++)
			run->state[i] &= ~XUT_PAGE_OUT;

	return 0;
}

static long ioctl_free_pages(struct xut_file *file, void __user *arg)
{
	struct page **pages = NULL;
	struct xut_free_pages req;
	struct xut_ref *refs;
	long ret;
	u32 i;

	if (copy_from_user(&req, arg, sizeof(req)))
		return -EFAULT;
	if (!req.nr_pages || req.nr_pages > XUT_MAX_PAGES)
		return -EINVAL;

	refs = vmemdup_array_user(u64_to_user_ptr(req.refs), req.nr_pages,
				  sizeof(*refs));
	if (IS_ERR(refs))
		return PTR_ERR(refs);
	pages = kvmalloc_array(req.nr_pages, sizeof(*pages), GFP_KERNEL);
	if (!pages) {
		ret = -ENOMEM;
		goto out;
	}

	/* Pages of RAM stay ours: they were refused. */
	for (i = 0; i < req.nr_pages; i++) {
		struct xut_range range = {
			.id = refs[i].id, .first = refs[i].index, .nr_pages = 1,
		};
		struct xut_run *run = get_range(file, &range);
		u8 *state;

		if (IS_ERR(run)) {
			ret = PTR_ERR(run);
			goto undo;
		}
		state = &run->state[range.first];
		pages[i] = run->pages[range.first];
		ret = -EINVAL;
		if (is_dma(run->kind) || !pages[i])
			goto undo;
		ret = -EBUSY;
		if (*state & XUT_PAGE_MAPPED)
			goto undo;
		if (!(req.flags & XUT_FORCE) &&
		    (!(*state & XUT_PAGE_OUT) || run->kind == XUT_RAM))
			goto undo;
		if (run->kind != XUT_RAM)
			*state &= ~XUT_PAGE_OUT;
	}

	xen_free_unpopulated_pages(req.nr_pages, pages);
	ret = 0;
	goto out;

undo:
	if (!(req.flags & XUT_FORCE)) {
		while (i--) {
			struct xut_run *run = xa_load(&file->runs, refs[i].id);

			run->state[refs[i].index] |= XUT_PAGE_OUT;
		}
	}
out:
	kvfree(pages);
	kvfree(refs);
	return ret;
}

static long ioctl_pages(struct xut_file *file, void __user *arg)
{
	struct xut_page __user *user;
	struct xut_pages req;
	struct xut_run *run;
	u32 i;

	if (copy_from_user(&req, arg, sizeof(req)))
		return -EFAULT;
	run = get_range(file, &req.range);
	if (IS_ERR(run))
		return PTR_ERR(run);

	user = u64_to_user_ptr(req.pages);
	for (i = 0; i < req.range.nr_pages; i++) {
		struct page *page = run->pages[req.range.first + i];
		struct xut_page out = { .flags = run->state[req.range.first + i] };

		if (page)
			out.pfn = page_to_pfn(page);
		/* Only then is there sure to be a struct page. */
		if (out.flags & (XUT_PAGE_OUT | XUT_PAGE_HELD)) {
			out.refcount = page_count(page);
			if (is_xen_unpopulated_page(page))
				out.flags |= XUT_PAGE_POOL;
			if (is_zone_device_page(page))
				out.flags |= XUT_PAGE_DEVICE;
		}
		if (copy_to_user(&user[i], &out, sizeof(out)))
			return -EFAULT;
	}

	return 0;
}

static long ioctl_hold(struct xut_file *file, void __user *arg, bool hold)
{
	struct xut_range range;
	struct xut_run *run;
	u32 i;

	if (copy_from_user(&range, arg, sizeof(range)))
		return -EFAULT;
	run = get_range(file, &range);
	if (IS_ERR(run))
		return PTR_ERR(run);

	for (i = range.first; i < range.first + range.nr_pages; i++) {
		u8 want = hold ? XUT_PAGE_OUT : XUT_PAGE_HELD;

		if ((run->state[i] & (want | XUT_PAGE_HELD)) != want)
			return -EBUSY;
	}

	for (i = range.first; i < range.first + range.nr_pages; i++) {
		if (hold)
			get_page(run->pages[i]);
		else
			put_page(run->pages[i]);
		run->state[i] ^= XUT_PAGE_HELD;
	}

	return 0;
}

static int map_one(struct xut_run *run, u32 i, u32 domid, u32 ref, u32 flags)
{
	struct gnttab_map_grant_ref op;
	u32 how = GNTMAP_host_map;
	int ret;

	if (flags & XUT_MAP_READONLY)
		how |= GNTMAP_readonly;
	gnttab_set_map_op(&op, (unsigned long)page_address(run->pages[i]), how,
			  ref, domid);
	ret = gnttab_map_refs(&op, NULL, &run->pages[i], 1);
	if (!ret && op.status != GNTST_okay)
		ret = -EINVAL;
	if (ret)
		return ret;

	run->handles[i] = op.handle;
	run->state[i] |= XUT_PAGE_MAPPED;
	if (flags & XUT_MAP_READONLY)
		run->state[i] |= XUT_PAGE_READONLY;

	return 0;
}

static long ioctl_map(struct xut_file *file, void __user *arg)
{
	struct xut_map req;
	struct xut_run *run;
	long ret = 0;
	u32 *refs;
	u32 i;

	if (copy_from_user(&req, arg, sizeof(req)))
		return -EFAULT;
	if (!req.range.nr_pages || req.domid >= DOMID_FIRST_RESERVED)
		return -EINVAL;
	run = get_range(file, &req.range);
	if (IS_ERR(run))
		return PTR_ERR(run);
	/* Xen would put the grant in the place of the RAM. */
	if (run->kind == XUT_RAM || run->kind == XUT_NOP)
		return -EINVAL;
	for (i = 0; i < req.range.nr_pages; i++)
		if ((run->state[req.range.first + i] &
		     (XUT_PAGE_OUT | XUT_PAGE_MAPPED)) != XUT_PAGE_OUT)
			return -EBUSY;

	refs = vmemdup_array_user(u64_to_user_ptr(req.refs),
				  req.range.nr_pages, sizeof(*refs));
	if (IS_ERR(refs))
		return PTR_ERR(refs);

	for (i = 0; i < req.range.nr_pages; i++) {
		ret = map_one(run, req.range.first + i, req.domid, refs[i],
			      req.flags);
		if (ret) {
			run_unmap(run, req.range.first, i);
			break;
		}
	}
	kvfree(refs);

	return ret;
}

static long ioctl_unmap(struct xut_file *file, void __user *arg)
{
	struct xut_range range;
	struct xut_run *run;

	if (copy_from_user(&range, arg, sizeof(range)))
		return -EFAULT;
	run = get_range(file, &range);
	if (IS_ERR(run))
		return PTR_ERR(run);

	return run_unmap(run, range.first, range.nr_pages);
}

static long ioctl_copy(struct xut_file *file, void __user *arg)
{
	u32 first, last, i;
	struct xut_copy copy;
	struct xut_run *run;
	void *addr, *buf;
	u8 no_write;
	long ret;

	if (copy_from_user(&copy, arg, sizeof(copy)))
		return -EFAULT;
	run = xa_load(&file->runs, copy.id);
	if (!run)
		return -ENOENT;
	if (!copy.len || copy.len > COPY_MAX ||
	    copy.offset >= (u64)run->nr_pages << PAGE_SHIFT)
		return -ERANGE;
	first = copy.offset >> PAGE_SHIFT;
	last = (copy.offset + copy.len - 1) >> PAGE_SHIFT;
	if (last >= run->nr_pages)
		return -ERANGE;
	if (XEN_PFN_PER_PAGE != 1 &&
	    offset_in_page(copy.offset) + copy.len > XEN_PAGE_SIZE)
		return -ERANGE;

	no_write = copy.write ? XUT_PAGE_READONLY : 0;
	for (i = first; i <= last; i++) {
		if (!(run->state[i] & XUT_PAGE_MAPPED) ||
		    run->state[i] & no_write)
			return -EACCES;
		if (page_to_pfn(run->pages[i]) !=
		    page_to_pfn(run->pages[first]) + i - first)
			return -ERANGE;
	}

	/* Through memory of our own, since usercopy checks reject the pages. */
	buf = kvmalloc(copy.len, GFP_KERNEL);
	if (!buf)
		return -ENOMEM;
	addr = page_address(run->pages[first]) + offset_in_page(copy.offset);
	ret = -EFAULT;
	if (copy.write) {
		if (copy_from_user(buf, u64_to_user_ptr(copy.buf), copy.len))
			goto out;
		memcpy(addr, buf, copy.len);
	} else {
		memcpy(buf, addr, copy.len);
		if (copy_to_user(u64_to_user_ptr(copy.buf), buf, copy.len))
			goto out;
	}
	ret = 0;
out:
	kvfree(buf);
	return ret;
}

static int raw_call(struct xut_raw *raw, struct page **pages, xen_pfn_t *frames)
{
	struct gnttab_dma_alloc_args args = {
		.dev = xut_misc.this_device,
		.coherent = raw->kind == XUT_DMA_COHERENT,
		.nr_pages = raw->nr_pages,
		.pages = pages,
		.frames = frames,
	};
	int ret;

	switch (raw->kind) {
	case XUT_SCATTERED:
		ret = xen_alloc_unpopulated_pages(raw->nr_pages, pages);
		if (!ret)
			xen_free_unpopulated_pages(raw->nr_pages, pages);
		break;
	case XUT_CONTIGUOUS:
		ret = xen_alloc_unpopulated_contiguous_pages(raw->nr_pages,
							     raw->align,
							     raw->max_addr,
							     pages);
		if (!ret)
			xen_free_unpopulated_contiguous_pages(raw->nr_pages,
							      pages[0]);
		break;
	case XUT_DMA_COHERENT:
	case XUT_DMA_WC:
		ret = gnttab_dma_alloc_pages(&args);
		if (!ret)
			gnttab_dma_free_pages(&args);
		break;
	default:
		return -EINVAL;
	}

	raw->result = ret;

	return 0;
}

static long ioctl_raw(void __user *arg)
{
	struct page **pages, *none = (struct page *)-1L;
	struct xut_raw raw;
	xen_pfn_t *frames;
	long ret = -ENOMEM;
	u32 i;

	if (copy_from_user(&raw, arg, sizeof(raw)))
		return -EFAULT;

	/* By vmalloc(), so that going beyond them faults and corrupts nothing. */
	pages = vmalloc_array(RAW_ENTRIES, sizeof(*pages));
	frames = vmalloc_array(RAW_ENTRIES, sizeof(*frames));
	if (!pages || !frames)
		goto out;
	for (i = 0; i < RAW_ENTRIES; i++)
		pages[i] = none;

	ret = raw_call(&raw, raw.null ? NULL : pages, raw.null ? NULL : frames);
	if (ret)
		goto out;

	raw.written = 0;
	for (i = 0; i < RAW_ENTRIES; i++)
		raw.written += pages[i] != none;
	if (copy_to_user(arg, &raw, sizeof(raw)))
		ret = -EFAULT;
out:
	vfree(frames);
	vfree(pages);
	return ret;
}

static long ioctl_dmabuf(void __user *arg)
{
	struct dma_buf_attachment *attach;
	struct scatterlist *sg;
	struct xut_dmabuf req;
	struct dma_buf *dmabuf;
	struct sg_table *sgt;
	phys_addr_t next = 0;
	long ret = 0;
	int i;

	if (copy_from_user(&req, arg, sizeof(req)))
		return -EFAULT;

	dmabuf = dma_buf_get(req.fd);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	attach = dma_buf_attach(dmabuf, xut_misc.this_device);
	if (IS_ERR(attach)) {
		ret = PTR_ERR(attach);
		goto put;
	}
	sgt = dma_buf_map_attachment_unlocked(attach, DMA_BIDIRECTIONAL);
	if (IS_ERR(sgt)) {
		ret = PTR_ERR(sgt);
		goto detach;
	}

	req.entries = sgt->orig_nents;
	req.dma_entries = sgt->nents;
	req.first_pfn = page_to_pfn(sg_page(sgt->sgl));
	req.contiguous = 1;
	req.size = 0;
	for_each_sgtable_sg(sgt, sg, i) {
		if (i && sg_phys(sg) != next)
			req.contiguous = 0;
		next = sg_phys(sg) + sg->length;
		req.size += sg->length;
	}

	dma_buf_unmap_attachment_unlocked(attach, sgt, DMA_BIDIRECTIONAL);
detach:
	dma_buf_detach(dmabuf, attach);
put:
	dma_buf_put(dmabuf);
	if (!ret && copy_to_user(arg, &req, sizeof(req)))
		ret = -EFAULT;
	return ret;
}

static long xut_ioctl(struct file *filp, unsigned int cmd, unsigned long arg)
{
	struct xut_file *file = filp->private_data;
	void __user *argp = (void __user *)arg;

	/* These two need no run, and may run side by side. */
	if (cmd == XUT_IOC_RAW)
		return ioctl_raw(argp);
	if (cmd == XUT_IOC_DMABUF)
		return ioctl_dmabuf(argp);

	guard(mutex)(&file->lock);

	switch (cmd) {
	case XUT_IOC_NEW:
		return ioctl_new(file, argp);
	case XUT_IOC_DELETE:
		return ioctl_delete(file, arg);
	case XUT_IOC_ALLOC:
		return ioctl_alloc(file, argp, false);
	case XUT_IOC_FREE:
		return ioctl_free(file, arg);
	case XUT_IOC_CYCLE:
		return ioctl_alloc(file, argp, true);
	case XUT_IOC_FREE_RUN:
		return ioctl_free_run(file, argp);
	case XUT_IOC_FREE_PAGES:
		return ioctl_free_pages(file, argp);
	case XUT_IOC_PAGES:
		return ioctl_pages(file, argp);
	case XUT_IOC_HOLD:
		return ioctl_hold(file, argp, true);
	case XUT_IOC_RELEASE:
		return ioctl_hold(file, argp, false);
	case XUT_IOC_MAP:
		return ioctl_map(file, argp);
	case XUT_IOC_UNMAP:
		return ioctl_unmap(file, argp);
	case XUT_IOC_COPY:
		return ioctl_copy(file, argp);
	default:
		return -ENOTTY;
	}
}

static int xut_open(struct inode *inode, struct file *filp)
{
	struct xut_file *file;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;

	file = kzalloc_obj(*file);
	if (!file)
		return -ENOMEM;
	mutex_init(&file->lock);
	xa_init_flags(&file->runs, XA_FLAGS_ALLOC);
	filp->private_data = file;

	return 0;
}

static int xut_release(struct inode *inode, struct file *filp)
{
	struct xut_file *file = filp->private_data;
	struct xut_run *run;
	unsigned long id;

	xa_for_each(&file->runs, id, run) {
		run_release(run);
		run_destroy(run);
	}
	xa_destroy(&file->runs);
	mutex_destroy(&file->lock);
	kfree(file);

	return 0;
}

static const struct file_operations xut_fops = {
	.owner		= THIS_MODULE,
	.open		= xut_open,
	.release	= xut_release,
	.unlocked_ioctl	= xut_ioctl,
};

static struct miscdevice xut_misc = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= XUT_DEVICE,
	.fops	= &xut_fops,
	.mode	= 0600,
};

/* It takes a buffer in one piece, however large, and wherever that is. */
static struct device_dma_parameters xut_dma_parms = {
	.max_segment_size = UINT_MAX,
	.segment_boundary_mask = ULONG_MAX,
};

static int __init xut_init(void)
{
	int ret;

	if (!xen_domain())
		return -ENODEV;

	ret = misc_register(&xut_misc);
	if (ret)
		return ret;

	/* Just as gntdev does with its own. */
	ret = dma_coerce_mask_and_coherent(xut_misc.this_device,
					   DMA_BIT_MASK(64));
	if (ret)
		misc_deregister(&xut_misc);
	else
		xut_misc.this_device->dma_parms = &xut_dma_parms;

	return ret;
}
module_init(xut_init);

static void __exit xut_exit(void)
{
	misc_deregister(&xut_misc);
}
module_exit(xut_exit);

MODULE_DESCRIPTION("Calls the allocators of Xen's unpopulated pages");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("DMA_BUF");
