"""Where calls may not be redirected the GIL is sampled, and all say so: a preloaded library refuses mprotect for them.

It stands for an interpreter with full RELRO under seccomp, SELinux or mseal: the pages of the calls' slots are
read-only in the memory map that it shows, and who would make them writable is answered EPERM.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import textwrap
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.skipif(bool(sysconfig.get_config_var("Py_GIL_DISABLED")), reason="this build has no GIL to trace"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="the planted code knows x86-64's relocations"),
]
REFUSES = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static uintptr_t inside, first = UINTPTR_MAX, last;

static int look(struct dl_phdr_info *info, size_t size, void *unused) {
    const ElfW(Dyn) *entry = NULL;
    const ElfW(Sym) *symbols = NULL;
    const char *strings = NULL;
    const ElfW(Rela) *tables[2] = {0};
    size_t bytes[2] = {0};
    int holds = 0;
    (void)size, (void)unused;
    for (int at = 0; at < info->dlpi_phnum; at++) {
        uintptr_t start = info->dlpi_addr + info->dlpi_phdr[at].p_vaddr;
        if (info->dlpi_phdr[at].p_type == PT_LOAD && inside - start < info->dlpi_phdr[at].p_memsz) holds = 1;
        if (info->dlpi_phdr[at].p_type == PT_DYNAMIC) entry = (const void *)start;
    }
    for (; holds && entry && entry->d_tag; entry++) {
        if (entry->d_tag == DT_SYMTAB) symbols = (const void *)entry->d_un.d_ptr;
        if (entry->d_tag == DT_STRTAB) strings = (const void *)entry->d_un.d_ptr;
        if (entry->d_tag == DT_JMPREL) tables[0] = (const void *)entry->d_un.d_ptr;
        if (entry->d_tag == DT_PLTRELSZ) bytes[0] = entry->d_un.d_val;
        if (entry->d_tag == DT_RELA) tables[1] = (const void *)entry->d_un.d_ptr;
        if (entry->d_tag == DT_RELASZ) bytes[1] = entry->d_un.d_val;
    }
    for (int which = 0; holds && which < 2; which++)
        for (size_t at = 0; at < bytes[which] / sizeof **tables; at++) {
            unsigned kind = ELF64_R_TYPE(tables[which][at].r_info);
            if (kind != R_X86_64_JUMP_SLOT && kind != R_X86_64_GLOB_DAT) continue;
            const char *name = strings + symbols[ELF64_R_SYM(tables[which][at].r_info)].st_name;
            if (strncmp(name, "pthread_", 8)) continue;
            uintptr_t page = (info->dlpi_addr + tables[which][at].r_offset) & ~(uintptr_t)4095;
            if (page < first) first = page;
            if (page + 4096 > last) last = page + 4096;
        }
    return holds;
}

__attribute__((constructor)) static void begin(void) {
    inside = (uintptr_t)dlsym(RTLD_DEFAULT, "PyEval_SaveThread");
    if (inside) dl_iterate_phdr(look, NULL);
}

static int map_without_w(void) {
    FILE *real = fdopen((int)syscall(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC), "r");
    int fd = memfd_create("maps", MFD_CLOEXEC);
    char line[8192];
    while (real && fgets(line, sizeof line, real)) {
        unsigned long start, end;
        int at = 0;
        if (sscanf(line, "%lx-%lx %n", &start, &end, &at) == 2 && start < last && end > first) line[at + 1] = '-';
        if (write(fd, line, strlen(line)) < 0) break;
    }
    if (real) fclose(real);
    lseek(fd, 0, SEEK_SET);
    return fd;
}

int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    int mode = va_arg(more, int);
    va_end(more);
    if (last && !strcmp(path, "/proc/self/maps")) return map_without_w();
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int mprotect(void *address, size_t size, int access) {
    uintptr_t start = (uintptr_t)address;
    if (access & PROT_WRITE && start < last && start + size > first) {
        errno = EPERM;
        return -1;
    }
    return (int)syscall(SYS_mprotect, address, size, access);
}
"""
PROGRAM = """\
import sys, threading, time
def work():
    end = time.monotonic() + 0.5
    while time.monotonic() < end: sum(range(100))
thread = threading.Thread(target=work, name="worker")
thread.start()
thread.join()
print("the program's own")
sys.exit(7)
"""


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the calls cannot be redirected."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("refused")
    source, library = folder / "refuses.c", folder / "refuses.so"
    source.write_text(REFUSES)
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", str(source), "-o", str(library)], check=True)
    paths = os.pathsep.join(sys.path)
    return {**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": paths}


def run(refused: dict[str, str], folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    script = folder / "program.py"
    script.write_text(PROGRAM)
    command = [sys.executable, "-m", "meminspect", "gil", "run", *options, str(script)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=refused)


def test_a_trace_says_why_not_and_what_there_is_instead(refused: dict[str, str]) -> None:
    code = """
        import time
        from meminspect import NativeError, gil
        try:
            gil.trace().start()
        except NativeError as error:
            print(error.code, "|", error)
        with gil.sample(rate_hz=200) as sample:
            time.sleep(1)
        assert sample.result.looks > 0 and not sample.result.exact
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60, env=refused
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("permission | ")
    assert "mprotect was refused" in done.stdout
    assert "gil.sample()" in done.stdout


def test_a_program_is_sampled_instead(refused: dict[str, str], tmp_path: Path) -> None:
    done = run(refused, tmp_path, "--trace", str(tmp_path / "gil.json"))
    assert (done.returncode, done.stdout) == (7, "the program's own\n"), done.stderr
    assert "The GIL could not be traced: the pages that hold libpython's calls" in done.stderr
    assert "worker" in done.stderr
    assert "gil.json is not written: the GIL was sampled" in done.stderr
    assert not (tmp_path / "gil.json").exists()


def test_its_document_says_that_it_is_a_sample(refused: dict[str, str], tmp_path: Path) -> None:
    target = tmp_path / "gil.json"
    done = run(refused, tmp_path, "--json", "-o", str(target))
    assert (done.returncode, done.stderr) == (7, "")
    document = json.loads(target.read_text())
    assert document["sampled"] is True
    assert document["exact"] is False
    assert "mprotect was refused" in document["why"]
    [worker] = [thread for thread in document["threads"] if thread["name"] == "worker"]
    assert worker["held_share"] > 0.2


def test_the_environment_variable_says_it_in_one_line(refused: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import meminspect; print('its own')"], capture_output=True, text=True, timeout=60,
        env={**refused, "MEMINSPECT_GIL_TRACE": "-"},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "its own\n")
    assert done.stderr.startswith("meminspect: MEMINSPECT_GIL_TRACE: ")
    assert len(done.stderr.splitlines()) == 1
