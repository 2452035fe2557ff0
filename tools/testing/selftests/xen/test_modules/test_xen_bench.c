// SPDX-License-Identifier: GPL-2.0
/*
 * Times the allocators of Xen's unpopulated pages, next to the least that could
 * do the same and to an allocator that looks for the best fit.
 *
 * It knows nothing of how these are implemented.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/genalloc.h>
#include <linux/ktime.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <xen/grant_table.h>
#include <xen/xen.h>

#include "contiguous.h"
#include "test_xen_bench.h"

#define MAX_RUNS	256
#define MAX_HOLDERS	(XTB_MAX_PAGES / 8)
#define FLOOR_BATCH	16

struct run {
	struct page *first;
	u32 nr_pages;
};

struct holder {
	u32 nr_pages;
	/* The best fit has addresses of nothing instead. */
	struct page *pages[XTB_HOLDER_PAGES];
};

/* All of this is for one user at a time. */
static DEFINE_MUTEX(lock);
static struct page **pages;		/* of the cycle that is timed */
static struct page **held;
static u32 nr_held;
static struct run runs[MAX_RUNS];
static u32 nr_runs;
static struct holder *holders;
static u32 nr_holders;
static struct gnttab_dma_alloc_args dma;
static u64 seed;
static struct miscdevice misc;

/* The same numbers every time. */
static u32 some_number(u32 below)
{
	seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;

	return (u32)(seed >> 33) % below;
}

/*
 * Page pointers are written, and compared when they come back.  What comes
 * back is from memory, so that the compiler cannot know the answer.  It makes
 * no loop of the inner ones, and no branch of a comparison, if the result is
 * used only in the end.
 */
static noinline int floor_alloc(u32 nr, struct page *first,
				struct page **array)
{
	u32 i, rest = nr % FLOOR_BATCH;

	for (; nr > rest; nr -= FLOOR_BATCH) {
		for (i = 0; i < FLOOR_BATCH; i++)
			array[i] = first + i;
		array += FLOOR_BATCH;
		first += FLOOR_BATCH;
	}
	for (i = 0; i < rest; i++)
		array[i] = first + i;

	return 0;
}

static noinline int floor_frames(u32 nr, xen_pfn_t first, xen_pfn_t *array)
{
	u32 i, rest = nr % FLOOR_BATCH;

	for (; nr > rest; nr -= FLOOR_BATCH) {
		for (i = 0; i < FLOOR_BATCH; i++)
			array[i] = first + i;
		array += FLOOR_BATCH;
		first += FLOOR_BATCH;
	}
	for (i = 0; i < rest; i++)
		array[i] = first + i;

	return 0;
}

static noinline int floor_free(u32 nr, struct page **array)
{
	struct page *first = array[0];
	u32 i, rest = nr % FLOOR_BATCH;
	bool same = true;

	for (; nr > rest; nr -= FLOOR_BATCH) {
		bool batch = true;

		for (i = 0; i < FLOOR_BATCH; i++)
			batch &= array[i] == first + i;
		same &= batch;
		array += FLOOR_BATCH;
		first += FLOOR_BATCH;
	}
	for (i = 0; i < rest; i++)
		same &= array[i] == first + i;

	return same ? 0 : -EIO;
}

static noinline int op_alloc(u32 op, u32 nr, struct page **array)
{
	switch (op) {
	case XTB_FLOOR:
		return floor_alloc(nr, virt_to_page(PAGE_OFFSET), array);
	case XTB_FLOOR_DMA:
		floor_alloc(nr, virt_to_page(PAGE_OFFSET), array);
		return floor_frames(nr, nr, dma.frames);
	case XTB_SCATTERED:
		return xen_alloc_unpopulated_pages(nr, array);
	case XTB_CONTIGUOUS:
		return xen_alloc_unpopulated_contiguous_pages(nr, 1,
							      PHYS_ADDR_MAX,
							      array);
	case XTB_DMA:
		dma.dev = misc.this_device;
		dma.coherent = true;
		dma.nr_pages = nr;
		dma.vaddr = NULL;
		dma.dev_bus_addr = 0;
		return gnttab_dma_alloc_pages(&dma);
	default:
		return 0;
	}
}

