# SPDX-License-Identifier: GPL-2.0
"""The workbench: everything between one command and its result."""
