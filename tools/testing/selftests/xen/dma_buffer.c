// SPDX-License-Identifier: GPL-2.0
/*
 * Buffers that a device is to reach, made by gnttab_dma_alloc_pages(): by
 * themselves, and as the dma-bufs that gntdev makes of grant references.
 */

#include <sys/ioctl.h>
#include <sys/mman.h>

#include "xen_test.h"

typedef uint16_t domid_t;
typedef uint32_t grant_ref_t;
#include <xen/gntdev.h>

#define FRAME	2025	/* pages of a Full-HD frame */

static struct xut_page pages[FRAME];

static void pages_of(enum xut_kind kind, bool from_pool)
{
	int fd = xt_open(), run, ret, i;

	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	run = xt_new_alloc(fd, kind, FRAME);
	XT_CHECK(run >= 0, "allocate: %s", strerror(-run));
	ret = xt_pages(fd, run, 0, FRAME, pages);
	XT_CHECK(!ret, "look at pages: %s", strerror(-ret));
	for (i = 0; i < FRAME; i++) {
		XT_CHECK(pages[i].pfn == pages[0].pfn + i,
			 "page %d has frame %#llx, the first %#llx", i,
			 (unsigned long long)pages[i].pfn,
			 (unsigned long long)pages[0].pfn);
		XT_CHECK(!!(pages[i].flags & XUT_PAGE_POOL) == from_pool,
			 "page %d %s of the pool", i,
			 from_pool ? "is not" : "is");
	}
	ret = xt_free(fd, run);
	XT_CHECK(!ret, "free: %s", strerror(-ret));
}

static void coherent_buffer_is_contiguous(void)
{
	pages_of(XUT_DMA_COHERENT, xt_is_rust_dma());
}

static void wc_buffer_is_contiguous(void)
{
	pages_of(XUT_DMA_WC, xt_is_rust_dma());
}

static void buffer_comes_from_the_pool(void)
{
	pages_of(XUT_DMA_COHERENT, true);
}

/* The switch, there and back again; a buffer is freed to where it is from. */
static void source_can_be_chosen(void)
{
	int fd = xt_open(), run, ret;

	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	ret = xt_set_param("xen_grant_dma_alloc", "source", "ram");
	XT_CHECK(!ret, "source=ram: %s", strerror(-ret));
	run = xt_new_alloc(fd, XUT_DMA_COHERENT, 16);
	XT_CHECK(run >= 0, "allocate from RAM: %s", strerror(-run));
	ret = xt_pages(fd, run, 0, 16, pages);
	XT_CHECK(!ret, "look at pages: %s", strerror(-ret));
	XT_CHECK(!(pages[0].flags & (XUT_PAGE_POOL | XUT_PAGE_DEVICE)),
		 "source=ram still gives pages of the pool");

	ret = xt_set_param("xen_grant_dma_alloc", "source", "unpopulated");
	XT_CHECK(!ret, "source=unpopulated: %s", strerror(-ret));
	pages_of(XUT_DMA_COHERENT, true);
	ret = xt_set_param("xen_grant_dma_alloc", "source", "moon");
	XT_CHECK(ret == -EINVAL, "source=moon: %d", ret);
	pages_of(XUT_DMA_COHERENT, true);

	ret = xt_set_param("xen_grant_dma_alloc", "source", "auto");
	XT_CHECK(!ret, "source=auto: %s", strerror(-ret));
	ret = xt_free(fd, run);
	XT_CHECK(!ret, "free what came from RAM: %s", strerror(-ret));
	pages_of(XUT_DMA_COHERENT, true);
}

