// SPDX-License-Identifier: GPL-2.0
/*
 * The DMA operations of virtio devices under Xen: what a driver maps, the
 * backend finds by the grant references in the DMA address, and nothing else;
 * and when that is undone, the backend is out.
 *
 * The module plays the backend, too, in this same domain, so all devices but
 * one name this domain as the backend's.
 */

#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "xen_test.h"
#include "test_modules/test_xen_grant_dma.h"

#define XEN_PAGE	4096U
#define GRANT_ADDR	0x8000000000000000ULL
#define WAIT_SECONDS	5
/* What a device may keep for the next mapping. */
#define MAX_CACHED	64

static int fd = -1;

static void prepare(void)
{
	struct xgd_info info = { .index = 0 };

	xt_load(XGD_DEVICE);
	fd = open("/dev/" XGD_DEVICE, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		ksft_exit_skip("no /dev/" XGD_DEVICE ": %s\n", strerror(errno));
	if (ioctl(fd, XGD_IOC_INFO, &info))
		ksft_exit_skip("no node in the device tree to test with\n");
	close(fd);
	fd = -1;
}

/* Each test has its own, and what it leaves goes when it ends. */
static void open_module(void)
{
	fd = open("/dev/" XGD_DEVICE, O_RDWR | O_CLOEXEC);
	XT_CHECK(fd >= 0, "module: %s", strerror(errno));
}

static int call(unsigned long cmd, void *arg)
{
	return ioctl(fd, cmd, arg) < 0 ? -errno : 0;
}

static int call_value(unsigned long cmd, unsigned long arg)
{
	int ret = ioctl(fd, cmd, arg);

	return ret < 0 ? -errno : ret;
}

/* Devices */
static struct xgd_info get_info(uint32_t index)
{
	struct xgd_info info = { .index = index };
	int ret = call(XGD_IOC_INFO, &info);

	XT_CHECK(!ret, "look at device %u: %s", index, strerror(-ret));

	return info;
}

static int attach(uint32_t index, uint32_t virtio_id, uint32_t flags,
		  uint32_t *failed)
{
	struct xgd_attach arg = {
		.index = index, .virtio_id = virtio_id, .flags = flags,
	};
	int ret = call(XGD_IOC_ATTACH, &arg);

	if (failed)
		*failed = arg.failed;

	return ret;
}

/* Asks what the virtio core asks, which sets the device up as well. */
static bool is_restricted(uint32_t index)
{
	struct xgd_info info = { .index = index, .restricted = 1 };
	int ret = call(XGD_IOC_INFO, &info);

	XT_CHECK(!ret, "look at device %u: %s", index, strerror(-ret));

	return info.restricted;
}

/* Finds a device by its name, or a part of it that has not been attached yet. */
static uint32_t find_device(const char *name, bool fresh)
{
	struct xgd_info info;
	uint32_t i;

	for (i = 0; ; i++) {
		memset(&info, 0, sizeof(info));
		info.index = i;
		if (call(XGD_IOC_INFO, &info))
			break;
		if (strncmp(info.name, name, strlen(name)))
			continue;
		if (!fresh || (info.bound && !info.binds))
			return i;
	}
	xt_skip("no device %s%s", name, fresh ? " that is new" : "");
}

static uint32_t get_device(const char *name)
{
	uint32_t index;
	int ret;

	if (fd < 0)
		open_module();
	index = find_device(name, false);
	if (!get_info(index).bound) {
		ret = call_value(XGD_IOC_BIND, index);
		XT_CHECK(!ret, "bind %s: %s", name, strerror(-ret));
	}
	if (!get_info(index).attached) {
		ret = attach(index, XGD_VIRTIO_ID, 0, NULL);
		XT_CHECK(!ret, "attach %s: %s", name, strerror(-ret));
	}

	return index;
}

/* The operations in C can be set up only once for each device. */
static uint32_t get_fresh(void)
{
	open_module();

	return find_device("gdt-fresh", true);
}

static uint32_t get_fresh_attached(void)
{
	uint32_t index = get_fresh();
	int ret = attach(index, XGD_VIRTIO_ID, 0, NULL);

	XT_CHECK(!ret, "attach: %s", strerror(-ret));

	return index;
}

static void release_driver(uint32_t index)
{
	int ret = call_value(XGD_IOC_UNBIND, index);

	XT_CHECK(!ret, "unbind: %s", strerror(-ret));
}

static void bind_again(uint32_t index)
{
	int ret = call_value(XGD_IOC_BIND, index);

	XT_CHECK(!ret, "bind: %s", strerror(-ret));
	ret = attach(index, XGD_VIRTIO_ID, 0, NULL);
	XT_CHECK(!ret, "attach: %s", strerror(-ret));
}

static void rebind(uint32_t index)
{
	release_driver(index);
	bind_again(index);
}

/* Memory and mappings */
static struct xgd_buffer get_buffer(enum xgd_memory memory, uint32_t size)
{
	struct xgd_buffer buffer = { .memory = memory, .size = size };
	int ret = call(XGD_IOC_BUFFER, &buffer);

	XT_CHECK(!ret, "get %u bytes: %s", size, strerror(-ret));

	return buffer;
}

static int copy(unsigned long cmd, uint32_t id, uint64_t at, void *buf,
		uint32_t len, bool write, bool read_only)
{
	struct xgd_copy arg = {
		.id = id, .write = write, .at = at, .len = len,
		.read_only = read_only, .buf = (uintptr_t)buf,
	};

	return call(cmd, &arg);
}

static void driver_write(uint32_t id, uint32_t at, void *buf, uint32_t len)
{
	int ret = copy(XGD_IOC_COPY, id, at, buf, len, true, false);

	XT_CHECK(!ret, "the driver writes: %s", strerror(-ret));
}

static void driver_read(uint32_t id, uint32_t at, void *buf, uint32_t len)
{
	int ret = copy(XGD_IOC_COPY, id, at, buf, len, false, false);

	XT_CHECK(!ret, "the driver reads: %s", strerror(-ret));
}

static int backend_write(uint64_t dma, void *buf, uint32_t len)
{
	return copy(XGD_IOC_DMA, 0, dma, buf, len, true, false);
}

static int backend_read(uint64_t dma, void *buf, uint32_t len)
{
	return copy(XGD_IOC_DMA, 0, dma, buf, len, false, true);
}

static int try_map(uint32_t index, uint32_t buffer, uint32_t offset,
		   uint32_t size, enum xgd_dir dir, uint32_t flags,
		   struct xgd_map *map)
{
	memset(map, 0, sizeof(*map));
	map->index = index;
	map->buffer = buffer;
	map->offset = offset;
	map->size = size;
	map->dir = dir;
	map->flags = flags;

	return call(XGD_IOC_MAP, map);
}

static struct xgd_map do_map(uint32_t index, uint32_t buffer, uint32_t offset,
			     uint32_t size, enum xgd_dir dir, uint32_t flags)
{
	struct xgd_map map;
	int ret = try_map(index, buffer, offset, size, dir, flags, &map);

	XT_CHECK(!ret, "map %u bytes at %u: %s", size, offset, strerror(-ret));

	return map;
}

static struct xgd_unmap do_unmap(uint32_t id, uint32_t flags)
{
	struct xgd_unmap unmap = { .id = id, .flags = flags };
	int ret = call(XGD_IOC_UNMAP, &unmap);

	XT_CHECK(!ret, "unmap: %s", strerror(-ret));

	return unmap;
}

static struct xgd_alloc do_alloc(uint32_t index, uint32_t size, bool pages,
				 bool dirty)
{
	struct xgd_alloc alloc = {
		.index = index, .size = size, .pages = pages, .dirty = dirty,
	};
	int ret = call(XGD_IOC_ALLOC, &alloc);

	XT_CHECK(!ret, "allocate %u bytes: %s", size, strerror(-ret));

	return alloc;
}

static uint32_t hold(uint64_t dma, uint32_t len)
{
	struct xgd_hold arg = { .dma = dma, .len = len };
	int ret = call(XGD_IOC_HOLD, &arg);

	XT_CHECK(!ret, "the backend maps: %s", strerror(-ret));

	return arg.id;
}

static void release(uint32_t held)
{
	int ret = call_value(XGD_IOC_RELEASE, held);

	XT_CHECK(!ret, "the backend unmaps: %s", strerror(-ret));
}

static uint32_t ref_of(uint64_t dma)
{
	return (dma & ~GRANT_ADDR) / XEN_PAGE;
}

static struct xgd_entry get_entry(uint32_t ref)
{
	struct xgd_entry entry = { .ref = ref };
	int ret = call(XGD_IOC_ENTRY, &entry);

	if (ret == -EOPNOTSUPP)
		xt_skip("the grant table cannot be looked at");
	XT_CHECK(!ret, "look at reference %u: %s", ref, strerror(-ret));

	return entry;
}

static int free_refs(void)
{
	return call_value(XGD_IOC_FREE_REFS, 0);
}

/* A pattern that differs from one byte, and one seed, to the next. */
static void fill(uint8_t *buf, uint32_t len, uint32_t seed)
{
	uint32_t i;

	for (i = 0; i < len; i++)
		buf[i] = (i + seed * 31) * 2654435761U >> 23;
}

static uint8_t expected[65536], found[65536];

/* An address as it has to be, and references that grant what was mapped. */
static void check_address(const struct xgd_map *map, uint64_t pfn,
			  uint32_t domid)
{
	uint32_t i, nr, offset = map->offset % XEN_PAGE;
	uint64_t scale = xt_page_size() / XEN_PAGE;

	XT_CHECK(map->dma & GRANT_ADDR, "address %#llx is no grant's",
		 (unsigned long long)map->dma);
	XT_CHECK(map->dma % XEN_PAGE == offset, "address %#llx, offset %u",
		 (unsigned long long)map->dma, offset);
	nr = (offset + map->size + XEN_PAGE - 1) / XEN_PAGE;
	for (i = 0; i < nr; i++) {
		struct xgd_entry entry = get_entry(ref_of(map->dma) + i);

		XT_CHECK(entry.flags & XGD_GTF_ACCESS,
			 "reference %u of %u grants nothing", i, nr);
		XT_CHECK(entry.domid == domid, "it names domain %u",
			 entry.domid);
		XT_CHECK(entry.frame == pfn * scale + map->offset / XEN_PAGE + i,
			 "reference %u of %u grants frame %#x, not %#llx", i,
			 nr, entry.frame, (unsigned long long)
			 (pfn * scale + map->offset / XEN_PAGE + i));
		XT_CHECK(!!(entry.flags & XGD_GTF_READONLY) ==
			 (map->dir == XGD_TO_DEVICE),
			 "direction %u has flags %#x", map->dir, entry.flags);
	}
}

/* A page of a buffer, mapped for a while. */
static void check_mapping(uint32_t dev, const struct xgd_buffer *buffer)
{
	struct xgd_map map = do_map(dev, buffer->id, 0, XEN_PAGE,
				    XGD_BIDIRECTIONAL, 0);

	check_address(&map, buffer->pfn, 0);
	do_unmap(map.id, 0);
}

/* References that grant nothing any more. */
static void check_ended(uint64_t dma, uint32_t len)
{
	uint32_t i, nr = (dma % XEN_PAGE + len + XEN_PAGE - 1) / XEN_PAGE;

	for (i = 0; i < nr; i++)
		XT_CHECK(!(get_entry(ref_of(dma) + i).flags & XGD_GTF_ACCESS),
			 "reference %u of %u still grants access", i, nr);
	XT_CHECK(backend_read(dma, found, 1) == -EACCES,
		 "the backend can still map it");
}

static const struct {
	uint32_t offset;
	uint32_t size;
} edges[] = {
	{ 0, 1 }, { 0, 4095 }, { 0, 4096 }, { 0, 4097 }, { 1, 4095 },
	{ 1, 4096 }, { 4095, 1 }, { 4095, 2 }, { 4096, 4096 }, { 4097, 4095 },
	{ 5000, 1 }, { 8191, 4098 }, { 12345, 20000 }, { 0, 65536 },
	{ 100, 65536 - 100 }, { 61440, 4096 }, { 65535, 1 },
};

static void addresses_are_references(void)
{
	uint32_t dev = get_device("gdt-plain"), dir;
	struct xgd_buffer buffer = get_buffer(XGD_PAGES, 65536);
	size_t i;

	for (dir = 0; dir < XGD_NR_DIRS; dir++) {
		for (i = 0; i < ARRAY_SIZE(edges); i++) {
			struct xgd_map map = do_map(dev, buffer.id,
						    edges[i].offset,
						    edges[i].size, dir, 0);

			check_address(&map, buffer.pfn, 0);
			do_unmap(map.id, 0);
			check_ended(map.dma, map.size);
		}
	}
}

/* All bytes that can be the first and the last, next to the edges of frames. */
static void every_edge(void)
{
	static const uint32_t at[] = {
		0, 1, 2047, 4094, 4095, 4096, 4097, 8190, 8191, 8192, 12287,
		12288, 61439, 61440, 65534, 65535,
	};
	static const uint32_t flags[] = { 0, XGD_IRQS_OFF };
	uint32_t dev = get_device("gdt-plain"), dir;
	struct xgd_buffer buffer = get_buffer(XGD_PAGES, 65536);
	size_t first, last, f;
	struct xgd_map map;

	for (first = 0; first < ARRAY_SIZE(at); first++) {
		for (last = first; last < ARRAY_SIZE(at); last++) {
			dir = (first + last) % XGD_NR_DIRS;
			for (f = 0; f < ARRAY_SIZE(flags); f++) {
				map = do_map(dev, buffer.id, at[first],
					     at[last] - at[first] + 1, dir,
					     flags[f]);
				check_address(&map, buffer.pfn, 0);
				do_unmap(map.id, flags[f]);
				check_ended(map.dma, map.size);
				dir = (dir + 1) % XGD_NR_DIRS;
			}
		}
	}
}

static void exchange(uint32_t dev, uint32_t buffer, uint32_t offset,
		     uint32_t size, enum xgd_dir dir, uint32_t flags)
{
	struct xgd_map map;
	int ret;

	fill(expected, size, offset + dir);
	driver_write(buffer, offset, expected, size);
	map = do_map(dev, buffer, offset, size, dir, flags);
	if (dir != XGD_FROM_DEVICE) {
		ret = backend_read(map.dma, found, size);
		XT_CHECK(!ret, "the backend reads: %s", strerror(-ret));
		XT_CHECK(!memcmp(expected, found, size),
			 "%u bytes at %u read otherwise", size, offset);
	}
	fill(expected, size, offset + dir + 1000);
	ret = backend_write(map.dma, expected, size);
	if (dir == XGD_TO_DEVICE) {
		XT_CHECK(ret == -EACCES, "the backend may write: %d", ret);
		fill(expected, size, offset + dir);
	} else {
		XT_CHECK(!ret, "the backend writes: %s", strerror(-ret));
	}
	do_unmap(map.id, flags);
	driver_read(buffer, offset, found, size);
	XT_CHECK(!memcmp(expected, found, size),
		 "%u bytes at %u came otherwise", size, offset);
}

static void exchange_all(uint32_t flags)
{
	uint32_t dev = get_device("gdt-plain"), dir;
	struct xgd_buffer buffer = get_buffer(XGD_PAGES, 65536);
	size_t i;

	for (dir = 0; dir < XGD_NR_DIRS; dir++)
		for (i = 0; i < ARRAY_SIZE(edges); i++)
			exchange(dev, buffer.id, edges[i].offset,
				 edges[i].size, dir, flags);
}

static void data_goes_both_ways(void)
{
	exchange_all(0);
}

static void interrupts_may_be_off(void)
{
	exchange_all(XGD_IRQS_OFF);
}

static void kmalloc_memory_can_be_mapped(void)
{
	uint32_t dev = get_device("gdt-plain"), dir, size;

	for (size = 16; size <= 8192; size *= 2)
		for (dir = 0; dir < XGD_NR_DIRS; dir++)
			exchange(dev, get_buffer(XGD_KMALLOC, size).id, 0,
				 size, dir, 0);
}

/* What the host bridge's iommu-map says of a PCI device is its backend. */
static void pci_devices_have_backends(void)
{
	static const struct {
		const char *name;
		uint32_t domid;
	} slots[] = {
		{ "0000:00:01.0", 0 },
		{ "0000:00:03.0", 1 },
		/* The first of a range. */
		{ "0000:00:04.0", 0x7fe8 },
	};
	struct xgd_buffer buffer;
	struct xgd_alloc alloc;
	uint32_t dev, dir;
	struct xgd_map map;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(slots); i++) {
		dev = get_device(slots[i].name);
		XT_CHECK(is_restricted(dev), "%s is not restricted",
			 slots[i].name);
		XT_CHECK(!get_info(dev).ops_kept, "%s has no operations",
			 slots[i].name);
		buffer = get_buffer(XGD_PAGES, 8192);
		map = do_map(dev, buffer.id, 100, 8000, XGD_FROM_DEVICE, 0);
		check_address(&map, buffer.pfn, slots[i].domid);
		do_unmap(map.id, 0);
		check_ended(map.dma, map.size);
	}

	dev = get_device(slots[0].name);
	buffer = get_buffer(XGD_PAGES, 65536);
	for (dir = 0; dir < XGD_NR_DIRS; dir++)
		for (i = 0; i < ARRAY_SIZE(edges); i++)
			exchange(dev, buffer.id, edges[i].offset,
				 edges[i].size, dir, 0);
	alloc = do_alloc(dev, 8192, false, false);
	fill(expected, 8192, 1);
	driver_write(alloc.id, 0, expected, 8192);
	XT_CHECK(!backend_read(alloc.dma, found, 8192) &&
		 !memcmp(expected, found, 8192), "shared memory reads otherwise");
	do_unmap(alloc.id, 0);
	check_ended(alloc.dma, 8192);
}

