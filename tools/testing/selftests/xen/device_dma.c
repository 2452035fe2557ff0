// SPDX-License-Identifier: GPL-2.0
/*
 * Real DMA to memory of another domain: a disk of dom0, which is an NVMe drive
 * on its PCI bus, reads and writes pages of the domU that dom0 has mapped by
 * grants.  What goes by way of a bounce buffer is what swiotlb says.
 *
 * Needs a disk that may be written to: of all, one with the serial number
 * "xentest".
 */

#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <time.h>

#include "sharing.h"

#define DISK		"nvme0n1"
#define BLOCK		"/sys/block/" DISK
#define SERIAL		"xentest"
#define TRACING		"/sys/kernel/tracing"
#define BOUNCED		TRACING "/events/swiotlb/swiotlb_bounced/enable"
#define FEATURES	"/sys/hypervisor/properties/features"
#define WAIT_SECONDS	20
#define FEW		64	/* a run of so many does not come about by chance */

/* What is on the disk, and what is not. */
#define ON_DISK		41
#define ELSE		42

struct traffic {
	uint64_t moved;
	uint64_t bounced;
};

/* Name of the device that has the disk, as in the trace. */
static const char *bus_name(void)
{
	static char path[PATH_MAX];

	XT_CHECK(realpath(BLOCK "/device/device", path), "%s: %s", BLOCK,
		 strerror(errno));

	return basename(path);
}

static void set(const char *path, const char *text)
{
	int ret = xt_write_file(path, text);

	XT_CHECK(!ret, "%s: %s", path, strerror(-ret));
}

/* Whether dom0 is mapped one to one, so that DMA goes by swiotlb-xen. */
static bool is_direct_mapped(void)
{
	const unsigned long direct_mapped = 1UL << 17;	/* XENFEAT_direct_mapped */
	char text[64];
	int ret = xt_read_file(FEATURES, text, sizeof(text));

	XT_CHECK(ret > 0, "%s: %s", FEATURES, strerror(-ret));

	return strtoul(text, NULL, 16) & direct_mapped;
}

/* Whether the kernel was told to bounce everything. */
static bool is_forced(void)
{
	const char *how = xt_boot_param("swiotlb");

	return how && !strncmp(how, "force", strlen("force"));
}

/* All that the disk has read and written since boot. */
static uint64_t moved(void)
{
	unsigned long long sectors[2];
	char text[256];
	int ret = xt_read_file(BLOCK "/stat", text, sizeof(text));

	XT_CHECK(ret > 0, "%s: %s", BLOCK, strerror(-ret));
	XT_CHECK(sscanf(text, "%*u %*u %llu %*u %*u %*u %llu", &sectors[0],
			&sectors[1]) == 2, "%s: %s", BLOCK, text);

	return (sectors[0] + sectors[1]) * 512;
}

/* What was bounced for the disk, as the trace has it. */
static uint64_t bounced(void)
{
	unsigned long long size, kept, written;
	FILE *trace = fopen(TRACING "/trace", "r");
	const char *name = bus_name();
	char line[512], *at;
	uint64_t sum = 0;

	XT_CHECK(trace, "%s: %s", TRACING, strerror(errno));
	while (fgets(line, sizeof(line), trace)) {
		if (sscanf(line, "# entries-in-buffer/entries-written: %llu/%llu",
			   &kept, &written) == 2)
			XT_CHECK(kept == written, "%llu entries of %llu",
				 kept, written);
		at = strstr(line, "swiotlb_bounced: dev_name: ");
		if (!at || !strstr(at, name))
			continue;
		at = strstr(at, " size=");
		XT_CHECK(at && sscanf(at, " size=%llu", &size) == 1,
			 "in the trace: %s", line);
		sum += size;
	}
	fclose(trace);

	return sum;
}

static struct traffic traffic_begin(void)
{
	int fd = open(TRACING "/trace", O_WRONLY | O_TRUNC | O_CLOEXEC);

	XT_CHECK(fd >= 0, "%s: %s", TRACING, strerror(errno));
	close(fd);
	set(BOUNCED, "1");
	set(TRACING "/tracing_on", "1");

	return (struct traffic){ .moved = moved() };
}

static void traffic_end(struct traffic *traffic)
{
	set(BOUNCED, "0");
	traffic->moved = moved() - traffic->moved;
	traffic->bounced = bounced();
}

/* Reads or writes all of the memory of an id in dom0, in one go. */
static void transfer(uint32_t id, bool write, bool by_page)
{
	static struct xd_call call;

	call.id = id;
	call.writable = write;
	call.by_page = by_page;
	snprintf(call.text, sizeof(call.text), "/dev/" DISK);
	do_call(XD_DOM0, &call, XD_DISK, write ? "write" : "read");
}

