#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The test that a kernel with the grant DMA operations in C may not survive.

exec ./grant_dma zero_size
