// SPDX-License-Identifier: GPL-2.0
/*
 * Two domains: dom0 and a domU that Xen starts beside it, which is not
 * direct-mapped.  They share frames of video by grants, honestly and not; the
 * same program runs in both, and dom0 says what is done in either.
 */

#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "xen_test.h"
#include "sharing.h"
#include "test_modules/test_xen_grant_dma.h"

typedef uint16_t domid_t;
typedef uint32_t grant_ref_t;
#include <xen/gntdev.h>

#define SMALL		64	/* what a device of dom0 can be given */
#define BUFFERS		4
#define ROUNDS		250	/* xentest.rounds= for another number */
#define WAIT_SECONDS	20	/* ten references are ended a second */
#define ALARM_SECONDS	120	/* for a round of many */
#define RACES		50
#define MACHINE_SLOT	2048	/* bytes of one slot of swiotlb */

/* For whoever reads the console: a figure, and what one test adds to it. */
static void measure(const char *name, uint64_t value)
{
	printf("MEASURE domains.%s %llu\n", name, (unsigned long long)value);
}

static void check_refused(int side, enum xd_op op, const struct refs *refs,
			  bool writable, const char *what)
{
	static struct xd_call call;
	int ret = try_refs(side, op, refs, writable, &call);

	XT_CHECK(ret == -EINVAL, "%s takes %s: %d", name_of(side), what, ret);
}

static struct xd_entry get_entry(int side, uint32_t ref)
{
	static struct xd_call call;

	call.entry.ref = ref;
	do_call(side, &call, XD_GET_ENTRY, "look at the grant table");

	return call.entry;
}

static void set_entry(int side, struct xd_entry entry)
{
	static struct xd_call call;

	call.entry = entry;
	do_call(side, &call, XD_SET_ENTRY, "write to the grant table");
}

static struct xt_p2m get_p2m(int domid)
{
	struct xt_p2m p2m;
	int ret = xt_key_p2m_of(domid, &p2m);

	XT_CHECK(!ret, "key q: %s", strerror(-ret));

	return p2m;
}

/* One buffer */

static void one_entry_at_its_own_address(void)
{
	struct xt_p2m before, after;
	struct xd_import got;
	struct refs refs;
	uint32_t id;

	begin();
	grant(XD_DOM0, FRAME, true, &refs);
	before = get_p2m(XD_DOMU);
	got = import(XD_DOMU, &refs, &id);
	measure("scatter_entries", got.dma_entries);
	XT_CHECK(got.size == FRAME_BYTES, "it has %llu bytes",
		 (unsigned long long)got.size);
	XT_CHECK(got.entries == 1 && got.dma_entries == 1,
		 "it has %u entries, %u for the device", got.entries,
		 got.dma_entries);
	XT_CHECK(got.same, "the device sees it at %#llx, the domU at %#llx",
		 (unsigned long long)got.dma, (unsigned long long)got.phys);
	after = get_p2m(XD_DOMU);
	XT_CHECK(after.mappings_4k == before.mappings_4k + FRAME,
		 "%ld pages are mapped, before %ld", after.mappings_4k,
		 before.mappings_4k);
	XT_CHECK(after.mappings_2m == before.mappings_2m &&
		 after.shattered_2m == before.shattered_2m,
		 "%ld superpages are broken",
		 after.shattered_2m - before.shattered_2m);
	measure("superpages_broken", after.shattered_2m - before.shattered_2m);
	release(XD_DOMU, id);
	release(XD_DOM0, refs.id);
}

/*
 * A byte is not copied if it changes with its source, without anything that
 * could have copied it in between.
 */
static void nothing_is_copied(void)
{
	uint32_t id, seed, checked = 0;
	uint64_t copied = 0;
	struct refs refs;

	begin();
	grant(XD_DOM0, FRAME, true, &refs);
	import(XD_DOMU, &refs, &id);
	for (seed = 1; seed <= 8; seed++) {
		draw(XD_DOM0, refs.id, seed);
		copied += differ(XD_DOMU, id, seed);
		checked++;
	}
	/* The other way: what the device writes, its owner has. */
	draw(XD_DOMU, id, 9);
	copied += differ(XD_DOM0, refs.id, 9);
	checked++;
	measure("bytes_copied", copied);
	measure("frames_checked", checked);
	XT_CHECK(!copied, "%llu bytes are copies", (unsigned long long)copied);
	release(XD_DOMU, id);
	release(XD_DOM0, refs.id);
}

static void a_copy_is_found(void)
{
	static struct xd_call call;
	struct refs refs;
	uint64_t copied;

	begin();
	grant(XD_DOM0, FRAME, true, &refs);
	import(XD_DOMU, &refs, &call.id);
	draw(XD_DOM0, refs.id, 1);
	do_call(XD_DOMU, &call, XD_COPY, "copy");
	check_frame(XD_DOMU, call.id, 1);
	draw(XD_DOM0, refs.id, 2);
	copied = differ(XD_DOMU, call.id, 2);
	measure("bytes_copied_control", copied);
	XT_CHECK(copied == FRAME_BYTES, "%llu bytes of %llu are seen",
		 (unsigned long long)copied, (unsigned long long)FRAME_BYTES);
	release(XD_DOMU, call.id);
	release(XD_DOM0, refs.id);
}

/* Many buffers */

/* One of the orders that @nr things can be put in. */
static void permute(uint32_t *order, uint32_t nr, uint32_t number)
{
	uint32_t i, j, swap;

	for (i = 0; i < nr; i++)
		order[i] = i;
	for (i = nr; i > 1; i--) {
		j = number % i;
		number /= i;
		swap = order[i - 1];
		order[i - 1] = order[j];
		order[j] = swap;
	}
}

