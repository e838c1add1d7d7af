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

#include "cfi.h"

enum {
    STACK_BYTES = 32 << 10,
    BUFFER_BYTES = 64 << 10,
    SAMPLE_EVERY_NS = 100000,
    SEEN_WITHIN_MS = 20,
    FUNCTION = 96,
    TEXT = 256
};

/* A thread as it was at one moment. */
typedef struct seen {
    mi_frame frame;
    mi_stack_copy stack;
    unsigned char *room; /* STACK_BYTES */
} seen;

#if defined(__x86_64__)
/* the numbers of <asm/perf_regs.h> as DWARF's, in ascending order */
#define REGISTERS 0xFF01FFull
static const signed char DWARF_NUMBER[] = {0, 3, 2, 1, 4, 5, 6, 7, 16, 8, 9, 10, 11, 12, 13, 14, 15};

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
#define REGISTERS ((1ull << PERF_REG_ARM64_MAX) - 1)
static const signed char DWARF_NUMBER[] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16,
                                           17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32};

/* BL, BLR (Arm ARM C6.2). */
static int is_behind_call(uintptr_t address) {
    uint32_t before;
    if (address & 3 || mi_os_read(0, address - 4, &before, sizeof before)) return 0;
    return before >> 26 == 0x25 || (before & 0xFFFFFC1Fu) == 0xD63F0000u;
}
#endif

/* ---- where it is ------------------------------------------------------------------------------------------------------ */

/* 1 when it sleeps: `text` is what the kernel says of it then, the same as long as it sleeps. */
static int sleeps(int32_t tid, char *text) {
    char path[64];
    mi_error error;
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", (int)tid);
    ssize_t got = mi_os_slurp(path, text, TEXT, &error);
    return got > 0 && strncmp(text, "running", 7) != 0;
}

static int where_it_sleeps(int32_t tid, seen *to) {
    char text[TEXT], again[TEXT];
    unsigned long long pc, sp;
    if (!sleeps(tid, text)) return 0;
    strcpy(again, text);
    char *last = strrchr(again, ' ');
    if (!last) return 0;
    *last = 0;
    char *before = strrchr(again, ' ');
    if (!before || sscanf(last + 1, "%llx", &pc) != 1 || sscanf(before + 1, "%llx", &sp) != 1) return 0;
    to->stack = (mi_stack_copy){.start = (uintptr_t)sp, .size = STACK_BYTES, .bytes = to->room};
    /* what there is of it: the stack may end before */
    while (to->stack.size && mi_os_read(0, to->stack.start, to->room, to->stack.size)) to->stack.size /= 2;
    if (!sleeps(tid, again) || strcmp(text, again)) return 0; /* it went on meanwhile */
    to->frame = (mi_frame){.interrupted = 1};
    mi_frame_set(&to->frame, MI_CFI_PC, pc);
    mi_frame_set(&to->frame, MI_CFI_STACK, sp);
    return 1;
}

/* The first record of the buffer: header, abi, registers, size of the stack, the stack, how much of it is filled. */
static int read_sample(const unsigned char *at, uint64_t written, seen *to) {
    const size_t registers = sizeof DWARF_NUMBER;
    struct perf_event_header head;
    uint64_t words[2 + sizeof DWARF_NUMBER], filled;
    if (written < sizeof head) return 0;
    memcpy(&head, at, sizeof head);
    if (head.type != PERF_RECORD_SAMPLE || head.size > written || head.size < sizeof head + sizeof words) return 0;
    memcpy(words, at + sizeof head, sizeof words);
    uint64_t size = words[1 + registers];
    if (words[0] == PERF_SAMPLE_REGS_ABI_NONE || !size || size > STACK_BYTES) return 0;
    if (head.size < sizeof head + sizeof words + size + sizeof filled) return 0;
    memcpy(to->room, at + sizeof head + sizeof words, size);
    memcpy(&filled, at + sizeof head + sizeof words + size, sizeof filled);
    to->frame = (mi_frame){.interrupted = 1};
    for (size_t which = 0; which < registers; which++) mi_frame_set(&to->frame, DWARF_NUMBER[which], words[1 + which]);
    to->stack = (mi_stack_copy){
        .start = (uintptr_t)to->frame.value[MI_CFI_STACK], .size = filled < size ? filled : size, .bytes = to->room};
    return 1;
}