/* Nobody asks for grants on its behalf, so it is not ours to touch. */
static void check_untouched(uint32_t dev)
{
	struct xgd_buffer buffer = get_buffer(XGD_PAGES, XEN_PAGE);
	struct xgd_map map;

	XT_CHECK(!is_restricted(dev), "it is restricted");
	XT_CHECK(get_info(dev).ops_kept, "it has other operations than before");
	map = do_map(dev, buffer.id, 0, XEN_PAGE, XGD_BIDIRECTIONAL, 0);
	XT_CHECK(!(map.dma & GRANT_ADDR), "it is given the grant %#llx",
		 (unsigned long long)map.dma);
	do_unmap(map.id, 0);
}

static void pci_device_without_entry(void)
{
	check_untouched(get_device("0000:00:02.0"));
}

static void device_of_another_iommu(void)
{
	check_untouched(get_device("gdt-unlike"));
}

static void backends_differ(void)
{
	uint32_t plain = get_device("gdt-plain");
	uint32_t other = get_device("gdt-other");
	struct xgd_buffer buffer = get_buffer(XGD_PAGES, 16384);
	struct xgd_map a, b;

	a = do_map(plain, buffer.id, 0, 8192, XGD_BIDIRECTIONAL, 0);
	b = do_map(other, buffer.id, 8192, 8192, XGD_BIDIRECTIONAL, 0);
	check_address(&a, buffer.pfn, 0);
	check_address(&b, buffer.pfn, 1);
	XT_CHECK(!backend_read(a.dma, found, 1), "the backend cannot read");
	XT_CHECK(backend_read(b.dma, found, 1) == -EACCES,
		 "another domain than the backend's can read");
	do_unmap(a.id, 0);
	/* The one is not undone with the other. */
	check_address(&b, buffer.pfn, 1);
	do_unmap(b.id, 0);
}

static uint32_t get_list(const struct xgd_map *map, uint64_t *dma,
			 uint32_t *len, uint32_t nr)
{
	struct xgd_list list = {
		.id = map->id, .nr = nr, .dma = (uintptr_t)dma,
		.len = (uintptr_t)len,
	};
	int ret = call(XGD_IOC_LIST, &list);

	XT_CHECK(!ret, "look at the list: %s", strerror(-ret));

	return list.nr;
}

