// SPDX-License-Identifier: GPL-2.0
/*
 * Whatever fails inside of a call, all of it is undone, and the next call works.
 *
 * Each entry point is called with the first of its allocations failing, then
 * with the second, and so on until none is left to fail; by the kernel's fault
 * injection, which takes CONFIG_FAULT_INJECTION_DEBUG_FS, CONFIG_FAILSLAB and
 * CONFIG_FAIL_PAGE_ALLOC.  Likewise with functions that it calls: for address
 * space, struct pages, hypercalls and grant references.
 */

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "xen_test.h"
#include "test_modules/test_xen_fail.h"
#include "test_modules/test_xen_grant_dma.h"

typedef uint16_t domid_t;
typedef uint32_t grant_ref_t;
#include <xen/gntdev.h>

#define NR		64	/* pages of a request */
#define FEW		10	/* where each of them may fail in many ways */
#define MOST		2000	/* faults in one call */
#define MAX_TOTAL	(16UL << 20)	/* bytes of the pool, then it shrinks */
#define LARGER		8	/* times that, if no allocation fails */
#define SMALL_STEP	(2UL << 20)	/* bytes that it grows by at least */
#define FAIL_NTH	"/proc/thread-self/fail-nth"
#define DEBUGFS		"/sys/kernel/debug/"
#define KMEMLEAK	DEBUGFS "kmemleak"
#define XEN_PAGE	4096U
#define MAX_CACHED	64	/* references that a device keeps */

/**
 * struct entry - a call, and what undoes it
 * @prepare: has the call need all that it may; may be NULL
 * @call: the call; negative: an errno
 * @undo: after a call that was successful; may be NULL
 */
struct entry {
	void (*prepare)(void);
	int (*call)(void);
	void (*undo)(void);
};

/**
 * struct fault - what fails
 * @function: the function, or NULL for allocations
 * @result: what it returns then
 * @loses_range: upon which the pool never tries that address space again
 */
struct fault {
	const char *function;
	int result;
	bool loses_range;
};

static int fd = -1, devices = -1, filler = -1, fail_fd = -1;
static int run;
static bool allocations_fail;
static int may_keep;	/* references, for the next mapping */

/* Faults */
static unsigned long address_of(const char *symbol)
{
	FILE *file = fopen("/proc/kallsyms", "r");
	unsigned long address, found = 0;
	char name[128];

	while (file && fscanf(file, "%lx %*c %127s%*[^\n]", &address, name) == 2)
		if (!strcmp(name, symbol))
			found = address;
	if (file)
		fclose(file);

	return found;
}

/* For each allocation kmemleak makes one of its own, and ends if it fails. */
static void spare_kmemleak(const char *kind)
{
	/* What it is called by; these are the first and the last of a row. */
	const unsigned long start = address_of("kmemleak_alloc");
	const unsigned long end = address_of("kmemleak_ignore_phys");
	char path[128], text[32];

	if (!start)
		return;
	XT_CHECK(start < end && end - start < 16384,
		 "kmemleak is from %#lx to %#lx", start, end);
	snprintf(path, sizeof(path), DEBUGFS "%s/reject-end", kind);
	snprintf(text, sizeof(text), "%#lx", end);
	if (xt_write_file(path, text))
		xt_skip("kmemleak needs CONFIG_FAULT_INJECTION_STACKTRACE_FILTER");
	snprintf(path, sizeof(path), DEBUGFS "%s/reject-start", kind);
	snprintf(text, sizeof(text), "%#lx", start);
	XT_CHECK(!xt_write_file(path, text), "write to %s", path);
}

static void prepare_allocations(void)
{
	static const char * const settings[][2] = {
		{ "failslab/ignore-gfp-wait", "N" },
		{ "failslab/verbose", "0" },
		{ "fail_page_alloc/ignore-gfp-wait", "N" },
		{ "fail_page_alloc/ignore-gfp-highmem", "N" },
		{ "fail_page_alloc/min-order", "0" },
		{ "fail_page_alloc/verbose", "0" },
	};
	char path[128];
	size_t i;

	if (access(FAIL_NTH, F_OK))
		xt_skip("no " FAIL_NTH ": needs CONFIG_FAULT_INJECTION_DEBUG_FS");
	for (i = 0; i < ARRAY_SIZE(settings); i++) {
		snprintf(path, sizeof(path), DEBUGFS "%s", settings[i][0]);
		if (xt_write_file(path, settings[i][1]))
			xt_skip("no %s: needs CONFIG_FAILSLAB and CONFIG_FAIL_PAGE_ALLOC",
				path);
	}
	spare_kmemleak("failslab");
	spare_kmemleak("fail_page_alloc");
	fail_fd = open(FAIL_NTH, O_RDWR | O_CLOEXEC);
	XT_CHECK(fail_fd >= 0, "open " FAIL_NTH ": %s", strerror(errno));
}