static noinline int op_free(u32 op, u32 nr, struct page **array)
{
	switch (op) {
	case XTB_FLOOR:
		return floor_free(nr, array);
	case XTB_SCATTERED:
		xen_free_unpopulated_pages(nr, array);
		return 0;
	case XTB_CONTIGUOUS:
		xen_free_unpopulated_contiguous_pages(nr, array[0]);
		return 0;
	case XTB_DMA:
		return gnttab_dma_free_pages(&dma);
	default:
		return 0;
	}
}

static void reorder(struct page **array, u32 nr, u32 order)
{
	u32 i;

	if (order == XTB_REVERSED)
		for (i = 0; i < nr / 2; i++)
			swap(array[i], array[nr - 1 - i]);
	if (order == XTB_SHUFFLED) {
		for (i = nr - 1; i > 0; i--) {
			u32 other = some_number(i + 1);

			swap(array[i], array[other]);
		}
	}
}

static int cycle_in_order(struct xtb_cycle *req, struct page **array)
{
	u64 start = ktime_get_ns();
	int ret = 0;
	u32 i;

	for (i = 0; i < req->repeat && !ret; i++) {
		ret = op_alloc(req->op, req->nr_pages, array);
		if (!ret)
			ret = op_free(req->op, req->nr_pages, array);
	}
	req->ns = ktime_get_ns() - start;

	return ret;
}

static int cycle_reordered(struct xtb_cycle *req, struct page **array)
{
	int ret = 0;
	u32 i;

	req->ns = 0;
	for (i = 0; i < req->repeat && !ret; i++) {
		u64 start = ktime_get_ns();

		ret = op_alloc(req->op, req->nr_pages, array);
		req->ns += ktime_get_ns() - start;
		if (ret)
			break;
		/* The same order in every try. */
		seed = 1;
		/* For nothing as well, so that this can be subtracted. */
		if (req->op == XTB_SCATTERED || req->op == XTB_NOP)
			reorder(array, req->nr_pages, req->order);
		start = ktime_get_ns();
		ret = op_free(req->op, req->nr_pages, array);
		req->ns += ktime_get_ns() - start;
	}

	return ret;
}

static int cycle_one_by_one(struct xtb_cycle *req, struct page **array)
{
	u64 start = ktime_get_ns();
	int ret = 0;
	u32 i, j;

	for (i = 0; i < req->repeat && !ret; i++) {
		u32 got = 0;

		while (got < req->nr_pages && !ret) {
			ret = op_alloc(req->op, 1, &array[got]);
			got += !ret;
		}
		for (j = 0; j < got; j++)
			op_free(req->op, 1, &array[j]);
	}
	req->ns = ktime_get_ns() - start;

	return ret;
}

static int do_cycle(struct xtb_cycle *req)
{
	if (req->op >= XTB_BEST_FIT || req->order >= XTB_NR_ORDERS ||
	    !req->nr_pages || req->nr_pages > XTB_MAX_PAGES)
		return -EINVAL;

	switch (req->order) {
	case XTB_IN_ORDER:
		return cycle_in_order(req, pages);
	case XTB_ONE_BY_ONE:
		return cycle_one_by_one(req, pages);
	default:
		return cycle_reordered(req, pages);
	}
}

static int do_ramp(struct xtb_ramp *req)
{
	if (req->nr_pages > XTB_MAX_PAGES)
		return -EINVAL;

	req->total_ns = 0;
	req->worst_ns = 0;
	while (nr_held < req->nr_pages) {
		u64 start = ktime_get_ns();
		int ret = xen_alloc_unpopulated_pages(1, &held[nr_held]);
		u64 ns = ktime_get_ns() - start;

		if (ret)
			return ret;
		nr_held++;
		req->total_ns += ns;
		req->worst_ns = max(req->worst_ns, ns);
	}

	return 0;
}

/* Pages of the best fit: together if that can be, else one by one. */
static int fit_alloc(struct gen_pool *pool, struct holder *holder)
{
	size_t size = (size_t)holder->nr_pages << PAGE_SHIFT;
	unsigned long at = gen_pool_alloc(pool, size);
	u32 i;

	for (i = 0; i < holder->nr_pages; i++) {
		unsigned long page = at ? at + ((size_t)i << PAGE_SHIFT) :
					  gen_pool_alloc(pool, PAGE_SIZE);

		if (!page)
			break;
		holder->pages[i] = (struct page *)page;
	}
	if (i == holder->nr_pages)
		return 0;
	while (i--)
		gen_pool_free(pool, (unsigned long)holder->pages[i],
			      PAGE_SIZE);

	return -ENOMEM;
}

