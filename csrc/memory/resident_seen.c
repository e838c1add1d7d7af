/* resident_seen.c - the tables of arenas of a running process, looked at for the addresses alone. */
#include "resident_seen.h"

#include <string.h>

enum { ROOM_FIRST = 4096 };

mi_error mi_seen_add(mi_seen *seen, uintptr_t address, int walked) {
    if (seen->count == seen->room) {
        size_t room = seen->room ? seen->room * 2 : ROOM_FIRST;
        void *grown = mi_os_realloc(seen->items, seen->room * sizeof *seen->items, room * sizeof *seen->items);
        if (!grown) return MI_E_MEMORY;
        seen->items = grown;
        seen->room = room;
    }
    seen->items[seen->count++] = (mi_seen_arena){address, walked != 0};
    return MI_OK;
}

static void look_at(mi_seen *seen, const mi_arena_table *table) {
    size_t size = table->count * sizeof(uintptr_t), count = 0;
    uintptr_t *addresses = table->address && size ? mi_os_alloc(size) : NULL;
    if (!addresses) return;
    mi_error error = mi_obmalloc_addresses(&seen->target, seen->layout, table, addresses, &count);
    for (size_t at = 0; at < count && !error; at++) error = mi_seen_add(seen, addresses[at], 0);
    mi_os_free(addresses, size);
}

static int open_once(mi_seen *seen, const mi_layout *layout, pid_t pid) {
    if (seen->opened) return 1;
    seen->layout = layout;
    if (mi_target_open(&seen->target, MI_TARGET_PROCESS, pid)) return 0;
    seen->opened = !mi_runtime_open(&seen->runtime, &seen->target, layout) && !mi_runtime_verify(&seen->runtime);
    if (!seen->opened)
        mi_target_close(&seen->target);
    else if (layout->interpreter_obmalloc == MI_ABSENT && mi_obmalloc_find_in(&seen->target, layout, &seen->table))
        seen->table = (mi_arena_table){0};
    return seen->opened;
}

void mi_seen_look(mi_seen *seen, const mi_layout *layout, pid_t pid) {
    size_t count = 0, size = MI_MAX_INTERPRETERS * sizeof(mi_interpreter);
    if (!open_once(seen, layout, pid)) return;
    look_at(seen, &seen->table);
    mi_interpreter *interpreters = mi_os_alloc(size);
    if (!interpreters) return;
    mi_error error = mi_runtime_interpreters(&seen->runtime, interpreters, MI_MAX_INTERPRETERS, &count);
    for (size_t at = 0; !error && at < count && at < MI_MAX_INTERPRETERS; at++) {
        mi_arena_table table;
        if (!mi_obmalloc_table(&seen->target, layout, interpreters[at].obmalloc, &table)) look_at(seen, &table);
    }
    mi_os_free(interpreters, size);
}

void mi_seen_free(mi_seen *seen) {
    mi_os_free(seen->items, seen->room * sizeof *seen->items);
    if (seen->opened) mi_target_close(&seen->target);
    memset(seen, 0, sizeof *seen);
}
