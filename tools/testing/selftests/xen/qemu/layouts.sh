# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034
#
# The machines that the tests are run on. What differs is which extended
# regions Xen finds for dom0: without an IOMMU they are the host's RAM that
# dom0 does not own, so they follow from the sizes of both.
#
# A C kernel adds whole sections (128 MiB with 4K pages) that lie inside a
# region, aligned, and inside what the linear map reaches; so what matters is
# how many of these a region has.

# The names of all layouts, in the order in which they are run.
LAYOUTS="default none small one fragmented low several"

# layout NAME: set memory and dom0 (MiB), xen (more Xen options), holes (start
# addresses of reserved 1 MiB pieces that cut the regions).
layout()
{
	memory=2048 dom0=1024 xen= holes=
	case $1 in
	default)	# two regions, five sections
		;;
	none)		# Xen gives no region at all
		xen=ext_regions=0 ;;
	small)		# one region of 186 MiB, no aligned section in it
		memory=1280 ;;
	one)		# one usable section
		memory=1024 dom0=512 ;;
	fragmented)	# eight regions of less than two sections, none aligned
		holes="0x46000000 0x4c000000 0x53000000 0x5a000000
		       0xa4000000 0xa9000000 0xb5000000" ;;
	low)		# the first region lies below the linear map
		memory=3072 ;;
	several)	# four regions around three banks of dom0's RAM
		memory=6144 dom0=4096 ;;
	*)
		return 1 ;;
	esac
}
