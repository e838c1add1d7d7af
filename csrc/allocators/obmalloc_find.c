/* obmalloc_find.c - pymalloc's arena table in CPython 3.11, where it is a static variable of Objects/obmalloc.c.
 *
 * Blocks of our own tell: a block's pool header names the arena's index, so the variable is the word of the interpreter's
 * writable data that points to a table whose entry of that index holds the pool, for every block. `usable_arenas` and the
 * like may equal it for a while, so all words that fit are kept, held against a new block at every call, and have to agree. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <string.h>

#include "obmalloc.h"
#include "runtime.h"

enum { PROBES = 256, MAX_PLACES = 16, FIRST_TABLE = 16, MAX_TABLE = 1 << 24, CHUNK_WORDS = 8192 };

static struct {
    uintptr_t places[MAX_PLACES]; /* addresses of words that may be the variable `arenas` */
    int count;
} found;

/* A table that holds one entry at least up to `index`, for mi_obmalloc_place. */
static int holds(const mi_target *target, const mi_layout *layout, uintptr_t table, uintptr_t block) {
    mi_arena_table any = {table, MAX_TABLE};
    mi_block_place place;
    return mi_obmalloc_place(target, layout, &any, block, &place) == MI_OK;
}

static int holds_all(const mi_target *target, const mi_layout *layout, uintptr_t table, void **blocks, int count) {
    for (int i = 0; i < count; i++)
        if (!holds(target, layout, table, (uintptr_t)blocks[i])) return 0;
    return 1;
}

/* ---- where the variable may be ------------------------------------------------------------------------------------ */

static void scan_range(const mi_target *target, const mi_layout *layout, uintptr_t start, uintptr_t end, void **blocks,
                       uintptr_t *words) {
    for (uintptr_t at = start; at < end; at += CHUNK_WORDS * sizeof *words) {
        size_t size = end - at < CHUNK_WORDS * sizeof *words ? end - at : CHUNK_WORDS * sizeof *words;
        if (mi_target_read(target, at, words, size)) continue;
        for (size_t i = 0; i < size / sizeof *words; i++) {
            uintptr_t word = words[i];
            if (!word || word % sizeof word) continue;
            const mi_mapping *mapping = mi_os_maps_find(&target->maps, word);
            /* the table comes from the raw allocator: anonymous memory, or the heap */
            if (!mapping || mapping->inode || !(mapping->flags & MI_MAP_WRITE)) continue;
            if (holds_all(target, layout, word, blocks, PROBES) && found.count < MAX_PLACES)
                found.places[found.count++] = at + i * sizeof word;
        }
    }
}

/* The writable memory of the object file that PyObject_Malloc is in: its data, and the .bss behind it. */
static void scan_object_file(const mi_target *target, const mi_layout *layout, void **blocks, uintptr_t *words) {
    const mi_mapping *code = mi_os_maps_find(&target->maps, (uintptr_t)&PyObject_Malloc);
    if (!code) return;
    for (size_t i = 0; i < target->maps.count; i++) {
        const mi_mapping *mapping = &target->maps.items[i];
        int data = mi_mapping_same_file(mapping, code);
        int bss = i && !mapping->inode && !*mapping->name && mapping[-1].end == mapping->start &&
                  mi_mapping_same_file(&mapping[-1], code);
        if ((data || bss) && mapping->flags & MI_MAP_WRITE)
            scan_range(target, layout, mapping->start, mapping->end, blocks, words);
    }
}

static mi_error find_places(const mi_target *target, const mi_layout *layout) {
    void *blocks[PROBES];
    int count = 0;
    uintptr_t *words = mi_os_alloc(CHUNK_WORDS * sizeof *words);
    if (!words) return MI_E_MEMORY;
    found.count = 0;
    for (; count < PROBES; count++) {
        size_t size_class = (size_t)(count % (layout->size_classes - 4)); /* debug hooks add to the largest */
        blocks[count] = PyObject_Malloc(size_class * (size_t)layout->alignment + 1);
        if (!blocks[count]) break;
    }
    if (count == PROBES) scan_object_file(target, layout, blocks, words);
    while (count) PyObject_Free(blocks[--count]);
    mi_os_free(words, CHUNK_WORDS * sizeof *words);
    return found.count ? MI_OK : MI_E_ABSENT;
}

