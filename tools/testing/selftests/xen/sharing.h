/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests in dom0 ask of either domain: to grant pages, to map or import
 * those of the other, and to draw and compare what is in them.
 *
 * What is not allowed to fail ends the test.  A side is XD_DOM0 or XD_DOMU.
 */
#ifndef XEN_SHARING_H
#define XEN_SHARING_H

#include "xen_test.h"
#include "domains.h"

#define FRAME		2025	/* pages of 4 KiB: 1920 x 1080 x 4 bytes */
#define FRAME_BYTES	(1920LL * 1080 * 4)

struct refs {
	uint32_t id;		/* of the pages, where they are granted */
	uint32_t nr;
	uint32_t ref[XD_MAX_REFS];
};

/* First in each test. */
void begin(void);

int other(int side);
const char *name_of(int side);
int try_call(int side, struct xd_call *call, enum xd_op op);
void do_call(int side, struct xd_call *call, enum xd_op op, const char *what);

void grant(int side, uint32_t nr, bool writable, struct refs *refs);
/* XD_MAP, XD_IMPORT ...: what has references, and flags if it is a dma-buf. */
int try_refs(int side, enum xd_op op, const struct refs *refs, bool writable,
	     struct xd_call *call);
struct xd_import import(int side, const struct refs *refs, uint32_t *id);
void release(int side, uint32_t id);

/* The frames of a side that references name. */
void get_frames(int side, const struct refs *refs, uint32_t *frames);

/*
 * Puts references of the domU in the order of the frames behind them, or in the
 * opposite one.  Returns how many frames the longest run has, and makes that
 * the first.
 */
uint32_t order_refs(struct refs *refs, bool ascending);

/*
 * A frame is a picture that its seed makes.  Where pages were granted, they can
 * be taken in the order of references to them, as they are mapped elsewhere.
 */
void draw(int side, uint32_t id, uint32_t seed);
void draw_in_order(int side, uint32_t id, const struct refs *order,
		   uint32_t seed);

/* How many bytes are not those of the frame that was drawn. */
uint64_t differ(int side, uint32_t id, uint32_t seed);
uint64_t differ_in_order(int side, uint32_t id, const struct refs *order,
			 uint32_t seed);
void check_frame(int side, uint32_t id, uint32_t seed);

struct xd_stats get_stats(int side);
/* Nothing is out of the pool that was not before, and no free was wrong. */
void check_stats(int side, const struct xd_stats *before);

#endif /* XEN_SHARING_H */