static void lists_carry_data(void)
{
	static const struct {
		uint32_t offset, size, flags;
	} parts[] = {
		{ 100, 1, 0 }, { 0, 4096, 0 }, { 100, 5000, XGD_IRQS_OFF },
		{ 4095, 1, 0 }, { 4095, 2, XGD_IRQS_OFF }, { 1, 65535, 0 },
		{ 0, 65536, XGD_IRQS_OFF }, { 8191, 57346, 0 },
	};
	uint32_t dev = get_device("gdt-plain");
	struct xgd_buffer buffer = get_buffer(XGD_SCATTERED, 2 * 65536);
	uint32_t len[XGD_MAX_ENTRIES], nr, i, at, dir;
	uint64_t dma[XGD_MAX_ENTRIES];
	struct xgd_map map;
	size_t s;

	for (s = 0; s < ARRAY_SIZE(parts); s++) {
		uint32_t offset = parts[s].offset, size = parts[s].size;

		for (dir = 0; dir < XGD_NR_DIRS; dir++) {
			fill(expected, size, s + dir);
			driver_write(buffer.id, offset, expected, size);
			map = do_map(dev, buffer.id, offset, size, dir,
				     XGD_LIST | parts[s].flags);
			nr = get_list(&map, dma, len, XGD_MAX_ENTRIES);
			for (i = at = 0; i < nr; at += len[i++]) {
				XT_CHECK(dma[i] & GRANT_ADDR,
					 "entry %u has no grant", i);
				XT_CHECK(len[i] && at + len[i] <= size,
					 "entry %u has %u bytes", i, len[i]);
				XT_CHECK(!backend_read(dma[i], found, len[i]),
					 "the backend cannot read entry %u", i);
				XT_CHECK(!memcmp(expected + at, found, len[i]),
					 "entry %u reads otherwise", i);
			}
			XT_CHECK(at == size, "the list has %u bytes of %u",
				 at, size);
			do_unmap(map.id, parts[s].flags);
			for (i = 0; i < nr; i++)
				check_ended(dma[i], len[i]);
		}
	}
}

/* So long that the list is in more than one piece, which are linked. */
static void long_lists_carry_data(void)
{
	uint32_t page_size = xt_page_size(), nr = XGD_MAX_SIZE / page_size;
	uint32_t dev = get_device("gdt-plain"), len[XGD_MAX_ENTRIES], i, tag;
	uint64_t dma[XGD_MAX_ENTRIES];
	struct xgd_buffer buffer;
	struct xgd_map map;

	if (nr > XGD_MAX_ENTRIES)
		nr = XGD_MAX_ENTRIES;
	buffer = get_buffer(XGD_SCATTERED, nr * page_size);
	for (i = 0; i < nr; i++)
		driver_write(buffer.id, i * page_size, &i, sizeof(i));
	map = do_map(dev, buffer.id, 0, nr * page_size, XGD_BIDIRECTIONAL,
		     XGD_LIST);
	XT_CHECK(get_list(&map, dma, len, XGD_MAX_ENTRIES) == nr,
		 "it has not %u entries", nr);
	for (i = 0; i < nr; i++) {
		XT_CHECK(!backend_read(dma[i], &tag, sizeof(tag)),
			 "the backend cannot read entry %u", i);
		XT_CHECK(tag == i, "entry %u reads as %u", i, tag);
	}
	do_unmap(map.id, 0);
	for (i = 0; i < nr; i++)
		check_ended(dma[i], len[i]);
}

static void memory_is_shared(void)
{
	static const uint32_t sizes[] = { 1, 4096, 4097, 65536 };
	uint32_t dev = get_device("gdt-plain"), pages;
	struct xgd_alloc alloc;
	size_t i;

	for (pages = 0; pages < 2; pages++) {
		for (i = 0; i < ARRAY_SIZE(sizes); i++) {
			uint32_t size = sizes[i];

			alloc = do_alloc(dev, size, pages, false);
			XT_CHECK(alloc.dma & GRANT_ADDR && !(alloc.dma % XEN_PAGE),
				 "address %#llx", (unsigned long long)alloc.dma);
			fill(expected, size, i);
			driver_write(alloc.id, 0, expected, size);
			XT_CHECK(!backend_read(alloc.dma, found, size) &&
				 !memcmp(expected, found, size),
				 "%u bytes read otherwise", size);
			fill(expected, size, i + 100);
			XT_CHECK(!backend_write(alloc.dma, expected, size),
				 "the backend cannot write");
			driver_read(alloc.id, 0, found, size);
			XT_CHECK(!memcmp(expected, found, size),
				 "%u bytes came otherwise", size);
			do_unmap(alloc.id, 0);
			check_ended(alloc.dma, size);
		}
	}
}

static void references_come_back(void)
{
	uint32_t dev = get_device("gdt-plain");
	struct xgd_cycle cycle = {
		.index = dev, .op = XGD_OP_MAP, .nr_pages = 64, .repeat = 100,
	};
	int before = free_refs(), after;
	struct xgd_buffer buffer;
	struct xgd_map map;

	XT_CHECK(!call(XGD_IOC_CYCLE, &cycle) && !cycle.failed, "map");
	cycle.op = XGD_OP_SG;
	XT_CHECK(!call(XGD_IOC_CYCLE, &cycle) && !cycle.failed, "map a list");
	cycle.op = XGD_OP_COHERENT;
	XT_CHECK(!call(XGD_IOC_CYCLE, &cycle) && !cycle.failed, "allocate");
	after = free_refs();
	XT_CHECK(after >= before - MAX_CACHED, "%d references were free, now %d",
		 before, after);

	/* The count does see what is in use. */
	buffer = get_buffer(XGD_PAGES, 256 * XEN_PAGE);
	map = do_map(dev, buffer.id, 0, 200 * XEN_PAGE, XGD_BIDIRECTIONAL, 0);
	XT_CHECK(free_refs() <= before - 200 + MAX_CACHED,
		 "%d references were free, with 200 in use %d", before,
		 free_refs());
	do_unmap(map.id, 0);
}

/* Maps pages of a buffer one by one, until that fails or there are no more. */
static uint32_t map_pages(uint32_t dev, uint32_t buffer, struct xgd_map *maps,
			  uint32_t max)
{
	uint32_t nr;

	for (nr = 0; nr < max; nr++)
		if (try_map(dev, buffer, nr * XEN_PAGE, XEN_PAGE,
			    XGD_BIDIRECTIONAL, 0, &maps[nr]))
			break;

	return nr;
}

static void unmap_pages(struct xgd_map *maps, uint32_t nr)
{
	while (nr)
		do_unmap(maps[--nr].id, 0);
}

/* Has no device keep references but one. */
static void rebind_others(uint32_t dev)
{
	struct xgd_info info = { };
	uint32_t i;

	for (i = 0; !call(XGD_IOC_INFO, &info); i++, info.index = i) {
		if (i != dev && info.attached)
			rebind(i);
		info.restricted = 0;
	}
}

static void exhaustion_is_survived(void)
{
	uint32_t dev = get_device("gdt-plain"), i, nr;
	struct xgd_buffer buffer = get_buffer(XGD_PAGES, 512 * XEN_PAGE);
	static struct xgd_map maps[512];
	struct xgd_map map;
	int ret;

	rebind_others(dev);
	ret = call_value(XGD_IOC_EXHAUST, 3);
	XT_CHECK(ret > 0, "take all references: %s", strerror(-ret));
	ret = try_map(dev, buffer.id, 0, 200 * XEN_PAGE, XGD_BIDIRECTIONAL, 0,
		      &map);
	XT_CHECK(ret == -EIO, "200 pages with 3 references: %d", ret);
	ret = try_map(dev, buffer.id, 0, 200 * XEN_PAGE, XGD_BIDIRECTIONAL,
		      XGD_LIST, &map);
	XT_CHECK(ret == -EIO, "200 entries with 3 references: %d", ret);

	nr = map_pages(dev, buffer.id, maps, ARRAY_SIZE(maps));
	XT_CHECK(nr < ARRAY_SIZE(maps), "%u maps with 3 references", nr);
	for (i = 0; i < nr; i++)
		XT_CHECK(!backend_read(maps[i].dma, found, 1),
			 "the backend cannot read %u of %u", i, nr);
	if (nr) {
		do_unmap(maps[0].id, 0);
		ret = try_map(dev, buffer.id, 0, XEN_PAGE, XGD_BIDIRECTIONAL,
			      0, &maps[0]);
		XT_CHECK(!ret, "a reference that came back cannot be used: %s",
			 strerror(-ret));
	}
	unmap_pages(maps, nr);

	call_value(XGD_IOC_EXHAUST, ~0UL);
	exchange(dev, buffer.id, 0, 65536, XGD_BIDIRECTIONAL, 0);
}

/* However many there are in all: not the last ones, which others need. */
static void reserve_is_left(void)
{
	enum { PAGES = 512 };
	static struct xgd_map large[80], small[PAGES];
	uint32_t dev = get_fresh_attached(), nr, nr_small;
	int before = free_refs(), after, left;
	uint64_t max = get_info(dev).max_mapping;
	uint32_t size = max < PAGES * XEN_PAGE ? max : PAGES * XEN_PAGE;
	struct xgd_buffer buffer;

	for (nr = 0; nr < ARRAY_SIZE(large); nr++) {
		/*
		 * A small domain has no memory for a buffer each time, and
		 * CONFIG_DMA_API_DEBUG warns of one that is mapped too often.
		 */
		if (!(nr % 4))
			buffer = get_buffer(XGD_PAGES, size);
		if (try_map(dev, buffer.id, 0, size, XGD_BIDIRECTIONAL, 0,
			    &large[nr]))
			break;
	}
	XT_CHECK(nr && nr < ARRAY_SIZE(large), "%u buffers are mapped", nr);
	nr_small = map_pages(dev, buffer.id, small, PAGES);
	XT_CHECK(nr_small < PAGES, "%u pages are mapped", nr_small);
	left = free_refs();
	ksft_print_msg("of %d references %d are left, with %u buffers of %u bytes and %u pages\n",
		       before, left, nr, size, nr_small);
	XT_CHECK(left >= before / 16, "%d references are left of %d", left,
		 before);
	XT_CHECK(!backend_read(large[nr - 1].dma, found, XEN_PAGE),
		 "the backend cannot read the last mapping");

	unmap_pages(small, nr_small);
	unmap_pages(large, nr);
	after = free_refs();
	XT_CHECK(after >= before - MAX_CACHED, "%d references were free, now %d",
		 before, after);
	exchange(dev, buffer.id, 0, 65536, XGD_BIDIRECTIONAL, 0);
}