static void prepare_fault(const struct fault *fault)
{
	if (!fault->function) {
		prepare_allocations();
		return;
	}
	xt_load(XTF_DEVICE);
	fail_fd = open("/dev/" XTF_DEVICE, O_RDWR | O_CLOEXEC);
	if (fail_fd < 0)
		xt_skip("no /dev/" XTF_DEVICE ": %s", strerror(errno));
}

static void arm_fault(const struct fault *fault, uint32_t nth)
{
	struct xtf_arm arm = { .nth = nth, .result = fault->result };
	char text[16];
	int len;

	if (fault->function) {
		snprintf(arm.name, sizeof(arm.name), "%s", fault->function);
		XT_CHECK(!ioctl(fail_fd, XTF_IOC_ARM, &arm), "arm %s: %s",
			 arm.name, strerror(errno));
		return;
	}
	len = snprintf(text, sizeof(text), "%u", nth);
	XT_CHECK(pwrite(fail_fd, text, len, 0) == len, "arm: %s",
		 strerror(errno));
}

/* Returns whether the fault came. */
static bool disarm_fault(const struct fault *fault)
{
	char text[16] = "";
	int ret;

	if (fault->function) {
		ret = ioctl(fail_fd, XTF_IOC_DISARM);
		XT_CHECK(ret >= 0, "disarm: %s", strerror(errno));
		return ret;
	}
	ret = pread(fail_fd, text, sizeof(text) - 1, 0);
	XT_CHECK(pwrite(fail_fd, "0", 1, 0) == 1, "disarm: %s",
		 strerror(errno));
	XT_CHECK(ret > 0, "read " FAIL_NTH ": %s", strerror(errno));

	return !atoi(text);
}

/* What must be as it was */
struct numbers {
	long out;
	long ballooned;
	long refused;
	int refs;
};

static int free_refs(void)
{
	int refs;

	if (devices < 0)
		return 0;
	refs = ioctl(devices, XGD_IOC_FREE_REFS, 0);
	XT_CHECK(refs >= 0, "count references: %s", strerror(errno));

	return refs;
}

static struct numbers get_numbers(void)
{
	return (struct numbers){
		.out = xt_pages_out(),
		.ballooned = xt_stat("ballooned"),
		.refused = xt_stat("refused"),
		.refs = free_refs(),
	};
}

static void check(const struct numbers *before, uint32_t nth)
{
	static struct xt_range ranges[XT_MAX_RANGES];
	struct numbers after = get_numbers();
	uint64_t size = 0;
	int i, nr;

	XT_CHECK(after.out == before->out, "%u: %ld pages are out, before %ld",
		 nth, after.out, before->out);
	XT_CHECK(after.ballooned == before->ballooned,
		 "%u: %ld ballooned pages are out, before %ld", nth,
		 after.ballooned, before->ballooned);
	XT_CHECK(after.refused == before->refused, "%u: %ld were refused", nth,
		 after.refused - before->refused);
	XT_CHECK(after.refs >= before->refs - may_keep,
		 "%u: %d references are free, before %d", nth, after.refs,
		 before->refs);
	nr = xt_iomem("Xen scratch", ranges, XT_MAX_RANGES);
	for (i = 0; i < nr; i++)
		size += ranges[i].end + 1 - ranges[i].start;
	XT_CHECK(nr == xt_stat("chunks") &&
		 size == xt_stat("total") * xt_page_size(),
		 "%u: %d ranges of %llu bytes in /proc/iomem, %ld chunks of %ld pages",
		 nth, nr, (unsigned long long)size, xt_stat("chunks"),
		 xt_stat("total"));
}

/* Whether it has no more chunks, and address space, than it has to keep. */
static bool is_small(void)
{
	static struct xt_range ranges[XT_MAX_RANGES];
	long chunks = xt_stat("chunks");

	return chunks <= (xt_pages_out() ? 2 : 1) &&
	       chunks == xt_iomem("Xen scratch", ranges, XT_MAX_RANGES);
}

/* The pool as it is when it has not been used for long */
static void shrink_pool(void)
{
	int i;

	if (filler >= 0)
		close(filler);
	filler = -1;
	xt_set_param("xen_unpopulated", "give_back", "1");
	for (i = 0; i < 300 && !is_small(); i++)
		usleep(100 * 1000);
	XT_CHECK(is_small(), "%ld chunks stay", xt_stat("chunks"));
	xt_set_param("xen_unpopulated", "give_back", "0");
}

/*
 * Makes a call in which the nth thing fails, and one in which nothing does.
 * Returns false if there were fewer than that.
 */
static bool fail_call(const struct entry *entry, const struct fault *fault,
		      uint32_t nth, uint32_t *nr_failed)
{
	struct numbers before;
	bool came;
	int ret;

	if (entry->prepare)
		entry->prepare();
	before = get_numbers();
	arm_fault(fault, nth);
	ret = entry->call();
	came = disarm_fault(fault);
	if (ret)
		(*nr_failed)++;
	else if (entry->undo)
		entry->undo();
	check(&before, nth);
	if (!came) {
		XT_CHECK(!ret, "without a fault: %s", strerror(-ret));
		return false;
	}

	ret = entry->call();
	XT_CHECK(!ret, "%u: the next call: %s", nth, strerror(-ret));
	if (entry->undo)
		entry->undo();
	check(&before, nth);

	return true;
}