/* The pool's pages or none: RAM is the DMA allocator's to choose. */
static void device_can_reach_it(void)
{
	int fd = xt_open(), run, ret, bits, i;

	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	run = xt_new(fd, 16);
	XT_CHECK(run >= 0, "make room: %s", strerror(-run));
	if (xt_is_rust_dma()) {
		ret = xt_set_param("xen_grant_dma_alloc", "source",
				   "unpopulated");
		XT_CHECK(!ret, "source=unpopulated: %s", strerror(-ret));
	}
	for (bits = 64; bits >= 24; bits--) {
		uint64_t mask = UINT64_MAX >> (64 - bits), end;
		struct xut_alloc alloc = {
			.id = run, .kind = XUT_DMA_COHERENT, .nr_pages = 16,
			.align = 1, .max_addr = mask,
		};

		ret = ioctl(fd, XUT_IOC_ALLOC, &alloc) ? -errno : 0;
		XT_CHECK(!ret || bits < 48, "with %d bits: %s", bits,
			 strerror(-ret));
		if (ret)
			continue;
		XT_CHECK(!xt_pages(fd, run, 0, 16, pages), "look at pages");
		for (i = 0; i < 16; i++) {
			end = (pages[i].pfn + 1) * xt_page_size() - 1;
			XT_CHECK(end <= mask, "page %d is at %#llx, with %d bits",
				 i, (unsigned long long)end, bits);
		}
		XT_CHECK(!xt_free(fd, run), "free");
	}
}

/* What the importer of a dma-buf gets to see. */
static struct xut_dmabuf look_at_dmabuf(uint32_t nr, uint32_t flags)
{
	struct xut_dmabuf dmabuf = { 0 };
	struct xt_grants grants;
	int fd, gntdev, buf, ret;

	fd = xt_open();
	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	ret = xt_grants_new(&grants, nr, true);
	XT_CHECK(!ret, "grant: %s", strerror(-ret));
	gntdev = xt_gntdev_open();
	XT_CHECK(gntdev >= 0, "gntdev: %s", strerror(-gntdev));
	buf = xt_dmabuf_new(gntdev, &grants, flags);
	XT_CHECK(buf >= 0, "dma-buf: %s", strerror(-buf));

	dmabuf.fd = buf;
	ret = ioctl(fd, XUT_IOC_DMABUF, &dmabuf);
	XT_CHECK(!ret, "import the dma-buf: %s", strerror(errno));
	XT_CHECK(dmabuf.size == nr * xt_page_size(), "it has %llu bytes",
		 (unsigned long long)dmabuf.size);

	/* Of many, Xen's ring of messages would not keep the first ones. */
	ret = nr <= 64 ? xt_active_grants() : -E2BIG;
	if (ret >= 0)
		XT_CHECK(ret >= (int)nr, "Xen has %d active grants", ret);
	close(buf);
	close(gntdev);
	close(fd);
	xt_grants_end(&grants);

	return dmabuf;
}

static void one_entry(uint32_t flags)
{
	struct xut_dmabuf dmabuf = look_at_dmabuf(FRAME, flags);

	XT_CHECK(dmabuf.contiguous, "it is not contiguous");
	XT_CHECK(dmabuf.entries == 1, "it has %u entries", dmabuf.entries);
	XT_CHECK(dmabuf.dma_entries == 1, "the device sees %u entries",
		 dmabuf.dma_entries);
}

static void coherent_dmabuf_is_one_entry(void)
{
	one_entry(GNTDEV_DMA_FLAG_COHERENT);
}

static void wc_dmabuf_is_one_entry(void)
{
	one_entry(GNTDEV_DMA_FLAG_WC);
}

static void dmabuf_of_any_pages_works(void)
{
	look_at_dmabuf(FRAME, 0);
}

static void dmabufs_come_and_go(void)
{
	int i;

	for (i = 0; i < 20; i++)
		look_at_dmabuf(1 + i * 13, GNTDEV_DMA_FLAG_COHERENT);
}

/* Backing is allocated first, so all of it has to be given up again. */
static void bad_reference_fails_cleanly(void)
{
	struct xt_grants grants;
	int gntdev, buf, ret;

	ret = xt_grants_new(&grants, 64, true);
	XT_CHECK(!ret, "grant: %s", strerror(-ret));
	grants.refs[40] = 0x7ffffff;
	gntdev = xt_gntdev_open();
	XT_CHECK(gntdev >= 0, "gntdev: %s", strerror(-gntdev));
	buf = xt_dmabuf_new(gntdev, &grants, GNTDEV_DMA_FLAG_COHERENT);
	XT_CHECK(buf < 0, "it was accepted");
}