/* What one device keeps for later is there for another that has nothing. */
static void idle_references_are_shared(void)
{
	uint32_t idle = get_device("gdt-plain"), dev = get_fresh_attached();
	struct xgd_buffer buffer = get_buffer(XGD_PAGES, 512 * XEN_PAGE);
	struct xgd_buffer other = get_buffer(XGD_PAGES, 64 * XEN_PAGE);
	static struct xgd_map maps[512], kept[64];
	uint32_t i, j, nr, nr_kept;
	struct xgd_map map;
	int ret;

	rebind(idle);
	nr_kept = map_pages(idle, other.id, kept, MAX_CACHED);
	XT_CHECK(nr_kept == MAX_CACHED, "%u maps", nr_kept);
	unmap_pages(kept, nr_kept);

	ret = call_value(XGD_IOC_EXHAUST, 0);
	XT_CHECK(ret > 0, "take all references: %s", strerror(-ret));
	nr = map_pages(dev, buffer.id, maps, ARRAY_SIZE(maps));
	XT_CHECK(nr && nr < ARRAY_SIZE(maps), "%u pages are mapped", nr);
	for (i = 0; i < nr_kept; i++) {
		for (j = 0; j < nr; j++)
			if (ref_of(maps[j].dma) == ref_of(kept[i].dma))
				break;
		XT_CHECK(j < nr, "%u pages are mapped, with reference %u idle",
			 nr, ref_of(kept[i].dma));
	}
	for (i = 0; i < nr; i++)
		XT_CHECK(!backend_read(maps[i].dma, found, XEN_PAGE),
			 "the backend cannot read %u of %u", i, nr);
	ret = try_map(idle, other.id, 0, 1, XGD_BIDIRECTIONAL, 0, &map);
	XT_CHECK(ret == -EIO, "there is one more: %d", ret);

	/* It goes back and forth, and nobody else gets hold of it. */
	for (i = 0; i < 100; i++) {
		unmap_pages(maps, nr);
		nr_kept = map_pages(idle, other.id, kept, MAX_CACHED);
		XT_CHECK(nr_kept == MAX_CACHED, "%u maps in round %u", nr_kept,
			 i);
		unmap_pages(kept, nr_kept);
		nr = map_pages(dev, buffer.id, maps, MAX_CACHED);
		XT_CHECK(nr == MAX_CACHED, "%u maps in round %u", nr, i);
	}
	unmap_pages(maps, nr);
	call_value(XGD_IOC_EXHAUST, ~0UL);
}

static void unpopulated_page_is_refused(void)
{
	uint32_t dev = get_device("gdt-plain");
	struct xgd_buffer buffer = get_buffer(XGD_UNPOPULATED, XEN_PAGE);
	struct xgd_map map;
	int ret;

	/* What CONFIG_DMA_API_DEBUG has to say of it, and dma_map_page() once */
	xt_expect_splat("at dma_map_page_attrs");
	xt_expect_splat("maps memory from invalid area");
	ret = try_map(dev, buffer.id, 0, XEN_PAGE, XGD_BIDIRECTIONAL, 0, &map);
	XT_CHECK(ret == -EIO, "a page with no memory behind it is mapped: %d",
		 ret);
	xt_expect_splat("maps memory from invalid area");
	ret = try_map(dev, buffer.id, 0, 1, XGD_TO_DEVICE, XGD_IRQS_OFF, &map);
	XT_CHECK(ret == -EIO, "a byte with no memory behind it is mapped: %d",
		 ret);
	ret = try_map(dev, buffer.id, 0, XEN_PAGE, XGD_FROM_DEVICE, XGD_LIST,
		      &map);
	XT_CHECK(ret == -EIO, "it is mapped as a list: %d", ret);
}

/* What is no memory is another domain's, or nobody's, to grant. */
static void registers_are_not_granted(void)
{
	uint32_t dev = get_device("gdt-plain");
	struct xgd_buffer buffer = get_buffer(XGD_PAGES, XEN_PAGE);
	struct xgd_map map;
	int ret;

	ret = try_map(dev, buffer.id, 0, XEN_PAGE, XGD_BIDIRECTIONAL,
		      XGD_MMIO, &map);
	XT_CHECK(ret == -EIO, "registers are mapped: %d", ret);
	ret = try_map(dev, buffer.id, 0, 1, XGD_TO_DEVICE,
		      XGD_MMIO | XGD_IRQS_OFF, &map);
	XT_CHECK(ret == -EIO, "a byte of them is mapped: %d", ret);
}

/* No restricted access, no address: a raw one lets the backend guess. */
static void check_refused_or_granted(uint32_t dev)
{
	struct xgd_buffer buffer = get_buffer(XGD_PAGES, XEN_PAGE);
	struct xgd_map map;

	XT_CHECK(is_restricted(dev),
		 "the virtio core is told that any access is fine");
	if (try_map(dev, buffer.id, 0, XEN_PAGE, XGD_BIDIRECTIONAL, 0, &map))
		return;
	XT_CHECK(map.dma & GRANT_ADDR, "the driver is given the address %#llx",
		 (unsigned long long)map.dma);
	do_unmap(map.id, 0);
}

/*
 * What another domain granted cannot be granted on, at most a copy can.  (It
 * can if both are one domain, so look at what is granted.)
 */
static void foreign_page_is_not_granted(void)
{
	uint32_t dev = get_device("gdt-plain");
	struct xgd_buffer buffer = get_buffer(XGD_PAGES, XEN_PAGE);
	struct xgd_hold held = { .len = XEN_PAGE };
	struct xgd_map map, second;
	int ret;

	fill(expected, XEN_PAGE, 7);
	driver_write(buffer.id, 0, expected, XEN_PAGE);
	map = do_map(dev, buffer.id, 0, XEN_PAGE, XGD_BIDIRECTIONAL, 0);
	held.dma = map.dma;
	ret = call(XGD_IOC_HOLD, &held);
	XT_CHECK(!ret, "the backend maps: %s", strerror(-ret));
	/* What CONFIG_DMA_API_DEBUG has to say of it */
	xt_expect_splat("maps memory from invalid area");
	ret = try_map(dev, held.id, 0, XEN_PAGE, XGD_BIDIRECTIONAL,
		      XGD_FOREIGN, &second);
	XT_CHECK(!ret || ret == -EIO, "map: %s", strerror(-ret));
	if (!ret) {
		struct xgd_entry entry = get_entry(ref_of(second.dma));

		XT_CHECK(entry.frame != held.pfn * xt_page_size() / XEN_PAGE,
			 "the page itself is granted");
		ret = backend_read(second.dma, found, XEN_PAGE);
		XT_CHECK(!ret, "it is mapped, and the backend cannot read it");
		XT_CHECK(!memcmp(expected, found, XEN_PAGE), "it reads otherwise");
		do_unmap(second.id, 0);
	}
	release(held.id);
	do_unmap(map.id, 0);
}

/* One entry of a list is enough to fail it, and then nothing is granted. */
static void foreign_list_is_not_granted(void)
{
	uint32_t dev = get_device("gdt-plain");
	struct xgd_buffer buffer = get_buffer(XGD_PAGES, 3 * xt_page_size());
	struct xgd_hold held = { .len = 3 * XEN_PAGE };
	struct xgd_map map, second;
	int ret, before;

	map = do_map(dev, buffer.id, 0, 3 * XEN_PAGE, XGD_BIDIRECTIONAL, 0);
	held.dma = map.dma;
	ret = call(XGD_IOC_HOLD, &held);
	XT_CHECK(!ret, "the backend maps: %s", strerror(-ret));
	before = free_refs();
	ret = try_map(dev, held.id, 0, 3 * XEN_PAGE, XGD_BIDIRECTIONAL,
		      XGD_FOREIGN | XGD_LIST | XGD_IRQS_OFF, &second);
	XT_CHECK(ret == -EIO, "map: %d", ret);
	XT_CHECK(free_refs() == before, "%d references were free, now %d",
		 before, free_refs());
	release(held.id);
	do_unmap(map.id, 0);
}

/* Its next probe would find what was allocated for it, and refuse. */
static void parent_without_driver_is_refused(void)
{
	uint32_t dev = get_fresh();
	int ret;

	release_driver(dev);
	ret = attach(dev, XGD_VIRTIO_ID, XGD_UNBOUND, NULL);
	XT_CHECK(!ret || ret == -ENODEV, "attach: %s", strerror(-ret));
	if (!ret) {
		check_refused_or_granted(dev);
		ret = call_value(XGD_IOC_DETACH, dev);
		XT_CHECK(!ret, "detach: %s", strerror(-ret));
	}
	bind_again(dev);
	exchange(dev, get_buffer(XGD_PAGES, XEN_PAGE).id, 0, XEN_PAGE,
		 XGD_BIDIRECTIONAL, 0);
}

static void rebinding_leaves_nothing(void)
{
	uint32_t dev = get_fresh_attached(), i;
	struct xgd_buffer buffer = get_buffer(XGD_PAGES, 65536);
	int before, after;

	rebind(dev);
	before = free_refs();
	for (i = 0; i < 50; i++) {
		exchange(dev, buffer.id, 0, 65536, XGD_BIDIRECTIONAL, 0);
		rebind(dev);
	}
	after = free_refs();
	XT_CHECK(after == before, "%d references were free, now %d", before,
		 after);
}

static uint32_t pages_of(uint32_t nr_frames)
{
	return (nr_frames * XEN_PAGE + xt_page_size() - 1) / xt_page_size();
}

/* Maps and unmaps until it is told to stop; ends the process. */
static void cycle_until(const int *stop, uint32_t *rounds, uint32_t op,
			uint32_t index, uint32_t nr_pages, bool may_be_unbound)
{
	struct xgd_cycle cycle = {
		.index = index, .op = op, .nr_pages = nr_pages, .repeat = 10,
	};
	int ret = 0;

	while (!ret && !__atomic_load_n(stop, __ATOMIC_RELAXED)) {
		ret = call(XGD_IOC_CYCLE, &cycle);
		if (!ret && cycle.failed)
			ret = -EIO;
		if (!ret)
			++*rounds;
		if (ret == -ENOLINK && may_be_unbound)
			ret = 0;
	}
	_exit(-ret);
}