/* KASAN keeps what has been freed, and kmemleak notes what is allocated. */
static bool checker_takes_memory(void)
{
	static const char look[] =
		"zcat /proc/config.gz 2>/dev/null | grep -qE '^CONFIG_(KASAN|DEBUG_KMEMLEAK)=y'";

	return !system(look);
}

/* Returns how many calls failed. */
static uint32_t survive(const struct entry *entry, const struct fault *fault)
{
	uint32_t nth, i, repeat = 1, nr_failed = 0;
	bool is_told = !checker_takes_memory();
	long before_kib, lost;
	int ret, refs;

	/* One buffer that is lost would not be noticed. */
	if (fault->function && is_told)
		repeat = 16;
	if (fault->loses_range && xt_growth_step() > SMALL_STEP)
		xt_skip("with large pages there are too few ranges to lose some");

	prepare_fault(fault);
	allocations_fail = !fault->function;
	/* What is allocated only once is there from the second time on. */
	if (entry->prepare)
		entry->prepare();
	ret = entry->call();
	XT_CHECK(!ret, "without a fault: %s", strerror(-ret));
	if (entry->undo)
		entry->undo();
	shrink_pool();
	xt_free_kib();
	before_kib = xt_free_kib() + xt_memmap_kib();
	refs = free_refs();

	for (nth = 1; fail_call(entry, fault, nth, &nr_failed); nth++) {
		XT_CHECK(nth < MOST, "there is no end of it");
		for (i = 1; i < repeat; i++)
			fail_call(entry, fault, nth, &nr_failed);
	}
	XT_CHECK(nth > 1, "there was nothing to fail");

	shrink_pool();
	lost = before_kib - xt_free_kib() - xt_memmap_kib();
	ksft_print_msg("of %u calls with a fault %u failed; %ld KiB less are free\n",
		       (nth - 1) * repeat, nr_failed, lost);
	/* By far less than a page each time, and more than what comes and goes. */
	XT_CHECK(!is_told || lost < 512 ||
		 lost < nth * repeat * (long)xt_page_size() / 2048,
		 "%ld KiB are lost", lost);
	XT_CHECK(free_refs() >= refs - may_keep,
		 "%d references are free, before %d", free_refs(), refs);

	return nr_failed;
}

/* There is another way, which is gone then. */
static void go_on(const struct entry *entry, const struct fault *fault)
{
	uint32_t nr_failed = survive(entry, fault);

	XT_CHECK(!nr_failed, "%u calls failed", nr_failed);
}

/* The pool: there is nothing free, so that it has to grow. */
static void open_module(void)
{
	if (fd >= 0)
		return;
	fd = xt_open();
	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	run = xt_new(fd, NR);
	XT_CHECK(run >= 0, "make room: %s", strerror(-run));
}

static void use_up_pool(void)
{
	uint64_t max = 2 * xt_growth_step();
	long free;

	/*
	 * A pool grows by as much as it has: each page of that may fail. Where
	 * none does, it is waiting for chunks to go that takes time, but with
	 * large pages there is no room for more.
	 */
	if (max < MAX_TOTAL)
		max = MAX_TOTAL;
	if (!allocations_fail && xt_growth_step() <= SMALL_STEP)
		max *= LARGER;
	open_module();
	xt_set_param("xen_unpopulated", "give_back", "0");
	if (xt_stat("total") * xt_page_size() > max)
		shrink_pool();
	if (filler < 0)
		filler = xt_open();
	XT_CHECK(filler >= 0, "module: %s", strerror(-filler));
	while ((free = xt_stat("free")) > 0) {
		int ret = xt_new_alloc(filler, XUT_SCATTERED, free);

		XT_CHECK(ret >= 0, "allocate the %ld that are free: %s", free,
			 strerror(-ret));
	}
}

/* ... and may not. */
static void exhaust_pool(void)
{
	char text[32];

	use_up_pool();
	snprintf(text, sizeof(text), "%ld", xt_stat("total"));
	XT_CHECK(!xt_set_param("xen_unpopulated", "max_pages", text),
		 "set a ceiling");
}

static int alloc_scattered(void)
{
	return xt_alloc(fd, run, XUT_SCATTERED, NR);
}

static int alloc_one(void)
{
	return xt_alloc(fd, run, XUT_SCATTERED, 1);
}

static int alloc_contiguous(void)
{
	return xt_alloc(fd, run, XUT_CONTIGUOUS, NR);
}

static int alloc_for_grants(void)
{
	return xt_alloc(fd, run, XUT_GNTTAB, NR);
}

static int alloc_buffer(void)
{
	return xt_alloc(fd, run, XUT_DMA_COHERENT, NR);
}

