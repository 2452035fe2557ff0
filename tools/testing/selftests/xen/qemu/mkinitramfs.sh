#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Make the initramfs of the test guest: a static busybox, the installed
# kselftests and init.sh, and a static e2fsck for the tests of disks. Needs cpio
# and gzip, and no privilege.

set -e
here=$(cd "$(dirname "$0")" && pwd -P)

usage()
{
	echo "usage: $0 -b BUSYBOX -o OUTPUT [-s KSELFTEST_INSTALL_DIR]" \
	     "[-f E2FSCK]" >&2
	exit 2
}

busybox= output= selftests= e2fsck=
while getopts b:o:s:f: opt; do
	case $opt in
	b) busybox=$OPTARG ;;
	o) output=$OPTARG ;;
	s) selftests=$OPTARG ;;
	f) e2fsck=$OPTARG ;;
	*) usage ;;
	esac
done
[ -n "$busybox" ] && [ -n "$output" ] || usage

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
trap 'exit 1' INT TERM

mkdir -p "$root/bin" "$root/dev" "$root/proc" "$root/sys"
cp "$busybox" "$root/bin/busybox"
ln -s busybox "$root/bin/sh"
cp "$here/init.sh" "$root/init"
chmod 755 "$root/bin/busybox" "$root/init"
if [ -n "$e2fsck" ]; then
	cp "$e2fsck" "$root/bin/e2fsck"
fi
if [ -n "$selftests" ]; then
	cp -a "$selftests" "$root/kselftest"
fi

# Sorted and with owner and times fixed: the same input, the same image.
find "$root" -exec touch -h -d @0 {} +
(cd "$root" && find . | LC_ALL=C sort |
 cpio --quiet -o -H newc -R 0:0 --reproducible) | gzip -1n >"$output.new"
mv "$output.new" "$output"