/* Returns how many KiB are gone after it; how often it was done is in *nr. */
static long rebind_under_load(uint32_t dev, uint32_t other, uint32_t *nr)
{
	static const uint32_t nr_frames[] = { 1, 13, 70, 40 };
	struct {
		int stop;
		uint32_t rounds[ARRAY_SIZE(nr_frames)];
	} *shared;
	pid_t pids[ARRAY_SIZE(nr_frames)];
	const time_t end = time(NULL) + 60;
	long before, after;
	uint32_t i;
	int status;

	xt_free_kib();
	before = xt_free_kib();
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	XT_CHECK(shared != MAP_FAILED, "mmap: %s", strerror(errno));
	fflush(stdout);
	for (i = 0; i < ARRAY_SIZE(pids); i++) {
		pids[i] = fork();
		if (pids[i])
			continue;
		/* They get what time there is, but do not make others wait. */
		setpriority(PRIO_PROCESS, 0, 19);
		cycle_until(&shared->stop, &shared->rounds[i],
			    XGD_OP_MAP + i % 3, i % 2 ? other : dev,
			    pages_of(nr_frames[i]), !(i % 2));
	}
	/* A kernel with checkers may be too slow for all. */
	for (i = 0; i < *nr && time(NULL) < end; i++)
		rebind(dev);
	*nr = i;
	/* All had their turn. */
	for (i = 0; i < ARRAY_SIZE(pids) && time(NULL) < end; ) {
		if (__atomic_load_n(&shared->rounds[i], __ATOMIC_RELAXED))
			i++;
		else
			usleep(10 * 1000);
	}
	__atomic_store_n(&shared->stop, 1, __ATOMIC_RELAXED);
	for (i = 0; i < ARRAY_SIZE(pids); i++)
		XT_CHECK(waitpid(pids[i], &status, 0) == pids[i] && !status,
			 "process %u: status %#x", i, status);
	for (i = 0; i < ARRAY_SIZE(pids); i++)
		XT_CHECK(shared->rounds[i], "process %u has mapped nothing", i);
	munmap(shared, sizeof(*shared));
	rebind(dev);
	after = xt_free_kib();

	return before - after;
}

/*
 * Drivers come and go while other CPUs map and unmap as fast as they can: for
 * the same device as long as it has a driver, and for another.
 */
static void rebinding_under_load(void)
{
	uint32_t dev = get_fresh_attached(), other = get_device("gdt-plain");
	/* Enough for a page each to stand out from what comes and goes. */
	const uint32_t enough = 250;
	uint32_t nr = 5;
	int before, after, i;
	long lost, allowed;

	/* What is allocated only once is there from the second time on. */
	rebind_under_load(dev, other, &nr);
	rebind(other);
	before = free_refs();
	/*
	 * Less than a page each time, by far.  What caches of the kernel keep
	 * can be as much once, but not again; what is leaked is leaked again.
	 */
	for (i = 0; i < 3; i++) {
		nr = enough;
		lost = rebind_under_load(dev, other, &nr);
		allowed = nr * (long)xt_page_size() / 1024 / 2;
		ksft_print_msg("after %u times %ld KiB less\n", nr, lost);
		if (nr < enough || lost < allowed)
			break;
	}
	rebind(other);
	after = free_refs();
	XT_CHECK(after == before, "%d references were free, now %d", before,
		 after);
	XT_CHECK(i < 3, "%ld KiB are lost", lost);
}

static void features_are_required(void)
{
	uint32_t dev = get_fresh();
	int ret = attach(dev, XGD_VIRTIO_ID, XGD_NO_PLATFORM, NULL);

	XT_CHECK(ret == -ENODEV, "a device that takes any address: %d", ret);
}

static void many_at_once(void)
{
	uint32_t dev = get_device("gdt-plain");
	int before = free_refs(), status, after;
	pid_t pids[4];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(pids); i++) {
		struct xgd_cycle cycle = {
			.index = dev, .op = XGD_OP_MAP + i % 3,
			.nr_pages = 1 + 13 * i, .repeat = 3000,
		};

		fflush(stdout);
		pids[i] = fork();
		if (!pids[i])
			_exit(call(XGD_IOC_CYCLE, &cycle) || cycle.failed);
	}
	for (i = 0; i < ARRAY_SIZE(pids); i++) {
		XT_CHECK(waitpid(pids[i], &status, 0) == pids[i] && !status,
			 "process %zu: status %#x", i, status);
	}
	after = free_refs();
	XT_CHECK(after >= before - MAX_CACHED, "%d references were free, now %d",
		 before, after);
}

static void real_driver_works(void)
{
	uint32_t dev = get_fresh(), i;
	char name[64] = "";
	uint8_t data[64];
	int rng, ret;

	ret = attach(dev, XGD_VIRTIO_ID_RNG, 0, NULL);
	if (ret == -ENODEV)
		xt_skip("no driver of virtio-rng");
	XT_CHECK(!ret, "attach: %s", strerror(-ret));
	for (i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "virtio_rng.%u", i);
		if (!xt_write_file("/sys/class/misc/hw_random/rng_current",
				   name))
			break;
	}
	rng = open("/dev/hwrng", O_RDONLY | O_CLOEXEC);
	XT_CHECK(rng >= 0, "hwrng: %s", strerror(errno));
	for (i = 0; i < sizeof(data); i += ret) {
		ret = read(rng, data + i, sizeof(data) - i);
		XT_CHECK(ret > 0, "read: %s", strerror(errno));
	}
	close(rng);
	for (i = 0; i < sizeof(data); i++)
		XT_CHECK(data[i] == 0xc3, "byte %u is %#x", i, data[i]);
	ret = call_value(XGD_IOC_DETACH, dev);
	XT_CHECK(!ret, "detach: %s", strerror(-ret));
}

static void arguments_are_checked(void)
{
	uint32_t dev = get_device("gdt-plain");
	struct xgd_buffer buffer = get_buffer(XGD_PAGES, XEN_PAGE), bad;
	struct xgd_map map;

	XT_CHECK(try_map(1000, buffer.id, 0, 1, 0, 0, &map) == -ENODEV,
		 "device");
	XT_CHECK(try_map(dev, 1000, 0, 1, 0, 0, &map) == -ENOENT, "buffer");
	XT_CHECK(try_map(dev, buffer.id, XEN_PAGE, 1, 0, 0, &map) == -EINVAL,
		 "offset");
	XT_CHECK(try_map(dev, buffer.id, 1, XEN_PAGE, 0, 0, &map) == -EINVAL,
		 "size");
	XT_CHECK(try_map(dev, buffer.id, 0, 1, 3, 0, &map) == -EINVAL,
		 "direction");
	bad = (struct xgd_buffer){ .memory = XGD_PAGES, .size = ~0U };
	XT_CHECK(call(XGD_IOC_BUFFER, &bad) == -EINVAL, "size");
	XT_CHECK(backend_read(0x40000000, found, 1) == -EDOM, "address");
	XT_CHECK(call(XGD_IOC_MAP, (void *)8) == -EFAULT, "pointer");
	XT_CHECK(call(_IO('g', 99), NULL) == -ENOTTY, "command");

	map = do_map(dev, buffer.id, 0, 1, 0, 0);
	XT_CHECK(call_value(XGD_IOC_BUFFER_FREE, buffer.id) == -EBUSY,
		 "a buffer that is mapped");
	XT_CHECK(call_value(XGD_IOC_UNBIND, dev) == -EBUSY,
		 "a device that is used");
}

/* Faults of the operations in C, each by its name */

static void check_refused(uint32_t dev)
{
	struct xgd_buffer buffer = get_buffer(XGD_PAGES, XEN_PAGE);
	struct xgd_alloc alloc = { .index = dev, .size = XEN_PAGE };
	struct xgd_map map;
	int ret;

	check_refused_or_granted(dev);
	ret = try_map(dev, buffer.id, 0, XEN_PAGE, XGD_BIDIRECTIONAL, 0, &map);
	XT_CHECK(ret == -EIO, "the driver is given the address %#llx, domain %u",
		 (unsigned long long)map.dma, get_entry(ref_of(map.dma)).domid);
	ret = try_map(dev, buffer.id, 0, XEN_PAGE, XGD_BIDIRECTIONAL, XGD_LIST,
		      &map);
	XT_CHECK(ret == -EIO, "the driver is given a list: %d", ret);
	ret = call(XGD_IOC_ALLOC, &alloc);
	XT_CHECK(ret == -ENOMEM, "the driver is given memory: %d", ret);
}

/*
 * What the first binding knew is freed memory for the second.  Fill what was
 * freed with what reads as "backend in domain 1, not broken".
 */
static void stale_data(void)
{
	static const uint32_t sizes[] = { 32, 64, 96, 128, 192, 256 };
	uint32_t dev = get_fresh_attached(), spray[1024 / 4], i, j;
	struct xgd_buffer buffer = get_buffer(XGD_PAGES, XEN_PAGE);

	check_mapping(dev, &buffer);

	release_driver(dev);
	for (i = 0; i < ARRAY_SIZE(spray); i++)
		spray[i] = 1;
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (j = 0; j < 128; j++) {
			struct xgd_buffer b = get_buffer(XGD_KMALLOC, sizes[i]);

			driver_write(b.id, 0, spray, sizes[i]);
		}
	}
	bind_again(dev);
	check_mapping(dev, &buffer);
}

/* A file that is open may have buffers mapped for longer than there is a driver. */
static void unmapped_without_driver(void)
{
	uint32_t dev = get_fresh_attached();
	struct xgd_buffer buffer = get_buffer(XGD_PAGES, 2 * XEN_PAGE);
	struct xgd_alloc alloc = { .index = dev, .size = XEN_PAGE };
	struct xgd_map map;
	int ret;

	map = do_map(dev, buffer.id, 0, 2 * XEN_PAGE, XGD_BIDIRECTIONAL, 0);
	ret = call(XGD_IOC_ALLOC, &alloc);
	XT_CHECK(!ret, "allocate: %s", strerror(-ret));
	xt_expect_splat("still mapped");
	ret = call_value(XGD_IOC_ABANDON, dev);
	XT_CHECK(!ret, "unbind: %s", strerror(-ret));
	check_address(&map, buffer.pfn, 0);

	do_unmap(map.id, 0);
	do_unmap(alloc.id, 0);
	XT_CHECK(!get_entry(ref_of(map.dma)).flags &&
		 !get_entry(ref_of(alloc.dma)).flags,
		 "the backend has still access");

	bind_again(dev);
	check_mapping(dev, &buffer);
}

static void stale_ops(void)
{
	uint32_t dev = get_fresh_attached();
	int ret;

	XT_CHECK(!get_info(dev).ops_kept, "it has no operations of its own");
	release_driver(dev);
	XT_CHECK(get_info(dev).ops_kept,
		 "the device has the operations that belong to what is freed");
	ret = call_value(XGD_IOC_BIND, dev);
	XT_CHECK(!ret, "bind: %s", strerror(-ret));
}