/* What a peer that has these references gets to see, and no more. */
static void check_granted(void *mem, uint32_t *refs, uint32_t nr)
{
	struct xt_grants grants = {
		.domid = xt_own_domid(), .refs = refs, .nr_pages = nr,
	};
	size_t size = nr * xt_page_size();
	uint8_t *found, *pages = mem;
	int gntdev, ret;
	size_t i;

	gntdev = xt_gntdev_open();
	XT_CHECK(gntdev >= 0, "gntdev: %s", strerror(-gntdev));
	ret = xt_gntdev_mmap(gntdev, &grants, true, (void **)&found);
	XT_CHECK(!ret, "map what was granted: %s", strerror(-ret));
	for (i = 0; i < size; i++)
		pages[i] = i * 7 + i / 4096;
	XT_CHECK(!memcmp(found, pages, size), "the peer sees something else");
	memset(found, 0x5a, size);
	for (i = 0; i < size; i++)
		XT_CHECK(pages[i] == 0x5a, "byte %zu is not the peer's", i);
	munmap(found, size);
	close(gntdev);
}

static bool can_be_mapped(uint32_t *ref)
{
	struct xt_grants grants = {
		.domid = xt_own_domid(), .refs = ref, .nr_pages = 1,
	};
	int gntdev = xt_gntdev_open();
	void *found;
	int ret;

	XT_CHECK(gntdev >= 0, "gntdev: %s", strerror(-gntdev));
	ret = xt_gntdev_mmap(gntdev, &grants, true, &found);
	close(gntdev);
	if (!ret)
		munmap(found, xt_page_size());

	return !ret;
}

/* By gntdev, for as long as it is told to, or its file is open. */
static void buffer_of_another_driver_is_granted(void)
{
	enum { NR = 16 };
	uint32_t refs[2 * NR + 1], i;
	int gntdev, buf, ret;
	void *mem;

	if (xt_page_size() != 4096)
		xt_skip("gntdev grants the first 4 KiB of a page");
	if (xt_own_domid() < 0)
		xt_skip("in a domU say xentest.domid= on the command line");
	buf = xt_udmabuf_new(NR, &mem);
	if (buf == -ENOENT)
		xt_skip("no /dev/udmabuf: needs CONFIG_UDMABUF");
	XT_CHECK(buf >= 0, "udmabuf: %s", strerror(-buf));
	gntdev = xt_gntdev_open();
	XT_CHECK(gntdev >= 0, "gntdev: %s", strerror(-gntdev));

	for (i = 1; i <= 2 * NR; i *= 2) {
		ret = xt_dmabuf_import(gntdev, buf, xt_own_domid(),
				       i < NR ? i : i + 1, refs);
		XT_CHECK(ret == -EINVAL, "%u pages of %u: %d", i, NR, ret);
		XT_CHECK(xt_dmabuf_release(gntdev, buf) == -ENOENT,
			 "what was not granted is released");
	}

	ret = xt_dmabuf_import(gntdev, buf, xt_own_domid(), NR, refs);
	XT_CHECK(!ret, "grant it: %s", strerror(-ret));
	check_granted(mem, refs, NR);
	ret = xt_dmabuf_release(gntdev, buf);
	XT_CHECK(!ret, "release: %s", strerror(-ret));
	for (i = 0; i < NR; i++)
		XT_CHECK(!can_be_mapped(&refs[i]), "page %u is granted yet", i);

	ret = xt_dmabuf_import(gntdev, buf, xt_own_domid(), NR, refs);
	XT_CHECK(!ret, "grant it again: %s", strerror(-ret));
	check_granted(mem, refs, NR);
	close(gntdev);
	for (i = 0; i < NR; i++)
		XT_CHECK(!can_be_mapped(&refs[i]), "page %u is granted yet", i);
}

