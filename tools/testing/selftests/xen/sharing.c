// SPDX-License-Identifier: GPL-2.0
/*
 * What the tests in dom0 ask of either domain.
 */

#include "sharing.h"

typedef uint16_t domid_t;
typedef uint32_t grant_ref_t;
#include <xen/gntdev.h>

int other(int side)
{
	return side == XD_DOM0 ? XD_DOMU : XD_DOM0;
}

const char *name_of(int side)
{
	return side == XD_DOM0 ? "dom0" : "the domU";
}

int try_call(int side, struct xd_call *call, enum xd_op op)
{
	call->op = op;
	call->domid = other(side);

	return xd_call(side, call);
}

void do_call(int side, struct xd_call *call, enum xd_op op, const char *what)
{
	int ret = try_call(side, call, op);

	XT_CHECK(!ret, "%s: %s: %s", name_of(side), what, strerror(-ret));
}

static void let_go(void)
{
	static struct xd_call call;

	try_call(XD_DOMU, &call, XD_RESET);
}

void begin(void)
{
	static struct xd_call call;

	xd_connect();
	do_call(XD_DOMU, &call, XD_RESET, "let go of all");
	xt_let_go = let_go;
}

void grant(int side, uint32_t nr, bool writable, struct refs *refs)
{
	static struct xd_call call;

	call.nr = nr;
	call.writable = writable;
	do_call(side, &call, XD_GRANT, "grant");
	refs->id = call.id;
	refs->nr = nr;
	memcpy(refs->ref, call.refs, nr * sizeof(refs->ref[0]));
}

int try_refs(int side, enum xd_op op, const struct refs *refs, bool writable,
	     struct xd_call *call)
{
	call->nr = refs->nr;
	call->writable = writable;
	call->flags = GNTDEV_DMA_FLAG_COHERENT;
	memcpy(call->refs, refs->ref, refs->nr * sizeof(refs->ref[0]));

	return try_call(side, call, op);
}

void release(int side, uint32_t id)
{
	static struct xd_call call;

	call.id = id;
	do_call(side, &call, XD_RELEASE, "release");
}

static void set_order(struct xd_call *call, const struct refs *order)
{
	call->nr = order ? order->nr : 0;
	if (order)
		memcpy(call->refs, order->ref,
		       order->nr * sizeof(order->ref[0]));
}

void draw_in_order(int side, uint32_t id, const struct refs *order,
		   uint32_t seed)
{
	static struct xd_call call;

	set_order(&call, order);
	call.id = id;
	call.seed = seed;
	do_call(side, &call, XD_DRAW, "draw");
}

void draw(int side, uint32_t id, uint32_t seed)
{
	draw_in_order(side, id, NULL, seed);
}

uint64_t differ_in_order(int side, uint32_t id, const struct refs *order,
			 uint32_t seed)
{
	static struct xd_call call;

	set_order(&call, order);
	call.id = id;
	call.seed = seed;
	do_call(side, &call, XD_CHECK, "compare");

	return call.bytes;
}

uint64_t differ(int side, uint32_t id, uint32_t seed)
{
	return differ_in_order(side, id, NULL, seed);
}

void check_frame(int side, uint32_t id, uint32_t seed)
{
	uint64_t wrong = differ(side, id, seed);

	XT_CHECK(!wrong, "%s reads %llu bytes otherwise", name_of(side),
		 (unsigned long long)wrong);
}

struct xd_stats get_stats(int side)
{
	static struct xd_call call;

	do_call(side, &call, XD_STATS, "statistics");

	return call.stats;
}

struct xd_import import(int side, const struct refs *refs, uint32_t *id)
{
	static struct xd_call call;
	int ret = try_refs(side, XD_IMPORT, refs, true, &call);

	XT_CHECK(!ret, "%s: a dma-buf of %u pages: %s", name_of(side),
		 refs->nr, strerror(-ret));
	*id = call.id;

	return call.import;
}

void check_stats(int side, const struct xd_stats *before)
{
	struct xd_stats after = get_stats(side);

	XT_CHECK(after.pages_out == before->pages_out,
		 "%s: %lld pages are out, before %lld", name_of(side),
		 (long long)after.pages_out, (long long)before->pages_out);
	XT_CHECK(after.ballooned == before->ballooned,
		 "%s: %lld ballooned pages are out, before %lld",
		 name_of(side), (long long)after.ballooned,
		 (long long)before->ballooned);
	XT_CHECK(after.refused == before->refused,
		 "%s: the free of %lld pages was refused", name_of(side),
		 (long long)(after.refused - before->refused));
}

void get_frames(int side, const struct refs *refs, uint32_t *frames)
{
	static struct xd_call call;

	call.nr = refs->nr;
	memcpy(call.refs, refs->ref, refs->nr * sizeof(refs->ref[0]));
	do_call(side, &call, XD_FRAMES, "look at the grant table");
	memcpy(frames, call.refs, refs->nr * sizeof(frames[0]));
}

struct granted {
	uint32_t frame;
	uint32_t ref;
};

static int by_frame(const void *a, const void *b)
{
	const struct granted *one = a, *two = b;

	return one->frame < two->frame ? -1 : one->frame > two->frame;
}

uint32_t order_refs(struct refs *refs, bool ascending)
{
	static struct granted entries[XD_MAX_REFS];
	static uint32_t frames[XD_MAX_REFS];
	uint32_t i, nr = refs->nr, first = 0, best = 0, length = 0;

	get_frames(XD_DOMU, refs, frames);
	for (i = 0; i < nr; i++)
		entries[i] = (struct granted){ frames[i], refs->ref[i] };
	qsort(entries, nr, sizeof(entries[0]), by_frame);
	for (i = 0; i < nr; i++) {
		if (!i || entries[i].frame != entries[i - 1].frame + 1)
			length = 0;
		if (++length > best) {
			best = length;
			first = i + 1 - length;
		}
	}
	for (i = 0; i < nr; i++) {
		uint32_t from = (first + i) % nr;

		refs->ref[ascending ? i : nr - 1 - i] = entries[from].ref;
	}

	return best;
}