static void free_run(void)
{
	int ret = xt_free(fd, run);

	XT_CHECK(!ret, "free: %s", strerror(-ret));
}

static void use_ram(void)
{
	open_module();
	XT_CHECK(!xt_set_param("xen_grant_dma_alloc", "source", "ram"),
		 "source=ram");
}

static const struct entry scattered = { use_up_pool, alloc_scattered, free_run };
static const struct entry one = { use_up_pool, alloc_one, free_run };
static const struct entry contiguous = { use_up_pool, alloc_contiguous, free_run };
static const struct entry for_grants = { use_up_pool, alloc_for_grants, free_run };
static const struct entry buffer = { use_up_pool, alloc_buffer, free_run };
static const struct entry ballooned = { exhaust_pool, alloc_scattered, free_run };
static const struct entry ram_buffer = { use_ram, alloc_buffer, free_run };

/* gntdev */
static struct xt_grants grants;
static int gntdev = -1, dmabuf = -1;
static void *mapped;

static void prepare_grants(void)
{
	int ret;

	use_up_pool();
	if (grants.nr_pages)
		return;
	ret = xt_grants_new(&grants, NR, true);
	XT_CHECK(!ret, "grant: %s", strerror(-ret));
}

static int map_grants(void)
{
	int ret;

	gntdev = xt_gntdev_open();
	if (gntdev < 0)
		return gntdev;
	ret = xt_gntdev_mmap(gntdev, &grants, true, &mapped);
	if (ret < 0)
		close(gntdev);

	return ret < 0 ? ret : 0;
}

static void unmap_grants(void)
{
	munmap(mapped, NR * xt_page_size());
	close(gntdev);
}

static int export_dmabuf(uint32_t flags)
{
	gntdev = xt_gntdev_open();
	if (gntdev < 0)
		return gntdev;
	dmabuf = xt_dmabuf_new(gntdev, &grants, flags);
	if (dmabuf < 0)
		close(gntdev);

	return dmabuf < 0 ? dmabuf : 0;
}

static int export_contiguous(void)
{
	return export_dmabuf(GNTDEV_DMA_FLAG_COHERENT);
}

static int export_any(void)
{
	return export_dmabuf(0);
}

static void close_dmabuf(void)
{
	close(dmabuf);
	close(gntdev);
}

static void prepare_import(void)
{
	int ret;

	if (dmabuf >= 0)
		return;
	prepare_grants();
	ret = export_contiguous();
	XT_CHECK(!ret, "dma-buf: %s", strerror(-ret));
}

static int import_dmabuf(void)
{
	struct xut_dmabuf arg = { .fd = dmabuf };

	return ioctl(fd, XUT_IOC_DMABUF, &arg) ? -errno : 0;
}

static const struct entry mapping = { prepare_grants, map_grants, unmap_grants };

static const struct entry contiguous_dmabuf = {
	prepare_grants, export_contiguous, close_dmabuf,
};

static const struct entry any_dmabuf = {
	prepare_grants, export_any, close_dmabuf,
};

static const struct entry import = { prepare_import, import_dmabuf };

/* Devices that do DMA by grants */
static uint32_t device, memory;
static struct xgd_map map;
static struct xgd_alloc shared;

static void rebind_device(void)
{
	XT_CHECK(ioctl(devices, XGD_IOC_UNBIND, device) >= 0, "unbind: %s",
		 strerror(errno));
	XT_CHECK(ioctl(devices, XGD_IOC_BIND, device) >= 0, "bind: %s",
		 strerror(errno));
}

static int attach_device(void)
{
	struct xgd_attach arg = {
		.index = device, .virtio_id = XGD_VIRTIO_ID,
	};

	return ioctl(devices, XGD_IOC_ATTACH, &arg) ? -errno : 0;
}

static void open_device(const char *name)
{
	struct xgd_info info = { .index = 0 };

	if (devices >= 0)
		return;
	xt_load(XGD_DEVICE);
	devices = open("/dev/" XGD_DEVICE, O_RDWR | O_CLOEXEC);
	if (devices < 0)
		xt_skip("no /dev/" XGD_DEVICE ": %s", strerror(errno));
	for (;; info.index++) {
		if (ioctl(devices, XGD_IOC_INFO, &info))
			xt_skip("no device %s", name);
		if (!strcmp(info.name, name))
			break;
	}
	device = info.index;
}

static void prepare_attach(void)
{
	open_device("gdt-plain");
	rebind_device();
}

/* More than a device keeps references for */
static uint32_t list_size(void)
{
	uint32_t size = 3 * NR * xt_page_size();

	return size < XGD_MAX_SIZE ? size : XGD_MAX_SIZE;
}

static void get_memory(const char *name, enum xgd_memory kind)
{
	struct xgd_buffer arg = {
		.memory = kind, .size = list_size(),
	};
	int ret;

	if (devices >= 0)
		return;
	open_device(name);
	may_keep = MAX_CACHED;
	rebind_device();
	ret = attach_device();
	XT_CHECK(!ret, "attach: %s", strerror(-ret));
	XT_CHECK(!ioctl(devices, XGD_IOC_BUFFER, &arg), "get memory: %s",
		 strerror(errno));
	memory = arg.id;
}