/* Those who map it go on with it until they are done. */
static void buffer_in_use_is_released_later(void)
{
	enum { NR = 4 };
	uint32_t refs[NR], i, tries;
	struct xt_grants grants = {
		.domid = xt_own_domid(), .refs = refs, .nr_pages = NR,
	};
	int gntdev, peer, buf, ret;
	uint8_t *found;

	if (xt_own_domid() < 0)
		xt_skip("in a domU say xentest.domid= on the command line");
	buf = xt_udmabuf_new(NR, NULL);
	if (buf == -ENOENT)
		xt_skip("no /dev/udmabuf: needs CONFIG_UDMABUF");
	XT_CHECK(buf >= 0, "udmabuf: %s", strerror(-buf));
	gntdev = xt_gntdev_open();
	peer = xt_gntdev_open();
	XT_CHECK(gntdev >= 0 && peer >= 0, "gntdev: %d, %d", gntdev, peer);
	ret = xt_dmabuf_import(gntdev, buf, xt_own_domid(), NR, refs);
	XT_CHECK(!ret, "grant it: %s", strerror(-ret));
	ret = xt_gntdev_mmap(peer, &grants, true, (void **)&found);
	XT_CHECK(!ret, "map what was granted: %s", strerror(-ret));

	ret = xt_dmabuf_release(gntdev, buf);
	XT_CHECK(!ret, "release: %s", strerror(-ret));
	close(buf);
	close(gntdev);
	for (i = 0; i < NR; i++)
		memset(found + i * xt_page_size(), 0x5a, 4096);
	munmap(found, NR * xt_page_size());
	close(peer);
	for (i = 0; i < NR; i++) {
		for (tries = 0; tries < 100 && can_be_mapped(&refs[i]); tries++)
			usleep(100 * 1000);
		XT_CHECK(tries < 100, "page %u is granted yet", i);
	}
}

static void wc_and_coherent_exclude_each_other(void)
{
	struct xt_grants grants;
	int gntdev, buf, ret;

	ret = xt_grants_new(&grants, 1, true);
	XT_CHECK(!ret, "grant: %s", strerror(-ret));
	gntdev = xt_gntdev_open();
	XT_CHECK(gntdev >= 0, "gntdev: %s", strerror(-gntdev));
	buf = xt_dmabuf_new(gntdev, &grants,
			    GNTDEV_DMA_FLAG_COHERENT | GNTDEV_DMA_FLAG_WC);
	XT_CHECK(buf == -EINVAL, "it returned %d", buf);
}

static const struct xt_test tests[] = {
	{ "a coherent buffer has consecutive frames",
	  coherent_buffer_is_contiguous },
	{ "a write-combining buffer has consecutive frames",
	  wc_buffer_is_contiguous },
	{ "a buffer is made of unpopulated pages",
	  buffer_comes_from_the_pool, NULL, XT_C_FAILS,
	  "it allocates RAM and gives that to Xen", xt_is_rust_dma },
	{ "the source of buffers can be chosen while others are in use",
	  source_can_be_chosen, NULL, XT_C_FAILS, "it has one source only",
	  xt_is_rust_dma },
	{ "a buffer lies where its device can reach it",
	  device_can_reach_it },
	{ "a coherent dma-buf is one entry for its importer",
	  coherent_dmabuf_is_one_entry },
	{ "a write-combining dma-buf is one entry for its importer",
	  wc_dmabuf_is_one_entry },
	{ "a dma-buf without flags reaches its importer whole",
	  dmabuf_of_any_pages_works },
	{ "dma-bufs of 20 sizes come and go and leave nothing",
	  dmabufs_come_and_go },
	{ "a dma-buf with a bad reference among good ones fails cleanly",
	  bad_reference_fails_cleanly },
	{ "a dma-buf of another driver is granted until it is released",
	  buffer_of_another_driver_is_granted },
	{ "a granted dma-buf that is in use is released when that ends",
	  buffer_in_use_is_released_later },
	{ "a dma-buf cannot be both coherent and write-combining",
	  wc_and_coherent_exclude_each_other },
};

int main(void)
{
	return xt_main(tests, ARRAY_SIZE(tests));
}
