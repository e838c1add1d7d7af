/* gil_code.c - see gil_code.h. */
#ifdef __linux__
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#endif
#include "gil_code.h"

#include <pthread.h>
#include <string.h>

enum {
    INDEX_BITS = 15,
    FRAMES_MOST = 64,
    NAME_MOST = 1024,         /* bytes of a function's or a file's name */
    LINES_MOST = 256 << 10,   /* bytes of a table of lines */
    OWNED_BY_INTERPRETER = 3, /* and above: frames that are no function's (pycore_frame.h, enum _frameowner) */
    STACKREF_TAGS = 7         /* bits of a word that are no part of an address, from 3.14 on */
};

static struct {
    mi_gil_region *region; /* NULL: no attribution */
    const mi_layout *layout;
    const mi_target *target;
    uintptr_t code_type;
    void *(*own_thread_state)(void);
    _Atomic uint32_t index[1 << INDEX_BITS]; /* rows, by address; open addressing */
} table;

static pthread_mutex_t adding = PTHREAD_MUTEX_INITIALIZER;

mi_error mi_gil_code_begin(mi_gil_region *region, const mi_runtime *runtime, uintptr_t code_type,
                           void *(*own_thread_state)(void)) {
    const mi_layout *layout = runtime->layout;
    if (layout->iframe_instruction == MI_ABSENT || layout->code_linetable == MI_ABSENT) return MI_E_LAYOUT;
    for (size_t at = 0; at < 1 << INDEX_BITS; at++) atomic_store_explicit(&table.index[at], 0, memory_order_relaxed);
    table.layout = layout;
    table.target = runtime->target;
    table.code_type = code_type;
    table.own_thread_state = own_thread_state;
    atomic_store(&region->codes, 1);
    region->attributed = 1;
    table.region = region;
    return MI_OK;
}

void mi_gil_code_end(void) { table.region = NULL; }

void mi_gil_code_forget(void) {
    table.region = NULL;
    adding = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}

/* ---- the table -------------------------------------------------------------------------------------------------------- */

/* A code object by what it refers to: another one at the same address has other strings. */
typedef struct identity {
    uintptr_t address, name, lines;
    int32_t first_line;
} identity;

/* One character of a str of this kind, as UTF-8. */
static size_t encode(uint32_t c, char *to) {
    if (c < 0x80) return to[0] = (char)c, 1;
    size_t more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const unsigned char marks[] = {0, 0xC0, 0xE0, 0xF0};
    to[0] = (char)(marks[more] | c >> (6 * more));
    for (size_t at = 1; at <= more; at++) to[at] = (char)(0x80 | (c >> (6 * (more - at)) & 0x3F));
    return more + 1;
}

/* Copies a str as UTF-8; what does not fit is cut. */
static size_t copy_str(uintptr_t object, char *to, size_t room) {
    const mi_layout *layout = table.layout;
    uint32_t state = 0;
    int64_t length = 0;
    char raw[NAME_MOST];
    if (mi_target_read(table.target, object + (uintptr_t)layout->str_state, &state, sizeof state) ||
        mi_target_read(table.target, object + (uintptr_t)layout->str_length, &length, sizeof length) || length < 0)
        return 0;
    unsigned shift = (unsigned)layout->str_kind_shift;
    unsigned kind = state >> shift & 7, ascii = state >> (shift + 4) & 1;
    if (!(state >> (shift + 3) & 1) || (kind != 1 && kind != 2 && kind != 4)) return 0;
    uintptr_t data = object + (uintptr_t)(ascii ? layout->str_ascii_size : layout->str_compact_size);
    size_t bytes = (size_t)length * kind < sizeof raw ? (size_t)length * kind : sizeof raw;
    if (mi_target_read(table.target, data, raw, bytes)) return 0;
    size_t used = 0;
    for (size_t at = 0; at + kind <= bytes && used + 4 <= room; at += kind) {
        uint32_t c = 0;
        memcpy(&c, raw + at, kind); /* little-endian, as both platforms are */
        used += encode(c, to + used);
    }
    return used;
}