static void prepare_isolated(void)
{
	xt_write_file(XT_ISOLATE, "gdt-isolate");
	get_memory("gdt-isolate", XGD_PAGES);
}

static void prepare_plain(void)
{
	get_memory("gdt-plain", XGD_PAGES);
}

static void prepare_isolated_list(void)
{
	xt_write_file(XT_ISOLATE, "gdt-isolate");
	get_memory("gdt-isolate", XGD_SCATTERED);
}

static void prepare_list(void)
{
	get_memory("gdt-plain", XGD_SCATTERED);
}

/* A device keeps references for the next call, unless it is bound anew. */
static void prepare_fresh(void)
{
	int ret;

	prepare_plain();
	rebind_device();
	ret = attach_device();
	XT_CHECK(!ret, "attach: %s", strerror(-ret));
}

static void prepare_fresh_isolated(void)
{
	prepare_isolated();
	prepare_fresh();
}

static int map_memory(uint32_t offset, uint32_t size, uint32_t flags)
{
	map = (struct xgd_map){
		.index = device, .buffer = memory, .offset = offset,
		.size = size, .dir = XGD_BIDIRECTIONAL, .flags = flags,
	};

	return ioctl(devices, XGD_IOC_MAP, &map) ? -errno : 0;
}

static int map_part(void)
{
	return map_memory(100, 2 * XEN_PAGE, 0);
}

static int map_page(void)
{
	return map_memory(0, XEN_PAGE, 0);
}

static int map_list(void)
{
	return map_memory(0, list_size(), XGD_LIST);
}

/* Of the first page and of the last it is not all. */
static int map_parts(void)
{
	return map_memory(100, list_size() - 200, XGD_LIST);
}

static void unmap_memory(void)
{
	struct xgd_unmap arg = { .id = map.id };

	XT_CHECK(!ioctl(devices, XGD_IOC_UNMAP, &arg), "unmap: %s",
		 strerror(errno));
}

static int alloc_memory(bool pages)
{
	shared = (struct xgd_alloc){
		.index = device, .size = 5 * xt_page_size(), .pages = pages,
	};

	return ioctl(devices, XGD_IOC_ALLOC, &shared) ? -errno : 0;
}

static int alloc_shared(void)
{
	return alloc_memory(false);
}

static int alloc_pages(void)
{
	return alloc_memory(true);
}

static void free_shared(void)
{
	struct xgd_unmap arg = { .id = shared.id };

	XT_CHECK(!ioctl(devices, XGD_IOC_UNMAP, &arg), "free: %s",
		 strerror(errno));
}

/* What gntdev grants of another driver */
static int udmabuf = -1;

static void prepare_granting(void)
{
	if (udmabuf >= 0)
		return;
	if (xt_page_size() != XEN_PAGE)
		xt_skip("gntdev grants the first 4 KiB of a page");
	/* It counts references. */
	open_device("gdt-plain");
	gntdev = xt_gntdev_open();
	XT_CHECK(gntdev >= 0, "gntdev: %s", strerror(-gntdev));
	udmabuf = xt_udmabuf_new(NR, NULL);
	if (udmabuf == -ENOENT)
		xt_skip("no /dev/udmabuf: needs CONFIG_UDMABUF");
	XT_CHECK(udmabuf >= 0, "udmabuf: %s", strerror(-udmabuf));
}

static int grant_dmabuf(void)
{
	uint32_t refs[NR];

	return xt_dmabuf_import(gntdev, udmabuf, xt_own_domid(), NR, refs);
}

static void release_dmabuf(void)
{
	int ret = xt_dmabuf_release(gntdev, udmabuf);

	XT_CHECK(!ret, "release: %s", strerror(-ret));
}

/* What user space grants of its own */
static void prepare_sharing(void)
{
	/* It counts references. */
	open_device("gdt-plain");
}

static int share_pages(void)
{
	return xt_grants_new(&grants, FEW, true);
}

static void end_sharing(void)
{
	xt_grants_end(&grants);
}

static const struct entry sharing = {
	prepare_sharing, share_pages, end_sharing,
};

static const struct entry granting = {
	prepare_granting, grant_dmabuf, release_dmabuf,
};

static const struct entry set_up = {
	prepare_attach, attach_device, rebind_device,
};

static const struct entry one_page = { prepare_fresh, map_page, unmap_memory };

static const struct entry isolated = {
	prepare_fresh_isolated, map_part, unmap_memory,
};

static const struct entry list = { prepare_list, map_list, unmap_memory };

static const struct entry isolated_list = {
	prepare_isolated_list, map_parts, unmap_memory,
};

static const struct entry memory_of_dma = {
	prepare_plain, alloc_shared, free_shared,
};

static const struct entry pages_of_dma = {
	prepare_plain, alloc_pages, free_shared,
};