/* For whoever reads the console */
static void measure(const char *name, const struct traffic *traffic)
{
	printf("MEASURE device_dma.%s.moved %llu\n", name,
	       (unsigned long long)traffic->moved);
	printf("MEASURE device_dma.%s.bounced %llu\n", name,
	       (unsigned long long)traffic->bounced);
}

/* Puts a picture on the disk, from dom0's own memory. */
static struct traffic fill_disk(uint32_t seed)
{
	static struct refs own;
	struct traffic traffic;

	grant(XD_DOM0, FRAME, true, &own);
	draw(XD_DOM0, own.id, seed);
	traffic = traffic_begin();
	transfer(own.id, true, false);
	traffic_end(&traffic);
	release(XD_DOM0, own.id);

	return traffic;
}

/* How many bytes on the disk are not those of a picture. */
static uint64_t disk_differs(uint32_t seed)
{
	static struct refs own;
	uint64_t wrong;

	grant(XD_DOM0, FRAME, true, &own);
	draw(XD_DOM0, own.id, ELSE);
	transfer(own.id, false, false);
	wrong = differ(XD_DOM0, own.id, seed);
	release(XD_DOM0, own.id);

	return wrong;
}

/**
 * struct way - how a disk gets at pages of the domU
 * @name: of the figures
 * @op: XD_MAP: mapped by gntdev for user space, XD_BUFFER: a dma-buf
 * @in_a_row: whether the pages are in a row in the machine
 * @write: whether the disk writes to itself what is in the pages
 * @by_page: whether the block layer is given each page of a dma-buf for itself
 */
struct way {
	const char *name;
	enum xd_op op;
	bool in_a_row;
	bool write;
	bool by_page;
};

/*
 * One transfer of as many pages as there are in a row in the domU's memory, or
 * of a frame.  The domU looks at its own memory in the end, or the disk is read
 * by way of dom0's own.
 */
static struct traffic go(const struct way *way)
{
	static struct xd_call call;
	static struct refs refs;
	struct traffic traffic;
	struct xd_stats before;
	uint64_t wrong;
	uint32_t run;
	int ret;

	begin();
	fill_disk(way->write ? ELSE : ON_DISK);
	grant(XD_DOMU, FRAME, true, &refs);
	run = order_refs(&refs, way->in_a_row);
	if (way->in_a_row) {
		if (run <= FEW)
			xt_skip("the domU has no more than %u frames in a row",
				run);
		refs.nr = run;
	}
	draw_in_order(XD_DOMU, refs.id, &refs, way->write ? ON_DISK : ELSE);

	before = get_stats(XD_DOM0);
	ret = try_refs(XD_DOM0, way->op, &refs, true, &call);
	XT_CHECK(!ret, "map: %s", strerror(-ret));
	traffic = traffic_begin();
	transfer(call.id, way->write, way->by_page);
	traffic_end(&traffic);
	measure(way->name, &traffic);
	/* A device that writes elsewhere is not found by the mapping alone. */
	check_frame(XD_DOM0, call.id, ON_DISK);
	wrong = differ_in_order(XD_DOMU, refs.id, &refs, ON_DISK);
	XT_CHECK(!wrong, "the domU has %llu bytes otherwise",
		 (unsigned long long)wrong);
	release(XD_DOM0, call.id);
	check_stats(XD_DOM0, &before);
	if (way->write) {
		/* What the run does not reach is what was there. */
		wrong = disk_differs(ON_DISK);
		XT_CHECK(wrong == FRAME_BYTES - refs.nr * xt_page_size(),
			 "the disk has %llu bytes otherwise",
			 (unsigned long long)wrong);
	}
	release(XD_DOMU, refs.id);
	XT_CHECK(traffic.moved == refs.nr * xt_page_size(),
		 "the disk moved %llu bytes",
		 (unsigned long long)traffic.moved);

	return traffic;
}

/*
 * Where DMA addresses are those of the machine, what is one piece for the block
 * layer has to be one there.  Elsewhere nothing has to be bounced.
 */
static bool bounces(const struct way *way)
{
	return is_direct_mapped() && way->op == XD_BUFFER && !way->in_a_row &&
	       !way->by_page;
}

static void check_straight(const struct traffic *traffic)
{
	XT_CHECK(!traffic->bounced, "%llu bytes of %llu are bounced",
		 (unsigned long long)traffic->bounced,
		 (unsigned long long)traffic->moved);
}

/* All of it at least: what is mapped for a second try is bounced twice. */
static void check_bounced(const struct traffic *traffic)
{
	XT_CHECK(traffic->bounced >= traffic->moved,
		 "no more than %llu bytes of %llu are bounced",
		 (unsigned long long)traffic->bounced,
		 (unsigned long long)traffic->moved);
}