static void buffers_come_and_go(void)
{
	uint32_t id[BUFFERS], order[BUFFERS], round, i, rounds = ROUNDS;
	const char *given = xt_boot_param("xentest.rounds");
	static struct refs refs[BUFFERS];
	struct xd_stats before, after;
	struct xt_p2m p2m[2];

	if (given)
		rounds = atoi(given);
	begin();
	before = get_stats(XD_DOMU);
	p2m[0] = get_p2m(XD_DOMU);
	for (i = 0; i < BUFFERS; i++)
		grant(XD_DOM0, FRAME, true, &refs[i]);
	for (round = 0; round < rounds; round++) {
		uint32_t one = round % BUFFERS;

		alarm(ALARM_SECONDS);
		for (i = 0; i < BUFFERS; i++)
			import(XD_DOMU, &refs[i], &id[i]);
		draw(XD_DOM0, refs[one].id, round);
		check_frame(XD_DOMU, id[one], round);
		permute(order, BUFFERS, round);
		for (i = 0; i < BUFFERS; i++)
			release(XD_DOMU, id[order[i]]);
		release(XD_DOM0, refs[one].id);
		grant(XD_DOM0, FRAME, true, &refs[one]);
	}
	for (i = 0; i < BUFFERS; i++)
		release(XD_DOM0, refs[i].id);
	measure("frames_checked", rounds);
	measure("buffers", rounds * BUFFERS);

	check_stats(XD_DOMU, &before);
	after = get_stats(XD_DOMU);
	XT_CHECK(after.cma_free_kib == before.cma_free_kib,
		 "%lld KiB of CMA are free, before %lld",
		 (long long)after.cma_free_kib,
		 (long long)before.cma_free_kib);
	p2m[1] = get_p2m(XD_DOMU);
	XT_CHECK(p2m[1].mappings_2m == p2m[0].mappings_2m &&
		 p2m[1].shattered_2m == p2m[0].shattered_2m &&
		 p2m[1].mappings_4k == p2m[0].mappings_4k,
		 "superpages %ld (%ld broken), pages %ld, before %ld (%ld), %ld",
		 p2m[1].mappings_2m, p2m[1].shattered_2m, p2m[1].mappings_4k,
		 p2m[0].mappings_2m, p2m[0].shattered_2m, p2m[0].mappings_4k);
}

/* Roles swapped */

static void frames_of_the_domu(void)
{
	static struct xd_call call;
	uint32_t seed, checked = 0;
	uint64_t copied = 0;
	struct refs refs;
	int ret;

	begin();
	grant(XD_DOMU, FRAME, true, &refs);
	ret = try_refs(XD_DOM0, XD_MAP, &refs, true, &call);
	XT_CHECK(!ret, "map: %s", strerror(-ret));
	for (seed = 1; seed <= 4; seed++) {
		draw(XD_DOMU, refs.id, seed);
		copied += differ(XD_DOM0, call.id, seed);
		checked++;
	}
	measure("bytes_copied", copied);
	measure("frames_checked", checked);
	XT_CHECK(!copied, "%llu bytes are copies", (unsigned long long)copied);
	release(XD_DOM0, call.id);
	release(XD_DOMU, refs.id);
}

/* Slots of dom0's bounce buffer that are in use */
static long bounce_slots(void)
{
	char buf[32];
	int ret;

	ret = xt_read_file("/sys/kernel/debug/swiotlb/io_tlb_used", buf,
			   sizeof(buf));
	XT_CHECK(ret > 0, "io_tlb_used: %s", strerror(-ret));

	return atol(buf);
}

/*
 * dom0 is direct-mapped: its devices reach machine memory, and find another
 * domain's frames where that domain has them, not where dom0 maps them.
 */
static void device_of_dom0_gets_a_machine_page(void)
{
	struct xd_import got;
	struct refs refs;
	long before;
	uint32_t id;

	begin();
	grant(XD_DOMU, 1, true, &refs);
	before = bounce_slots();
	got = import(XD_DOM0, &refs, &id);
	XT_CHECK(got.dma_entries == 1 && !got.same,
		 "%u entries, at %#llx, in dom0 at %#llx", got.dma_entries,
		 (unsigned long long)got.dma, (unsigned long long)got.phys);
	XT_CHECK(bounce_slots() == before, "the page is bounced");
	release(XD_DOM0, id);
	release(XD_DOMU, refs.id);
}

static void device_of_dom0_gets_a_copy(void)
{
	struct xd_import got;
	struct refs refs;
	long before, slots;
	uint32_t id;

	begin();
	grant(XD_DOMU, SMALL, true, &refs);
	order_refs(&refs, false);
	before = bounce_slots();
	got = import(XD_DOM0, &refs, &id);
	slots = bounce_slots() - before;
	XT_CHECK(got.dma_entries == 1 && !got.same, "%u entries",
		 got.dma_entries);
	XT_CHECK(slots * MACHINE_SLOT >= SMALL * (long)xt_page_size(),
		 "%ld slots are used", slots);
	measure("dom0_bounced_bytes", slots * MACHINE_SLOT);
	release(XD_DOM0, id);
	XT_CHECK(bounce_slots() == before, "slots stay in use");
	release(XD_DOMU, refs.id);
}

static void device_of_dom0_gets_no_frame(void)
{
	static struct xd_call call;
	struct xd_stats before;
	struct refs refs;
	int ret;

	begin();
	before = get_stats(XD_DOM0);
	grant(XD_DOMU, FRAME, true, &refs);
	order_refs(&refs, false);
	ret = try_refs(XD_DOM0, XD_IMPORT, &refs, true, &call);
	XT_CHECK(ret == -ECONNABORTED, "it is imported: %d", ret);
	check_stats(XD_DOM0, &before);
	release(XD_DOMU, refs.id);
}

static void device_of_dom0_gets_machine_runs(void)
{
	struct xd_import got;
	struct refs refs;
	uint32_t id, run;
	long before;

	begin();
	grant(XD_DOMU, FRAME, true, &refs);
	run = order_refs(&refs, true);
	if (run <= SMALL)
		xt_skip("the domU has no more than %u frames in a row", run);
	refs.nr = run;
	before = bounce_slots();
	got = import(XD_DOM0, &refs, &id);
	XT_CHECK(got.dma_entries == 1 && !got.same, "%u entries",
		 got.dma_entries);
	XT_CHECK(bounce_slots() == before, "it is bounced");
	measure("dom0_direct_bytes", run * xt_page_size());
	release(XD_DOM0, id);
	release(XD_DOMU, refs.id);
}

/* Hostile frontends: they grant, and what they grant is not what it seems */

#define GTF_ACCESS	0x1

/* Both domains have to withstand this. */
static void for_both(void (*attack)(int frontend, int victim))
{
	begin();
	attack(XD_DOM0, XD_DOMU);
	attack(XD_DOMU, XD_DOM0);
}

/* The victim can go on with a frontend that behaves. */
static void check_works(int frontend, int victim)
{
	static struct refs refs;
	uint32_t id;

	grant(frontend, SMALL, true, &refs);
	import(victim, &refs, &id);
	draw(frontend, refs.id, 77);
	check_frame(victim, id, 77);
	release(victim, id);
	release(frontend, refs.id);
}

