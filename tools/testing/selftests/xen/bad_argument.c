// SPDX-License-Identifier: GPL-2.0
/*
 * Arguments that make no sense, and requests that cannot be met: each comes
 * back with an error, writes to no array, and takes no page.
 */

#include <limits.h>
#include <sys/ioctl.h>

#include "xen_test.h"

static struct xut_raw raw(enum xut_kind kind, int32_t nr, uint32_t align,
			  uint64_t max_addr, bool null)
{
	struct xut_raw raw = {
		.kind = kind, .nr_pages = nr, .align = align,
		.max_addr = max_addr, .null = null,
	};
	int fd = xt_open(), ret;

	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	ret = ioctl(fd, XUT_IOC_RAW, &raw);
	XT_CHECK(!ret, "call: %s", strerror(errno));
	close(fd);

	return raw;
}

static void refused(enum xut_kind kind, int32_t nr, uint32_t align,
		    uint64_t max_addr, bool null, int error)
{
	long out = xt_pages_out();
	struct xut_raw r = raw(kind, nr, align, max_addr, null);

	XT_CHECK(r.result == error || (!error && r.result < 0),
		 "%d pages, alignment %u, limit %#llx%s: %d", nr, align,
		 (unsigned long long)max_addr, null ? ", no array" : "",
		 r.result);
	XT_CHECK(!r.written, "%u entries of the array were written",
		 r.written);
	XT_CHECK(xt_pages_out() == out,
		 "pages were taken all the same");
}

static void scattered_none(void)
{
	/* Also without an array: there is nothing to put there. */
	XT_CHECK(!raw(XUT_SCATTERED, 0, 1, UINT64_MAX, false).result,
		 "no pages are not to be had");
	XT_CHECK(!raw(XUT_SCATTERED, 0, 1, UINT64_MAX, true).result,
		 "no pages are not to be had without an array");
}

static void scattered_too_many(void)
{
	refused(XUT_SCATTERED, -1, 1, UINT64_MAX, false, -ENOMEM);
	refused(XUT_SCATTERED, INT_MAX, 1, UINT64_MAX, false, -ENOMEM);
	refused(XUT_SCATTERED, INT_MIN, 1, UINT64_MAX, false, -ENOMEM);
}

/* Neither address space nor RAM for struct pages goes into a lost cause. */
static void lost_cause(void)
{
	long total = xt_stat("total"), free_kib = xt_free_kib(), gone;
	int i;

	refused(XUT_SCATTERED, INT_MAX, 1, UINT64_MAX, false, -ENOMEM);
	XT_CHECK(xt_stat("total") <= total, "the pool grew by %ld pages",
		 xt_stat("total") - total);
	/* Others take and free memory meanwhile; what is lost does not return. */
	for (i = 0; i < 30; i++) {
		gone = free_kib - xt_free_kib();
		if (gone < 1024)
			break;
		usleep(100 * 1000);
	}
	XT_CHECK(gone < 1024, "%ld KiB of RAM gone", gone);
}

static void run_of_none(void)
{
	refused(XUT_CONTIGUOUS, 0, 1, UINT64_MAX, false, -EINVAL);
}

static void run_of_too_many(void)
{
	/* As unsigned as the parameter is; none is more than can be there. */
	refused(XUT_CONTIGUOUS, -1, 1, UINT64_MAX, false, 0);
	refused(XUT_CONTIGUOUS, INT_MAX, 1, UINT64_MAX, false, 0);
	refused(XUT_CONTIGUOUS, INT_MIN, 1, UINT64_MAX, false, 0);
	refused(XUT_CONTIGUOUS, INT_MAX, 0x80000000, UINT64_MAX, false, 0);
}

static void run_with_odd_alignment(void)
{
	refused(XUT_CONTIGUOUS, 1, 0, UINT64_MAX, false, -EINVAL);
	refused(XUT_CONTIGUOUS, 1, 3, UINT64_MAX, false, -EINVAL);
	refused(XUT_CONTIGUOUS, 1, 12, UINT64_MAX, false, -EINVAL);
	refused(XUT_CONTIGUOUS, 1, 0xffffffff, UINT64_MAX, false, -EINVAL);
}

static void run_with_huge_alignment(void)
{
	/* A power of two, but nothing is aligned to 8 TiB. */
	refused(XUT_CONTIGUOUS, 1, 0x80000000, 1ULL << 42, false, -ENOMEM);
}

static void run_below_all(void)
{
	refused(XUT_CONTIGUOUS, 1, 1, 0, false, -ENOMEM);
	refused(XUT_CONTIGUOUS, 1, 1, xt_page_size() - 1, false, -ENOMEM);
	refused(XUT_CONTIGUOUS, 16, 1, xt_page_size(), false, -ENOMEM);
}

static void buffer_of_none(void)
{
	refused(XUT_DMA_COHERENT, 0, 1, 0, false, 0);
	refused(XUT_DMA_WC, 0, 1, 0, false, 0);
}

static void buffer_of_a_negative_number(void)
{
	refused(XUT_DMA_COHERENT, -1, 1, 0, false, 0);
	refused(XUT_DMA_WC, INT_MIN, 1, 0, false, 0);
}

static void buffer_too_large(void)
{
	/* One more than what has a size that an int can hold, and the most. */
	int most = INT_MAX / xt_page_size();

	refused(XUT_DMA_COHERENT, most + 1, 1, 0, false, 0);
	refused(XUT_DMA_COHERENT, INT_MAX, 1, 0, false, 0);
	refused(XUT_DMA_COHERENT, 0x100000, 1, 0, false, 0);
}

static void buffer_without_array(void)
{
	refused(XUT_DMA_COHERENT, 1, 1, 0, true, 0);
	refused(XUT_DMA_COHERENT, 16, 1, 0, true, 0);
}

#define NO_RUNS "it hands out no contiguous runs"
#define OVERFLOWS "it adds up to a size of 0 and writes beyond the array"

static const struct xt_test tests[] = {
	{ "no scattered pages are always to be had", scattered_none },
	{ "a request that cannot be met does not make the pool grow",
	  lost_cause, NULL, XT_C_UNSAFE, OVERFLOWS },
	{ "more scattered pages than can exist are refused",
	  scattered_too_many, NULL, XT_C_UNSAFE, OVERFLOWS },
	{ "a run of no pages is refused",
	  run_of_none, NULL, XT_C_FAILS, NO_RUNS },
	{ "a run of more pages than can exist is refused", run_of_too_many },
	{ "a run aligned to no power of two is refused",
	  run_with_odd_alignment, NULL, XT_C_FAILS, NO_RUNS },
	{ "a run aligned beyond all addresses is refused",
	  run_with_huge_alignment, NULL, XT_C_FAILS, NO_RUNS },
	{ "a run below all addresses is refused",
	  run_below_all, NULL, XT_C_FAILS, NO_RUNS },
	{ "a DMA buffer of no pages is refused", buffer_of_none },
	{ "a DMA buffer of a negative number of pages is refused",
	  buffer_of_a_negative_number },
	{ "a DMA buffer of more pages than can exist is refused",
	  buffer_too_large },
	{ "a DMA buffer without an array for its pages is refused",
	  buffer_without_array, NULL, XT_C_UNSAFE,
	  "it writes to the array without looking", xt_is_rust_dma },
};

int main(void)
{
	return xt_main(tests, ARRAY_SIZE(tests));
}