static mi_stack_how where_it_runs(int32_t tid, seen *to) {
    struct perf_event_attr attributes = {.type = PERF_TYPE_SOFTWARE,
                                         .size = sizeof attributes,
                                         .config = PERF_COUNT_SW_TASK_CLOCK,
                                         .sample_period = SAMPLE_EVERY_NS,
                                         .sample_type = PERF_SAMPLE_REGS_USER | PERF_SAMPLE_STACK_USER,
                                         .sample_regs_user = REGISTERS,
                                         .sample_stack_user = STACK_BYTES,
                                         .exclude_kernel = 1,
                                         .exclude_hv = 1,
                                         .wakeup_events = 1};
    size_t page = mi_os_page_size(), room = page + (BUFFER_BYTES < page ? page : BUFFER_BYTES);
    int fd = (int)syscall(SYS_perf_event_open, &attributes, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);
    if (fd < 0) return MI_STACK_REFUSED;
    struct perf_event_mmap_page *control = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    mi_stack_how how = MI_STACK_REFUSED;
    if (control != MAP_FAILED) {
        struct pollfd waits = {.fd = fd, .events = POLLIN};
        how = MI_STACK_GONE;
        if (poll(&waits, 1, SEEN_WITHIN_MS) > 0 &&
            read_sample((const unsigned char *)control + page, __atomic_load_n(&control->data_head, __ATOMIC_ACQUIRE),
                        to))
            how = MI_STACK_RUNNING;
        munmap(control, room);
    }
    close(fd);
    return how;
}

/* ---- as text ---------------------------------------------------------------------------------------------------------- */

typedef struct writer {
    char *text;
    size_t size, used;
} writer;

static int add_line(writer *to, const char *line) {
    size_t length = strlen(line);
    if (to->used + length >= to->size) return 0;
    if (to->used >= length && !strcmp(to->text + to->used - length, line)) return 0; /* once is enough */
    memcpy(to->text + to->used, line, length + 1);
    to->used += length;
    return 1;
}

static int add(writer *to, const mi_maps *maps, uintptr_t address) {
    char name[FUNCTION], line[2 * FUNCTION];
    const char *object = NULL;
    if (mi_symbol_at(maps, address, name, sizeof name, &object)) return 0;
    const char *base = strrchr(object, '/') ? strrchr(object, '/') + 1 : object;
    int length = snprintf(line, sizeof line, "%s (%.80s)\n", name[0] ? name : "?", base);
    return length > 0 && (size_t)length < sizeof line && add_line(to, line);
}

static int is_proven(const mi_maps *maps, const mi_frame *frame) {
    uintptr_t at = (uintptr_t)frame->value[MI_CFI_PC];
    const mi_mapping *mapping = mi_os_maps_find(maps, at - !frame->interrupted);
    return mapping && mapping->flags & MI_MAP_EXEC && (frame->interrupted || is_behind_call(at));
}

/* Frames are followed a few times deeper than lines are written: a line that is like the last one is not written. */
static void write_stack(const mi_maps *maps, seen *thread, int depth, writer *to) {
    mi_frame *frame = &thread->frame;
    mi_error error = MI_OK;
    int lines = add(to, maps, (uintptr_t)frame->value[MI_CFI_PC]);
    for (int frames = 1; lines < depth && frames < 4 * depth; frames++) {
        error = mi_cfi_caller(maps, &thread->stack, frame);
        if (!error && !is_proven(maps, frame)) error = MI_E_ABSENT;
        if (error) break;
        lines += add(to, maps, (uintptr_t)frame->value[MI_CFI_PC] - !frame->interrupted);
    }
    if (error && error != MI_E_LIMIT) add_line(to, MI_STACK_UNPROVEN "\n");
}

mi_stack_how mi_native_stack(int32_t tid, int depth, char *text, size_t size) {
    mi_maps maps;
    text[0] = 0;
    seen thread = {.room = mi_os_alloc(STACK_BYTES)};
    if (!thread.room) return MI_STACK_GONE;
    mi_stack_how how = where_it_sleeps(tid, &thread) ? MI_STACK_BLOCKED : where_it_runs(tid, &thread);
    if ((how == MI_STACK_BLOCKED || how == MI_STACK_RUNNING) && !mi_os_maps(0, &maps)) {
        writer to = {.text = text, .size = size};
        write_stack(&maps, &thread, depth, &to);
        mi_os_maps_free(&maps);
    }
    mi_os_free(thread.room, STACK_BYTES);
    return how;
}
#else
mi_stack_how mi_native_stack(int32_t tid, int depth, char *text, size_t size) {
    (void)tid, (void)depth, (void)size;
    text[0] = 0;
    return MI_STACK_REFUSED;
}
#endif