static size_t copy_bytes(uintptr_t object, char *to, size_t room) {
    int64_t size = 0;
    if (mi_target_read(table.target, object + (uintptr_t)table.layout->object_var_size, &size, sizeof size) ||
        size < 0 || (size_t)size > room)
        return 0;
    return mi_target_read(table.target, object + (uintptr_t)table.layout->bytes_data, to, (size_t)size) ? 0
                                                                                                        : (size_t)size;
}

/* Under `adding`. */
static uint32_t add(const identity *code) {
    mi_gil_region *region = table.region;
    uint32_t row = atomic_load_explicit(&region->codes, memory_order_relaxed);
    uint64_t at = atomic_load_explicit(&region->text_used, memory_order_relaxed);
    uintptr_t file = 0;
    if (row >= MI_GIL_CODES_MOST || at + 2 * NAME_MOST + LINES_MOST > MI_GIL_TEXT_SIZE) {
        atomic_fetch_add(&region->codes_left_out, 1);
        return 0;
    }
    char *text = mi_gil_text(region) + at;
    mi_gil_code *to = &mi_gil_codes(region)[row];
    *to = (mi_gil_code){.address = code->address,
                        .name = code->name,
                        .lines = code->lines,
                        .text_at = at,
                        .first_line = code->first_line};
    to->name_size = (uint32_t)copy_str(code->name, text, NAME_MOST);
    if (!mi_target_word(table.target, code->address + (uintptr_t)table.layout->code_filename, &file))
        to->file_size = (uint32_t)copy_str(file, text + to->name_size, NAME_MOST);
    to->lines_size = (uint32_t)copy_bytes(code->lines, text + to->name_size + to->file_size, LINES_MOST);
    atomic_store(&region->text_used, at + to->name_size + to->file_size + to->lines_size);
    atomic_store_explicit(&region->codes, row + 1, memory_order_release);
    return row;
}

static int is_it(const mi_gil_code *row, const identity *code) {
    return row->name == code->name && row->lines == code->lines && row->first_line == code->first_line;
}

static uint32_t slot_of(uintptr_t address) { return (uint32_t)(address >> 4) * 2654435761u >> (32 - INDEX_BITS); }

static __attribute__((noinline)) uint32_t find(const identity *code) {
    const mi_gil_code *rows = mi_gil_codes(table.region);
    uint32_t mask = (1u << INDEX_BITS) - 1, at = slot_of(code->address);
    for (;; at = (at + 1) & mask) {
        uint32_t row = atomic_load_explicit(&table.index[at], memory_order_acquire);
        if (row && rows[row].address != code->address) continue;
        if (row && is_it(&rows[row], code)) return row;
        pthread_mutex_lock(&adding);
        uint32_t now = atomic_load(&table.index[at]); /* of two GILs, another may have been here */
        if (now == row) {
            now = add(code);
            if (now) atomic_store_explicit(&table.index[at], now, memory_order_release);
        } else {
            now = rows[now].address == code->address && is_it(&rows[now], code) ? now : 0;
        }
        pthread_mutex_unlock(&adding);
        return now;
    }
}

/* ---- frames ----------------------------------------------------------------------------------------------------------- */

static inline uintptr_t word_at(uintptr_t address) { return *(const uintptr_t *)address; }

/* The code object at `address`, which is one: its row, 0 when there is no room. */
static inline uint32_t row_of(uintptr_t address) {
    const mi_layout *layout = table.layout;
    uintptr_t name = word_at(address + (uintptr_t)layout->code_qualname);
    uintptr_t lines = word_at(address + (uintptr_t)layout->code_linetable);
    int32_t first_line = *(const int32_t *)(address + (uintptr_t)layout->code_firstlineno);
    uint32_t slot = slot_of(address), row = atomic_load_explicit(&table.index[slot], memory_order_acquire);
    const mi_gil_code *known = &mi_gil_codes(table.region)[row]; /* row 0 is no code's */
    if (known->address == address && known->name == name && known->lines == lines && known->first_line == first_line)
        return row;
    return find(&(identity){address, name, lines, first_line});
}

