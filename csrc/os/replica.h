/* replica.h - another process' memory at its own addresses, in a frozen copy of ourselves (clone.h).
 *
 * What walks this process in place can so walk another one: pointers mean what they mean there, and nothing is translated.
 * The copy gives up all of our own memory but what the walk stands on (our code, the C library, its stack), and puts the
 * other process' private readable pages where they lie there; it ends with the walk. */
#ifndef MI_REPLICA_H
#define MI_REPLICA_H

#include "pages.h"
#include "target.h"

typedef struct mi_replica {
    uint64_t copied_bytes;
    uint64_t lost_bytes;    /* were resident, and could not be read any more */
    uint64_t blocked_bytes; /* files' pages at addresses that we stand on ourselves */
} mi_replica;

enum { MI_REPLICA_KEEPS = 32 };

/* In the copy alone, before anything is allocated there. `from` and `pages` are of the other process, read before the copy
 * was made; mappings of ours that hold one of the `keep` addresses stay, and shared ones do.
 * MI_E_LIMIT: memory of the other process lies where ours must stay; addresses are drawn at random by the kernel, so that
 * another try has others. */
mi_error mi_replica_make(const mi_target *from, const mi_pages *pages, const uintptr_t *keep, size_t keeps,
                         mi_replica *replica);

#endif