/* The tests: what is called, and what fails in it */
static const struct fault allocations;

#define TEST(_name, _entry, _fault)			\
static void _name(void)					\
{							\
	survive(&(_entry), &(_fault));			\
}

#define GOES_ON(_name, _entry, _fault)			\
static void _name(void)					\
{							\
	go_on(&(_entry), &(_fault));			\
}

#define FUNCTION(_name, _function, _result)		\
static const struct fault _name = { _function, _result }

FUNCTION(no_range, "allocate_resource", -EBUSY);
FUNCTION(no_memory_for_range, "allocate_resource", -ENOMEM);
FUNCTION(no_struct_pages, "memremap_pages", -ENOMEM);
FUNCTION(no_balloon, "xen_alloc_ballooned_pages", -ENOMEM);
FUNCTION(no_dma_memory, "dma_alloc_attrs", 0);
FUNCTION(xen_takes_nothing, "xenmem_reservation_decrease", 0);
FUNCTION(xen_refuses, "xenmem_reservation_decrease", -EPERM);
FUNCTION(not_marked, "gnttab_pages_set_private", -ENOMEM);
FUNCTION(no_references, "gnttab_alloc_grant_reference_run", -ENOSPC);
FUNCTION(few_references, "gnttab_alloc_grant_references", -ENOSPC);
FUNCTION(no_reference, "gnttab_grant_foreign_access", -ENOSPC);
FUNCTION(xen_maps_nothing, "gnttab_map_refs", -EFAULT);

static const struct fault range_taken = {
	"request_resource", -EBUSY, .loses_range = true,
};

TEST(scattered_allocations, scattered, allocations)
TEST(one_allocations, one, allocations)
TEST(contiguous_allocations, contiguous, allocations)
TEST(for_grants_allocations, for_grants, allocations)
TEST(buffer_allocations, buffer, allocations)
TEST(ballooned_allocations, ballooned, allocations)
TEST(ram_allocations, ram_buffer, allocations)
TEST(mapping_allocations, mapping, allocations)
TEST(contiguous_dmabuf_allocations, contiguous_dmabuf, allocations)
TEST(any_dmabuf_allocations, any_dmabuf, allocations)
TEST(import_allocations, import, allocations)
TEST(granting_allocations, granting, allocations)
TEST(sharing_allocations, sharing, allocations)
TEST(set_up_allocations, set_up, allocations)
TEST(page_allocations, one_page, allocations)
TEST(isolated_allocations, isolated, allocations)
TEST(list_allocations, list, allocations)
TEST(isolated_list_allocations, isolated_list, allocations)
TEST(memory_of_dma_allocations, memory_of_dma, allocations)
TEST(pages_of_dma_allocations, pages_of_dma, allocations)

GOES_ON(scattered_no_range, scattered, no_range)
TEST(contiguous_no_memory_for_range, contiguous, no_memory_for_range)
GOES_ON(scattered_range_taken, scattered, range_taken)
GOES_ON(contiguous_range_taken, contiguous, range_taken)
GOES_ON(scattered_no_struct_pages, scattered, no_struct_pages)
TEST(contiguous_no_struct_pages, contiguous, no_struct_pages)
TEST(ballooned_no_balloon, ballooned, no_balloon)
TEST(ram_no_memory, ram_buffer, no_dma_memory)
TEST(ram_xen_takes_nothing, ram_buffer, xen_takes_nothing)
TEST(ram_xen_refuses, ram_buffer, xen_refuses)
TEST(ram_not_marked, ram_buffer, not_marked)
GOES_ON(buffer_no_range, buffer, no_range)
GOES_ON(buffer_no_struct_pages, buffer, no_struct_pages)
GOES_ON(mapping_no_range, mapping, no_range)
GOES_ON(mapping_no_struct_pages, mapping, no_struct_pages)
TEST(mapping_xen_refuses, mapping, xen_maps_nothing)
TEST(contiguous_dmabuf_xen_refuses, contiguous_dmabuf, xen_maps_nothing)
TEST(any_dmabuf_xen_refuses, any_dmabuf, xen_maps_nothing)
TEST(granting_few_references, granting, few_references)
TEST(sharing_no_references, sharing, no_reference)
TEST(page_no_references, one_page, no_references)
TEST(isolated_no_references, isolated, no_references)
TEST(list_no_references, list, no_references)
TEST(memory_no_references, memory_of_dma, no_references)
TEST(pages_no_references, pages_of_dma, no_references)