/* ---- the table ---------------------------------------------------------------------------------------------------- */

/* Entry `index` may belong to a table: not allocated, or an arena whose first pool names that index. */
static int plausible(const mi_target *target, const mi_layout *layout, uintptr_t table, uint32_t index) {
    uintptr_t address, pool_address, pool_mask = (uintptr_t)layout->pool_size - 1;
    uint32_t named = 0;
    uintptr_t entry = table + index * (uintptr_t)layout->arena_object_size;
    if (mi_target_word(target, entry + (uintptr_t)layout->arena_address, &address)) return 0;
    if (!address) return 1;
    if (mi_target_word(target, entry + (uintptr_t)layout->arena_pool_address, &pool_address)) return 0;
    uintptr_t pool = (address + pool_mask) & ~pool_mask;
    if (pool_address < pool || pool_address - address > (uintptr_t)layout->arena_size) return 0;
    if (pool == pool_address) return 1;
    return !mi_target_read(target, pool + (uintptr_t)layout->pool_arenaindex, &named, sizeof named) && named == index;
}

/* maxarenas doubles from 16 on (new_arena()). An entry that reads as not allocated adds nothing to a walk, so going on
 * into zeros behind the table does no harm. */
static uint32_t table_count(const mi_target *target, const mi_layout *layout, uintptr_t table) {
    uint32_t count = 0, next = FIRST_TABLE;
    for (; next <= MAX_TABLE; next *= 2) {
        uint32_t index = count;
        while (index < next && plausible(target, layout, table, index)) index++;
        if (index < next) break;
        count = next;
    }
    return count;
}

static mi_error table_at(const mi_target *target, const mi_layout *layout, uintptr_t table, mi_arena_table *result) {
    *result = (mi_arena_table){table, table ? table_count(target, layout, table) : 0};
    return result->count ? MI_OK : MI_E_LAYOUT;
}

mi_error mi_obmalloc_find(const mi_layout *layout, mi_arena_table *table) {
    mi_target target;
    mi_error error = mi_target_open(&target, MI_TARGET_COPY, 0);
    if (error) return error;
    if (!found.count) error = find_places(&target, layout);
    void *block = error ? NULL : PyObject_Malloc(1);
    uintptr_t agreed = 0;
    int kept = 0;
    for (int i = 0; i < found.count && block; i++) {
        uintptr_t word;
        if (mi_target_word(&target, found.places[i], &word) || !holds(&target, layout, word, (uintptr_t)block))
            continue;
        if (kept && word != agreed) error = MI_E_LAYOUT;
        agreed = word;
        found.places[kept++] = found.places[i];
    }
    PyObject_Free(block);
    if (block) found.count = kept;
    if (!error && !kept) error = MI_E_ABSENT;
    if (!error) error = table_at(&target, layout, agreed, table);
    mi_target_close(&target);
    return error;
}

mi_error mi_obmalloc_find_in(const mi_target *target, const mi_layout *layout, mi_arena_table *table) {
    mi_arena_table own;
    mi_maps maps;
    mi_error error = mi_obmalloc_find(layout, &own);
    if (!error) error = mi_os_maps(0, &maps);
    if (error) return error;
    uintptr_t agreed = 0;
    for (int i = 0; i < found.count && !error; i++) {
        uintptr_t place, word;
        mi_arena_table candidate;
        if (mi_runtime_translate(&maps, target, found.places[i], &place) || mi_target_word(target, place, &word) ||
            table_at(target, layout, word, &candidate))
            continue;
        if (agreed && word != agreed) error = MI_E_LAYOUT;
        agreed = word;
        *table = candidate;
    }
    mi_os_maps_free(&maps);
    if (!error && !agreed) error = MI_E_ABSENT;
    return error;
}