/* Errors in the kernel's log, from where it is now. */
static int open_log(void)
{
	int log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	XT_CHECK(log >= 0, "kmsg: %s", strerror(errno));
	lseek(log, 0, SEEK_END);

	return log;
}

static void check_log(int log)
{
	char record[2048];
	ssize_t len;

	while ((len = read(log, record, sizeof(record) - 1)) > 0) {
		record[len] = '\0';
		/* Only the message, without what follows for programs. */
		record[strcspn(record, "\n")] = '\0';
		XT_CHECK((atoi(record) & 7) > 3 || atoi(record) > 7,
			 "the kernel says: %s", strchr(record, ';'));
	}
	close(log);
}

static void repeat_setup(void)
{
	uint32_t dev = get_fresh_attached();
	struct xgd_buffer buffer = get_buffer(XGD_PAGES, XEN_PAGE);
	int log = open_log(), ret;
	struct xgd_map map;

	XT_CHECK(is_restricted(dev), "not restricted");
	ret = call_value(XGD_IOC_DETACH, dev);
	XT_CHECK(!ret, "detach: %s", strerror(-ret));
	ret = attach(dev, XGD_VIRTIO_ID, 0, NULL);
	XT_CHECK(!ret, "attach: %s", strerror(-ret));
	map = do_map(dev, buffer.id, 0, XEN_PAGE, XGD_BIDIRECTIONAL, 0);
	check_address(&map, buffer.pfn, 0);
	check_log(log);
}

static void fail_open(void)
{
	uint32_t dev = get_fresh(), failed;
	int ret = attach(dev, XGD_VIRTIO_ID, XGD_FAIL_ALLOC, &failed);

	if (ret == -EOPNOTSUPP)
		xt_skip("needs CONFIG_KPROBES");
	/* That is one way to fail closed. */
	if (ret == -ENODEV)
		return;
	XT_CHECK(!ret, "attach: %s", strerror(-ret));
	if (!failed)
		xt_skip("it allocates nothing that could fail");
	ksft_print_msg("%u allocations failed\n", failed);
	check_refused_or_granted(dev);

	/* With memory it is a device like any other. */
	rebind(dev);
	check_refused_or_granted(dev);
	exchange(dev, get_buffer(XGD_PAGES, 65536).id, 0, 65536,
		 XGD_BIDIRECTIONAL, 0);
}

static void unparsable_node(void)
{
	check_refused(get_device("gdt-short"));
	check_refused(get_device("gdt-cells"));
}

/* An entry that leads to a node with another number of cells. */
static void unparsable_map(void)
{
	check_refused(get_device("0000:00:06.0"));
	/* Two cells cannot be told of one in a range. */
	check_refused(get_device("0000:00:07.0"));
}

static void domid_range(void)
{
	check_refused(get_device("gdt-high"));
	check_refused(get_device("gdt-reserved"));
}

/* Where a range of requester IDs reaches beyond the numbers of domains. */
static void domid_range_map(void)
{
	check_refused(get_device("0000:00:05.0"));
}

static void unzeroed(void)
{
	static const uint32_t sizes[] = { 4096, 5000, 1, 16384, 65536 };
	uint32_t dev = get_device("gdt-plain"), pages, at, len;
	struct xgd_alloc alloc;
	size_t i;

	for (pages = 0; pages < 2; pages++) {
		for (i = 0; i < ARRAY_SIZE(sizes); i++) {
			alloc = do_alloc(dev, sizes[i], pages, true);
			/* The tail of the last page is shared as well. */
			len = (sizes[i] + XEN_PAGE - 1) / XEN_PAGE * XEN_PAGE;
			XT_CHECK(!backend_read(alloc.dma, found, len), "read");
			for (at = 0; at < len; at++)
				XT_CHECK(!found[at],
					 "%u bytes have %#x at %u", sizes[i],
					 found[at], at);
			do_unmap(alloc.id, 0);
		}
	}
}

static void stay_on_cpu(void)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(sched_getcpu(), &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
}

/* Nobody is given a page that the backend can still write to. */
static void reuse_after_held(void)
{
	uint32_t dev = get_fresh_attached(), held, i;
	struct xgd_buffer buffer, other;
	uint8_t byte = 0x77;
	struct xgd_map map;
	int ret;

	stay_on_cpu();
	buffer = get_buffer(XGD_PAGES, xt_page_size());
	map = do_map(dev, buffer.id, 0, XEN_PAGE, XGD_BIDIRECTIONAL, 0);
	held = hold(map.dma, XEN_PAGE);
	do_unmap(map.id, 0);
	XT_CHECK(!copy(XGD_IOC_HELD, held, 0, &byte, 1, true, false),
		 "the backend cannot write any more");
	ret = call_value(XGD_IOC_BUFFER_FREE, buffer.id);
	XT_CHECK(!ret, "free: %s", strerror(-ret));

	for (i = 0; i < 1024; i++) {
		other = get_buffer(XGD_PAGES, xt_page_size());
		XT_CHECK(other.pfn != buffer.pfn,
			 "the page is given out again, as number %u", i);
	}
	/* A device whose backend does that is not trusted with more. */
	ret = try_map(dev, other.id, 0, 1, XGD_BIDIRECTIONAL, 0, &map);
	XT_CHECK(ret == -EIO, "another page is mapped: %d", ret);
	release(held);
}

/* What is kept for the backend is kept no longer than that. */
static void held_pages_are_free_later(void)
{
	uint32_t dev = get_device("gdt-plain"), size = 2 << 20, held, i;
	uint64_t max = get_info(dev).max_mapping;
	struct xgd_buffer buffer;
	long before, after = 0;
	struct xgd_map map;
	int ret;

	if (size > max)
		size = max - max % xt_page_size();
	xt_free_kib();
	before = xt_free_kib();
	buffer = get_buffer(XGD_PAGES, size);
	map = do_map(dev, buffer.id, 0, size, XGD_BIDIRECTIONAL, 0);
	held = hold(map.dma, size);
	do_unmap(map.id, 0);
	ret = call_value(XGD_IOC_BUFFER_FREE, buffer.id);
	XT_CHECK(!ret, "free: %s", strerror(-ret));
	XT_CHECK(xt_free_kib() < before - size / 2048,
		 "none of it is kept for the backend");
	release(held);
	for (i = 0; i < WAIT_SECONDS * 2; i++) {
		after = xt_free_kib();
		if (after > before - size / 2048)
			break;
		usleep(500 * 1000);
	}
	XT_CHECK(after > before - size / 2048, "%ld KiB are lost",
		 before - after);
	rebind(dev);
}

/* All references of a mapping come back, the one that was held later. */
static void leaked_refs_after_held(void)
{
	uint32_t dev = get_fresh(), held;
	struct xgd_buffer buffer = get_buffer(XGD_PAGES, 64 * XEN_PAGE);
	int before = free_refs(), ret, i, after = 0;
	struct xgd_map map;

	ret = attach(dev, XGD_VIRTIO_ID, 0, NULL);
	XT_CHECK(!ret, "attach: %s", strerror(-ret));
	map = do_map(dev, buffer.id, 0, 64 * XEN_PAGE, XGD_BIDIRECTIONAL, 0);
	held = hold(map.dma + 60 * XEN_PAGE, 1);
	do_unmap(map.id, 0);
	release(held);
	release_driver(dev);
	for (i = 0; i < WAIT_SECONDS * 2; i++) {
		after = free_refs();
		if (after >= before)
			break;
		usleep(500 * 1000);
	}
	call_value(XGD_IOC_BIND, dev);
	XT_CHECK(after >= before, "%d references are lost", before - after);
}

static void no_retry(void)
{
	uint32_t dev = get_fresh_attached(), held;
	struct xgd_alloc alloc = do_alloc(dev, 4 * XEN_PAGE, false, false);
	uint32_t ref = ref_of(alloc.dma) + 2;
	time_t end;

	held = hold(alloc.dma + 2 * XEN_PAGE, 1);
	do_unmap(alloc.id, 0);
	XT_CHECK(get_entry(ref).flags & XGD_GTF_ACCESS,
		 "the reference was ended while it was in use");
	/* Until the backend has been asked more than once. */
	usleep(2500 * 1000);
	release(held);
	end = time(NULL) + WAIT_SECONDS;
	while (get_entry(ref).flags & XGD_GTF_ACCESS) {
		XT_CHECK(time(NULL) < end,
			 "%d s after the backend let go it may still map it",
			 WAIT_SECONDS);
		usleep(100 * 1000);
	}
}

/* The device goes while its backend still holds memory that it was shared. */
static void held_at_unbind(void)
{
	uint32_t dev = get_fresh_attached(), held, ref;
	struct xgd_alloc alloc = do_alloc(dev, 2 * XEN_PAGE, false, false);
	uint8_t byte = 0x77;
	time_t end;
	int ret;

	ref = ref_of(alloc.dma);
	held = hold(alloc.dma, 1);
	do_unmap(alloc.id, 0);
	release_driver(dev);
	XT_CHECK(get_entry(ref).flags & XGD_GTF_ACCESS,
		 "the reference was ended while it was in use");
	XT_CHECK(!copy(XGD_IOC_HELD, held, 0, &byte, 1, true, false),
		 "the backend cannot write any more");
	release(held);
	end = time(NULL) + WAIT_SECONDS;
	while (get_entry(ref).flags & XGD_GTF_ACCESS) {
		XT_CHECK(time(NULL) < end, "it is not ended within %d s",
			 WAIT_SECONDS);
		usleep(100 * 1000);
	}
	ret = call_value(XGD_IOC_BIND, dev);
	XT_CHECK(!ret, "bind: %s", strerror(-ret));
}

static void no_max_size(void)
{
	uint32_t dev = get_device("gdt-plain");
	uint64_t max = get_info(dev).max_mapping;
	struct xgd_buffer buffer;
	struct xgd_map map;
	uint32_t size, dir;
	int ret;

	XT_CHECK(max < UINT32_MAX, "a mapping may have %#llx bytes",
		 (unsigned long long)max);
	ksft_print_msg("a mapping may have %llu bytes\n",
		       (unsigned long long)max);
	XT_CHECK(max >= XEN_PAGE, "a page cannot be mapped");
	size = max + 3 * XEN_PAGE < XGD_MAX_SIZE ? max + 3 * XEN_PAGE :
						   XGD_MAX_SIZE;
	if (size < max + XEN_PAGE)
		return;
	/* Whatever it starts at. */
	buffer = get_buffer(XGD_PAGES, size);
	for (dir = 0; dir < XGD_NR_DIRS; dir++) {
		map = do_map(dev, buffer.id, XEN_PAGE - 1, max, dir,
			     XGD_IRQS_OFF);
		check_address(&map, buffer.pfn, 0);
		do_unmap(map.id, XGD_IRQS_OFF);
	}
	/* A page more may be possible where it starts, and no more than that. */
	if (size < max + 3 * XEN_PAGE)
		return;
	ret = try_map(dev, buffer.id, 0, size, XGD_BIDIRECTIONAL, 0, &map);
	XT_CHECK(ret == -EIO, "more is mapped: %d", ret);
}

