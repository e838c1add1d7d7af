/* thread_blocks.h - which blocks other threads ask CPython's allocators for while one thread runs a piece of a program.
 *
 * pymalloc does not know who asked for a block. So from begin to end functions of ours stand before the allocators of the
 * mem and object domains (PyMem_SetAllocator, as tracemalloc's do). They note the addresses that other threads were given
 * and have not given back; of the thread that is measured they ask nothing but who it is. Others are the threads that had
 * a state under its GIL at the beginning: threads that begin later belong to what is measured.
 *
 * What CPython keeps on a free list is not asked for again: an object that another thread takes from there is not noted.
 * Where the functions cannot be taken out again (somebody put their own before them) they stay and pass everything on. */
#ifndef MI_THREAD_BLOCKS_H
#define MI_THREAD_BLOCKS_H

#include "runtime.h"

typedef struct mi_thread_block {
    uintptr_t address; /* as it was given out; 0: no entry */
    uint8_t moved;     /* it is an older block, or one of the measured thread's, that another thread resized */
    uint8_t owner;     /* the census' (census_apart.c): owner + 1, 0: nobody claimed it */
} mi_thread_block;

typedef struct mi_thread_blocks {
    mi_thread_block *items; /* open addressing by mi_thread_blocks_slot() */
    unsigned bits;
    size_t count;
    uint64_t freed; /* given back by other threads that were not given them since the beginning */
    int lost;       /* some could not be noted: no memory, or the table was being changed for too long */
} mi_thread_blocks;

/* The GIL is held, by the thread that is measured. MI_E_ABSENT: there is no other thread, or no GIL, or our functions are
 * not asked though they are in place; MI_E_LIMIT: another measurement runs. */
mi_error mi_thread_blocks_begin(const mi_runtime *runtime, uintptr_t interpreter);
/* What was noted, which is the caller's then. MI_E_ABSENT: nothing was begun. */
mi_error mi_thread_blocks_end(mi_thread_blocks *found);
void mi_thread_blocks_free(mi_thread_blocks *found);

/* The entry of an address, or NULL. */
mi_thread_block *mi_thread_blocks_find(const mi_thread_blocks *blocks, uintptr_t address);

#endif