static void revokes(int frontend, int victim)
{
	struct xd_stats before = get_stats(victim);
	struct xd_entry entry;
	static struct refs refs;
	uint32_t id, i;

	grant(frontend, SMALL, true, &refs);
	import(victim, &refs, &id);
	for (i = 0; i < SMALL; i += 2) {
		entry = get_entry(frontend, refs.ref[i]);
		entry.flags = 0;
		set_entry(frontend, entry);
	}
	/* What is mapped stays what it was. */
	draw(frontend, refs.id, 5);
	check_frame(victim, id, 5);
	draw(victim, id, 6);
	check_frame(frontend, refs.id, 6);
	release(victim, id);
	check_refused(victim, XD_IMPORT, &refs, true, "what was revoked");
	check_stats(victim, &before);
	release(frontend, refs.id);
	check_works(frontend, victim);
}

static void frontend_revokes_under_mapping(void)
{
	for_both(revokes);
}

static void bad_references(int frontend, int victim)
{
	static const uint32_t bad[] = {
		0xffffffff, 0x7fffffff, 1 << 20, 2, 3,
	};
	struct xd_stats before = get_stats(victim);
	static struct refs refs, attack;
	size_t i, at;

	grant(frontend, SMALL, true, &refs);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		for (at = 0; at < SMALL; at += SMALL / 2 - 1) {
			attack = refs;
			attack.ref[at] = bad[i];
			check_refused(victim, XD_IMPORT, &attack, true,
				      "a bad reference");
			check_refused(victim, XD_MAP, &attack, true,
				      "a bad reference");
		}
	}
	check_stats(victim, &before);
	release(frontend, refs.id);
	check_works(frontend, victim);
}

static void frontend_hands_out_bad_references(void)
{
	for_both(bad_references);
}

/* A page may be mapped more than once, but not without end. */
static void duplicates(int frontend, int victim)
{
	struct xd_stats before = get_stats(victim);
	static struct refs refs, attack;
	static struct xd_call call;
	uint32_t i, id;
	int ret;

	grant(frontend, SMALL, true, &refs);
	attack = refs;
	for (i = 0; i < SMALL; i++)
		attack.ref[i] = refs.ref[i / 2];
	ret = try_refs(victim, XD_IMPORT, &attack, true, &call);
	XT_CHECK(!ret || ret == -EINVAL, "import: %s", strerror(-ret));
	if (!ret) {
		id = call.id;
		call.nr = 8;
		call.offset = 0;
		memcpy(call.text, "mailbox", 8);
		do_call(victim, &call, XD_POKE, "write");
		call.id = refs.id;
		do_call(frontend, &call, XD_PEEK, "read");
		XT_CHECK(!memcmp(call.text, "mailbox", 8), "data differs");
		release(victim, id);
	}
	attack.nr = 1024;
	for (i = 0; i < attack.nr; i++)
		attack.ref[i] = refs.ref[0];
	check_refused(victim, XD_IMPORT, &attack, true, "1024 times one page");
	check_refused(victim, XD_MAP, &attack, true, "1024 times one page");
	check_stats(victim, &before);
	release(frontend, refs.id);
	check_works(frontend, victim);
}

static void frontend_hands_out_duplicates(void)
{
	for_both(duplicates);
}

/* Grants something else than it did, one reference in the midst of good ones. */
static void check_forged(int frontend, int victim, const struct refs *refs,
			 struct xd_entry forged, const char *what)
{
	struct xd_entry good = get_entry(frontend, refs->ref[SMALL / 2]);

	forged.ref = good.ref;
	set_entry(frontend, forged);
	check_refused(victim, XD_IMPORT, refs, true, what);
	check_refused(victim, XD_MAP, refs, true, what);
	set_entry(frontend, good);
}

static void foreign_references(int frontend, int victim)
{
	static const uint32_t domids[] = { 2, 0x7ff0, 0x7ff2, 0x7fff };
	struct xd_stats before = get_stats(victim);
	static struct refs refs;
	struct xd_entry entry;
	size_t i;

	grant(frontend, SMALL, true, &refs);
	for (i = 0; i < ARRAY_SIZE(domids); i++) {
		entry = get_entry(frontend, refs.ref[0]);
		entry.domid = domids[i];
		check_forged(frontend, victim, &refs, entry,
			     "what another domain was granted");
	}
	check_stats(victim, &before);
	release(frontend, refs.id);
	check_works(frontend, victim);
}

static void frontend_hands_out_foreign_references(void)
{
	for_both(foreign_references);
}

static void no_memory(int frontend, int victim)
{
	struct xd_stats before = get_stats(victim);
	static struct refs refs, own;
	struct xd_import got;
	struct xd_entry entry;
	uint32_t id;

	/* Where nothing is mapped any more is a page without memory. */
	grant(victim, SMALL, true, &own);
	got = import(frontend, &own, &id);
	release(frontend, id);
	release(victim, own.id);

	grant(frontend, SMALL, true, &refs);
	entry = get_entry(frontend, refs.ref[0]);
	entry.frame = got.phys / 4096;
	check_forged(frontend, victim, &refs, entry, "an unpopulated page");
	entry.frame = 0x9000000 / 4096;
	check_forged(frontend, victim, &refs, entry, "a device");
	entry.frame = 0xffffffff;
	check_forged(frontend, victim, &refs, entry, "no address at all");
	check_stats(victim, &before);
	release(frontend, refs.id);
	check_works(frontend, victim);
}

static void frontend_grants_no_memory(void)
{
	for_both(no_memory);
}

static void foreign_page(int frontend, int victim)
{
	static struct refs refs, own;
	struct xd_stats before;
	struct xd_import got;
	struct xd_entry entry;
	uint32_t id;

	grant(victim, SMALL, true, &own);
	got = import(frontend, &own, &id);
	before = get_stats(victim);
	grant(frontend, SMALL, true, &refs);
	entry = get_entry(frontend, refs.ref[0]);
	entry.frame = got.phys / 4096;
	check_forged(frontend, victim, &refs, entry, "its own page");
	check_stats(victim, &before);
	draw(victim, own.id, 8);
	check_frame(frontend, id, 8);
	release(frontend, id);
	release(victim, own.id);
	release(frontend, refs.id);
	check_works(frontend, victim);
}

static void frontend_grants_a_foreign_page(void)
{
	for_both(foreign_page);
}