/* Memory that Xen does not give back is lost, and nothing else is. */
static void lost_buffer_is_counted(void)
{
	static const struct fault fault = { "xenmem_reservation_increase", 0 };
	static const char path[] =
		"/sys/module/xen_grant_dma_alloc/parameters/leaked";
	char before[32], after[32];
	int ret;

	prepare_fault(&fault);
	use_ram();
	XT_CHECK(xt_read_file(path, before, sizeof(before)) > 0, "statistics");
	ret = alloc_buffer();
	XT_CHECK(!ret, "allocate: %s", strerror(-ret));
	arm_fault(&fault, 1);
	ret = xt_free(fd, run);
	XT_CHECK(disarm_fault(&fault), "Xen was not asked");
	XT_CHECK(ret == -EFAULT, "the free returned %d", ret);
	XT_CHECK(xt_read_file(path, after, sizeof(after)) > 0, "statistics");
	XT_CHECK(atol(after) == atol(before) + NR, "%ld pages are lost, not %d",
		 atol(after) - atol(before), NR);
	ret = alloc_buffer();
	XT_CHECK(!ret, "the next one: %s", strerror(-ret));
	free_run();
}

/* The sections of a chunk are added one by one. */
static void half_of_a_run(void)
{
	static const struct fault fault = { "sparse_add_section", -ENOMEM };
	const uint64_t size = xt_section_size() + xt_growth_step();
	struct xt_range regions[XT_MAX_RANGES];
	int i, ret, nr = xt_extended_regions(regions, XT_MAX_RANGES);

	for (i = 0; i < nr; i++)
		if (regions[i].end - regions[i].start >= 2 * size)
			break;
	if (i == nr)
		xt_skip("no region for more than a section");

	prepare_fault(&fault);
	open_module();
	arm_fault(&fault, 2);
	ret = xt_new_alloc(fd, XUT_CONTIGUOUS, xt_pages_in(size));
	XT_CHECK(disarm_fault(&fault), "there was but one section");
	XT_CHECK(ret == -ENOMEM, "the run: %d", ret);

	/* It is put where the other was to be. */
	ret = xt_new_alloc(fd, XUT_CONTIGUOUS, xt_pages_in(size));
	XT_CHECK(ret >= 0, "the next run: %s", strerror(-ret));
	XT_CHECK(!xt_free(fd, ret), "free");
	xt_delete(fd, ret);
}

/* Once the backend has let go of it, which is looked at each second or so */
static bool is_had_back(void)
{
	static const char path[] =
		DEBUGFS "xen-grant-dma/gdt-plain/quarantined";
	char text[32];
	int i;

	for (i = 0; i < 40; i++) {
		XT_CHECK(xt_read_file(path, text, sizeof(text)) > 0,
			 "read %s", path);
		if (!atol(text))
			return true;
		usleep(100 * 1000);
	}

	return false;
}

/*
 * Where there is no memory to note what the backend holds, it is lost, which is
 * better than to give it to somebody else.
 */
static void nowhere_to_note(void)
{
	struct xgd_hold held = { .len = XEN_PAGE };
	uint32_t nth, nr_lost = 0;
	bool came = true;
	int ret;

	if (!access(KMEMLEAK, F_OK))
		xt_skip("kmemleak would tell of what is lost");
	prepare_fault(&allocations);
	for (nth = 1; came; nth++) {
		prepare_fresh();
		ret = map_page();
		XT_CHECK(!ret, "%u: map: %s", nth, strerror(-ret));
		held.dma = map.dma;
		XT_CHECK(!ioctl(devices, XGD_IOC_HOLD, &held), "%u: hold: %s",
			 nth, strerror(errno));
		arm_fault(&allocations, nth);
		unmap_memory();
		came = disarm_fault(&allocations);
		XT_CHECK(map_page() == -EIO, "%u: the device can be used", nth);
		XT_CHECK(ioctl(devices, XGD_IOC_RELEASE, held.id) >= 0,
			 "%u: release: %s", nth, strerror(errno));
		if (is_had_back())
			continue;
		XT_CHECK(came, "without a fault it is not had back");
		nr_lost++;
	}
	ksft_print_msg("of %u times %u were lost\n", nth - 1, nr_lost);
	XT_CHECK(nr_lost, "it was noted each time");
	prepare_fresh();
	ret = map_page();
	XT_CHECK(!ret, "bound anew: %s", strerror(-ret));
	unmap_memory();
}

/* What all of the above have left, as far as it was allocated by kmalloc(). */
static void nothing_is_leaked(void)
{
	static char text[8192];
	int ret;

	if (access(KMEMLEAK, F_OK))
		xt_skip("no " KMEMLEAK ": needs CONFIG_DEBUG_KMEMLEAK");
	/* What is younger is not looked for; and it has to be found twice. */
	sleep(6);
	if (xt_write_file(KMEMLEAK, "scan") || xt_write_file(KMEMLEAK, "scan"))
		xt_skip("kmemleak is switched off");
	ret = xt_read_file(KMEMLEAK, text, sizeof(text));
	XT_CHECK(ret >= 0, "read " KMEMLEAK ": %s", strerror(-ret));
	if (ret)
		ksft_print_msg("%s\n", text);
	XT_CHECK(!ret, "something is leaked");
}

/* The pool tells what is lost, of devices, too. */
static bool both_are_rust(void)
{
	return xt_is_rust() && xt_is_rust_ops();
}

