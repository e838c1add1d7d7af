/* native_stack.c - see native_stack.h. */
#ifdef __linux__
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#endif
#include "native_stack.h"

#include <stdio.h>
#include <string.h>

#include "symbols.h"

#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__))
#include <asm/perf_regs.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { STACK_WORDS = 2048, SAMPLE_EVERY_NS = 100000, SEEN_WITHIN_MS = 20, FUNCTION = 96 };

#if defined(__x86_64__)
#define STACK_REGISTER PERF_REG_X86_SP

/* call rel32, or a call through a register or memory (Intel SDM, CALL: E8, FF /2). */
static int is_behind_call(uintptr_t address) {
    unsigned char before[8];
    if (mi_os_read(0, address - 8, before, sizeof before)) return 0;
    if (before[3] == 0xE8) return 1;
    for (int length = 2; length <= 7; length++)
        if (before[8 - length] == 0xFF && (before[8 - length + 1] >> 3 & 7) == 2) return 1;
    return 0;
}
#else
#define STACK_REGISTER PERF_REG_ARM64_SP

/* BL, BLR (Arm ARM C6.2). */
static int is_behind_call(uintptr_t address) {
    uint32_t before;
    if (address & 3 || mi_os_read(0, address - 4, &before, sizeof before)) return 0;
    return before >> 26 == 0x25 || (before & 0xFFFFFC1Fu) == 0xD63F0000u;
}
#endif

/* ---- where it is ------------------------------------------------------------------------------------------------------ */

/* 1 when it sleeps: both are known. */
static int where_it_sleeps(int32_t tid, uintptr_t *at, uintptr_t *stack) {
    char path[64], text[256];
    mi_error error;
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", (int)tid);
    ssize_t got = mi_os_slurp(path, text, sizeof text, &error);
    if (got <= 0 || !strncmp(text, "running", 7)) return 0;
    while (got > 0 && (text[got - 1] == '\n' || text[got - 1] == ' ')) text[--got] = 0;
    char *last = strrchr(text, ' ');
    if (!last) return 0;
    *last = 0;
    char *before = strrchr(text, ' ');
    unsigned long long pc, sp;
    if (!before || sscanf(last + 1, "%llx", &pc) != 1 || sscanf(before + 1, "%llx", &sp) != 1) return 0;
    *at = (uintptr_t)pc;
    *stack = (uintptr_t)sp;
    return 1;
}

static mi_stack_how where_it_runs(int32_t tid, uintptr_t *at, uintptr_t *stack) {
    struct perf_event_attr attributes = {.type = PERF_TYPE_SOFTWARE,
                                         .size = sizeof attributes,
                                         .config = PERF_COUNT_SW_TASK_CLOCK,
                                         .sample_period = SAMPLE_EVERY_NS,
                                         .sample_type = PERF_SAMPLE_IP | PERF_SAMPLE_REGS_USER,
                                         .sample_regs_user = 1ull << STACK_REGISTER,
                                         .exclude_kernel = 1,
                                         .exclude_hv = 1,
                                         .wakeup_events = 1};
    size_t page = mi_os_page_size();
    int fd = (int)syscall(SYS_perf_event_open, &attributes, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);
    if (fd < 0) return MI_STACK_REFUSED;
    struct perf_event_mmap_page *control = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    mi_stack_how how = MI_STACK_REFUSED;
    if (control != MAP_FAILED) {
        struct pollfd waits = {.fd = fd, .events = POLLIN};
        how = MI_STACK_GONE;
        if (poll(&waits, 1, SEEN_WITHIN_MS) > 0) {
            const struct {
                struct perf_event_header head;
                uint64_t ip, abi, sp;
            } *sample = (const void *)((const char *)control + page); /* the first record, at the buffer's beginning */
            uint64_t written = __atomic_load_n(&control->data_head, __ATOMIC_ACQUIRE);
            if (written >= sizeof *sample && sample->head.type == PERF_RECORD_SAMPLE && sample->abi) {
                *at = (uintptr_t)sample->ip;
                *stack = (uintptr_t)sample->sp;
                how = MI_STACK_RUNNING;
            }
        }
        munmap(control, 2 * page);
    }
    close(fd);
    return how;
}

/* ---- as text ---------------------------------------------------------------------------------------------------------- */

typedef struct writer {
    char *text;
    size_t size, used;
} writer;

static int add(writer *to, const mi_maps *maps, uintptr_t address) {
    char name[FUNCTION], line[2 * FUNCTION];
    const char *object = NULL;
    if (mi_symbol_at(maps, address, name, sizeof name, &object)) return 0;
    const char *base = strrchr(object, '/') ? strrchr(object, '/') + 1 : object;
    int length = snprintf(line, sizeof line, "%s (%.80s)\n", name[0] ? name : "?", base);
    if (length < 0 || (size_t)length >= sizeof line || to->used + (size_t)length >= to->size) return 0;
    if (to->used >= (size_t)length && !strcmp(to->text + to->used - length, line)) return 0; /* once is enough */
    memcpy(to->text + to->used, line, (size_t)length + 1);
    to->used += (size_t)length;
    return 1;
}

mi_stack_how mi_native_stack(int32_t tid, int depth, char *text, size_t size) {
    uintptr_t at = 0, stack = 0;
    mi_maps maps;
    text[0] = 0;
    mi_stack_how how = where_it_sleeps(tid, &at, &stack) ? MI_STACK_BLOCKED : where_it_runs(tid, &at, &stack);
    if (how != MI_STACK_BLOCKED && how != MI_STACK_RUNNING) return how;
    uintptr_t *words = mi_os_alloc(STACK_WORDS * sizeof *words);
    if (!words) return how;
    size_t count = STACK_WORDS; /* what there is of it: the stack may end before */
    while (count && mi_os_read(0, stack, words, count * sizeof *words)) count /= 2;
    if (!mi_os_maps(0, &maps)) {
        writer to = {.text = text, .size = size};
        int lines = add(&to, &maps, at);
        for (size_t word = 0; word < count && lines < depth; word++) {
            const mi_mapping *mapping = mi_os_maps_find(&maps, words[word]);
            if (mapping && mapping->flags & MI_MAP_EXEC && mapping->name[0] == '/' && is_behind_call(words[word]))
                lines += add(&to, &maps, words[word] - 1);
        }
        mi_os_maps_free(&maps);
    }
    mi_os_free(words, STACK_WORDS * sizeof *words);
    return how;
}
#else
mi_stack_how mi_native_stack(int32_t tid, int depth, char *text, size_t size) {
    (void)tid, (void)depth, (void)size;
    text[0] = 0;
    return MI_STACK_REFUSED;
}
#endif
