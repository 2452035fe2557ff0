/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the Xen selftests share: a runner that asks Xen for leaks after each
 * test, the module test_xen_unpopulated, the devices under /dev/xen, and what
 * Xen and the kernel tell about memory.
 */
#ifndef XEN_TEST_H
#define XEN_TEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kselftest.h"
#include "test_modules/test_xen_unpopulated.h"

/* How a test ends where what it tests is the one written in C. */
enum xt_on_c {
	XT_C_PASSES,
	XT_C_FAILS,	/* it is run, and its failure is an expected one */
	XT_C_UNSAFE,	/* it would oops or corrupt that kernel: not run */
};

/**
 * struct xt_test - one test
 * @name: what it proves
 * @run: the test, which runs in a process of its own; it passes by returning
 * @layouts: the layouts that it makes sense in, separated by blanks; NULL: any
 *	with regions, as far as the kernel can use them, and large enough
 * @on_c: how it ends on C
 * @why: the reason, unless it passes
 * @is_rust: whether this kernel has what it tests in Rust; NULL: as the part
 */
struct xt_test {
	const char *name;
	void (*run)(void);
	const char *layouts;
	enum xt_on_c on_c;
	const char *why;
	bool (*is_rust)(void);
};

int xt_main(const struct xt_test *tests, size_t nr_tests);

/**
 * struct xt_part - what is tested, if it is not the pool
 * @name: what it is called
 * @is_rust: whether this kernel has the one that is written in Rust
 * @prepare: loads what the tests need; ends the program if it cannot be had
 * @layouts: the layouts that those of its tests are for that do not say; NULL:
 *	those in which the pool has pages
 * @refuses: its tests free pages that are not theirs
 */
struct xt_part {
	const char *name;
	const char *layouts;
	bool (*is_rust)(void);
	void (*prepare)(void);
	bool refuses;
};

void xt_prepare_pool(void);
int xt_main_part(const struct xt_part *part, const struct xt_test *tests,
		 size_t nr_tests);

/* Ends the process that the test runs in. */
__noreturn __printf(3, 4)
void xt_fail(const char *func, int line, const char *fmt, ...);
__noreturn __printf(1, 2)
void xt_skip(const char *fmt, ...);

/* Called before a test that fails ends, for what its process does not own. */
extern void (*xt_let_go)(void);

#define XT_CHECK(cond, fmt, ...) do {					\
	if (!(cond))							\
		xt_fail(__func__, __LINE__, fmt, ##__VA_ARGS__);	\
} while (0)

/* Tells whoever watches the kernel log that this line is meant to come. */
void xt_expect_splat(const char *substring);

/* The machine */
bool xt_is_dom0(void);
bool xt_is_rust(void);			/* the pool, that is */
bool xt_is_rust_dma(void);		/* gnttab_dma_alloc_pages() */
bool xt_is_rust_ops(void);		/* the DMA operations by grants */
/* Of the latter: names of devices that get copies of parts of pages. */
#define XT_ISOLATE	"/sys/module/xen_grant_dma_ops/parameters/isolate"
bool xt_layout_is(const char *names);	/* one of those, separated by blanks */
int xt_own_domid(void);			/* negative: not known */
/* The value of a parameter on the kernel's command line, or NULL. */
const char *xt_boot_param(const char *name);
size_t xt_page_size(void);
/* Pages of which so many bytes of address space are made; at least one. */
uint32_t xt_pages_in(uint64_t bytes);
/* The least that the pool grows by, in bytes: a page of struct pages, or 2 MiB. */
uint64_t xt_growth_step(void);
/* What arm64 adds struct pages for at most at a time, in bytes. */
uint64_t xt_section_size(void);
/*
 * How much of the regions lies in whole sections. The pool in C adds nothing
 * else, so that it has nothing to hand out if that is 0.
 */
uint64_t xt_in_sections(void);
int xt_read_file(const char *path, char *buf, size_t size);
int xt_write_file(const char *path, const char *text);
int xt_online_cpus(void);
/* Switch a CPU, not the first one, on or off. Return 0 or -errno. */
int xt_set_cpu(int cpu, bool online);

/* Numbers of the Rust pool; negative: there is none of that name. */
long xt_stat(const char *name);
long xt_pages_out(void);
int xt_set_param(const char *module, const char *name, const char *value);
bool xt_wait_stat(const char *name, long value, int seconds);

/* Memory of this domain, in KiB; negative: not known. */
long xt_meminfo(const char *name);
long xt_free_kib(void);			/* free, per-CPU lists included */

