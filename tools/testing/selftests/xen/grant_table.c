// SPDX-License-Identifier: GPL-2.0
/*
 * Grant references that are free: whatever is taken, one by one or in a row, and
 * in whatever state the table grows, each is handed out once.
 */

#include <fcntl.h>
#include <sys/ioctl.h>

#include "xen_test.h"
#include "test_modules/test_xen_grant_dma.h"

static int call_module(unsigned long command)
{
	int fd, ret;

	xt_load(XGD_DEVICE);
	fd = open("/dev/" XGD_DEVICE, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		xt_skip("no /dev/" XGD_DEVICE ": %s", strerror(errno));
	ret = ioctl(fd, command);
	ret = ret < 0 ? -errno : ret;
	close(fd);

	return ret;
}

static void table_grows(void)
{
	int ret = call_module(XGD_IOC_GROW_TABLE);

	XT_CHECK(ret != -EEXIST, "a reference was handed out twice");
	XT_CHECK(ret >= 0, "take references: %s", strerror(-ret));
	if (!ret)
		xt_skip("the table cannot grow any more");
	ksft_print_msg("%d times\n", ret);
}

static void none_at_all(void)
{
	int ret = call_module(XGD_IOC_NO_REFS);

	XT_CHECK(!ret, "none were handed out: %s", strerror(-ret));
}

static const struct xt_test tests[] = {
	{ "no reference is handed out twice while the table grows",
	  table_grows, "default none" },
	{ "a request for no references is refused", none_at_all,
	  "default none" },
};

int main(void)
{
	return xt_main(tests, ARRAY_SIZE(tests));
}