static void read_only(int frontend, int victim)
{
	struct xd_stats before = get_stats(victim);
	static struct xd_call call;
	static struct refs refs;
	int ret;

	grant(frontend, SMALL, false, &refs);
	draw(frontend, refs.id, 9);
	/* A device might write. */
	check_refused(victim, XD_IMPORT, &refs, true, "a read-only page");
	check_refused(victim, XD_MAP, &refs, true, "a read-only page");
	ret = try_refs(victim, XD_MAP, &refs, false, &call);
	XT_CHECK(!ret, "map read-only: %s", strerror(-ret));
	check_frame(victim, call.id, 9);
	release(victim, call.id);
	check_stats(victim, &before);
	release(frontend, refs.id);
}

static void frontend_grants_read_only(void)
{
	for_both(read_only);
}

static bool has_frame(const uint32_t *frames, uint32_t nr, uint32_t frame)
{
	uint32_t i;

	for (i = 0; i < nr; i++)
		if (frames[i] == frame)
			return true;

	return false;
}

static void wait_ended(int side, const struct refs *refs)
{
	time_t end = time(NULL) + WAIT_SECONDS;
	uint32_t i;

	for (i = 0; i < refs->nr; i++) {
		while (get_entry(side, refs->ref[i]).flags & GTF_ACCESS) {
			XT_CHECK(time(NULL) < end,
				 "reference %u of %u is still granted", i,
				 refs->nr);
			usleep(100 * 1000);
		}
	}
}

/*
 * The frontend's process ends, as if it had crashed.  Its kernel must not give
 * the pages to anybody while the victim has them.
 */
static void dies(int frontend, int victim)
{
	static uint32_t frames[SMALL], given[FRAME];
	static struct refs refs, more;
	uint32_t id, i;

	grant(frontend, SMALL, true, &refs);
	get_frames(frontend, &refs, frames);
	import(victim, &refs, &id);
	draw(frontend, refs.id, 10);
	release(frontend, refs.id);

	grant(frontend, FRAME, true, &more);
	get_frames(frontend, &more, given);
	for (i = 0; i < FRAME; i++)
		XT_CHECK(!has_frame(frames, SMALL, given[i]),
			 "a page that is mapped elsewhere is given out again");
	draw(frontend, more.id, 11);
	check_frame(victim, id, 10);
	draw(victim, id, 12);
	check_frame(frontend, more.id, 11);
	release(victim, id);
	wait_ended(frontend, &refs);
	release(frontend, more.id);
}

static void frontend_dies_under_mapping(void)
{
	for_both(dies);
}

static void frontend_exhausts_maptrack(void)
{
	static struct refs refs[BUFFERS + 1];
	struct xd_stats before, full;
	uint32_t id[BUFFERS], i;

	begin();
	before = get_stats(XD_DOMU);
	for (i = 0; i <= BUFFERS; i++) {
		grant(XD_DOM0, FRAME, true, &refs[i]);
		draw(XD_DOM0, refs[i].id, i);
		if (i < BUFFERS)
			import(XD_DOMU, &refs[i], &id[i]);
	}
	full = get_stats(XD_DOMU);
	check_refused(XD_DOMU, XD_IMPORT, &refs[BUFFERS], true,
		      "more than Xen can keep track of");
	check_stats(XD_DOMU, &full);
	for (i = 0; i < BUFFERS; i++) {
		check_frame(XD_DOMU, id[i], i);
		release(XD_DOMU, id[i]);
	}
	check_stats(XD_DOMU, &before);
	/* With room for it, it is welcome. */
	import(XD_DOMU, &refs[BUFFERS], &id[0]);
	check_frame(XD_DOMU, id[0], BUFFERS);
	release(XD_DOMU, id[0]);
	for (i = 0; i <= BUFFERS; i++)
		release(XD_DOM0, refs[i].id);
}

/* Does it over and over in a process of its own, until that is ended. */
static pid_t again_and_again(void (*attack)(const void *arg), const void *arg)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	XT_CHECK(pid >= 0, "fork: %s", strerror(errno));
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			attack(arg);
	}

	return pid;
}