struct xt_range {
	uint64_t start;
	uint64_t end;
};

/* Ranges in /proc/iomem of this name; returns how many, at most @max. */
int xt_iomem(const char *name, struct xt_range *ranges, int max);
#define XT_MAX_RANGES	512

/*
 * What the struct pages of the domain's RAM take, in KiB.  Once pages of the
 * balloon are lent, it may add a section of RAM in their place, the struct pages
 * of which are not lost.
 */
long xt_memmap_kib(void);

/* What Xen says is unused, from the device tree; returns how many. */
int xt_extended_regions(struct xt_range *ranges, int max);

/* Xen, by way of /dev/xen/privcmd; negative: an errno. */
struct xt_p2m {
	long mappings_2m;
	long shattered_2m;
	long mappings_4k;
};

int xt_key_p2m(struct xt_p2m *p2m);	/* debug key q, our own domain */
int xt_key_p2m_of(int domid, struct xt_p2m *p2m);
long xt_domain_pages(int domid);	/* that Xen keeps for it; same key */
int xt_domain_destroy(int domid);
int xt_active_grants(void);		/* debug key g, all domains */
long xt_memory_hypercalls(void);	/* memory_op and grant_table_op so far */

/* A grant is as large everywhere: it gives the first part of a larger page. */
#define XT_GRANT_SIZE	4096U

/* Pages that are granted to ourselves, or to another domain */
struct xt_grants {
	int fd;
	uint32_t domid;		/* whose they are */
	uint32_t nr_pages;
	uint64_t index;
	uint32_t *refs;
	uint8_t *mem;
};

int xt_grants_new(struct xt_grants *grants, uint32_t nr_pages, bool writable);
int xt_grants_new_for(struct xt_grants *grants, uint32_t domid,
		      uint32_t nr_pages, bool writable);
void xt_grants_end(struct xt_grants *grants);

int xt_gntdev_open(void);
int xt_gntdev_mmap(int fd, const struct xt_grants *grants, bool writable,
		   void **mem);
int xt_gntdev_munmap(int fd, uint64_t index, uint32_t nr_pages, void *mem);
/* Returns the dma-buf's file descriptor. */
int xt_dmabuf_new(int fd, const struct xt_grants *grants, uint32_t flags);
/* One of RAM, by udmabuf, which is at @mem, too, unless that is NULL. */
int xt_udmabuf_new(uint32_t nr_pages, void **mem);
/* Grants it to @domid; the references are written to @refs. */
int xt_dmabuf_import(int fd, int dmabuf, uint32_t domid, uint32_t nr_pages,
		     uint32_t *refs);
int xt_dmabuf_release(int fd, int dmabuf);

/* The module; negative: an errno. */
void xt_load(const char *name);	/* unless there is a device of that name */
void xt_load_module(void);
int xt_open(void);
int xt_new(int fd, uint32_t capacity);
int xt_delete(int fd, int run);
int xt_alloc(int fd, int run, enum xut_kind kind, uint32_t nr_pages);
int xt_alloc_run(int fd, int run, uint32_t nr_pages, uint32_t align,
		 uint64_t max_addr);
int xt_new_alloc(int fd, enum xut_kind kind, uint32_t nr_pages);
int xt_free(int fd, int run);
int xt_cycle(int fd, int run, enum xut_kind kind, uint32_t nr_pages,
	     uint32_t repeat);
int xt_free_run(int fd, int run, uint32_t first, uint32_t nr_pages,
		uint32_t flags);
int xt_free_pages(int fd, const struct xut_ref *refs, uint32_t nr_pages,
		  uint32_t flags);
int xt_pages(int fd, int run, uint32_t first, uint32_t nr_pages,
	     struct xut_page *pages);
int xt_hold(int fd, int run, uint32_t first, uint32_t nr_pages);
int xt_release(int fd, int run, uint32_t first, uint32_t nr_pages);
int xt_map(int fd, int run, uint32_t first, uint32_t nr_pages,
	   const uint32_t *refs, uint32_t flags);
int xt_unmap(int fd, int run, uint32_t first, uint32_t nr_pages);
int xt_copy_from(int fd, int run, uint64_t offset, void *buf, uint64_t len);
int xt_copy_to(int fd, int run, uint64_t offset, const void *buf, uint64_t len);

/* Maps grants into all of a run and exchanges data through them, both ways. */
void xt_run_carries_data(int fd, int run, uint32_t nr_pages);

#endif /* XEN_TEST_H */