static void check(const struct way *way)
{
	struct traffic traffic = go(way);

	if (bounces(way))
		check_bounced(&traffic);
	else
		check_straight(&traffic);
}

static void own_memory(void)
{
	struct traffic traffic;

	begin();
	traffic = fill_disk(ON_DISK);
	measure("own_memory", &traffic);
	XT_CHECK(traffic.moved == FRAME_BYTES, "the disk moved %llu bytes",
		 (unsigned long long)traffic.moved);
	check_straight(&traffic);
	XT_CHECK(!disk_differs(ON_DISK), "it is not on the disk");
}

static void pages_in_a_row(void)
{
	check(&(struct way){
		.name = "pages_in_a_row", .op = XD_MAP, .in_a_row = true,
	});
}

static void pages_apart(void)
{
	check(&(struct way){ .name = "pages_apart", .op = XD_MAP });
}

static void pages_apart_written(void)
{
	check(&(struct way){
		.name = "pages_apart_written", .op = XD_MAP, .write = true,
	});
}

static void buffer_in_a_row(void)
{
	check(&(struct way){
		.name = "buffer_in_a_row", .op = XD_BUFFER, .in_a_row = true,
	});
}

static void buffer_apart(void)
{
	check(&(struct way){ .name = "buffer_apart", .op = XD_BUFFER });
}

static void buffer_apart_written(void)
{
	check(&(struct way){
		.name = "buffer_apart_written", .op = XD_BUFFER, .write = true,
	});
}

static void buffer_apart_by_page(void)
{
	check(&(struct way){
		.name = "buffer_apart_by_page", .op = XD_BUFFER,
		.by_page = true,
	});
}

static void copy_is_found(void)
{
	struct traffic traffic = go(&(struct way){
		.name = "pages_apart", .op = XD_MAP,
	});

	check_bounced(&traffic);
}

/* It is found while the kernel boots, or soon after. */
static void prepare(void)
{
	time_t end = time(NULL) + WAIT_SECONDS;
	char serial[32] = "";

	while (access("/dev/" DISK, F_OK)) {
		if (time(NULL) > end)
			ksft_exit_skip("there is no disk " DISK "\n");
		usleep(100 * 1000);
	}
	xt_read_file(BLOCK "/device/serial", serial, sizeof(serial));
	if (strncmp(serial, SERIAL, strlen(SERIAL)))
		ksft_exit_skip("the disk " DISK " is somebody's\n");
}

static const struct xt_test mapped_one_to_one[] = {
	{ "a disk writes dom0's own memory to itself without a copy",
	  own_memory },
	{ "into pages of the domU, in a row in the machine, a disk reads without a copy",
	  pages_in_a_row },
	{ "into pages of the domU, apart in the machine, a disk reads without a copy",
	  pages_apart },
	{ "out of pages of the domU, apart in the machine, a disk writes without a copy",
	  pages_apart_written },
	{ "into a buffer of the domU, in a row in the machine, a disk reads without a copy",
	  buffer_in_a_row },
	{ "into a buffer of the domU, apart in the machine, a disk reads by way of a copy",
	  buffer_apart },
	{ "out of a buffer of the domU, apart in the machine, a disk writes by way of a copy",
	  buffer_apart_written },
	{ "into a buffer that it is given page by page a disk reads without a copy",
	  buffer_apart_by_page },
};

/* Where dom0 is not mapped one to one, that is: nothing works otherwise. */
static const struct xt_test behind_iommu[] = {
	{ "behind an IOMMU a disk reads into pages of the domU without a copy",
	  pages_apart },
	{ "behind an IOMMU a disk writes out of pages of the domU without a copy",
	  pages_apart_written },
	{ "behind an IOMMU a disk reads into a buffer of the domU, in one piece, without a copy",
	  buffer_apart },
	{ "behind an IOMMU a disk writes out of a buffer of the domU, in one piece, without a copy",
	  buffer_apart_written },
};

static const struct xt_test forced[] = {
	{ "a copy of pages of the domU would be found", copy_is_found },
};

int main(int argc, char **argv)
{
	static const struct xt_part part = {
		.name = "DMA buffers", .is_rust = xt_is_rust_dma,
		.prepare = prepare,
	};
	const char *only = argc > 1 ? argv[1] : NULL;

	if (is_forced())
		return xd_main(&part, forced, ARRAY_SIZE(forced), only);
	if (!is_direct_mapped())
		return xd_main(&part, behind_iommu, ARRAY_SIZE(behind_iommu),
			       only);

	return xd_main(&part, mapped_one_to_one, ARRAY_SIZE(mapped_one_to_one),
		       only);
}