#define NO_NUMBERS "it does not tell what is lost"
#define TRIED(_name, _run, _is_rust) \
	{ _name, _run, NULL, XT_C_UNSAFE, NO_NUMBERS, _is_rust }
#define POOL(_name, _run)	TRIED(_name, _run, xt_is_rust)
#define BUFFER(_name, _run)	TRIED(_name, _run, xt_is_rust_dma)
#define DEVICE(_name, _run)	TRIED(_name, _run, both_are_rust)

static const struct xt_test tests[] = {
	POOL("any allocation for scattered pages may fail",
	     scattered_allocations),
	POOL("any allocation for one page may fail", one_allocations),
	POOL("any allocation for a run may fail", contiguous_allocations),
	POOL("any allocation in gnttab_alloc_pages() may fail",
	     for_grants_allocations),
	BUFFER("any allocation for a DMA buffer may fail", buffer_allocations),
	POOL("any allocation for ballooned pages may fail",
	     ballooned_allocations),
	BUFFER("any allocation for a DMA buffer of RAM may fail",
	       ram_allocations),
	POOL("any allocation may fail where user space maps grants",
	     mapping_allocations),
	BUFFER("any allocation for a dma-buf in one piece may fail",
	       contiguous_dmabuf_allocations),
	POOL("any allocation for a dma-buf may fail", any_dmabuf_allocations),
	POOL("any allocation may fail where a dma-buf is imported",
	     import_allocations),
	POOL("any allocation may fail where a dma-buf is granted",
	     granting_allocations),
	POOL("any allocation may fail where user space grants pages",
	     sharing_allocations),
	DEVICE("any allocation may fail where a device is set up",
	       set_up_allocations),
	DEVICE("any allocation may fail where a page is mapped for a device",
	       page_allocations),
	DEVICE("any allocation may fail where a part of a page is copied",
	       isolated_allocations),
	DEVICE("any allocation may fail where a list is mapped for a device",
	       list_allocations),
	DEVICE("any allocation may fail where parts of a list are copied",
	       isolated_list_allocations),
	DEVICE("any allocation for memory of a device may fail",
	       memory_of_dma_allocations),
	DEVICE("any allocation for pages of a device may fail",
	       pages_of_dma_allocations),
	POOL("scattered pages without address space come from the balloon",
	     scattered_no_range),
	POOL("a run without memory for its range is refused",
	     contiguous_no_memory_for_range),
	POOL("scattered pages go round a range that is taken",
	     scattered_range_taken),
	POOL("a run goes round a range that is taken", contiguous_range_taken),
	POOL("scattered pages without struct pages come from the balloon",
	     scattered_no_struct_pages),
	POOL("a run without struct pages is refused",
	     contiguous_no_struct_pages),
	POOL("ballooned pages may be refused", ballooned_no_balloon),
	BUFFER("a DMA buffer without address space is made of RAM",
	       buffer_no_range),
	BUFFER("a DMA buffer without struct pages is made of RAM",
	       buffer_no_struct_pages),
	POOL("user space maps grants without address space", mapping_no_range),
	POOL("user space maps grants without struct pages",
	     mapping_no_struct_pages),
	POOL("Xen may refuse to map grants for user space", mapping_xen_refuses),
	BUFFER("Xen may refuse to map grants for a dma-buf in one piece",
	       contiguous_dmabuf_xen_refuses),
	POOL("Xen may refuse to map grants for a dma-buf",
	     any_dmabuf_xen_refuses),
	BUFFER("memory for a DMA buffer may be refused", ram_no_memory),
	BUFFER("Xen may take no page of a DMA buffer", ram_xen_takes_nothing),
	BUFFER("Xen may refuse to take a DMA buffer", ram_xen_refuses),
	BUFFER("pages of a DMA buffer may not be marked", ram_not_marked),
	POOL("references for a dma-buf may be refused",
	     granting_few_references),
	POOL("references for what user space grants may be refused",
	     sharing_no_references),
	DEVICE("references for a page may be refused", page_no_references),
	DEVICE("references for a page that is copied may be refused",
	       isolated_no_references),
	DEVICE("references for a list may be refused", list_no_references),
	DEVICE("references for memory of a device may be refused",
	       memory_no_references),
	DEVICE("references for pages of a device may be refused",
	       pages_no_references),
	POOL("a run of which a section cannot be added leaves nothing behind",
	     half_of_a_run),
	BUFFER("a DMA buffer that Xen does not give back is counted",
	       lost_buffer_is_counted),
	DEVICE("what is held and cannot be noted is never used again",
	       nowhere_to_note),
	POOL("kmemleak finds nothing after all of that", nothing_is_leaked),
};

static void prepare(void)
{
	xt_load_module();
	xt_write_file(KMEMLEAK, "clear");
}

int main(void)
{
	static const struct xt_part part = {
		.name = "what fails", .is_rust = xt_is_rust,
		.prepare = prepare, .layouts = "default",
	};

	return xt_main_part(&part, tests, ARRAY_SIZE(tests));
}
