"""The reader of unwind tables holds whatever lies there: random entries under AddressSanitizer and UBSan, no crash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[2] / "csrc"
ROUNDS = 20_000
HARNESS = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cfi_program.h"

static uint8_t memory[20000];
static const uint8_t COMMON[] = {20, 0, 0, 0, 0, 0, 0, 0, 1, /* CIE */
    'z', 'R', 0, 1, 0x78, 16, 1, 0x1b, 0x0c, 7, 8, 0x90, 1, 0, 0};

static void put(uint8_t *to, uint32_t value) { memcpy(to, &value, sizeof value); }

int main(int count, char **arguments) {
    int rounds = count > 1 ? atoi(arguments[1]) : 0, read = 0, refused = 0;
    srand(1);
    for (int round = 0; round < rounds; round++) {
        uint8_t *entry = memory + sizeof COMMON;
        uint32_t length = 20 + (uint32_t)rand() % 40;
        memset(memory, 0, 200);
        memcpy(memory, COMMON, sizeof COMMON);
        put(entry, length);
        put(entry + 4, sizeof COMMON + 4); /* back to the common part */
        put(entry + 8, 1000);              /* the function, from here */
        put(entry + 12, 500);              /* its length */
        for (uint32_t at = 17; at < 4 + length; at++) entry[at] = (uint8_t)(rand() % 3 ? rand() : rand() % 0x30);
        if (round % 3 == 0)
            for (int at = 0; at < 2; at++) memory[4 + rand() % 60] = (uint8_t)rand();
        mi_cfi_rules rules;
        if (mi_cfi_rules_at((uintptr_t)entry, (uintptr_t)entry + 1008 + (uintptr_t)(rand() % 500), &rules)) {
            refused++;
            continue;
        }
        read++;
        mi_frame frame = {.known = (1u << MI_CFI_REGISTERS) - 1};
        mi_stack_copy stack = {(uintptr_t)memory, sizeof memory, memory};
        uint64_t address = 0, value;
        for (int which = 0; which < MI_CFI_REGISTERS; which++)
            frame.value[which] = (uintptr_t)memory + (uintptr_t)(rand() % 20000);
        mi_cfi_frame_address(&rules, &frame, &stack, &address);
        for (int which = 0; which < MI_CFI_REGISTERS; which++)
            mi_cfi_value(&rules.of[which], &frame, &stack, address, &value);
    }
    printf("%d %d\n", read, refused);
    return 0;
}
"""


@pytest.mark.ends  # a program of C alone
@pytest.mark.skipif(sys.platform != "linux" or os.uname().machine != "x86_64", reason="the entries are of x86-64")
def test_random_entries_are_read_or_refused(tmp_path: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or not CSRC.is_dir():
        pytest.skip("no C compiler, or the sources are not here")
    source, program = tmp_path / "harness.c", tmp_path / "harness"
    source.write_text(HARNESS)
    parts = [str(CSRC / "os" / name) for name in ("cfi_program.c", "cfi_expression.c", "os_linux.c")]
    rooms = [f"-I{folder}" for folder in CSRC.iterdir() if folder.is_dir()]
    checks = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    built = subprocess.run([compiler, "-std=c11", "-D_GNU_SOURCE", "-O1", *checks, *rooms, str(source), *parts,
                            "-o", str(program)], capture_output=True, text=True)  # fmt: skip
    if built.returncode and "san" in built.stderr and "cannot find" in built.stderr:
        pytest.skip("the compiler's sanitizers are not installed")
    assert built.returncode == 0, built.stderr
    done = subprocess.run([str(program), str(ROUNDS)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    read, refused = map(int, done.stdout.split())
    assert read + refused == ROUNDS
    assert read > ROUNDS // 50
