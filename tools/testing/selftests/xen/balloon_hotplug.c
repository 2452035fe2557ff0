// SPDX-License-Identifier: GPL-2.0
/*
 * Where the balloon may add memory, what it lends is not bounded by the RAM
 * that there is.  What it has added stays, so this is the last program.
 */

#include <sys/mman.h>

#include "xen_test.h"

#define NR		16
#define LEFT_KIB	(128L << 10)
#define MORE_KIB	(64L << 10)

#define ONLINE		"/sys/devices/system/memory/auto_online_blocks"
#define SYSCTL		"/proc/sys/xen/balloon/hotplug_unpopulated"
#define IN_BALLOON	"/sys/devices/system/xen_memory/xen_memory0/info/low_kb"

/* So that little is asked for, and little added. */
static void use_up_memory(void)
{
	long kib = xt_meminfo("MemAvailable") - LEFT_KIB;

	XT_CHECK(kib <= 0 ||
		 mmap(NULL, kib << 10, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0) !=
			MAP_FAILED, "use %ld KiB: %s", kib, strerror(errno));
}

static void more_than_there_is_ram(void)
{
	int fd = xt_open(), ret;
	char text[32];
	uint32_t nr;
	long kib;

	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	/* A ceiling of 0 is none, so there has to be something. */
	ret = xt_new_alloc(fd, XUT_SCATTERED, 1);
	XT_CHECK(ret >= 0, "allocate: %s", strerror(-ret));
	snprintf(text, sizeof(text), "%ld", xt_stat("total"));
	XT_CHECK(!xt_set_param("xen_unpopulated", "max_pages", text),
		 "set a ceiling");

	use_up_memory();
	ret = xt_read_file(IN_BALLOON, text, sizeof(text));
	XT_CHECK(ret > 0, "what the balloon has: %s", strerror(-ret));
	kib = xt_meminfo("MemAvailable") + atol(text) + MORE_KIB;
	nr = xt_pages_in(kib << 10);
	ret = xt_new_alloc(fd, XUT_SCATTERED, nr);
	XT_CHECK(ret == -ENOMEM, "%ld KiB are more than there is: %d", kib,
		 ret);

	/* What is added has to be put to use before the balloon sees it. */
	if (xt_write_file(ONLINE, "online") || xt_write_file(SYSCTL, "1"))
		xt_skip("needs CONFIG_XEN_BALLOON_MEMORY_HOTPLUG");
	ret = xt_new_alloc(fd, XUT_SCATTERED, nr);
	XT_CHECK(!xt_write_file(SYSCTL, "0"), "no more");
	XT_CHECK(ret >= 0, "allocate %ld KiB: %s", kib, strerror(-ret));
	XT_CHECK(xt_stat("ballooned") == nr, "%ld of %u are of the balloon",
		 xt_stat("ballooned"), nr);
	xt_run_carries_data(fd, ret, NR);
	XT_CHECK(!xt_free(fd, ret), "free");
	XT_CHECK(!xt_stat("ballooned"), "%ld are still counted",
		 xt_stat("ballooned"));
}

static const struct xt_test tests[] = {
	{ "where the balloon may add memory it lends more than there is RAM",
	  more_than_there_is_ram, NULL, XT_C_FAILS,
	  "it has no ceiling, and fails where a region is used up" },
};

int main(void)
{
	return xt_main(tests, ARRAY_SIZE(tests));
}