static void no_more(pid_t pid)
{
	int status;

	XT_CHECK(!waitpid(pid, &status, WNOHANG), "the attack has ended");
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

static void revoke_and_grant(const void *arg)
{
	struct xd_entry entry = *(const struct xd_entry *)arg;

	set_entry(XD_DOM0, entry);
	entry.flags = 0;
	set_entry(XD_DOM0, entry);
}

static void frontend_races_with_mapping(void)
{
	uint32_t i, taken = 0, refused = 0;
	static struct refs refs;
	static struct xd_call call;
	struct xd_stats before;
	struct xd_entry entry;
	pid_t pid;
	int ret;

	begin();
	before = get_stats(XD_DOMU);
	grant(XD_DOM0, SMALL, true, &refs);
	entry = get_entry(XD_DOM0, refs.ref[SMALL / 2]);
	pid = again_and_again(revoke_and_grant, &entry);
	for (i = 0; i < RACES; i++) {
		ret = try_refs(XD_DOMU, XD_IMPORT, &refs, true, &call);
		XT_CHECK(!ret || ret == -EINVAL, "import: %s", strerror(-ret));
		if (ret) {
			refused++;
			continue;
		}
		taken++;
		release(XD_DOMU, call.id);
	}
	no_more(pid);
	set_entry(XD_DOM0, entry);
	printf("# %u taken, %u refused\n", taken, refused);
	XT_CHECK(taken && refused, "there was no race");
	check_stats(XD_DOMU, &before);
	release(XD_DOM0, refs.id);
	check_works(XD_DOM0, XD_DOMU);
}

/* Hostile backends: dom0 has devices of the domU */

#define XEN_PAGE	4096U
#define GRANT_ADDR	0x8000000000000000ULL
#define NR_REFS		8192	/* more than the domU has handed out by then */

static char device_name[32];

static int try_device(unsigned long cmd, void *arg, size_t size)
{
	static struct xd_call call;
	int ret;

	call.cmd = cmd;
	memcpy(call.text, arg, size);
	ret = try_call(XD_DOMU, &call, XD_VIRTIO);
	memcpy(arg, call.text, size);

	return ret;
}

static int try_device_value(unsigned long cmd, uint32_t value)
{
	static struct xd_call call;

	call.cmd = cmd;
	call.id = value;

	return try_call(XD_DOMU, &call, XD_VIRTIO);
}

static void device_unbind(uint32_t index)
{
	int ret = try_device_value(XGD_IOC_UNBIND, index);

	XT_CHECK(!ret, "unbind: %s", strerror(-ret));
}

static void device_attach(uint32_t index)
{
	struct xgd_attach attach = {
		.index = index, .virtio_id = XGD_VIRTIO_ID,
	};
	int ret = try_device(XGD_IOC_ATTACH, &attach, sizeof(attach));

	XT_CHECK(!ret, "attach: %s", strerror(-ret));
}

static void device_bind(uint32_t index)
{
	int ret;

	ret = try_device_value(XGD_IOC_BIND, index);
	XT_CHECK(!ret, "bind: %s", strerror(-ret));
	device_attach(index);
}

static void device_rebind(uint32_t index)
{
	device_unbind(index);
	device_bind(index);
}

/*
 * A device of the domU the backend of which is in dom0, and which has not been
 * used yet: the operations in C can be set up only once for each device.
 */
static uint32_t device_begin(const char *name)
{
	struct xgd_info info;
	uint32_t i;

	begin();
	for (i = 0; ; i++) {
		info = (struct xgd_info){ .index = i };
		if (try_device(XGD_IOC_INFO, &info, sizeof(info)))
			xt_skip("the domU has no device %s that is new", name);
		if (strstr(info.name, name) && info.bound && !info.binds)
			break;
	}
	memcpy(device_name, info.name, sizeof(device_name));
	device_attach(i);

	return i;
}

static long device_stat(const char *name)
{
	static struct xd_call call;

	snprintf(call.text, sizeof(call.text),
		 "/sys/kernel/debug/xen-grant-dma/%s/%s", device_name, name);
	if (try_call(XD_DOMU, &call, XD_READ_FILE) <= 0)
		return -1;

	return strtol(call.text, NULL, 0);
}

static void check_stat(const char *name, long value)
{
	long is = device_stat(name);

	XT_CHECK(is == value, "%s is %ld, not %ld", name, is, value);
}

static struct xgd_buffer get_buffer(uint32_t size)
{
	struct xgd_buffer buffer = { .memory = XGD_PAGES, .size = size };
	int ret = try_device(XGD_IOC_BUFFER, &buffer, sizeof(buffer));

	XT_CHECK(!ret, "get %u bytes: %s", size, strerror(-ret));

	return buffer;
}

static int try_map(uint32_t index, uint32_t buffer, uint32_t offset,
		   uint32_t size, enum xgd_dir dir, struct xgd_map *map)
{
	*map = (struct xgd_map){
		.index = index, .buffer = buffer, .offset = offset,
		.size = size, .dir = dir,
	};

	return try_device(XGD_IOC_MAP, map, sizeof(*map));
}

static struct xgd_map map(uint32_t index, uint32_t buffer, uint32_t offset,
			  uint32_t size, enum xgd_dir dir)
{
	struct xgd_map map;
	int ret = try_map(index, buffer, offset, size, dir, &map);

	XT_CHECK(!ret, "%u bytes are not mapped: %s", size, strerror(-ret));

	return map;
}

static void unmap(uint32_t id)
{
	struct xgd_unmap unmap = { .id = id };
	int ret = try_device(XGD_IOC_UNMAP, &unmap, sizeof(unmap));

	XT_CHECK(!ret, "a mapping cannot be undone: %s", strerror(-ret));
}

static void driver_fill(uint32_t buffer, uint32_t at, uint32_t len, int byte)
{
	struct {
		struct xgd_copy copy;
		uint8_t data[512];
	} arg = {
		.copy = { .id = buffer, .write = 1, .at = at, .len = len },
	};
	int ret;

	memset(arg.data, byte, sizeof(arg.data));
	ret = try_device(XGD_IOC_COPY, &arg, sizeof(arg));
	XT_CHECK(!ret, "the driver writes: %s", strerror(-ret));
}

/* The references that a backend finds in a DMA address */
static void refs_of(uint64_t dma, uint32_t size, struct refs *refs)
{
	uint32_t i;

	XT_CHECK(dma & GRANT_ADDR, "address %#llx is no grant's",
		 (unsigned long long)dma);
	refs->nr = (dma % XEN_PAGE + size + XEN_PAGE - 1) / XEN_PAGE;
	for (i = 0; i < refs->nr; i++)
		refs->ref[i] = (dma & ~GRANT_ADDR) / XEN_PAGE + i;
}

static uint32_t backend_map(const struct refs *refs, bool writable)
{
	static struct xd_call call;
	int ret = try_refs(XD_DOM0, XD_MAP, refs, writable, &call);

	XT_CHECK(!ret, "the backend maps: %s", strerror(-ret));

	return call.id;
}

static uint8_t backend_byte(uint32_t id, uint32_t at)
{
	static struct xd_call call;

	call.id = id;
	call.nr = 1;
	call.offset = at;
	do_call(XD_DOM0, &call, XD_PEEK, "read");

	return call.text[0];
}

static void backend_write(uint32_t id, uint32_t at, uint8_t byte)
{
	static struct xd_call call;

	call.id = id;
	call.nr = 1;
	call.offset = at;
	call.text[0] = byte;
	do_call(XD_DOM0, &call, XD_POKE, "write");
}

static void wait_stat(const char *name, long value)
{
	time_t end = time(NULL) + WAIT_SECONDS;

	while (device_stat(name) != value) {
		XT_CHECK(time(NULL) < end, "%s is %ld after %d s", name,
			 device_stat(name), WAIT_SECONDS);
		usleep(100 * 1000);
	}
}

/* The device is as good as any, with a backend that behaves. */
static void check_device(uint32_t dev)
{
	struct xgd_buffer buffer = get_buffer(2 * XEN_PAGE);
	struct xgd_map mapped;
	static struct refs refs;
	uint32_t id;

	driver_fill(buffer.id, XEN_PAGE, 1, 0x42);
	mapped = map(dev, buffer.id, 0, 2 * XEN_PAGE, XGD_BIDIRECTIONAL);
	refs_of(mapped.dma, mapped.size, &refs);
	id = backend_map(&refs, true);
	XT_CHECK(backend_byte(id, XEN_PAGE) == 0x42, "data differs");
	release(XD_DOM0, id);
	unmap(mapped.id);
	/* The operations in C tell nothing. */
	if (device_stat("broken") < 0)
		return;
	check_stat("broken", 0);
	check_stat("quarantined", 0);
}

static void check_not_given_out(uint32_t pfn)
{
	uint32_t i;

	for (i = 0; i < 512; i++)
		XT_CHECK(get_buffer(xt_page_size()).pfn != pfn,
			 "the page is given out again, as number %u", i);
}

static void backend_keeps_mapping(void)
{
	uint32_t dev = device_begin("gdt-fresh"), id;
	struct xgd_buffer buffer = get_buffer(xt_page_size());
	struct xgd_map mapped, more;
	static struct refs refs;
	int ret;

	mapped = map(dev, buffer.id, 0, XEN_PAGE, XGD_BIDIRECTIONAL);
	refs_of(mapped.dma, XEN_PAGE, &refs);
	id = backend_map(&refs, true);
	check_stat("broken", 0);
	unmap(mapped.id);
	check_stat("broken", 1);
	XT_CHECK(device_stat("exposed") >= 1, "nothing is exposed");
	XT_CHECK(device_stat("quarantined") >= 1, "nothing is in quarantine");

	ret = try_device_value(XGD_IOC_BUFFER_FREE, buffer.id);
	XT_CHECK(!ret, "free: %s", strerror(-ret));
	backend_write(id, 0, 0x77);
	check_not_given_out(buffer.pfn);
	/* A device whose backend does that is not trusted with more. */
	buffer = get_buffer(xt_page_size());
	ret = try_map(dev, buffer.id, 0, XEN_PAGE, XGD_BIDIRECTIONAL, &more);
	XT_CHECK(ret == -EIO, "another page is mapped: %d", ret);

	release(XD_DOM0, id);
	wait_stat("quarantined", 0);
	wait_ended(XD_DOMU, &refs);
	device_rebind(dev);
	check_device(dev);
}

static struct xgd_alloc get_coherent(uint32_t dev, uint32_t size)
{
	struct xgd_alloc alloc = { .index = dev, .size = size };
	int ret = try_device(XGD_IOC_ALLOC, &alloc, sizeof(alloc));

	XT_CHECK(!ret, "allocate %u bytes: %s", size, strerror(-ret));

	return alloc;
}

static void backend_keeps_coherent(void)
{
	uint32_t dev = device_begin("gdt-fresh"), id, frames[4], i;
	struct xgd_alloc alloc = get_coherent(dev, 4 * XEN_PAGE);
	static struct refs all, one;

	refs_of(alloc.dma, 4 * XEN_PAGE, &all);
	get_frames(XD_DOMU, &all, frames);
	refs_of(alloc.dma + 2 * XEN_PAGE, XEN_PAGE, &one);
	id = backend_map(&one, true);
	unmap(alloc.id);
	XT_CHECK(get_entry(XD_DOMU, one.ref[0]).flags & GTF_ACCESS,
		 "the reference was ended while it was in use");
	XT_CHECK(device_stat("quarantined") >= 1, "nothing is in quarantine");
	backend_write(id, 0, 0x77);
	/* All of it is kept back, not only the page that is held. */
	for (i = 0; i < 4; i++)
		check_not_given_out(frames[i] * XEN_PAGE / xt_page_size());
	release(XD_DOM0, id);
	wait_stat("quarantined", 0);
	wait_ended(XD_DOMU, &all);
	device_rebind(dev);
	check_device(dev);
}

static void backend_keeps_mapping_at_unbind(void)
{
	uint32_t dev = device_begin("gdt-fresh"), id;
	struct xgd_alloc alloc = get_coherent(dev, 2 * XEN_PAGE);
	uint32_t frame;
	static struct refs refs;

	refs_of(alloc.dma, XEN_PAGE, &refs);
	get_frames(XD_DOMU, &refs, &frame);
	id = backend_map(&refs, true);
	unmap(alloc.id);
	device_unbind(dev);
	XT_CHECK(get_entry(XD_DOMU, refs.ref[0]).flags & GTF_ACCESS,
		 "the reference was ended while it was in use");
	backend_write(id, 0, 0x77);
	check_not_given_out(frame * XEN_PAGE / xt_page_size());
	release(XD_DOM0, id);
	wait_ended(XD_DOMU, &refs);
	device_bind(dev);
	check_device(dev);
}

static void backend_writes_read_only(void)
{
	uint32_t dev = device_begin("gdt-fresh"), id;
	struct xgd_buffer buffer = get_buffer(4 * XEN_PAGE);
	struct xgd_map mapped;
	static struct refs refs;

	driver_fill(buffer.id, 0, 512, 0x5a);
	mapped = map(dev, buffer.id, 0, 4 * XEN_PAGE, XGD_TO_DEVICE);
	refs_of(mapped.dma, mapped.size, &refs);
	check_refused(XD_DOM0, XD_MAP, &refs, true, "read-only pages to write");
	id = backend_map(&refs, false);
	XT_CHECK(backend_byte(id, 511) == 0x5a, "data differs");
	release(XD_DOM0, id);
	unmap(mapped.id);
	check_device(dev);
}

/* Which references of the domU dom0 can map, of all. */
static uint32_t scan(bool *mappable)
{
	static struct xd_call call;
	struct refs one = { .nr = 1 };
	uint32_t ref, nr = 0;

	for (ref = 0; ref < NR_REFS; ref++) {
		one.ref[0] = ref;
		mappable[ref] = !try_refs(XD_DOM0, XD_MAP, &one, false, &call);
		if (!mappable[ref])
			continue;
		release(XD_DOM0, call.id);
		nr++;
	}

	return nr;
}

static bool before[NR_REFS], after[NR_REFS];

static void backend_maps_ungranted(void)
{
	uint32_t dev = device_begin("gdt-fresh"), ref, nr, nr_before;
	struct xgd_buffer buffer = get_buffer(8 * XEN_PAGE);
	struct xgd_map mapped;
	static struct refs refs;

	nr_before = scan(before);
	XT_CHECK(nr_before, "not even the mailbox can be mapped");
	mapped = map(dev, buffer.id, XEN_PAGE, 5 * XEN_PAGE,
		     XGD_BIDIRECTIONAL);
	refs_of(mapped.dma, mapped.size, &refs);
	XT_CHECK(refs.ref[4] < NR_REFS, "reference %u", refs.ref[4]);
	nr = scan(after);
	XT_CHECK(nr == nr_before + 5, "%u references can be mapped, with 5 pages more %u",
		 nr_before, nr);
	for (ref = 0; ref < NR_REFS; ref++)
		XT_CHECK(before[ref] + has_frame(refs.ref, 5, ref) ==
			 after[ref], "reference %u can%s be mapped", ref,
			 after[ref] ? "" : "not");
	unmap(mapped.id);
	check_device(dev);
}

static void backend_maps_the_reserve(void)
{
	uint32_t dev = device_begin("gdt-fresh"), nr, nr_before, i;
	struct xgd_buffer buffer = get_buffer(32 * XEN_PAGE);
	struct xgd_map mapped[4];

	nr_before = scan(before);
	for (i = 0; i < ARRAY_SIZE(mapped); i++)
		mapped[i] = map(dev, buffer.id, 0, 8 * XEN_PAGE,
				XGD_BIDIRECTIONAL);
	for (i = 0; i < ARRAY_SIZE(mapped); i++)
		unmap(mapped[i].id);
	check_stat("maps", 0);
	XT_CHECK(device_stat("references") > 0, "the device keeps no reserve");
	nr = scan(after);
	XT_CHECK(nr == nr_before, "%u references can be mapped, before %u", nr,
		 nr_before);
	check_device(dev);
}

static void backend_maps_what_was_unmapped(void)
{
	uint32_t dev = device_begin("gdt-fresh"), i;
	struct xgd_buffer buffer = get_buffer(16 * XEN_PAGE);
	struct xgd_map mapped;
	static struct refs refs;

	for (i = 0; i < 20; i++) {
		mapped = map(dev, buffer.id, 0, 16 * XEN_PAGE,
			     XGD_BIDIRECTIONAL);
		refs_of(mapped.dma, mapped.size, &refs);
		release(XD_DOM0, backend_map(&refs, true));
		unmap(mapped.id);
		check_refused(XD_DOM0, XD_MAP, &refs, true, "what was unmapped");
		check_refused(XD_DOM0, XD_MAP, &refs, false,
			      "what was unmapped");
	}
	check_device(dev);
}

static void backend_reads_neighbours(void)
{
	static struct xd_call call;
	uint32_t dev, id, i;
	struct xgd_buffer buffer;
	struct xgd_map mapped;
	static struct refs refs;

	begin();
	snprintf(call.text, XD_PATH, XT_ISOLATE);
	snprintf(call.text + XD_PATH, XD_PATH, "passthrough:gdt-isolate");
	do_call(XD_DOMU, &call, XD_WRITE_FILE, "isolate");
	dev = device_begin("gdt-isolate");
	buffer = get_buffer(XEN_PAGE);
	for (i = 0; i < XEN_PAGE; i += 512)
		driver_fill(buffer.id, i, 512, 0x11);
	driver_fill(buffer.id, 1000, 200, 0x22);
	mapped = map(dev, buffer.id, 1000, 200, XGD_BIDIRECTIONAL);
	refs_of(mapped.dma, mapped.size, &refs);
	id = backend_map(&refs, true);
	for (i = 0; i < XEN_PAGE; i++) {
		uint8_t byte = backend_byte(id, i);
		uint32_t first = mapped.dma % XEN_PAGE;
		bool inside = i >= first && i < first + 200;

		XT_CHECK(byte == (inside ? 0x22 : 0), "byte %u is %#x", i,
			 byte);
	}
	release(XD_DOM0, id);
	unmap(mapped.id);
	check_device(dev);
}

static void backend_dies_while_mapped(void)
{
	uint32_t dev = device_begin("gdt-fresh");
	struct xgd_buffer buffer = get_buffer(16 * XEN_PAGE);
	static struct xd_call call;
	struct xgd_map mapped;
	static struct refs refs;
	int ret;

	mapped = map(dev, buffer.id, 0, 16 * XEN_PAGE, XGD_BIDIRECTIONAL);
	refs_of(mapped.dma, mapped.size, &refs);
	ret = try_refs(XD_DOM0, XD_CHILD, &refs, true, &call);
	XT_CHECK(!ret, "the backend maps: %s", strerror(-ret));
	release(XD_DOM0, call.id);
	unmap(mapped.id);
	check_stat("broken", 0);

	/* After it has broken its device, too, its end sets things right. */
	mapped = map(dev, buffer.id, 0, 16 * XEN_PAGE, XGD_BIDIRECTIONAL);
	refs_of(mapped.dma, mapped.size, &refs);
	ret = try_refs(XD_DOM0, XD_CHILD, &refs, true, &call);
	XT_CHECK(!ret, "the backend maps: %s", strerror(-ret));
	unmap(mapped.id);
	check_stat("broken", 1);
	release(XD_DOM0, call.id);
	wait_stat("quarantined", 0);
	wait_ended(XD_DOMU, &refs);
	device_rebind(dev);
	check_device(dev);
}

static void map_and_unmap(const void *arg)
{
	static struct xd_call call;

	if (!try_refs(XD_DOM0, XD_MAP, arg, true, &call))
		release(XD_DOM0, call.id);
}

/* The reference that the next mapping of a page is given */
static void next_ref(uint32_t dev, uint32_t buffer, struct refs *refs)
{
	struct xgd_map mapped;

	mapped = map(dev, buffer, 0, XEN_PAGE, XGD_BIDIRECTIONAL);
	refs_of(mapped.dma, mapped.size, refs);
	unmap(mapped.id);
}

/* Whatever it catches is kept from reuse, and comes back in the end. */
static void backend_races_with_unmap(void)
{
	static const uint32_t ops[] = {
		XGD_OP_MAP, XGD_OP_COHERENT, XGD_OP_SG,
	};
	uint32_t dev = device_begin("gdt-fresh"), i, caught = 0;
	struct xgd_buffer buffer = get_buffer(XEN_PAGE);
	static struct refs refs;
	pid_t pid = -1;
	int ret;

	for (i = 0; i < RACES; i++) {
		struct xgd_cycle cycle = {
			.index = dev, .op = ops[i % ARRAY_SIZE(ops)],
			.nr_pages = 1, .repeat = 1000,
		};

		if (pid < 0) {
			next_ref(dev, buffer.id, &refs);
			pid = again_and_again(map_and_unmap, &refs);
		}
		ret = try_device(XGD_IOC_CYCLE, &cycle, sizeof(cycle));
		XT_CHECK(!ret, "cycle: %s", strerror(-ret));
		if (!device_stat("broken"))
			continue;
		caught++;
		no_more(pid);
		pid = -1;
		device_rebind(dev);
	}
	if (pid >= 0)
		no_more(pid);
	printf("# caught %u times of %u\n", caught, RACES);
	XT_CHECK(caught, "there was no race");
	wait_stat("quarantined", 0);
	wait_ended(XD_DOMU, &refs);
	/* It may have caught the last one, too. */
	device_rebind(dev);
	check_device(dev);
}

/* The end of the domU: nothing can be asked of it any more */

static void peer_is_destroyed_while_mapped(void)
{
	static struct refs own, refs;
	static struct xd_call call;
	struct xd_stats stats;
	uint32_t id, imported, i;
	int ret;

	begin();
	stats = get_stats(XD_DOM0);
	grant(XD_DOM0, FRAME, true, &own);
	import(XD_DOMU, &own, &id);
	/* With many, Xen hardly gets on with destroying it. */
	grant(XD_DOMU, SMALL, true, &refs);
	draw(XD_DOMU, refs.id, 13);
	ret = try_refs(XD_DOM0, XD_MAP, &refs, true, &call);
	XT_CHECK(!ret, "map: %s", strerror(-ret));
	id = call.id;
	import(XD_DOM0, &refs, &imported);
	XT_CHECK(xt_domain_pages(XD_DOMU) > FRAME, "the domU has no memory");
	ret = xt_domain_destroy(XD_DOMU);
	XT_CHECK(!ret, "destroy the domU: %s", strerror(-ret));

	/* What it had of dom0's comes back, what dom0 has of its stays. */
	release(XD_DOM0, own.id);
	for (i = 0; i < FRAME; i++)
		XT_CHECK(!(get_entry(XD_DOM0, own.ref[i]).flags & GTF_ACCESS),
			 "reference %u cannot be ended", i);
	check_frame(XD_DOM0, id, 13);
	draw(XD_DOM0, id, 14);
	check_frame(XD_DOM0, id, 14);
	release(XD_DOM0, imported);
	release(XD_DOM0, id);
	check_stats(XD_DOM0, &stats);
}

/* The mailbox was unmapped when the process of the test before ended. */
static void destroyed_peer_leaves_nothing(void)
{
	time_t end = time(NULL) + WAIT_SECONDS;
	long pages, grants;

	while ((pages = xt_domain_pages(XD_DOMU))) {
		XT_CHECK(time(NULL) < end, "Xen keeps %ld pages", pages);
		usleep(500 * 1000);
	}
	grants = xt_active_grants();
	XT_CHECK(!grants, "Xen has %ld active grants", grants);
}

/* Nothing is held between tests, so that Xen can be asked for leaks. */
static void prepare(void)
{
}

#define FAILS XT_C_FAILS

static const struct xt_test tests[] = {
	{ "a frame of dom0 is one entry for a device of the domU, at the domU's own address",
	  one_entry_at_its_own_address, NULL, FAILS,
	  "it breaks superpages for a buffer" },
	{ "every pixel that is drawn in one domain is in the other, and no byte is a copy",
	  nothing_is_copied },
	{ "a copy would be found", a_copy_is_found },
	{ "frames come and go, four at a time, freed in any order, and leave nothing",
	  buffers_come_and_go, NULL, FAILS,
	  "it breaks superpages for buffers" },
	{ "every pixel that the domU draws in its own frames is in dom0, and no byte is a copy",
	  frames_of_the_domu },
	{ "a device of dom0 is given the machine address of a page",
	  device_of_dom0_gets_a_machine_page },
	{ "a device of dom0 is given a copy of 64 pages that are apart in the machine",
	  device_of_dom0_gets_a_copy },
	{ "a device of dom0 is refused a frame the pages of which are apart in the machine",
	  device_of_dom0_gets_no_frame },
	{ "a device of dom0 is given pages that are together in the machine without a copy",
	  device_of_dom0_gets_machine_runs },
	{ "frontend_revokes_under_mapping", frontend_revokes_under_mapping },
	{ "frontend_hands_out_bad_references",
	  frontend_hands_out_bad_references },
	{ "frontend_hands_out_duplicates", frontend_hands_out_duplicates },
	{ "frontend_hands_out_foreign_references",
	  frontend_hands_out_foreign_references },
	{ "frontend_grants_no_memory",
	  frontend_grants_no_memory, NULL, FAILS,
	  "its buffers are RAM when nothing is mapped" },
	{ "frontend_grants_a_foreign_page", frontend_grants_a_foreign_page },
	{ "frontend_grants_read_only", frontend_grants_read_only },
	{ "frontend_dies_under_mapping", frontend_dies_under_mapping },
	{ "frontend_exhausts_maptrack", frontend_exhausts_maptrack },
	{ "frontend_races_with_mapping", frontend_races_with_mapping },
	{ "backend_keeps_mapping",
	  backend_keeps_mapping, NULL, FAILS,
	  "a page that is still held is given out again" },
	{ "backend_keeps_coherent",
	  backend_keeps_coherent, NULL, FAILS,
	  "it is never tried again" },
	{ "backend_keeps_mapping_at_unbind",
	  backend_keeps_mapping_at_unbind, NULL, FAILS,
	  "it is never tried again" },
	{ "backend_writes_read_only", backend_writes_read_only },
	{ "backend_maps_ungranted", backend_maps_ungranted },
	{ "backend_maps_the_reserve",
	  backend_maps_the_reserve, NULL, FAILS,
	  "it keeps no reserve" },
	{ "backend_maps_what_was_unmapped", backend_maps_what_was_unmapped },
	{ "backend_reads_neighbours",
	  backend_reads_neighbours, NULL, FAILS,
	  "whole pages are granted" },
	{ "backend_dies_while_mapped",
	  backend_dies_while_mapped, NULL, FAILS,
	  "the device can not be bound again" },
	{ "backend_races_with_unmap",
	  backend_races_with_unmap, NULL, FAILS,
	  "the device can not be bound again" },
	{ "peer_is_destroyed_while_mapped", peer_is_destroyed_while_mapped },
	{ "destroyed_peer_leaves_nothing", destroyed_peer_leaves_nothing },
};

int main(int argc, char **argv)
{
	static const struct xt_part part = {
		.name = "DMA buffers", .is_rust = xt_is_rust_dma,
		.prepare = prepare,
	};

	return xd_main(&part, tests, ARRAY_SIZE(tests),
		       argc > 1 ? argv[1] : NULL);
}