static int holder_fill(struct gen_pool *pool, struct holder *holder, u32 nr)
{
	holder->nr_pages = nr;
	if (pool)
		return fit_alloc(pool, holder);

	return xen_alloc_unpopulated_pages(nr, holder->pages);
}

static void holder_empty(struct gen_pool *pool, struct holder *holder)
{
	u32 i;

	if (!pool) {
		xen_free_unpopulated_pages(holder->nr_pages, holder->pages);
		return;
	}
	for (i = 0; i < holder->nr_pages; i++)
		gen_pool_free(pool, (unsigned long)holder->pages[i],
			      PAGE_SIZE);
}

/* One holder more; returns how many pages it has, or an errno. */
static int one_more(struct gen_pool *pool)
{
	u32 nr = some_number(XTB_HOLDER_PAGES) + 1;
	int ret;

	if (nr_holders == MAX_HOLDERS)
		return -ENOSPC;
	ret = holder_fill(pool, &holders[nr_holders], nr);
	if (ret)
		return ret;
	nr_holders++;

	return nr;
}

static u32 one_less(struct gen_pool *pool)
{
	struct holder *holder = &holders[some_number(nr_holders)];
	u32 nr = holder->nr_pages;

	holder_empty(pool, holder);
	*holder = holders[--nr_holders];

	return nr;
}

static bool try_run(struct gen_pool *pool, u32 nr)
{
	size_t size = (size_t)nr << PAGE_SHIFT;
	struct page *first;
	unsigned long at;

	if (pool) {
		at = gen_pool_alloc(pool, size);
		if (at)
			gen_pool_free(pool, at, size);
		return at;
	}
	if (xen_alloc_unpopulated_contiguous_pages(nr, 1, PHYS_ADDR_MAX,
						   &first))
		return false;
	xen_free_unpopulated_contiguous_pages(nr, first);

	return true;
}

static int churn(struct gen_pool *pool, struct xtb_churn *req)
{
	u32 in_use = 0, step;
	u64 start;
	int ret;

	while (in_use < req->in_use) {
		ret = one_more(pool);
		if (ret < 0)
			return ret;
		in_use += ret;
	}

	for (step = 0; step < req->steps; step++) {
		start = ktime_get_ns();
		in_use -= one_less(pool);
		while (in_use < req->in_use) {
			ret = one_more(pool);
			if (ret < 0)
				return ret;
			in_use += ret;
			req->step_pages += ret;
		}
		req->step_ns += ktime_get_ns() - start;
		if (!req->run_pages)
			continue;
		start = ktime_get_ns();
		req->successes += try_run(pool, req->run_pages);
		req->run_ns += ktime_get_ns() - start;
	}

	return 0;
}

static int churn_best_fit(struct xtb_churn *req)
{
	struct gen_pool *pool = gen_pool_create(PAGE_SHIFT, NUMA_NO_NODE);
	int ret;

	if (!pool)
		return -ENOMEM;
	gen_pool_set_algo(pool, gen_pool_best_fit, NULL);
	/* Addresses of nothing: it does not look there. */
	ret = gen_pool_add(pool, SZ_1G, (size_t)req->total << PAGE_SHIFT,
			   NUMA_NO_NODE);
	if (!ret)
		ret = churn(pool, req);
	while (nr_holders)
		one_less(pool);
	gen_pool_destroy(pool);

	return ret;
}

static int do_churn(struct xtb_churn *req)
{
	if (nr_holders || !req->in_use || req->in_use > XTB_MAX_PAGES ||
	    req->total > XTB_MAX_PAGES)
		return -EINVAL;

	req->successes = 0;
	req->run_ns = 0;
	req->step_ns = 0;
	req->step_pages = 0;
	seed = 1;
	if (req->op == XTB_BEST_FIT)
		return churn_best_fit(req);

	return req->op == XTB_SCATTERED ? churn(NULL, req) : -EINVAL;
}