mi_gil_place mi_gil_place_own(uintptr_t last_holder) {
    const mi_gil_place unknown = {0, 0};
    const mi_layout *layout = table.layout;
    if (!table.region) return unknown;
    uintptr_t thread = (uintptr_t)table.own_thread_state();
    if (!thread || thread != last_holder) return unknown;
    uintptr_t frame;
    if (layout->thread_frame != MI_ABSENT) {
        frame = word_at(thread + (uintptr_t)layout->thread_frame);
    } else {
        uintptr_t cframe = word_at(thread + (uintptr_t)layout->thread_cframe);
        frame = cframe ? word_at(cframe + (uintptr_t)layout->cframe_frame) : 0;
    }
    for (int at = 0; frame && at < FRAMES_MOST; at++) {
        if (*(const char *)(frame + (uintptr_t)layout->iframe_owner) < OWNED_BY_INTERPRETER) {
            uintptr_t code = word_at(frame + (uintptr_t)layout->iframe_code) & ~(uintptr_t)STACKREF_TAGS;
            if (!code || word_at(code + (uintptr_t)layout->object_type) != table.code_type) return unknown;
            uintptr_t offset =
                word_at(frame + (uintptr_t)layout->iframe_instruction) - (code + (uintptr_t)layout->code_instructions);
            return (mi_gil_place){row_of(code), (uint32_t)(offset / 2)};
        }
        frame = word_at(frame + (uintptr_t)layout->iframe_previous);
    }
    return unknown;
}

/* The frame of a thread state, by reads that fail. */
static mi_error frame_of(uintptr_t thread, uintptr_t *frame) {
    const mi_layout *layout = table.layout;
    if (layout->thread_frame != MI_ABSENT)
        return mi_target_word(table.target, thread + (uintptr_t)layout->thread_frame, frame);
    uintptr_t cframe = 0;
    mi_error error = mi_target_word(table.target, thread + (uintptr_t)layout->thread_cframe, &cframe);
    return error ? error : mi_target_word(table.target, cframe + (uintptr_t)layout->cframe_frame, frame);
}

mi_gil_place mi_gil_place_of(uintptr_t thread) {
    const mi_gil_place unknown = {0, 0};
    const mi_layout *layout = table.layout;
    const mi_target *target = table.target;
    uintptr_t frame = 0, code = 0, type = 0, instruction = 0, again = 0;
    identity found = {0};
    char owner = 0;
    if (!table.region || !thread || frame_of(thread, &frame)) return unknown;
    uintptr_t top = frame;
    for (int at = 0; frame && at < FRAMES_MOST; at++) {
        if (mi_target_read(target, frame + (uintptr_t)layout->iframe_owner, &owner, 1)) return unknown;
        if (owner < OWNED_BY_INTERPRETER) break;
        if (mi_target_word(target, frame + (uintptr_t)layout->iframe_previous, &frame)) return unknown;
    }
    if (!frame || mi_target_word(target, frame + (uintptr_t)layout->iframe_code, &code)) return unknown;
    code &= ~(uintptr_t)STACKREF_TAGS;
    if (mi_target_word(target, code + (uintptr_t)layout->object_type, &type) || type != table.code_type) return unknown;
    found.address = code;
    if (mi_target_word(target, frame + (uintptr_t)layout->iframe_instruction, &instruction) ||
        mi_target_word(target, code + (uintptr_t)layout->code_qualname, &found.name) ||
        mi_target_word(target, code + (uintptr_t)layout->code_linetable, &found.lines) ||
        mi_target_read(target, code + (uintptr_t)layout->code_firstlineno, &found.first_line, 4) ||
        frame_of(thread, &again) || again != top) /* it went on meanwhile */
        return unknown;
    return (mi_gil_place){find(&found), (uint32_t)((instruction - code - (uintptr_t)layout->code_instructions) / 2)};
}
