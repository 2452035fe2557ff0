# SPDX-License-Identifier: GPL-2.0
"""Kernels of machines that nothing here boots: their Xen code is compiled."""

import re

from . import say
from .ktap import Result

# Configuration target, options, what is compiled.
COMPILED = {
    "x86_64": ("x86_64_defconfig xen.config",
               "XEN_PV XEN_PVH XEN_DOM0 XEN_GNTDEV_DMABUF "
               "XEN_GRANT_DMA_ALLOC XEN_UNPOPULATED_ALLOC XEN_VIRTIO RUST",
               "drivers/xen/ arch/x86/xen/"),
    "arm": ("multi_v7_defconfig xen.config",
            "XEN_DOM0 XEN_GNTDEV_DMABUF XEN_GRANT_DMA_ALLOC XEN_VIRTIO",
            "drivers/xen/ arch/arm/xen/"),
}


class Compiled:
    """A kernel of another architecture: it compiles without a warning."""

    def __init__(self, bench, name):
        self.bench = bench
        self.name = name
        self.targets, self.options, self.folders = COMPILED[name]

    def run(self):
        """One test: whether it does, of the tree as it is."""
        return self._run("", anew="yes")

    def step(self, count):
        """The same after so many patches of the series. What they have not
        changed since the last step is not looked at again."""
        return self._run(f"-{count:02d}", anew="yes" if count == 1 else "")

    def _run(self, after, anew):
        bench, result = self.bench, Result()
        log = bench.settings.logs / f"compiled-{self.name}{after}.log"
        obj = bench.tree.work / f"compiled-{self.name}"
        obj.mkdir(exist_ok=True)
        script = """
            run="make -s LLVM=1 ARCH=$ARCH O=$O"
            [ -z "$ANEW" ] || $run $TARGETS
            for option in $OPTIONS; do
                ./scripts/config --file "$O/.config" -e $option
            done
            # Not with each compiler can objtool's warnings be had.
            ./scripts/config --file "$O/.config" -d OBJTOOL_WERROR
            $run olddefconfig
            for option in $OPTIONS; do
                grep -q "^CONFIG_$option=y" "$O/.config" || {
                    echo "CONFIG_$option is not to be had"; exit 1; }
            done
            $run -j"$JOBS" W=1 prepare
            # What is compiled already would not warn again.
            [ -z "$ANEW" ] || for folder in $FOLDERS; do
                find "$O/$folder" -name '*.o' -delete 2>/dev/null || :
            done
            $run -j"$JOBS" W=1 $FOLDERS
        """
        env = {"ARCH": self.name, "O": obj, "TARGETS": self.targets,
               "OPTIONS": self.options, "FOLDERS": self.folders,
               "ANEW": anew, "JOBS": bench.settings.jobs}
        with say.step(f"compiling for {self.name}") as note:
            status = bench.toolchain.run(
                ["sh", "-ec", script], log, "", cwd=bench.tree.path, env=env,
                check=False, note=note, timeout=7200)
        text = log.read_text(errors="replace")
        warned = re.search(r"^.*\bwarning: .*$", text, re.MULTILINE)
        if status == 0 and not warned:
            result.passed += 1
        else:
            result.failed += 1
            why = warned[0] if warned else f"status {status}"
            result.failures.append(f"for {self.name}: {why} (log: {log})")
        return result
