/* resident_seen.h - which arenas of pymalloc a process that runs on had around the moment of the page map.
 *
 * The page map is of one moment and the arenas are walked behind it: one that was given back in between is in the page
 * map, and no walk tells any more what it was. So their addresses are noted right before the moment and right behind. */
#ifndef MI_RESIDENT_SEEN_H
#define MI_RESIDENT_SEEN_H

#include "obmalloc.h"
#include "runtime.h"

/* One arena of one look; it may be there several times. */
typedef struct mi_seen_arena {
    uintptr_t address;
    uintptr_t walked; /* it was found by the walk too */
} mi_seen_arena;

typedef struct mi_seen {
    const mi_layout *layout;
    mi_target target;
    mi_runtime runtime;
    mi_arena_table table; /* 3.11: found by the first look */
    int opened;
    mi_seen_arena *items;
    size_t count, room;
} mi_seen;

/* Notes the arenas that the process has now. What cannot be read is left out: the walk says why. */
void mi_seen_look(mi_seen *seen, const mi_layout *layout, pid_t pid);
/* Notes an arena. MI_E_MEMORY */
mi_error mi_seen_add(mi_seen *seen, uintptr_t address, int walked);
void mi_seen_free(mi_seen *seen);

#endif