static int push_run(unsigned long nr_pages)
{
	struct run *run = &runs[nr_runs];
	int ret;

	if (nr_runs == MAX_RUNS || nr_pages > XTB_MAX_PAGES)
		return -ENOSPC;
	ret = xen_alloc_unpopulated_contiguous_pages(nr_pages, 1,
						     PHYS_ADDR_MAX,
						     &run->first);
	if (ret)
		return ret;
	run->nr_pages = nr_pages;
	nr_runs++;

	return 0;
}

static int pop_run(void)
{
	struct run *run;

	if (!nr_runs)
		return -ENOENT;
	run = &runs[--nr_runs];
	xen_free_unpopulated_contiguous_pages(run->nr_pages, run->first);

	return 0;
}

static void release_all(void)
{
	while (nr_holders)
		holder_empty(NULL, &holders[--nr_holders]);
	while (!pop_run())
		;
	if (nr_held)
		xen_free_unpopulated_pages(nr_held, held);
	nr_held = 0;
}

static long xtb_ioctl(struct file *filp, unsigned int cmd, unsigned long arg)
{
	void __user *argp = (void __user *)arg;
	union {
		struct xtb_cycle cycle;
		struct xtb_ramp ramp;
		struct xtb_churn churn;
	} req;
	size_t size = _IOC_SIZE(cmd);
	int ret;

	guard(mutex)(&lock);

	if (size > sizeof(req))
		return -ENOTTY;
	if (size && copy_from_user(&req, argp, size))
		return -EFAULT;

	switch (cmd) {
	case XTB_IOC_CYCLE:
		ret = do_cycle(&req.cycle);
		break;
	case XTB_IOC_RAMP:
		ret = do_ramp(&req.ramp);
		break;
	case XTB_IOC_CHURN:
		ret = do_churn(&req.churn);
		break;
	case XTB_IOC_PUSH_RUN:
		return push_run(arg);
	case XTB_IOC_POP_RUN:
		return pop_run();
	case XTB_IOC_RELEASE:
		release_all();
		return 0;
	default:
		return -ENOTTY;
	}
	if (!ret && copy_to_user(argp, &req, size))
		ret = -EFAULT;

	return ret;
}

static int xtb_open(struct inode *inode, struct file *filp)
{
	return capable(CAP_SYS_ADMIN) ? 0 : -EPERM;
}

static const struct file_operations xtb_fops = {
	.owner		= THIS_MODULE,
	.open		= xtb_open,
	.unlocked_ioctl	= xtb_ioctl,
};

static struct miscdevice misc = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= XTB_DEVICE,
	.fops	= &xtb_fops,
	.mode	= 0600,
};

static void free_arrays(void)
{
	kvfree(dma.frames);
	kvfree(holders);
	kvfree(held);
	kvfree(pages);
}

static int __init xtb_init(void)
{
	int ret = -ENOMEM;

	if (!xen_domain())
		return -ENODEV;

	pages = kvcalloc(XTB_MAX_PAGES, sizeof(*pages), GFP_KERNEL);
	held = kvcalloc(XTB_MAX_PAGES, sizeof(*held), GFP_KERNEL);
	holders = kvcalloc(MAX_HOLDERS, sizeof(*holders), GFP_KERNEL);
	dma.frames = kvcalloc(XTB_MAX_PAGES, sizeof(*dma.frames), GFP_KERNEL);
	if (!pages || !held || !holders || !dma.frames)
		goto err;
	dma.pages = pages;

	ret = misc_register(&misc);
	if (ret)
		goto err;
	/* Just as gntdev does with its own. */
	ret = dma_coerce_mask_and_coherent(misc.this_device, DMA_BIT_MASK(64));
	if (ret) {
		misc_deregister(&misc);
		goto err;
	}

	return 0;

err:
	free_arrays();
	return ret;
}
module_init(xtb_init);

static void __exit xtb_exit(void)
{
	misc_deregister(&misc);
	release_all();
	free_arrays();
}
module_exit(xtb_exit);

MODULE_DESCRIPTION("Times the allocators of Xen's unpopulated pages");
MODULE_LICENSE("GPL");