static void zero_size(void)
{
	uint32_t dev = get_device("gdt-plain");
	struct xgd_buffer buffer = get_buffer(XGD_PAGES, XEN_PAGE);
	struct xgd_alloc alloc = { .index = dev };
	struct xgd_map map;
	int ret;

	ret = try_map(dev, buffer.id, 0, 0, XGD_BIDIRECTIONAL, 0, &map);
	XT_CHECK(ret == -EIO, "nothing is mapped: %d", ret);
	ret = try_map(dev, buffer.id, 5, 0, XGD_BIDIRECTIONAL, 0, &map);
	XT_CHECK(ret == -EIO, "nothing is mapped at 5: %d", ret);
	ret = call(XGD_IOC_ALLOC, &alloc);
	XT_CHECK(ret == -ENOMEM, "nothing is allocated: %d", ret);
	exchange(dev, buffer.id, 0, XEN_PAGE, XGD_BIDIRECTIONAL, 0);
}

/* Whoever allocates a page next is given one with something in it. */
static void leave_dirty_page(void)
{
	struct xgd_buffer page = get_buffer(XGD_PAGES, xt_page_size());
	static uint8_t dirt[XEN_PAGE];
	uint32_t at;
	int ret;

	memset(dirt, 0x77, sizeof(dirt));
	for (at = 0; at < page.size; at += sizeof(dirt))
		driver_write(page.id, at, dirt, sizeof(dirt));
	ret = call_value(XGD_IOC_BUFFER_FREE, page.id);
	XT_CHECK(!ret, "free: %s", strerror(-ret));
}

/* The neighbours on the pages of a buffer are none of the backend's business. */
static void check_isolated(uint32_t dev, uint32_t buffer, uint32_t offset,
			   uint32_t size, enum xgd_dir dir)
{
	uint32_t total = (offset % XEN_PAGE + size + XEN_PAGE - 1) / XEN_PAGE *
			 XEN_PAGE, first = offset % XEN_PAGE, i;
	struct xgd_map map;

	memset(expected, 0x11, sizeof(expected));
	driver_write(buffer, 0, expected, sizeof(expected));
	memset(expected, 0x22, size);
	driver_write(buffer, offset, expected, size);

	leave_dirty_page();
	map = do_map(dev, buffer, offset, size, dir, 0);
	XT_CHECK(!backend_read(map.dma - first, found, total), "read");
	for (i = 0; i < total; i++) {
		bool inside = i >= first && i < first + size;

		XT_CHECK(!inside || found[i] == 0x22, "byte %u reads %#x", i,
			 found[i]);
		XT_CHECK(inside || !found[i],
			 "the backend reads %#x at %u, with %u bytes at %u",
			 found[i], i, size, offset);
	}
	if (dir != XGD_TO_DEVICE) {
		memset(found, 0x33, total);
		/* Not the last byte of its own: what was there is kept. */
		found[first + size - 1] = 0x22;
		XT_CHECK(!backend_write(map.dma - first, found, total),
			 "write");
	}
	do_unmap(map.id, 0);

	driver_read(buffer, 0, found, sizeof(found));
	for (i = 0; i < sizeof(found); i++) {
		uint8_t want = 0x11;

		if (i >= offset && i < offset + size)
			want = dir == XGD_TO_DEVICE || i == offset + size - 1 ?
			       0x22 : 0x33;
		XT_CHECK(found[i] == want,
			 "byte %u is %#x, not %#x, with %u bytes at %u", i,
			 found[i], want, size, offset);
	}
}

/* What a driver sees of a mapping that stays, when it asks for it. */
static void check_sync(uint32_t dev, uint32_t buffer)
{
	struct xgd_sync sync = { .offset = 50, .size = 100 };
	struct xgd_map map;
	uint32_t i;

	memset(expected, 0x44, 300);
	driver_write(buffer, 100, expected, 300);
	map = do_map(dev, buffer, 100, 300, XGD_BIDIRECTIONAL, 0);
	sync.id = map.id;
	memset(expected, 0x55, 300);
	XT_CHECK(!backend_write(map.dma, expected, 300), "write");
	XT_CHECK(!call(XGD_IOC_SYNC, &sync), "sync for the CPU");
	driver_read(buffer, 100, found, 300);
	for (i = 50; i < 150; i++)
		XT_CHECK(found[i] == 0x55, "byte %u is not for the CPU", i);

	memset(expected, 0x66, 300);
	driver_write(buffer, 100, expected, 300);
	sync.device = 1;
	XT_CHECK(!call(XGD_IOC_SYNC, &sync), "sync for the device");
	XT_CHECK(!backend_read(map.dma, found, 300), "read");
	for (i = 50; i < 150; i++)
		XT_CHECK(found[i] == 0x66, "byte %u is not for the device", i);
	do_unmap(map.id, 0);

	/* A device may be given again what it is just writing. */
	map = do_map(dev, buffer, 100, 300, XGD_FROM_DEVICE, 0);
	sync.id = map.id;
	memset(expected, 0x77, 300);
	XT_CHECK(!backend_write(map.dma, expected, 300), "write");
	XT_CHECK(!call(XGD_IOC_SYNC, &sync), "sync for the device");
	do_unmap(map.id, 0);
	driver_read(buffer, 100, found, 300);
	for (i = 0; i < 300; i++)
		XT_CHECK(found[i] == 0x77, "byte %u of the device is lost", i);
}

/* A number of a device in debugfs; negative: there is none. */
static long stat_of(uint32_t dev, const char *name)
{
	char path[128], buf[32];

	snprintf(path, sizeof(path), "/sys/kernel/debug/xen-grant-dma/%s/%s",
		 get_info(dev).name, name);
	if (xt_read_file(path, buf, sizeof(buf)) < 0)
		return -1;

	return strtol(buf, NULL, 0);
}

static void check_stat(uint32_t dev, const char *name, long value)
{
	XT_CHECK(stat_of(dev, name) == value, "%s is %ld, not %ld", name,
		 stat_of(dev, name), value);
}

/* The next driver may have been bound before that, and map buffers as well. */
static void unmapped_by_the_next_driver(void)
{
	static const char * const names[] = { "gdt-plain", "gdt-isolate" };
	struct xgd_buffer left, buffer;
	struct xgd_map first, second;
	uint32_t dev;
	size_t i;

	xt_write_file(XT_ISOLATE, "gdt-isolate");
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		dev = get_device(names[i]);
		rebind(dev);
		left = get_buffer(XGD_PAGES, XEN_PAGE);
		buffer = get_buffer(XGD_PAGES, XEN_PAGE);
		first = do_map(dev, left.id, 8, 16, XGD_FROM_DEVICE, 0);
		xt_expect_splat("still mapped");
		XT_CHECK(!call_value(XGD_IOC_ABANDON, dev), "unbind %s",
			 names[i]);
		bind_again(dev);
		second = do_map(dev, buffer.id, 8, 16, XGD_FROM_DEVICE, 0);

		fill(expected, 16, 9);
		XT_CHECK(!backend_write(first.dma, expected, 16), "write");
		do_unmap(first.id, 0);
		driver_read(left.id, 8, found, 16);
		XT_CHECK(!memcmp(expected, found, 16), "%s: not what was written",
			 names[i]);
		check_ended(first.dma, 16);

		/* The next driver leaves something as well. */
		xt_expect_splat("still mapped");
		XT_CHECK(!call_value(XGD_IOC_ABANDON, dev), "unbind %s",
			 names[i]);
		XT_CHECK(get_entry(ref_of(second.dma)).flags & XGD_GTF_ACCESS,
			 "the reference was ended while it was in use");
		do_unmap(second.id, 0);
		check_ended(second.dma, 16);
		bind_again(dev);
		exchange(dev, buffer.id, 0, XEN_PAGE, XGD_BIDIRECTIONAL, 0);
		check_stat(dev, "maps", 0);
	}
}

/* Then the next one cannot have the same, and has none before that is unmapped. */
static void unmapped_before_it_is_isolated(void)
{
	uint32_t dev = get_device("gdt-plain");
	struct xgd_buffer buffer = get_buffer(XGD_PAGES, sizeof(expected));
	struct xgd_map map;

	map = do_map(dev, buffer.id, 0, XEN_PAGE, XGD_BIDIRECTIONAL, 0);
	xt_expect_splat("still mapped");
	XT_CHECK(!call_value(XGD_IOC_ABANDON, dev), "unbind");
	xt_write_file(XT_ISOLATE, get_info(dev).name);
	bind_again(dev);
	check_refused(dev);
	do_unmap(map.id, 0);
	check_ended(map.dma, XEN_PAGE);

	rebind(dev);
	check_isolated(dev, buffer.id, 100, 200, XGD_BIDIRECTIONAL);
	xt_write_file(XT_ISOLATE, "gdt-isolate");
	rebind(dev);
}

static void statistics_tell_what_is_so(void)
{
	uint32_t dev = get_fresh_attached(), other = get_device("gdt-other");
	struct xgd_buffer buffer = get_buffer(XGD_PAGES, 100 * XEN_PAGE);
	struct xgd_map map;
	uint32_t held, i;

	check_stat(dev, "backend", 0);
	check_stat(other, "backend", 1);
	check_stat(dev, "maps", 0);
	map = do_map(dev, buffer.id, 0, 100 * XEN_PAGE, XGD_BIDIRECTIONAL, 0);
	check_stat(dev, "maps", 1);
	XT_CHECK(stat_of(dev, "references") >= 100, "%ld references",
		 stat_of(dev, "references"));
	check_stat(dev, "bounced", 0);
	check_stat(dev, "quarantined", 0);
	check_stat(dev, "exposed", 0);
	check_stat(dev, "broken", 0);

	held = hold(map.dma + 50 * XEN_PAGE, 1);
	do_unmap(map.id, 0);
	check_stat(dev, "maps", 0);
	XT_CHECK(stat_of(dev, "references") <= MAX_CACHED + 100,
		 "%ld references", stat_of(dev, "references"));
	XT_CHECK(stat_of(dev, "quarantined") >= 1, "nothing is in quarantine");
	XT_CHECK(stat_of(dev, "exposed") >= 1, "nothing is exposed");
	check_stat(dev, "broken", 1);
	release(held);
	for (i = 0; i < WAIT_SECONDS * 10 && stat_of(dev, "quarantined"); i++)
		usleep(100 * 1000);
	check_stat(dev, "quarantined", 0);

	/* Until it is bound anew. */
	check_stat(dev, "broken", 1);
	rebind(dev);
	check_stat(dev, "broken", 0);
}

static void sub_page(void)
{
	static const struct {
		uint32_t offset, size;
	} parts[] = {
		{ 100, 200 }, { 0, 1 }, { 4095, 1 }, { 4095, 2 }, { 0, 4096 },
		{ 4000, 8492 }, { 0, 4097 }, { 1, 4095 }, { 4096, 12288 },
		{ 6000, 20001 },
	};
	struct xgd_buffer buffer;
	uint32_t dev, dir;
	size_t i;

	stay_on_cpu();
	xt_write_file(XT_ISOLATE, "gdt-isolate");
	dev = get_device("gdt-isolate");
	buffer = get_buffer(XGD_PAGES, sizeof(expected));
	for (dir = 0; dir < XGD_NR_DIRS; dir++)
		for (i = 0; i < ARRAY_SIZE(parts); i++)
			check_isolated(dev, buffer.id, parts[i].offset,
				       parts[i].size, dir);
	XT_CHECK(stat_of(dev, "bounced") > 0, "no bounce is counted");
	check_sync(dev, buffer.id);
}

/* A name that another begins with is not that other one. */
static void isolated_by_name(void)
{
	uint32_t dev = get_device("gdt-plain");
	struct xgd_buffer buffer = get_buffer(XGD_PAGES, XEN_PAGE);
	struct xgd_map map;
	char names[128];

	snprintf(names, sizeof(names), "%s0,x%s", get_info(dev).name,
		 get_info(dev).name);
	XT_CHECK(!xt_write_file(XT_ISOLATE, names), "set the parameter");
	rebind(dev);
	map = do_map(dev, buffer.id, 100, 200, XGD_BIDIRECTIONAL, 0);
	check_stat(dev, "bounced", 0);
	do_unmap(map.id, 0);

	snprintf(names, sizeof(names), "x,%s,%s0", get_info(dev).name,
		 get_info(dev).name);
	XT_CHECK(!xt_write_file(XT_ISOLATE, names), "set the parameter");
	rebind(dev);
	map = do_map(dev, buffer.id, 100, 200, XGD_BIDIRECTIONAL, 0);
	check_stat(dev, "bounced", 1);
	do_unmap(map.id, 0);
	xt_write_file(XT_ISOLATE, "gdt-isolate");
	rebind(dev);
}

static void copies_are_freed(void)
{
	const long each = xt_page_size() / 1024;
	struct xgd_cycle cycle = {
		.op = XGD_OP_MAP, .nr_pages = 1, .bytes = 100, .repeat = 2000,
	};
	long before;
	int ret;

	xt_write_file(XT_ISOLATE, "gdt-isolate");
	cycle.index = get_device("gdt-isolate");
	xt_free_kib();
	before = xt_free_kib();
	ret = call(XGD_IOC_CYCLE, &cycle);
	XT_CHECK(!ret && !cycle.failed, "map: %s, %u times refused",
		 strerror(-ret), cycle.failed);
	XT_CHECK(stat_of(cycle.index, "bounced") >= cycle.repeat,
		 "%ld are copied", stat_of(cycle.index, "bounced"));
	XT_CHECK(before - xt_free_kib() < cycle.repeat * each / 2,
		 "%ld KiB are lost", before - xt_free_kib());
}

static void sg_one_lock(void)
{
	const int most = 4;
	uint32_t dev = get_device("gdt-plain");
	struct xgd_buffer buffer;
	struct xgd_unmap unmap;
	struct xgd_map map;
	int ret;

	if (!access("/sys/kernel/debug/dma-api", F_OK))
		xt_skip("CONFIG_DMA_API_DEBUG takes a lock for each entry");
	buffer = get_buffer(XGD_SCATTERED, 64 * xt_page_size());
	ret = try_map(dev, buffer.id, 0, 64 * xt_page_size(),
		      XGD_BIDIRECTIONAL, XGD_LIST | XGD_COUNT_LOCKS, &map);
	if (ret == -EOPNOTSUPP)
		xt_skip("needs CONFIG_KPROBES");
	XT_CHECK(!ret, "map: %s", strerror(-ret));
	unmap = do_unmap(map.id, XGD_COUNT_LOCKS);
	ksft_print_msg("64 entries: %d locks to map, %d to unmap\n", map.locks,
		       unmap.locks);
	XT_CHECK(map.locks >= 0 && unmap.locks >= 0, "they cannot be counted");
	XT_CHECK(map.locks <= most && unmap.locks <= most,
		 "64 entries take %d locks and %d to unmap", map.locks,
		 unmap.locks);
}

#define FAILS XT_C_FAILS

static const struct xt_test tests[] = {
	{ "an address is a grant reference and an offset, until it is unmapped",
	  addresses_are_references },
	{ "buffers begin and end anywhere, with interrupts on and off",
	  every_edge },
	{ "data goes through mappings in all directions, read-only to the device",
	  data_goes_both_ways },
	{ "mapping and unmapping works with interrupts off",
	  interrupts_may_be_off },
	{ "memory from kmalloc() can be mapped",
	  kmalloc_memory_can_be_mapped },
	{ "two devices grant to the domains of their own backends",
	  backends_differ },
	{ "PCI devices grant to the domains that the host bridge names",
	  pci_devices_have_backends },
	{ "a PCI device that the host bridge does not name is left alone",
	  pci_device_without_entry },
	{ "a device of another IOMMU is left alone", device_of_another_iommu },
	{ "scatter lists carry data", lists_carry_data },
	{ "long scatter lists carry data", long_lists_carry_data },
	{ "coherent memory and pages are shared with the backend",
	  memory_is_shared },
	{ "references come back", references_come_back },
	{ "mapping fails when references run out, and works when they are back",
	  exhaustion_is_survived },
	{ "one device does not get the last references, and gives all back",
	  reserve_is_left, NULL, FAILS, "there is no reserve" },
	{ "a device gets references that another keeps, when there are no others",
	  idle_references_are_shared, NULL, FAILS, "devices keep none" },
	{ "devices are used from many CPUs at once", many_at_once },
	{ "a device without VIRTIO_F_ACCESS_PLATFORM is refused",
	  features_are_required },
	{ "virtio-rng reads through a virtqueue", real_driver_works },
	{ "bad arguments are refused by the module", arguments_are_checked },
	{ "a page without memory behind it is refused",
	  unpopulated_page_is_refused, NULL, FAILS,
	  "it leaves that to the backend to find out" },
	{ "registers of a device are not granted",
	  registers_are_not_granted },
	{ "a page in which a grant is mapped is not granted as it is",
	  foreign_page_is_not_granted, NULL, FAILS,
	  "it leaves that to the backend to find out" },
	{ "a list of pages in which grants are mapped is not granted",
	  foreign_list_is_not_granted, NULL, FAILS,
	  "it leaves that to the backend to find out" },
	{ "a parent without a driver is refused",
	  parent_without_driver_is_refused, NULL, FAILS,
	  "no driver can be bound to it any more" },
	{ "binding again and again leaves nothing behind",
	  rebinding_leaves_nothing },
	{ "binding while other CPUs map and unmap leaves nothing behind",
	  rebinding_under_load },
	{ "what a driver leaves mapped can be unmapped when it is gone",
	  unmapped_without_driver, NULL, XT_C_UNSAFE,
	  "it is taken for a plain address then" },
	{ "what a driver leaves mapped can be unmapped when there is another",
	  unmapped_by_the_next_driver, NULL, XT_C_UNSAFE,
	  "it is looked for among what the other one has mapped" },
	{ "what a driver leaves mapped is not left to one that is isolated",
	  unmapped_before_it_is_isolated, NULL, XT_C_UNSAFE,
	  "it isolates no device" },
	{ "what is held when the device goes is ended later",
	  held_at_unbind, NULL, FAILS, "it is never tried again" },
	{ "pages that were held are free when they are let go of",
	  held_pages_are_free_later, NULL, XT_C_UNSAFE,
	  "they are free while the backend holds them" },
	{ "what debugfs tells of a device is so",
	  statistics_tell_what_is_so, NULL, FAILS, "it tells nothing" },
	{ "a device is isolated by its whole name",
	  isolated_by_name, NULL, FAILS, "none is" },
	{ "copies of parts of buffers are freed",
	  copies_are_freed, NULL, FAILS, "none are made" },
	{ "stale_data", stale_data },
	{ "stale_ops", stale_ops },
	{ "repeat_setup", repeat_setup },
	{ "fail_open", fail_open },
	{ "unparsable_node", unparsable_node },
	{ "unparsable_map", unparsable_map },
	{ "domid_range", domid_range },
	{ "domid_range_map", domid_range_map },
	{ "unzeroed", unzeroed },
	{ "reuse_after_held", reuse_after_held, NULL, FAILS,
	  "a page that the backend still holds is given out again" },
	{ "leaked_refs_after_held", leaked_refs_after_held, NULL, FAILS,
	  "one reference that is held loses all of its mapping" },
	{ "no_retry", no_retry, NULL, FAILS,
	  "what the backend held once it may map for ever" },
	{ "no_max_size", no_max_size, NULL, FAILS,
	  "any size may be tried" },
	{ "zero_size", zero_size },
	{ "sub_page", sub_page, NULL, FAILS,
	  "whole pages are granted" },
	{ "sg_one_lock", sg_one_lock, NULL, FAILS,
	  "each entry takes its locks anew" },
};

int main(void)
{
	static const struct xt_part part = {
		.name = "grant DMA operations", .is_rust = xt_is_rust_ops,
		.prepare = prepare,
		/* Where unpopulated pages lie makes no difference to these. */
		.layouts = "default",
	};

	return xt_main_part(&part, tests, ARRAY_SIZE(tests));
}
